package speaker

import (
	"context"
	"time"
)

// kept says how long the routes of the session before outlive it (RFC 4724 §4.2, RFC 9494 §4.2).
//
//	session ends   peer's restart time over    long-lived time over
//	     ├────────── stale ──────────┼──── long-lived stale ────┤ gone
//	                  End-of-RIB of the next session: what it did not confirm goes
type kept struct {
	stale     time.Duration // the first phase's length
	until     time.Time     // its end; zero when nothing is kept
	longUntil time.Time     // the end of the second phase
}

// keep notes that the routes of the session that ended stay.
func (n *neighbor) keep(c *cycle, stale, longLived time.Duration) {
	now := time.Now()
	n.mu.Lock()
	n.kept = kept{stale: stale, until: now.Add(stale), longUntil: now.Add(stale + longLived)}
	n.mu.Unlock()
	c.staleTimer.Reset(stale + longLived)
}

// letGo ends it: all routes that the neighbour has now are those of its session.
func (n *neighbor) letGo(c *cycle) {
	n.mu.Lock()
	n.kept = kept{}
	n.mu.Unlock()
	c.staleTimer.Stop()
	n.forgetStale()
}

func (n *neighbor) waiting() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.kept.until.IsZero()
}

// resumed is called when the peer is back: what it kept forwarding for waits for its End-of-RIB, all
// else goes at once. Which F bit counts, and whether the time begins anew, depends on the phase.
func (n *neighbor) resumed(c *cycle) {
	s := c.session
	if s == nil || !n.waiting() {
		return
	}
	gr, l := s.peer.GracefulRestart, s.peer.LongLived
	n.mu.Lock()
	k := &n.kept
	now := time.Now()
	longLived := !now.Before(k.until)
	confirmed := gr != nil && gr.EVPN && gr.Forwarding
	if longLived {
		confirmed = gr != nil && l != nil && l.EVPN && l.Forwarding
	}
	if !longLived {
		k.until = now.Add(k.stale)
		k.longUntil = k.until
	}
	left := k.longUntil.Sub(now)
	n.mu.Unlock()
	if !confirmed {
		n.letGo(c)
		return
	}
	c.staleTimer.Reset(left)
}

// sessionUp tells run that the session is established.
func (n *neighbor) sessionUp() {
	select {
	case n.up <- struct{}{}:
	default:
	}
}

// endOfRIB tells run and the speaker that the session's peer has sent End-of-RIB.
func (n *neighbor) endOfRIB() {
	select {
	case n.endRIB <- struct{}{}:
	default:
	}
	n.s.eorReceived(n)
}

// release ends the current generation in GoBGP. With keep, and only when GoBGP holds routes at
// all, it keeps the peer's routes there as stale until the next session's End-of-RIB.
func (n *neighbor) release(keep bool) {
	if !n.prepared {
		return
	}
	n.forgetStale()
	n.prepared = false
	if keep && n.s.transit.Load() {
		n.stale = true
	} else {
		n.deleteInner(n.generation)
	}
	n.generation++
}

// awaitSync waits, aside, until GoBGP has worked through to the End-of-RIB that was passed to it: dropping
// the stale routes earlier would withdraw those that it has not read again yet.
func (n *neighbor) awaitSync(ctx context.Context, c *cycle) {
	if !n.stale {
		n.letGo(c)
		return
	}
	generation := n.generation
	n.s.spawn(func() {
		if err := n.s.gobgp.awaitEndOfRIB(ctx, innerAddr(n.slot, generation)); err != nil {
			n.log.WithError(err).Debug("stale routes stay until their timer")
			return
		}
		select {
		case c.synced <- generation:
		case <-n.done:
		}
	})
}

// forgetStale drops what GoBGP kept of the generation before.
func (n *neighbor) forgetStale() {
	if n.stale {
		n.stale = false
		n.deleteInner(n.generation - 1)
	}
}

func (n *neighbor) deleteInner(generation int) {
	if err := n.s.gobgp.deletePeer(innerAddr(n.slot, generation)); err != nil {
		n.log.WithError(err).Error("cannot delete gobgp neighbour")
	}
}
