package evpn

import (
	"net/netip"
	"slices"
)

// ownKey is what tells the attributes of one route of ours from another's in the
// same VNI. There are few: nearly all MACs have sequence 0.
type ownKey struct {
	nextHop  netip.Addr // our VTEP address but for a service address, and for a VTEP that we speak for
	mobility Mobility
	router   bool
	gateway  bool
	tunnel   PMSITunnel // of a type-3; zero otherwise
	claim    RelayClaim
}

// ownAttrs are attributes of our routes, shared by all that have the same.
type ownAttrs struct {
	key   ownKey
	rd    RD
	attrs *Attrs
	refs  int
}

// attrsFor gives the shared attributes; keep says that they will be emitted. There are none without a
// next hop: a host whose VTEP address is that of an interface may have none yet, or none any more.
func (c *Core) attrsFor(v *instance, key ownKey, keep bool) *ownAttrs {
	if !key.nextHop.IsValid() {
		return nil
	}
	if o := v.own[key]; o != nil {
		return o
	}
	o := &ownAttrs{key: key, rd: v.cfg.RD, attrs: &Attrs{
		NextHop:        key.nextHop,
		RouteTargets:   slices.Clone(v.cfg.Export),
		Encaps:         []uint16{EncapVXLAN},
		Mobility:       key.mobility,
		Router:         key.router,
		DefaultGateway: key.gateway,
		Claim:          key.claim,
		LocalPref:      100,
	}}
	if t := key.tunnel; t != (PMSITunnel{}) {
		o.attrs.PMSI = &t
	}
	if key.claim.Group != 0 {
		o.attrs.Segment = v.segment.prefixes
	}
	if keep {
		v.own[key] = o
	}
	return o
}

// same reports that o and p make the same route though they are not one object,
// after a configuration that went there and back.
func (o *ownAttrs) same(p *ownAttrs) bool {
	return o.key == p.key && o.rd == p.rd && slices.Equal(o.attrs.RouteTargets, p.attrs.RouteTargets) &&
		slices.Equal(o.attrs.Segment, p.attrs.Segment)
}

func (v *instance) holdOwn(o *ownAttrs) {
	if o != nil {
		o.refs++
	}
}

func (v *instance) releaseOwn(o *ownAttrs) {
	if o == nil {
		return
	}
	if o.refs--; o.refs == 0 && v.own[o.key] == o {
		delete(v.own, o.key)
	}
}

// wantIMET gives the attributes of our type-3, nil for none. A VNI that does not
// flood asks for no copies (RFC 7432 §11).
func (c *Core) wantIMET(v *instance, keep bool) *ownAttrs {
	if !v.up || v.cfg.Flooding == FloodOff {
		return nil
	}
	key := ownKey{nextHop: c.cfg.VTEP, tunnel: v.ingressTo(c.cfg.VTEP), claim: c.wantClaim(v)}
	switch {
	case v.cfg.Flooding == FloodAssisted:
		key.tunnel.Flags = PMSIFlagsLeafAR // RFC 9574 §4
	case !c.hearsOnGroup(v):
	case key.claim == RelayClaim{}:
		return nil
	default:
		key.tunnel.Type, key.tunnel.Endpoint = PMSINoTunnel, netip.Addr{}
	}
	return c.attrsFor(v, key, keep)
}

// ingressTo is the tunnel of a type-3 that wants copies at a.
func (v *instance) ingressTo(a netip.Addr) PMSITunnel {
	return PMSITunnel{Type: PMSIIngressReplication, Label: uint32(v.vni), Endpoint: a}
}

// ownIMETs names the type-3 routes last emitted.
func (v *instance) ownIMETs(yield func(*ownAttrs) bool) {
	if v.imet != nil && !yield(v.imet) || v.service != nil && !yield(v.service) {
		return
	}
	for _, f := range v.floods {
		if f.own != nil && !yield(f.own) {
			return
		}
	}
}

// ownIMET finds one of them; nil when there is none with this key.
func (v *instance) ownIMET(k RouteKey) *ownAttrs {
	for _, o := range []*ownAttrs{v.imet, v.service} {
		if o != nil && imetKey(o) == k {
			return o
		}
	}
	if f := v.floods[k.IP]; f != nil {
		return f.own
	}
	return nil
}

func (c *Core) wantMAC(m *macEntry, keep bool) *ownAttrs {
	switch o, _ := m.seat(); o {
	case ownLocal:
		return c.attrsFor(m.vni, ownKey{nextHop: c.cfg.VTEP, mobility: m.local.mobility(), gateway: m.local.gateway}, keep)
	case ownProxy:
		h := m.heard
		return c.attrsFor(m.vni, ownKey{nextHop: h.at.addr, mobility: Mobility{Sequence: h.sequence}}, keep)
	default:
		return nil
	}
}

// wantIP gives the attributes of the MAC+IP route. It shares the sequence of its MAC
// (RFC 9721 §5.1), and what else can be said of that.
func (c *Core) wantIP(e *ipEntry, o owner, keep bool) *ownAttrs {
	if o != ownLocal {
		return nil
	}
	l := e.bound.local
	return c.attrsFor(e.vni, ownKey{nextHop: c.cfg.VTEP, mobility: l.mobility(), router: e.router, gateway: l.gateway}, keep)
}

func imetKey(o *ownAttrs) RouteKey {
	return RouteKey{Type: IMETRoute, RD: o.rd, IP: o.attrs.NextHop}
}

func macKey(o *ownAttrs, mac MAC) RouteKey {
	return RouteKey{Type: MACIPRoute, RD: o.rd, MAC: mac}
}

func (e *ipEntry) key(o *ownAttrs, mac MAC) RouteKey {
	return RouteKey{Type: MACIPRoute, RD: o.rd, MAC: mac, IP: e.ip}
}

func (v *instance) ownRoute(k RouteKey, o *ownAttrs) Route {
	r := Route{Key: k, Attrs: o.attrs}
	if k.Type == MACIPRoute {
		r.Label = uint32(v.vni)
	}
	return r
}
