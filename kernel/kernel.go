package kernel

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/kernel/snoop"
)

// Kernel reconciles the rows and links of one network namespace with intent. See
// the package documentation.
type Kernel struct {
	b   Backend
	log *logrus.Entry

	// resyncEvery bounds how long a difference that no event told of can last.
	resyncEvery time.Duration

	// deviceMu is held while links are read and changed; it is taken before mu.
	deviceMu sync.Mutex
	created  map[string]bool // links made but not marked yet

	addresses addresses // deviceMu

	prober  *prober
	driftMu sync.Mutex // held while a whole comparison is under way; taken before all others

	// workMu is held while rows are read or written; it is taken before mu.
	workMu sync.Mutex
	echoes []Notification // the array that collectEchoes fills, kept; workMu

	mu        sync.Mutex
	cfg       Config
	ready     bool // configured at least once
	site      site
	segments  map[string][]netip.Prefix // by interface
	uplinks   []string
	local     map[netip.Addr]bool // addresses of this host
	instances map[evpn.VNI]*instance
	byDevice  map[int32]*instance
	byBridge  map[int32]*instance
	ports     map[int32]accessPort // of our bridges, by index
	wire      snoop.Wire           // to the access ports; nil when there is none
	bindings  *snoop.Table         // local IPs that packets on access ports told of
	outgoing  []snoop.Frame
	proxy     *snoop.Proxy // what the bridges leave unanswered
	deaf      error        // why not all access ports are heard
	tendDue   time.Time    // when the bindings are looked at next; zero = when they ask for it
	underlay  *underlay
	pending   pending
	failures  map[evpn.RowKey]*failure
	fights    map[evpn.RowKey]*fight
	prune     bool
	stats     Stats

	addressStats addressStats

	reports reports
	due     due

	wake       chan struct{} // for the loop
	tendWake   chan struct{} // for the one who tends the bindings
	reportWake chan struct{} // for the reporter
	synced     chan struct{}
	syncedOnce sync.Once
}

// Option changes a default of [New].
type Option func(*Kernel)

// WithResyncInterval sets how often everything is read again without a reason;
// 0 = never. The default is 5 minutes.
func WithResyncInterval(d time.Duration) Option { return func(k *Kernel) { k.resyncEvery = d } }

// New gives a Kernel over b that does nothing until it is configured and run.
func New(b Backend, log *logrus.Entry, opts ...Option) *Kernel {
	k := &Kernel{
		b: b, log: log, resyncEvery: 5 * time.Minute,
		created:   map[string]bool{},
		addresses: newAddresses(), addressStats: addressStats{repairs: map[netip.Addr]uint64{}},
		instances: map[evpn.VNI]*instance{},
		byDevice:  map[int32]*instance{},
		byBridge:  map[int32]*instance{},
		ports:     map[int32]accessPort{},
		failures:  map[evpn.RowKey]*failure{},
		fights:    map[evpn.RowKey]*fight{},
		stats:     newStats(),
		underlay:  newUnderlay(),
		wake:      make(chan struct{}, 1), tendWake: make(chan struct{}, 1), reportWake: make(chan struct{}, 1),
		synced: make(chan struct{}),
	}
	k.prober = newProber(k)
	k.bindings, k.proxy = snoop.NewTable(k.localPort), snoop.NewProxy()
	for _, o := range opts {
		o(k)
	}
	return k
}

// Synced is closed when the first dump after the first [Kernel.Configure] was
// delivered to the sink.
func (k *Kernel) Synced() <-chan struct{} { return k.synced }

// VTEPAddress is the VTEP address in use; zero while an interface has none.
func (k *Kernel) VTEPAddress() netip.Addr {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.site.vtep
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// due says what the loop has to do, and when. Zero times are never.
type due struct {
	links time.Time       // read links and addresses again
	dump  time.Time       // read all rows again
	why   string          // reason of the dump, for the counter
	asked []chan struct{} // closed when the dump is done
	retry time.Time       // look at failed rows

	lastLinks    time.Time
	linksCost    time.Duration
	linksBackoff time.Duration
	lastDump     time.Time
	dumpBackoff  time.Duration
}

// Run watches the kernel and writes rows until ctx ends; then it returns nil and
// leaves all rows in place. Events go to sink from one goroutine; sink may block.
func (k *Kernel) Run(ctx context.Context, sink func(evpn.Event)) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return loop(ctx, k.log, k.b.Subscribe, k.serve) })
	g.Go(func() error { return loop(ctx, k.log, k.b.SubscribeRoutes, k.follow) })
	g.Go(func() error { k.report(ctx, sink); return nil })
	g.Go(func() error { k.listen(ctx); return nil })
	if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// stream is the current subscription and the goroutine that waits on it.
type stream[T any] struct {
	sub     Subscription[T]
	arrived chan struct{} // something to drain
	drained chan struct{} // wait again
	dead    chan struct{} // closed when waiting failed
}

func newStream[T any](sub Subscription[T]) *stream[T] {
	s := &stream[T]{sub: sub, arrived: make(chan struct{}), drained: make(chan struct{}, 1), dead: make(chan struct{})}
	go func() {
		defer close(s.dead)
		for s.sub.Wait() == nil {
			select {
			case s.arrived <- struct{}{}:
			case <-s.drained: // close was called
				return
			}
			if _, more := <-s.drained; !more {
				return
			}
		}
	}()
	return s
}

func (s *stream[T]) close() {
	close(s.drained)
	_ = s.sub.Close() // what was in it does not matter any more
	<-s.dead
}

// loop works with one subscription after the other until ctx ends: a closed one is
// the same as lost events.
func loop[T any](ctx context.Context, log *logrus.Entry, open func() (Subscription[T], error), serve func(context.Context, *stream[T], string) error) error {
	const reopenFirst, reopenMost = 50 * time.Millisecond, 5 * time.Second
	wait, why := reopenFirst, "start"
	for ctx.Err() == nil {
		sub, err := open()
		if err == nil {
			opened := time.Now()
			s := newStream(sub)
			err = serve(ctx, s, why)
			s.close()
			if time.Since(opened) > reopenMost {
				wait = reopenFirst
			}
		}
		if ctx.Err() != nil {
			return nil
		}
		log.WithError(err).WithField("retry", wait).Warn("kernel event subscription ended")
		why = "closed"
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		wait = min(2*wait, reopenMost)
	}
	return nil
}

// serve works until ctx ends (nil) or the subscription dies (an error).
func (k *Kernel) serve(ctx context.Context, s *stream[Notification], why string) error {
	k.mu.Lock()
	k.wantDump(why, 0)
	k.wantLinks(0)
	k.mu.Unlock()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.dead:
			return errors.New("subscription closed")
		case <-k.wake:
		case <-timer.C:
		case <-s.arrived:
			// Taken before draining: what comes later wakes us again.
			if err := k.work(ctx, s.sub); err != nil {
				return err
			}
			s.drained <- struct{}{}
			timer.Reset(k.untilDue())
			continue
		}
		if err := k.work(ctx, s.sub); err != nil {
			return err
		}
		timer.Reset(k.untilDue())
	}
}

// work does one round: take in what happened, look at links, read all rows when
// that is due, and write until nothing is left to write.
func (k *Kernel) work(ctx context.Context, sub Subscription[Notification]) error {
	if err := k.drain(sub); err != nil {
		return err
	}
	if k.isDue(func(d *due) *time.Time { return &d.links }) {
		k.refresh()
	}
	if k.isDue(func(d *due) *time.Time { return &d.dump }) {
		if err := k.resync(sub); err != nil {
			return err
		}
	}
	k.retryFailures(time.Now())
	for ctx.Err() == nil {
		wrote := k.writeBatch(sub)
		// The kernel queues the events of a write before the write returns, so that
		// after this drain the mirror is the kernel's state: no write of ours can be
		// mistaken for somebody else's.
		if err := k.drain(sub); err != nil {
			return err
		}
		signal(k.reportWake)
		if !wrote && k.idle() {
			break
		}
		if k.linksDue() {
			signal(k.wake)
			break
		}
	}
	return nil
}

// idle says that nothing waits to be written.
func (k *Kernel) idle() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.pending.len() == 0
}

// drain takes in all events that have arrived; it stops early in a storm, so that
// writing goes on.
func (k *Kernel) drain(sub Subscription[Notification]) error {
	const chunk, most = 2048, 64
	for range most {
		k.mu.Lock()
		more, err := sub.Drain(chunk, k.notice)
		if errors.Is(err, ErrLost) {
			k.lostEvents()
			err = nil
		}
		k.mu.Unlock()
		if err != nil {
			return err
		}
		signal(k.reportWake)
		if !more {
			return nil
		}
	}
	signal(k.wake)
	return nil
}

// lostEvents notes that the kernel dropped events. mu is held.
func (k *Kernel) lostEvents() {
	k.stats.Lost++
	k.wantDump("lost", 0)
	k.wantLinks(0)
}

// notice takes one event. mu is held.
func (k *Kernel) notice(n Notification) {
	k.stats.Events++
	if n.Link {
		k.wantLinks(linkDebounce)
		return
	}
	k.observe(n.Neighbor, n.Deleted)
}
