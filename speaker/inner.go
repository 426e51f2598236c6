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
	_, nc := n.config()
	ours, err := ourOpen(open, nc, restarting, restarting || n.greetedYet)
	if err != nil {
		conn.Close()
		return err
	}
	n.lastOpen = ours.Message()
	n.inner = &innerConn{conn: conn, r: r, ours: ours, made: time.Now()}
	return nil
}
