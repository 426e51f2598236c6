package evpn_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// Reading in pieces gives what reading at once gives.
func TestBrowseEqualsList(t *testing.T) {
	a := netip.MustParseAddr
	rt, _ := evpn.AutoRouteTarget(65000, 100)
	c := evpn.New(evpn.Config{VTEP: a("10.0.0.1"), VNIs: []evpn.VNIConfig{{
		VNI: 100, RD: evpn.RDFromRouterID(a("10.0.0.1"), 1), Flooding: evpn.FloodIngress, Suppression: true,
		Export: []evpn.RouteTarget{rt}, Import: []evpn.ImportTarget{{Exact: rt}},
		StaticMACs: []evpn.StaticMAC{{MAC: evpn.MAC{2, 5: 77}, VTEP: a("10.0.0.9")}},
	}}})
	now := time.Unix(1e9, 0)
	c.Handle(evpn.VNIState{VNI: 100, Up: true}, now)
	for i := range byte(20) {
		c.Handle(evpn.LocalMACLearned{VNI: 100, MAC: evpn.MAC{2, 5: i}, Port: "a"}, now)
		c.Handle(evpn.LocalIPLearned{VNI: 100, MAC: evpn.MAC{2, 5: i}, IP: netip.AddrFrom4([4]byte{192, 0, 2, i})}, now)
	}
	attrs := &evpn.Attrs{NextHop: a("10.0.0.2"), RouteTargets: []evpn.RouteTarget{rt}, Encaps: []uint16{evpn.EncapVXLAN}, LocalPref: 100}
	for _, nb := range []string{"10.0.0.254", "10.0.0.253"} {
		ev := evpn.RoutesReceived{Neighbor: a(nb)}
		for i := range byte(20) {
			ev.Announced = append(ev.Announced, evpn.Route{
				Key: evpn.RouteKey{Type: evpn.MACIPRoute, RD: evpn.RD{1: 1, 7: 9}, MAC: evpn.MAC{2, 1, 5: i}}, Label: 100, Attrs: attrs,
			})
		}
		c.Handle(evpn.NeighborUp{Neighbor: a(nb)}, now)
		c.Handle(ev, now)
	}
	c.Drain(now)

	var want, got []evpn.RouteInfo
	c.Routes(func(r evpn.RouteInfo) bool { want = append(want, r); return true })
	var refs []evpn.RouteRef
	c.RouteRefs(func(r evpn.RouteRef) bool { refs = append(refs, r); return true })
	slices.SortFunc(refs, evpn.RouteRef.Compare)
	for _, r := range refs {
		i, ok := c.Route(r)
		assert.True(t, ok, r.Key)
		got = append(got, i)
	}
	assert.Len(t, want, 1+20+20+40)
	assert.Equal(t, want, got)

	var wantMACs, gotMACs []evpn.MACInfo
	c.MACs(100, func(m evpn.MACInfo) bool { wantMACs = append(wantMACs, m); return true })
	var macs []evpn.MAC
	c.MACRefs(100, func(m evpn.MAC) bool { macs = append(macs, m); return true })
	slices.SortFunc(macs, evpn.MAC.Compare)
	for _, m := range macs {
		if i, ok := c.MAC(100, m); ok {
			gotMACs = append(gotMACs, i)
		}
	}
	assert.Len(t, wantMACs, 41)
	assert.Equal(t, wantMACs, gotMACs)

	var vnis []evpn.VNIInfo
	var lists []evpn.FloodEntry
	for _, vni := range c.VNIRefs() {
		i, ok := c.VNI(vni)
		assert.True(t, ok)
		vnis, lists = append(vnis, i), append(lists, c.Flood(vni)...)
	}
	assert.NotEmpty(t, vnis)
	assert.Equal(t, c.VNIs(), vnis)
	assert.Equal(t, c.Flood(0), lists)
	_, ok := c.VNI(4711)
	assert.False(t, ok)
	assert.Empty(t, c.Flood(4711))

	var wantRows, gotRows []evpn.Row
	wantRows = c.Desired().Rows
	c.RowKeys(100, func(k evpn.RowKey) bool {
		if val, ok := c.Row(k); ok {
			gotRows = append(gotRows, evpn.Row{RowKey: k, RowValue: val})
		}
		return true
	})
	slices.SortFunc(gotRows, func(a, b evpn.Row) int { return a.Compare(b.RowKey) })
	assert.Len(t, wantRows, 21)
	assert.Equal(t, wantRows, gotRows)
	assert.Equal(t, []evpn.VNI{100}, c.VNIsWith(evpn.MAC{2, 1, 5: 3}, netip.Addr{}))
	assert.Equal(t, []evpn.VNI{100}, c.VNIsWith(evpn.MAC{}, a("192.0.2.3")))
	assert.Empty(t, c.VNIsWith(evpn.MAC{2, 9}, netip.Addr{}))
	assert.Empty(t, c.VNIsWith(evpn.MAC{2, 1, 5: 3}, a("192.0.2.99")))
	c.RowKeys(200, func(k evpn.RowKey) bool { assert.Fail(t, "row of another VNI", k); return false })

	c.Handle(evpn.VNIState{VNI: 100}, now)
	c.Handle(evpn.NeighborRemoved{Neighbor: a("10.0.0.254")}, now)
	c.Drain(now)
	for _, r := range refs {
		_, ok := c.Route(r)
		assert.Equal(t, r.Neighbor == a("10.0.0.253"), ok, "gone routes are not found: %s", r.Key)
	}
}
