package ebpf

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/perf"
	"github.com/cilium/ebpf/rlimit"
	"github.com/sirupsen/logrus"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/flood"
	"github.com/vtepbgp/vtepbgp/flood/socket"
)

// Name is what the configuration calls this engine.
const Name = "ebpf"

// look is how often the interface and what hangs there is looked at.
const look = 500 * time.Millisecond

// farewell is how long what was handed over may take to be sent when the engine closes.
const farewell = time.Second

// Engine is the engine in the kernel.
type Engine struct {
	log         *logrus.Entry
	inNamespace func(func() error) error
	objects     programObjects
	nl          *netlink.Handle
	hook        *hook
	groups      *socket.Groups
	follower    *follower
	reader      *perf.Reader
	sender      *socket.Sender // of finish only
	repaired    atomic.Uint64
	trouble     flood.Trouble // of mend
	decider     atomic.Pointer[flood.Decider]
	ears        *flood.Ears // of what the program does not parse
	born        time.Time
	leases      leases

	mu      sync.Mutex // of what follows, and hook and groups
	lists   *lists
	rest    *folded
	own     []netip.Addr
	started bool
	applied bool
	stop    chan struct{}
	running sync.WaitGroup
	// finished: finish has ended
	finished chan struct{}
}

// Kind is the engine for [flood.Choose].
func Kind() flood.Kind {
	return flood.Kind{Name: Name, Probe: Probe, Open: func(o flood.Options) (flood.Engine, error) { return Open(o) }, Sweep: Sweep}
}

// Probe says why the running kernel cannot have the engine.
func Probe(flood.Options) error {
	// The newest of what the program calls; the rest has been there before.
	err := features.HaveProgramHelper(ebpf.SchedCLS, asm.FnLoop)
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("copy in the kernel: it takes CAP_NET_ADMIN, CAP_BPF and CAP_PERFMON: %w", err)
	}
	if err != nil {
		return fmt.Errorf("copy in the kernel: no bpf_loop, which Linux has since 5.17: %w", err)
	}
	return nil
}

// Open loads the program. It hears nothing before Start.
func Open(o flood.Options) (*Engine, error) { return open(o, probeTCX) }

// open asks why tcx cannot be used.
func open(o flood.Options, noTCX func(*ebpf.Program) error) (*Engine, error) {
	e := &Engine{log: o.Log, inNamespace: namespaceOf(o), ears: flood.NewEars(), born: time.Now(), stop: make(chan struct{}), finished: make(chan struct{})}
	if err := e.open(o, noTCX); err != nil {
		return nil, errors.Join(err, e.release())
	}
	return e, nil
}

func namespaceOf(o flood.Options) func(func() error) error {
	if o.InNamespace == nil {
		return func(f func() error) error { return f() }
	}
	return o.InNamespace
}

func (e *Engine) open(o flood.Options, noTCX func(*ebpf.Program) error) error {
	// Before Linux 5.11 maps count as locked memory.
	if err := rlimit.RemoveMemlock(); err != nil {
		return fmt.Errorf("lift the limit of locked memory: %w", err)
	}
	if err := load(&e.objects); err != nil {
		return fmt.Errorf("load the program that copies: %w", err)
	}
	var err error
	if e.objects.Lives, err = closedFirst(e.objects.Lives); err != nil {
		return err
	}
	err = e.inNamespace(func() (err error) {
		e.nl, err = netlink.NewHandle()
		return err
	})
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	buffer := o.ReceiveBuffer
	if buffer == 0 {
		buffer = 16 << 20
	}
	buffer = min(max(buffer/runtime.NumCPU(), leastSample), mostSamples)
	if e.reader, err = perf.NewReader(e.objects.Handovers, buffer); err != nil {
		return fmt.Errorf("open the way by which the program hands over: %w", err)
	}
	if e.sender, err = socket.NewSender(o); err != nil {
		return err
	}
	e.leases.open(&e.objects)
	e.hook = &hook{
		nl: e.nl, device: o.Interface, ingress: e.objects.FloodIngress, egress: e.objects.FloodEgress, home: e.objects.Home,
		tcx: &tcx{e.inNamespace}, noTCX: noTCX(e.objects.FloodIngress), clsact: newClsact(e.nl),
	}
	e.groups = socket.NewGroups(o)
	e.follower = newFollower(e.nl, e.inNamespace, o.Interface, e.log)
	e.lists = newLists(&e.objects, e.follower.way)
	empty, err := flood.Compile(&flood.Table{}, nil)
	if err != nil {
		return err
	}
	e.decider.Store(empty)
	e.rest = &folded{tally: empty.Rest()}
	return nil
}

// load loads the programs under the name by which they are found where they are attached.
func load(objects *programObjects) error {
	collection, err := loadProgram()
	if err != nil {
		return err
	}
	var programs programProgramSpecs
	if err := collection.Assign(&programs); err != nil {
		return err
	}
	programs.FloodIngress.Name, programs.FloodEgress.Name = attachedName, attachedName
	return collection.LoadAndAssign(objects, nil)
}

// Name implements [flood.Engine].
func (e *Engine) Name() string { return Name }

// Capabilities implements [flood.Engine].
func (e *Engine) Capabilities() flood.Capabilities {
	e.mu.Lock()
	c := flood.Capabilities{Segmentation: true, Waits: true, Details: append(slices.Clone(e.hook.facts), "bpf_loop: lists of any length")}
	e.mu.Unlock()
	if info, err := e.objects.FloodIngress.Info(); err == nil {
		if n, ok := info.VerifiedInstructions(); ok {
			c.Details = append(c.Details, fmt.Sprintf("the verifier followed %d instructions", n))
		}
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
		return errors.New("start the eBPF engine: it was started before")
	}
	if _, err := e.attach(); err != nil {
		return err
	}
	e.follower.comeback.Look(e.hook.up)
	e.started = true
	go e.finish()
	e.running.Go(func() { e.follower.run(e.stop) })
	e.running.Go(e.watch)
	return nil
}

// Apply implements [flood.Engine].
func (e *Engine) Apply(t *flood.Table) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed() {
		return os.ErrClosed
	}
	// What is counted until now belongs to networks that may go.
	if err := e.lists.foldAll(e.rest); err != nil {
		return fmt.Errorf("apply flood lists: %w", err)
	}
	d, err := flood.Compile(t, e.decider.Load())
	if err != nil {
		return fmt.Errorf("apply flood lists: %w", err)
	}
	destinations := map[destination]bool{}
	d.Lists(func(n *flood.Network, to []netip.Addr, _ *flood.Tally) {
		for _, a := range to {
			destinations[destinationOf(n, a)] = true
		}
	})
	if err := e.follower.want(destinations); err != nil {
		return fmt.Errorf("apply flood lists: %w", err)
	}
	// Groups come first: what is newly listened to may come at once.
	err = e.hook.locate()
	if err == nil {
		err = e.groups.Join(e.hook.index, d.Listens())
	}
	if err != nil {
		return fmt.Errorf("apply flood lists: %w", err)
	}
	own := append([]netip.Addr(nil), t.Own...)
	if err := e.lists.install(d, own, time.Now()); err != nil {
		return fmt.Errorf("apply flood lists: %w", err)
	}
	e.own, e.applied = own, true
	e.decider.Store(d)
	if !e.started {
		return nil
	}
	_, err = e.attach()
	return err
}

// attach attaches the program once it has a table: until then, one that was left behind
// goes on. The caller holds mu.
func (e *Engine) attach() (repaired bool, err error) {
	if err := e.hook.locate(); err != nil {
		return false, err
	}
	outs, err := e.outs()
	if err != nil {
		return false, err
	}
	e.sender.Deliver(outs)
	if !e.applied {
		return false, nil
	}
	repaired, err = e.hook.ensure()
	return repaired, errors.Join(err, e.groups.Join(e.hook.index, e.decider.Load().Listens()))
}

// outs are the interfaces by which groups are reached, as far as they are there.
func (e *Engine) outs() (map[string]int, error) {
	outs := map[string]int{}
	for _, name := range e.decider.Load().Outs() {
		if name == "" {
			outs[name] = e.hook.index
			continue
		}
		link, err := e.nl.LinkByName(name)
		if errors.As(err, new(netlink.LinkNotFoundError)) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("look for %s: %w", name, err)
		}
		outs[name] = link.Attrs().Index
	}
	return outs, nil
}

// Counters implements [flood.Engine].
func (e *Engine) Counters() flood.Counters {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.closed() { // else Close has counted for the last time
		if err := e.lists.foldAll(e.rest); err != nil {
			e.log.WithError(err).Warn("cannot read what the program counts")
		}
	}
	c := e.decider.Load().Counters()
	c.Repairs = e.repaired.Load()
	e.trouble.Count(&c)
	return c
}

// Renew implements [flood.Engine].
func (e *Engine) Renew(l flood.Lease) error {
	e.decider.Load().Renew(time.Since(e.born) + l.For)
	return e.leases.set(l, func(o *programObjects) (end, outlives *ebpf.Variable) { return o.Lease, o.Outlives })
}

// Keep implements [flood.Engine].
func (e *Engine) Keep(l flood.Lease) error {
	e.decider.Load().Keep(time.Since(e.born) + l.For)
	return e.leases.set(l, func(o *programObjects) (end, outlives *ebpf.Variable) { return o.Kept, o.KeptOutlives })
}

// Heard implements [flood.Engine].
func (e *Engine) Heard(within time.Duration) []flood.Heard {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed() {
		return nil
	}
	all, err := heard(e.objects.Heards, within)
	if err != nil {
		e.log.WithError(err).Warn("cannot read whom the program heard")
	}
	return merge(all, e.ears.Heard(within, time.Since(e.born)))
}

// Close implements [flood.Engine].
func (e *Engine) Close() error { return e.end(true) }

// Leave implements [flood.Engine]: the program stays.
func (e *Engine) Leave() error { return e.end(false) }

func (e *Engine) end(detach bool) (err error) {
	e.mu.Lock()
	if e.closed() {
		e.mu.Unlock()
		return os.ErrClosed
	}
	close(e.stop)
	e.leases.close()
	if detach {
		err = e.detach()
	}
	// From here on nothing more is handed over. What has been is still sent.
	err = errors.Join(err, e.reader.Pause(), e.lists.foldAll(e.rest), e.reader.Flush())
	started := e.started
	e.mu.Unlock() // finish may wait for it
	if started {
		select {
		case <-e.finished:
		case <-time.After(farewell):
		}
	}
	err = errors.Join(err, e.reader.Close())
	if started {
		<-e.finished
	}
	e.running.Wait()
	return errors.Join(err, e.release())
}

// detach removes the program. One that an engine before us left behind is removed too,
// when ours never took its place.
func (e *Engine) detach() error {
	if e.hook.been {
		return e.hook.detach()
	}
	if err := e.hook.locate(); err != nil || e.hook.index == 0 {
		return err
	}
	return sweep(e.hook.ways(), e.hook.index)
}

// closed says that Close was called. The caller holds mu.
func (e *Engine) closed() bool {
	select {
	case <-e.stop:
		return true
	default:
		return false
	}
}

// release gives back what open took, as far as it came.
func (e *Engine) release() error {
	var errs []error
	if e.groups != nil {
		errs = append(errs, e.groups.Close())
	}
	if e.sender != nil {
		errs = append(errs, e.sender.Close())
	}
	if e.reader != nil {
		errs = append(errs, e.reader.Close())
	}
	if e.nl != nil {
		e.nl.Close()
	}
	return errors.Join(append(errs, e.objects.Close())...)
}

// watch keeps the program attached and the lists true to routes and neighbours.
func (e *Engine) watch() {
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for {
		select {
		case <-e.stop:
			return
		case <-ticker.C:
			e.mend()
		case <-e.follower.changed:
			e.renew()
		}
	}
}

func (e *Engine) mend() {
	e.mu.Lock()
	defer e.mu.Unlock()
	log := e.log.WithField("interface", e.hook.device)
	if e.closed() {
		return
	}
	e.lists.recent.expire(time.Now())
	repaired, err := e.attach()
	if repaired {
		log.Info("program was no longer attached, attached it again")
	}
	if e.follower.comeback.Look(e.hook.up) || repaired {
		e.repaired.Add(1)
	}
	switch news := e.trouble.Tried(err, time.Now()); {
	case news && err != nil:
		log.WithError(err).Warn("cannot attach the program that copies, or join groups")
	case news:
		log.Info("program is attached, and groups are joined again")
	}
}

// renew makes the lists follow the ways.
func (e *Engine) renew() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed() {
		return
	}
	if err := e.lists.install(e.decider.Load(), e.own, time.Now()); err != nil {
		e.log.WithError(err).Warn("cannot follow the ways to VTEPs")
	}
}
