package evpn

import (
	"net/netip"
	"slices"
	"time"
)

// floodEntry is one address to which BUM frames of a VNI may go: a VTEP, which is wanted by
// type-3 routes, by the configuration, because it was heard, or by several of them; or where
// a replicator listens. Type-2 routes have no say, so the life of a flood row is not tangled
// with that of the MACs behind the same VTEP.
type floodEntry struct {
	vni      *instance
	addr     netip.Addr
	via      *vtep     // with that address
	head     *path     // type-3 routes that want copies there
	services *path     // Replicator-AR routes
	silent   *path     // type-3 routes that want no copies: they are there for their claim
	macs     *heardMAC // heard behind it

	// Together, for there can be a hundred thousand entries.
	proxied    bool // was noted
	static     bool
	heard      bool // see [VTEPHeard]
	touched    bool
	dirty      bool
	replicator bool // is in the list of its VNI
	row        bool // last emitted

	activeAt time.Time // when it may be chosen as a replicator; zero = by now

	// Last emitted, as row.
	use    ListValue
	member *vtep     // its via, while it is on the flood list
	own    *ownAttrs // our type-3 that speaks for it
}

// floodState is what follows for an entry. The zero value is nothing.
type floodState struct {
	source FloodSource
	role   FloodRole // empty: not on the list that people are shown
	row    bool      // the kernel has a row for it
	use    ListUse   // what the flooding module does with it; 0 = does not know it
}

// value is what the flooding module is told.
func (s floodState) value() ListValue {
	if s.use == 0 {
		return ListValue{}
	}
	return ListValue{Use: s.use, Source: s.source}
}

// judgeFlood says what follows for f; chosen is the replicator of its VNI.
func (c *Core) judgeFlood(f, chosen *floodEntry) floodState {
	v := f.vni
	mode := v.cfg.Flooding
	if !v.up || mode == FloodOff {
		return floodState{}
	}
	if f.services != nil {
		// Whatever else names it: what goes there is copied again (RFC 9574 §5.1).
		return v.judgeReplicator(f, chosen)
	}
	if f.isMember() {
		// Whether or not it can be reached: it copies its own frames all the same.
		return floodState{source: SourceBGP, role: RoleSegment, use: UseItself}
	}
	s := floodState{source: c.floodSource(f), role: RoleVTEP}
	if s.source == "" || f.via.lost {
		return floodState{}
	}
	switch mode {
	case FloodMulticast:
		if s.use = UseCopy; f.inSegment() {
			s.role, s.use = RoleSegment, 0
		}
	case FloodAssisted:
		if s.row = chosen == nil && c.synced; !s.row {
			s.role = RoleStandby
		}
	case FloodReplicator:
		s.row, s.use = true, UseCopy
	default:
		s.row = true
	}
	return s
}

// floodSource says who named f as a VTEP, the most lasting first; empty when nobody did.
func (c *Core) floodSource(f *floodEntry) FloodSource {
	switch {
	case f.static:
		return SourceStatic
	case f.head != nil && (!c.speaksFor(f) || !f.spokenFor()):
		return SourceBGP
	case !f.heard:
		return ""
	}
	return c.heardSource(f)
}

// wantGroup is the group to which the kernel sends BUM frames of v; zero when it does not.
func (v *instance) wantGroup() netip.Addr {
	if v.hears() {
		return v.cfg.Segment.Group
	}
	return netip.Addr{}
}

// wantRelay is what the flooding module does for v. The zero value is nothing.
func (c *Core) wantRelay(v *instance) Relay {
	switch {
	case c.replicates(v):
		return Relay{VNI: v.vni, Replicate: true}
	case v.hears():
		return c.wantSegment(v)
	}
	return Relay{}
}

func (c *Core) floodEntry(v *instance, t *vtep) *floodEntry {
	f := v.floods[t.addr]
	if f == nil {
		f = &floodEntry{vni: v, addr: t.addr}
		v.floods[t.addr] = f
	}
	f.via = t
	return f
}

// chain is where a type-3 route hangs, by what it announces.
func (f *floodEntry) chain(p *path) **path {
	switch p.set.tunnel {
	case PMSIAssistedReplication:
		return &f.services
	case PMSINoTunnel:
		return &f.silent
	}
	return &f.head
}

// unused reports that nothing is known and nothing emitted any more.
func (f *floodEntry) unused() bool {
	return f.head == nil && f.services == nil && f.silent == nil && f.macs == nil && !f.static && !f.heard && !f.replicator &&
		!f.row && f.use == ListValue{} && f.member == nil && f.own == nil
}

func (c *Core) touchFlood(f *floodEntry) {
	if !f.touched {
		f.touched = true
		c.touchedFloods = append(c.touchedFloods, f)
	}
}

func (c *Core) markFlood(f *floodEntry) {
	if !f.dirty {
		f.dirty = true
		f.vni.dirtyFloods = append(f.vni.dirtyFloods, f)
		c.markVNI(f.vni)
	}
}

// settleFlood decides anew what f is.
func (c *Core) settleFlood(f *floodEntry) {
	f.touched = false
	c.settleReplicator(f)
	c.markFlood(f)
}

// drainFloods compares what v wants of the kernel's list and of the flooding module's, and
// of its type-3 routes, with what was emitted.
func (c *Core) drainFloods(v *instance, ch *Changes) {
	c.emit(v, ch, &v.imet, c.wantIMET(v, true), imetKey, imetKey)
	c.emit(v, ch, &v.service, c.wantService(v, true), imetKey, imetKey)
	slices.SortFunc(v.dirtyFloods, func(a, b *floodEntry) int { return a.addr.Compare(b.addr) })
	first := len(ch.Rows)
	for _, f := range v.dirtyFloods {
		f.dirty = false
		c.drainFlood(f, ch)
		if f.unused() {
			delete(v.floods, f.addr)
		}
	}
	c.drainGroup(v, ch, first)
	if want := c.wantRelay(v); want != v.task {
		change := RelayChange{Relay: want}
		if want == (Relay{}) {
			change = RelayChange{Relay: Relay{VNI: v.vni}, Remove: true}
		}
		ch.Relays = append(ch.Relays, change)
		v.task = want
	}
}

func (c *Core) drainFlood(f *floodEntry, ch *Changes) {
	v := f.vni
	c.emit(v, ch, &f.own, c.wantProxy(f, true), imetKey, imetKey)
	s := c.judgeFlood(f, v.chosen)
	if s.row != f.row {
		ch.Rows = append(ch.Rows, RowChange{Row: v.floodRow(f.addr), Remove: !s.row})
		f.row = s.row
	}
	if use := s.value(); use != f.use {
		e := ListEntry{ListKey: ListKey{VNI: v.vni, VTEP: f.addr}, ListValue: use}
		ch.Lists = append(ch.Lists, ListChange{ListEntry: e, Remove: s.use == 0})
		f.use = use
	}
	if s.role != "" && f.member == nil {
		f.member = c.holdVTEP(f.via)
	} else if s.role == "" {
		c.releaseVTEP(f.member)
		f.member = nil
	}
}

// drainGroup does the same for the row of the group, which has its place among the rows of
// the list: those from first on.
func (c *Core) drainGroup(v *instance, ch *Changes, first int) {
	want := v.wantGroup()
	if want == v.group {
		return
	}
	if v.group.IsValid() {
		ch.Rows = append(ch.Rows, RowChange{Row: v.floodRow(v.group), Remove: true})
	}
	if want.IsValid() {
		ch.Rows = append(ch.Rows, RowChange{Row: v.floodRow(want)})
	}
	v.group = want
	slices.SortFunc(ch.Rows[first:], func(a, b RowChange) int { return a.Compare(b.RowKey) })
}

func (v *instance) floodRow(a netip.Addr) Row {
	return Row{RowKey: RowKey{Kind: FloodRow, VNI: v.vni, IP: a}}
}

// desiredFloods lists the type-3 routes, flood rows and lists of v, decided anew.
func (c *Core) desiredFloods(v *instance, d *Desired) {
	own := func(o *ownAttrs) {
		if o != nil {
			d.Routes = append(d.Routes, v.ownRoute(imetKey(o), o))
		}
	}
	own(c.wantIMET(v, false))
	own(c.wantService(v, false))
	first, chosen := len(d.Rows), c.choose(v)
	for _, f := range v.sortedFloods() {
		own(c.wantProxy(f, false))
		s := c.judgeFlood(f, chosen)
		if s.row {
			d.Rows = append(d.Rows, v.floodRow(f.addr))
		}
		if s.use != 0 {
			d.Lists = append(d.Lists, ListEntry{ListKey: ListKey{VNI: v.vni, VTEP: f.addr}, ListValue: s.value()})
		}
	}
	if g := v.wantGroup(); g.IsValid() {
		d.Rows = append(d.Rows, v.floodRow(g))
		slices.SortFunc(d.Rows[first:], func(a, b Row) int { return a.Compare(b.RowKey) })
	}
	if r := c.wantRelay(v); r != (Relay{}) {
		d.Relays = append(d.Relays, r)
	}
}

func (v *instance) sortedFloods() []*floodEntry {
	return sortedValues(v.floods, func(a, b *floodEntry) int { return a.addr.Compare(b.addr) })
}

// Flood lists the flood list of one VNI (0 = all), in order, whoever copies. A VTEP that
// BGP and the configuration both name counts as static, because it stays when BGP forgets it.
func (c *Core) Flood(vni VNI) (list []FloodEntry) {
	if vni == 0 {
		for _, v := range c.sortedVNIs() {
			list = append(list, c.floodList(v)...)
		}
		return list
	}
	if v := c.configured(vni); v != nil {
		return c.floodList(v)
	}
	return nil
}

func (c *Core) floodList(v *instance) []FloodEntry {
	list := make([]FloodEntry, 0, len(v.floods))
	for _, f := range v.sortedFloods() {
		if s := c.judgeFlood(f, v.chosen); s.role != "" {
			list = append(list, FloodEntry{
				VNI: v.vni, VTEP: f.addr, Source: s.source, Role: s.role, Kernel: s.row, Copied: s.use == UseCopy,
			})
		}
	}
	return list
}
