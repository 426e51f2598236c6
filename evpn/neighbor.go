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
	everUp   bool
	paths    map[RouteKey]*path
	all      map[netip.Addr]*neighbor // this one and the others
	accepted int                      // linked paths
	stale    int                      // paths marked stale

	staleTime time.Duration // of the last graceful end
	deadline  time.Time     // when stale paths go; zero when there are none

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
		c.neighbors[addr] = nb
	}
	return nb
}

// neighborUp starts a session. What an earlier session left is stale by now, and
// waits for End-of-RIB only when the neighbour says that it kept its forwarding
// state (RFC 4724 §4.2).
func (c *Core) neighborUp(ev NeighborUp) {
	nb := c.neighbor(ev.Neighbor)
	if nb.up {
		// A session that replaces one whose end was not reported.
		c.neighborDown(NeighborDown{Neighbor: ev.Neighbor, Graceful: ev.KeptForwarding, StaleTime: nb.staleTime})
	}
	nb.up, nb.everUp = true, true
	switch {
	case nb.stale == 0:
	case ev.KeptForwarding:
		c.setDeadline(nb, c.now.Add(nb.staleTime))
	default:
		c.dropStale(nb)
	}
}

func (c *Core) neighborDown(ev NeighborDown) {
	nb := c.neighbors[ev.Neighbor]
	if nb == nil {
		return
	}
	nb.up = false
	stale := c.staleTime(ev.StaleTime)
	if !ev.Graceful || stale <= 0 {
		c.dropAll(nb)
		return
	}
	// RFC 4724 §4.2: what was stale already must not live through a second restart.
	c.dropStale(nb)
	for _, p := range nb.paths {
		p.stale = true
		c.touchChains(p)
	}
	nb.stale = len(nb.paths)
	nb.staleTime = stale
	if nb.stale > 0 {
		c.setDeadline(nb, c.now.Add(stale))
	}
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
	delete(c.neighbors, ev.Neighbor)
	c.checkSynced()
}

func (c *Core) endOfRIB(ev EndOfRIB) {
	nb := c.neighbor(ev.Neighbor)
	c.dropStale(nb)
	nb.everUp, nb.complete = true, true
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
		c.synced = true
		c.notes = append(c.notes, Note{Kind: NoteSynced})
	}
}

// setDeadline says when the stale routes of nb go, and keeps count of the neighbours
// that have any, so that no event looks at all neighbours in vain.
func (c *Core) setDeadline(nb *neighbor, at time.Time) {
	if !nb.deadline.IsZero() {
		c.restarting--
	}
	nb.deadline = at
	if !at.IsZero() {
		c.restarting++
	}
}

// sweepStale drops the routes of neighbours that did not come back in time.
func (c *Core) sweepStale() {
	if c.restarting == 0 {
		return
	}
	for _, nb := range c.neighbors {
		if !nb.deadline.IsZero() && !nb.deadline.After(c.now) {
			c.dropStale(nb)
		}
	}
}

func (c *Core) dropStale(nb *neighbor) {
	c.setDeadline(nb, time.Time{})
	if nb.stale == 0 {
		return
	}
	if nb.stale == len(nb.paths) {
		c.dropAll(nb)
		return
	}
	for k, p := range nb.paths {
		if p.stale {
			delete(nb.paths, k)
			c.forget(p)
		}
	}
}

func (c *Core) dropAll(nb *neighbor) {
	for _, p := range nb.paths {
		c.forget(p)
	}
	nb.paths = map[RouteKey]*path{}
	c.setDeadline(nb, time.Time{})
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
