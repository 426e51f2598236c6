package snoop

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// What hosts make come and go leaves nothing behind, however often they do.
func TestTableForgetsWhatIsOver(t *testing.T) {
	t.Parallel()
	const vni = 100
	fdb := map[evpn.MAC]int32{}
	table := NewTable(func(_ evpn.VNI, mac evpn.MAC) int32 { return fdb[mac] })
	table.Set(vni, Network{Prober: Station{MAC: evpn.MAC{2, 0xff}}})
	a, b := evpn.MAC{2, 0, 0, 0, 0, 0xa}, evpn.MAC{2, 0, 0, 0, 0, 0xb}
	x, y := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("192.0.2.1")
	now := time.Unix(1_000_000, 0)
	hear := func(kind Kind, mac evpn.MAC, ip netip.Addr) {
		table.Hear(Observation{VNI: vni, Link: 1, Packet: Packet{Kind: kind, Source: mac, MAC: mac, IP: ip, Override: true}}, now)
		table.Take()
	}

	// All of it comes before the bridge's event of the MAC: two claims that wait for the
	// event, the second of which proves a third.
	hear(NSProbe, a, x)
	hear(ARPGratuitous, a, y)
	hear(NAUnsolicited, a, x)
	assert.Equal(t, 3, table.ports[1].claims)
	fdb[a] = 1
	table.Learned(vni, a, 1, now)
	assert.Equal(t, port{bindings: 2}, *table.ports[1])

	fdb[b] = 1
	for range 1000 {
		now = now.Add(3 * time.Second)
		hear(ARPGratuitous, b, y)
		hear(ARPGratuitous, a, y)
		table.Tick(now)
		assert.LessOrEqual(t, len(table.timers), 2, "one for each binding")
	}
	table.Forget(vni, a)
	table.Forget(vni, b)
	assert.Empty(t, table.timers)
	assert.Empty(t, table.ports)
}
