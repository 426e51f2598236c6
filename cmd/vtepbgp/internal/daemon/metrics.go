package daemon

import (
	"context"
	"fmt"
	"net/http"
	"reflect"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/api"
	"github.com/vtepbgp/vtepbgp/evpn"
)

// metrics is the daemon's own registry: what the loop counts as it goes, and what
// core, kernel and speaker are asked for when somebody reads the metrics.
type metrics struct {
	registry *prometheus.Registry
	latency  prometheus.Histogram
	turn     prometheus.Histogram
	events   *prometheus.CounterVec
	changes  *prometheus.CounterVec
	notes    *prometheus.CounterVec
	reloads  *prometheus.CounterVec
}

func newMetrics(d *daemon) *metrics {
	// From 50 µs to 1.6 s: the target is 3 ms from a frame to the row elsewhere.
	buckets := prometheus.ExponentialBuckets(50e-6, 2, 16)
	m := &metrics{
		registry: prometheus.NewRegistry(),
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "vtepbgp_loop_latency_seconds", Buckets: buckets,
			Help: "Time from an event's arrival until what follows from it was handed to the kernel and to BGP; the oldest event of each turn.",
		}),
		turn: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "vtepbgp_loop_turn_seconds", Buckets: buckets, Help: "Time that one turn of the event loop took.",
		}),
		events: counterVec("vtepbgp_loop_events_total", "Events handled, by kind.", "event"),
		changes: counterVec("vtepbgp_loop_changes_total",
			"Changes decided: route_announce and route_withdraw of own routes, row_set and row_remove of kernel rows.", "change"),
		notes: counterVec("vtepbgp_notes_total",
			"What the core reported: MAC moves, duplicates, sticky conflicts, limits reached, routes ignored, VNIs and VTEPs up and down.", "note"),
		reloads: counterVec("vtepbgp_reloads_total", "Configuration reloads by result: ok or failed.", "result"),
	}
	for _, r := range []string{"ok", "failed"} {
		m.reloads.WithLabelValues(r)
	}
	for _, c := range []string{"route_announce", "route_withdraw", "row_set", "row_remove"} {
		m.changes.WithLabelValues(c)
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "vtepbgp_build_info", Help: "Always 1; the labels name version and Go release.",
		ConstLabels: prometheus.Labels{"version": d.opts.Version, "goversion": runtime.Version()},
	})
	build.Set(1)
	m.registry.MustRegister(m.latency, m.turn, m.events, m.changes, m.notes, m.reloads, build,
		newCollector(d), newFloodCollector(d), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func counterVec(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

func (m *metrics) reloaded(err error) {
	if err != nil {
		m.reloads.WithLabelValues("failed").Inc()
		return
	}
	m.reloads.WithLabelValues("ok").Inc()
}

// Notes and Turn make the daemon the loop's observer.

// Notes logs and counts what the core reported.
func (d *daemon) Notes(notes []evpn.Note) {
	for _, n := range notes {
		d.metrics.notes.WithLabelValues(string(n.Kind)).Inc()
	}
	d.notes.write(notes, time.Now())
}

// Turn counts a turn of the loop.
func (d *daemon) Turn(latency, took time.Duration, events []queued, ch evpn.Changes) {
	for _, it := range events {
		d.met.see(it.event)
		if _, full := it.event.(evpn.EndOfRIB); full {
			d.gaveUp.Store(false)
		}
		if up, ok := it.event.(evpn.NeighborUp); ok && d.prune != nil {
			d.prune.established(up.Neighbor)
		}
		if _, ours := it.event.(barrier); !ours {
			d.metrics.events.WithLabelValues(eventName(it.event)).Inc()
		}
	}
	if len(events) > 0 {
		d.metrics.latency.Observe(latency.Seconds())
		d.metrics.turn.Observe(took.Seconds())
	}
	if n := len(ch.Announce); n > 0 {
		d.metrics.changes.WithLabelValues("route_announce").Add(float64(n))
	}
	if n := len(ch.Withdraw); n > 0 {
		d.metrics.changes.WithLabelValues("route_withdraw").Add(float64(n))
	}
	set, remove := 0, 0
	for _, r := range ch.Rows {
		if r.Remove {
			remove++
		} else {
			set++
		}
	}
	if set > 0 {
		d.metrics.changes.WithLabelValues("row_set").Add(float64(set))
	}
	if remove > 0 {
		d.metrics.changes.WithLabelValues("row_remove").Add(float64(remove))
	}
}

func eventName(ev evpn.Event) string { return reflect.TypeOf(ev).Name() }

// metricsHandler serves /metrics, /healthz and the reading half of /v1.
func (d *daemon) metricsHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(d.metrics.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		if why := d.unhealthy(r.Context()); why != "" {
			http.Error(w, why, http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.Handle("/v1/", api.NewServer(d).ReadOnly())
	return mux
}

// unhealthy says why the daemon does not do its work; "" when it does.
func (d *daemon) unhealthy(ctx context.Context) string {
	if why := d.ready.Load(); why != nil {
		return *why
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := d.loop.do(ctx, func(*evpn.Core) {}); err != nil {
		return "event loop does not answer: " + err.Error()
	}
	for _, e := range d.flooding.Status().Engines {
		if e.Problem != "" {
			return "packets are not copied on " + e.Interface + ": " + e.Problem
		}
	}
	return ""
}
