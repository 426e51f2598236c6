package speaker

import (
	"bufio"
	"context"
	"net"
	"time"

	"github.com/vtepbgp/vtepbgp/speaker/wire"
)

// maxCandidates bounds connections of one neighbour that have not got to an OPEN: who can forge its
// address must not be able to pile them up.
const maxCandidates = 4

// dial starts an attempt when one is of use.
func (n *neighbor) dial(ctx context.Context, c *cycle) {
	if c.session != nil || len(c.candidates) > 0 || c.dialing != nil {
		return
	}
	if n.held() {
		n.setState(stateIdle)
		c.timer.Reset(time.Until(n.heldUntil))
		return
	}
	cfg, nc := n.config()
	if nc.Passive || n.dynamic.IsValid() {
		n.setState(stateActive)
		return
	}
	n.setState(stateConnect)
	dctx, cancel := context.WithCancel(ctx)
	c.dialing = cancel
	n.s.spawn(func() {
		conn, err := dial(dctx, cfg, nc, n.addr)
		select {
		case c.dialed <- dialResult{conn, err}:
		case <-ctx.Done():
			if conn != nil {
				conn.Close()
			}
		}
	})
}

func (n *neighbor) dialDone(ctx context.Context, c *cycle, r dialResult) {
	c.dialing()
	c.dialing = nil
	switch {
	case r.err == nil && c.session != nil && c.session.established.Load():
		r.conn.Close()
	case r.err == nil:
		n.begin(ctx, c, r.conn, false)
	case c.session == nil && len(c.candidates) == 0:
		n.setError(r.err.Error())
		n.setState(stateActive)
		c.timer.Reset(c.unreached.wait(n.longestPause()))
	}
}

func (n *neighbor) accepted(ctx context.Context, c *cycle, conn net.Conn) {
	c.used = true
	if conn == nil {
		return
	}
	if n.held() || len(c.candidates) >= maxCandidates {
		_, _ = conn.Write(wire.Notification(wire.CodeCease, wire.SubConnectionReject, nil))
		conn.Close()
		return
	}
	n.begin(ctx, c, conn, true)
}

// begin sends our OPEN on a new connection.
func (n *neighbor) begin(ctx context.Context, c *cycle, conn net.Conn, incoming bool) {
	// Beside a session, whose connection GoBGP has, the OPEN that it was made with does.
	if c.session == nil {
		if err := n.connectInner(ctx); err != nil {
			conn.Close()
			n.setError(err.Error())
			n.log.WithError(err).Error("cannot reach gobgp")
			c.timer.Reset(time.Second)
			return
		}
	}
	cfg, nc := n.config()
	cand := &candidate{conn: conn, r: bufio.NewReaderSize(conn, readBuffer), incoming: incoming}
	c.candidates[cand] = struct{}{}
	if c.session == nil {
		n.setState(stateOpenSent)
	}
	open := n.lastOpen
	n.s.spawn(func() {
		if err := cand.handshake(cfg, nc, open); err != nil {
			conn.Close()
			select {
			case c.failed <- failure{cand, err}:
			case <-ctx.Done():
			}
			return
		}
		select {
		case c.opened <- cand:
		case <-ctx.Done():
			conn.Close()
		}
	})
}

// drop forgets a connection that did not get to an OPEN.
func (n *neighbor) drop(c *cycle, f failure) {
	if _, ok := c.candidates[f.c]; !ok {
		return // it lost a collision before
	}
	delete(c.candidates, f.c)
	n.setError(f.err.Error())
	n.log.WithError(f.err).Info("connection failed before the session")
	n.retry(c)
}

// retry returns to dialling when nothing else is under way.
func (n *neighbor) retry(c *cycle) {
	if c.session == nil && len(c.candidates) == 0 && c.dialing == nil {
		if n.held() {
			n.setState(stateIdle)
			c.timer.Reset(time.Until(n.heldUntil))
			return
		}
		n.setState(stateActive)
		c.timer.Reset(c.unreached.wait(n.longestPause()))
	}
}

// resolve is collision detection: c's OPEN is in.
func (n *neighbor) resolve(ctx context.Context, c *cycle, cand *candidate) {
	if _, ok := c.candidates[cand]; !ok {
		cand.conn.Close()
		return
	}
	delete(c.candidates, cand)
	cfg, _ := n.config()
	for o := range c.candidates {
		if !cand.wins(o, cfg) {
			cand.reject(wire.SubCollision)
			return
		}
		delete(c.candidates, o)
		o.reject(wire.SubCollision)
	}
	s := c.session
	switch {
	case s == nil:
		n.splice(ctx, c, cand)
	case c.next != nil:
		cand.reject(wire.SubCollision)
	case s.established.Load() && s.graceful():
		// RFC 4724 §4.2: the peer restarted before we noticed.
		c.next = cand
		s.end(down{text: "peer opened a new connection after a restart", replaced: true})
	case s.established.Load(), !cand.wins(&candidate{incoming: s.incomes}, cfg):
		cand.reject(wire.SubCollision)
	default:
		c.next = cand
		s.notify(wire.CodeCease, wire.SubCollision, nil, "")
	}
}

// splice makes the session out of a connection and GoBGP's.
func (n *neighbor) splice(ctx context.Context, c *cycle, cand *candidate) {
	if err := n.connectInner(ctx); err != nil {
		cand.reject(wire.SubOutOfResources)
		n.setError(err.Error())
		n.retry(c)
		return
	}
	cfg, nc := n.config()
	s := newSession(n, cfg, nc, cand, n.inner)
	n.inner = nil // the session's
	c.session = s
	n.mu.Lock()
	n.current, n.state, n.since = s, stateOpenConfirm, time.Now()
	n.local, n.remote = addrPort(cand.conn.LocalAddr()), addrPort(cand.conn.RemoteAddr())
	n.mu.Unlock()
	n.s.spawn(func() { c.ended <- s.run() })
}
