package daemon

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/api"
	"github.com/vtepbgp/vtepbgp/evpn"
)

// floodCollector asks the flooding module, and the core for what it is told to do, when the
// metrics are read.
type floodCollector struct {
	d *daemon

	engine, ready, repairs, lost   *prometheus.Desc
	failures                       *prometheus.Desc
	packets, copied, copies, drops *prometheus.Desc
	tasks, relay, vteps, macs      *prometheus.Desc
}

func newFloodCollector(d *daemon) *floodCollector {
	return &floodCollector{
		d:        d,
		engine:   desc("flood_engine_info", "Always 1; the engine that copies on an interface.", "interface", "engine"),
		ready:    desc("flood_engine_ready", "1 while frames are copied on the interface as they should be.", "interface"),
		repairs:  desc("flood_engine_repairs_total", "What the engine found broken and mended: an interface that came back, a program that somebody else detached.", "interface"),
		failures: desc("flood_engine_failures_total", "Attempts to have frames copied on an interface, or to mend that, which failed.", "interface"),
		lost:     desc("flood_engine_drops_total", "Packets, and copies of packets, that went no further on an interface, by reason; those of no VNI too.", "interface", "reason"),
		packets:  desc("flood_packets_total", "Packets heard by the flooding module.", "vni"),
		copied:   desc("flood_copied_packets_total", "Packets heard that were copied to somebody.", "vni"),
		copies:   desc("flood_copies_total", "Copies given to the wire.", "vni"),
		drops:    desc("flood_drops_total", "Packets, and copies of packets, that went no further, by reason.", "vni", "reason"),
		tasks:    desc("flood_task", "1 while the flooding module does this: own, segment, deliver, replicate.", "vni", "task"),
		relay:    desc("flood_relay_info", "Always 1; who copies for the segment: this_host, another, or none.", "vni", "relay"),
		vteps:    desc("flood_heard_vteps", "VTEPs heard on segments and at the service address."),
		macs:     desc("flood_heard_macs", "Sources of frames heard on segments."),
	}
}

// Describe sends nothing: see [collector.Describe].
func (c *floodCollector) Describe(chan<- *prometheus.Desc) {}

// Collect asks.
func (c *floodCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	st := c.d.flooding.Status()
	for _, e := range st.Engines {
		if e.Name != "" {
			gauge(c.engine, 1, e.Interface, e.Name)
		}
		gauge(c.ready, truth(e.Problem == ""), e.Interface)
		counter(c.repairs, e.Repairs, e.Interface)
		counter(c.failures, e.Failures, e.Interface)
		dropped(e.Total, func(reason string, n uint64) { counter(c.lost, n, e.Interface, reason) })
	}
	for vni, n := range st.Networks {
		name := vni.String()
		counter(c.packets, n.Count.Packets, name)
		counter(c.copied, n.Count.Relayed, name)
		counter(c.copies, n.Count.Copies, name)
		dropped(n.Count, func(reason string, drops uint64) { counter(c.drops, drops, name, reason) })
	}
	gauge(c.vteps, float64(st.HeardVTEPs))
	gauge(c.macs, float64(st.HeardMACs))
	c.core(gauge)
}

func (c *floodCollector) core(gauge gaugeFunc) {
	var vnis []evpn.VNIInfo
	ctx, cancel := context.WithTimeout(context.Background(), collectTime)
	defer cancel()
	if c.d.loop.do(ctx, func(core *evpn.Core) { vnis = core.VNIs() }) != nil {
		return // vtepbgp_ready and /healthz say so
	}
	for _, v := range vnis {
		for _, task := range api.FloodTasks(v.Relay) {
			gauge(c.tasks, 1, v.VNI.String(), string(task))
		}
		if v.Flooding != evpn.FloodMulticast {
			continue
		}
		relay := "another"
		switch {
		case v.Relay.Segment:
			relay = "this_host"
		case !v.Relay.Elected.IsValid():
			relay = "none"
		}
		gauge(c.relay, 1, v.VNI.String(), relay)
	}
}
