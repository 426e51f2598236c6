package evpn

import (
	"net/netip"
	"slices"
)

// vtep is a remote VTEP that routes or static entries name, or that emitted rows
// point to.
//
// The underlay says whether it can be reached, but only of VTEPs that it was asked to
// track, which are those that are named. What it said is forgotten as soon as nothing
// names the VTEP, because nobody would tell of a change from then on.
type vtep struct {
	addr  netip.Addr
	head  *path // chain of the linked paths that name it
	named int   // those paths, static entries, and where it was heard
	rows  int   // emitted rows, and flood lists that have it

	tracked bool // as of the last Drain
	lapsed  bool // was not named for a while since then
	known   bool // as of the last Drain: rows or lists have it
	touched bool
	fading  bool // has to be looked at for being named when the event is done

	unreachable bool
	own         bool // unreachable, because the address is ours
	lost        bool // unreachable, and by policy or because it is ours its routes do not count
	reason      string
}

// vtep gives the entry for a.
func (c *Core) vtep(a netip.Addr) *vtep {
	t := c.vteps[a]
	if t == nil {
		t = &vtep{addr: a}
		c.vteps[a] = t
	}
	return t
}

func (c *Core) touchVTEP(t *vtep) {
	if !t.touched {
		t.touched = true
		c.touchedVTEPs = append(c.touchedVTEPs, t)
	}
}

func (c *Core) holdVTEP(t *vtep) *vtep {
	if t.rows++; t.rows == 1 {
		c.touchVTEP(t)
	}
	return t
}

func (c *Core) releaseVTEP(t *vtep) {
	if t == nil {
		return
	}
	if t.rows--; t.rows == 0 {
		c.touchVTEP(t)
	}
}

// name counts one more that names t.
func (c *Core) name(t *vtep) {
	if t.named++; t.named == 1 {
		c.touchVTEP(t)
	}
}

func (c *Core) unname(t *vtep) {
	if t.named--; t.named == 0 {
		c.touchVTEP(t)
		if !t.fading {
			t.fading = true
			c.fadingVTEPs = append(c.fadingVTEPs, t)
		}
	}
}

// forgetUnnamed ends what is known of VTEPs that nothing names any more.
func (c *Core) forgetUnnamed() {
	for _, t := range c.fadingVTEPs {
		t.fading = false
		if t.named == 0 {
			t.unreachable, t.own, t.lost, t.reason, t.lapsed = false, false, false, "", true
		}
	}
	c.fadingVTEPs = recycle(c.fadingVTEPs)
}

// enlist hangs a linked path to the VTEP that it names, unlist takes it off.
func (c *Core) enlist(p *path, a netip.Addr) {
	t := c.vtep(a)
	p.via = t
	p.viaNext = t.head
	if t.head != nil {
		t.head.viaPrev = p
	}
	t.head = p
	c.name(t)
}

func (c *Core) unlist(p *path) {
	t := p.via
	if p.viaPrev != nil {
		p.viaPrev.viaNext = p.viaNext
	} else {
		t.head = p.viaNext
	}
	if p.viaNext != nil {
		p.viaNext.viaPrev = p.viaPrev
	}
	p.via, p.viaNext, p.viaPrev = nil, nil, nil
	c.unname(t)
}

func (c *Core) nextHopState(ev NextHopState) {
	t := c.vteps[ev.VTEP]
	if t == nil || t.named == 0 {
		return
	}
	was := t.unreachable
	t.unreachable, t.own, t.reason = !ev.Reachable, !ev.Reachable && ev.Own, ""
	if t.unreachable {
		t.reason = ev.Reason
	}
	c.applyPolicy(t)
	if was == t.unreachable {
		return
	}
	n := Note{Kind: NoteVTEPReachable, VTEP: t.addr}
	if t.unreachable {
		n = Note{Kind: NoteVTEPUnreachable, VTEP: t.addr, Detail: t.reason}
	}
	c.notes = append(c.notes, n)
	for _, v := range c.vnis {
		if f := v.floods[t.addr]; f != nil && f.replicator {
			c.touchFlood(f)
		}
	}
}

// applyPolicy sees whether t is lost; when that changes, all that lies behind it is
// settled anew.
func (c *Core) applyPolicy(t *vtep) {
	lost := t.own || t.unreachable && c.cfg.Unreachable == UnreachableRemove
	if lost == t.lost {
		return
	}
	t.lost = lost
	for p := t.head; p != nil; p = p.viaNext {
		c.touchChains(p)
	}
	// Entries without a route are few, so there is no chain of them.
	for _, v := range c.vnis {
		if f := v.floods[t.addr]; f != nil && (f.static || f.heard) {
			c.touchFlood(f)
			for h := f.macs; h != nil; h = h.next {
				c.touchMAC(h.mac)
			}
		}
		for _, s := range v.cfg.StaticMACs {
			if m := v.macs[s.MAC]; m != nil && m.static != nil && m.static.via == t {
				c.touchMAC(m)
				c.touchRemoteIPs(m)
				c.touchStaticIPs(m)
			}
		}
	}
}

// trackNextHops compares what is named with what was told.
func (c *Core) trackNextHops(ch *Changes) {
	for _, t := range c.touchedVTEPs {
		t.touched = false
		if known := t.rows > 0; known != t.known {
			t.known = known
			kind := NoteVTEPUp
			if !known {
				kind = NoteVTEPDown
			}
			c.notes = append(c.notes, Note{Kind: kind, VTEP: t.addr})
		}
		named := t.named > 0
		if named != t.tracked || (named && t.lapsed) {
			// One that lapsed and is tracked is asked for again: what was said of it
			// meanwhile found no ear.
			ch.NextHops = append(ch.NextHops, NextHopChange{VTEP: t.addr, Remove: !named})
		}
		t.tracked, t.lapsed = named, false
		if t.named == 0 && t.rows == 0 {
			delete(c.vteps, t.addr)
		}
	}
	c.touchedVTEPs = recycle(c.touchedVTEPs)
	slices.SortFunc(ch.NextHops, func(a, b NextHopChange) int { return a.VTEP.Compare(b.VTEP) })
}

// desiredNextHops lists what is named, from the tables.
func (c *Core) desiredNextHops() []netip.Addr {
	named := map[netip.Addr]struct{}{}
	for _, nb := range c.neighbors {
		for _, p := range nb.paths {
			if p.linked {
				named[p.endpoint()] = struct{}{}
			}
		}
	}
	for _, v := range c.vnis {
		for a, f := range v.floods {
			if f.static || f.heard {
				named[a] = struct{}{}
			}
		}
		for _, s := range v.cfg.StaticMACs {
			if m := v.macs[s.MAC]; m != nil && m.static != nil {
				named[m.static.VTEP] = struct{}{}
			}
		}
	}
	var list []netip.Addr
	for a := range named {
		list = append(list, a)
	}
	slices.SortFunc(list, netip.Addr.Compare)
	return list
}
