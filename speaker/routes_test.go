package speaker_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/speaker"
	"github.com/vtepbgp/vtepbgp/speaker/speakertest"
	"github.com/vtepbgp/vtepbgp/speaker/wire"
)

func imports(t testing.TB, targets ...string) evpn.ImportSet {
	t.Helper()
	var v evpn.VNIConfig
	for _, s := range targets {
		it, err := evpn.ParseImportTarget(s)
		require.NoError(t, err)
		v.Import = append(v.Import, it)
	}
	return evpn.Config{VNIs: []evpn.VNIConfig{v}}.Imports()
}

func macs(vtep netip.Addr, vni evpn.VNI, n int) []evpn.Route {
	attrs := speakertest.Attrs(vtep, vni)
	routes := make([]evpn.Route, n)
	for i := range routes {
		routes[i] = speakertest.MACRoute(vtep, vni, uint32(i), attrs)
	}
	return routes
}

func keys(routes []evpn.Route) []evpn.RouteKey {
	k := make([]evpn.RouteKey, len(routes))
	for i, r := range routes {
		k[i] = r.Key
	}
	return k
}

func TestOwnRoutesOfManyKinds(t *testing.T) {
	s := speakertest.Start(t, passive(speaker.Neighbor{Address: peerA}))
	attrs := *speakertest.Attrs(ourID, 100)
	attrs.Mobility = evpn.Mobility{Sequence: 3, Sticky: true}
	mac := speakertest.MACRoute(ourID, 100, 1, &attrs)
	mac.Key.IP = netip.MustParseAddr("2001:db8::5")
	flood := evpn.Route{Key: evpn.RouteKey{Type: evpn.IMETRoute, RD: mac.Key.RD, IP: ourID}, Attrs: speakertest.Attrs(ourID, 100)}
	flood.Attrs.PMSI = &evpn.PMSITunnel{Type: evpn.PMSIIngressReplication, Label: 100, Endpoint: ourID}
	p := speakertest.Dial(t, peerA, s.At, ibgp(idA)).Handshake(t)
	p.Await(t, "End-of-RIB", endOfRIB)
	s.Apply([]evpn.Route{mac, flood}, nil)
	p.Await(t, "both", func(h *speakertest.Heard) bool { return len(h.Routes) == 2 })
	p.See(func(h *speakertest.Heard) {
		assert.Equal(t, attrs.Mobility, h.Routes[mac.Key].Attrs.Mobility)
		assert.Equal(t, flood.Attrs.PMSI, h.Routes[flood.Key].Attrs.PMSI)
		assert.EqualValues(t, 100, h.Routes[mac.Key].Label)
	})
}

// A change that is undone before it is sent leaves nothing of itself; the last state counts.
func TestChangesCoalesce(t *testing.T) {
	s := speakertest.Start(t, passive(speaker.Neighbor{Address: peerA}))
	p := speakertest.Dial(t, peerA, s.At, ibgp(idA)).Handshake(t)
	p.Await(t, "End-of-RIB", endOfRIB)
	routes := macs(ourID, 100, 2000)
	for i := range 20 {
		s.Apply(routes, nil)
		s.Apply(nil, keys(routes))
		for j := range routes {
			a := *routes[j].Attrs
			a.Mobility.Sequence = uint32(i)
			if j == 0 {
				routes[0].Attrs = &a
			} else {
				routes[j].Attrs = routes[0].Attrs
			}
		}
		s.Apply(routes[:1000], keys(routes[1000:]))
	}
	p.Await(t, "the last state", func(h *speakertest.Heard) bool {
		return len(h.Routes) == 1000 && h.Routes[routes[999].Key].Attrs.Mobility.Sequence == 19 && h.Routes[routes[0].Key].Attrs.Mobility.Sequence == 19
	})
	p.See(func(h *speakertest.Heard) {
		assert.NotContains(t, h.Routes, routes[1000].Key)
	})
}

func TestRefreshFromThePeer(t *testing.T) {
	s := speakertest.Prepare(t, passive(speaker.Neighbor{Address: peerA}))
	own := macs(ourID, 100, 3)
	s.Apply(own, nil)
	s.Apply(nil, keys(own[2:]))
	s.Run(t)
	p := speakertest.Dial(t, peerA, s.At, ibgp(idA)).Handshake(t)
	p.Await(t, "End-of-RIB", endOfRIB)
	p.See(func(h *speakertest.Heard) { clear(h.Routes) })
	p.Send(t, wire.RouteRefresh())
	p.Await(t, "both routes again", func(h *speakertest.Heard) bool { return len(h.Routes) == 2 })
	// A family that nobody negotiated is counted, not answered.
	p.Send(t, wire.Message(wire.TypeRouteRefresh, []byte{0, 1, 0, 1}))
	require.Eventually(t, func() bool { return s.Stats().Drops["route refresh for a family not negotiated"] == 1 }, speakertest.Wait, time.Millisecond)
}

func TestSoftReset(t *testing.T) {
	s := speakertest.Start(t, passive(speaker.Neighbor{Address: peerA}))
	require.Error(t, s.Reset(peerB, true), "no such neighbour")
	require.Error(t, s.Reset(peerA, true), "not established")
	p := speakertest.Dial(t, peerA, s.At, ibgp(idA)).Handshake(t)
	p.Await(t, "End-of-RIB", endOfRIB)
	require.NoError(t, s.Reset(peerA, true))
	p.Await(t, "a refresh", func(h *speakertest.Heard) bool { return h.Refreshes == 1 })
	require.NoError(t, s.Reset(peerA, false))
	n := p.AwaitNotification(t)
	assert.Equal(t, []uint8{wire.CodeCease, wire.SubReset}, []uint8{n.Code, n.Subcode})
}

func TestShedding(t *testing.T) {
	s := speakertest.Prepare(t, passive(speaker.Neighbor{Address: peerA}))
	s.SetImports(imports(t, "*:100"))
	s.Run(t)
	p := speakertest.Dial(t, peerA, s.At, ibgp(idA)).Handshake(t)
	ours, others := macs(idA, 100, 50), macs(idA, 200, 5000)
	p.Announce(t, others...)
	p.Announce(t, ours...)
	p.Announce(t, others...) // repetition changes nothing
	require.Eventually(t, func() bool { n := s.Neighbors()[0]; return n.RoutesReceived == 5050 }, speakertest.Wait, time.Millisecond)
	require.Eventually(t, func() bool { return len(s.Routes(peerA)) == 1050 }, speakertest.Wait, time.Millisecond)
	assert.Equal(t, 4000, s.Neighbors()[0].RoutesShed)
	// Withdrawals of shed routes are counted and go no further.
	p.Withdraw(t, keys(others[3000:])...)
	p.Withdraw(t, keys(ours[:10])...)
	require.Eventually(t, func() bool { return len(s.Routes(peerA)) == 1040 }, speakertest.Wait, time.Millisecond)
	n := s.Neighbors()[0]
	assert.Equal(t, []int{3040, 2000}, []int{n.RoutesReceived, n.RoutesShed})
	// The import set grows: the peer is asked again, and nothing is shed any more.
	s.SetImports(imports(t, "*:100", "65000:200"))
	p.Await(t, "a refresh", func(h *speakertest.Heard) bool { return h.Refreshes == 1 })
	p.Announce(t, others[:3000]...)
	require.Eventually(t, func() bool { return len(s.Routes(peerA)) == 3040 }, speakertest.Wait, time.Millisecond)
	assert.Zero(t, s.Neighbors()[0].RoutesShed)
	// It shrinks: no refresh.
	s.SetImports(imports(t, "*:100"))
	p.See(func(h *speakertest.Heard) { assert.Equal(t, 1, h.Refreshes) })
}

func TestImportsGrowWithoutRefresh(t *testing.T) {
	s := speakertest.Prepare(t, passive(speaker.Neighbor{Address: peerA}))
	s.SetImports(imports(t, "*:100"))
	s.Run(t)
	opt := ibgp(idA)
	opt.NoRefresh = true
	p := speakertest.Dial(t, peerA, s.At, opt).Handshake(t)
	p.Announce(t, macs(idA, 200, 1500)...)
	require.Eventually(t, func() bool { return s.Neighbors()[0].RoutesShed == 500 }, speakertest.Wait, time.Millisecond)
	s.SetImports(imports(t, "*:100", "*:200"))
	n := p.AwaitNotification(t)
	assert.Equal(t, []uint8{wire.CodeCease, wire.SubReset}, []uint8{n.Code, n.Subcode})
}

func TestMaxPrefixes(t *testing.T) {
	cfg := passive(speaker.Neighbor{Address: peerA, MaxPrefixes: 5})
	s := speakertest.Start(t, cfg)
	p := speakertest.Dial(t, peerA, s.At, ibgp(idA)).Handshake(t)
	p.Announce(t, macs(idA, 100, 5)...)
	s.Await(t, "five routes", func([]evpn.Event) bool { return len(s.Routes(peerA)) == 5 })
	// A raised limit holds for the session there is.
	cfg = passive(speaker.Neighbor{Address: peerA, MaxPrefixes: 10})
	cfg.ListenPort = int(s.At.Port())
	require.NoError(t, s.Reconfigure(cfg))
	p.Announce(t, macs(idA, 100, 10)...)
	s.Await(t, "ten routes", func([]evpn.Event) bool { return len(s.Routes(peerA)) == 10 })
	p.Announce(t, speakertest.MACRoute(idA, 100, 99, nil))
	n := p.AwaitNotification(t)
	assert.Equal(t, []uint8{wire.CodeCease, wire.SubMaxPrefixes}, []uint8{n.Code, n.Subcode})
	assert.Equal(t, []byte{0, 25, 70, 0, 0, 0, 10}, n.Data)
	st := s.AwaitState(t, peerA, "idle")
	assert.Contains(t, st.LastError, "11 routes, the limit is 10")
	held := speakertest.Dial(t, peerA, s.At, ibgp(idA))
	typ, body := held.Read(t)
	require.EqualValues(t, wire.TypeNotification, typ)
	assert.Equal(t, []byte{wire.CodeCease, wire.SubConnectionReject}, body)
	require.NoError(t, s.Reset(peerA, false))
	s.AwaitState(t, peerA, "active")
	speakertest.Dial(t, peerA, s.At, ibgp(idA)).Handshake(t)
	s.AwaitState(t, peerA, "established")
}

// A peer whose UPDATEs all end at the guard must not run into GoBGP's hold timer.
func TestUpdatesFeedTheHoldTimer(t *testing.T) {
	s := speakertest.Start(t, passive(speaker.Neighbor{Address: peerA, HoldTime: 3 * time.Second}))
	opt := ibgp(idA)
	opt.HoldTime, opt.Silent = 3*time.Second, true
	p := speakertest.Dial(t, peerA, s.At, opt).Handshake(t)
	routes := macs(idA, 100, 100)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for i := range 25 {
		p.Announce(t, routes[i])
		<-tick.C
	}
	st := s.AwaitState(t, peerA, "established")
	assert.Equal(t, 3*time.Second, st.HoldTime)
	p.See(func(h *speakertest.Heard) { assert.Nil(t, h.Notification); assert.Greater(t, h.Keepalives, 2) })
	// And one that goes silent does.
	n := p.AwaitNotification(t)
	assert.EqualValues(t, wire.CodeHoldTimer, n.Code)
	s.AwaitError(t, peerA, "hold timer expired")
	s.Await(t, "NeighborDown", lastIs(evpn.NeighborDown{Neighbor: peerA}))
}

func TestLoopsAreIgnoredAndCounted(t *testing.T) {
	s := speakertest.Start(t, passive(speaker.Neighbor{Address: peerA}, speaker.Neighbor{Address: peerB, ASN: 65001}))
	a := speakertest.Dial(t, peerA, s.At, ibgp(idA)).Handshake(t)
	good := speakertest.MACRoute(idA, 100, 1, nil)
	// ORIGINATOR_ID is ours: a reflector gives us our own route back.
	looped := speakertest.MACRoute(idA, 100, 2, nil)
	msg := wire.AppendUpdates(nil, []evpn.Route{looped}, wire.PeerKind{IBGP: true, FourOctetAS: true, LocalASN: 65000})[0]
	body := append([]byte(nil), msg[wire.HeaderLen:]...)
	body = append(body, 0x80, 9, 4, 10, 0, 0, 5)
	n := len(body) - 4
	body[2], body[3] = byte(n>>8), byte(n)
	a.Send(t, wire.Message(wire.TypeUpdate, body))
	a.Announce(t, good)
	s.Await(t, "the good route", func([]evpn.Event) bool { return len(s.Routes(peerA)) == 1 })
	assert.EqualValues(t, 1, s.Stats().Drops[wire.DropOriginatorLoop])
	assert.Contains(t, s.Routes(peerA), good.Key)
}

func TestGoodRoutesAmongBadOnes(t *testing.T) {
	s := speakertest.Start(t, passive(
		speaker.Neighbor{Address: peerA, RouteReflectorClient: true}, speaker.Neighbor{Address: peerB, RouteReflectorClient: true}))
	a := speakertest.Dial(t, peerA, s.At, ibgp(idA)).Handshake(t)
	b := speakertest.Dial(t, peerB, s.At, ibgp(idB)).Handshake(t)
	for i := range 20 {
		r := speakertest.MACRoute(idA, 100, uint32(i), nil)
		msg := wire.AppendUpdates(nil, []evpn.Route{r}, wire.PeerKind{IBGP: true, FourOctetAS: true, LocalASN: 65000})[0]
		// MP_REACH_NLRI is first, with a length of one octet: two more NLRI go to its front.
		body := append([]byte(nil), msg[wire.HeaderLen:]...)
		require.Zero(t, body[4]&0x10)
		bad := []byte{6, 3, 1, 2, 3, 2, 4, 1, 2, 3, 4} // type 6, and a type 2 far too short
		at := 4 + 3 + 9
		body = append(body[:at], append(bad, body[at:]...)...)
		body[3] += byte(len(bad))
		body[6] += byte(len(bad))
		a.Send(t, wire.Message(wire.TypeUpdate, body))
	}
	b.Await(t, "all good routes through GoBGP", func(h *speakertest.Heard) bool { return len(h.Routes) == 20 })
	assert.Len(t, s.Routes(peerA), 20)
	drops := s.Stats().Drops
	assert.EqualValues(t, 20, drops[wire.DropNLRI], fmt.Sprint(drops))
}

// A peer that does not read holds up neither the others nor the caller, and when it reads again it
// gets the latest state.
func TestSlowReaderHoldsUpNobody(t *testing.T) {
	s := speakertest.Start(t, passive(speaker.Neighbor{Address: peerA}, speaker.Neighbor{Address: peerB}))
	slow := speakertest.Dial(t, peerA, s.At, ibgp(idA))
	// Its receive buffer is left to the kernel, which grows it only for who reads: a fixed small one takes less
	// than a segment of loopback at a time, and the rest would trickle by the sender's probes (RFC 9293 §3.8.6.2.1).
	slow.Open(t)
	slow.Send(t, wire.Keepalive())
	s.AwaitState(t, peerA, "established")
	quick := speakertest.Dial(t, peerB, s.At, ibgp(idB)).Handshake(t)
	routes := macs(ourID, 100, 200_000) // far more than socket buffers hold
	s.Apply(routes, nil)
	s.Apply(nil, keys(routes[1:]))
	quick.Await(t, "the last state", func(h *speakertest.Heard) bool { return len(h.Routes) == 1 })
	slow.Read(t) // KEEPALIVE
	slow.Collect()
	slow.Await(t, "the last state", func(h *speakertest.Heard) bool { return len(h.Routes) == 1 && h.EndOfRIB == 1 })
	slow.See(func(h *speakertest.Heard) { assert.Contains(t, h.Routes, routes[0].Key) })
}
