package evpn

import (
	"net/netip"
	"slices"
)

// A VTEP that runs no EVPN is announced by one that heard it, with its own address as
// originator and next hop, so that those who copy for themselves reach it too.

func (c *Core) vtepHeard(ev VTEPHeard) {
	v := c.configured(ev.VNI)
	if v == nil || c.cfg.ours().fault(ev.VTEP) != fit {
		return
	}
	f := c.floodEntry(v, c.vtep(ev.VTEP))
	if !f.heard {
		f.heard = true
		c.name(f.via)
		c.touchFlood(f)
	}
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
	if c.learns(f.vni) {
		return SourceData
	}
	return ""
}

// learns reports that VTEPs which send to our service address join the list.
func (c *Core) learns(v *instance) bool { return c.cfg.LearnFromData && c.replicates(v) }

// wantProxy gives the attributes of the type-3 by which we speak for f, nil for none.
func (c *Core) wantProxy(f *floodEntry, keep bool) *ownAttrs {
	v := f.vni
	if !f.heard || !c.learns(v) || f.static || f.services != nil || c.speaks(f) {
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
// that hear one VTEP would fall silent because of each other.
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
