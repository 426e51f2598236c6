package speaker_test

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/speaker"
	"github.com/vtepbgp/vtepbgp/speaker/speakertest"
	"github.com/vtepbgp/vtepbgp/speaker/wire"
)

// reflected is an UPDATE that somebody else announced (ORIGINATOR_ID, RFC 4456 §8).
func reflected(msg []byte, originator netip.Addr) []byte {
	msg = append(append(msg, 0x80, 9, 4), originator.AsSlice()...)
	binary.BigEndian.PutUint16(msg[16:], uint16(len(msg)))
	binary.BigEndian.PutUint16(msg[wire.HeaderLen+2:], uint16(len(msg)-wire.HeaderLen-4))
	return msg
}

// TestLapsedClaims: the process of a relay ends, and graceful restart keeps its routes. Core and clients hear what is left
// of its claims; what was only passed on, or goes on without a process, stays as it was.
func TestLapsedClaims(t *testing.T) {
	client := func(a netip.Addr) speaker.Neighbor { return speaker.Neighbor{Address: a, RouteReflectorClient: true} }
	cfg := passive(client(peerA), client(peerB))
	cfg.GracefulRestartTime = 60 * time.Second
	s := speakertest.Start(t, cfg)
	a := speakertest.Dial(t, peerA, s.At, restarts(idA)).Handshake(t)
	b := speakertest.Dial(t, peerB, s.At, ibgp(idB)).Handshake(t)
	service := netip.MustParseAddr("10.99.0.254")
	imet := func(n uint16, at netip.Addr, claim evpn.RelayClaim) evpn.Route {
		attrs := speakertest.Attrs(at, 100)
		attrs.LocalPref, attrs.Claim = 100, claim
		attrs.PMSI = &evpn.PMSITunnel{Type: evpn.PMSIIngressReplication, Label: 100, Endpoint: at}
		return evpn.Route{Key: evpn.RouteKey{Type: evpn.IMETRoute, RD: evpn.RDFromRouterID(idA, n), IP: at}, Attrs: attrs}
	}
	active := imet(1, idA, evpn.RelayClaim{Group: 7, State: evpn.RelayActive})
	delivers := imet(1, service, evpn.RelayClaim{Group: 7, State: evpn.RelaysItself, Deliver: true})
	lasting := imet(2, idA, evpn.RelayClaim{Group: 7, State: evpn.RelayActive, Outlives: true})
	spoken := imet(1, idB.Next(), evpn.RelayClaim{Group: 7, State: evpn.RelayedFor})
	passed := imet(3, idA, evpn.RelayClaim{Group: 7, State: evpn.RelayActive})
	all := []evpn.Route{active, delivers, lasting, spoken, passed}
	a.Announce(t, all[:4]...)
	a.Send(t, reflected(wire.AppendUpdates(nil, []evpn.Route{passed}, wire.PeerKind{IBGP: true, FourOctetAS: true})[0], idB.Next()))
	b.Await(t, "all routes", func(h *speakertest.Heard) bool { return len(h.Routes) == len(all) })
	a.Close()
	itself := evpn.RelayClaim{Group: 7, State: evpn.RelaysItself}
	b.Await(t, "nobody takes what is to be delivered", lacksRoute(delivers.Key))
	b.Await(t, "nobody copies", func(h *speakertest.Heard) bool { return h.Routes[active.Key].Attrs.Claim == itself })
	s.Await(t, "the end", func(ev []evpn.Event) bool {
		return hasEvent(ev, evpn.NeighborDown{Neighbor: peerA, Graceful: true, StaleTime: 20 * time.Second})
	})
	b.See(func(h *speakertest.Heard) {
		for _, r := range []evpn.Route{lasting, spoken, passed} {
			assert.Equal(t, r.Attrs.Claim, h.Routes[r.Key].Attrs.Claim, "%s", r.Key)
		}
	})
	known := s.Routes(peerA)
	assert.Equal(t, itself, known[active.Key].Attrs.Claim)
	assert.NotContains(t, known, delivers.Key)

	// It is back, and says anew what it does.
	o := restarts(idA)
	o.Restarting, o.Forwarding = true, true
	a = speakertest.Dial(t, peerA, s.At, o).Handshake(t)
	ready := imet(1, idA, evpn.RelayClaim{Group: 7, State: evpn.RelayReady})
	a.Announce(t, ready)
	a.Send(t, wire.EndOfRIB())
	b.Await(t, "the new claim", func(h *speakertest.Heard) bool { return h.Routes[ready.Key].Attrs.Claim == ready.Attrs.Claim })
}
