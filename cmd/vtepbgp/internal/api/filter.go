package api

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// MACFilter narrows a MAC listing; the zero value lists all.
type MACFilter struct {
	VNI       evpn.VNI
	MAC       evpn.MAC
	Origin    evpn.Origin
	VTEP      netip.Addr
	Duplicate bool // only frozen ones, and those with frozen IPs
}

// Matches reports whether m passes the filter.
func (f MACFilter) Matches(m evpn.MACInfo) bool {
	return (f.VNI == 0 || m.VNI == f.VNI) &&
		(f.MAC.IsZero() || m.MAC == f.MAC) &&
		(f.Origin == "" || m.Origin == f.Origin) &&
		(!f.VTEP.IsValid() || m.VTEP == f.VTEP) &&
		(!f.Duplicate || m.Duplicate || len(m.DuplicateIPs) > 0)
}

func (f MACFilter) query() url.Values {
	q := url.Values{}
	setVNI(q, f.VNI)
	setMAC(q, f.MAC)
	if f.Origin != "" {
		q.Set("origin", string(f.Origin))
	}
	setAddr(q, "vtep", f.VTEP)
	setBool(q, "duplicate", f.Duplicate)
	return q
}

func parseMACFilter(q url.Values) (f MACFilter, err error) {
	p := queryParser{q: q}
	f = MACFilter{
		VNI:       p.vni(),
		MAC:       p.mac(),
		Origin:    evpn.Origin(p.oneOf("origin", string(evpn.OriginLocal), string(evpn.OriginRemote), string(evpn.OriginStatic), string(evpn.OriginProxy))),
		VTEP:      p.addr("vtep"),
		Duplicate: p.bool("duplicate"),
	}
	return f, p.finish()
}

// RouteFilter narrows a route listing; the zero value lists all.
type RouteFilter struct {
	Type     evpn.RouteType // 0 = all
	VNI      evpn.VNI       // named by the label, or importing it
	RD       evpn.RD
	MAC      evpn.MAC
	IP       netip.Addr
	NextHop  netip.Addr
	Neighbor netip.Addr
	Local    bool // only our own
	Received bool // only those of neighbours
	Best     bool // only those in use
	Ignored  bool // only those with a reason
}

// Matches reports whether r passes the filter.
func (f RouteFilter) Matches(r evpn.RouteInfo) bool {
	return f.MatchesKey(r.Key, r.Neighbor) &&
		(f.VNI == 0 || r.VNI() == f.VNI || slices.Contains(r.VNIs, f.VNI)) &&
		(!f.NextHop.IsValid() || (r.Attrs != nil && r.Attrs.NextHop == f.NextHop)) &&
		(!f.Best || r.Best) &&
		(!f.Ignored || r.Reason != "")
}

// MatchesKey is the part of Matches that needs no more than what names the route.
func (f RouteFilter) MatchesKey(k evpn.RouteKey, neighbor netip.Addr) bool {
	return (f.Type == 0 || k.Type == f.Type) &&
		(f.RD == evpn.RD{} || k.RD == f.RD) &&
		(f.MAC.IsZero() || k.MAC == f.MAC) &&
		(!f.IP.IsValid() || k.IP == f.IP) &&
		(!f.Neighbor.IsValid() || neighbor == f.Neighbor) &&
		(!f.Local || !neighbor.IsValid()) &&
		(!f.Received || neighbor.IsValid())
}

func (f RouteFilter) query() url.Values {
	q := url.Values{}
	if f.Type != 0 {
		q.Set("type", strconv.Itoa(int(f.Type)))
	}
	setVNI(q, f.VNI)
	if f.RD != (evpn.RD{}) {
		q.Set("rd", f.RD.String())
	}
	setMAC(q, f.MAC)
	setAddr(q, "ip", f.IP)
	setAddr(q, "next_hop", f.NextHop)
	setAddr(q, "neighbor", f.Neighbor)
	setBool(q, "local", f.Local)
	setBool(q, "received", f.Received)
	setBool(q, "best", f.Best)
	setBool(q, "ignored", f.Ignored)
	return q
}

func parseRouteFilter(q url.Values) (f RouteFilter, err error) {
	p := queryParser{q: q}
	f = RouteFilter{
		Type:     p.routeType(),
		VNI:      p.vni(),
		RD:       p.rd(),
		MAC:      p.mac(),
		IP:       p.addr("ip"),
		NextHop:  p.addr("next_hop"),
		Neighbor: p.addr("neighbor"),
		Local:    p.bool("local"),
		Received: p.bool("received"),
		Best:     p.bool("best"),
		Ignored:  p.bool("ignored"),
	}
	return f, p.finish()
}

// VNIFilter narrows a listing to one VNI; the zero value lists all.
type VNIFilter struct{ VNI evpn.VNI }

func (f VNIFilter) query() url.Values {
	q := url.Values{}
	setVNI(q, f.VNI)
	return q
}

func parseVNIFilter(q url.Values) (f VNIFilter, err error) {
	p := queryParser{q: q}
	f = VNIFilter{VNI: p.vni()}
	return f, p.finish()
}

func setVNI(q url.Values, v evpn.VNI) {
	if v != 0 {
		q.Set("vni", v.String())
	}
}

func setMAC(q url.Values, m evpn.MAC) {
	if !m.IsZero() {
		q.Set("mac", m.String())
	}
}

func setAddr(q url.Values, key string, a netip.Addr) {
	if a.IsValid() {
		q.Set(key, a.String())
	}
}

func setBool(q url.Values, key string, v bool) {
	if v {
		q.Set(key, "true")
	}
}

// queryParser reads query parameters, keeps the first error, and refuses what
// nobody asked for: a misspelt filter must not list everything.
type queryParser struct {
	q    url.Values
	seen []string
	err  error
}

func (p *queryParser) value(key string) string {
	p.seen = append(p.seen, key)
	return p.q.Get(key)
}

func (p *queryParser) fail(err error) {
	if p.err == nil && err != nil {
		p.err = err
	}
}

func (p *queryParser) vni() (v evpn.VNI) {
	if s := p.value("vni"); s != "" {
		var err error
		v, err = evpn.ParseVNI(s)
		p.fail(err)
	}
	return v
}

func (p *queryParser) mac() (m evpn.MAC) {
	if s := p.value("mac"); s != "" {
		var err error
		m, err = evpn.ParseMAC(s)
		p.fail(err)
	}
	return m
}

func (p *queryParser) rd() (rd evpn.RD) {
	if s := p.value("rd"); s != "" {
		var err error
		rd, err = evpn.ParseRD(s)
		p.fail(err)
	}
	return rd
}

func (p *queryParser) addr(key string) (a netip.Addr) {
	if s := p.value(key); s != "" {
		var err error
		if a, err = netip.ParseAddr(s); err != nil {
			p.fail(fmt.Errorf("parse %s %q: want an IPv4 or IPv6 address", key, s))
		}
	}
	return a
}

func (p *queryParser) bool(key string) (v bool) {
	if s := p.value(key); s != "" {
		var err error
		if v, err = strconv.ParseBool(s); err != nil {
			p.fail(fmt.Errorf("parse %s %q: want true or false", key, s))
		}
	}
	return v
}

func (p *queryParser) oneOf(key string, allowed ...string) string {
	s := p.value(key)
	if s != "" && !slices.Contains(allowed, s) {
		p.fail(fmt.Errorf("parse %s %q: want one of %v", key, s, allowed))
	}
	return s
}

// list reads a parameter that may be given many times.
func (p *queryParser) list(key string, check func(string) error) []string {
	p.seen = append(p.seen, key)
	for _, s := range p.q[key] {
		p.fail(check(s))
	}
	return p.q[key]
}

func (p *queryParser) routeType() evpn.RouteType {
	s := p.value("type")
	if s == "" {
		return 0
	}
	n, err := strconv.ParseUint(s, 10, 8)
	if err != nil {
		p.fail(fmt.Errorf("parse type %q: want a route type number such as 2 or 3", s))
	}
	return evpn.RouteType(n)
}

func (p *queryParser) finish() error {
	for key := range p.q {
		if !slices.Contains(p.seen, key) {
			p.fail(fmt.Errorf("unknown filter %q: want one of %v", key, p.seen))
		}
	}
	return p.err
}
