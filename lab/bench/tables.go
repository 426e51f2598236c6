package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/vtepbgp/vtepbgp/lab/figures"
)

// The measurements with big tables: what is received, what is originated, what is
// not ours, what is there and does not change.

// remoteVTEP is where the routes of the scripted peer point: nobody lives there.
var remoteVTEP = netip.MustParseAddr("10.99.0.77")

const tableTimeout = 120 * time.Second

func receiving() measurement {
	return measurement{
		name: "receive", title: "type-2 routes: session up → all rows in the kernel",
		how: "A scripted route reflector sends the table (100 NLRI an UPDATE) the moment the session is up to a VTEP that has just started.",
		metrics: []metric{
			{key: "all", label: "session up → all rows", unit: "ms", maxRatio: 0.7},
			{key: "first", label: "of it until the first row", unit: "ms"},
			{key: "start", label: "start → session up", unit: "ms"},
			{key: "cpu", label: "CPU of all processes", unit: "s", maxRatio: 1},
			{key: "rss", label: "peak RSS of all processes", unit: "MB", maxRatio: 1},
		},
		vteps: 1, run: receive,
	}
}

func receive(ctx context.Context, e *env, sys system, out samples) error {
	table := appendFlood(nil, remoteVTEP, benchVNI)
	table = routes{count: e.routes, vni: benchVNI, nextHop: remoteVTEP}.appendAnnounce(table)
	table = appendEndOfRIB(table)
	o, err := newObserver(e.vteps[0], true)
	if err != nil {
		return err
	}
	defer o.close()
	r, s, err := e.startAtPeer(ctx, sys, options{})
	if err != nil {
		return err
	}
	defer s.close()
	rows, err := arrival(ctx, r, s, table, func() (span, error) { return o.waitRows(ctx, e.routes, false, tableTimeout) })
	if err != nil {
		return err
	}
	out.add("all", ms(rows.last.Sub(s.established)))
	out.add("first", ms(rows.first.Sub(s.established)))
	out.add("start", ms(s.established.Sub(r.started)))
	out.cost(r.cpu(), r)
	return r.alive()
}

// arrival sends a table to a system, and gives what wait does when its rows are there and the system is at rest.
func arrival[T any](ctx context.Context, r *running, s *session, table []byte, wait func() (T, error)) (T, error) {
	sent := make(chan error, 1)
	go func() { sent <- s.send(table) }()
	seen, err := wait()
	if err != nil {
		return seen, errors.Join(err, r.alive())
	}
	if err := <-sent; err != nil {
		return seen, fmt.Errorf("send the table: %w", err)
	}
	return seen, r.settle(ctx)
}

func foreign() measurement {
	return measurement{
		name: "foreign", title: "type-2 routes of VNIs that are not ours",
		how: "As `receive`, but the routes carry the target of another VNI; one route of our own VNI is sent last and its row ends the measurement.",
		metrics: []metric{
			{key: "all", label: "session up → last route's row", unit: "ms"},
			{key: "cpu", label: "CPU of all processes", unit: "s", maxRatio: 0.2},
			{key: "rss", label: "peak RSS of all processes", unit: "MB", maxRatio: 0.2},
		},
		vteps: 1, run: func(ctx context.Context, e *env, sys system, out samples) error {
			table := routes{count: e.routes, vni: benchVNI + 899, nextHop: remoteVTEP}.appendAnnounce(nil)
			table = routes{group: 1, count: 1, vni: benchVNI, nextHop: remoteVTEP}.appendAnnounce(table)
			table = appendEndOfRIB(table)
			o, err := newObserver(e.vteps[0], false)
			if err != nil {
				return err
			}
			defer o.close()
			r, s, err := e.startAtPeer(ctx, sys, options{})
			if err != nil {
				return err
			}
			defer s.close()
			last, err := arrival(ctx, r, s, table, func() (time.Time, error) {
				return o.next(tableTimeout, func(w row) bool { return w.mac == benchMAC(1, 0) && !w.gone })
			})
			if err != nil {
				return err
			}
			out.add("all", ms(last.Sub(s.established)))
			out.cost(r.cpu(), r)
			return r.alive()
		},
	}
}

// originating adds count local MACs at once.
func originating(name string, count int, defaultBuffer bool, repeat int) measurement {
	m := measurement{
		name: name, title: fmt.Sprintf("%s local MACs added at once → all at the route reflector", figures.Thousands(count)),
		how:   "Raw netlink writes the MACs on the access port, 200 a send; the scripted reflector counts distinct MACs. Lost: missing after ten idle seconds without news.",
		vteps: 1, repeat: repeat,
		metrics: []metric{
			{key: "lost", label: "MACs lost", unit: "", zero: true},
			{key: "all", label: "first add → all announced", unit: "ms", maxRatio: 0.7},
			{key: "withdrawn", label: "first delete → all withdrawn", unit: "ms"},
			{key: "cpu", label: "CPU of all processes (adding)", unit: "s", maxRatio: 1},
			{key: "rss", label: "peak RSS of all processes (adding)", unit: "MB", maxRatio: 1},
		},
		run: func(ctx context.Context, e *env, sys system, out samples) error {
			return originate(ctx, e, sys, out, count, defaultBuffer)
		},
	}
	if defaultBuffer {
		m.title += ", netlink buffer at the kernel's default"
		m.metrics = m.metrics[:1]
		m.how += " FRR's zebra runs with -s set to net.core.rmem_default; vtepbgp starts under a seccomp filter that refuses larger buffers."
	}
	return m
}

func originate(ctx context.Context, e *env, sys system, out samples, count int, defaultBuffer bool) error {
	v := e.vteps[0]
	r, s, err := e.startAtPeer(ctx, sys, options{defaultBuffer: defaultBuffer})
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.send(appendEndOfRIB(nil)); err != nil {
		return fmt.Errorf("send End-of-RIB: %w", err)
	}
	if err := s.waitFlood(1, 30*time.Second); err != nil {
		return err
	}
	if err := r.settle(ctx); err != nil {
		return err
	}
	before := r.cpu()
	begin := time.Now()
	if err := v.changeLocalMACs(0, 0, count, true); err != nil {
		return err
	}
	end, held, complete := s.waitUntilQuiet(r, count)
	out.add("lost", float64(count-held))
	if !complete {
		return nil // what came is no time to compare, and the program may be dead
	}
	if err := r.settle(ctx); err != nil {
		return err
	}
	out.add("all", ms(end.Sub(begin)))
	out.cost(r.cpu()-before, r)
	if defaultBuffer {
		return nil
	}
	begin = time.Now()
	if err := v.changeLocalMACs(0, 0, count, false); err != nil {
		return err
	}
	if end, _, complete = s.waitUntilQuiet(r, 0); complete {
		out.add("withdrawn", ms(end.Sub(begin)))
	}
	return nil
}

// waitUntilQuiet waits for want MACs and gives up when ten seconds brought none and
// the system was idle in them: one that is still working (at a re-read, say) has lost
// nothing yet.
func (s *session) waitUntilQuiet(r *running, want int) (when time.Time, held int, complete bool) {
	const idle = 200 * time.Millisecond
	last, deadline := -1, time.Now().Add(tableTimeout)
	for {
		before := r.cpu()
		when, held, err := s.waitMACs(want, 10*time.Second)
		if err == nil {
			return when, held, true
		}
		if (held == last && r.cpu()-before < idle) || time.Now().After(deadline) || s.ended() {
			return when, held, false
		}
		last = held
	}
}

func idling() measurement {
	return measurement{
		name: "idle", title: "remote MACs in place, nothing changes",
		how: "Processor time by the process clock, after the system has been quiet.",
		metrics: []metric{
			{key: "cpu", label: "share of one core", unit: "%", max: 0.1},
			{key: "rss", label: "RSS", unit: "MB"},
		},
		vteps: 1, repeat: 1, run: func(ctx context.Context, e *env, sys system, out samples) error {
			o, err := newObserver(e.vteps[0], true)
			if err != nil {
				return err
			}
			defer o.close()
			r, s, err := e.startAtPeer(ctx, sys, options{})
			if err != nil {
				return err
			}
			defer s.close()
			table := routes{count: e.idleMACs, vni: benchVNI, nextHop: remoteVTEP}.appendAnnounce(appendFlood(nil, remoteVTEP, benchVNI))
			if err := s.send(appendEndOfRIB(table)); err != nil {
				return fmt.Errorf("send the table: %w", err)
			}
			if _, err := o.waitRows(ctx, e.idleMACs, false, tableTimeout); err != nil {
				return err
			}
			if err := pause(ctx, 3*time.Second); err != nil {
				return err
			}
			before := r.cpu()
			if err := pause(ctx, e.idle); err != nil {
				return err
			}
			out.add("cpu", 100*float64(r.cpu()-before)/float64(e.idle))
			out.add("rss", mb(r.memory("VmRSS")))
			return r.alive()
		},
	}
}

func manyVNIs() measurement {
	return measurement{
		name: "vnis", title: "many VNIs: start of both VTEPs → both flood lists complete",
		how: "Two VTEPs with a direct session start together; the devices exist already.",
		metrics: []metric{
			{key: "all", label: "start → both lists complete", unit: "ms", maxRatio: 0.5},
			{key: "cpu", label: "CPU of one VTEP", unit: "s"},
			{key: "rss", label: "peak RSS of one VTEP", unit: "MB"},
		},
		vteps: 2, vnis: allVNIs,
		run: func(ctx context.Context, e *env, sys system, out samples) error {
			var rs []*running
			var wg sync.WaitGroup
			ends := make([]time.Time, 2)
			errs := make([]error, 2)
			for i, v := range e.vteps {
				o, err := newFloodObserver(v)
				if err != nil {
					return err
				}
				defer o.close()
				wg.Go(func() { ends[i], errs[i] = o.waitFloodRows(ctx, e.vnis, tableTimeout) })
			}
			for i, v := range e.vteps {
				r, err := e.start(sys, v, options{neighbors: []netip.Addr{e.vteps[1-i].address}})
				if err != nil {
					return err
				}
				rs = append(rs, r)
			}
			wg.Wait()
			for i, err := range errs {
				if err != nil {
					return errors.Join(err, rs[i].alive())
				}
			}
			last := ends[0]
			if ends[1].After(last) {
				last = ends[1]
			}
			if err := rs[0].settle(ctx); err != nil {
				return err
			}
			out.add("all", ms(last.Sub(rs[0].started)))
			out.cost(rs[0].cpu(), rs[0])
			return nil
		},
	}
}
