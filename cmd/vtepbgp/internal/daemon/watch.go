package daemon

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/vtepbgp/vtepbgp/config"
	"github.com/vtepbgp/vtepbgp/evpn"
)

// releaseDelay is how long lists of packets to copy wait for the last of several neighbours
// after a restart.
const releaseDelay = 10 * time.Second

// afterTurn sweeps once the picture is complete. It runs on the loop.
func (d *daemon) afterTurn(core *evpn.Core) {
	if d.prune != nil && d.prune.due(core.Synced(), time.Now()) {
		d.pruneAllowed.Store(true)
		d.kernel.AllowPrune()
		d.flooding.Release()
		d.log.Info("rows that no neighbor confirmed are removed from now on")
	} else if d.prune != nil && core.Synced() && time.Since(d.started) > releaseDelay {
		d.flooding.Release() // what was left copying grows old, and does not copy for others for long
	}
}

// waitNoLonger has the core go on with the picture that it has. It runs on the loop.
func (d *daemon) waitNoLonger() {
	d.gaveUp.Store(true)
	d.loop.tell(evpn.SyncRestored{}, time.Now())
}

// pruneTimer ends the wait for neighbours at the policy's deadline.
func (d *daemon) pruneTimer(ctx context.Context) error {
	var deadline time.Time
	if err := d.loop.do(ctx, func(*evpn.Core) { deadline = d.prune.deadline }); err == nil {
		t := time.NewTimer(time.Until(deadline))
		defer t.Stop()
		select {
		case <-t.C:
			// An error is the end of ctx.
			_ = d.loop.do(ctx, func(core *evpn.Core) {
				if !core.Synced() {
					d.waitNoLonger()
				}
			})
		case <-ctx.Done():
		}
	}
	<-ctx.Done()
	return nil
}

// followHost tells core and flooding module what the host says when it is another. It is
// for who changes the configuration, one at a time: see [daemon.exclusive].
func (d *daemon) followHost(ctx context.Context) error {
	d.mu.Lock()
	cfg, rds, before := d.cfg, d.rds, d.host
	d.mu.Unlock()
	now := d.look(cfg)
	if now.equal(before) {
		return nil
	}
	d.log.WithField(fieldAddress, now.vtep).WithField(fieldInterface, now.device).Info("vtep address, its interface or a segment changed")
	return d.change(ctx, cfg, rds, now)
}

// change hands core and flooding module a configuration, and notes it as that in effect.
func (d *daemon) change(ctx context.Context, cfg *config.Config, rds map[evpn.VNI]uint16, h host) error {
	d.flooding.Configure(floodingConfig(cfg, h))
	core := d.wantCore(cfg, rds, h)
	if err := d.loop.do(ctx, func(*evpn.Core) { d.loop.tell(evpn.ConfigReplaced{Config: core}, time.Now()) }); err != nil {
		return err
	}
	d.mu.Lock()
	d.cfg, d.rds, d.host = cfg, rds, h
	d.mu.Unlock()
	return nil
}

// watchHost follows the address of vtep.interface and the prefixes of segments. It runs
// with fixed ones too: a reload may change the one to the other.
func (d *daemon) watchHost(ctx context.Context) error {
	t := time.NewTicker(hostPoll)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		unlock, err := d.exclusive(ctx)
		if err != nil {
			return nil
		}
		_ = d.followHost(ctx) // an error is the end of the loop
		if d.leaving.gone(time.Now()) {
			if err := d.kernel.Configure(d.leaving.kernelConfig(d.config())); err != nil {
				d.log.WithField(fieldError, err).Warn("a service address could not be given up")
			}
		}
		unlock()
	}
}

// watchdog gives signs of life by way of the loop: a loop that is stuck gives none.
func (d *daemon) watchdog(ctx context.Context, every time.Duration) error {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		if d.loop.do(ctx, func(*evpn.Core) {}) != nil {
			continue // the end is near
		}
		if err := d.env.notify.alive(); err != nil {
			d.log.WithField(fieldError, err).Warn("systemd watchdog could not be told")
		}
	}
}

// heartbeat notes that we live and with whom, for the next run to know how long we were away and
// who waits, and last of all how we ended.
func (d *daemon) heartbeat(ctx context.Context, dir string) error {
	t := time.NewTicker(heartbeatEvery)
	defer t.Stop()
	note := func() {
		mark := thisRun(time.Now())
		mark.Neighbors, mark.Flushed = d.met.list(mark.Alive), d.flushed.Load()
		if err := mark.write(dir); err != nil {
			d.log.WithField(fieldError, err).Warn("sign of life could not be written")
		}
	}
	for {
		note()
		select {
		case <-ctx.Done():
			note()
			return nil
		case <-t.C:
		case <-d.met.changed:
		}
	}
}

// serveHTTP serves on l until ctx ends, then lets requests finish for a moment.
func serveHTTP(ctx context.Context, l net.Listener, h http.Handler) error {
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(l) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.Background(), httpStopTime)
	defer cancel()
	if srv.Shutdown(grace) != nil {
		_ = srv.Close() // cuts the requests that did not finish
	}
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
