package bfd

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// Session is what to watch: one session per neighbour address.
type Session struct {
	Peer     netip.Addr // with a zone when link-local
	Local    netip.Addr // to send from; invalid = the kernel chooses
	Multihop bool
	Timers
}

// Watcher keeps sessions. Its thread and sockets exist from the first [Watcher.Watch] on.
// Its methods may be called from any goroutine.
type Watcher struct {
	log   *logrus.Entry
	ports [2]int // of single-hop and multihop sessions

	mu      sync.Mutex
	started bool
	stopped bool

	commands chan func()
	wake     int           // eventfd
	done     chan struct{} // the thread has ended
	reports  *reports

	// Of the thread alone.
	quit     bool
	priority string
	peers    map[netip.Addr]*session
	discrs   map[uint32]*session
	sources  map[source]*session
	due      dueHeap
	sockets  [4]*socket
	unlucky  [4]time.Time // when opening the socket failed last
	drops    map[string]uint64
	latest   time.Duration
	crowded  bool // a socket holds more than the budget of one reading
	buf, oob []byte
}

// session is a machine with its socket and its history.
type session struct {
	Session
	m       *Machine
	discr   uint32
	key     source
	out     int // socket to send from; -1 = none
	problem string
	report  func(Change)
	leaving time.Time // when to forget a session that was taken down; zero for the others

	at    time.Time // of the machine's next tick; zero = never
	index int       // in the heap; -1 = not there

	since      time.Time
	downs      uint64
	lastDown   time.Time
	downReason string
	in, sent   uint64
}

// source is how a neighbour's first packet is known (RFC 5881 §3, RFC 5883 §4).
type source struct {
	addr     netip.Addr // without zone
	scope    uint32     // interface index of a link-local address
	multihop bool
}

// NewWatcher makes one without sessions.
func NewWatcher(log *logrus.Entry) *Watcher {
	return &Watcher{
		log: log, ports: [2]int{portSingleHop, portMultihop}, commands: make(chan func(), 64), done: make(chan struct{}), wake: -1,
		peers: map[netip.Addr]*session{}, discrs: map[uint32]*session{}, sources: map[source]*session{},
		drops: map[string]uint64{}, buf: make([]byte, 1500), oob: make([]byte, 256),
	}
}

// Watch starts a session, or changes the one that its neighbour has: timers and local address change without
// a flap, between one hop and several it is a new session. report is told every
// change of state, in order, by a goroutine of the watcher; it must not call Watch, Forget or Stop.
func (w *Watcher) Watch(s Session, report func(Change)) error {
	if err := w.start(); err != nil {
		return err
	}
	w.do(func() { w.watch(s, report) })
	return nil
}

// Forget ends a neighbour's session. The neighbour is told that it is on purpose.
func (w *Watcher) Forget(peer netip.Addr) {
	w.do(func() {
		if s := w.peers[peer]; s != nil {
			w.leave(s, time.Now())
		}
	})
}

// Stop tells all neighbours that their sessions end on purpose, and ends.
func (w *Watcher) Stop() {
	w.do(func() { w.quit = true })
	w.mu.Lock()
	last := w.started && !w.stopped
	w.stopped = true
	w.mu.Unlock()
	if !last {
		return
	}
	<-w.done
	w.reports.close()
	w.mu.Lock()
	defer w.mu.Unlock()
	unix.Close(w.wake)
	w.wake = -1
}

// do has the thread run f, in order; it reports whether the thread is there.
func (w *Watcher) do(f func()) bool {
	w.mu.Lock()
	running := w.started && !w.stopped
	w.mu.Unlock()
	if !running {
		return false
	}
	select {
	case w.commands <- f:
	case <-w.done:
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.wake >= 0 {
		_, _ = unix.Write(w.wake, binary.NativeEndian.AppendUint64(nil, 1))
	}
	return true
}

// ask is do, and waits until f has run.
func (w *Watcher) ask(f func()) bool {
	ran := make(chan struct{})
	if !w.do(func() { f(); close(ran) }) {
		return false
	}
	select {
	case <-ran:
		return true
	case <-w.done:
		return false
	}
}

// start opens what the thread needs and starts it.
func (w *Watcher) start() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.started || w.stopped {
		return nil
	}
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("open eventfd for bfd: %w", err)
	}
	w.wake, w.started, w.reports = fd, true, newReports()
	go w.reports.run()
	go w.loop()
	return nil
}

// watch is Watch on the thread.
func (w *Watcher) watch(p Session, report func(Change)) {
	now := time.Now()
	old := w.peers[p.Peer]
	if old != nil && old.Multihop == p.Multihop {
		if p.Local.IsValid() && p.Local != old.source() {
			w.closeOut(old)
		}
		old.Session, old.report = p, report
		w.follow(old, old.m.Configure(p.Timers, now), now)
		return
	}
	if old != nil {
		w.leave(old, now)
	}
	w.forgetLeaving(p)
	discr := rand.Uint32()
	for discr == 0 || w.discrs[discr] != nil {
		discr = rand.Uint32()
	}
	s := &session{Session: p, m: NewMachine(discr, p.Timers, rand.Float64, now), discr: discr, out: -1, index: -1, report: report, since: now}
	w.peers[p.Peer], w.discrs[discr] = s, s
	w.listen(s, now)
	w.index(s, 0)
	w.schedule(s)
}

// index makes s the one that the first packets from its neighbour are for.
func (w *Watcher) index(s *session, scope uint32) {
	if w.sources[s.key] == s {
		delete(w.sources, s.key)
	}
	s.key = source{s.Peer.WithZone(""), scope, s.Multihop}
	w.sources[s.key] = s
}

// leave takes a session down on purpose. It stays for a detection time, so that the neighbour
// hears of it even if a packet is lost (RFC 5880 §6.8.16).
func (w *Watcher) leave(s *session, now time.Time) {
	delete(w.peers, s.Peer)
	if w.sources[s.key] == s {
		delete(w.sources, s.key)
	}
	s.report = nil
	s.leaving = now.Add(time.Duration(s.Multiplier) * slowInterval)
	w.follow(s, s.m.Disable(now), now)
}

// forgetLeaving ends the last words of earlier sessions with a neighbour: it has one session for all of ours, which
// each AdminDown would take down again.
func (w *Watcher) forgetLeaving(p Session) {
	for _, s := range w.discrs {
		if !s.leaving.IsZero() && s.Peer == p.Peer && s.Multihop == p.Multihop {
			w.forget(s)
		}
	}
}

// forget drops a session that has left.
func (w *Watcher) forget(s *session) {
	w.closeOut(s)
	delete(w.discrs, s.discr)
	w.due.remove(s)
}

// follow does what a step of the machine asks for.
func (w *Watcher) follow(s *session, step Step, now time.Time) {
	if c := step.Change; c != nil {
		s.since = now
		if c.From == Up {
			s.downs++
			s.lastDown, s.downReason = now, c.Reason()
		}
		if c.To == Down && !s.Local.IsValid() {
			w.closeOut(s) // the kernel may choose another address by now
		}
	}
	for _, p := range step.Send {
		w.send(s, p)
	}
	w.schedule(s)
	if c := step.Change; c != nil && s.report != nil {
		w.reports.put(s.report, *c)
	}
}

func (w *Watcher) schedule(s *session) {
	at := s.m.Next()
	if !s.leaving.IsZero() && (at.IsZero() || s.leaving.Before(at)) {
		at = s.leaving
	}
	w.due.set(s, at)
}

// Reason puts a session's end in words.
func (c Change) Reason() string {
	switch {
	case c.Diag == DiagExpired:
		return fmt.Sprintf("%s: nothing heard for %s", c.Diag, c.Silence.Round(time.Millisecond))
	case c.Remote == AdminDown:
		return "neighbor took its session down on purpose"
	case c.Diag == DiagNeighborDown && c.RemoteDiag != DiagNone:
		return fmt.Sprintf("%s: %s", c.Diag, c.RemoteDiag)
	default:
		return c.Diag.String()
	}
}

// Status is what there is to show of a session.
type Status struct {
	Session
	State, RemoteState            State
	Diag, RemoteDiag              Diag
	Discriminator, RemoteDiscr    uint32
	RemoteMultiplier              uint8
	RemoteIndependent             bool // the neighbour's C bit
	SendInterval, ReceiveInterval time.Duration
	DetectionTime                 time.Duration // 0 until the neighbour was heard
	Since                         time.Time     // of State
	Downs                         uint64        // times that it left Up
	LastDown                      time.Time
	LastDownReason                string
	PacketsReceived, PacketsSent  uint64
	Problem                       string // why packets cannot be sent or received
}

// Stats are totals.
type Stats struct {
	Drops    map[string]uint64 // packets discarded, by reason
	Latest   time.Duration     // the most that a packet of ours was ever late
	Priority string            // of the thread: "realtime", "high" or "normal"; "" = it does not run
}

// Sessions lists the sessions, by neighbour.
func (w *Watcher) Sessions() map[netip.Addr]Status {
	out := map[netip.Addr]Status{}
	w.ask(func() {
		for a, s := range w.peers {
			out[a] = s.status()
		}
	})
	return out
}

// Stats gives the totals.
func (w *Watcher) Stats() Stats {
	st := Stats{Drops: map[string]uint64{}}
	w.ask(func() {
		st = Stats{Drops: maps.Clone(w.drops), Latest: w.latest, Priority: w.priority}
	})
	return st
}

func (s *session) status() Status {
	m := s.m
	return Status{
		Session: s.Session, State: m.state, RemoteState: m.remoteState, Diag: m.diag, RemoteDiag: m.remoteDiag,
		Discriminator: s.discr, RemoteDiscr: m.remoteDiscr, RemoteMultiplier: m.remoteMultiplier, RemoteIndependent: m.remoteIndependent,
		SendInterval: m.Interval(), ReceiveInterval: max(m.activeRx, m.remoteDesiredTx), DetectionTime: m.DetectionTime(),
		Since: s.since, Downs: s.downs, LastDown: s.lastDown, LastDownReason: s.downReason,
		PacketsReceived: s.in, PacketsSent: s.sent, Problem: s.problem,
	}
}

// reports brings changes to their receivers without the thread ever waiting for one.
type reports struct {
	mu     sync.Mutex
	list   []func()
	ready  chan struct{}
	closed chan struct{}
	ended  chan struct{}
}

func newReports() *reports {
	return &reports{ready: make(chan struct{}, 1), closed: make(chan struct{}), ended: make(chan struct{})}
}

func (r *reports) put(to func(Change), c Change) {
	r.mu.Lock()
	r.list = append(r.list, func() { to(c) })
	r.mu.Unlock()
	select {
	case r.ready <- struct{}{}:
	default:
	}
}

func (r *reports) run() {
	defer close(r.ended)
	for {
		select {
		case <-r.ready:
		case <-r.closed:
			return
		}
		r.mu.Lock()
		list := slices.Clone(r.list)
		r.list = r.list[:0]
		r.mu.Unlock()
		for _, f := range list {
			f()
		}
	}
}

func (r *reports) close() {
	close(r.closed)
	<-r.ended
}
