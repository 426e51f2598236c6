package daemon

import (
	"net/netip"
	"time"
)

// maxPruneDelay bounds how long rows that an earlier run left in the kernel wait
// for a neighbour to confirm them.
const maxPruneDelay = 120 * time.Second

// prunePolicy decides when rows that nobody has asked for may be removed: when
// each of the neighbours that we dial was established once and the core has its
// first full picture, or when the deadline has passed. It belongs to the loop.
type prunePolicy struct {
	missing  map[netip.Addr]struct{}
	byTimer  bool // no neighbour could prove completeness: only the deadline counts
	deadline time.Time
	allowed  bool
}

// newPrunePolicy takes the neighbours that we dial, and whether others (passive or
// dynamic) may come: with none to wait for but some that may come, the deadline
// alone decides.
func newPrunePolicy(dialled []netip.Addr, others bool, grace time.Duration, start time.Time) *prunePolicy {
	delay := maxPruneDelay
	if grace > 0 {
		delay = min(grace, maxPruneDelay)
	}
	p := &prunePolicy{missing: map[netip.Addr]struct{}{}, deadline: start.Add(delay)}
	for _, a := range dialled {
		p.missing[a] = struct{}{}
	}
	p.byTimer = len(dialled) == 0 && others
	return p
}

func (p *prunePolicy) established(a netip.Addr) { delete(p.missing, a) }

// due reports, once, that pruning may start.
func (p *prunePolicy) due(synced bool, now time.Time) bool {
	if p.allowed {
		return false
	}
	complete := !p.byTimer && len(p.missing) == 0 && synced
	p.allowed = complete || !now.Before(p.deadline)
	return p.allowed
}
