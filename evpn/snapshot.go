package evpn

import (
	"net/netip"
	"slices"
	"time"
	"unique"
)

// Config is what the core was last given.
func (c *Core) Config() Config { return c.cfg }

// snapshotRoutes bounds the routes in one event of a snapshot.
const snapshotRoutes = 500

// Snapshot gives events that make an equal core of [New] with the same configuration:
// equal in all that it shows and in all that it will do. They are to be handled at the
// time of the snapshot, in order, and drained once: that first drain gives the whole
// desired state, and its notes tell no news.
//
// What the kernel and the neighbours would tell again is told by their own events.
// What only the past tells comes in [PlaceRestored], [NeighborRestored], [MACRestored],
// [IPRestored], [ReplicatorRestored], [RelayRestored] and [SyncRestored].
func (c *Core) Snapshot() []Event {
	var evs []Event
	for _, v := range c.sortedVNIs() {
		if v.up || v.downReason != "" {
			evs = append(evs, VNIState{VNI: v.vni, Up: v.up, Reason: v.downReason})
		}
	}
	// Who came first keeps its place under a limit, so those that have one come first.
	for _, v := range c.sortedVNIs() {
		for _, m := range v.sortedMACs() {
			if m.admitted && m.owner == ownProxy {
				evs = append(evs, PlaceRestored{VNI: v.vni, MAC: m.mac})
			}
		}
	}
	neighbors := sortedValues(c.neighbors, func(a, b *neighbor) int { return a.addr.Compare(b.addr) })
	for rank := placed; rank <= unplaced; rank++ {
		for _, nb := range neighbors {
			evs = nb.snapshotRoutes(evs, rank)
		}
	}
	for _, nb := range neighbors {
		evs = append(evs, nb.snapshot())
	}
	for _, v := range c.sortedVNIs() {
		for _, f := range v.sortedFloods() {
			if f.heard {
				evs = append(evs, VTEPHeard{VNI: v.vni, VTEP: f.addr})
			}
		}
	}
	// When all is there that names them.
	for _, t := range sortedValues(c.vteps, func(a, b *vtep) int { return a.addr.Compare(b.addr) }) {
		if t.unreachable {
			evs = append(evs, NextHopState{VTEP: t.addr, Reason: t.reason, Own: t.own})
		}
	}
	// Local facts come last, when all is there that they hold out against.
	for _, v := range c.sortedVNIs() {
		for _, m := range v.sortedMACs() {
			if m.local != nil || m.heard != nil || m.log != nil || m.conflict {
				evs = append(evs, m.snapshot())
			}
		}
		for _, e := range v.sortedIPs() {
			if e.bound != nil || e.log != nil {
				evs = append(evs, e.snapshot())
			}
		}
	}
	if c.outlives {
		evs = append(evs, EngineState{Outlives: true})
	}
	if c.synced {
		evs = append(evs, SyncRestored{})
	}
	for _, v := range c.sortedVNIs() { // all that were there are active with the first full picture
		for _, f := range v.sortedFloods() {
			if f.replicator {
				evs = append(evs, ReplicatorRestored{VNI: v.vni, VTEP: f.addr, ActiveAt: f.activeAt})
			}
		}
		if v.cfg.Flooding == FloodMulticast {
			evs = append(evs, v.relay.snapshot())
		}
	}
	return evs
}

// rank says how early a route has to come back.
type rank int

const (
	placed   rank = iota // its MAC has a place under max_macs, if there is such a limit
	accepted             // the others, but for those that ...
	unplaced             // ... found no place under the limit of the neighbour
)

func (p *path) rank() rank {
	switch {
	case p.waiting:
		return unplaced
	case p.linked && p.mac != nil && p.mac.admitted:
		return placed
	default:
		return accepted
	}
}

// snapshotRoutes appends the routes of one rank, by their attributes.
func (nb *neighbor) snapshotRoutes(evs []Event, r rank) []Event {
	var paths []*path
	for _, p := range nb.paths {
		if p.rank() == r {
			paths = append(paths, p)
		}
	}
	slices.SortFunc(paths, func(a, b *path) int { return a.Key.Compare(b.Key) })
	open := map[*attrSet]int{} // the event that has room for more
	for _, p := range paths {
		i, ok := open[p.set]
		if !ok || len(evs[i].(RoutesReceived).Announced) == snapshotRoutes {
			i = len(evs)
			open[p.set] = i
			evs = append(evs, RoutesReceived{Neighbor: nb.addr})
		}
		ev := evs[i].(RoutesReceived)
		ev.Announced = append(ev.Announced, p.route())
		evs[i] = ev
	}
	return evs
}

func (nb *neighbor) snapshot() NeighborRestored {
	ev := NeighborRestored{
		Neighbor: nb.addr, Up: nb.up, EverUp: nb.everUp, Complete: nb.complete, Current: nb.current,
		StaleTime: nb.staleTime, LongLived: nb.longLived, Deadline: nb.deadline, GoneAt: nb.end,
		QuietAt: nb.quiet.at, HeardAt: nb.quiet.last,
	}
	for k, p := range nb.paths {
		switch {
		case p.expired:
			ev.Expired = append(ev.Expired, k)
		case p.stale:
			ev.Stale = append(ev.Stale, k)
		}
	}
	slices.SortFunc(ev.Stale, RouteKey.Compare)
	slices.SortFunc(ev.Expired, RouteKey.Compare)
	return ev
}

func (c *Core) neighborRestored(ev NeighborRestored) {
	nb := c.neighbor(ev.Neighbor)
	nb.up, nb.everUp, nb.complete, nb.current = ev.Up, ev.EverUp, ev.Complete, ev.Current
	c.recheck = true
	nb.staleTime, nb.longLived = ev.StaleTime, ev.LongLived
	c.setTimers(nb, ev.Deadline, ev.GoneAt)
	if !ev.QuietAt.IsZero() {
		nb.quiet.until(c, ev.QuietAt)
		nb.quiet.last = ev.HeardAt
	}
	mark := func(keys []RouteKey, expired bool) {
		for _, k := range keys {
			if p := nb.paths[k]; p != nil && !p.stale {
				p.stale, p.expired = true, expired
				nb.stale++
				c.touchChains(p)
			}
		}
	}
	mark(ev.Stale, false)
	mark(ev.Expired, true)
}

// placeRestored gives m its place before it is settled for the first time.
func (c *Core) placeRestored(ev PlaceRestored) {
	v := c.configured(ev.VNI)
	if v == nil || v.admitted >= v.cfg.MaxMACs || ev.MAC.IsZero() || ev.MAC.IsGroup() {
		return
	}
	if m := v.macEntry(ev.MAC); !m.admitted && !m.waiting {
		m.admitted = true
		v.admitted++
	}
}

func (m *macEntry) snapshot() MACRestored {
	ev := MACRestored{VNI: m.vni.vni, MAC: m.mac, Conflict: m.conflict}
	if l := m.local; l != nil {
		ev.Local, ev.Port, ev.Sticky, ev.Gateway = true, l.port.Value(), l.sticky, l.gateway
		ev.Announced, ev.Sequence = l.active, l.sequence
	}
	if h := m.heard; h != nil {
		ev.Heard, ev.HeardAt, ev.HeardSequence, ev.Claimed, ev.Lost = h.at.addr, h.since, h.sequence, h.active, h.lost
	}
	if m.log != nil {
		ev.Moves, ev.FrozenAt, ev.FrozenTo = slices.Clone(m.log.moves), m.log.frozenAt, m.log.frozenTo
		ev.FrozenSequence = m.log.sequence
	}
	return ev
}

func (c *Core) macRestored(ev MACRestored) {
	v := c.configured(ev.VNI)
	if v == nil || ev.MAC.IsZero() || ev.MAC.IsGroup() {
		return
	}
	m := v.macEntry(ev.MAC)
	m.local = nil
	if ev.Local {
		m.local = &localMAC{
			port: unique.Make(ev.Port), sequence: ev.Sequence, sticky: ev.Sticky, gateway: ev.Gateway, active: ev.Announced,
		}
	}
	if m.heard != nil {
		m.heard.leave()
		m.heard = nil
	}
	if f := v.floods[ev.Heard]; f != nil && f.heard {
		m.heard = &heardMAC{mac: m, since: ev.HeardAt, sequence: ev.HeardSequence, active: ev.Claimed, lost: ev.Lost}
		m.heard.moveTo(f)
	}
	c.restoreMoves(m, ev.Moves, ev.FrozenAt, ev.FrozenTo)
	if m.log != nil {
		m.log.sequence = ev.FrozenSequence
	}
	m.setOwner(nobody) // whoever has it now had it before: no move
	c.touchMAC(m)
	c.settle()
	m.conflict = ev.Conflict // whether it was noted: settling notes it again
}

func (e *ipEntry) snapshot() IPRestored {
	ev := IPRestored{VNI: e.vni.vni, IP: e.ip}
	if e.bound != nil {
		ev.MAC, ev.Router, ev.Source = e.bound.mac, e.router, e.source.Value()
		ev.Claim, ev.Floor = e.claim, e.floor
	}
	if e.log != nil {
		ev.Moves, ev.FrozenAt, ev.FrozenTo = slices.Clone(e.log.moves), e.log.frozenAt, e.log.frozenTo
	}
	return ev
}

func (c *Core) ipRestored(ev IPRestored) {
	v := c.configured(ev.VNI)
	ip, ok := hostIP(ev.IP)
	if v == nil || !ok || ev.MAC.IsGroup() {
		return
	}
	e := v.ipEntry(ip)
	if e.bound != nil {
		c.touchMAC(e.bound)
		e.unbind()
	}
	if !ev.MAC.IsZero() {
		m := v.macEntry(ev.MAC)
		e.bind(m)
		e.router, e.source, e.claim, e.floor = ev.Router, unique.Make(ev.Source), ev.Claim, ev.Floor
		c.touchMAC(m)
	}
	c.restoreMoves(e, ev.Moves, ev.FrozenAt, ev.FrozenTo)
	e.owner = nobody // as above
	c.touchIP(e)
}

func (c *Core) restoreMoves(of mover, moves []time.Time, frozenAt time.Time, frozenTo netip.Addr) {
	slot := of.history()
	*slot = nil
	if len(moves) == 0 && frozenAt.IsZero() {
		return
	}
	l := &moveLog{of: of, moves: slices.Clone(moves), frozenAt: frozenAt, frozenTo: frozenTo}
	*slot = l
	if l.frozen() {
		c.armThaw(l)
	} else {
		c.arm(l, moves[0].Add(c.cfg.Duplicate.Window))
	}
}
