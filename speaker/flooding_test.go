package speaker_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/speaker"
	"github.com/vtepbgp/vtepbgp/speaker/speakertest"
)

// floodingRoutes are the type-3 routes of a relay that is a replicator too: none of them but the first
// names the speaker's own address.
func floodingRoutes(vtep netip.Addr) []evpn.Route {
	imet := func(n uint16, at netip.Addr, pmsi evpn.PMSITunnel, claim evpn.RelayClaim) evpn.Route {
		a := speakertest.Attrs(at, 100)
		a.LocalPref, pmsi.Label = 100, 100
		a.PMSI, a.Claim = &pmsi, claim
		return evpn.Route{Key: evpn.RouteKey{Type: evpn.IMETRoute, RD: evpn.RDFromRouterID(vtep, n), IP: at}, Attrs: a}
	}
	ingress := func(at netip.Addr, flags uint8) evpn.PMSITunnel {
		return evpn.PMSITunnel{Type: evpn.PMSIIngressReplication, Flags: flags, Endpoint: at}
	}
	service, old, old6 := netip.MustParseAddr("10.99.0.254"), netip.MustParseAddr("10.99.0.77"), netip.MustParseAddr("2001:db8::77")
	host := speakertest.MACRoute(vtep, 100, 77, speakertest.Attrs(old, 100))
	host.Attrs.LocalPref = 100
	return []evpn.Route{
		imet(1, vtep, evpn.PMSITunnel{}, evpn.RelayClaim{Group: 0x1234abcd, State: evpn.RelayActive, Deliver: true}),
		imet(1, service, evpn.PMSITunnel{Type: evpn.PMSIAssistedReplication, Flags: evpn.PMSIFlagsReplicatorAR, Endpoint: service}, evpn.RelayClaim{}),
		imet(1, old, ingress(old, 0), evpn.RelayClaim{}),
		imet(1, old6, ingress(old6, 0), evpn.RelayClaim{}),
		imet(2, vtep, ingress(vtep, evpn.PMSIFlagsLeafAR), evpn.RelayClaim{}),
		imet(3, vtep, ingress(vtep, 0), evpn.RelayClaim{Group: 0x1234abcd, State: evpn.RelayReady}),
		host, // behind a VTEP that we speak for
	}
}

// TestFloodingRoutes: claims, assisted replication, and routes for other VTEPs reach core and peers as
// they were made, our own and those that we reflect.
func TestFloodingRoutes(t *testing.T) {
	a := newArena(t, true)
	own, theirs := floodingRoutes(ourID), floodingRoutes(idA)
	a.Apply(own, nil)
	p := a.attack(t)
	p.Announce(t, theirs...)
	a.await(t, keys(theirs)...)
	for _, r := range theirs {
		assert.Equal(t, r.Attrs, a.Routes(peerA)[r.Key].Attrs, "%s at the core", r.Key)
	}
	a.client.Await(t, "our own routes", func(h *speakertest.Heard) bool { return len(h.Routes) == len(own)+len(theirs) })
	a.client.See(func(h *speakertest.Heard) {
		for _, r := range own {
			assert.Equal(t, r.Attrs, h.Routes[r.Key].Attrs, "%s of our own", r.Key)
		}
		for _, r := range theirs {
			got := *h.Routes[r.Key].Attrs
			assert.Equal(t, idA, got.OriginatorID)
			got.OriginatorID = netip.Addr{}
			assert.Equal(t, *r.Attrs, got, "%s reflected", r.Key)
		}
	})
	// The state of a claim changes, and the routes for others end.
	ready := theirs[0]
	ready.Attrs = new(*ready.Attrs)
	ready.Attrs.Claim.State = evpn.RelayReady
	p.Announce(t, ready)
	p.Withdraw(t, keys(theirs[2:4])...)
	a.client.Await(t, "the change and the withdrawals", func(h *speakertest.Heard) bool {
		return len(h.Routes) == len(own)+len(theirs)-2 && h.Routes[ready.Key].Attrs.Claim == ready.Attrs.Claim
	})
	a.unharmed(t)
}

// TestFloodingRoutesAreNotShed: they count as imported by the same targets as all others, and no more.
func TestFloodingRoutesAreNotShed(t *testing.T) {
	s := speakertest.Prepare(t, passive(speaker.Neighbor{Address: peerA}))
	s.SetImports(imports(t, "*:100"))
	s.Run(t)
	p := speakertest.Dial(t, peerA, s.At, ibgp(idA)).Handshake(t)
	others := macs(idA, 200, 2000) // more than are kept as a sample
	elsewhere := floodingRoutes(vtepA)[0]
	elsewhere.Attrs = new(*elsewhere.Attrs)
	elsewhere.Attrs.RouteTargets = others[0].Attrs.RouteTargets
	p.Announce(t, others...)
	p.Announce(t, elsewhere)
	theirs := floodingRoutes(idA)
	p.Announce(t, theirs...)
	s.Await(t, "all routes of the VNI", func([]evpn.Event) bool {
		got := s.Routes(peerA)
		for _, r := range theirs {
			if _, ok := got[r.Key]; !ok {
				return false
			}
		}
		return true
	})
	assert.NotContains(t, s.Routes(peerA), elsewhere.Key)
}
