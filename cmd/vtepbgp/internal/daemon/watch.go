package daemon

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// afterTurn sweeps once the picture is complete. It runs on the loop.
func (d *daemon) afterTurn(core *evpn.Core) {
	if d.prune != nil && d.prune.due(core.Synced(), time.Now()) {
		d.pruneAllowed.Store(true)
		d.kernel.AllowPrune()
		d.log.Info("rows that no neighbor confirmed are removed from now on")
	}
}

// pruneTimer wakes the loop at the policy's deadline.
func (d *daemon) pruneTimer(ctx context.Context) error {
	var deadline time.Time
	if err := d.loop.do(ctx, func(*evpn.Core) { deadline = d.prune.deadline }); err == nil {
		t := time.NewTimer(time.Until(deadline))
		defer t.Stop()
		select {
		case <-t.C:
			_ = d.loop.do(ctx, func(*evpn.Core) {}) // an error is the end of ctx
		case <-ctx.Done():
		}
	}
	<-ctx.Done()
	return nil
}

// followVTEP tells the core the VTEP address in use when it is another.
func (d *daemon) followVTEP(ctx context.Context) error {
	vtep := d.kernel.VTEPAddress()
	d.mu.Lock()
	core := coreConfig(d.cfg, d.rds, vtep)
	d.mu.Unlock()
	return d.loop.do(ctx, func(c *evpn.Core) {
		if d.coreVTEP != vtep {
			d.coreVTEP = vtep
			d.loop.tell(evpn.ConfigReplaced{Config: core}, time.Now())
		}
	})
}

// watchVTEP follows the address of vtep.interface. It runs with a fixed vtep.address
// too: a reload may change the one to the other.
func (d *daemon) watchVTEP(ctx context.Context) error {
	t := time.NewTicker(vtepPoll)
	defer t.Stop()
	last := d.kernel.VTEPAddress()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		now := d.kernel.VTEPAddress()
		if now == last {
			continue
		}
		d.log.WithField(fieldAddress, now).Info("vtep address changed")
		unlock, err := d.exclusive(ctx)
		if err != nil {
			return nil
		}
		err = d.followVTEP(ctx)
		unlock()
		if err != nil {
			continue // the end is near
		}
		last = now
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
