package evpn_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/evpn"
)

var (
	start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	vtep1 = netip.MustParseAddr("10.0.0.1")
	vtep2 = netip.MustParseAddr("10.0.0.2")
	rr    = netip.MustParseAddr("10.0.0.254")
	mac1  = evpn.MAC{2, 0, 0, 0, 0, 1}
)

func vniConfig(vni evpn.VNI, vtep netip.Addr) evpn.VNIConfig {
	rt, _ := evpn.AutoRouteTarget(65000, vni)
	routerID := vtep
	if !vtep.Is4() {
		routerID = vtep1
	}
	return evpn.VNIConfig{
		VNI: vni, RD: evpn.RDFromRouterID(routerID, uint16(vni)), Export: []evpn.RouteTarget{rt},
		Import: []evpn.ImportTarget{{AnyAdmin: true, Number: uint32(vni)}}, Flooding: evpn.FloodIngress, Suppression: true,
	}
}

func oneVNI() evpn.Config {
	return evpn.Config{VTEP: vtep1, VNIs: []evpn.VNIConfig{vniConfig(100, vtep1)}, Duplicate: evpn.DefaultDuplicate}
}

// TestTwoCores joins two cores directly: each tells the other what it drains.
func TestTwoCores(t *testing.T) {
	a := evpn.New(oneVNI())
	b := evpn.New(evpn.Config{VTEP: vtep2, VNIs: []evpn.VNIConfig{vniConfig(100, vtep2)}})
	a.Handle(evpn.VNIState{VNI: 100, Up: true}, start)
	b.Handle(evpn.VNIState{VNI: 100, Up: true}, start)
	a.Handle(evpn.LocalMACLearned{VNI: 100, MAC: mac1, Port: "veth1"}, start)

	ch := a.Drain(start)
	require.Len(t, ch.Announce, 2)
	assert.Empty(t, ch.Withdraw)
	assert.Empty(t, ch.Rows)
	b.Handle(evpn.RoutesReceived{Neighbor: vtep1, Announced: ch.Announce}, start)
	rows := b.Drain(start).Rows
	assert.Equal(t, []evpn.RowChange{
		{Row: evpn.Row{RowKey: evpn.RowKey{Kind: evpn.FloodRow, VNI: 100, IP: vtep1}}},
		{Row: evpn.Row{RowKey: evpn.RowKey{Kind: evpn.MACRow, VNI: 100, MAC: mac1}, RowValue: evpn.RowValue{VTEP: vtep1}}},
	}, rows)

	a.Handle(evpn.LocalMACGone{VNI: 100, MAC: mac1}, start)
	ch = a.Drain(start)
	require.Len(t, ch.Withdraw, 1)
	b.Handle(evpn.RoutesReceived{Neighbor: vtep1, Withdrawn: ch.Withdraw}, start)
	assert.Equal(t, []evpn.RowChange{
		{Row: evpn.Row{RowKey: evpn.RowKey{Kind: evpn.MACRow, VNI: 100, MAC: mac1}}, Remove: true, Was: evpn.RowValue{VTEP: vtep1}},
	}, b.Drain(start).Rows)
}
