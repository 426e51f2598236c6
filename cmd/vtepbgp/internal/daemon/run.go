package daemon

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vtepbgp/vtepbgp/config"
	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/flood"
	"github.com/vtepbgp/vtepbgp/flood/ebpf"
	"github.com/vtepbgp/vtepbgp/flood/socket"
	"github.com/vtepbgp/vtepbgp/kernel"
	"github.com/vtepbgp/vtepbgp/speaker"
)

// Options is what the command line says.
type Options struct {
	ConfigPath  string    // "-" = Stdin
	Stdin       io.Reader // for ConfigPath "-"
	PIDFile     string    // "" = none
	LogLevel    string    // "" = as configured
	FlushOnExit bool      // remove our rows from the kernel when told to stop
	Record      string    // file to record to from the start; "" = none
	Version     string
}

// dataplane is the host's kernel as the daemon needs it; [kernel.Kernel] is one.
type dataplane interface {
	rowSink
	Run(ctx context.Context, sink func(evpn.Event)) error
	Synced() <-chan struct{}
	Configure(kernel.Config) error
	AllowPrune()
	Flush(ctx context.Context) error
	VTEPAddress() netip.Addr
	Installed(evpn.RowKey) bool
	Wanted(evpn.RowKey) (evpn.RowValue, bool)
	WantedKeys(evpn.VNI) []evpn.RowKey
	Drift(context.Context, evpn.VNI) ([]kernel.Drift, error)
	Repair(context.Context) error
	Inspect(context.Context, evpn.VNI, []evpn.MAC, []netip.Addr) ([]kernel.Drift, error)
	Status() []kernel.VNIStatus
	Underlay() []kernel.VTEPState
	Stats() kernel.Stats
	VTEPDevice() string
	Segment(device string) []netip.Prefix
	Uplinks() []string
	Local(netip.Addr) bool
	Alive(context.Context, netip.Addr) (bool, error)
}

// sessions are the BGP sessions as the daemon needs them; [speaker.Speaker] is one.
type sessions interface {
	routeSink
	Run(ctx context.Context, sink func(evpn.Event)) error
	Ready() <-chan struct{}
	SetImports(evpn.ImportSet)
	Reconfigure(speaker.Config) error
	Reset(neighbor netip.Addr, soft bool) error
	Shutdown(graceful bool)
	Neighbors() []speaker.NeighborStatus
	Stats() speaker.Stats
}

// environment is the world around a daemon, replaced in tests.
type environment struct {
	load    func() (*config.Config, error)
	kernel  func(*logrus.Entry) (dataplane, func() error, error)
	speaker func(speaker.Config, *logrus.Entry) (sessions, error)
	engines []flood.Kind
	notify  notifier
}

func realEnvironment(opts Options) environment {
	return environment{
		load: func() (*config.Config, error) { return config.Load(opts.ConfigPath, opts.Stdin) },
		kernel: func(log *logrus.Entry) (dataplane, func() error, error) {
			b, err := kernel.NewNetlink(kernel.NetlinkOptions{})
			if err != nil {
				return nil, nil, err
			}
			return kernel.New(b, log), b.Close, nil
		},
		speaker: func(cfg speaker.Config, log *logrus.Entry) (sessions, error) { return speaker.New(cfg, log) },
		engines: []flood.Kind{ebpf.Kind(), socket.Kind()},
		notify:  newNotifier(),
	}
}

// Run runs the daemon until ctx ends or SIGTERM or SIGINT arrives, then returns
// nil; a part that cannot go on ends it with an error. A configuration that does
// not load is an error of type [config.Problems], returned before anything is touched.
func Run(ctx context.Context, opts Options) error { return run(ctx, opts, realEnvironment(opts)) }

func run(ctx context.Context, opts Options, env environment) (err error) {
	cfg, err := env.load()
	if err != nil {
		return err
	}
	lg, err := newLogger(cfg.Log, opts.LogLevel)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lg.close()) }()

	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(signals)

	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	log := lg.WithField(fieldPart, "daemon")
	d := &daemon{
		opts: opts, env: env, log: log, logger: lg, started: time.Now(),
		parts: parts{log: log, fail: fail}, cfg: cfg, changing: make(chan struct{}, 1), leaving: leaving{}, notes: newNoteLog(lg.WithField(fieldPart, "evpn")),
	}
	d.notReady("starting")
	d.log.WithField(fieldVersion, opts.Version).Info("starting")
	files, err := d.claim()
	defer func() { err = errors.Join(err, files.release()) }()
	if err != nil {
		return err
	}
	ctx, stopped := d.withSignals(ctx, signals)
	defer stopped()
	err = d.start(ctx, files)
	if err == nil {
		<-ctx.Done()
	}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) && !errors.Is(cause, errAsked) {
		err = cause
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, errAsked) {
		err = nil // told to stop while starting
	}
	return errors.Join(err, d.stop(err != nil))
}

var errAsked = errors.New("asked to stop")

// withSignals gives a context that ends at SIGTERM or SIGINT; SIGHUP reloads.
func (d *daemon) withSignals(ctx context.Context, signals <-chan os.Signal) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-ctx.Done():
				return
			case s := <-signals:
				log := d.log.WithField(fieldSignal, s.String())
				if s != syscall.SIGHUP {
					log.Info("stopping")
					cancel(errAsked)
					return
				}
				log.Info("reloading")
				if _, err := d.reload(ctx); err != nil {
					log.WithField(fieldError, err).Error("reload failed")
				}
			}
		}
	}()
	return ctx, func() { cancel(nil); <-done }
}
