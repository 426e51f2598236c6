package speaker

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/speaker/wire"
)

const (
	readBuffer  = 64 << 10
	writeBuffer = 64 << 10
)

// lastWords is how long a NOTIFICATION may take: a writer may be stuck with a slow peer.
const lastWords = 500 * time.Millisecond

// down says why a session ended.
type down struct {
	text     string
	notified bool          // a NOTIFICATION was sent or received: not graceful (RFC 4724 §4.2)
	hold     bool          // keep the neighbour down until it is reset by hand or holdDown passed
	replaced bool          // a new connection of a restarted peer took over
	patience time.Duration // what a NOTIFICATION may take to send; 0 = lastWords
}

// session is one connection to the peer spliced to one connection to GoBGP.
type session struct {
	n       *neighbor
	cfg     Config
	nc      Neighbor
	peer    wire.Open
	ours    wire.Open
	began   time.Time
	outer   net.Conn
	outerR  *bufio.Reader
	inner   net.Conn
	innerR  *bufio.Reader
	innerW  *bufio.Writer
	wire    wire.Session
	incomes bool
	lapsing map[evpn.RouteKey]evpn.Route // see lapse; of inbound alone

	// mu lets the status read what inbound and outbound know of the routes.
	mu       sync.Mutex
	in       *received
	passedOn map[uint64]struct{} // routes of others that GoBGP sent
	out      *adjCursor

	// wmu orders whole messages on the outer connection.
	wmu    sync.Mutex
	broken bool // a message was cut off: nothing may follow

	greeted     chan struct{} // GoBGP's first KEEPALIVE is on its way to the peer
	gobgpEOR    chan struct{} // GoBGP has sent its own End-of-RIB
	done        chan struct{} // the session ends
	once        sync.Once
	cause       down
	established atomic.Bool
	eorSent     atomic.Bool
	sent        atomic.Int64 // own routes sent before End-of-RIB
	lastSend    time.Time    // of sendOwn
	wg          sync.WaitGroup
}

func newSession(n *neighbor, cfg Config, nc Neighbor, c *candidate, in *innerConn) *session {
	s := &session{
		n: n, cfg: cfg, nc: nc, peer: c.open, ours: in.ours, began: time.Now(), incomes: c.incoming,
		outer: c.conn, outerR: c.r, inner: in.conn, innerR: in.r, innerW: bufio.NewWriterSize(in.conn, writeBuffer),
		lapsing: map[evpn.RouteKey]evpn.Route{},
		in:      newReceived(), passedOn: map[uint64]struct{}{}, greeted: make(chan struct{}), gobgpEOR: make(chan struct{}), done: make(chan struct{}),
	}
	s.wire = wire.Session{
		FourOctetAS: c.open.FourOctetAS, EVPN: true, IBGP: cfg.ibgp(nc),
		LocalASN: cfg.ASN, LocalRouterID: cfg.RouterID, ClusterID: cfg.RouterID,
		Visible: cfg.GoBGPListen != "",
	}
	return s
}

// run carries the session until it ends and says why.
func (s *session) run() down {
	s.start(s.inbound)
	s.start(s.outbound)
	s.wg.Wait()
	return s.cause
}

// start runs f as one of the session's goroutines: its error, or a panic in
// it, ends the session and nothing else.
func (s *session) start(f func() error) {
	s.wg.Go(func() {
		defer func() {
			if p := recover(); p != nil {
				s.n.log.WithField("stack", string(debug.Stack())).Error("session failed by a bug")
				s.notify(wire.CodeCease, wire.SubOutOfResources, nil, fmt.Sprintf("internal error: %v", p))
			}
		}()
		if err := f(); err != nil {
			s.fail(err)
		}
	})
}

// fail ends the session because of err, with the NOTIFICATION that it asks for.
func (s *session) fail(err error) {
	var we *wire.Error
	if errors.As(err, &we) {
		s.notify(we.Code, we.Subcode, we.Data, we.Detail)
		return
	}
	s.end(down{text: err.Error()})
}

// notify ends the session with a NOTIFICATION to the peer.
func (s *session) notify(code, subcode uint8, data []byte, detail string) {
	text := "sent NOTIFICATION: " + wire.ErrorText(code, subcode)
	if detail != "" {
		text += ": " + detail
	}
	s.endWith(wire.Notification(code, subcode, data), down{text: text, notified: true})
}

// end closes both connections; the first cause counts.
func (s *session) end(d down) { s.endWith(nil, d) }

func (s *session) endWith(last []byte, d down) {
	s.once.Do(func() {
		s.cause = d
		if last != nil {
			_ = s.outer.SetWriteDeadline(time.Now().Add(cmp.Or(d.patience, lastWords)))
			s.wmu.Lock()
			if !s.broken {
				_, _ = s.outer.Write(last)
				s.n.count.messagesOut.Add(1)
			}
			s.broken = true
			s.wmu.Unlock()
		}
		close(s.done)
		_ = s.outer.Close()
		_ = s.inner.Close()
	})
}

// write sends whole messages to the peer.
func (s *session) write(b []byte, messages int) error {
	s.wmu.Lock()
	defer s.wmu.Unlock()
	if s.broken {
		return net.ErrClosed
	}
	// No progress for a whole hold time: the peer is gone.
	_ = s.outer.SetWriteDeadline(time.Now().Add(s.holdTime() + time.Second))
	if _, err := s.outer.Write(b); err != nil {
		s.broken = true
		return fmt.Errorf("send to peer: %w", err)
	}
	s.n.count.messagesOut.Add(uint64(messages))
	return nil
}

// holdTime is the negotiated one (RFC 4271 §4.2); without one, ours bounds a write.
func (s *session) holdTime() time.Duration {
	if h := min(s.peer.HoldTime, s.ours.HoldTime); h > 0 {
		return h
	}
	return s.cfg.holdTime(s.nc)
}

// graceful reports whether both sides agreed that the peer's routes outlive the session.
func (s *session) graceful() bool {
	_, longLived := s.retention()
	gr := s.peer.GracefulRestart
	return s.cfg.GracefulRestartTime > 0 && gr != nil && (gr.EVPN || longLived > 0)
}

// retention is for how long the peer's routes outlive the session: as stale ones, and then as
// long-lived stale ones. The peer says the times; for the latter our own configuration is the limit (RFC 9494 §4.2).
// A family in the long-lived capability only skips the first phase.
func (s *session) retention() (stale, longLived time.Duration) {
	gr, l := s.peer.GracefulRestart, s.peer.LongLived
	if s.cfg.GracefulRestartTime == 0 || gr == nil {
		return 0, 0 // without the one capability the other counts for nothing (RFC 9494 §4.5)
	}
	if gr.EVPN {
		stale = gr.Time
	}
	if l != nil && l.EVPN {
		longLived = min(l.Time, s.nc.LongLivedStaleTime)
	}
	return stale, longLived
}

// establish is called at the peer's first KEEPALIVE: the session is up when GoBGP's is out, too.
func (s *session) establish() {
	select {
	case <-s.greeted:
	case <-s.done:
		return
	}
	gr, l := s.peer.GracefulRestart, s.peer.LongLived
	s.out = s.n.s.adj.open()
	s.established.Store(true)
	s.n.setState(stateEstablished)
	s.n.watch()
	s.n.s.emit(evpn.NeighborUp{
		Neighbor: s.n.addr, RouterID: s.peer.RouterID, ASN: s.peer.ASN, IBGP: s.cfg.ibgp(s.nc),
		// RFC 4724 §2: the marker is promised to those who announced graceful restart themselves.
		EndOfRIB:       gr != nil && s.cfg.GracefulRestartTime > 0,
		KeptForwarding: gr != nil && gr.EVPN && gr.Forwarding,
		KeptLongLived:  gr != nil && l != nil && l.EVPN && l.Forwarding,
	})
	s.n.sessionUp()
	s.start(s.sendOwn)
}

// readError words what a failed read means.
func readError(err error) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("read from peer: timed out")
	case err.Error() == "EOF":
		return errors.New("peer closed the connection")
	default:
		var we *wire.Error
		if errors.As(err, &we) {
			return err
		}
		return fmt.Errorf("read from peer: %w", err)
	}
}
