package evpn

import (
	"net/netip"
	"time"
)

// neighbor is a BGP neighbour and what it sent.
type neighbor struct {
	addr     netip.Addr
	up       bool
	complete bool // sent End-of-RIB at least once
	current  bool // in this session, or will not
	everUp   bool
	paths    map[RouteKey]*path
	all      map[netip.Addr]*neighbor // this one and the others
	accepted int                      // linked paths
	stale    int                      // paths marked stale

	staleTime time.Duration // of the last graceful end
	longLived time.Duration // the same, for after that
	quiet     quiet         // of one that sends no End-of-RIB
	deadline  time.Time     // when stale paths expire; zero when there are none
	end       time.Time     // when expired paths go; zero when stale ones go at once

	limit      int // 0 = none
	admitted   int
	waiting    minHeap[*path]
	limitNoted bool
	refill     bool
}

func (c *Core) neighbor(addr netip.Addr) *neighbor {
	nb := c.neighbors[addr]
	if nb == nil {
		nb = &neighbor{addr: addr, paths: map[RouteKey]*path{}, all: c.neighbors, limit: c.cfg.NeighborLimits[addr]}
		nb.quiet.nb = nb
		c.neighbors[addr] = nb
	}
	return nb
}

// The end of a session with grace, and what becomes of the routes:
//
//	fresh --down--> stale --deadline--> expired --end--> gone
//	  ^               |      (RFC 4724)    |     (RFC 9494)
//	  +-- announced --+--------------------+   what is not, goes with End-of-RIB
//
// Expired routes are long-lived stale: the least preferred of all. Without RFC 9494
// the deadline is the end.

// neighborUp starts a session. What an earlier session left is stale by now, and
// waits for End-of-RIB only when the neighbour says that it kept its forwarding
// state (RFC 4724 §4.2; RFC 9494 §4.2 for what has expired).
func (c *Core) neighborUp(ev NeighborUp) {
	nb := c.neighbor(ev.Neighbor)
	if nb.up {
		// A session that replaces one whose end was not reported.
		c.neighborDown(NeighborDown{
			Neighbor: ev.Neighbor, Graceful: ev.KeptForwarding, StaleTime: nb.staleTime, LongLived: nb.longLived,
		})
	}
	nb.up, nb.everUp, nb.current = true, true, !ev.EndOfRIB
	c.recheck = true
	if !ev.EndOfRIB && !nb.complete {
		nb.quiet.begin(c)
	}
	if nb.stale == 0 {
		return
	}
	if !ev.KeptForwarding || !ev.KeptLongLived {
		c.dropStale(nb, func(p *path) bool {
			if p.expired {
				return !ev.KeptLongLived
			}
			return !ev.KeptForwarding
		})
	}
	if nb.stale > 0 && !nb.deadline.IsZero() {
		c.setTimers(nb, c.now.Add(nb.staleTime), nb.end)
	}
}

func (c *Core) neighborDown(ev NeighborDown) {
	nb := c.neighbors[ev.Neighbor]
	if nb == nil {
		return
	}
	nb.up, nb.current = false, false
	nb.quiet.end()
	c.recheck = true
	stale := c.staleTime(ev.StaleTime)
	if !ev.Graceful || (stale <= 0 && ev.LongLived <= 0) {
		c.dropAll(nb)
		return
	}
	nb.staleTime, nb.longLived = max(stale, 0), max(ev.LongLived, 0)
	if nb.longLived == 0 {
		// RFC 4724 §4.2: what was stale already must not live through a second restart.
		c.dropStale(nb, func(*path) bool { return true })
	} else {
		// RFC 9494 §4.2: it must, but has had its time as a good route, and the time that
		// is left to it does not start anew before the neighbour is complete again.
		c.expire(nb)
	}
	for _, p := range nb.paths {
		if !p.stale {
			p.stale = true
			c.touchChains(p)
		}
	}
	nb.stale = len(nb.paths)
	if nb.stale == 0 {
		return
	}
	deadline, end := c.now.Add(nb.staleTime), nb.end
	if nb.longLived > 0 && end.IsZero() {
		end = deadline.Add(nb.longLived)
	}
	c.setTimers(nb, deadline, end)
	c.sweepNeighbor(nb) // there may be no time at all
}

// staleTime is the shorter of what the session and the configuration allow.
func (c *Core) staleTime(asked time.Duration) time.Duration {
	if limit := c.cfg.StaleTime; limit > 0 && (asked <= 0 || limit < asked) {
		return limit
	}
	return asked
}

func (c *Core) neighborRemoved(ev NeighborRemoved) {
	nb := c.neighbors[ev.Neighbor]
	if nb == nil {
		return
	}
	c.dropAll(nb)
	nb.quiet.end()
	delete(c.neighbors, ev.Neighbor)
	c.recheck = true
	c.checkSynced()
}

func (c *Core) endOfRIB(ev EndOfRIB) {
	nb := c.neighbor(ev.Neighbor)
	c.dropStale(nb, func(*path) bool { return true })
	nb.everUp, nb.complete, nb.current = true, true, nb.up
	nb.quiet.end()
	c.recheck = true
	c.checkSynced()
}

func (c *Core) checkSynced() {
	if c.synced {
		return
	}
	known := false
	for _, nb := range c.neighbors {
		if nb.everUp && !nb.complete {
			return
		}
		known = known || nb.complete
	}
	if known {
		c.sync()
		c.notes = append(c.notes, Note{Kind: NoteSynced})
	}
}

// sync begins what waited for the first full picture.
func (c *Core) sync() {
	if !c.synced {
		c.synced, c.recheck = true, true
		c.startLeaves()
	}
}

// setTimers says when the stale routes of nb expire and go, and keeps count of the
// neighbours that have any, so that no event looks at all neighbours in vain.
func (c *Core) setTimers(nb *neighbor, deadline, end time.Time) {
	if !nb.wake().IsZero() {
		c.restarting--
	}
	nb.deadline, nb.end = deadline, end
	c.recheck = true
	if !nb.wake().IsZero() {
		c.restarting++
	}
}

// wake is when something happens to the stale routes of nb; zero when there are none.
func (nb *neighbor) wake() time.Time {
	if nb.end.IsZero() || (!nb.deadline.IsZero() && nb.deadline.Before(nb.end)) {
		return nb.deadline
	}
	return nb.end
}

// sweepStale looks at the neighbours that did not come back in time.
func (c *Core) sweepStale() {
	if c.restarting == 0 {
		return
	}
	for _, nb := range c.neighbors {
		c.sweepNeighbor(nb)
	}
}

func (c *Core) sweepNeighbor(nb *neighbor) {
	due := func(t time.Time) bool { return !t.IsZero() && !t.After(c.now) }
	if due(nb.end) || (due(nb.deadline) && nb.end.IsZero()) {
		c.dropStale(nb, func(*path) bool { return true })
		return
	}
	if due(nb.deadline) {
		c.expire(nb)
	}
}

// expire makes the stale routes of nb long-lived stale, but for those whose originator
// does not want that (RFC 9494 §4.2).
func (c *Core) expire(nb *neighbor) {
	c.setTimers(nb, time.Time{}, nb.end)
	if nb.stale == 0 {
		return
	}
	c.dropStale(nb, func(p *path) bool { return !p.expired && p.set.attrs.NoLLGR })
	for _, p := range nb.paths {
		if p.stale && !p.expired {
			p.expired = true
			c.touchChains(p)
		}
	}
}

// dropStale drops the stale routes of which gone is true.
func (c *Core) dropStale(nb *neighbor, gone func(*path) bool) {
	if nb.stale > 0 {
		for k, p := range nb.paths {
			if p.stale && gone(p) {
				delete(nb.paths, k)
				c.forget(p)
			}
		}
	}
	if nb.stale == 0 {
		c.setTimers(nb, time.Time{}, time.Time{})
	}
}

func (c *Core) dropAll(nb *neighbor) {
	for _, p := range nb.paths {
		c.forget(p)
	}
	nb.paths = map[RouteKey]*path{}
	c.setTimers(nb, time.Time{}, time.Time{})
}

// AcceptedRoutes counts the routes of a neighbour that some VNI imports, that are
// fit for use and within the neighbour's limit. Whether they win their election,
// or find a place under max_macs, does not matter here.
func (c *Core) AcceptedRoutes(neighbor netip.Addr) int {
	if nb := c.neighbors[neighbor]; nb != nil {
		return nb.accepted
	}
	return 0
}
