package evpn

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"time"
)

// maxIgnoredNotes bounds the notes about ignored routes that one Drain gives; the
// rest are counted in one more note. `route show` has them all.
const maxIgnoredNotes = 100

// Drain gives the net effect of the events since the last Drain. Time passes to
// now first, so what timers do by then is in it.
func (c *Core) Drain(now time.Time) Changes {
	c.advance(now)
	c.settle()
	var ch Changes
	slices.SortFunc(c.pending, func(a, b *instance) int { return cmp.Compare(a.vni, b.vni) })
	for _, v := range c.pending {
		c.drainVNI(v, &ch)
	}
	c.pending = recycle(c.pending)
	if len(ch.Rows) == 0 {
		ch.Rows = nil // there was room for some
	}
	c.trackNextHops(&ch)

	sortRoutes(ch.Announce)
	if !slices.IsSortedFunc(ch.Withdraw, RouteKey.Compare) {
		slices.SortFunc(ch.Withdraw, RouteKey.Compare)
	}
	ch.Withdraw = withoutAnnounced(ch.Withdraw, ch.Announce)
	ch.Announce = withoutRepeated(ch.Announce, c.ended)
	c.ended = recycle(c.ended)
	ch.Notes = trimNotes(c.notes)
	c.notes = nil
	return ch
}

// drainVNI compares what v wants with what was emitted for it. Rows come out in
// canonical order: flood, MACs, neighbours.
func (c *Core) drainVNI(v *instance, ch *Changes) {
	v.pending = false
	ch.Rows = slices.Grow(ch.Rows, v.rowsToLookAt())
	c.drainFloods(v, ch)
	slices.SortFunc(v.dirtyMACs, func(a, b *macEntry) int { return a.mac.Compare(b.mac) })
	for _, m := range v.dirtyMACs {
		c.drainMAC(v, m, ch)
	}
	slices.SortFunc(v.dirtyIPs, func(a, b *ipEntry) int { return a.ip.Compare(b.ip) })
	for _, e := range v.dirtyIPs {
		e.dirty = false
		c.drainIP(v, e, ch)
		if e.unused() {
			delete(v.ips, e.ip)
		}
	}
	for _, m := range v.dirtyMACs {
		m.dirty = false
		if m.unused() {
			delete(v.macs, m.mac)
			v.counts[m.owner]--
		}
	}
	v.dirtyFloods, v.dirtyMACs, v.dirtyIPs = recycle(v.dirtyFloods), recycle(v.dirtyMACs), recycle(v.dirtyIPs)
	if v.removed {
		delete(c.vnis, v.vni)
	}
}

// rowsToLookAt bounds the changes of rows that the next Drain gives for v: with many,
// growing into them costs more than they do.
func (v *instance) rowsToLookAt() int {
	n := len(v.dirtyFloods)
	for _, m := range v.dirtyMACs {
		if m.row != nil || m.owner == ownRemote || m.owner == ownStatic {
			n++
		}
	}
	for _, e := range v.dirtyIPs {
		if e.hasRow || e.owner == ownRemote || e.owner == ownStatic {
			n++
		}
	}
	return n
}

// emit moves an emitted route from *slot to want. oldKey and newKey give the keys of
// a route with these attributes.
func (c *Core) emit(v *instance, ch *Changes, slot **ownAttrs, want *ownAttrs, oldKey, newKey func(*ownAttrs) RouteKey) {
	old := *slot
	if old == nil && want == nil {
		return
	}
	var was, is RouteKey
	if old != nil {
		was = oldKey(old)
	}
	if want != nil {
		is = newKey(want)
	}
	if old == want && was == is {
		return
	}
	if old != nil && was != is {
		ch.Withdraw = append(ch.Withdraw, was)
		if was.Type == IMETRoute {
			c.ended = append(c.ended, &Route{Key: was, Attrs: old.attrs})
		}
	}
	if want != nil && (was != is || !old.same(want)) {
		ch.Announce = append(ch.Announce, v.ownRoute(is, want))
	}
	*slot = want
	v.holdOwn(want)
	v.releaseOwn(old)
}

func (c *Core) drainMAC(v *instance, m *macEntry, ch *Changes) {
	if want := c.wantMAC(m, true); want != nil || m.own != nil {
		key := func(o *ownAttrs) RouteKey { return macKey(o, m.mac) }
		c.emit(v, ch, &m.own, want, key, key)
	}
	want, ok := m.wantRow(m.owner, m.best)
	had := m.row != nil
	if ok == had && (!ok || (m.row.addr == want.VTEP && m.sticky == want.Sticky)) {
		return
	}
	var was RowValue
	if had {
		was = RowValue{VTEP: m.row.addr, Sticky: m.sticky}
	}
	key := RowKey{Kind: MACRow, VNI: v.vni, MAC: m.mac}
	ch.Rows = append(ch.Rows, RowChange{Row: Row{RowKey: key, RowValue: want}, Remove: !ok, Was: was})
	old := m.row
	m.row, m.sticky = nil, want.Sticky
	if ok {
		m.row = c.holdVTEP(m.via())
	}
	c.releaseVTEP(old)
}

func (c *Core) drainIP(v *instance, e *ipEntry, ch *Changes) {
	if want := c.wantIP(e, e.owner, true); want != nil || e.own != nil {
		oldMAC, newMAC := e.ownMAC, MAC{}
		if e.bound != nil {
			newMAC = e.bound.mac
		}
		c.emit(v, ch, &e.own, want,
			func(o *ownAttrs) RouteKey { return e.key(o, oldMAC) },
			func(o *ownAttrs) RouteKey { return e.key(o, newMAC) })
		e.ownMAC = newMAC
	}
	want, ok := e.wantRow(c.judgeIP(e))
	if ok == e.hasRow && (!ok || e.rowMAC == want.MAC && e.rowRouter == want.Router) {
		return
	}
	key := RowKey{Kind: NeighborRow, VNI: v.vni, IP: e.ip}
	was := RowValue{MAC: e.rowMAC, Router: e.rowRouter}
	ch.Rows = append(ch.Rows, RowChange{Row: Row{RowKey: key, RowValue: want}, Remove: !ok, Was: was})
	e.rowMAC, e.rowRouter, e.hasRow = want.MAC, want.Router, ok
}

func sortRoutes(rs []Route) {
	byKey := func(a, b Route) int { return a.Key.Compare(b.Key) }
	if !slices.IsSortedFunc(rs, byKey) {
		slices.SortFunc(rs, byKey)
	}
}

// withoutAnnounced keeps of the withdrawn keys those that are not announced in the
// same breath, as when two VNIs swap their RDs. Both lists are sorted.
func withoutAnnounced(withdrawn []RouteKey, announced []Route) []RouteKey {
	kept := withdrawn[:0]
	for _, k := range withdrawn {
		for len(announced) > 0 && announced[0].Key.Compare(k) < 0 {
			announced = announced[1:]
		}
		if len(announced) == 0 || announced[0].Key != k {
			kept = append(kept, k)
		}
	}
	return kept
}

// withoutRepeated keeps of what is announced, which is sorted, that which was not so before, for another reason:
// we spoke for a VTEP whose address is ours now.
func withoutRepeated(announced []Route, ended []*Route) []Route {
	for _, e := range ended {
		i, found := slices.BinarySearchFunc(announced, e.Key, func(r Route, k RouteKey) int { return r.Key.Compare(k) })
		if found && bytes.Equal(appendAttrs(nil, announced[i].Attrs), appendAttrs(nil, e.Attrs)) {
			announced = slices.Delete(announced, i, i+1)
		}
	}
	return announced
}

// trimNotes sorts notes and bounds their number.
func trimNotes(notes []Note) []Note {
	slices.SortStableFunc(notes, func(a, b Note) int {
		return cmp.Or(
			cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.VNI, b.VNI), a.MAC.Compare(b.MAC), a.IP.Compare(b.IP),
			a.VTEP.Compare(b.VTEP), a.Neighbor.Compare(b.Neighbor), cmp.Compare(a.Reason, b.Reason),
			cmp.Compare(a.Detail, b.Detail),
		)
	})
	kept, ignored := notes[:0], 0
	for _, n := range notes {
		if n.Kind == NoteRouteIgnored {
			if ignored++; ignored > maxIgnoredNotes {
				continue
			}
		}
		kept = append(kept, n)
	}
	if ignored > maxIgnoredNotes {
		kept = append(kept, Note{Kind: NoteRouteIgnored, Detail: fmt.Sprintf("and %d more", ignored-maxIgnoredNotes)})
	}
	return kept
}
