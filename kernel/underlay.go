package kernel

import (
	"errors"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// VTEPState is what the underlay knows of the way to a remote VTEP.
type VTEPState struct {
	VTEP      netip.Addr
	Reachable bool
	Own       bool       // not reachable, because it is an address of this host
	Reason    string     // why not, in the operator's words
	Device    string     // that packets leave by; "" while there is no way
	Gateway   netip.Addr // zero = on link
	MTU       int        // of the way: the largest IP packet; 0 while there is no way
	Since     time.Time  // of Reachable
}

// Track follows the ways to VTEPs, or no longer. It never waits for the kernel; what
// it finds comes as [evpn.NextHopState], for every VTEP at least once.
func (k *Kernel) Track(changes []evpn.NextHopChange) {
	k.underlay.track(changes)
}

// Underlay lists the tracked VTEPs, those that were looked up, in order of address.
func (k *Kernel) Underlay() []VTEPState {
	u := k.underlay
	u.mu.Lock()
	defer u.mu.Unlock()
	out := make([]VTEPState, 0, len(u.ways))
	for _, to := range u.sorted() {
		if w := u.ways[to]; w.known {
			out = append(out, w.state)
		}
	}
	return out
}

// underlay follows the ways to the VTEPs. Changes only mark a VTEP to be looked up
// again; what the kernel answers then is the truth. So a lost event costs a look at
// all VTEPs, and a routing table in motion costs nothing but the comparison of each
// prefix with the VTEPs.
type underlay struct {
	wake chan struct{} // for the follower

	mu     sync.Mutex // taken after Kernel.mu
	site   waySite
	ways   map[netip.Addr]*way
	order  []netip.Addr // keys of ways, sorted; nil = to be made again
	dirty  []*way       // to be looked up, and some that are gone
	marked int          // of dirty, those that are not gone
	due    time.Time    // when to; zero = never
	last   time.Time    // end of the last lookups
	cost   time.Duration
	failed int // lookups in a row that the kernel refused altogether
	told   queue[*way]

	stats UnderlayStats
}

// UnderlayStats counts what following the ways took.
type UnderlayStats struct {
	Events      uint64 // changes of routes, rules and next hops
	Lost        uint64 // reports of dropped events
	Lookups     uint64
	VTEPs       int // tracked
	Unreachable int
}

// way is the way to one VTEP.
type way struct {
	to      netip.Addr
	state   VTEPState
	known   bool // looked up
	dirty   bool // in the list of the same name
	queued  bool // to be told
	gone    bool // no longer tracked
	tellAll bool // the core was told nothing yet
	up      bool // what it was told
	reason  string
}

// waySite is what the lookup needs of the host.
type waySite struct {
	source netip.Addr // VTEP address; zero while it is not on the host
	on     int32      // the link that it is on; 0 = one that nothing of others comes by
	port   uint16
	links  map[int32]wayLink
}

// wayLink is what matters of a link that packets may leave by.
type wayLink struct {
	name        string
	up, running bool
	mtu         int
	overlay     bool // a VXLAN device or bridge of ours
	strict      bool // drops what it would not answer by the same link
}

func newUnderlay() *underlay {
	return &underlay{wake: make(chan struct{}, 1), ways: map[netip.Addr]*way{}}
}

const (
	wayDebounce  = 20 * time.Millisecond // route changes come in groups
	wayGap       = 50 * time.Millisecond // between two lookups of the same VTEPs
	wayCostShare = 10                    // lookups may take a tenth of the time
	lookupChunk  = 256
)

func (u *underlay) track(changes []evpn.NextHopChange) {
	u.mu.Lock()
	for _, c := range changes {
		w := u.ways[c.VTEP]
		switch {
		case c.Remove && w != nil:
			w.gone = true
			u.marked -= count(w.dirty)
			delete(u.ways, c.VTEP)
			u.order = nil
		case !c.Remove:
			if w == nil {
				w = &way{to: c.VTEP}
				u.ways[c.VTEP] = w
				u.order = nil
			}
			w.tellAll = true // asked for again: the core has forgotten what it was told
			u.mark(w)
			u.due = time.Now() // the core waits for it
		}
	}
	u.mu.Unlock()
	signal(u.wake)
}

// sorted gives the tracked addresses in order. mu is held.
func (u *underlay) sorted() []netip.Addr {
	if u.order == nil {
		u.order = slices.SortedFunc(maps.Keys(u.ways), netip.Addr.Compare)
	}
	return u.order
}

// mark asks for a lookup. mu is held.
func (u *underlay) mark(w *way) {
	if w.dirty {
		return
	}
	w.dirty = true
	u.marked++
	u.dirty = append(u.dirty, w)
	if u.due.IsZero() {
		u.due = time.Now().Add(wayDebounce)
		if next := u.last.Add(max(wayGap, wayCostShare*u.cost)); u.due.Before(next) {
			u.due = next
		}
	}
}

func (u *underlay) markAll() {
	u.mu.Lock()
	u.markEvery()
	u.mu.Unlock()
	signal(u.wake)
}

// markEvery marks all ways. mu is held.
func (u *underlay) markEvery() {
	for _, w := range u.ways {
		u.mark(w)
	}
}

// changed takes in that the ways to the addresses of p may be others; no valid p
// stands for all. mu is held.
func (u *underlay) changed(p netip.Prefix) {
	u.stats.Events++
	if u.marked == len(u.ways) {
		return
	}
	if !p.IsValid() {
		u.markEvery()
		return
	}
	order := u.sorted()
	// Addresses of one prefix are neighbours in this order: families apart, then by value.
	first, _ := slices.BinarySearchFunc(order, p.Addr(), netip.Addr.Compare)
	for _, to := range order[first:] {
		if !p.Contains(to) {
			break
		}
		u.mark(u.ways[to])
	}
}

// place takes in the links and the VTEP address as they are now. Whatever of them
// changed can change any way.
func (u *underlay) place(st waySite, ports map[int32]accessPort) {
	u.mu.Lock()
	same := u.site.source == st.source && u.site.port == st.port && sameLinks(u.site.links, st.links, ports) && sameLinks(st.links, u.site.links, ports)
	u.site = st
	u.mu.Unlock()
	if !same {
		u.markAll()
	}
}

// sameLinks says that all links of a are in b, but for access ports: they come and go
// with the hosts, and no way leads through them.
func sameLinks(a, b map[int32]wayLink, ports map[int32]accessPort) bool {
	for i, l := range a {
		if _, port := ports[i]; !port && b[i] != l {
			return false
		}
	}
	return true
}

// wayState is what is known of the way to a VTEP, if it was looked up.
func (u *underlay) wayState(to netip.Addr) (VTEPState, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	w := u.ways[to]
	if w == nil || !w.known {
		return VTEPState{}, false
	}
	return w.state, true
}

// entrance is the link by which packets to the VTEP address come; 0 = any.
func (u *underlay) entrance() int32 {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.site.on
}

// link names a link, and says whether it checks sources strictly.
func (u *underlay) link(index int32) (name string, strict bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	l := u.site.links[index]
	return l.name, l.strict
}

// untilDue is how long the follower may sleep.
func (u *underlay) untilDue() time.Duration {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.due.IsZero() {
		return time.Hour
	}
	return max(0, time.Until(u.due))
}

// takeDirty gives the ways to look up when that is due.
func (u *underlay) takeDirty() (ways []*way, q RouteQuery) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.due.IsZero() || time.Now().Before(u.due) {
		return nil, RouteQuery{}
	}
	for _, w := range u.dirty {
		w.dirty = false
		if !w.gone {
			ways = append(ways, w)
		}
	}
	clear(u.dirty)
	u.dirty, u.marked, u.due = u.dirty[:0], 0, time.Time{}
	return ways, RouteQuery{Source: u.site.source, Port: u.site.port}
}

// refused puts ways back that could not be looked up.
func (u *underlay) refused(ways []*way) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, w := range ways {
		if !w.gone {
			u.mark(w)
		}
	}
	u.failed++
	u.due = time.Now().Add(min(retryFirst<<min(u.failed-1, 10), retryMost))
}

// learn takes in the answers for ways.
func (u *underlay) learn(ways []*way, routes []Route, now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.failed = 0
	u.stats.Lookups += uint64(len(ways))
	for i, w := range ways {
		st, ok := u.site.judge(w.to, routes[i])
		if !ok || w.gone {
			continue
		}
		st.Since = now
		if w.known && w.state.Reachable == st.Reachable {
			st.Since = w.state.Since
		}
		w.state, w.known = st, true
		if !w.queued && (w.tellAll || w.up != st.Reachable || w.reason != st.Reason) {
			w.queued = true
			u.told.push(w)
		}
	}
}

// report adds what the core has to be told, at most limit events.
func (u *underlay) report(events []evpn.Event, limit int) []evpn.Event {
	u.mu.Lock()
	defer u.mu.Unlock()
	for len(events) < limit && u.told.len() > 0 {
		w := u.told.pop()
		w.queued = false
		if w.gone || (!w.tellAll && w.up == w.state.Reachable && w.reason == w.state.Reason) {
			continue
		}
		w.tellAll, w.up, w.reason = false, w.state.Reachable, w.state.Reason
		events = append(events, evpn.NextHopState{VTEP: w.to, Reachable: w.up, Reason: w.reason, Own: w.state.Own})
	}
	return events
}

func (u *underlay) counters() UnderlayStats {
	u.mu.Lock()
	defer u.mu.Unlock()
	s := u.stats
	s.VTEPs = len(u.ways)
	for _, w := range u.ways {
		s.Unreachable += count(w.known && !w.state.Reachable)
	}
	return s
}

// take takes in the changes that have arrived; it stops early in a storm, so that
// lookups go on.
func (u *underlay) take(sub Subscription[RouteChange]) error {
	const chunk, most = 2048, 16
	for range most {
		u.mu.Lock()
		more, err := sub.Drain(chunk, func(c RouteChange) { u.changed(c.Prefix) })
		if errors.Is(err, ErrLost) {
			u.stats.Lost++
			u.markEvery()
			err = nil
		}
		u.mu.Unlock()
		if err != nil || !more {
			return err
		}
	}
	return nil
}
