package kerneltest

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/kernel"
)

var (
	connected = netip.MustParsePrefix("10.0.0.0/24")
	hostB     = netip.PrefixFrom(vtepB, 32)
	gateway   = netip.MustParseAddr("10.0.0.254")
)

func (r *rig) track(vteps ...netip.Addr) {
	var changes []evpn.NextHopChange
	for _, v := range vteps {
		changes = append(changes, evpn.NextHopChange{VTEP: v})
	}
	r.k.Track(changes)
}

// wantWays waits until these are the ways, apart from their times.
func (r *rig) wantWays(want ...kernel.VTEPState) {
	r.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		got := r.k.Underlay()
		for i := range got {
			assert.WithinDuration(r.t, time.Now(), got[i].Since, time.Minute)
			got[i].Since = time.Time{}
		}
		if slices.Equal(got, want) {
			return
		}
		if time.Now().After(deadline) {
			require.Equal(r.t, want, got)
		}
		<-time.After(time.Millisecond)
	}
}

func onLink(to netip.Addr, mtu int) kernel.VTEPState {
	return kernel.VTEPState{VTEP: to, Reachable: true, Device: "eth0", MTU: mtu}
}

func noWay(to netip.Addr, why string) kernel.VTEPState {
	return kernel.VTEPState{VTEP: to, Reason: why}
}

func waysByRoute(t *testing.T, f Factory) {
	r := start(t, underlay(t, f), oneVNI(), 0)
	r.wantEvents(evpn.VNIState{VNI: 100, Up: true})
	r.track(vtepB)
	r.wantEvents(evpn.NextHopState{VTEP: vtepB, Reason: "no route"})
	r.SetRoute(t, Route{To: connected, Device: "eth0"})
	r.wantEvents(evpn.NextHopState{VTEP: vtepB, Reachable: true})
	r.track(vtepC)
	r.wantEvents(evpn.NextHopState{VTEP: vtepC, Reachable: true})
	r.track(vtepB) // asked again, told again
	r.wantEvents(evpn.NextHopState{VTEP: vtepB, Reachable: true})
	r.wantWays(onLink(vtepB, 1600), onLink(vtepC, 1600))

	for _, c := range []struct{ kind, why string }{
		{"blackhole", "the route is of type blackhole"},
		{"unreachable", "the route is of type unreachable"},
		{"prohibit", "the route is of type prohibit"},
	} {
		r.SetRoute(t, Route{To: hostB, Kind: c.kind})
		r.wantWays(noWay(vtepB, c.why), onLink(vtepC, 1600))
		r.wantEvents(evpn.NextHopState{VTEP: vtepB, Reason: c.why})
		r.RemoveRoute(t, hostB)
		r.wantEvents(evpn.NextHopState{VTEP: vtepB, Reachable: true})
	}

	r.SetRoute(t, Route{To: hostB, Gateway: gateway, Device: "eth0"})
	via := onLink(vtepB, 1600)
	via.Gateway = gateway
	r.wantWays(via, onLink(vtepC, 1600))
	r.SetRoute(t, Route{To: hostB, Device: "br100"})
	loop := "the route leads into the overlay by br100, which would carry its own packets"
	r.wantEvents(evpn.NextHopState{VTEP: vtepB, Reason: loop})
	r.RemoveRoute(t, hostB)
	r.wantEvents(evpn.NextHopState{VTEP: vtepB, Reachable: true})

	// Nothing but a default route, to a gateway on link.
	r.RemoveRoute(t, connected)
	r.wantWays(noWay(vtepB, "no route"), noWay(vtepC, "no route"))
	r.wantEvents(evpn.NextHopState{VTEP: vtepB, Reason: "no route"}, evpn.NextHopState{VTEP: vtepC, Reason: "no route"})
	r.SetRoute(t, Route{To: netip.PrefixFrom(gateway, 32), Device: "eth0"})
	r.SetRoute(t, Route{To: netip.MustParsePrefix("0.0.0.0/0"), Gateway: gateway, Device: "eth0"})
	other := onLink(vtepC, 1600)
	other.Gateway = gateway
	r.wantWays(via, other)
	r.wantEvents(evpn.NextHopState{VTEP: vtepB, Reachable: true}, evpn.NextHopState{VTEP: vtepC, Reachable: true})

	// A VTEP that is named again is told again: the core forgets what it no longer needs.
	r.k.Track([]evpn.NextHopChange{{VTEP: vtepB, Remove: true}})
	r.wantWays(other)
	r.track(vtepB, vtepHere)
	own := noWay(vtepHere, "the address is on this host")
	own.Own = true
	r.wantWays(own, via, other)
	r.eventually(func() bool { return len(r.heard()) >= 2 }, "both are told")
	assert.ElementsMatch(t, []evpn.Event{
		evpn.NextHopState{VTEP: vtepHere, Reason: "the address is on this host", Own: true}, evpn.NextHopState{VTEP: vtepB, Reachable: true},
	}, r.heard())
}

func waysByLink(t *testing.T, f Factory) {
	r := start(t, underlay(t, f), oneVNI(), 0)
	r.SetRoute(t, Route{To: connected, Device: "eth0"})
	r.track(vtepB)
	r.wantWays(onLink(vtepB, 1600))
	r.wantEvents(evpn.VNIState{VNI: 100, Up: true}, evpn.NextHopState{VTEP: vtepB, Reachable: true})

	r.SetCarrier(t, "eth0", false)
	r.comesTo(evpn.NextHopState{VTEP: vtepB, Reason: "eth0 has no carrier"})
	dead := onLink(vtepB, 1600)
	dead.Reachable, dead.Reason = false, "eth0 has no carrier"
	r.wantWays(dead)
	r.SetCarrier(t, "eth0", true)
	r.comesTo(evpn.NextHopState{VTEP: vtepB, Reachable: true})

	// The kernel takes the routes of a link that goes down, and brings none back.
	eth0, on, off := r.link("eth0").Index, true, false
	require.NoError(t, r.raw.SetLink(eth0, kernel.LinkSettings{Up: &off}))
	r.comesTo(evpn.NextHopState{VTEP: vtepB, Reason: "no route"})
	require.NoError(t, r.raw.SetLink(eth0, kernel.LinkSettings{Up: &on}))
	r.SetRoute(t, Route{To: connected, Device: "eth0"})
	// Links and routes are told of on two sockets: when the route is heard of first, it
	// leads over a link that is still known as down.
	up, early := evpn.NextHopState{VTEP: vtepB, Reachable: true}, evpn.NextHopState{VTEP: vtepB, Reason: "eth0 is down"}
	r.eventually(func() bool { return slices.Contains(r.heard(), evpn.Event(up)) }, "reachable again")
	assert.Contains(t, [][]evpn.Event{{up}, {early, up}}, r.heard())
}

// comesTo waits for what is told of the way last. Until then a look may fall between two
// steps of the kernel, such as a link that is down and its route still there.
func (r *rig) comesTo(last evpn.NextHopState) {
	r.t.Helper()
	r.eventually(func() bool { h := r.heard(); return len(h) > 0 && h[len(h)-1] == evpn.Event(last) }, "told last: "+last.Reason)
	h := r.heard()
	for _, e := range h[:len(h)-1] {
		st, ok := e.(evpn.NextHopState)
		assert.True(r.t, ok && st.VTEP == last.VTEP && !st.Reachable, "%+v", e)
	}
	r.forget()
}

func waySizes(t *testing.T, f Factory) {
	r := start(t, underlay(t, f), oneVNI(), 0)
	r.SetRoute(t, Route{To: connected, Device: "eth0"})
	r.track(vtepB, vtepC)
	r.set(flood(100, vtepB), remote(100, macC, vtepC))
	r.wantWays(onLink(vtepB, 1600), onLink(vtepC, 1600))
	problems := func(want ...string) {
		t.Helper()
		r.eventually(func() bool { return slices.Equal(r.k.Status()[0].Problems, want) }, "problems")
	}
	problems()
	r.SetRoute(t, Route{To: hostB, Device: "eth0", MTU: 1500})
	r.wantWays(onLink(vtepB, 1500), onLink(vtepC, 1600))
	problems("MTU 1550 of vxlan100 does not fit the way to 10.0.0.2 (eth0, 1500): 1450 would fit")
	r.SetRoute(t, Route{To: connected, Device: "eth0", MTU: 1400})
	problems("MTU 1550 of vxlan100 does not fit the way to 10.0.0.3 (eth0, 1400): 1350 would fit; 2 VTEPs are concerned")
	r.remove(remote(100, macC, vtepC))
	problems("MTU 1550 of vxlan100 does not fit the way to 10.0.0.2 (eth0, 1500): 1450 would fit")
	r.RemoveRoute(t, hostB)
	r.SetRoute(t, Route{To: connected, Device: "eth0"})
	problems()

	// The automatic MTU follows the device. What then exceeds it is named.
	eth0, small := r.link("eth0").Index, 1500
	require.NoError(t, r.raw.SetLink(eth0, kernel.LinkSettings{MTU: &small}))
	r.eventually(func() bool { return r.link("vxlan100").MTU == 1450 }, "device follows the underlay")
	r.wantWays(onLink(vtepB, 1500), onLink(vtepC, 1500))
	if br := r.link("br100"); br.MTU > 1450 { // Linux lowers it by itself
		require.NoError(t, r.raw.SetLink(br.Index, kernel.LinkSettings{MTU: ptr(1450)}))
	}
	problems("port p1 (1500) takes packets larger than vxlan100 carries (1450) (and 1 more): hosts behind it need MTU 1450")
	for _, p := range []string{"p1", "p2"} {
		require.NoError(t, r.raw.SetLink(r.link(p).Index, kernel.LinkSettings{MTU: ptr(1450)}))
	}
	problems()
	require.NoError(t, r.raw.SetLink(r.link("br100").Index, kernel.LinkSettings{MTU: ptr(1449)}))
	problems()

	// A size that the operator chose is reported, never changed.
	cfg := oneVNI()
	cfg.VNIs[0].MTU = 1500
	require.NoError(t, r.k.Configure(cfg))
	problems("MTU 1500 of vxlan100 does not fit the way to 10.0.0.2 (eth0, 1500): 1450 would fit")
}

func waysOverIPv6(t *testing.T, f Factory) {
	here, there := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
	net, host := netip.MustParsePrefix("2001:db8::/64"), netip.PrefixFrom(there, 128)
	w := f(t)
	w.AddPort(t, "eth0", 1600)
	w.SetAddress(t, "eth0", here, true)
	r := start(t, w, kernel.Config{VTEP: here, VNIs: []kernel.VNI{{VNI: 100, Manage: true}}}, 0)
	r.wantEvents(evpn.VNIState{VNI: 100, Up: true})
	r.track(there)
	r.wantEvents(evpn.NextHopState{VTEP: there, Reason: "no route"})
	r.SetRoute(t, Route{To: net, Device: "eth0"})
	r.wantEvents(evpn.NextHopState{VTEP: there, Reachable: true})
	for _, kind := range []string{"blackhole", "unreachable", "prohibit"} {
		r.SetRoute(t, Route{To: host, Kind: kind})
		r.wantEvents(evpn.NextHopState{VTEP: there, Reason: "the route is of type " + kind})
		r.RemoveRoute(t, host)
		r.wantEvents(evpn.NextHopState{VTEP: there, Reachable: true})
	}
	r.set(flood(100, there))
	r.SetRoute(t, Route{To: host, Device: "eth0", MTU: 1500})
	r.wantWays(onLink(there, 1500))
	assert.Equal(t, []string{"MTU 1530 of vxlan100 does not fit the way to 2001:db8::2 (eth0, 1500): 1430 would fit"}, r.k.Status()[0].Problems)
	r.SetCarrier(t, "eth0", false)
	r.wantEvents(evpn.NextHopState{VTEP: there, Reason: "eth0 has no carrier"})
	r.SetCarrier(t, "eth0", true)
	r.wantEvents(evpn.NextHopState{VTEP: there, Reachable: true})
	off := false
	require.NoError(t, r.raw.SetLink(r.link("eth0").Index, kernel.LinkSettings{Up: &off}))
	r.eventually(func() bool { st := r.k.Underlay(); return len(st) == 1 && st[0].Reason == "no route" }, "its route goes with the link")
}

// lostRouteEvents lets the kernel drop changes, and the last one among them.
func lostRouteEvents(t *testing.T, f Factory) {
	r := start(t, underlay(t, f), oneVNI(), 4<<10)
	r.SetRoute(t, Route{To: connected, Device: "eth0"})
	r.track(vtepB)
	r.wantWays(onLink(vtepB, 1600))
	for round := 0; round < 50 && r.k.Stats().Underlay.Lost == 0; round++ {
		var burst []Route
		for i := range 500 {
			burst = append(burst, Route{To: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 9, byte(i >> 8), byte(i)}), 32), Kind: "blackhole"})
		}
		r.SetRoutes(t, append(burst, Route{To: hostB, Kind: "blackhole"}))
		r.wantWays(noWay(vtepB, "the route is of type blackhole"))
		r.RemoveBlackholes(t)
		r.wantWays(onLink(vtepB, 1600))
	}
	assert.NotZero(t, r.k.Stats().Underlay.Lost)
}

func ptr[T any](v T) *T { return &v }
