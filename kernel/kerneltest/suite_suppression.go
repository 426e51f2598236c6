package kerneltest

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/kernel"
	"github.com/vtepbgp/vtepbgp/kernel/snoop"
)

// suppression says when hosts get no answers, and why, also when the reason is a sysctl.
func suppression(t *testing.T, f Factory) {
	r := start(t, underlay(t, f), oneVNI(), 0)
	wantState := func(state string, missing ...string) {
		t.Helper()
		if missing == nil {
			missing = []string{}
		}
		r.eventually(func() bool {
			st := r.k.Status()[0]
			return st.SuppressionState == state && slices.Equal(st.SuppressionMissing, missing)
		}, state)
	}
	r.set(remote(100, macB, vtepB), binding(100, "192.0.2.11", macB), binding(100, "2001:db8::11", macB))
	both := []string{
		"192.0.2.11 dev br100 lladdr 02:00:00:00:00:0b extern_learn NOARP proto 229",
		"2001:db8::11 dev br100 lladdr 02:00:00:00:00:0b extern_learn NOARP proto 229",
	}
	r.wantNeighbors(both...)
	wantState(kernel.SuppressionReady)

	on := true
	require.NoError(t, r.raw.SetLink(r.link("p1").Index, kernel.LinkSettings{NeighSuppress: &on}))
	wantState(kernel.SuppressionNotReady,
		"port p1 has neigh_suppress on, so that its hosts get no answers: bridge link set dev p1 neigh_suppress off")
	assert.Equal(t, []string{"ARP and ND suppression is not ready: " +
		"port p1 has neigh_suppress on, so that its hosts get no answers: bridge link set dev p1 neigh_suppress off"}, r.k.Status()[0].Problems)
	on = false
	require.NoError(t, r.raw.SetLink(r.link("p1").Index, kernel.LinkSettings{NeighSuppress: &on}))
	wantState(kernel.SuppressionReady)

	r.SetIPv6(t, "br100", false)
	wantState(kernel.SuppressionNotReady,
		"bridge br100 has no IPv6, so that ND is not answered: sysctl -w net.ipv6.conf.br100.disable_ipv6=0")
	r.wantNeighbors(both[0])
	r.SetIPv6(t, "br100", true)
	r.wantNeighbors(both...)
	wantState(kernel.SuppressionReady)

	cfg := oneVNI()
	cfg.VNIs[0].Suppression = false
	require.NoError(t, r.k.Configure(cfg))
	wantState(kernel.SuppressionOff)
	assert.False(t, r.link("vxlan100").Port.NeighSuppress)
}

// swallowed is what the bridge keeps to itself: it is answered or carried, where the
// bridge does so and nowhere else.
func swallowed(t *testing.T, f Factory) {
	r := start(t, underlay(t, f), oneVNI(), 0)
	r.settledPorts()
	r.set(remote(100, macB, vtepB), binding(100, "192.0.2.11", macB), binding(100, "2001:db8::11", macB))
	probe := func(ip netip.Addr) []byte {
		return snoop.ARPRequestFrame(snoop.BroadcastMAC, snoop.Station{MAC: macC, IP: any4}, ip)
	}
	wantHeard := func(port string, frame []byte, what string) {
		t.Helper()
		r.eventually(func() bool {
			return slices.ContainsFunc(r.HostHears(t, port), func(f []byte) bool { return string(f[:min(len(f), len(frame))]) == string(frame) })
		}, what)
	}
	wantCounted := func(k snoop.Kind, d snoop.Deed, n uint64) {
		t.Helper()
		r.eventually(func() bool { return r.k.Stats().Suppression[k][d] == n }, k.String()+" "+d.String())
	}

	r.HostSends(t, "p1", probe(hostB4))
	wantHeard("p1", snoop.ARPReplyFrame(snoop.Station{MAC: macB, IP: hostB4}, snoop.Station{MAC: macC, IP: any4}), "answer to an ARP probe")
	r.HostSends(t, "p2", solicitDAD(macC, hostB6))
	wantHeard("p2", snoop.NAFrame(snoop.Station{MAC: macB, IP: hostB6}, allNodes, hostB6, snoop.Flags{Override: true}), "answer to DAD")

	r.HostSends(t, "p1", announce(macC, netip.MustParseAddr("192.0.2.12")))
	wantCounted(snoop.ARPGratuitous, snoop.Unflooded, 1)
	r.set(flood(100, vtepB))
	r.HostSends(t, "p1", announce(macC, netip.MustParseAddr("192.0.2.12")))
	wantCounted(snoop.ARPGratuitous, snoop.Carried, 1)
	r.HostSends(t, "p1", probe(netip.MustParseAddr("192.0.2.77")))
	wantCounted(snoop.ARPProbe, snoop.Carried, 1)

	// An address of a remote host comes up here with another MAC, in a question that the
	// bridge answers: hosts elsewhere have to hear of it.
	r.HostSends(t, "p1", snoop.ARPRequestFrame(snoop.BroadcastMAC, snoop.Station{MAC: macC, IP: hostB4}, hostB4.Next()))
	wantCounted(snoop.ARPGratuitous, snoop.Announced, 1)

	// What the bridge lets pass is left alone.
	before := r.k.Stats()
	on := true
	require.NoError(t, r.raw.SetLink(r.link("p1").Index, kernel.LinkSettings{NeighSuppress: &on}))
	r.eventually(func() bool { return r.k.Status()[0].SuppressionState == kernel.SuppressionNotReady }, "a port that suppresses")
	r.HostSends(t, "p1", probe(hostB4))
	r.HostSends(t, "p1", announce(macC, netip.MustParseAddr("192.0.2.12")))
	kinds := func(s kernel.Stats) uint64 {
		return s.Heard[snoop.ARPProbe.String()] + s.Heard[snoop.ARPGratuitous.String()]
	}
	r.eventually(func() bool { return kinds(r.k.Stats()) == kinds(before)+2 }, "packets heard")
	assert.Equal(t, before.Suppression, r.k.Stats().Suppression)
}
