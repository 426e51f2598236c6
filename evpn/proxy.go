package evpn

import (
	"net/netip"
	"slices"
)

// maxHeard bounds the VTEPs of a VNI that count because they were heard: anybody on the
// segment can make up addresses. It is more than one group has in practice.
const maxHeard = 1024

// A VTEP that runs no EVPN is announced by one that heard it, with its own address as
// originator and next hop, so that those who copy for themselves reach it too.

func (c *Core) vtepHeard(ev VTEPHeard) {
	v := c.configured(ev.VNI)
	if v == nil || c.cfg.ours().fault(ev.VTEP) != fit {
		return
	}
	if f := v.floods[ev.VTEP]; f != nil && f.heard {
		return
	}
	if v.heard == maxHeard {
		if !v.crowded {
			v.crowded = true
			c.notes = append(c.notes, Note{Kind: NoteHeardLimit, VNI: v.vni, VTEP: ev.VTEP})
		}
		return // it is told again as long as it is heard
	}
	f := c.floodEntry(v, c.vtep(ev.VTEP))
	f.heard = true
	v.heard++
	c.name(f.via)
	c.touchFlood(f)
}

func (c *Core) vtepSilent(ev VTEPSilent) {
	if v := c.configured(ev.VNI); v != nil {
		if f := v.floods[ev.VTEP]; f != nil {
			c.silence(f)
		}
	}
}

func (c *Core) silence(f *floodEntry) {
	if f.heard {
		f.heard = false
		f.vni.heard--
		f.vni.crowded = false
		for f.macs != nil {
			c.forgetHeard(f.macs.mac)
		}
		c.unname(f.via)
		c.touchFlood(f)
	}
}

// forgetUnfit ends what was heard at addresses that are our own by now.
func (c *Core) forgetUnfit(v *instance) {
	for _, f := range v.floods {
		if c.cfg.ours().fault(f.addr) != fit {
			c.silence(f)
		}
	}
}

// heardSource is what a VTEP that was heard, and that nobody else names, counts as.
func (c *Core) heardSource(f *floodEntry) FloodSource {
	switch {
	case c.learns(f.vni):
		return SourceData
	case c.speaksFor(f):
		return SourceProxy
	}
	return ""
}

// speaksFor reports that f is of our segment and runs no EVPN, as far as we know, and that
// we speak and copy for such.
func (c *Core) speaksFor(f *floodEntry) bool {
	v := f.vni
	return f.heard && v.hears() && v.cfg.Segment.ProxyVTEPs && v.cfg.Segment.has(f.addr) && !f.isMember()
}

// spokenFor reports that all that names f as a VTEP comes from relays that speak for it.
func (f *floodEntry) spokenFor() bool {
	for p := f.head; p != nil; p = p.next {
		if p.set.attrs.Claim.State != RelayedFor {
			return false
		}
	}
	return true
}

// settleProxy sees whether we began or ended to speak for f, and the hosts behind it.
func (c *Core) settleProxy(f *floodEntry) {
	is := c.speaksFor(f)
	if is == f.proxied {
		return
	}
	f.proxied = is
	n := Note{Kind: NoteProxyVTEP, VNI: f.vni.vni, VTEP: f.addr}
	if !is {
		n.Kind = NoteProxyVTEPOver
	}
	c.notes = append(c.notes, n)
	for h := f.macs; h != nil; h = h.next {
		c.touchMAC(h.mac)
	}
}

// learns reports that VTEPs which send to our service address join the list.
func (c *Core) learns(v *instance) bool { return c.cfg.LearnFromData && c.replicates(v) }

// wantProxy gives the attributes of the type-3 by which we speak for f, nil for none.
func (c *Core) wantProxy(f *floodEntry, keep bool) *ownAttrs {
	v := f.vni
	switch {
	case f.services != nil:
		return nil
	case c.speaksFor(f):
		if c.delivers(v) || v.relay.withheld {
			return nil // it hears on the group what others would copy to it
		}
		// So that members know that it hears the group, even if it is in no prefix of theirs.
		claim := RelayClaim{Group: v.segment.group, State: RelayedFor}
		return c.attrsFor(v, ownKey{nextHop: f.addr, tunnel: v.ingressTo(f.addr), claim: claim}, keep)
	case !f.heard || !c.learns(v) || c.speaks(f):
		return nil
	}
	return c.attrsFor(v, ownKey{nextHop: f.addr, tunnel: v.ingressTo(f.addr)}, keep)
}

// speaks reports that f announces itself.
func (c *Core) speaks(f *floodEntry) bool {
	for p := f.head; p != nil; p = p.next {
		if !c.isProxy(p) {
			return true
		}
	}
	return false
}

// isProxy reports that the type-3 p comes from another replicator that speaks for the VTEP. It
// has the RD of that replicator, and so the RD of a Replicator-AR route, which may well be
// for the address that we share with it. Were it taken for the VTEP's own, two replicators
// that hear one VTEP would fall silent because of each other. The VTEP of a replicator looks
// the same; should it send to us as leaves do, it is announced twice, which does no harm.
func (c *Core) isProxy(p *path) bool {
	of := func(service netip.Addr) bool {
		k := RouteKey{Type: IMETRoute, RD: p.Key.RD, IP: service}
		for _, nb := range c.neighbors {
			if q := nb.paths[k]; q != nil && q.set.tunnel == PMSIAssistedReplication {
				return true
			}
		}
		return false
	}
	return of(c.cfg.Service) || slices.ContainsFunc(p.vni.replicators, func(f *floodEntry) bool { return of(f.addr) })
}

// touchHeard has all settled again that p, a Replicator-AR route which comes or goes, tells
// about: see isProxy.
func (c *Core) touchHeard(p *path) {
	if p.Key.Type != IMETRoute || p.set.tunnel != PMSIAssistedReplication {
		return
	}
	for _, v := range p.set.imports {
		for _, f := range v.floods {
			if f.heard {
				c.touchFlood(f)
			}
		}
	}
}
