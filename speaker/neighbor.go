package speaker

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/speaker/wire"
)

// holdDown is how long a neighbour stays down after it exceeded max_prefixes, unless
// it is reset by hand before.
const holdDown = 5 * time.Minute

// maxCandidates bounds connections of one neighbour that have not got to an OPEN: who can forge its
// address must not be able to pile them up.
const maxCandidates = 4

// neighbor is one real neighbour. One goroutine, run, owns its connections; other goroutines
// talk to it by channels and read what mu guards.
//
//	           dial or accept            OPEN of the peer             KEEPALIVE both ways
//	idle/active ────────────▶ candidates ───────────────▶ session ─────────────────────▶ established
//	     ▲                       (collision: one stays)      │
//	     └───────────────────────────────────────────────────┘
type neighbor struct {
	s       *Speaker
	addr    netip.Addr
	slot    int
	log     *logrus.Entry
	count   counters
	cancel  context.CancelFunc
	done    chan struct{} // run has returned
	conns   chan net.Conn // accepted
	orders  chan order
	dynamic netip.Prefix // it came from; invalid for a configured neighbour

	mu        sync.Mutex
	cfg       Config
	nc        Neighbor
	state     string
	since     time.Time
	lastError string
	current   *session
	local     netip.AddrPort
	remote    netip.AddrPort
	complete  bool // sent End-of-RIB since our start

	// Of run alone.
	generation int
	inner      *innerConn
	lastOpen   []byte // our OPEN of the last inner connection
	prepared   bool   // GoBGP knows the current generation
	stale      bool   // GoBGP holds stale routes of the generation before
	greetedYet bool   // a session was established since the start
	heldUntil  time.Time
	endRIB     chan struct{} // the session's peer sent End-of-RIB
}

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

// The states of NeighborStatus.
const (
	stateIdle        = "idle"
	stateConnect     = "connect"
	stateActive      = "active"
	stateOpenSent    = "opensent"
	stateOpenConfirm = "openconfirm"
	stateEstablished = "established"
)

// order asks run for something.
type order struct {
	notify  *wire.Error // end the session with this NOTIFICATION
	quiet   bool        // end it without one
	release bool        // lift a hold-down
	renew   bool        // GoBGP's neighbour must be made anew
	text    string
}

func (n *neighbor) setState(state string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.state != state {
		n.state, n.since = state, time.Now()
	}
}

func (n *neighbor) setError(text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lastError = text
}

func (n *neighbor) config() (Config, Neighbor) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cfg, n.nc
}

func (n *neighbor) session() *session {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.current
}

func (n *neighbor) endOfRIB() {
	select {
	case n.endRIB <- struct{}{}:
	default:
	}
	n.s.eorReceived(n)
}

// cycle is the state of run between sessions.
type cycle struct {
	candidates map[*candidate]struct{}
	opened     chan *candidate // their OPEN is in
	failed     chan failure
	dialed     chan dialResult
	dialing    context.CancelFunc
	timer      *time.Timer
	back       backoff
	session    *session
	ended      chan down
	next       *candidate // takes over when the session has ended
	staleTimer *time.Timer
	synced     chan int // GoBGP has all routes of this generation
	used       bool     // the connection that a dynamic neighbour was made for has come
}

type failure struct {
	c   *candidate
	err error
}

type dialResult struct {
	conn net.Conn
	err  error
}

// run keeps the neighbour until ctx ends.
func (n *neighbor) run(ctx context.Context) {
	defer close(n.done)
	defer func() {
		if p := recover(); p != nil {
			n.log.WithField("stack", string(debug.Stack())).Error("neighbour failed by a bug")
			n.s.fatal(fmt.Errorf("neighbour %s: internal error: %v", n.addr, p))
		}
	}()
	c := &cycle{
		candidates: map[*candidate]struct{}{}, opened: make(chan *candidate), failed: make(chan failure),
		dialed: make(chan dialResult), timer: time.NewTimer(0), ended: make(chan down, 1), synced: make(chan int), staleTimer: time.NewTimer(time.Hour),
	}
	c.staleTimer.Stop()
	if err := n.prepare(); err != nil {
		n.s.fatal(err)
		return
	}
	for {
		select {
		case <-ctx.Done():
			n.stop(c)
			return
		case <-c.timer.C:
			n.dial(ctx, c)
		case r := <-c.dialed:
			n.dialDone(ctx, c, r)
		case conn := <-n.conns:
			n.accepted(ctx, c, conn)
		case cand := <-c.opened:
			n.resolve(ctx, c, cand)
		case f := <-c.failed:
			n.drop(c, f)
		case d := <-c.ended:
			n.sessionEnded(ctx, c, d)
		case o := <-n.orders:
			n.obey(c, o)
		case <-n.endRIB:
			n.awaitSync(ctx, c)
		case g := <-c.synced:
			if g == n.generation {
				n.forgetStale()
			}
		case <-c.staleTimer.C:
			n.forgetStale()
		}
		if n.dynamic.IsValid() && c.used && c.session == nil && len(c.candidates) == 0 && !n.stale {
			n.stop(c)
			n.s.dynamicGone(n)
			return
		}
	}
}

func (n *neighbor) held() bool { return time.Now().Before(n.heldUntil) }

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
	c.back.limit = cfg.connectRetry(nc)
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
		c.timer.Reset(c.back.wait())
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
		cfg, nc := n.config()
		c.back.limit = cfg.connectRetry(nc)
		c.timer.Reset(c.back.wait())
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

// sessionEnded cleans up and says so.
func (n *neighbor) sessionEnded(ctx context.Context, c *cycle, d down) {
	s := c.session
	c.session = nil
	n.mu.Lock()
	n.current, n.lastError = nil, d.text
	n.state, n.since = stateIdle, time.Now()
	n.mu.Unlock()
	up := s.established.Load()
	graceful := up && !d.notified && s.graceful() && !n.s.stopping.Load()
	n.release(graceful)
	if up {
		n.greetedYet = true
		n.count.flaps.Add(1)
		n.log.WithFields(logrus.Fields{"reason": d.text, "graceful": graceful, "after": time.Since(s.began).Round(time.Millisecond)}).
			Warn("session down")
		ev := evpn.NeighborDown{Neighbor: n.addr, Graceful: graceful}
		if graceful {
			ev.StaleTime = s.peer.GracefulRestart.Time
			c.staleTimer.Reset(ev.StaleTime)
		}
		n.s.emit(ev)
		c.back.reset()
	}
	if d.hold {
		n.heldUntil = time.Now().Add(holdDown)
	}
	if err := n.prepare(); err != nil {
		n.s.fatal(err)
		return
	}
	if next := c.next; next != nil {
		c.next = nil
		n.splice(ctx, c, next)
		return
	}
	// A session that ended by itself may come back at once; its peer may be gone for long.
	if up && !d.hold {
		n.setState(stateActive)
		c.timer.Reset(c.back.wait() / 5)
		return
	}
	n.retry(c)
}

func (n *neighbor) obey(c *cycle, o order) {
	if o.release {
		n.heldUntil = time.Time{}
		c.timer.Reset(0)
	}
	s := c.session
	if o.renew && s == nil {
		n.renew(c)
	}
	switch {
	case s == nil:
	case o.notify != nil:
		s.notify(o.notify.Code, o.notify.Subcode, o.notify.Data, o.text)
	case o.quiet:
		s.end(down{text: o.text})
	}
}

// renew starts over with what GoBGP knows of the neighbour, and with connections under way.
func (n *neighbor) renew(c *cycle) {
	for cand := range c.candidates {
		delete(c.candidates, cand)
		cand.reject(wire.SubConfigChange)
	}
	if n.inner != nil {
		n.inner.conn.Close()
		n.inner = nil
	}
	n.release(false)
	if err := n.prepare(); err != nil {
		n.s.fatal(err)
	}
	c.timer.Reset(0)
}

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
	if n.s.stopping.Load() {
		return
	}
	if err := n.s.gobgp.deletePeer(innerAddr(n.slot, generation)); err != nil {
		n.log.WithError(err).Error("cannot delete gobgp neighbour")
	}
}

// stop closes everything; a session ends as the speaker's shutdown says.
func (n *neighbor) stop(c *cycle) {
	if c.dialing != nil {
		c.dialing()
	}
	for cand := range c.candidates {
		cand.reject(wire.SubShutdown)
	}
	if c.next != nil {
		c.next.reject(wire.SubShutdown)
	}
	if s := c.session; s != nil {
		switch {
		case !n.s.stopping.Load():
			s.notify(wire.CodeCease, wire.SubDeconfigured, nil, "")
		case n.s.stopGraceful.Load():
			s.end(down{text: "shutdown"})
		default:
			s.notify(wire.CodeCease, wire.SubShutdown, nil, "")
		}
		<-c.ended
		if s.established.Load() {
			n.s.emit(evpn.NeighborDown{Neighbor: n.addr})
		}
		n.mu.Lock()
		n.current = nil
		n.mu.Unlock()
	}
	if n.inner != nil {
		n.inner.conn.Close()
		n.inner = nil
	}
	n.release(false)
	c.timer.Stop()
	c.staleTimer.Stop()
}

func addrPort(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		ap := t.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return netip.AddrPort{}
}
