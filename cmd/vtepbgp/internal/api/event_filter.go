package api

import (
	"fmt"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// EventFilter narrows what a monitor is told; the zero value tells all.
type EventFilter struct {
	VNI      evpn.VNI
	MAC      evpn.MAC
	IP       netip.Addr
	VTEP     netip.Addr
	Neighbor netip.Addr
	// Kinds are names of kinds or patterns of them, such as "mac_*"; none = all.
	Kinds []string
}

// Matches reports whether e passes the filter.
func (f EventFilter) Matches(e Event) bool {
	return e.Kind.OfStream() ||
		(f.VNI == 0 || e.VNI == f.VNI) &&
			(f.MAC.IsZero() || e.MAC == f.MAC.String()) &&
			(!f.IP.IsValid() || e.IP == f.IP) &&
			(!f.VTEP.IsValid() || e.VTEP == f.VTEP) &&
			(!f.Neighbor.IsValid() || e.Neighbor == f.Neighbor) &&
			f.MatchesKind(e.Kind)
}

// MatchesKind is the part of Matches that needs the kind alone.
func (f EventFilter) MatchesKind(k EventKind) bool {
	return len(f.Kinds) == 0 || slices.ContainsFunc(f.Kinds, func(pattern string) bool {
		ok, _ := path.Match(pattern, string(k)) // a bad pattern was refused
		return ok
	})
}

// CheckKindPattern refuses a pattern that can match nothing: a misspelt filter must
// not stay silent for ever.
func CheckKindPattern(pattern string) error {
	if _, err := path.Match(pattern, ""); err != nil {
		return fmt.Errorf("parse kind %q: %w", pattern, err)
	}
	var names []string
	for _, i := range EventKinds() {
		if i.Kind.OfStream() {
			continue
		}
		if ok, _ := path.Match(pattern, string(i.Kind)); ok {
			return nil
		}
		names = append(names, string(i.Kind))
	}
	return fmt.Errorf("no kind of event matches %q: want one of %s, or a pattern such as mac_*", pattern, strings.Join(names, ", "))
}

func (f EventFilter) query() url.Values {
	q := url.Values{}
	setVNI(q, f.VNI)
	setMAC(q, f.MAC)
	setAddr(q, "ip", f.IP)
	setAddr(q, "vtep", f.VTEP)
	setAddr(q, "neighbor", f.Neighbor)
	if len(f.Kinds) > 0 {
		q["kind"] = f.Kinds
	}
	return q
}

func parseEventFilter(q url.Values) (f EventFilter, err error) {
	p := queryParser{q: q}
	f = EventFilter{
		VNI:      p.vni(),
		MAC:      p.mac(),
		IP:       p.addr("ip"),
		VTEP:     p.addr("vtep"),
		Neighbor: p.addr("neighbor"),
		Kinds:    p.list("kind", CheckKindPattern),
	}
	return f, p.finish()
}
