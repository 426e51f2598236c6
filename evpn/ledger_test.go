package evpn_test

import (
	"slices"

	"github.com/stretchr/testify/assert"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/evpn/journal"
)

// ledger adds up changes as daemon and kernel would.
type ledger struct {
	routes map[evpn.RouteKey]evpn.Route
	rows   map[evpn.RowKey]evpn.Row
	hops   map[addr]bool
	lists  map[evpn.ListKey]evpn.ListEntry
	relays map[evpn.VNI]evpn.Relay
}

func newLedger() *ledger {
	return &ledger{
		routes: map[evpn.RouteKey]evpn.Route{}, rows: map[evpn.RowKey]evpn.Row{}, hops: map[addr]bool{},
		lists: map[evpn.ListKey]evpn.ListEntry{}, relays: map[evpn.VNI]evpn.Relay{},
	}
}

// apply takes changes, and holds them to what [evpn.Changes] promises: sorted, one
// change per key, nothing that changes nothing.
func (l *ledger) apply(t assert.TestingT, ch evpn.Changes) {
	seen := map[evpn.RouteKey]bool{}
	for i, r := range ch.Announce {
		assert.False(t, seen[r.Key], "two changes of %s", r.Key)
		seen[r.Key] = true
		if i > 0 {
			assert.Negative(t, ch.Announce[i-1].Key.Compare(r.Key), "announcements are sorted")
		}
		if old, ok := l.routes[r.Key]; ok {
			assert.NotEqual(t, old, r, "announced again without change")
		}
		l.routes[r.Key] = r
	}
	for i, k := range ch.Withdraw {
		assert.False(t, seen[k], "two changes of %s", k)
		seen[k] = true
		if i > 0 {
			assert.Negative(t, ch.Withdraw[i-1].Compare(k), "withdrawals are sorted")
		}
		assert.Contains(t, l.routes, k, "withdrawn without being announced")
		delete(l.routes, k)
	}
	for i, r := range ch.Rows {
		if i > 0 {
			assert.Negative(t, ch.Rows[i-1].Compare(r.RowKey), "rows are sorted and unique")
		}
		old, had := l.rows[r.RowKey]
		assert.Equal(t, old.RowValue, r.Was, "says what was there: %s", journal.RowText(r.Row))
		if r.Remove {
			assert.True(t, had, "removed without being there: %s", journal.RowText(r.Row))
			delete(l.rows, r.RowKey)
			continue
		}
		assert.False(t, had && old == r.Row, "set again without change: %s", journal.RowText(r.Row))
		l.rows[r.RowKey] = r.Row
	}
	l.flooding(t, ch)
	for i, h := range ch.NextHops {
		if i > 0 {
			assert.Negative(t, ch.NextHops[i-1].VTEP.Compare(h.VTEP), "next hops are sorted and unique")
		}
		if h.Remove {
			assert.True(t, l.hops[h.VTEP], "no longer tracked without being tracked: %s", h.VTEP)
			delete(l.hops, h.VTEP)
			continue
		}
		l.hops[h.VTEP] = true // may be asked for again: what the kernel said of it was forgotten
	}
}

// flooding takes the changes for the flooding module.
func (l *ledger) flooding(t assert.TestingT, ch evpn.Changes) {
	for i, e := range ch.Lists {
		if i > 0 {
			assert.Negative(t, ch.Lists[i-1].Compare(e.ListKey), "lists are sorted and unique")
		}
		old, had := l.lists[e.ListKey]
		if e.Remove {
			assert.True(t, had, "removed without being there: %v", e)
			assert.Zero(t, e.ListValue)
			delete(l.lists, e.ListKey)
			continue
		}
		assert.False(t, had && old == e.ListEntry, "set again without change: %v", e)
		assert.True(t, e.Use != 0 && e.Source != "", "says what and why: %v", e)
		l.lists[e.ListKey] = e.ListEntry
	}
	for i, r := range ch.Relays {
		if i > 0 {
			assert.Less(t, ch.Relays[i-1].VNI, r.VNI, "relays are sorted and unique")
		}
		old, had := l.relays[r.VNI]
		if r.Remove {
			assert.True(t, had, "ended without being there: %v", r)
			assert.Equal(t, evpn.Relay{VNI: r.VNI}, r.Relay)
			delete(l.relays, r.VNI)
			continue
		}
		assert.False(t, had && old == r.Relay, "set again without change: %v", r)
		assert.NotEqual(t, evpn.Relay{VNI: r.VNI}, r.Relay, "one that does nothing is removed")
		l.relays[r.VNI] = r.Relay
	}
}

// desired gives the sum in the form of [evpn.Core.Desired].
func (l *ledger) desired() evpn.Desired {
	var d evpn.Desired
	for _, r := range l.routes {
		d.Routes = append(d.Routes, r)
	}
	for _, r := range l.rows {
		d.Rows = append(d.Rows, r)
	}
	for a := range l.hops {
		d.NextHops = append(d.NextHops, a)
	}
	for _, e := range l.lists {
		d.Lists = append(d.Lists, e)
	}
	for _, r := range l.relays {
		d.Relays = append(d.Relays, r)
	}
	slices.SortFunc(d.Lists, func(a, b evpn.ListEntry) int { return a.Compare(b.ListKey) })
	slices.SortFunc(d.Relays, func(a, b evpn.Relay) int { return int(a.VNI) - int(b.VNI) })
	slices.SortFunc(d.NextHops, addr.Compare)
	slices.SortFunc(d.Routes, func(a, b evpn.Route) int { return a.Key.Compare(b.Key) })
	slices.SortFunc(d.Rows, func(a, b evpn.Row) int { return a.Compare(b.RowKey) })
	return d
}
