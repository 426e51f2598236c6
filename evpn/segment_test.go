package evpn_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// Who is on our segment, but is configured with another group or other prefixes, is named.
func TestStrangersOnTheSegment(t *testing.T) {
	rt, _ := evpn.AutoRouteTarget(65000, 100)
	segment := evpn.SegmentConfig{Group: netip.MustParseAddr("239.1.1.1"), Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.1.0/24")}}
	narrow, elsewhere, group := segment, segment, segment
	narrow.Prefixes = []netip.Prefix{netip.MustParsePrefix("10.0.1.0/25")}
	elsewhere.Prefixes = []netip.Prefix{netip.MustParsePrefix("10.0.2.0/24")}
	group.Group = group.Group.Next()
	c := evpn.New(evpn.Config{VTEP: netip.MustParseAddr("10.0.1.1"), VNIs: []evpn.VNIConfig{{
		VNI: 100, RD: evpn.RD{1: 1}, Flooding: evpn.FloodMulticast, Segment: segment,
		Export: []evpn.RouteTarget{rt}, Import: []evpn.ImportTarget{{Exact: rt}},
	}}})
	now, neighbor := time.Unix(1e9, 0), netip.MustParseAddr("10.0.0.254")
	c.Handle(evpn.NeighborUp{Neighbor: neighbor}, now)
	route := func(vtep string, state evpn.RelayState, g *evpn.SegmentConfig) evpn.Route {
		a := netip.MustParseAddr(vtep)
		r := evpn.Route{
			Key: evpn.RouteKey{Type: evpn.IMETRoute, RD: evpn.RDFromRouterID(a, 1), IP: a}, Label: 100,
			Attrs: &evpn.Attrs{
				NextHop: a, RouteTargets: []evpn.RouteTarget{rt}, Encaps: []uint16{evpn.EncapVXLAN}, LocalPref: 100,
				PMSI: &evpn.PMSITunnel{Type: evpn.PMSIIngressReplication, Label: 100, Endpoint: a},
			},
		}
		if g != nil {
			r.Attrs.Claim = evpn.RelayClaim{Group: g.GroupID(), State: state}
			r.Attrs.Segment = []evpn.SegmentPrefix{evpn.NewSegmentPrefix(g.Prefixes[0])}
		}
		return r
	}
	routes := []evpn.Route{
		route("10.0.1.9", evpn.RelaysItself, &narrow),
		route("10.0.1.2", evpn.RelayActive, &group),
		route("10.0.1.3", evpn.RelayReady, &segment),
		route("10.0.1.4", evpn.RelaysItself, nil), // heard by somebody
		route("10.0.1.5", evpn.RelayedFor, &narrow),
		route("10.0.2.2", evpn.RelayActive, &elsewhere),
		route("10.0.3.3", evpn.RelayActive, &narrow), // it takes us for one of its own
	}
	c.Handle(evpn.RoutesReceived{Neighbor: neighbor, Announced: routes}, now)
	assert.Empty(t, c.VNIs()[0].Strangers, "the VNI is down")
	c.Handle(evpn.VNIState{VNI: 100, Up: true}, now)
	c.Drain(now)
	strangers := func() (all []string) {
		for _, a := range c.VNIs()[0].Strangers {
			all = append(all, a.String())
		}
		return all
	}
	assert.Equal(t, []string{"10.0.1.2", "10.0.1.9", "10.0.3.3"}, strangers())
	c.Handle(evpn.RoutesReceived{Neighbor: neighbor, Withdrawn: []evpn.RouteKey{routes[0].Key}}, now)
	assert.Equal(t, []string{"10.0.1.2", "10.0.3.3"}, strangers())
}

// inside is another address of p, if there is one.
func inside(p netip.Prefix) netip.Addr {
	if a := p.Addr().Next(); p.Contains(a) {
		return a
	}
	return p.Addr()
}

// TestSegmentPrefixes: they tell equal prefixes from others, and what is inside from what is not.
func TestSegmentPrefixes(t *testing.T) {
	seen := map[evpn.SegmentPrefix]string{}
	for _, text := range []string{
		"10.0.1.0/24", "10.0.1.0/25", "10.0.1.128/25", "10.0.2.0/24", "0.0.0.0/0", "::/0", "fd00:0:1::/64", "fd00:0:2::/64", "fd00:0:1::/48", "10.0.1.1/32",
	} {
		p := netip.MustParsePrefix(text)
		s := evpn.NewSegmentPrefix(p)
		assert.Empty(t, seen[s], text)
		seen[s] = text
		assert.Equal(t, s, evpn.NewSegmentPrefix(netip.PrefixFrom(inside(p), p.Bits())), "bits beyond the length do not count")
		parsed, err := evpn.ParseSegmentPrefix(s.String())
		require.NoError(t, err)
		assert.Equal(t, s, parsed)
		for _, a := range []string{"10.0.1.1", "10.0.1.129", "10.0.2.1", "fd00:0:1::1", "fd00:0:2::1"} {
			assert.Equal(t, p.Contains(netip.MustParseAddr(a)), s.Has(netip.MustParseAddr(a)), "%s in %s", a, text)
		}
	}
	for _, text := range []string{"", "24", "24/", "256/0a1b2c3d4e", "024/0a1b2c3d4e", "24/0A1b2c3d4e", "24/0a1b2c3d4e5f", "x/0a1b2c3d4e"} {
		_, err := evpn.ParseSegmentPrefix(text)
		assert.Error(t, err, "%q", text)
	}
}
