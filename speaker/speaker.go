package speaker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/speaker/bfd"
	"github.com/vtepbgp/vtepbgp/speaker/wire"
)

// Speaker holds the sessions of one BGP instance.
type Speaker struct {
	log     *logrus.Entry
	adj     *adjOut
	imports atomic.Pointer[evpn.ImportSet]
	transit atomic.Bool
	ready   chan struct{}
	// selected is closed when the End-of-RIB of a restarting reflector may go out.
	selected     chan struct{}
	selectOnce   sync.Once
	stopping     atomic.Bool
	stopGraceful atomic.Bool
	unknown      atomic.Uint64 // connections from nobody we know

	bfd   *bfd.Watcher
	sink  func(evpn.Event)
	gobgp *embedded
	ctx   context.Context // of Run
	died  chan error
	wg    sync.WaitGroup

	mu        sync.Mutex
	cfg       Config
	running   bool
	neighbors map[netip.Addr]*neighbor
	listeners []*listener
	slots     []int // free ones
	slotCount int
	quit      context.CancelFunc
	finished  chan struct{}
}

// New checks cfg; nothing is opened before [Speaker.Run].
func New(cfg Config, log *logrus.Entry) (*Speaker, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("check speaker configuration: %w", err)
	}
	cfg.Neighbors = slices.Clone(cfg.Neighbors)
	s := &Speaker{
		log: log, cfg: cfg, bfd: bfd.NewWatcher(log), adj: newAdjOut(), ready: make(chan struct{}), selected: make(chan struct{}),
		neighbors: map[netip.Addr]*neighbor{}, died: make(chan error, 1), finished: make(chan struct{}),
	}
	s.transit.Store(cfg.transit())
	return s, nil
}

// Run opens the sockets and keeps the sessions until ctx ends, then returns nil. An error means
// that BGP cannot go on.
//
// When ctx ends without a call of [Speaker.Shutdown] before, sessions with graceful restart
// end silently, so that neighbours keep our routes, and others by Cease.
// sink gets the events, see the package documentation; from the start of the shutdown on it gets none.
func (s *Speaker) Run(ctx context.Context, sink func(evpn.Event)) error {
	defer close(s.finished)
	run, cancel := context.WithCancel(context.Background())
	defer cancel()
	s.mu.Lock()
	cfg := s.cfg
	s.sink, s.ctx, s.quit = sink, run, cancel
	s.mu.Unlock()
	if s.stopping.Load() {
		return nil
	}
	gobgp, err := startEmbedded(cfg, s.log, s.fatal)
	if err != nil {
		return err
	}
	s.gobgp = gobgp
	listeners, err := listenAll(ctx, cfg)
	if err != nil {
		gobgp.stop(s.log)
		return err
	}
	s.mu.Lock()
	s.listeners, s.running = listeners, true
	for _, n := range s.cfg.Neighbors {
		err = errors.Join(err, s.setKeys(n, n.Password))
		if !n.dynamic() {
			s.addNeighbor(n.Address, n, netip.Prefix{})
		}
	}
	for _, l := range listeners {
		s.spawn(func() {
			if err := l.acceptAll(run, s.accept); err != nil {
				s.fatal(err)
			}
		})
	}
	s.mu.Unlock()
	if err == nil {
		s.startSelection(run, cfg)
		if cfg.GoBGPListen != "" {
			s.startMirror(run)
		}
		close(s.ready)
		select {
		case <-ctx.Done():
		case <-run.Done():
		case err = <-s.died:
			err = fmt.Errorf("speaker: %w", err)
		}
	}
	s.beginStop(cfg.GracefulRestartTime > 0)
	cancel()
	for _, l := range listeners {
		l.Close()
	}
	s.wg.Wait()
	// After BGP: a neighbour that takes the end of BFD for a failure finds a session that has ended gracefully.
	s.bfd.Stop()
	gobgp.stop(s.log)
	return err
}

// Ready is closed when the speaker listens and its neighbours are being dialled.
func (s *Speaker) Ready() <-chan struct{} { return s.ready }

// Shutdown ends all sessions and Run. Graceful closes them without a NOTIFICATION, so that
// neighbours keep our routes for the restart time (RFC 4724 §4.2); otherwise they get Cease.
func (s *Speaker) Shutdown(graceful bool) {
	s.beginStop(graceful)
	s.mu.Lock()
	quit := s.quit
	s.mu.Unlock()
	if quit != nil {
		quit()
		<-s.finished
	}
}

func (s *Speaker) beginStop(graceful bool) {
	if !s.stopping.Load() {
		s.stopGraceful.Store(graceful)
		s.stopping.Store(true)
	}
}

// Apply announces and withdraws own routes, to all sessions there are and will be. Withdrawals come first.
func (s *Speaker) Apply(announce []evpn.Route, withdraw []evpn.RouteKey) {
	s.adj.apply(announce, withdraw)
}

// SetImports says which route targets are of interest. Before the first call all are.
func (s *Speaker) SetImports(set evpn.ImportSet) {
	old := s.imports.Swap(&set)
	if old == nil || old.Contains(set) {
		return
	}
	for _, n := range s.list() {
		if ses := n.session(); ses != nil && ses.established.Load() && ses.shedCount() > 0 {
			n.askAgain(ses, "imports grew")
		}
	}
}

// askAgain gets the peer's routes again: by ROUTE-REFRESH, or else by a new session.
func (n *neighbor) askAgain(ses *session, why string) {
	if err := ses.askRefresh(); err != nil {
		n.log.WithError(err).WithField("why", why).Info("session reset in place of a route refresh")
		n.order(order{notify: &wire.Error{Code: wire.CodeCease, Subcode: wire.SubReset}, text: why})
	}
}

func (n *neighbor) order(o order) {
	select {
	case n.orders <- o:
	case <-n.done:
	}
}

// Reset ends the session with a neighbour by Cease/4 and lifts a hold-down; soft keeps the session
// and has both sides send their routes again.
func (s *Speaker) Reset(addr netip.Addr, soft bool) error {
	s.mu.Lock()
	n := s.neighbors[addr]
	s.mu.Unlock()
	if n == nil {
		return fmt.Errorf("reset neighbor %s: no such neighbor", addr)
	}
	if !soft {
		n.order(order{notify: &wire.Error{Code: wire.CodeCease, Subcode: wire.SubReset}, release: true, text: "reset by hand"})
		return nil
	}
	ses := n.session()
	if ses == nil || !ses.established.Load() {
		return fmt.Errorf("reset neighbor %s softly: session is not established", addr)
	}
	ses.out.rewind()
	if err := ses.askRefresh(); err != nil {
		return fmt.Errorf("reset neighbor %s softly: %w", addr, err)
	}
	return nil
}

// emit gives an event to the sink, unless the speaker stops: what ends then is not news.
func (s *Speaker) emit(ev evpn.Event) {
	if !s.stopping.Load() {
		s.sink(ev)
	}
}

// fatal ends Run with err; the first one counts.
func (s *Speaker) fatal(err error) {
	select {
	case s.died <- err:
	default:
	}
}

// spawn runs f as a goroutine that Run waits for.
func (s *Speaker) spawn(f func()) { s.wg.Go(f) }

func (s *Speaker) cfgRestarting() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cfg.Restarting
}

func (s *Speaker) list() []*neighbor {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := make([]*neighbor, 0, len(s.neighbors))
	for _, n := range s.neighbors {
		l = append(l, n)
	}
	return l
}

// addNeighbor starts a neighbour; mu is held.
func (s *Speaker) addNeighbor(addr netip.Addr, nc Neighbor, from netip.Prefix) *neighbor {
	slot := s.slotCount
	if k := len(s.slots); k > 0 {
		slot, s.slots = s.slots[k-1], s.slots[:k-1]
	} else {
		s.slotCount++
	}
	ctx, cancel := context.WithCancel(s.ctx)
	n := &neighbor{
		s: s, addr: addr, slot: slot, log: s.log.WithField("neighbor", addr.String()),
		cancel: cancel, done: make(chan struct{}), conns: make(chan net.Conn), orders: make(chan order, 4),
		dynamic: from, cfg: s.cfg, nc: nc, state: stateIdle, since: time.Now(), endRIB: make(chan struct{}, 1), pathLost: make(chan struct{}, 1), up: make(chan struct{}, 1),
	}
	s.neighbors[addr] = n
	s.spawn(func() { n.run(ctx) })
	return n
}

// setKeys sets the TCP MD5 key of a neighbour on the listeners; mu is held.
func (s *Speaker) setKeys(n Neighbor, key string) error {
	if key == "" && n.Password == "" {
		return nil
	}
	var errs []error
	for _, l := range s.listeners {
		errs = append(errs, l.setMD5(n.neighborPrefix(), key))
	}
	return errors.Join(errs...)
}

// startSelection opens the gate for End-of-RIB: at once, or for a restarting reflector when its
// neighbours have sent theirs (RFC 4724 §4.1), or when the restart time has passed.
func (s *Speaker) startSelection(ctx context.Context, cfg Config) {
	if !cfg.Restarting || !cfg.transit() {
		s.openSelection()
		return
	}
	t := time.AfterFunc(cfg.GracefulRestartTime, s.openSelection)
	context.AfterFunc(ctx, func() { t.Stop() })
}

func (s *Speaker) openSelection() { s.selectOnce.Do(func() { close(s.selected) }) }

// eorReceived notes that a neighbour's table is complete.
func (s *Speaker) eorReceived(n *neighbor) {
	select {
	case <-s.selected:
		return
	default:
	}
	n.mu.Lock()
	n.complete = true
	n.mu.Unlock()
	if s.allComplete() {
		s.spawn(s.settleSelection)
	}
}

// selectionSettle is how long what GoBGP has worked through may take to its neighbours' sockets.
const selectionSettle = 250 * time.Millisecond

// settleSelection opens the gate when what came before the last End-of-RIB has gone through GoBGP: the
// guard knows of it earlier, and our marker must not overtake the routes.
func (s *Speaker) settleSelection() {
	for _, n := range s.list() {
		if ses := n.session(); ses != nil {
			if err := s.gobgp.awaitEndOfRIB(s.ctx, addrPort(ses.inner.LocalAddr()).Addr()); err != nil {
				n.log.WithError(err).Debug("end of table is not waited for")
			}
		}
	}
	select {
	case <-s.ctx.Done():
	case <-time.After(selectionSettle):
		s.openSelection()
	}
}

// allComplete reports whether all neighbours that there are, and those that are expected, have sent End-of-RIB.
func (s *Speaker) allComplete() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.cfg.Expected {
		if s.neighbors[a] == nil && s.cfg.knows(a) {
			return false
		}
	}
	for _, n := range s.neighbors {
		n.mu.Lock()
		complete := n.complete
		n.mu.Unlock()
		if !complete {
			return false
		}
	}
	return true
}
