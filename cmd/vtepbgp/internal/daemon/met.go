package daemon

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// acquaintances are the neighbours whose routes we have. A reflector that restarts waits for them before it
// says that its table is complete: of neighbours that come by a prefix, the configuration knows no list.
type acquaintances struct {
	changed chan struct{}

	mu  sync.Mutex
	set map[netip.Addr]time.Time // until when to wait for one that we only know of; zero = it has been here
}

// newAcquaintances begins with those of the run before, who have until then to come back.
func newAcquaintances(before []netip.Addr, until time.Time) *acquaintances {
	a := &acquaintances{changed: make(chan struct{}, 1), set: map[netip.Addr]time.Time{}}
	for _, n := range before {
		a.set[n] = until
	}
	return a
}

// see follows the sessions.
func (a *acquaintances) see(ev evpn.Event) {
	var neighbor netip.Addr
	here := false
	switch ev := ev.(type) {
	case evpn.NeighborUp:
		neighbor, here = ev.Neighbor, true
	case evpn.NeighborDown:
		neighbor, here = ev.Neighbor, ev.Graceful
	case evpn.NeighborRemoved:
		neighbor = ev.Neighbor
	default:
		return
	}
	a.mu.Lock()
	until, was := a.set[neighbor]
	was = was && until.IsZero()
	if here {
		a.set[neighbor] = time.Time{}
	} else {
		delete(a.set, neighbor)
	}
	a.mu.Unlock()
	if was == here {
		return
	}
	select {
	case a.changed <- struct{}{}:
	default:
	}
}

func (a *acquaintances) list(now time.Time) []netip.Addr {
	a.mu.Lock()
	defer a.mu.Unlock()
	l := make([]netip.Addr, 0, len(a.set))
	for addr, until := range a.set {
		if until.IsZero() || now.Before(until) {
			l = append(l, addr)
		}
	}
	slices.SortFunc(l, netip.Addr.Compare)
	return l
}
