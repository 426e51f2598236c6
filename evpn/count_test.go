package evpn_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/vtepbgp/vtepbgp/evpn"
)

func TestCounts(t *testing.T) {
	c := evpn.New(evpn.Config{})
	assert.Empty(t, c.RouteCounts())
	assert.Zero(t, c.VTEPCount())

	own, _ := evpn.AutoRouteTarget(65000, 100)
	other, _ := evpn.AutoRouteTarget(65000, 999)
	c = evpn.New(evpn.Config{VTEP: netip.MustParseAddr("10.0.0.1"), VNIs: []evpn.VNIConfig{{
		VNI: 100, RD: evpn.RDFromRouterID(netip.MustParseAddr("10.0.0.1"), 1), Flooding: evpn.FloodIngress,
		Export: []evpn.RouteTarget{own}, Import: []evpn.ImportTarget{{Exact: own}},
	}}})
	now := time.Unix(1e9, 0)
	route := func(n byte, rt evpn.RouteTarget) evpn.Route {
		return evpn.Route{
			Key:   evpn.RouteKey{Type: evpn.MACIPRoute, RD: evpn.RD{1: 1, 7: 9}, MAC: evpn.MAC{2, 5: n}},
			Label: 100,
			Attrs: &evpn.Attrs{NextHop: netip.MustParseAddr("10.0.0.2"), RouteTargets: []evpn.RouteTarget{rt}, Encaps: []uint16{evpn.EncapVXLAN}, LocalPref: 100},
		}
	}
	c.Handle(evpn.VNIState{VNI: 100, Up: true}, now)
	c.Handle(evpn.NeighborUp{Neighbor: netip.MustParseAddr("10.0.0.254")}, now)
	c.Handle(evpn.RoutesReceived{Neighbor: netip.MustParseAddr("10.0.0.254"), Announced: []evpn.Route{route(1, own), route(2, own), route(3, other)}}, now)
	c.Drain(now)
	assert.Equal(t, map[evpn.RouteCount]int{
		{Type: evpn.MACIPRoute}:                             2,
		{Type: evpn.MACIPRoute, Reason: evpn.NoImportMatch}: 1,
	}, c.RouteCounts())
	assert.Equal(t, 1, c.VTEPCount())
}
