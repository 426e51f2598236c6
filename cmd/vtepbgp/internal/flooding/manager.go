package flooding

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/flood"
)

// Options are what a [Manager] works with.
type Options struct {
	Kinds []flood.Kind // of engines, the first choice first
	// Alive asks whether a VTEP of a segment is there. It may take a while.
	Alive func(context.Context, netip.Addr) (bool, error)
	// Directory is where it remembers what a restart has to know.
	Directory string
	Log       *logrus.Entry
}

// Manager has packets copied. Its methods may be called from any goroutine, and none but
// Run waits for an engine.
type Manager struct {
	o    Options
	wake chan struct{}

	// Of the goroutine that listens.
	ears    *ears
	memory  memory    // as on disk
	writeAt time.Time // not before

	inbox struct { // of its own: the loop does not wait while tables are built
		sync.Mutex
		lists  []evpn.ListChange
		relays []evpn.RelayChange
	}

	mu      sync.Mutex
	intent  *intent
	found   map[string]bool    // interfaces on which the process before may have left something
	held    bool               // which copies on as it is
	workers map[string]*worker // by interface
	leave   bool               // engines are left, with leases of stay
	stay    time.Duration

	terms struct { // of its own: leases may be shorter than tables take to build
		sync.Mutex
		workers     []*worker
		others, all term
	}

	heardVTEPs, heardMACs int
}

// New gives a manager that does nothing until it is configured and run.
func New(o Options) *Manager {
	m := &Manager{
		o: o, wake: make(chan struct{}, 1), ears: newEars(), intent: newIntent(),
		found: map[string]bool{}, workers: map[string]*worker{},
	}
	m.memory = readMemory(o.Directory)
	for _, device := range m.memory.Left {
		m.found[device] = true
	}
	return m
}

// Apply takes changes of what the core wants. It waits for nothing.
func (m *Manager) Apply(lists []evpn.ListChange, relays []evpn.RelayChange) {
	m.inbox.Lock()
	m.inbox.lists = append(m.inbox.lists, lists...)
	m.inbox.relays = append(m.inbox.relays, relays...)
	m.inbox.Unlock()
	m.nudge()
}

// Configure takes a configuration, also of what the host is like now.
func (m *Manager) Configure(cfg Config) {
	m.mu.Lock()
	m.intent.configure(cfg)
	m.mu.Unlock()
	m.nudge()
}

// Release ends what Resume holds back: the core's picture is as complete as what the
// process before left copying.
func (m *Manager) Release() {
	m.mu.Lock()
	held := m.held
	m.held = false
	m.mu.Unlock()
	if held {
		m.nudge()
	}
}

// Renew has what we copy for others go on for a while from now.
func (m *Manager) Renew(l flood.Lease) {
	m.terms.Lock()
	m.terms.others = termOf(l)
	workers := m.terms.workers
	m.terms.Unlock()
	for _, w := range workers {
		w.renew(l)
	}
}

// Keep has all that we copy go on for a while from now, at most.
func (m *Manager) Keep(l flood.Lease) {
	m.terms.Lock()
	m.terms.all = termOf(l)
	workers := m.terms.workers
	m.terms.Unlock()
	for _, w := range workers {
		w.keep(l)
	}
}

// Outlives reports whether all that copies goes on without this process, or soon will: who takes over from us
// must not do so then. While no engine is open, that is what the one that is wished for does.
func (m *Manager) Outlives() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.outlives()
}

func (m *Manager) outlives() bool {
	busy := false
	for _, w := range m.workers {
		lasts, works := w.lasts()
		if works && !lasts {
			return false
		}
		busy = busy || works
	}
	return busy || lasts(m.o.Kinds, m.intent.cfg.Engine)
}

// lasts says whether the first choice of engines with a name copies without a process.
func lasts(kinds []flood.Kind, name string) bool {
	i := slices.IndexFunc(kinds, func(k flood.Kind) bool { return name == flood.Auto || k.Name == name })
	return i >= 0 && kinds[i].Sweep != nil
}

// employ has a new worker know the leases.
func (m *Manager) employ(w *worker) {
	m.terms.Lock()
	defer m.terms.Unlock()
	w.others, w.all = m.terms.others, m.terms.all
	m.terms.workers = append(slices.Clip(m.terms.workers), w)
}

// Leave has engines left behind when Run ends, as far as they copy without a process, each
// lease with d from then on if it outlives us. Without it, they are removed.
func (m *Manager) Leave(d time.Duration) {
	m.mu.Lock()
	m.leave, m.stay = true, d
	m.mu.Unlock()
}

func (m *Manager) nudge() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// Run works until ctx ends. Events go to sink from one goroutine; sink may block.
func (m *Manager) Run(ctx context.Context, sink func(evpn.Event)) error {
	var both sync.WaitGroup
	both.Go(func() { m.dispatch(ctx) })
	both.Go(func() { m.listen(ctx, sink) })
	both.Wait()
	m.remember(true)
	return nil
}

// dispatch gives every interface its newest table.
func (m *Manager) dispatch(ctx context.Context) {
	working, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	late := time.NewTimer(Linger)
	defer late.Stop()
	for {
		if next := m.hand(working); next.IsZero() {
			late.Stop()
		} else {
			late.Reset(time.Until(next))
		}
		select {
		case <-ctx.Done():
			m.end(stop)
			return
		case <-m.wake:
		case <-late.C:
		}
	}
}

// hand gives the time at which it has to be done again.
func (m *Manager) hand(working context.Context) (next time.Time) {
	m.inbox.Lock()
	lists, relays := m.inbox.lists, m.inbox.relays
	m.inbox.lists, m.inbox.relays = nil, nil
	m.inbox.Unlock()
	m.mu.Lock()
	m.intent.apply(lists, relays)
	engine := m.intent.cfg.Engine
	for device, table := range m.intent.build(m.free) {
		w := m.workers[device]
		if w == nil && table == nil {
			continue
		}
		delete(m.found, device)
		if w == nil {
			w = newWorker(device, m.o.Kinds, m.nudge, m.o.Log)
			m.employ(w)
			m.workers[device] = w
			go w.run(working)
		}
		w.want(table, engine)
	}
	for _, w := range m.workers {
		w.prefer(engine)
	}
	next = m.intent.parts()
	var useless map[string]bool
	if !m.held {
		useless, m.found = m.found, map[string]bool{}
	}
	m.mu.Unlock()
	m.sweep(useless)
	return next
}

// free says that an interface is to have the newest table.
func (m *Manager) free(device string) bool {
	if m.held && m.found[device] {
		return false
	}
	w := m.workers[device]
	return w == nil || w.idle()
}

// sweep removes what was left behind where nothing is to be copied any more.
func (m *Manager) sweep(devices map[string]bool) {
	if len(devices) == 0 {
		return
	}
	for _, k := range m.o.Kinds {
		if k.Sweep == nil {
			continue
		}
		if err := k.Sweep(flood.Options{Log: m.o.Log}, func(name string) bool { return devices[name] }); err != nil {
			m.o.Log.WithError(err).WithField("engine", k.Name).Error("what was left behind could not be removed")
		}
	}
}

// end has all workers end, and waits for them.
func (m *Manager) end(stop func()) {
	m.mu.Lock()
	leave, stay, useless := m.leave, m.stay, m.found
	workers := slices.Collect(maps.Values(m.workers))
	m.mu.Unlock()
	m.terms.Lock()
	others, all := m.terms.others, m.terms.all
	m.terms.Unlock()
	for _, w := range workers {
		if leave {
			w.renew(others.last(stay))
			if !all.until.IsZero() {
				w.keep(all.last(stay))
			}
			w.leave()
		}
	}
	stop()
	for _, w := range workers {
		<-w.done
	}
	if !leave {
		m.sweep(useless)
	}
}
