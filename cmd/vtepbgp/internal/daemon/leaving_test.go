package daemon

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/flooding"
	"github.com/vtepbgp/vtepbgp/config"
	"github.com/vtepbgp/vtepbgp/evpn"
)

// TestServiceAddressLeavesLater: leaves send there until they have heard that its route is withdrawn.
func TestServiceAddressLeavesLater(t *testing.T) {
	one, two := netip.MustParseAddr("10.255.0.1"), netip.MustParseAddr("10.255.0.2")
	with := func(service netip.Addr, mode evpn.FloodMode) *config.Config {
		cfg := testConfig(t.TempDir())
		cfg.Flood.ServiceAddress = service
		cfg.VNIs[0].Flooding = mode
		return &cfg
	}
	now := time.Unix(1e9, 0)
	l := leaving{}
	leaf, first := with(netip.Addr{}, evpn.FloodAssisted), with(one, evpn.FloodReplicator)
	l.leave(leaf, first, now)
	assert.Equal(t, []netip.Addr{one}, l.kernelConfig(first).ServiceAddresses)
	second := with(two, evpn.FloodReplicator)
	l.leave(first, second, now)
	assert.Equal(t, []netip.Addr{two, one}, l.kernelConfig(second).ServiceAddresses)
	assert.False(t, l.gone(now.Add(flooding.Linger-1)))
	l.leave(second, first, now)
	assert.Equal(t, []netip.Addr{one, two}, l.kernelConfig(first).ServiceAddresses, "it is back")
	l.leave(first, leaf, now.Add(time.Second))
	assert.True(t, l.gone(now.Add(flooding.Linger)))
	assert.Equal(t, []netip.Addr{one}, l.kernelConfig(leaf).ServiceAddresses)
	assert.True(t, l.gone(now.Add(flooding.Linger+time.Second)))
	assert.Empty(t, l.kernelConfig(leaf).ServiceAddresses)
	l.leave(with(one, evpn.FloodMulticast), leaf, now)
	assert.Empty(t, l, "what is delivered to a group ends at once")
}
