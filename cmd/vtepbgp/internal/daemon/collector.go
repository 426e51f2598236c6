package daemon

import (
	"context"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/kernel"
	"github.com/vtepbgp/vtepbgp/kernel/snoop"
	"github.com/vtepbgp/vtepbgp/speaker/bfd"
)

// neighborStates are the states of a session (RFC 4271 §8.2.2).
var neighborStates = []string{"idle", "connect", "active", "opensent", "openconfirm", "established"}

// collectTime bounds how long a reader of the metrics waits for the loop.
const collectTime = 5 * time.Second

// collector asks core, kernel and speaker when the metrics are read. What one
// does not answer in time is missing in that reading.
type collector struct {
	d *daemon

	ready, synced                                   *prometheus.Desc
	neighbors, neighborUp, received, accepted, shed *prometheus.Desc
	advertised, messages, updates, flaps, drops     *prometheus.Desc
	ownRoutes, routes, ignored                      *prometheus.Desc
	vnis, macs, vteps                               *prometheus.Desc
	unreachable, ways, lookups, lostWays            *prometheus.Desc
	writes, pending, failing, resyncs, changed      *prometheus.Desc
	repairs, echoes, kernelEvents, lost, batches    *prometheus.Desc
	addresses, addressRepairs                       *prometheus.Desc
	heard, refused, localIPs, probes, answers       *prometheus.Desc
	held, heldBack, kept, silent                    *prometheus.Desc
	snooped, missed, muted                          *prometheus.Desc
	suppressing, swallowed                          *prometheus.Desc
	queued, limit, merged, waits                    *prometheus.Desc
	strangers                                       *prometheus.Desc
	bfdUp, bfdDetection, bfdFlaps, bfdPackets       *prometheus.Desc
	bfdDrops, bfdLatest, bfdInfo                    *prometheus.Desc
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("vtepbgp_"+name, help, labels, nil)
}

func newCollector(d *daemon) *collector {
	return &collector{
		d:      d,
		ready:  desc("ready", "1 once every part is up."),
		synced: desc("synced", "1 once every neighbor that was established has sent its first full table."),

		neighbors:    desc("neighbors", "BGP neighbors by state of their session.", "state"),
		neighborUp:   desc("neighbor_up", "1 while the session is established.", "neighbor"),
		received:     desc("neighbor_routes_received", "EVPN routes that the neighbor announces.", "neighbor"),
		accepted:     desc("neighbor_routes_accepted", "Routes of the neighbor that some VNI imports and that are fit for use.", "neighbor"),
		shed:         desc("neighbor_routes_shed", "Routes of the neighbor that are counted but not kept, because no VNI imports them.", "neighbor"),
		advertised:   desc("neighbor_routes_advertised", "Own routes announced to the neighbor.", "neighbor"),
		messages:     desc("neighbor_messages_total", "BGP messages by direction: in or out.", "neighbor", "direction"),
		updates:      desc("neighbor_updates_total", "BGP UPDATE messages by direction: in or out.", "neighbor", "direction"),
		flaps:        desc("neighbor_flaps_total", "Times that an established session ended.", "neighbor"),
		drops:        desc("guard_drops_total", "What the session guard left out of a neighbor's messages, by reason.", "neighbor", "reason"),
		bfdUp:        desc("bfd_up", "1 while the BFD session of the neighbor is up.", "neighbor"),
		bfdDetection: desc("bfd_detection_seconds", "Silence after which the BFD session goes down; 0 until the neighbor was heard.", "neighbor"),
		bfdFlaps:     desc("bfd_flaps_total", "Times that the BFD session left up.", "neighbor"),
		bfdPackets:   desc("bfd_packets_total", "BFD packets by direction: in or out.", "neighbor", "direction"),
		bfdDrops:     desc("bfd_drops_total", "BFD packets discarded, by reason.", "reason"),
		bfdLatest:    desc("bfd_send_delay_max_seconds", "The most that a BFD packet of ours was ever late."),
		bfdInfo:      desc("bfd_info", "1 while BFD runs; priority of its thread: realtime, high, or normal.", "priority"),
		strangers:    desc("unknown_connections_total", "Connections from addresses that no neighbor has."),

		ownRoutes: desc("own_routes", "Routes that this host originates."),
		routes:    desc("routes", "Received routes by type.", "type"),
		ignored:   desc("routes_ignored", "Received routes that are not used, by type and reason.", "type", "reason"),

		vnis:  desc("vnis", "VNIs by state: up or down.", "state"),
		macs:  desc("macs", "MACs by VNI and origin: local, or remote (static and proxy ones included).", "vni", "origin"),
		vteps: desc("vteps", "Remote VTEPs that kernel rows point to."),

		unreachable: desc("vteps_unreachable", "Remote VTEPs that the underlay has no way to."),
		ways:        desc("underlay_events_total", "Changes of routes, rules and next hops that the kernel told of."),
		lookups:     desc("underlay_lookups_total", "Lookups of the way to a VTEP."),
		lostWays:    desc("underlay_lost_events_total", "Times that the kernel dropped such changes; each causes a lookup of all VTEPs."),

		writes:       desc("kernel_writes_total", "Kernel row writes by operation (set, delete) and result (ok, already, failed).", "op", "result"),
		pending:      desc("kernel_pending_rows", "Rows that wait to be written."),
		failing:      desc("kernel_failing_rows", "Rows that the kernel refuses; they are tried again."),
		resyncs:      desc("kernel_resyncs_total", "Full reads of the kernel by reason.", "reason"),
		changed:      desc("kernel_resync_changes_total", "Rows that a full read found changed though no event had told."),
		repairs:      desc("kernel_repairs_total", "Rows put back after somebody else changed them."),
		echoes:       desc("kernel_echoes_total", "Kernel events that told what was known."),
		kernelEvents: desc("kernel_events_total", "Kernel events received."),
		lost:         desc("kernel_lost_events_total", "Times that the kernel reported dropped events; each causes a full read."),
		batches:      desc("kernel_batches_total", "Batches of row writes."),

		addresses:      desc("kernel_addresses", "Service addresses and memberships of groups that are wanted and there."),
		addressRepairs: desc("kernel_address_repairs_total", "Such addresses put back after somebody removed them."),

		heard:       desc("snoop_packets_total", "ARP, neighbour discovery and DHCP packets heard on access ports, by kind.", "kind"),
		refused:     desc("snoop_refused_total", "Packets on access ports that taught no local IP address though they tell of one, by reason.", "reason"),
		localIPs:    desc("snoop_local_ips", "Local IP addresses known from packets on access ports."),
		probes:      desc("snoop_probes_total", "Frames sent to ask a host for an address."),
		answers:     desc("snoop_probe_answers_total", "Addresses that a host still had when asked."),
		held:        desc("snoop_held_macs", "MACs that the bridge aged out and whose hosts are being asked."),
		heldBack:    desc("snoop_held_macs_total", "Times that a MAC was not withdrawn before its host was asked."),
		kept:        desc("snoop_kept_macs_total", "Times that such a host was there, and nothing was withdrawn."),
		silent:      desc("snoop_silent_ips_total", "Local IP addresses withdrawn because nobody answered for them."),
		snooped:     desc("snoop_ports", "Access ports that are listened to."),
		missed:      desc("snoop_dropped_frames_total", "Frames on access ports that came faster than they were read."),
		muted:       desc("snoop_muted_total", "Times that an access port was left alone for a moment because it said too much."),
		suppressing: desc("suppression_ready", "1 while ARP and ND are answered for remote hosts, 0 while something is missing for it; no series where it is off.", "vni"),
		swallowed:   desc("suppression_frames_total", "Frames that the bridges swallow, by kind and what was done: answered, carried, limited, not_flooded, announced (in the name of a host), failed.", "kind", "action"),

		queued: desc("queue_objects", "Objects that wait for the event loop, by source.", "queue"),
		limit:  desc("queue_limit_objects", "Objects that may wait before the source has to.", "queue"),
		merged: desc("queue_merged_total", "Events that replaced an older one about the same object.", "queue"),
		waits:  desc("queue_waits_total", "Times that a source had to wait for room.", "queue"),
	}
}

// Describe sends nothing: which series exist depends on neighbours and VNIs, so
// this is an unchecked collector in Prometheus's terms.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect asks everybody.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge(c.ready, truth(c.d.ready.Load() == nil))
	c.queues(gauge, counter)
	c.kernel(gauge, counter)
	c.core(gauge, c.speaker(gauge, counter))
}

type (
	gaugeFunc   func(d *prometheus.Desc, v float64, labels ...string)
	counterFunc func(d *prometheus.Desc, v uint64, labels ...string)
)

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func (c *collector) queues(gauge gaugeFunc, counter counterFunc) {
	for name, q := range map[string]*queue{"kernel": c.d.loop.kernel, "speaker": c.d.loop.speaker, "flooding": c.d.loop.flooding} {
		s := q.stats()
		gauge(c.queued, float64(s.weight), name)
		gauge(c.limit, float64(s.limit), name)
		counter(c.merged, s.merged, name)
		counter(c.waits, s.waits, name)
	}
}

func (c *collector) kernel(gauge gaugeFunc, counter counterFunc) {
	s := c.d.kernel.Stats()
	for op, w := range s.Writes {
		counter(c.writes, w.OK, op, "ok")
		counter(c.writes, w.Already, op, "already")
		counter(c.writes, w.Failed, op, "failed")
	}
	for reason, n := range s.Resyncs {
		counter(c.resyncs, n, reason)
	}
	gauge(c.pending, float64(s.Pending))
	gauge(c.failing, float64(s.Failing))
	counter(c.changed, s.ResyncChanges)
	counter(c.repairs, s.Repairs)
	counter(c.echoes, s.Echoes)
	counter(c.kernelEvents, s.Events)
	counter(c.lost, s.Lost)
	counter(c.batches, s.Batches)
	gauge(c.addresses, float64(s.Addresses))
	var repairs uint64
	for _, n := range s.AddressRepairs {
		repairs += n
	}
	counter(c.addressRepairs, repairs)
	gauge(c.unreachable, float64(s.Underlay.Unreachable))
	counter(c.ways, s.Underlay.Events)
	counter(c.lookups, s.Underlay.Lookups)
	counter(c.lostWays, s.Underlay.Lost)
	c.snoop(gauge, counter, s)
	c.suppression(gauge, counter, s)
}

func (c *collector) snoop(gauge gaugeFunc, counter counterFunc, s kernel.Stats) {
	for kind, n := range s.Heard {
		counter(c.heard, n, kind)
	}
	for reason, n := range s.Bindings.Refused {
		counter(c.refused, n, string(reason))
	}
	gauge(c.localIPs, float64(s.Bindings.Bindings))
	counter(c.probes, s.Bindings.Probes)
	counter(c.answers, s.Bindings.Answers)
	gauge(c.held, float64(s.Bindings.Held))
	counter(c.heldBack, s.Bindings.HeldBack)
	counter(c.kept, s.Bindings.Kept)
	counter(c.silent, s.Bindings.Silent)
	gauge(c.snooped, float64(s.Wire.Links))
	counter(c.missed, s.Wire.Dropped)
	counter(c.muted, s.Wire.Muted)
}

func (c *collector) suppression(gauge gaugeFunc, counter counterFunc, s kernel.Stats) {
	s.Suppression.Each(func(k snoop.Kind, d snoop.Deed, n uint64) { counter(c.swallowed, n, k.String(), d.String()) })
	for _, v := range c.d.kernel.Status() {
		if v.SuppressionState != kernel.SuppressionOff {
			gauge(c.suppressing, truth(v.SuppressionState == kernel.SuppressionReady), v.VNI.String())
		}
	}
}

// speaker gives the neighbours' names for the core to be asked about.
func (c *collector) speaker(gauge gaugeFunc, counter counterFunc) (names []neighborName) {
	states := map[string]int{}
	for _, n := range c.d.speaker.Neighbors() {
		name := n.Address.String()
		names = append(names, neighborName{addr: n.Address, text: name})
		states[n.State]++
		gauge(c.neighborUp, truth(n.State == established), name)
		gauge(c.received, float64(n.RoutesReceived), name)
		gauge(c.shed, float64(n.RoutesShed), name)
		gauge(c.advertised, float64(n.RoutesAdvertised), name)
		counter(c.messages, n.MessagesIn, name, "in")
		counter(c.messages, n.MessagesOut, name, "out")
		counter(c.updates, n.UpdatesIn, name, "in")
		counter(c.updates, n.UpdatesOut, name, "out")
		counter(c.flaps, n.Flaps, name)
		if b := n.BFD; b != nil {
			gauge(c.bfdUp, truth(b.State == bfd.Up), name)
			gauge(c.bfdDetection, b.DetectionTime.Seconds(), name)
			counter(c.bfdFlaps, b.Downs, name)
			counter(c.bfdPackets, b.PacketsReceived, name, "in")
			counter(c.bfdPackets, b.PacketsSent, name, "out")
		}
		for reason, drops := range n.Drops {
			counter(c.drops, drops, name, reason)
		}
	}
	for _, s := range neighborStates {
		gauge(c.neighbors, float64(states[s]), s)
	}
	stats := c.d.speaker.Stats()
	gauge(c.ownRoutes, float64(stats.OwnRoutes))
	counter(c.strangers, stats.UnknownConnections)
	if b := stats.BFD; b.Priority != "" {
		gauge(c.bfdInfo, 1, b.Priority)
		gauge(c.bfdLatest, b.Latest.Seconds())
		for reason, drops := range b.Drops {
			counter(c.bfdDrops, drops, reason)
		}
	}
	return names
}

func (c *collector) core(gauge gaugeFunc, names []neighborName) {
	var (
		synced   bool
		vteps    int
		vnis     []evpn.VNIInfo
		counts   map[evpn.RouteCount]int
		accepted = make([]int, len(names))
	)
	ctx, cancel := context.WithTimeout(context.Background(), collectTime)
	defer cancel()
	if c.d.loop.do(ctx, func(core *evpn.Core) {
		synced, vteps, vnis, counts = core.Synced() && !c.d.gaveUp.Load(), core.VTEPCount(), core.VNIs(), core.RouteCounts()
		for i, n := range names {
			accepted[i] = core.AcceptedRoutes(n.addr)
		}
	}) != nil {
		return // the loop is gone or stuck: vtepbgp_ready and /healthz say so
	}
	gauge(c.synced, truth(synced))
	gauge(c.vteps, float64(vteps))
	for i, n := range names {
		gauge(c.accepted, float64(accepted[i]), n.text)
	}
	up := 0
	for _, v := range vnis {
		if v.Up {
			up++
		}
		gauge(c.macs, float64(v.LocalMACs), v.VNI.String(), string(evpn.OriginLocal))
		gauge(c.macs, float64(v.RemoteMACs), v.VNI.String(), string(evpn.OriginRemote))
	}
	gauge(c.vnis, float64(up), "up")
	gauge(c.vnis, float64(len(vnis)-up), "down")
	types := map[evpn.RouteType]int{evpn.MACIPRoute: 0, evpn.IMETRoute: 0}
	for k, n := range counts {
		types[k.Type] += n
		if k.Reason != "" {
			gauge(c.ignored, float64(n), k.Type.String(), string(k.Reason))
		}
	}
	for t, n := range types {
		gauge(c.routes, float64(n), t.String())
	}
}

type neighborName struct {
	addr netip.Addr
	text string
}
