package evpn

import (
	"maps"
	"net/netip"
	"slices"
)

// instance is one VNI: its configuration, whether it lives, and its tables.
type instance struct {
	vni        VNI
	cfg        VNIConfig
	up         bool
	downReason string
	removed    bool // left the configuration; goes with the next Drain

	macs   map[MAC]*macEntry
	ips    map[netip.Addr]*ipEntry
	floods map[netip.Addr]*floodEntry

	own map[ownKey]*ownAttrs // attributes of our routes in use

	// Last emitted: attributes of our type-3 and of our Replicator-AR route, the row of
	// the group, and what the flooding module does.
	imet    *ownAttrs
	service *ownAttrs
	group   netip.Addr
	task    Relay

	replicators []*floodEntry // that have a Replicator-AR route
	chosen      *floodEntry   // of these, in an assisted VNI
	rechoose    bool

	segment segment
	relay   relay
	heard   int  // VTEPs
	crowded bool // was noted: there are too many of them

	counts     [ownerKinds]int // MACs by owner
	admitted   int
	waiting    minHeap[*macEntry]
	limitNoted bool
	refill     bool

	pending     bool
	dirtyMACs   []*macEntry
	dirtyIPs    []*ipEntry
	dirtyFloods []*floodEntry
}

func newInstance(vni VNI) *instance {
	v := &instance{
		vni:    vni,
		macs:   map[MAC]*macEntry{},
		ips:    map[netip.Addr]*ipEntry{},
		floods: map[netip.Addr]*floodEntry{},
		own:    map[ownKey]*ownAttrs{},
	}
	v.relay.vni = v
	return v
}

// configure applies the difference to a new configuration.
func (c *Core) configure(cfg Config) {
	old := c.cfg
	c.cfg = cfg
	ownChanged := old.ours() != cfg.ours()
	reindex := ownChanged

	wanted := make(map[VNI]bool, len(cfg.VNIs))
	for _, vc := range cfg.VNIs {
		wanted[vc.VNI] = true
		v := c.vnis[vc.VNI]
		if v == nil {
			v = newInstance(vc.VNI)
			c.vnis[vc.VNI] = v
			reindex = true
		}
		reindex = reindex || v.removed || v.cfg.RD != vc.RD || !slices.Equal(v.cfg.Import, vc.Import)
		v.removed = false
		c.configureVNI(v, vc, ownChanged || old.LearnFromData != cfg.LearnFromData)
	}
	for vni, v := range c.vnis {
		if !wanted[vni] && !v.removed {
			c.removeVNI(v)
			reindex = true
		}
	}
	if old.Unreachable != cfg.Unreachable {
		for _, t := range c.vteps {
			c.applyPolicy(t)
		}
	}
	if reindex {
		c.attrs.index(c.vnis, cfg.ours())
		for _, nb := range c.neighbors {
			for _, p := range nb.paths {
				c.replace(p)
			}
		}
	}
	for addr, nb := range c.neighbors {
		c.limitNeighbor(nb, cfg.NeighborLimits[addr])
	}
	if old.Duplicate != cfg.Duplicate {
		c.rearmAll()
	}
}

// configureVNI takes the configuration of a VNI; of all that concerns all of them, changed
// says whether our own addresses, or what we do at them, are others now.
func (c *Core) configureVNI(v *instance, vc VNIConfig, changed bool) {
	was := v.cfg
	v.cfg = vc
	before := v.segment
	v.segment = newSegment(&vc.Segment)
	c.markVNI(v)
	if was.Flooding != vc.Flooding || v.up && (v.relay.vtep != c.cfg.VTEP || before.group != v.segment.group) {
		c.leaveSegment(v)
	}
	v.relay.vtep = c.cfg.VTEP
	if v.relay.active && !slices.Equal(before.prefixes, v.segment.prefixes) {
		// Those who copied for another segment until now do not know of us yet.
		active, _ := v.relay.others()
		v.relay.active = !active.found()
	}
	if changed || was.RD != vc.RD || !slices.Equal(was.Export, vc.Export) || !slices.Equal(before.prefixes, v.segment.prefixes) {
		// Every route of ours changes. Entries hold on to the old attributes until
		// Drain has compared them.
		v.own = map[ownKey]*ownAttrs{}
		c.touchAll(v)
	}
	if was.Flooding != vc.Flooding || !was.Segment.equal(vc.Segment) {
		for _, f := range v.floods {
			c.touchFlood(f)
			for h := f.macs; h != nil; h = h.next {
				c.touchMAC(h.mac)
			}
		}
		c.touchRelay(v)
	}
	if changed {
		c.forgetUnfit(v)
		c.touchRelay(v)
	}
	if was.Suppression != vc.Suppression {
		for _, e := range v.ips {
			c.touchIP(e)
		}
	}
	if was.MaxMACs != vc.MaxMACs {
		c.limitVNI(v, was.MaxMACs)
	}
	c.configureStatics(v, was, vc)
}

func (c *Core) configureStatics(v *instance, was, vc VNIConfig) {
	for _, a := range was.StaticVTEPs {
		if f := v.floods[a]; f != nil && f.static {
			f.static = false
			c.unname(f.via)
			c.touchFlood(f)
		}
	}
	for _, s := range was.StaticMACs {
		if m := v.macs[s.MAC]; m != nil && m.static != nil {
			c.unname(m.static.via)
			m.static = nil
			c.touchMAC(m)
		}
		if e := v.ips[s.IP]; e != nil {
			e.static = nil
			c.touchIP(e)
		}
	}
	for _, a := range vc.StaticVTEPs {
		if c.cfg.ours().fault(a) != fit {
			continue
		}
		f := c.floodEntry(v, c.vtep(a))
		if !f.static {
			f.static = true
			c.name(f.via)
		}
		c.touchFlood(f)
	}
	for i := range vc.StaticMACs {
		s := &vc.StaticMACs[i]
		if c.cfg.ours().fault(s.VTEP) != fit || s.MAC.IsZero() || s.MAC.IsGroup() {
			continue
		}
		m := v.macEntry(s.MAC)
		if m.static == nil { // further entries of a MAC only add IPs
			m.static = &staticMAC{StaticMAC: s, via: c.vtep(s.VTEP)}
			c.name(m.static.via)
		}
		c.touchMAC(m)
		if s.IP.IsValid() {
			e := v.ipEntry(s.IP)
			e.static = m
			c.touchIP(e)
		}
	}
}

func (c *Core) removeVNI(v *instance) {
	v.removed, v.up, v.downReason = true, false, ""
	c.leaveSegment(v)
	for _, m := range v.macs {
		m.local = nil
		m.log = nil
	}
	for _, e := range v.ips {
		e.log = nil
		e.unbind()
	}
	for _, f := range v.floods {
		c.silence(f)
	}
	c.configureStatics(v, v.cfg, VNIConfig{})
	v.cfg = VNIConfig{VNI: v.vni, RD: v.cfg.RD}
	c.touchAll(v)
	c.markVNI(v)
}

func (c *Core) vniState(ev VNIState) {
	v := c.vnis[ev.VNI]
	if v == nil || v.removed {
		return
	}
	was := v.up
	v.up, v.downReason = ev.Up, ""
	if !ev.Up {
		v.downReason = ev.Reason
	}
	if was == ev.Up {
		return
	}
	n := Note{Kind: NoteVNIUp, VNI: v.vni}
	if !ev.Up {
		n = Note{Kind: NoteVNIDown, VNI: v.vni, Detail: ev.Reason}
	}
	c.notes = append(c.notes, n)
	c.touchAll(v)
	if !v.up {
		c.leaveSegment(v)
	}
	c.touchRelay(v)
	c.markVNI(v)
}

// configured finds the VNI of an event; nil when it is not configured.
func (c *Core) configured(vni VNI) *instance {
	if v := c.vnis[vni]; v != nil && !v.removed {
		return v
	}
	return nil
}

func (c *Core) touchAll(v *instance) {
	for _, m := range v.macs {
		c.touchMAC(m)
	}
	for _, e := range v.ips {
		c.touchIP(e)
	}
	for _, f := range v.floods {
		c.touchFlood(f)
	}
}

// markVNI has the next Drain look at v.
func (c *Core) markVNI(v *instance) {
	if !v.pending {
		v.pending = true
		c.pending = append(c.pending, v)
	}
}

// sortedVNIs lists the configured VNIs in order.
func (c *Core) sortedVNIs() []*instance {
	vs := make([]*instance, 0, len(c.vnis))
	for _, vni := range slices.Sorted(maps.Keys(c.vnis)) {
		if v := c.vnis[vni]; !v.removed {
			vs = append(vs, v)
		}
	}
	return vs
}
