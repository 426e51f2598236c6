package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/api"
	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/flooding"
	"github.com/vtepbgp/vtepbgp/config"
	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/flood"
)

// Bounds of start and stop.
const (
	flushTime    = 30 * time.Second
	httpStopTime = 2 * time.Second
	hostPoll     = time.Second
)

// daemon is one run.
type daemon struct {
	opts    Options
	env     environment
	log     *logrus.Entry
	logger  *logger
	parts   parts
	started time.Time

	kernel   dataplane
	speaker  sessions
	flooding *flooding.Manager
	loop     *loop
	metrics  *metrics
	numbers  *rdNumbers
	added    *addedVTEPs
	notes    *noteLog
	met      *acquaintances
	outlives bool // what the core was told first: see evpn.EngineState
	resuming bool // we follow a process whose routes and copies are still there

	// Of the loop's goroutine.
	prune *prunePolicy // nil until BGP starts

	ready        atomic.Pointer[string] // why not ready; nil = ready
	pruneAllowed atomic.Bool
	gaveUp       atomic.Bool // waiting for neighbours; the core counts as synced
	failed       atomic.Bool // a part ended by itself
	flushed      atomic.Bool // our rows were removed when we stopped

	watchers   atomic.Int32 // monitors that run
	recordings atomic.Int32 // recordings that run

	changing   chan struct{} // holds a token while a reload or the stop is under way
	reloads    atomic.Uint64
	lastReload atomic.Pointer[reloadOutcome]

	leaving leaving // for who has the token

	mu   sync.Mutex
	cfg  *config.Config      // in effect
	rds  map[evpn.VNI]uint16 // in effect
	host host                // as core and flooding module know it
}

type reloadOutcome struct {
	at  time.Time
	err error
}

// start brings up the parts in order.
func (d *daemon) start(ctx context.Context, files *claimed) (err error) {
	d.resuming = files.grace > 0 && files.last.keptForwarding(thisRun(d.started), files.grace, len(d.cfg.VNIs) > 0)
	d.met = newAcquaintances(files.last.Neighbors, d.started.Add(files.grace))
	d.rds, err = d.numbers.assign(rdDemand(d.cfg))
	if err != nil {
		return err
	}
	k, closeKernel, err := d.env.kernel(d.logger.WithField(fieldPart, "kernel"))
	if err != nil {
		return fmt.Errorf("open kernel: %w", err)
	}
	d.kernel = k
	if d.speaker, err = d.env.speaker(speakerConfig(d.cfg, d.resuming, files.last.Neighbors), d.logger.WithField(fieldPart, "speaker")); err != nil {
		return errors.Join(err, closeKernel())
	}
	// The core has to know its segments before it resumes its part in them.
	if err := d.kernel.Configure(kernelConfig(d.cfg)); err != nil {
		return errors.Join(fmt.Errorf("configure kernel: %w", err), closeKernel())
	}
	d.host = d.look(d.cfg)
	core := d.wantCore(d.cfg, d.rds, d.host)
	d.speaker.SetImports(core.Imports())
	d.flooding = flooding.New(flooding.Options{
		Kinds: d.env.engines, Alive: d.kernel.Alive, Directory: files.dir, Log: d.logger.WithField(fieldPart, "flooding"),
	})
	d.flooding.Configure(floodingConfig(d.cfg, d.host))
	d.metrics = newMetrics(d)
	d.loop = newLoop(evpn.New(core), d.speaker, d.kernel, d.flooding, d)
	d.loop.afterTurn = d.afterTurn

	if d.opts.Record != "" {
		f, err := openRecord(d.opts.Record)
		if err != nil {
			return errors.Join(err, closeKernel())
		}
		d.recordFromStart(f)
	}
	d.parts.start("kernel sockets", func(ctx context.Context) error { <-ctx.Done(); return closeKernel() })
	d.parts.start("heartbeat", func(ctx context.Context) error { return d.heartbeat(ctx, files.dir) })
	d.parts.start("control socket", func(ctx context.Context) error {
		return serveHTTP(ctx, files.socket, api.NewServer(d).Handler())
	})
	d.log.WithField(fieldSocket, d.cfg.API.Socket).Debug("control socket is open")
	kernelPart := d.parts.start("kernel", func(ctx context.Context) error {
		return d.kernel.Run(ctx, func(ev evpn.Event) { d.loop.kernel.put(ctx, ev) })
	})
	kernelPart.before = d.flush
	d.outlives = d.lease().Outlives > 0
	first := []evpn.Event{evpn.EngineState{Outlives: d.outlives}}
	if d.resuming {
		first = append(first, d.flooding.Resume(time.Now())...)
	}
	floodingPart := d.parts.start("flooding", func(ctx context.Context) error {
		return d.flooding.Run(ctx, func(ev evpn.Event) { d.loop.flooding.put(ctx, ev) })
	})
	floodingPart.before = func() {
		if d.keepRows() {
			d.flooding.Leave(d.config().BGP.GracefulRestartTime)
		}
	}
	// The loop stops before the speaker: what the sessions' end would change must
	// not reach the kernel, whose rows forward on while we are away.
	speakerCtx, stopSink := context.WithCancel(context.Background())
	speakerRun := make(chan struct{})
	speakerPart := d.parts.start("speaker", func(ctx context.Context) error {
		select {
		case <-speakerRun:
		case <-ctx.Done():
			return nil
		}
		return d.speaker.Run(ctx, func(ev evpn.Event) { d.loop.speaker.put(speakerCtx, ev) })
	})
	speakerPart.before = func() {
		switch {
		case !d.leaveGracefully():
			d.flooding.Keep(flood.Lease{}) // others take over as soon as our routes are withdrawn
		case d.lease().Outlives == 0:
			d.flooding.Renew(flood.Lease{}) // or as soon as our sessions end
		}
		stopSink()
		select {
		case <-speakerRun:
			d.speaker.Shutdown(d.leaveGracefully())
		default:
		}
	}
	d.parts.start("loop", d.loop.run)
	if err := d.tell(ctx, first); err != nil {
		return err
	}

	if err := d.followHost(ctx); err != nil {
		return err
	}
	d.notReady("reading the kernel")
	select {
	case <-d.kernel.Synced():
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	// Every local MAC is with the speaker before its first session can end its
	// table with End-of-RIB.
	if err := d.loop.settle(ctx, d.loop.kernel); err != nil {
		return err
	}
	addrs, others := dialled(d.cfg)
	if err := d.loop.do(ctx, func(*evpn.Core) {
		d.prune = newPrunePolicy(addrs, others, files.grace, time.Now())
		if len(addrs) == 0 && !others {
			d.waitNoLonger() // there is nobody to wait for
		}
	}); err != nil {
		return err
	}
	d.notReady("opening BGP")
	close(speakerRun)
	select {
	case <-d.speaker.Ready():
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	d.parts.start("prune timer", d.pruneTimer)
	d.parts.start("host", d.watchHost)
	d.parts.start("leases", d.leases)
	d.parts.start("lease on everything", d.keep)
	if addr := d.cfg.API.MetricsListen; addr != "" {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return fmt.Errorf("listen for metrics: %w", err)
		}
		d.parts.start("metrics", func(ctx context.Context) error { return serveHTTP(ctx, l, d.metricsHandler()) })
		d.log.WithField(fieldAddress, l.Addr().String()).Info("metrics are served")
	}
	every, err := watchdogInterval()
	if err != nil {
		return err
	}
	if every > 0 {
		d.parts.start("watchdog", func(ctx context.Context) error { return d.watchdog(ctx, every) })
	}
	d.ready.Store(nil)
	if err := d.env.notify.ready(d.statusLine()); err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	d.log.WithField("restarting", d.resuming).Info("ready")
	return nil
}

// tell has the core take events.
func (d *daemon) tell(ctx context.Context, events []evpn.Event) error {
	if len(events) == 0 {
		return nil
	}
	return d.loop.do(ctx, func(*evpn.Core) {
		for _, ev := range events {
			d.loop.tell(ev, time.Now())
		}
	})
}

// leaveGracefully reports whether neighbours shall keep our routes.
func (d *daemon) leaveGracefully() bool {
	return d.config().BGP.GracefulRestartTime > 0 && (d.failed.Load() || !d.opts.FlushOnExit)
}

// keepRows reports whether the kernel shall keep our rows. After a failure it does
// in any case: the service manager starts us again.
func (d *daemon) keepRows() bool { return d.failed.Load() || d.leaveGracefully() }

// flush removes our rows unless they shall stay; it runs after the speaker has
// ended and before the kernel part does.
func (d *daemon) flush() {
	if d.keepRows() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), flushTime)
	defer cancel()
	if err := d.kernel.Flush(ctx); err != nil {
		d.log.WithField(fieldError, err).Error("rows could not be removed")
		return
	}
	d.flushed.Store(true)
}

// stop ends what start began, in reverse.
func (d *daemon) stop(failed bool) error {
	d.failed.Store(failed)
	d.notReady("stopping")
	if err := d.env.notify.stopping(); err != nil {
		d.log.WithField(fieldError, err).Warn("systemd could not be told")
	}
	unlock, err := d.exclusive(context.Background()) // waits for a reload and lets no other begin
	if err != nil {
		return err
	}
	defer unlock()
	err = d.parts.stop()
	d.log.WithField("failed", failed).Info("stopped")
	return err
}

// exclusive waits until no reload is under way and keeps others from beginning
// until the function it gives is called.
func (d *daemon) exclusive(ctx context.Context) (unlock func(), err error) {
	select {
	case d.changing <- struct{}{}:
		return func() { <-d.changing }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (d *daemon) notReady(why string) { d.ready.Store(&why) }

func (d *daemon) config() *config.Config {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.cfg
}

func (d *daemon) statusLine() string {
	cfg := d.config()
	return fmt.Sprintf("%d neighbors, %d VNIs", len(cfg.Neighbors), len(cfg.VNIs))
}
