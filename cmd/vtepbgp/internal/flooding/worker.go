package flooding

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/flood"
)

// What failed is tried again after a while, then later and later.
const (
	retryFirst = time.Second
	retryMost  = 30 * time.Second
)

// worker has one interface's packets copied. Its goroutine alone opens, changes and
// closes the engine; others may ask it.
type worker struct {
	device string
	kinds  []flood.Kind
	log    *logrus.Entry
	rested func() // is called when it may have become idle
	wake   chan struct{}
	done   chan struct{}

	trouble flood.Trouble // of bring

	mu     sync.Mutex
	table  *flood.Table // newest; nil = nothing to do here
	name   string       // of the engine that is wished for
	fresh  bool         // table or name are not taken up yet
	busy   bool         // bringing them into effect
	left   bool         // when it ends, what copies without a process stays
	others term         // of the lease on what is copied for others
	all    term         // of that on everything
	engine flood.Engine // nil while there is none
	choice flood.Choice
	asked  string // what name was when the engine was chosen
	gone   past   // counts of engines that were closed
	behind bool   // the last engine was left
}

// term is when a lease ends.
type term struct {
	until    time.Time // zero: there was none yet
	outlives time.Time // zero: it ends with the process
}

func termOf(l flood.Lease) term {
	t := term{until: time.Now().Add(l.For)}
	if l.Outlives > 0 {
		t.outlives = time.Now().Add(l.Outlives)
	}
	return t
}

func (t term) rest() flood.Lease {
	l := flood.Lease{For: time.Until(t.until)}
	if !t.outlives.IsZero() {
		l.Outlives = max(0, time.Until(t.outlives))
	}
	return l
}

// last is the lease for when the process has ended.
func (t term) last(stay time.Duration) flood.Lease {
	if t.outlives.IsZero() {
		return flood.Lease{}
	}
	return flood.Lease{For: stay, Outlives: stay}
}

// past are counts of engines that are gone.
type past struct {
	repairs, failures uint64
	total             flood.Count
	rest              flood.Count // of total: packets of no network
	networks          map[evpn.VNI]flood.Count
}

func newWorker(device string, kinds []flood.Kind, rested func(), log *logrus.Entry) *worker {
	return &worker{
		device: device, kinds: kinds, rested: rested, log: log.WithField("interface", device), wake: make(chan struct{}, 1), done: make(chan struct{}),
		gone: past{networks: map[evpn.VNI]flood.Count{}},
	}
}

// want sets table and engine. It never waits.
func (w *worker) want(t *flood.Table, engine string) {
	w.mu.Lock()
	w.table, w.name, w.fresh = t, engine, true
	w.mu.Unlock()
	w.nudge()
}

// prefer sets the engine that is wished for.
func (w *worker) prefer(engine string) {
	w.mu.Lock()
	changed := w.name != engine
	w.name, w.fresh = engine, w.fresh || changed
	w.mu.Unlock()
	if changed {
		w.nudge()
	}
}

// idle says that nothing waits to be done but a retry.
func (w *worker) idle() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.fresh && !w.busy
}

// leave has what copies without a process stay when the worker ends.
func (w *worker) leave() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.left = true
}

func (w *worker) nudge() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// run works until ctx ends, and closes or leaves the engine then.
func (w *worker) run(ctx context.Context) {
	defer close(w.done)
	retry := time.NewTimer(retryMost)
	defer retry.Stop()
	pause := retryFirst
	for {
		err := w.bring()
		w.report(err)
		if err == nil {
			pause = retryFirst
			retry.Stop()
		} else {
			retry.Reset(pause)
			pause = min(2*pause, retryMost)
		}
		select {
		case <-ctx.Done():
			w.end()
			return
		case <-w.wake:
		case <-retry.C:
		}
	}
}

// report notes how it went, and logs what is new.
func (w *worker) report(err error) {
	news := w.trouble.Tried(err, time.Now())
	w.mu.Lock()
	w.busy = false
	w.mu.Unlock()
	w.rested()
	switch {
	case news && err != nil:
		w.log.WithError(err).Error("frames are not copied as they should be")
	case news:
		w.log.Info("frames are copied again")
	}
}

// bring puts the newest table into effect.
func (w *worker) bring() error {
	w.mu.Lock()
	t, name, engine, fresh := w.table, w.name, w.engine, w.fresh || w.trouble.Why() != nil
	w.fresh, w.busy = false, true
	w.mu.Unlock()
	switch {
	case !fresh:
		return nil
	case t == nil:
		return w.shut(func(e flood.Engine) error { return e.Close() })
	case engine == nil || w.asked != name:
		return w.open(name, t)
	}
	return engine.Apply(t)
}

// open gets an engine going that copies by a table. The one before goes when the new one
// is ready but for that: two would copy twice.
func (w *worker) open(name string, t *flood.Table) error {
	kinds := make([]flood.Kind, len(w.kinds))
	for i, k := range w.kinds {
		kinds[i] = flood.Kind{Name: k.Name, Probe: k.Probe, Open: func(o flood.Options) (flood.Engine, error) {
			e, err := k.Open(o)
			if err != nil {
				return nil, err
			}
			if err = errors.Join(w.shut(flood.Engine.Close), flood.SweepOthers(k.Name, w.kinds, o)); err == nil {
				err = w.begin(e, t)
			}
			if err != nil {
				return nil, errors.Join(err, e.Close())
			}
			return e, nil
		}}
	}
	o := flood.Options{Interface: w.device, Log: w.log}
	e, choice, err := flood.Choose(name, kinds, o)
	w.mu.Lock()
	if err == nil {
		w.engine, w.choice, w.asked = e, choice, name
	}
	works := w.engine != nil
	w.mu.Unlock()
	switch {
	case err != nil && works:
		return err // the one before goes on
	case err != nil:
		// What the process before has left would copy by lists that nobody looks after.
		return errors.Join(err, flood.SweepOthers("", w.kinds, o))
	}
	w.log.WithField("engine", choice.Name).WithField("reason", choice.Reason).Info("engine copies frames")
	return nil
}

// begin has an engine start with a table: one that starts without would stop what the
// process before has left copying.
func (w *worker) begin(e flood.Engine, t *flood.Table) error {
	if err := e.Apply(t); err != nil {
		return err
	}
	w.mu.Lock()
	others, all := w.others, w.all
	w.mu.Unlock()
	if !all.until.IsZero() {
		if err := e.Keep(all.rest()); err != nil {
			return err
		}
	}
	if lease := others.rest(); lease.For > 0 {
		if err := e.Renew(lease); err != nil {
			return err
		}
	}
	return e.Start()
}

// shut ends the engine if there is one, and keeps what it counted.
func (w *worker) shut(how func(flood.Engine) error) error {
	w.mu.Lock()
	e := w.engine
	w.mu.Unlock()
	if e == nil {
		return nil
	}
	err := how(e)
	last := e.Counters()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.engine, w.asked = nil, ""
	w.gone.add(last)
	return err
}

// end closes or leaves the engine for good.
func (w *worker) end() {
	w.mu.Lock()
	left := w.left
	w.mu.Unlock()
	how := flood.Engine.Close
	if left {
		how = flood.Engine.Leave
	}
	behind := left && w.remains()
	if err := w.shut(how); err != nil {
		w.log.WithError(err).Error("engine could not be ended")
	}
	w.mu.Lock()
	w.behind = behind
	w.mu.Unlock()
}

// remains says that what copies here may go on without us.
func (w *worker) remains() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.behind || w.engine != nil && slices.ContainsFunc(w.kinds, func(k flood.Kind) bool { return k.Name == w.choice.Name && k.Sweep != nil })
}

// lasts says whether what copies here goes on without us; works, whether something does or is about to. Of an engine
// and the one that follows it, that counts which does.
func (w *worker) lasts() (yes, works bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.engine == nil || w.asked != w.name {
		yes = lasts(w.kinds, w.name)
	}
	if w.engine != nil {
		yes = yes || lasts(w.kinds, w.choice.Name)
	}
	return yes, w.engine != nil || w.table != nil
}

// renew replaces the lease on what is copied for others.
func (w *worker) renew(l flood.Lease) {
	w.lease(l, &w.others, flood.Engine.Renew)
}

// keep replaces the lease on everything.
func (w *worker) keep(l flood.Lease) {
	w.lease(l, &w.all, flood.Engine.Keep)
}

func (w *worker) lease(l flood.Lease, noted *term, tell func(flood.Engine, flood.Lease) error) {
	w.mu.Lock()
	e := w.engine
	*noted = termOf(l)
	w.mu.Unlock()
	if e == nil {
		return
	}
	// An engine that has just been closed needs none.
	if err := tell(e, l); err != nil && !errors.Is(err, os.ErrClosed) {
		w.log.WithError(err).Warn("lease could not be renewed")
	}
}

// heard asks the engine who sent lately.
func (w *worker) heard(within time.Duration) []flood.Heard {
	w.mu.Lock()
	e := w.engine
	w.mu.Unlock()
	if e == nil {
		return nil
	}
	return e.Heard(within)
}

// add counts what an engine counted in its life.
func (p *past) add(c flood.Counters) {
	p.repairs += c.Repairs
	p.failures += c.Failures
	p.total, p.rest = sum(p.total, c.Total), sum(p.rest, c.Rest)
	for _, n := range c.Networks {
		p.networks[n.VNI] = sum(p.networks[n.VNI], n.Count)
	}
}

// sum adds counts; both stay as they are.
func sum(a, b flood.Count) flood.Count {
	s := flood.Count{
		Packets: a.Packets + b.Packets, Relayed: a.Relayed + b.Relayed, Copies: a.Copies + b.Copies, Dropped: map[flood.Reason]uint64{},
	}
	for _, c := range []flood.Count{a, b} {
		for r, n := range c.Dropped {
			s.Dropped[r] += n
		}
	}
	return s
}
