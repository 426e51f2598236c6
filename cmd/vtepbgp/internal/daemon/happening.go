package daemon

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/api"
	"github.com/vtepbgp/vtepbgp/evpn"
)

// localEvent gives what an event of the kernel means to people, compared with what the
// core knew; no Kind when it means nothing new. A MAC that was remote until now is told
// by the core's note about the move.
func localEvent(core *evpn.Core, ev evpn.Event) (e api.Event) {
	var at time.Time // set by the reader
	switch ev := ev.(type) {
	case evpn.LocalMACLearned:
		switch was, known := core.MAC(ev.VNI, ev.MAC); {
		case !known:
			details := []string{"local on " + ev.Port}
			if ev.Sticky {
				details = append(details, "sticky")
			}
			if ev.Gateway {
				details = append(details, "anycast gateway")
			}
			e = newEvent(at, api.EventMACLearned, details...)
		case was.Origin == evpn.OriginLocal && was.Port != ev.Port:
			e = newEvent(at, api.EventMACChanged, fmt.Sprintf("local, from port %s to %s", was.Port, ev.Port))
		default:
			return e
		}
		e.VNI, e.MAC, e.Port, e.Origin = ev.VNI, ev.MAC.String(), ev.Port, evpn.OriginLocal
	case evpn.LocalMACGone:
		was, known := core.MAC(ev.VNI, ev.MAC)
		if !known || was.Origin != evpn.OriginLocal {
			return e
		}
		e = newEvent(at, api.EventMACGone, "was local on "+was.Port)
		e.VNI, e.MAC, e.Port, e.Origin = ev.VNI, ev.MAC.String(), was.Port, evpn.OriginLocal
	case evpn.LocalIPLearned:
		if knows(core, ev.VNI, ev.MAC, ev.IP) {
			return e
		}
		details := []string{"local"}
		if ev.Source != "" {
			details = append(details, "seen by "+ev.Source)
		}
		e = newEvent(at, api.EventIPLearned, details...)
		e.VNI, e.MAC, e.IP, e.Origin = ev.VNI, ev.MAC.String(), ev.IP, evpn.OriginLocal
	case evpn.LocalIPGone:
		if !knows(core, ev.VNI, ev.MAC, ev.IP) {
			return e
		}
		e = newEvent(at, api.EventIPGone, "was local")
		e.VNI, e.MAC, e.IP, e.Origin = ev.VNI, ev.MAC.String(), ev.IP, evpn.OriginLocal
	}
	return e
}

// knows reports whether the core has the address with this MAC.
func knows(core *evpn.Core, vni evpn.VNI, mac evpn.MAC, ip netip.Addr) bool {
	was, known := core.MAC(vni, mac)
	return known && was.Origin == evpn.OriginLocal && slices.Contains(was.IPs, ip)
}

// sessionEvent gives what an event of the speaker or of a reload means to people.
func sessionEvent(ev evpn.Event) (e api.Event) {
	var at time.Time // set by the reader
	switch ev := ev.(type) {
	case evpn.NeighborUp:
		details := []string{fmt.Sprintf("AS %d", ev.ASN)}
		if ev.KeptForwarding {
			details = append(details, "it kept forwarding while it was away")
		}
		e = newEvent(at, api.EventNeighborUp, details...)
		e.Neighbor = ev.Neighbor
	case evpn.NeighborDown:
		details := []string{"its routes are gone"}
		if ev.Graceful {
			details = []string{fmt.Sprintf("its routes stay for %s", ev.StaleTime+ev.LongLived)}
		}
		e = newEvent(at, api.EventNeighborDown, details...)
		e.Neighbor = ev.Neighbor
	case evpn.NeighborRemoved:
		e = newEvent(at, api.EventNeighborRemoved)
		e.Neighbor = ev.Neighbor
	case evpn.EndOfRIB:
		e = newEvent(at, api.EventNeighborSynced)
		e.Neighbor = ev.Neighbor
	case evpn.ConfigReplaced:
		e = newEvent(at, api.EventConfigApplied, fmt.Sprintf("VTEP address %s, VNIs: %d", ev.Config.VTEP, len(ev.Config.VNIs)))
	}
	return e
}

type macOfVNI struct {
	vni evpn.VNI
	mac evpn.MAC
}

// appendChanges puts what a drain gave into words: its notes, and the rows of remote
// MACs and addresses. A move is one event, not a row that changed and a note.
func appendChanges(events []api.Event, h happening) []api.Event {
	moved := map[macOfVNI]evpn.RowChange{}
	for _, n := range h.notes {
		if n.Kind == evpn.NoteMACMoved {
			moved[macOfVNI{n.VNI, n.MAC}] = evpn.RowChange{}
		}
	}
	if len(moved) > 0 {
		for _, r := range h.rows {
			key := macOfVNI{r.VNI, r.RowKey.MAC}
			if _, known := moved[key]; known && r.Kind == evpn.MACRow {
				moved[key] = r
			}
		}
	}
	for _, n := range h.notes {
		events = append(events, noteEvent(h.at, n, moved[macOfVNI{n.VNI, n.MAC}]))
	}
	for _, r := range h.rows {
		if _, told := moved[macOfVNI{r.VNI, r.RowKey.MAC}]; told && r.Kind == evpn.MACRow {
			continue
		}
		if e := rowEvent(h.at, r); e.Kind != "" {
			events = append(events, e)
		}
	}
	return appendFloods(events, h)
}

// noteEvent is a note of the core; row is what a move did to the kernel's row.
func noteEvent(at time.Time, n evpn.Note, row evpn.RowChange) api.Event {
	var details []string
	switch from, to := row.Was.VTEP, row.VTEP; {
	case n.Kind != evpn.NoteMACMoved || (!from.IsValid() && !to.IsValid()):
		if n.Detail != "" {
			details = append(details, n.Detail)
		}
		if n.Reason != "" {
			details = append(details, string(n.Reason))
		}
		if n.VTEP.IsValid() && (n.VNI != 0 || !n.MAC.IsZero()) { // else it is what happened to
			details = append(details, "VTEP "+n.VTEP.String())
		}
		if n.Neighbor.IsValid() && n.VNI != 0 {
			details = append(details, "neighbor "+n.Neighbor.String())
		}
	case !from.IsValid():
		details = []string{fmt.Sprintf("from local to VTEP %s", to)}
	case !to.IsValid():
		details = []string{fmt.Sprintf("from VTEP %s to local", from)}
	default:
		details = []string{fmt.Sprintf("from VTEP %s to %s", from, to)}
	}
	e := newEvent(at, api.EventKind(n.Kind), details...)
	e.VNI, e.IP, e.VTEP, e.Neighbor, e.Reason = n.VNI, n.IP, n.VTEP, n.Neighbor, string(n.Reason)
	if !n.MAC.IsZero() {
		e.MAC = n.MAC.String()
	}
	return e
}

// rowEvent is a row of a remote MAC or address that came, changed or went.
func rowEvent(at time.Time, r evpn.RowChange) (e api.Event) {
	switch {
	case r.Kind == evpn.MACRow && r.Remove:
		e = newEvent(at, api.EventMACGone, fmt.Sprintf("was at VTEP %s", r.Was.VTEP))
		e.VTEP = r.Was.VTEP
	case r.Kind == evpn.MACRow:
		kind, details := api.EventMACLearned, []string{fmt.Sprintf("at VTEP %s", r.VTEP)}
		if r.Was.VTEP.IsValid() {
			kind = api.EventMACChanged
		}
		if r.Sticky {
			details = append(details, "sticky")
		}
		e = newEvent(at, kind, details...)
		e.VTEP = r.VTEP
	case r.Kind == evpn.NeighborRow && r.Remove:
		e = newEvent(at, api.EventIPGone, "was remote")
		e.IP, e.MAC = r.IP, r.Was.MAC.String()
	case r.Kind == evpn.NeighborRow && r.Was.MAC.IsZero():
		e = newEvent(at, api.EventIPLearned, "remote")
		e.IP, e.MAC = r.IP, r.RowValue.MAC.String()
	default: // a note tells of an address that moved
		return e
	}
	e.VNI, e.Origin = r.VNI, evpn.OriginRemote
	if r.Kind == evpn.MACRow {
		e.MAC = r.RowKey.MAC.String()
	}
	return e
}
