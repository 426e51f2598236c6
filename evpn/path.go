package evpn

import (
	"cmp"
	"net/netip"
)

// path is one route as one neighbour sent it. It is never changed once linked but
// for its marks: a route that changes is a new path.
//
// A path that is fit for use hangs in the chain of what it speaks about: the
// (VNI, MAC) of a type-2 and besides the (VNI, IP) when it has one, or the
// (VNI, VTEP) of a type-3. The links are part of the path, so that the usual case,
// one route for one MAC, needs no list beside it.
//
// Its fields are those of a [Route], laid out so that the marks fill the gaps: there
// can be a hundred thousand.
type path struct {
	Key            RouteKey
	ESI            ESI
	fault          fault
	linked         bool
	Label          uint32
	Label2         uint32
	stale, expired bool // neighbour restarts (RFC 4724 §4.2); for long (RFC 9494 §4.2)
	admitted       bool // has one of the neighbour's limited places
	waiting        bool // wants one

	set *attrSet
	nb  *neighbor
	vni *instance // that uses it: imports it and is named by its label
	mac *macEntry // type-2, while linked
	via *vtep     // that it names, while linked

	next, prev       *path // chain of the MAC or of the flood entry
	ipNext, ipPrev   *path // chain of the IP
	viaNext, viaPrev *path // chain of the VTEP
}

func (p *path) route() Route {
	return Route{Key: p.Key, ESI: p.ESI, Label: p.Label, Label2: p.Label2, Attrs: p.set.attrs}
}

// VNI is the network that the label names.
func (p *path) VNI() VNI { return p.route().VNI() }

// endpoint is the VTEP that the route names: where a type-3 wants BUM frames, and where
// the host of a type-2 is.
func (p *path) endpoint() netip.Addr {
	if p.Key.Type == IMETRoute {
		return p.set.endpoint
	}
	return p.set.attrs.NextHop
}

// compare orders paths for one MAC or IP, best first. Long-lived stale ones come last
// (RFC 9494 §4.3: least preferred), because what they say of mobility is old news.
// Mobility comes before all that BGP has to say (RFC 7432 §15: sticky, then sequence,
// then lowest VTEP address), because these are routes of different RDs which BGP never
// compares. The rest of the list chooses between copies (RFC 4271 §9.1), and ends in
// something that no two paths share, so the order in which they came does not matter.
func (p *path) compare(q *path) int {
	_, c := p.decide(q)
	return c
}

// decide is compare with the rule that made the difference.
func (p *path) decide(q *path) (Criterion, int) {
	if c := cmpBool(p.leastPreferred(), q.leastPreferred()); c != 0 {
		return ByLongLived, c
	}
	a, b := p.set.attrs, q.set.attrs
	if a != b {
		if c := cmpBool(b.Mobility.Sticky, a.Mobility.Sticky); c != 0 {
			return BySticky, c
		}
		if c := cmp.Compare(b.Mobility.Sequence, a.Mobility.Sequence); c != 0 {
			return BySequence, c
		}
		if c := a.NextHop.Compare(b.NextHop); c != 0 {
			return ByNextHop, c
		}
	}
	if c := cmpBool(p.stale, q.stale); c != 0 {
		return ByStale, c
	}
	if a != b {
		if c := cmp.Compare(b.LocalPref, a.LocalPref); c != 0 {
			return ByLocalPref, c
		}
		if c := cmp.Compare(a.ASPathLen, b.ASPathLen); c != 0 {
			return ByASPath, c
		}
		if c := cmp.Compare(a.Origin, b.Origin); c != 0 {
			return ByOrigin, c
		}
		if c := cmp.Compare(a.MED, b.MED); c != 0 {
			return ByMED, c
		}
	}
	if c := p.nb.addr.Compare(q.nb.addr); c != 0 {
		return ByNeighbor, c
	}
	return ByKey, p.Key.Compare(q.Key)
}

// leastPreferred reports a long-lived stale route: one of a neighbour that is away for
// long, or that whoever sent it had marked so (RFC 9494 §4.3).
func (p *path) leastPreferred() bool { return p.expired || p.set.attrs.LLGRStale }

// outdated reports that p is stale while another neighbour has a fresh copy of the same
// route: that one tells what its originator says now, so p has no say at all.
func (p *path) outdated() bool {
	if !p.stale {
		return false
	}
	for _, nb := range p.nb.all {
		if q := nb.paths[p.Key]; q != nil && !q.stale && q.linked && q.vni == p.vni {
			return true
		}
	}
	return false
}

func cmpBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	default:
		return 1
	}
}

// routesReceived takes one UPDATE: withdrawals first.
func (c *Core) routesReceived(ev RoutesReceived) {
	nb := c.neighbor(ev.Neighbor)
	nb.quiet.heard(c.now)
	for _, k := range ev.Withdrawn {
		if p := nb.paths[k]; p != nil {
			c.drop(p)
		}
	}
	var set *attrSet
	var attrs *Attrs
	for i := range ev.Announced {
		r := &ev.Announced[i]
		if r.Attrs == nil {
			continue
		}
		if r.Attrs != attrs {
			if set != nil {
				c.attrs.release(set)
			}
			attrs, set = r.Attrs, c.attrs.hold(r.Attrs, c.cfg.ours())
		}
		c.announce(nb, r, set)
	}
	if set != nil {
		c.attrs.release(set)
	}
}

func (c *Core) announce(nb *neighbor, r *Route, set *attrSet) {
	old := nb.paths[r.Key]
	if old != nil && old.set == set && old.ESI == r.ESI && old.Label == r.Label && old.Label2 == r.Label2 {
		c.refresh(old)
		return
	}
	p := &path{Key: r.Key, ESI: r.ESI, Label: r.Label, Label2: r.Label2, set: set, nb: nb}
	set.refs++
	was := fit
	if old != nil {
		was = old.fault
		p.admitted = old.admitted
		old.admitted = false // the place goes over
		c.forget(old)
	}
	nb.paths[r.Key] = p
	c.place(p)
	c.noteFault(p, was)
}

// refresh takes a repetition: the route is as it was, and no longer stale.
func (c *Core) refresh(p *path) {
	if !p.stale {
		return
	}
	p.stale, p.expired = false, false
	p.nb.stale--
	c.touchChains(p)
}

// drop removes a route that ended.
func (c *Core) drop(p *path) {
	delete(p.nb.paths, p.Key)
	c.forget(p)
}

// forget undoes all that p did, except its place in the neighbour's table.
func (c *Core) forget(p *path) {
	c.unlink(p)
	c.touchHeard(p)
	c.leavePlace(p)
	if p.stale {
		p.nb.stale--
	}
	p.waiting = false
	c.attrs.release(p.set)
}

// place judges p and hangs it where it belongs.
func (c *Core) place(p *path) {
	p.vni, p.fault = p.judge()
	c.touchHeard(p)
	if p.fault != fit {
		c.leavePlace(p)
		return
	}
	if !c.takePlace(p) {
		return
	}
	c.link(p)
}

// replace judges p again after the configuration changed.
func (c *Core) replace(p *path) {
	vni, f := p.judge()
	if vni == p.vni && f == p.fault {
		return
	}
	was := p.fault
	c.unlink(p)
	c.place(p)
	c.noteFault(p, was)
}

// judge says which VNI uses p, or why none does.
func (p *path) judge() (*instance, fault) {
	s := p.set
	switch p.Key.Type {
	case MACIPRoute:
		switch {
		case s.fault == faultOwnNextHop:
			return nil, s.fault
		case p.Key.MAC.IsGroup():
			return nil, faultGroupMAC
		case p.Key.MAC.IsZero():
			return nil, faultZeroMAC
		case p.Label == 0:
			return nil, faultLabelZero
		}
	case IMETRoute:
		if s.fault == fit && s.imet != fit {
			return nil, s.imet
		}
	default:
		return nil, faultTypeNotUsed
	}
	switch {
	case s.fault != fit:
		return nil, s.fault
	case p.Key.Tag != 0:
		// RFC 8365 §5.1.3: the VLAN-based service has Ethernet tag 0.
		return nil, faultTagNotZero
	case len(s.imports) == 0:
		return nil, faultNoImport
	}
	// A VXLAN device sends into its own VNI only, so of the VNIs that import the
	// route the one it names is the one that can use it.
	label := p.VNI()
	for _, v := range s.imports {
		switch {
		case v.vni != label:
		case p.Key.RD == v.cfg.RD:
			// RFC 7432 §7.9: the RD is of one MAC-VRF alone. What we say for VTEPs
			// without EVPN comes back like this, with their address as next hop.
			return nil, faultOwnRoute
		default:
			return v, fit
		}
	}
	return nil, faultLabelMismatch
}

// link hangs p into its chains.
func (c *Core) link(p *path) {
	p.linked = true
	p.nb.accepted++
	c.enlist(p, p.endpoint())
	if p.Key.Type == IMETRoute {
		f := c.floodEntry(p.vni, p.via)
		p.pushTo(f.chain(p))
		c.addClaim(p)
		c.touchFlood(f)
		return
	}
	p.mac = p.vni.macEntry(p.Key.MAC)
	p.pushTo(&p.mac.head)
	c.touchMAC(p.mac)
	if p.namesIP() {
		e := p.vni.ipEntry(p.Key.IP)
		p.ipNext = e.head
		if e.head != nil {
			e.head.ipPrev = p
		}
		e.head = p
		c.touchIP(e)
	}
}

// namesIP reports whether p speaks about an IP that a host can have. A type-2 with
// another one, such as a group address, counts for its MAC alone: nobody can have it
// as a neighbour.
func (p *path) namesIP() bool {
	ip := p.Key.IP
	return ip.IsValid() && !ip.IsUnspecified() && !ip.IsMulticast() && !ip.IsLoopback() && !ip.Is4In6()
}

func (p *path) pushTo(head **path) {
	p.next = *head
	if *head != nil {
		(*head).prev = p
	}
	*head = p
}

// unlink takes p out of its chains; what they spoke about is settled anew.
func (c *Core) unlink(p *path) {
	if !p.linked {
		return
	}
	c.touchChains(p)
	p.linked = false
	p.nb.accepted--
	c.unlist(p)
	if p.Key.Type == IMETRoute {
		p.takeFrom(p.vni.floods[p.set.endpoint].chain(p))
		c.removeClaim(p)
		return
	}
	p.takeFrom(&p.mac.head)
	p.mac = nil
	if p.namesIP() {
		if p.ipPrev != nil {
			p.ipPrev.ipNext = p.ipNext
		} else {
			p.vni.ips[p.Key.IP].head = p.ipNext
		}
		if p.ipNext != nil {
			p.ipNext.ipPrev = p.ipPrev
		}
		p.ipNext, p.ipPrev = nil, nil
	}
}

func (p *path) takeFrom(head **path) {
	if p.prev != nil {
		p.prev.next = p.next
	} else {
		*head = p.next
	}
	if p.next != nil {
		p.next.prev = p.prev
	}
	p.next, p.prev = nil, nil
}

// touchChains has all that p speaks about settled again.
func (c *Core) touchChains(p *path) {
	if !p.linked {
		return
	}
	if p.Key.Type == IMETRoute {
		c.touchFlood(p.vni.floods[p.set.endpoint])
		if p.set.attrs.Claim.Group != 0 {
			c.touchRelay(p.vni)
		}
		return
	}
	c.touchMAC(p.mac)
	if p.namesIP() {
		c.touchIP(p.vni.ips[p.Key.IP])
	}
}
