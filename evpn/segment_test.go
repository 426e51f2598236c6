package evpn_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// Who is on our segment, but is configured with another group or other prefixes, is named: neither takes
// notice of the other, so frames would be copied twice.
func TestStrangersOnTheSegment(t *testing.T) {
	rt, _ := evpn.AutoRouteTarget(65000, 100)
	segment := evpn.SegmentConfig{Group: netip.MustParseAddr("239.1.1.1"), Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.1.0/24")}}
	other := segment
	other.Prefixes = []netip.Prefix{netip.MustParsePrefix("10.0.1.0/25")}
	c := evpn.New(evpn.Config{VTEP: netip.MustParseAddr("10.0.1.1"), VNIs: []evpn.VNIConfig{{
		VNI: 100, RD: evpn.RD{1: 1}, Flooding: evpn.FloodMulticast, Segment: segment,
		Export: []evpn.RouteTarget{rt}, Import: []evpn.ImportTarget{{Exact: rt}},
	}}})
	now, neighbor := time.Unix(1e9, 0), netip.MustParseAddr("10.0.0.254")
	c.Handle(evpn.NeighborUp{Neighbor: neighbor}, now)
	route := func(vtep string, claim evpn.RelayClaim) evpn.Route {
		a := netip.MustParseAddr(vtep)
		return evpn.Route{
			Key: evpn.RouteKey{Type: evpn.IMETRoute, RD: evpn.RDFromRouterID(a, 1), IP: a}, Label: 100,
			Attrs: &evpn.Attrs{
				NextHop: a, RouteTargets: []evpn.RouteTarget{rt}, Encaps: []uint16{evpn.EncapVXLAN}, LocalPref: 100, Claim: claim,
				PMSI: &evpn.PMSITunnel{Type: evpn.PMSIIngressReplication, Label: 100, Endpoint: a},
			},
		}
	}
	routes := []evpn.Route{
		route("10.0.1.9", evpn.RelayClaim{Segment: other.ID(), State: evpn.RelaysItself}),
		route("10.0.1.2", evpn.RelayClaim{Segment: other.ID(), State: evpn.RelayActive}),
		route("10.0.1.3", evpn.RelayClaim{Segment: segment.ID(), State: evpn.RelayReady}),
		route("10.0.1.4", evpn.RelayClaim{}),                                             // heard by somebody
		route("10.0.2.2", evpn.RelayClaim{Segment: other.ID(), State: evpn.RelayActive}), // of a segment elsewhere
	}
	c.Handle(evpn.RoutesReceived{Neighbor: neighbor, Announced: routes}, now)
	assert.Empty(t, c.VNIs()[0].Strangers, "the VNI is down")
	c.Handle(evpn.VNIState{VNI: 100, Up: true}, now)
	c.Drain(now)
	assert.Equal(t, []netip.Addr{netip.MustParseAddr("10.0.1.2"), netip.MustParseAddr("10.0.1.9")}, c.VNIs()[0].Strangers)
	c.Handle(evpn.RoutesReceived{Neighbor: neighbor, Withdrawn: []evpn.RouteKey{routes[0].Key}}, now)
	assert.Equal(t, []netip.Addr{netip.MustParseAddr("10.0.1.2")}, c.VNIs()[0].Strangers)
}
