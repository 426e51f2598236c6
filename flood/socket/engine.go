package socket

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"

	"github.com/vtepbgp/vtepbgp/flood"
)

// Name is what the configuration calls this engine.
const Name = "socket"

const (
	look  = 500 * time.Millisecond // how often the interface is looked at
	quiet = time.Minute            // between two messages about packets; counters tell the rest
)

// Engine is the socket engine.
type Engine struct {
	log      *logrus.Entry
	capture  *capture
	sender   *Sender
	ears     *flood.Ears
	repaired atomic.Uint64
	trouble  flood.Trouble // of watch
	comeback flood.Comeback
	born     time.Time

	mu      sync.Mutex // of what follows
	decider atomic.Pointer[flood.Decider]
	started bool
	stop    chan struct{}
	running sync.WaitGroup
}

// Kind is the engine for [flood.Choose].
func Kind() flood.Kind {
	return flood.Kind{Name: Name, Probe: Probe, Open: func(o flood.Options) (flood.Engine, error) { return Open(o) }}
}

// Probe says why the engine cannot work here: as root it can on any Linux since 4.x.
func Probe(o flood.Options) error {
	e, err := Open(o)
	if err != nil {
		return err
	}
	return e.Close()
}

// Open opens the sockets.
func Open(o flood.Options) (*Engine, error) {
	c, err := newCapture(o)
	if err != nil {
		return nil, err
	}
	s, err := NewSender(o)
	if err != nil {
		return nil, errors.Join(err, c.close(), c.free())
	}
	e := &Engine{log: o.Log, capture: c, sender: s, ears: flood.NewEars(), born: time.Now(), stop: make(chan struct{})}
	empty, err := flood.Compile(&flood.Table{}, nil)
	if err != nil {
		return nil, errors.Join(err, c.close(), c.free(), s.Close())
	}
	e.decider.Store(empty)
	return e, nil
}

func namespaceOf(o flood.Options) func(func() error) error {
	if o.InNamespace == nil {
		return func(f func() error) error { return f() }
	}
	return o.InNamespace
}

// Name implements [flood.Engine].
func (e *Engine) Name() string { return Name }

// Capabilities implements [flood.Engine].
func (e *Engine) Capabilities() flood.Capabilities {
	c := flood.Capabilities{Segmentation: e.sender.segments, Waits: true}
	if c.Segmentation {
		c.Details = append(c.Details, "UDP_SEGMENT: packets that wait together travel as one")
	} else {
		c.Details = append(c.Details, "no UDP_SEGMENT (Linux 4.18): every copy travels alone")
	}
	return c
}

// Start implements [flood.Engine].
func (e *Engine) Start() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed() {
		return os.ErrClosed
	}
	if e.started {
		return errors.New("start the socket engine: it was started before")
	}
	if _, err := e.follow(); err != nil {
		return err
	}
	e.comeback.Look(e.capture.up())
	e.started = true
	e.running.Go(e.relay)
	e.running.Go(e.watch)
	return nil
}

// Apply implements [flood.Engine].
func (e *Engine) Apply(t *flood.Table) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	d, err := flood.Compile(t, e.decider.Load())
	if err != nil {
		return fmt.Errorf("apply flood lists: %w", err)
	}
	// What is newly listened to has to be known when its first packet comes; what no
	// longer is has to be known until its last has.
	before := e.decider.Swap(d)
	if err := e.capture.listen(d.Listens(), d.HearsOwn()); err != nil {
		e.decider.Store(before)
		return fmt.Errorf("apply flood lists: %w", err)
	}
	outs, err := e.capture.outs(d.Outs())
	if err != nil {
		return fmt.Errorf("apply flood lists: %w", err)
	}
	e.sender.Deliver(outs)
	return nil
}

// Counters implements [flood.Engine].
func (e *Engine) Counters() flood.Counters {
	c := e.decider.Load().Counters()
	if n := e.capture.overruns(); n > 0 {
		c.Total.Dropped[flood.Overrun] += n
		c.Rest.Dropped[flood.Overrun] += n
	}
	c.Repairs = e.repaired.Load()
	e.trouble.Count(&c)
	return c
}

// Renew implements [flood.Engine].
func (e *Engine) Renew(l flood.Lease) error {
	if e.closed() {
		return os.ErrClosed
	}
	e.decider.Load().Renew(time.Since(e.born) + l.For)
	return nil
}

// Keep implements [flood.Engine].
func (e *Engine) Keep(l flood.Lease) error {
	if e.closed() {
		return os.ErrClosed
	}
	e.decider.Load().Keep(time.Since(e.born) + l.For)
	return nil
}

// Heard implements [flood.Engine].
func (e *Engine) Heard(within time.Duration) []flood.Heard {
	return e.ears.Heard(within, time.Since(e.born))
}

// Close implements [flood.Engine].
func (e *Engine) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed() {
		return os.ErrClosed
	}
	close(e.stop)
	err := e.capture.close()
	e.running.Wait()
	return errors.Join(err, e.capture.free(), e.sender.Close())
}

// Leave implements [flood.Engine]: nothing copies without this process.
func (e *Engine) Leave() error { return e.Close() }

// closed says that Close was called. It lasts while the caller holds mu.
func (e *Engine) closed() bool {
	select {
	case <-e.stop:
		return true
	default:
		return false
	}
}

// follow keeps capture and sender on the interface, however often that comes and goes.
func (e *Engine) follow() (rebound bool, err error) {
	rebound, err = e.capture.follow()
	outs, errOuts := e.capture.outs(e.decider.Load().Outs())
	e.sender.Deliver(outs)
	return rebound, errors.Join(err, errOuts)
}

func (e *Engine) watch() {
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for {
		select {
		case <-e.stop:
			return
		case <-ticker.C:
		}
		rebound, err := e.follow()
		if e.comeback.Look(e.capture.up()) || rebound {
			e.repaired.Add(1)
			e.log.WithField("interface", e.capture.device).Info("interface is back, listening there")
		}
		switch news := e.trouble.Tried(err, time.Now()); {
		case news && err != nil:
			e.log.WithError(err).WithField("interface", e.capture.device).Warn("cannot listen on interface")
		case news:
			e.log.WithField("interface", e.capture.device).Info("listening on interface again")
		}
	}
}

// relay reads, decides and sends until the capture is closed.
func (e *Engine) relay() {
	var b batcher
	var p pace
	complain := rate.Sometimes{First: 1, Interval: quiet}
	for {
		before := time.Since(e.born)
		n, idle, err := e.hear(&p)
		switch {
		case errors.Is(err, os.ErrClosed):
			return
		case errors.Is(err, unix.ENETDOWN):
			e.comeback.Down() // the socket hears again when it is up
			continue
		case err != nil:
			complain.Do(func() { e.log.WithError(err).Warn("cannot read packets") })
			continue
		}
		now := time.Since(e.born)
		b.begin(e.decider.Load(), e.ears, now)
		for i := range n {
			b.add(e.capture.frame(i))
		}
		if err := b.Send(e.sender); err != nil {
			complain.Do(func() { e.log.WithError(err).Warn("cannot send copies") })
		}
		p.took(n, idle, time.Since(e.born)-before-idle)
	}
}

// hear lets packets gather or waits for one, and gives how many there are, and how long it
// had nothing to do.
func (e *Engine) hear(p *pace) (n int, idle time.Duration, err error) {
	if rest := p.rest(); rest > 0 {
		before := time.Now()
		gather(rest)
		idle = time.Since(before)
	}
	n, waited, err := e.capture.read(p.depth())
	return n, idle + waited, err
}
