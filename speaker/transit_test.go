package speaker_test

import (
	"net/netip"
	"os/exec"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/speaker"
	"github.com/vtepbgp/vtepbgp/speaker/speakertest"
)

func hasRoute(k evpn.RouteKey) func(*speakertest.Heard) bool {
	return func(h *speakertest.Heard) bool { _, ok := h.Routes[k]; return ok }
}

func lacksRoute(k evpn.RouteKey) func(*speakertest.Heard) bool {
	return func(h *speakertest.Heard) bool { _, ok := h.Routes[k]; return !ok }
}

func endOfRIB(h *speakertest.Heard) bool { return h.EndOfRIB > 0 }

func TestReflectBetweenClients(t *testing.T) {
	s := speakertest.Start(t, passive(
		speaker.Neighbor{Address: peerA, RouteReflectorClient: true},
		speaker.Neighbor{Address: peerB, RouteReflectorClient: true}))
	own := speakertest.MACRoute(ourID, 100, 1, nil)
	s.Apply([]evpn.Route{own}, nil)
	a := speakertest.Dial(t, peerA, s.At, ibgp(idA)).Handshake(t)
	b := speakertest.Dial(t, peerB, s.At, ibgp(idB)).Handshake(t)
	a.Await(t, "End-of-RIB", endOfRIB)
	r := speakertest.MACRoute(idA, 100, 7, nil)
	a.Announce(t, r)
	b.Await(t, "the reflected route", hasRoute(r.Key))
	b.See(func(h *speakertest.Heard) {
		got := h.Routes[r.Key]
		assert.Equal(t, idA, got.Attrs.NextHop, "a reflector leaves the next hop alone")
		assert.Equal(t, idA, got.Attrs.OriginatorID)
	})
	b.Await(t, "our own route", hasRoute(own.Key))
	st := s.AwaitState(t, peerB, "established")
	assert.Equal(t, 2, st.RoutesAdvertised, "our own and the reflected one")
	// A client that comes later gets what was reflected before, then End-of-RIB.
	b.Close()
	s.AwaitState(t, peerB, "active")
	b = speakertest.Dial(t, peerB, s.At, speakertest.Options{ASN: 65000, RouterID: idB}).Handshake(t)
	b.Await(t, "the reflected route again", hasRoute(r.Key))
	a.Withdraw(t, r.Key)
	b.Await(t, "the withdrawal", lacksRoute(r.Key))
	a.Announce(t, r)
	b.Await(t, "the route once more", hasRoute(r.Key))
	a.Close()
	b.Await(t, "the withdrawal when the session is lost", lacksRoute(r.Key))
}

func TestSpineKeepsNextHops(t *testing.T) {
	cfg := passive(speaker.Neighbor{Address: peerA, ASN: 65001}, speaker.Neighbor{Address: peerB, ASN: 4200000002})
	s := speakertest.Start(t, cfg)
	own := speakertest.MACRoute(ourID, 100, 1, nil)
	s.Apply([]evpn.Route{own}, nil)
	a := speakertest.Dial(t, peerA, s.At, speakertest.Options{ASN: 65001, RouterID: idA}).Handshake(t)
	b := speakertest.Dial(t, peerB, s.At, speakertest.Options{ASN: 4200000002, RouterID: idB}).Handshake(t)
	r := speakertest.MACRoute(idA, 100, 7, nil)
	a.Announce(t, r)
	b.Await(t, "the leaf's route", hasRoute(r.Key))
	b.Await(t, "our own route", hasRoute(own.Key))
	b.See(func(h *speakertest.Heard) {
		assert.Equal(t, idA, h.Routes[r.Key].Attrs.NextHop, "an eBGP spine must not become the VTEP")
		assert.EqualValues(t, 2, h.Routes[r.Key].Attrs.ASPathLen)
		assert.EqualValues(t, 1, h.Routes[own.Key].Attrs.ASPathLen)
	})
	v6 := speakertest.MACRoute(idA, 100, 8, speakertest.Attrs(netip.MustParseAddr("2001:db8::1"), 100))
	a.Announce(t, v6)
	b.Await(t, "a route with an IPv6 next hop", hasRoute(v6.Key))
	b.See(func(h *speakertest.Heard) {
		assert.Equal(t, netip.MustParseAddr("2001:db8::1"), h.Routes[v6.Key].Attrs.NextHop)
	})
}

func TestStaleRoutesSurviveInTransit(t *testing.T) {
	cfg := passive(
		speaker.Neighbor{Address: peerA, RouteReflectorClient: true},
		speaker.Neighbor{Address: peerB, RouteReflectorClient: true})
	cfg.GracefulRestartTime = 60e9
	s := speakertest.Start(t, cfg)
	gr := ibgp(idA)
	gr.GracefulRestart = 30e9
	a := speakertest.Dial(t, peerA, s.At, gr).Handshake(t)
	b := speakertest.Dial(t, peerB, s.At, ibgp(idB)).Handshake(t)
	kept, lost := speakertest.MACRoute(idA, 100, 7, nil), speakertest.MACRoute(idA, 100, 8, nil)
	a.Announce(t, kept, lost)
	b.Await(t, "the routes", func(h *speakertest.Heard) bool { return len(h.Routes) == 2 })
	a.Close()
	s.Await(t, "a graceful NeighborDown", func(ev []evpn.Event) bool {
		return hasEvent(ev, evpn.NeighborDown{Neighbor: peerA, Graceful: true, StaleTime: 30e9})
	})
	gr.Restarting, gr.Forwarding = true, true
	a = speakertest.Dial(t, peerA, s.At, gr).Handshake(t)
	s.Await(t, "NeighborUp", func(ev []evpn.Event) bool {
		return hasEvent(ev, evpn.NeighborUp{Neighbor: peerA, RouterID: idA, ASN: 65000, IBGP: true, EndOfRIB: true, KeptForwarding: true})
	})
	a.Announce(t, kept)
	a.Send(t, eor)
	b.Await(t, "the sweep of what was not announced again", lacksRoute(lost.Key))
	b.See(func(h *speakertest.Heard) {
		assert.Contains(t, h.Routes, kept.Key)
		withdrawals := 0
		for _, o := range h.Order {
			if o == "withdraw" {
				withdrawals++
			}
		}
		assert.Equal(t, 1, withdrawals, "%v", h.Order)
	})
	s.Await(t, "End-of-RIB", func(ev []evpn.Event) bool { return hasEvent(ev, evpn.EndOfRIB{Neighbor: peerA}) })
}

func TestGoBGPToolShowsTheSameRoutes(t *testing.T) {
	tool, err := exec.LookPath("gobgp")
	if err != nil {
		requireLab(t, "gobgp is not installed")
	}
	cfg := passive(speaker.Neighbor{Address: peerA})
	port := speakertest.FreePort(t, us)
	cfg.GoBGPListen = netip.AddrPortFrom(us, uint16(port)).String()
	s := speakertest.Start(t, cfg)
	own := speakertest.MACRoute(ourID, 100, 1, nil)
	s.Apply([]evpn.Route{own}, nil)
	s.Apply(floodingRoutes(ourID), nil)
	a := speakertest.Dial(t, peerA, s.At, ibgp(idA)).Handshake(t)
	r := speakertest.MACRoute(idA, 100, 7, nil)
	a.Announce(t, r)
	s.Await(t, "the route", func([]evpn.Event) bool { return len(s.Routes(peerA)) == 1 })
	show := func(t require.TestingT, args ...string) string {
		out, err := exec.Command(tool, append([]string{"-u", us.String(), "-p", strconv.Itoa(port)}, args...)...).CombinedOutput()
		require.NoError(t, err, "%s", out)
		return string(out)
	}
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		rib := show(c, "global", "rib", "-a", "evpn")
		assert.Contains(c, rib, own.Key.MAC.String())
		assert.Contains(c, rib, r.Key.MAC.String())
		assert.Contains(c, rib, "no-tunnel")
	}, speakertest.Wait, 20e6)
	assert.Contains(t, show(t, "-j", "neighbor"), peerA.String(), "the description names the real neighbour")
	s.Apply(nil, []evpn.RouteKey{own.Key})
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		assert.NotContains(c, show(c, "global", "rib", "-a", "evpn"), own.Key.MAC.String())
	}, speakertest.Wait, 20e6)
	a.See(func(h *speakertest.Heard) { assert.NotContains(t, h.Routes, r.Key) })
}
