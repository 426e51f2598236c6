package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/api"
	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/explain"
	"github.com/vtepbgp/vtepbgp/evpn"
)

// fakeDaemon answers from memory and notes what it was told to do.
type fakeDaemon struct {
	status    api.Status
	neighbors []api.Neighbor
	vnis      []api.VNI
	vteps     []api.VTEP
	flood     []api.Flood
	macs      []api.MAC
	routes    []api.Route
	explained []api.Explanation
	drift     []api.Drift
	events    []api.Event
	recording []byte
	goesOn    bool // monitors and recordings end when the reader leaves, not by themselves
	reload    api.ReloadResult
	refuse    error
	told      []string
}

func (f *fakeDaemon) Status(context.Context) (api.Status, error) { return f.status, nil }

func (f *fakeDaemon) Neighbors(context.Context) ([]api.Neighbor, error) { return f.neighbors, nil }

func (f *fakeDaemon) VNIs(_ context.Context, q api.VNIFilter) ([]api.VNI, error) {
	if q.VNI == 0 {
		return f.vnis, nil
	}
	i := slices.IndexFunc(f.vnis, func(v api.VNI) bool { return v.VNI == q.VNI })
	if i < 0 {
		return nil, fmt.Errorf("VNI %s is not configured: %w", q.VNI, api.ErrNotFound)
	}
	return f.vnis[i : i+1], nil
}

func (f *fakeDaemon) VTEPs(_ context.Context, q api.VNIFilter) ([]api.VTEP, error) {
	return slices.DeleteFunc(slices.Clone(f.vteps), func(v api.VTEP) bool {
		return q.VNI != 0 && !slices.Contains(v.VNIs, q.VNI)
	}), nil
}

func (f *fakeDaemon) Flood(_ context.Context, q api.VNIFilter, yield func(api.Flood) error) error {
	for _, l := range f.flood {
		if q.VNI != 0 && l.VNI != q.VNI {
			continue
		}
		if err := yield(l); err != nil {
			return err
		}
	}
	return nil
}

func (f *fakeDaemon) MACs(_ context.Context, q api.MACFilter, yield func(api.MAC) error) error {
	for _, m := range f.macs {
		if !q.Matches(evpn.MACInfo{VNI: m.VNI, MAC: m.MAC, Origin: m.Origin, VTEP: m.VTEP, Duplicate: m.Duplicate, DuplicateIPs: m.DuplicateIPs}) {
			continue
		}
		if err := yield(m); err != nil {
			return err
		}
	}
	return f.refuse
}

func (f *fakeDaemon) Routes(_ context.Context, q api.RouteFilter, yield func(api.Route) error) error {
	for _, r := range f.routes {
		if q.Local && !r.Local || q.Ignored && r.Reason == "" || q.Type != 0 && uint8(q.Type) != r.Type {
			continue
		}
		if err := yield(r); err != nil {
			return err
		}
	}
	return nil
}

// Explain knows what it was given, and says of anything else that nobody knows it.
func (f *fakeDaemon) Explain(_ context.Context, q api.ExplainFilter) ([]api.Explanation, error) {
	var out []api.Explanation
	for _, x := range f.explained {
		if (q.VNI == 0 || x.VNI == q.VNI) && (q.IP.IsValid() && x.IP == q.IP || !q.MAC.IsZero() && x.MAC == q.MAC.String() && !x.IP.IsValid()) {
			out = append(out, x)
		}
	}
	if out == nil {
		out = append(out, explain.Missing(explain.Absent{
			MAC: q.MAC, IP: q.IP, VNI: q.VNI, Neighbors: []explain.Neighbor{{Address: ip("10.0.0.254"), Established: true}},
		}))
	}
	return out, f.refuse
}

func (f *fakeDaemon) Drift(_ context.Context, q api.VNIFilter, yield func(api.Drift) error) error {
	for _, d := range f.drift {
		if q.VNI != 0 && d.VNI != q.VNI {
			continue
		}
		if err := yield(d); err != nil {
			return err
		}
	}
	return f.refuse
}

// RepairDrift repairs all but what has an error.
func (f *fakeDaemon) RepairDrift(ctx context.Context, q api.VNIFilter, yield func(api.Drift) error) error {
	f.told = append(f.told, fmt.Sprintf("repair vni=%d", q.VNI))
	return f.Drift(ctx, q, func(d api.Drift) error {
		d.Repaired = d.Drift && d.Error == ""
		d.Drift = d.Drift && !d.Repaired
		return yield(d)
	})
}

// Monitor tells the events there are; then the daemon stops.
func (f *fakeDaemon) Monitor(ctx context.Context, q api.EventFilter, yield func([]api.Event) error) error {
	stream := func(kind api.EventKind) api.Event {
		level, words := kind.Describe()
		return api.Event{Time: eventTime, Kind: kind, Level: level, Words: words}
	}
	for _, e := range append(append([]api.Event{stream(api.EventMonitorBegins)}, f.events...), stream(api.EventMonitorEnds)) {
		if !q.Matches(e) {
			continue
		}
		if f.goesOn && e.Kind == api.EventMonitorEnds {
			<-ctx.Done()
			return nil
		}
		if err := yield([]api.Event{e}); err != nil {
			return err
		}
	}
	return nil
}

// Record writes the recording there is.
func (f *fakeDaemon) Record(ctx context.Context, to api.Recording) error {
	if _, err := to.Out.Write(f.recording); err != nil {
		return err
	}
	if len(f.recording) > 0 {
		if err := to.Flush(); err != nil {
			return err
		}
	}
	if f.goesOn {
		<-ctx.Done()
	}
	return f.refuse
}

// eventTime is in local time, as the command shows it.
var eventTime = time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.Local)

func (f *fakeDaemon) Reload(context.Context) (api.ReloadResult, error) {
	f.told = append(f.told, "reload")
	return f.reload, f.refuse
}

func (f *fakeDaemon) ResetNeighbor(_ context.Context, a netip.Addr, soft bool) error {
	if !slices.ContainsFunc(f.neighbors, func(n api.Neighbor) bool { return n.Address == a }) {
		return fmt.Errorf("neighbour %s: %w", a, api.ErrNotFound)
	}
	f.told = append(f.told, fmt.Sprintf("reset %s soft=%t", a, soft))
	return nil
}

func (f *fakeDaemon) AddVTEP(_ context.Context, vni evpn.VNI, a netip.Addr) error {
	f.told = append(f.told, fmt.Sprintf("add %s %s", vni, a))
	return f.refuse
}

func (f *fakeDaemon) DeleteVTEP(_ context.Context, vni evpn.VNI, a netip.Addr) error {
	f.told = append(f.told, fmt.Sprintf("delete %s %s", vni, a))
	return f.refuse
}

func (f *fakeDaemon) ClearDuplicate(_ context.Context, vni evpn.VNI, mac evpn.MAC) error {
	f.told = append(f.told, fmt.Sprintf("clear %s %s", vni, mac))
	return nil
}

func notNil[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

func mac(s string) evpn.MAC {
	m, err := evpn.ParseMAC(s)
	if err != nil {
		panic(err)
	}
	return m
}

func targets(t ...string) []evpn.RouteTarget {
	list := make([]evpn.RouteTarget, len(t))
	for i, s := range t {
		var err error
		if list[i], err = evpn.ParseRouteTarget(s); err != nil {
			panic(err)
		}
	}
	return list
}

// emptyDaemon has just started with nothing configured but itself.
func emptyDaemon() *fakeDaemon {
	return &fakeDaemon{
		status: api.Status{
			Version: "v1.0.0", PID: 7, ConfigFile: "-", NotReady: "starting", ASN: 65000, RouterID: ip("10.0.0.1"),
			Problems: []string{},
		},
		neighbors: []api.Neighbor{}, vnis: []api.VNI{}, vteps: []api.VTEP{}, flood: []api.Flood{},
		macs: []api.MAC{}, routes: []api.Route{}, drift: []api.Drift{}, reload: api.ReloadResult{Changed: []string{}},
	}
}

// ipv4Daemon is an ordinary one with a bit of everything.
func ipv4Daemon() *fakeDaemon {
	f := emptyDaemon()
	f.status = api.Status{
		Version: "v1.0.0", PID: 4242, ConfigFile: "/etc/vtepbgp/vtepbgp.toml", UptimeSeconds: 93784, Ready: true, Synced: true,
		Started: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), PruneAllowed: true,
		ASN: 65000, RouterID: ip("10.0.0.1"), VTEPAddress: ip("10.0.0.1"),
		Neighbors: api.NeighborSummary{Total: 2, Established: 1}, VNIs: api.VNISummary{Total: 2, Up: 1},
		LocalMACs: 1, RemoteMACs: 2, VTEPs: 2, VTEPsUnreachable: 1, Routes: api.RouteSummary{Received: 5, Accepted: 3, Shed: 1, Own: 2},
		Kernel:   api.KernelSummary{Writes: 9, Failures: 1},
		Reload:   api.ReloadSummary{Count: 1, Last: time.Date(2026, 1, 2, 4, 0, 0, 0, time.UTC)},
		Problems: []string{"VNI 200: interface br200 does not exist and manage = false"},
	}
	f.neighbors = []api.Neighbor{{
		Address: ip("10.0.0.253"), ASN: 65000, State: "active", Description: "rr2", Capabilities: []string{},
		Drops: map[string]uint64{}, LastError: "dial tcp 10.0.0.253:179: connect: connection refused",
		StaleSeconds: 43, LongLivedStaleSeconds: 3643,
		BFD: api.BFD{
			State: "down", RemoteState: "down", Mode: "multihop", IntervalMilliseconds: 1000, Multiplier: 3, Diagnostic: "control detection time expired",
			RemoteDiagnostic: "none", Discriminator: 17, Flaps: 1, LastDown: time.Date(2026, 1, 2, 5, 0, 0, 0, time.UTC), PacketsIn: 9000, PacketsOut: 9003,
			LastDownReason: "control detection time expired: nothing heard for 901ms",
		},
	}, {
		Address: ip("10.0.0.254"), ASN: 65000, RouterID: ip("10.0.0.254"), State: "established", UptimeSeconds: 306,
		Description: "rr1", HoldTimeSeconds: 90, KeepaliveSeconds: 30, GracefulRestart: true,
		LongLived: api.LongLived{Announced: true, AnnouncedSeconds: 7200, Forwarding: true, AgreedSeconds: 3600}, LocalAddress: ip("10.0.0.1"),
		Capabilities: []string{"4-octet-as", "graceful-restart", "l2vpn-evpn", "route-refresh"}, Flaps: 1,
		RoutesReceived: 5, RoutesAccepted: 3, RoutesShed: 1, RoutesAdvertised: 2, MessagesIn: 40, MessagesOut: 38,
		Drops: map[string]uint64{"label 0": 2, "unknown route type": 1}, LastError: "hold timer expired",
		BFD: api.BFD{
			State: "up", RemoteState: "up", Mode: "single-hop", LocalAddress: ip("10.0.0.1"), IntervalMilliseconds: 100, DetectionMilliseconds: 300,
			Multiplier: 3, RemoteMultiplier: 3, Diagnostic: "none", RemoteDiagnostic: "none", Discriminator: 18, RemoteDiscriminator: 3000000000,
			UpSince: time.Date(2026, 1, 2, 4, 30, 0, 0, time.UTC), PacketsIn: 3500, PacketsOut: 3511,
		},
	}}
	f.vnis = []api.VNI{{
		VNI: 100, Device: "vxlan100", Bridge: "br100", VTEPAddress: ip("10.0.0.1"), MTUBytes: 1450, RD: "10.0.0.1:1",
		ImportRT: []evpn.ImportTarget{{AnyAdmin: true, Number: 100}}, ExportRT: targets("65000:100"), Flooding: evpn.FloodIngress,
		Suppression: true, SuppressionState: "ready", SuppressionMissing: []string{}, MaxMACs: 1000, LocalMACs: 1, RemoteMACs: 2, VTEPs: 1, State: "up", Problems: []string{},
	}, {
		VNI: 200, Device: "vxlan200", Bridge: "br200", VTEPAddress: ip("10.0.0.1"), RD: "10.0.0.1:2",
		ImportRT: []evpn.ImportTarget{{AnyAdmin: true, Number: 200}}, ExportRT: targets("65000:200"), Flooding: evpn.FloodOff,
		Suppression: true, SuppressionState: "not ready", SuppressionMissing: []string{"the VNI is down: interface br200 does not exist and manage = false"},
		State: "down", Problems: []string{"interface br200 does not exist and manage = false"},
	}}
	f.vteps = []api.VTEP{
		{Address: ip("10.0.0.2"), VNIs: []evpn.VNI{100, 101, 102, 200}, MACs: 2, Sources: []evpn.FloodSource{"bgp", "static"}, Reachable: true, SinceSeconds: 3600, Interface: "eth0", Gateway: ip("10.1.0.1"), MTUBytes: 1500},
		{Address: ip("10.0.0.3"), VNIs: []evpn.VNI{}, Sources: []evpn.FloodSource{}, Reason: "no route", SinceSeconds: 12},
	}
	f.flood = []api.Flood{
		{VNI: 100, Mode: evpn.FloodIngress, Engine: "kernel", VTEPs: []api.FloodVTEP{
			{Address: ip("10.0.0.2"), Source: "bgp", Role: "vtep", Kernel: true, Installed: true},
			{Address: ip("10.0.0.9"), Source: "static", Role: "vtep", Kernel: true}}},
		{VNI: 200, Mode: evpn.FloodOff},
		{
			VNI: 300, Mode: evpn.FloodMulticast, Engine: "ebpf", EngineReason: "the first choice, and the kernel can", Interface: "eth1", Interfaces: []string{"eth1", "eth0"},
			Group: ip("239.1.1.44"), Segment: []netip.Prefix{netip.MustParsePrefix("10.0.1.0/24")}, Elected: ip("10.0.1.1"),
			Tasks:    []api.FloodTask{api.FloodOwn, api.FloodSegment},
			Counters: map[string]uint64{"in": 1204, "copied": 1100, "copies": 2200, "repairs": 3, "dropped_copied_by_sender": 97, "dropped_limited": 7},
			Engines: []api.FloodEngine{{Interface: "eth1", Engine: "ebpf", Details: []string{"tcx: the program sees packets before clsact and the kernel's stack", "bpf_loop: lists of any length"}, Repairs: 2, Failures: 14, Dropped: map[string]uint64{"truncated": 1, "fragment": 4}},
				{Interface: "eth0", Engine: "ebpf", Details: []string{"clsact: the program sees packets before the kernel's stack (filters of others come first there)", "bpf_loop: lists of any length"}, Dropped: map[string]uint64{}}},
			VTEPs: []api.FloodVTEP{
				{Address: ip("10.0.0.2"), Source: "bgp", Role: "vtep", Copied: true}, {Address: ip("10.0.0.9"), Source: "static", Role: "vtep", Copied: true},
				{Address: ip("10.0.1.77"), Source: "proxy", Role: "segment"}, {Address: ip("10.0.1.2"), Source: "bgp", Role: "segment"}},
		},
		{
			VNI: 400, Mode: evpn.FloodReplicator, ServiceAddress: ip("10.255.0.1"), Interface: "eth2", Interfaces: []string{"eth2"}, Problems: []string{"flooding on eth2: no ebpf: permission denied"},
			Tasks: []api.FloodTask{api.FloodReplicate}, Counters: map[string]uint64{"in": 0, "copied": 0, "copies": 0, "repairs": 0},
			Engines: []api.FloodEngine{{Interface: "eth2", Details: []string{}, Dropped: map[string]uint64{}}},
			VTEPs: []api.FloodVTEP{
				{Address: ip("10.0.0.2"), Source: "bgp", Role: "vtep", Kernel: true, Installed: true, Copied: true},
				{Address: ip("10.0.2.1"), Source: "data", Role: "vtep", Kernel: true, Installed: true, Copied: true}},
		},
		{VNI: 500, Mode: evpn.FloodAssisted, Engine: "kernel", VTEPs: []api.FloodVTEP{
			{Address: ip("10.0.0.2"), Source: "bgp", Role: "standby"}, {Address: ip("10.255.0.1"), Source: "bgp", Role: "replicator", Kernel: true, Installed: true}}},
	}
	for i := range f.flood {
		l := &f.flood[i]
		l.Tasks, l.Problems, l.Segment, l.VTEPs, l.Interfaces = notNil(l.Tasks), notNil(l.Problems), notNil(l.Segment), notNil(l.VTEPs), notNil(l.Interfaces)
		l.Engines = notNil(l.Engines)
		if l.Counters == nil {
			l.Counters = map[string]uint64{}
		}
	}
	f.macs = []api.MAC{
		{VNI: 100, MAC: mac("02:00:00:00:00:01"), IPs: []netip.Addr{ip("192.0.2.1")}, Origin: evpn.OriginLocal, Port: "veth1", Installed: true},
		{VNI: 100, MAC: mac("02:00:00:00:00:02"), IPs: []netip.Addr{ip("192.0.2.2"), ip("2001:db8::2")}, Origin: evpn.OriginRemote, VTEP: ip("10.0.0.2"), Sequence: 3, Installed: true},
		{VNI: 100, MAC: mac("02:00:00:00:00:03"), IPs: []netip.Addr{}, Origin: evpn.OriginRemote, VTEP: ip("10.0.0.2"), Sticky: true, Duplicate: true, Moves: 5},
		{VNI: 100, MAC: mac("02:00:00:00:00:04"), IPs: []netip.Addr{}, Origin: evpn.OriginRemote, VTEP: ip("10.0.0.2"), Stale: true, Installed: true},
		{VNI: 100, MAC: mac("02:00:00:00:00:05"), IPs: []netip.Addr{}, Origin: evpn.OriginRemote, VTEP: ip("10.0.0.2"), Stale: true, LongLivedStale: true, Installed: true},
		{VNI: 100, MAC: mac("02:00:00:00:00:06"), IPs: []netip.Addr{ip("192.0.2.6")}, DuplicateIPs: []netip.Addr{ip("192.0.2.6")}, Origin: evpn.OriginRemote, VTEP: ip("10.0.0.3"), Unreachable: true},
		{VNI: 100, MAC: mac("02:00:00:00:00:07"), IPs: []netip.Addr{}, Origin: evpn.OriginProxy, VTEP: ip("10.0.1.77"), Sequence: 1, Installed: true},
		{VNI: 100, MAC: mac("02:00:5e:00:01:01"), IPs: []netip.Addr{ip("192.0.2.254")}, Origin: evpn.OriginLocal, Port: "br100", Gateway: true, Installed: true},
	}
	for i := range f.macs {
		if f.macs[i].DuplicateIPs == nil {
			f.macs[i].DuplicateIPs = []netip.Addr{}
		}
	}
	f.routes = []api.Route{{
		Type: 2, TypeName: "mac-ip", RD: "10.0.0.1:1", ESI: evpn.ESI{}.String(), VNI: 100, MAC: "02:00:00:00:00:01", NextHop: ip("10.0.0.1"),
		RouteTargets: targets("65000:100"), Encapsulation: []uint16{8}, Local: true, Best: true, Imported: true, ImportedBy: []evpn.VNI{100},
	}, {
		Type: 2, TypeName: "mac-ip", RD: "10.0.0.2:1", ESI: evpn.ESI{}.String(), VNI: 100, MAC: "02:00:00:00:00:02", IP: ip("192.0.2.2"),
		NextHop: ip("10.0.0.2"), RouteTargets: targets("65000:100"), Encapsulation: []uint16{8}, Sequence: 3, Neighbor: ip("10.0.0.254"),
		Best: true, Stale: true, LongLivedStale: true, Imported: true, ImportedBy: []evpn.VNI{100},
	}, {
		Type: 2, TypeName: "mac-ip", RD: "10.0.0.3:1", ESI: evpn.ESI{}.String(), VNI: 300, MAC: "02:00:00:00:00:07",
		NextHop: ip("10.0.0.3"), RouteTargets: targets("65000:300"), Encapsulation: []uint16{8}, Neighbor: ip("10.0.0.254"),
		ImportedBy: []evpn.VNI{}, Reason: evpn.NoImportMatch,
	}, {
		Type: 3, TypeName: "imet", RD: "10.0.0.2:1", ESI: evpn.ESI{}.String(), VNI: 100, IP: ip("10.0.0.2"), NextHop: ip("10.0.0.2"),
		RouteTargets: targets("65000:100"), Encapsulation: []uint16{8}, Neighbor: ip("10.0.0.254"), Best: true, Imported: true, ImportedBy: []evpn.VNI{100},
	}, {
		Type: 5, TypeName: "ip-prefix", RD: "10.0.0.2:9", ESI: evpn.ESI{}.String(), Prefix: "198.51.100.0/24", NextHop: ip("10.0.0.2"),
		RouteTargets: targets("65000:900"), Encapsulation: []uint16{8}, Neighbor: ip("10.0.0.254"), ImportedBy: []evpn.VNI{}, Reason: evpn.TypeNotUsed,
	}}
	self, bridge := "dst 10.0.0.2 extern_learn", "dev vxlan100 extern_learn"
	f.explained = []api.Explanation{{
		VNI: 100, MAC: "02:00:00:00:00:02", Origin: evpn.OriginRemote, VTEP: ip("10.0.0.2"), Status: api.StatusOK,
		Verdict: "02:00:00:00:00:02 is behind VTEP 10.0.0.2, and packets to it can go there", Advice: []string{},
		Steps: []api.Step{
			{Step: "vni", Status: api.StatusOK, Text: "VNI 100 is up: device vxlan100 in bridge br100", Details: []string{}},
			{Step: "seen", Status: api.StatusInfo, Text: "not seen on a port of this host", Details: []string{}},
			{Step: "routes", Status: api.StatusInfo, Text: "2 routes from 1 neighbour, 1 in use", Details: []string{
				"10.0.0.254: at 10.0.0.2 rd 10.0.0.2:1 sequence 3, in use",
				"10.0.0.254: at 10.0.0.3 rd 10.0.0.3:1 sequence 2, lost: sequence 2 is lower than 3",
			}},
			{Step: "kernel", Status: api.StatusOK, Text: "the kernel holds what it should", Details: []string{"device vxlan100: " + self, "bridge br100: " + bridge}},
		},
		Routes: []api.RouteVerdict{{Route: f.routes[0], Verdict: "in use"}},
		Rows: []api.Drift{
			{VNI: 100, Table: "vxlan", Link: "vxlan100", MAC: "02:00:00:00:00:02", State: "equal", Expected: self, Found: self},
			{VNI: 100, Table: "bridge", Link: "br100", MAC: "02:00:00:00:00:02", State: "equal", Expected: bridge, Found: bridge},
		},
		Way: &api.UnderlayOfVTEP{Reachable: true, Device: "eth1", MTUBytes: 1500},
	}, {
		VNI: 200, MAC: "02:00:00:00:00:02", Status: api.StatusProblem, Verdict: "VNI 200 is down: bridge br200 does not exist",
		Advice: []string{"bring VNI 200 up: create what is missing, or set manage = true"},
		Steps: []api.Step{
			{Step: "vni", Status: api.StatusProblem, Text: "VNI 200 is down: bridge br200 does not exist", Details: []string{}},
			{Step: "stale", Status: api.StatusWarning, Text: "neighbour 10.0.0.254 restarts: its route is kept until it is back or its time is over", Details: []string{}},
		},
		Routes: []api.RouteVerdict{}, Rows: []api.Drift{},
	}, {
		VNI: 100, MAC: "02:00:00:00:00:01", IP: ip("192.0.2.1"), Origin: evpn.OriginLocal, Port: "eth2", Status: api.StatusWarning,
		Verdict: "192.0.2.1 is on port eth2 of this host and announced", Advice: []string{},
		Steps:  []api.Step{{Step: "vni", Status: api.StatusWarning, Text: "VNI 100 is up with problems: device vxlan100 in bridge br100", Details: []string{"port \x1b[31m of a name"}}},
		Routes: []api.RouteVerdict{}, Rows: []api.Drift{},
	}}
	f.drift = []api.Drift{
		{VNI: 100, Table: "link", Link: "vxlan100", Setting: "mtu", State: "wrong", Expected: "1450", Found: "1400", Drift: true},
		{VNI: 100, Table: "flood", Link: "vxlan100", IP: ip("10.0.0.2"), State: "missing", Expected: "dst 10.0.0.2 self permanent", Drift: true, Error: "no buffer space available"},
		{VNI: 100, Table: "vxlan", Link: "vxlan100", MAC: "02:00:00:00:00:02", State: "wrong", Expected: "dst 10.0.0.2 extern_learn", Found: "dst 10.0.0.3 extern_learn", Drift: true},
		{VNI: 100, Table: "vxlan", Link: "vxlan100", MAC: "02:00:00:00:00:08", State: "missing", Expected: "dst 10.0.0.2 extern_learn", Pending: true},
		{VNI: 100, Table: "bridge", Link: "br100", MAC: "02:00:00:00:00:09", State: "extra", Found: "dev vxlan100 extern_learn", Drift: true},
		{VNI: 100, Table: "bridge", Link: "br100", MAC: "02:00:00:00:00:0a", State: "unconfirmed", Found: "dev vxlan100 extern_learn"},
		{VNI: 200, Table: "neighbor", Link: "br200", IP: ip("192.0.2.66"), State: "foreign", Found: "lladdr 02:00:00:00:00:0a extern_learn NOARP proto 11"},
	}
	event := func(kind api.EventKind, detail string, e api.Event) {
		level, words := kind.Describe()
		e.Time, e.Kind, e.Level, e.Words, e.Detail = eventTime, kind, level, words, detail
		f.events = append(f.events, e)
	}
	event(api.EventNeighborUp, "AS 65000", api.Event{Neighbor: ip("10.0.0.254")})
	event(api.EventMACLearned, "local on veth1", api.Event{VNI: 100, MAC: "02:00:00:00:00:01", Port: "veth1", Origin: evpn.OriginLocal})
	event(api.EventIPLearned, "local, seen by arp", api.Event{VNI: 100, MAC: "02:00:00:00:00:01", IP: ip("192.0.2.1"), Origin: evpn.OriginLocal})
	event(api.EventKind(evpn.NoteMACMoved), "from local to VTEP 10.0.0.2", api.Event{VNI: 100, MAC: "02:00:00:00:00:01", VTEP: ip("10.0.0.2")})
	event(api.EventKind(evpn.NoteDuplicate), "frozen as remote, VTEP 10.0.0.2", api.Event{VNI: 100, MAC: "02:00:00:00:00:01", VTEP: ip("10.0.0.2")})
	event(api.EventKind(evpn.NoteVTEPDown), "", api.Event{VTEP: ip("10.0.0.2")})
	event(api.EventRouteDropped, "12 for short nlri", api.Event{Neighbor: ip("10.0.0.254"), Reason: "short nlri", Count: 12})
	event(api.EventKernelRepair, "1", api.Event{Count: 1})
	event(api.EventNeighborDown, "hold timer expired, its routes stay for 2m0s", api.Event{Neighbor: ip("10.0.0.254"), Reason: "hold timer expired"})
	f.reload = api.ReloadResult{Changed: []string{"neighbour 10.0.0.253 added", "VNI 300 removed"}}
	return f
}

// wideDaemon has the longest of everything.
func wideDaemon() *fakeDaemon {
	f := ipv4Daemon()
	long := func(last string) netip.Addr { return ip("2001:db8:1111:2222:3333:4444:5555:" + last) }
	for i := range f.neighbors {
		n := &f.neighbors[i]
		n.Address, n.ASN, n.LocalAddress = long(fmt.Sprintf("666%d", i)), 4200000000, long("1111")
		n.RoutesReceived, n.RoutesAccepted, n.RoutesAdvertised = 1000000, 999999, 123456
		n.Description = "a description that somebody wrote in a hurry and that goes on \x1b[31mand on, far beyond one line of text"
		n.LastError = "dial tcp [" + n.Address.String() + "]:179: connect: no route to host, and more words about why"
	}
	for i := range f.vnis {
		f.vnis[i].VNI += 16777000
		f.vnis[i].Device, f.vnis[i].Bridge = "vxlan-16777200x", "tenant-bridge-1"
		f.vnis[i].RD, f.vnis[i].VTEPAddress = "255.255.255.255:65535", long("1111")
	}
	f.vnis[1].Problems = append(f.vnis[1].Problems, strings.Repeat("x", 120)+" is a word that nobody can break")
	for i := range f.macs {
		f.macs[i].VNI, f.macs[i].Sequence = 16777100, 4294967295
		f.macs[i].IPs = []netip.Addr{ip("192.0.2.1"), long("7777"), long("8888"), long("9999")}
		if f.macs[i].VTEP.IsValid() {
			f.macs[i].VTEP = long("2222")
		}
	}
	for i := range f.routes {
		r := &f.routes[i]
		r.RD, r.NextHop, r.Sticky, r.Sequence, r.DefaultGateway = "255.255.255.255:65535", long("2222"), true, 77, i == 0
		if r.Neighbor.IsValid() {
			r.Neighbor = long("6661")
		}
		if r.Prefix == "" {
			r.IP, r.VNI = long("7777"), 16777100
		}
	}
	f.vteps = []api.VTEP{{
		Sources: []evpn.FloodSource{"bgp", "data", "proxy", "static"},
		Address: long("2222"), MACs: 1000000, Interface: "underlay-uplink", Gateway: long("5555"), MTUBytes: 65535,
		Reason: "the route leads into the overlay by br16777200, which would carry its own packets",
	}}
	for v := evpn.VNI(1000); v < 1100; v += 2 {
		f.vteps[0].VNIs = append(f.vteps[0].VNIs, v)
	}
	for i := range f.flood {
		f.flood[i].VNI += 16776000
		if f.flood[i].Mode == evpn.FloodMulticast {
			f.flood[i].Group, f.flood[i].Elected, f.flood[i].Tasks = ip("ff05:1234:5678:9abc:def0:1234:5678:9abc"), long("1111"), []api.FloodTask{}
			f.flood[i].Counters = map[string]uint64{"in": 1 << 63, "copied": 123456789, "copies": 1<<64 - 1, "dropped_unknown_vni": 7, "dropped_limited": 1 << 60,
				"dropped_bad_udp_checksum": 1 << 40, "dropped_not_listening": 1}
		}
		for j := range f.flood[i].VTEPs {
			f.flood[i].VTEPs[j].Address = long(fmt.Sprintf("222%d", j))
		}
	}
	for i := range f.explained {
		for j := range f.explained[i].Steps {
			for k, d := range f.explained[i].Steps[j].Details {
				f.explained[i].Steps[j].Details[k] = strings.ReplaceAll(d, "10.0.0.", "2001:db8:1111:2222:3333:4444:5555:777")
			}
		}
	}
	for i := range f.drift {
		d := &f.drift[i]
		d.VNI, d.Link = 16777100, "vxlan-16777200x"
		d.Expected, d.Found = strings.ReplaceAll(d.Expected, "10.0.0.2", long("2222").String()), strings.ReplaceAll(d.Found, "10.0.0.3", long("3333").String())
		if d.IP.IsValid() {
			d.IP = long("7777")
		}
	}
	for i := range f.events {
		e := &f.events[i]
		if e.IP.IsValid() {
			e.IP = long("7777")
		}
		if e.Neighbor.IsValid() {
			e.Neighbor, e.Detail = long("6661"), e.Detail+" \x1b[31mand more words than anybody wants to read in one line of a terminal"
		}
	}
	f.status.RouterID, f.status.VTEPAddress = ip("10.0.0.1"), long("1111")
	f.status.Problems = []string{strings.Repeat("many words ", 20)}
	return f
}
