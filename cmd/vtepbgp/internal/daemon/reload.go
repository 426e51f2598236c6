package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"time"

	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/api"
	"github.com/vtepbgp/vtepbgp/config"
	"github.com/vtepbgp/vtepbgp/evpn"
)

// reload reads the configuration again and applies what differs. A configuration
// that does not load, or that changes what cannot change, changes nothing.
func (d *daemon) reload(ctx context.Context) (result api.ReloadResult, err error) {
	unlock, err := d.exclusive(ctx)
	if err != nil {
		return result, err
	}
	defer unlock()
	if why := d.ready.Load(); why != nil {
		return result, fmt.Errorf("reload: daemon is %s: %w", *why, api.ErrNotReady)
	}
	defer func() {
		d.lastReload.Store(&reloadOutcome{at: time.Now(), err: err})
		d.metrics.reloaded(err)
	}()
	d.reloads.Add(1)
	if err := d.env.notify.reloading(); err != nil {
		d.log.WithField(fieldError, err).Warn("systemd could not be told")
	}
	defer func() {
		if err := d.env.notify.ready(d.statusLine()); err != nil {
			d.log.WithField(fieldError, err).Warn("systemd could not be told")
		}
	}()
	if d.opts.ConfigPath == config.Stdin {
		return result, &api.Error{StatusCode: http.StatusConflict, Message: "the configuration came from standard input and cannot be read again: restart vtepbgp"}
	}
	next, err := d.env.load()
	if err != nil {
		return result, loadError(err)
	}
	old := d.config()
	if fixed := unchangeable(old, next); len(fixed) > 0 {
		return result, &api.Error{
			StatusCode: http.StatusConflict,
			Message:    "settings that cannot change while vtepbgp runs have changed; nothing was applied, restart vtepbgp for them (forwarding goes on meanwhile)",
			Problems:   fixed,
		}
	}
	numbers, err := d.numbers.assign(rdDemand(next))
	if err != nil {
		return result, err
	}
	if err := d.logger.configure(next.Log); err != nil { // also opens a log file anew
		return result, err
	}
	result.Changed = differences(old, next)
	d.log.WithField(fieldChanged, result.Changed).Info("configuration read")
	return result, d.apply(ctx, next, numbers)
}

// apply hands a new configuration to core, flooding module, kernel and speaker. The core
// comes before the kernel: it withdraws what left before the devices go, and ignores
// events about VNIs that it does not know yet.
func (d *daemon) apply(ctx context.Context, next *config.Config, numbers map[evpn.VNI]uint16) error {
	now := d.look(next)
	if next.VTEP.Address.IsValid() {
		now.vtep = next.VTEP.Address
	}
	d.leaving.leave(d.config(), next, time.Now())
	if err := d.change(ctx, next, numbers, now); err != nil {
		return err
	}
	kernelErr := d.kernel.Configure(d.leaving.kernelConfig(next))
	if kernelErr != nil {
		kernelErr = fmt.Errorf("configure kernel: %w", kernelErr)
	}
	d.speaker.SetImports(d.wantCore(next, numbers, now).Imports())
	speakerErr := d.speaker.Reconfigure(speakerConfig(next, false, nil))
	return errors.Join(d.followHost(ctx), kernelErr, speakerErr)
}

func loadError(err error) error {
	var problems config.Problems
	if !errors.As(err, &problems) {
		return fmt.Errorf("load configuration: %w", err)
	}
	e := &api.Error{StatusCode: http.StatusUnprocessableEntity, Message: "configuration is not valid; nothing was applied"}
	for _, p := range problems {
		e.Problems = append(e.Problems, p.String())
	}
	return e
}

// unchangeable names what differs though it is settled at start. What the process
// holds open (sockets, the state directory) and what is part of every session and
// route of ours would take the same interruption as a restart, and a restart keeps
// forwarding.
func unchangeable(old, next *config.Config) (names []string) {
	for _, s := range []struct {
		name      string
		old, next any
	}{
		{"bgp.asn", old.BGP.ASN, next.BGP.ASN},
		{"bgp.router_id", old.BGP.RouterID, next.BGP.RouterID},
		{"bgp.listen_port", old.BGP.ListenPort, next.BGP.ListenPort},
		{"api.socket", old.API.Socket, next.API.Socket},
		{"api.metrics_listen", old.API.MetricsListen, next.API.MetricsListen},
		{"api.gobgp_listen", old.API.GoBGPListen, next.API.GoBGPListen},
		{"state.directory", old.State.Directory, next.State.Directory},
	} {
		if s.old != s.next {
			names = append(names, fmt.Sprintf("%s: %v to %v", s.name, s.old, s.next))
		}
	}
	if !slices.Equal(old.BGP.ListenAddresses, next.BGP.ListenAddresses) {
		names = append(names, fmt.Sprintf("bgp.listen_addresses: %v to %v", old.BGP.ListenAddresses, next.BGP.ListenAddresses))
	}
	return names
}

// differences says in the operator's words what a reload changes.
func differences(old, next *config.Config) []string {
	changed := []string{}
	if old.BGP.HoldTime != next.BGP.HoldTime || old.BGP.GracefulRestartTime != next.BGP.GracefulRestartTime {
		changed = append(changed, "bgp timers changed: sessions are reset")
	}
	if old.VTEP != next.VTEP {
		changed = append(changed, "vtep changed")
	}
	if old.Duplicate != next.Duplicate {
		changed = append(changed, "duplicate detection changed")
	}
	if old.Flood != next.Flood {
		changed = append(changed, "flood changed")
	}
	if old.Log != next.Log {
		changed = append(changed, "log changed")
	}
	name := func(n config.Neighbor) string {
		if n.Address.IsValid() {
			return "neighbor " + n.Address.String()
		}
		return "neighbor " + n.Prefix.String()
	}
	changed = append(changed, listDifferences(old.Neighbors, next.Neighbors, name)...)
	return append(changed, listDifferences(old.VNIs, next.VNIs, func(v config.VNI) string { return "vni " + v.ID.String() })...)
}

func listDifferences[T any](old, next []T, name func(T) string) (changed []string) {
	before := map[string]T{}
	for _, o := range old {
		before[name(o)] = o
	}
	for _, n := range next {
		o, known := before[name(n)]
		delete(before, name(n))
		switch {
		case !known:
			changed = append(changed, name(n)+" added")
		case !reflect.DeepEqual(o, n):
			changed = append(changed, name(n)+" changed")
		}
	}
	for _, o := range old {
		if _, left := before[name(o)]; left {
			changed = append(changed, name(o)+" removed")
		}
	}
	return changed
}
