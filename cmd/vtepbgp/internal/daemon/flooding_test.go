package daemon

import (
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/api"
	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/flooding"
	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/flooding/floodingtest"
	"github.com/vtepbgp/vtepbgp/config"
	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/flood"
)

// relayConfig has VNI 300 with a segment, and VNI 400 as a replicator.
func relayConfig(c *config.Config) {
	c.Flood.ServiceAddress = netip.MustParseAddr("10.255.0.1")
	segment, service := testVNI(300), testVNI(400)
	segment.Flooding, service.Flooding = evpn.FloodMulticast, evpn.FloodReplicator
	segment.Multicast = &config.Multicast{
		Group: netip.MustParseAddr("239.1.1.44"), Interface: "eth1", Segment: []netip.Prefix{netip.MustParsePrefix("10.0.1.0/24")},
		ProxyVTEPs: true, ProxyMACs: true, Delivery: evpn.DeliverUnicast,
	}
	c.VNIs = append(c.VNIs, segment, service)
}

// listRoute is a type-3 of a VTEP.
func listRoute(vtep string, vni evpn.VNI) evpn.Route {
	at := netip.MustParseAddr(vtep)
	rt, _ := evpn.AutoRouteTarget(65000, vni)
	return evpn.Route{
		Key: evpn.RouteKey{Type: evpn.IMETRoute, RD: evpn.RDFromRouterID(at, uint16(vni)), IP: at},
		Attrs: &evpn.Attrs{
			NextHop: at, RouteTargets: []evpn.RouteTarget{rt}, Encaps: []uint16{evpn.EncapVXLAN}, LocalPref: 100,
			PMSI: &evpn.PMSITunnel{Type: evpn.PMSIIngressReplication, Label: uint32(vni), Endpoint: at},
		},
	}
}

// TestFloodingIsShown: list, engine, election and counts are shown, told and measured alike.
func TestFloodingIsShown(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.change(relayConfig)
	w.start(Options{})
	all := w.listen(t.Context(), api.EventFilter{VNI: 300, Kinds: []string{"flood_*", "proxy_*"}})
	lists := w.listen(t.Context(), api.EventFilter{VNI: 400, Kinds: []string{"flood_joined", "flood_left"}})
	w.hears(all, "monitor_begins")
	w.hears(lists, "monitor_begins")
	for _, vni := range []evpn.VNI{300, 400} {
		w.kernel.events <- evpn.VNIState{VNI: vni, Up: true}
	}
	peer := netip.MustParseAddr("10.0.0.254")
	w.speaker.events <- evpn.NeighborUp{Neighbor: peer, ASN: 65000, IBGP: true, EndOfRIB: true}
	w.speaker.events <- evpn.RoutesReceived{Neighbor: peer, Announced: []evpn.Route{listRoute("10.0.0.2", 300), listRoute("10.0.0.2", 400)}}
	w.speaker.events <- evpn.EndOfRIB{Neighbor: peer}
	w.hears(all, "monitor_begins", "flood_joined 300 10.0.0.2 VTEP 10.0.0.2, source bgp, copied by the flooding module")
	w.hears(lists, "monitor_begins", "flood_joined 400 10.0.0.2 VTEP 10.0.0.2, copied by the kernel")
	w.eventually("a network with a list", func() bool {
		n, ok := w.floods.Network("eth1", 300)
		return ok && len(n.VTEPs) == 1
	})
	w.floods.Send(300, netip.MustParseAddr("10.0.1.77"), evpn.MAC{2, 5: 77})
	w.hears(all, "monitor_begins", "flood_joined 300 10.0.0.2 VTEP 10.0.0.2, source bgp, copied by the flooding module", "proxy_vtep 300 10.0.1.77 VTEP 10.0.1.77")

	var fl []api.Flood
	w.eventually("everything about VNI 300", func() (ok bool) {
		var err error
		fl, err = w.api.Flood(t.Context(), api.VNIFilter{VNI: 300})
		return err == nil && len(fl[0].VTEPs) == 2 && len(fl[0].Tasks) == 1
	})
	got := fl[0]
	assert.Equal(t, floodingtest.Remaining, got.Engine)
	assert.Equal(t, "the first choice, and the kernel can", got.EngineReason)
	assert.Equal(t, "eth1", got.Interface)
	assert.Equal(t, netip.MustParseAddr("239.1.1.44"), got.Group)
	assert.Equal(t, []netip.Prefix{netip.MustParsePrefix("10.0.1.0/24")}, got.Segment)
	assert.Equal(t, []api.FloodTask{api.FloodOwn}, got.Tasks, "nobody is elected in the first three seconds")
	assert.False(t, got.ServiceAddress.IsValid())
	assert.Equal(t, []api.FloodVTEP{
		{Address: netip.MustParseAddr("10.0.0.2"), Source: evpn.SourceBGP, Role: evpn.RoleVTEP, Copied: true},
		{Address: netip.MustParseAddr("10.0.1.77"), Source: evpn.SourceProxy, Role: evpn.RoleSegment},
	}, got.VTEPs)
	assert.Equal(t, []string{"copied", "copies", "dropped_nobody", "in", "repairs"}, slices.Sorted(maps.Keys(got.Counters)))
	assert.Positive(t, got.Counters[api.FloodIn])
	assert.Equal(t, []api.FloodEngine{{Interface: "eth1", Engine: floodingtest.Remaining, Details: []string{}, Dropped: map[string]uint64{}}}, got.Engines)

	fl, err := w.api.Flood(t.Context(), api.VNIFilter{VNI: 400})
	require.NoError(t, err)
	assert.Equal(t, netip.MustParseAddr("10.255.0.1"), fl[0].ServiceAddress)
	assert.Equal(t, []api.FloodTask{api.FloodReplicate}, fl[0].Tasks)
	assert.Equal(t, "eth0", fl[0].Interface, "where the VTEP address lives")
	assert.True(t, fl[0].VTEPs[0].Kernel && fl[0].VTEPs[0].Copied)

	w.speaker.events <- evpn.RoutesReceived{Neighbor: peer, Withdrawn: []evpn.RouteKey{listRoute("10.0.0.2", 400).Key}}
	w.hears(lists, "monitor_begins", "flood_joined 400 10.0.0.2 VTEP 10.0.0.2, copied by the kernel", "flood_left 400 10.0.0.2 VTEP 10.0.0.2, copied by the kernel")

	w.kernel.events <- evpn.VNIState{VNI: 300, Reason: "VTEP address 10.0.0.1 is not on this host"}
	w.eventually("why nothing is flooded", func() bool {
		fl, err = w.api.Flood(t.Context(), api.VNIFilter{VNI: 300})
		return err == nil && slices.Equal(fl[0].Problems, []string{"VTEP address 10.0.0.1 is not on this host"})
	})
	require.NoError(t, w.end())
}

// TestFloodCountsAreTold: engines that change, and what of counts is no daily business.
func TestFloodCountsAreTold(t *testing.T) {
	type drops = map[flood.Reason]uint64
	service, group := netip.MustParseAddr("10.255.0.1"), netip.MustParseAddr("239.1.1.44")
	status := func(name, problem string, repairs uint64, rest, dropped drops, addresses map[netip.Addr]uint64) floodCount {
		return countFloods(flooding.Status{
			Engines:  []flooding.EngineStatus{{Interface: "eth1", Name: name, Reason: "because", Problem: problem, Repairs: repairs, Rest: flood.Count{Dropped: rest}}},
			Networks: map[evpn.VNI]flooding.NetworkStatus{300: {Count: flood.Count{Dropped: dropped}}},
		}, addresses)
	}
	none := countFloods(flooding.Status{}, nil)
	one := status("ebpf", "", 0, drops{flood.Fragment: 1}, drops{flood.NotElected: 5, flood.Limited: 1}, map[netip.Addr]uint64{group: 1})
	two := status("ebpf", "no such device", 2, drops{flood.Fragment: 1, flood.Truncated: 2}, drops{flood.NotElected: 50, flood.Limited: 4, flood.EgressFull: 7},
		map[netip.Addr]uint64{group: 3, service: 1})
	three := status("socket", "", 2, two.engines["eth1"].Rest.Dropped, drops{flood.Limited: 4, flood.EgressFull: 7}, two.repairs)
	told := func(now, before floodCount) []string {
		l := listener{events: now.since(before, time.Now())}
		return l.lines()
	}
	assert.Equal(t, []string{
		"flood_engine ebpf on eth1, because", "flood_repair 1 of the membership of 239.1.1.44", "flood_dropped 1 for fragment on eth1", "flood_dropped 300 1 for limited",
	}, told(one, none))
	assert.Equal(t, []string{
		"flood_problem on eth1: no such device", "flood_repair 2 on eth1", "flood_repair 1 of the service address 10.255.0.1", "flood_repair 2 of the membership of 239.1.1.44",
		"flood_dropped 2 for truncated on eth1", "flood_dropped 300 3 for limited", "flood_dropped 300 7 for egress_full",
	}, told(two, one))
	assert.Equal(t, []string{"flood_engine socket on eth1, because"}, told(three, two))
	assert.Empty(t, told(three, three))
}

// TestFloodListsAreTold: what kernel and flooding module both copy is one event.
func TestFloodListsAreTold(t *testing.T) {
	at := netip.MustParseAddr
	row := func(a string, remove bool) evpn.RowChange {
		return evpn.RowChange{Row: evpn.Row{RowKey: evpn.RowKey{Kind: evpn.FloodRow, VNI: 400, IP: at(a)}}, Remove: remove}
	}
	entry := func(a string, use evpn.ListUse, source evpn.FloodSource, remove bool) evpn.ListChange {
		return evpn.ListChange{ListEntry: evpn.ListEntry{ListKey: evpn.ListKey{VNI: 400, VTEP: at(a)}, ListValue: evpn.ListValue{Use: use, Source: source}}, Remove: remove}
	}
	l := listener{events: appendChanges(nil, happening{
		rows: []evpn.RowChange{row("10.0.0.2", false), row("10.0.0.3", true), row("239.1.1.1", false)},
		lists: []evpn.ListChange{
			entry("10.0.0.2", evpn.UseCopy, evpn.SourceBGP, false), entry("10.0.0.3", 0, "", true), entry("10.0.0.4", evpn.UseItself, evpn.SourceBGP, false),
			entry("10.0.0.5", evpn.UseCopy, evpn.SourceData, false), entry("10.0.0.6", 0, "", true), entry("10.255.0.1", evpn.UseService, evpn.SourceBGP, false),
		},
	})}
	assert.Equal(t, []string{
		"flood_joined 400 10.0.0.2 VTEP 10.0.0.2, copied by the kernel", "flood_left 400 10.0.0.3 VTEP 10.0.0.3, copied by the kernel",
		"flood_joined 400 239.1.1.1 group 239.1.1.1, the kernel sends there", "flood_joined 400 10.0.0.4 VTEP 10.0.0.4, source bgp, copies its own frames",
		"flood_joined 400 10.0.0.5 VTEP 10.0.0.5, source data, copied by the flooding module", "flood_left 400 10.0.0.6 VTEP 10.0.0.6",
	}, l.lines())
}

// TestFloodProblems: whom other hosts' configurations of a segment concern is told.
func TestFloodProblems(t *testing.T) {
	i := evpn.VNIInfo{Up: true, Strangers: []netip.Addr{netip.MustParseAddr("10.0.1.2")}, Contraries: []netip.Addr{netip.MustParseAddr("10.0.1.3")}}
	network := flooding.NetworkStatus{Problems: []string{"no way"}}
	problems := floodProblems(i, network)
	require.Len(t, problems, 3)
	assert.Equal(t, "no way", problems[0])
	assert.Contains(t, problems[1], "VTEP 10.0.1.2 is on the segment, but has another multicast.group or multicast.segment")
	assert.Contains(t, problems[2], "relay 10.0.1.3 has another multicast.segment_delivery")
	i.Up = false
	assert.Empty(t, floodProblems(i, network))
}
