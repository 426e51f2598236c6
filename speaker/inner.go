package speaker

import (
	"bufio"
	"context"
	"net"
	"time"

	"github.com/vtepbgp/vtepbgp/speaker/wire"
)

// innerConn is a connection to GoBGP that has its OPEN and waits for the peer's.
type innerConn struct {
	conn net.Conn
	r    *bufio.Reader
	ours wire.Open
	made time.Time
}

// innerFresh is how long GoBGP may wait for the peer's OPEN: it gives up after
// four minutes (pkg/server/fsm.go, holdtimeOpensent).
const innerFresh = 3 * time.Minute

// prepare makes GoBGP know the generation that the next session will use.
func (n *neighbor) prepare() error {
	if n.prepared || n.s.stopping.Load() {
		return nil
	}
	cfg, nc := n.config()
	if err := n.s.gobgp.addPeer(innerAddr(n.slot, n.generation), n.addr, cfg, nc); err != nil {
		return err
	}
	n.prepared = true
	return nil
}

// connectInner gets GoBGP's OPEN ready for the next session.
func (n *neighbor) connectInner(ctx context.Context) error {
	if n.inner != nil && time.Since(n.inner.made) < innerFresh {
		return nil
	}
	if n.inner != nil {
		n.inner.conn.Close()
		n.inner = nil
		n.release(false)
	}
	if err := n.prepare(); err != nil {
		return err
	}
	conn, r, open, err := n.s.gobgp.dial(ctx, innerAddr(n.slot, n.generation))
	if err != nil {
		return err
	}
	// F is true but for a cold start: the kernel forwards on over a lost session.
	restarting := n.s.cfgRestarting() && !n.greetedYet
	ours, err := ourOpen(open, restarting, restarting || n.greetedYet)
	if err != nil {
		conn.Close()
		return err
	}
	parsed, err := wire.ParseOpen(ours[wire.HeaderLen:])
	if err != nil {
		conn.Close()
		return err
	}
	n.lastOpen = ours
	n.inner = &innerConn{conn: conn, r: r, ours: parsed, made: time.Now()}
	return nil
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
