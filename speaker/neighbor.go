package speaker

import (
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
	watchMu sync.Mutex   // orders calls of watch
	// pathLost tells run of a BFD failure that may end what waits for a restart.
	pathLost chan struct{}

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
	kept      kept

	// Of run alone.
	generation int
	inner      *innerConn
	lastOpen   []byte // our OPEN of the last inner connection
	prepared   bool   // GoBGP knows the current generation
	stale      bool   // GoBGP holds stale routes of the generation before
	greetedYet bool   // a session was established since the start
	heldUntil  time.Time
	endRIB     chan struct{} // the session's peer sent End-of-RIB
	up         chan struct{} // the session is established
}

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
	release bool        // lift a hold-down
	renew   bool        // GoBGP's neighbour must be made anew
	text    string
	ack     chan struct{} // closed when done; may be nil
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

// maxPrefixes is the limit in force now: a reload changes it without a reset, and the
// next UPDATE is measured by it.
func (n *neighbor) maxPrefixes() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.nc.MaxPrefixes
}

// longestPause caps the waits between attempts to dial, by the configuration in force now.
func (n *neighbor) longestPause() time.Duration {
	cfg, nc := n.config()
	return cfg.connectRetry(nc)
}

func (n *neighbor) session() *session {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.current
}

// cycle is the state of run between sessions.
type cycle struct {
	candidates map[*candidate]struct{}
	opened     chan *candidate // their OPEN is in
	failed     chan failure
	dialed     chan dialResult
	dialing    context.CancelFunc
	timer      *time.Timer
	unreached  backoff // between attempts that came to no session
	shortLived backoff // after sessions
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
		unreached: backoff{first: firstRetry}, shortLived: backoff{first: firstReturn},
	}
	c.staleTimer.Stop()
	if !n.dynamic.IsValid() { // others are watched once they have a session
		n.watch()
	}
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
		case <-n.up:
			n.resumed(c)
		case <-n.pathLost:
			n.lostPath(c)
		case <-n.endRIB:
			n.awaitSync(ctx, c)
		case g := <-c.synced:
			if g == n.generation {
				n.letGo(c)
			}
		case <-c.staleTimer.C:
			n.letGo(c)
		}
		if n.dynamic.IsValid() && c.used && c.session == nil && len(c.candidates) == 0 && !n.waiting() {
			n.stop(c)
			n.s.dynamicGone(n)
			return
		}
	}
}

func (n *neighbor) held() bool { return time.Now().Before(n.heldUntil) }

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
			ev.StaleTime, ev.LongLived = s.retention()
			n.keep(c, ev.StaleTime, ev.LongLived)
		} else {
			n.letGo(c)
		}
		n.s.emit(ev)
		c.unreached.reset()
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
	// What ended a session is mostly over at once, but a peer may end each for what it is sent.
	if up && !d.hold {
		n.setState(stateActive)
		c.timer.Reset(c.shortLived.afterSession(time.Since(s.began), n.longestPause()))
		return
	}
	n.retry(c)
}

func (n *neighbor) obey(c *cycle, o order) {
	if o.ack != nil {
		defer close(o.ack)
	}
	if o.release {
		n.heldUntil = time.Time{}
		c.unreached.reset()
		c.shortLived.reset()
		c.timer.Reset(0)
	}
	s := c.session
	if o.renew && s == nil {
		n.renew(c)
	}
	if s != nil && o.notify != nil {
		s.notify(o.notify.Code, o.notify.Subcode, o.notify.Data, o.text)
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
	if !n.s.stopping.Load() { // else the BFD sessions end after all BGP sessions have
		n.unwatch()
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
