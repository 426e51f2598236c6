package kernel

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestSite(t *testing.T) {
	lo := Link{Index: 1, Name: "lo", MTU: 65536, Up: true, Loop: true}
	eth0 := Link{Index: 2, Name: "eth0", MTU: 9000, Up: true}
	eth1 := Link{Index: 3, Name: "eth1", MTU: 1600, Up: true}
	down := Link{Index: 4, Name: "eth2", MTU: 1280}
	bridge := Link{Index: 5, Name: "br100", Kind: "bridge", MTU: 1400, Up: true}
	access := Link{Index: 6, Name: "p1", MTU: 1300, Up: true}
	port := Link{Index: 7, Name: "p2", MTU: 1300, Up: true, Master: 5, Port: PortAttributes{Bridge: true}}
	at := func(index int32, ip string) Address { return Address{Index: index, IP: netip.MustParseAddr(ip)} }
	four, six := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("2001:db8::1")
	uplinks := []Address{at(2, "192.0.2.1"), at(3, "fe80::1"), at(4, "192.0.2.9"), at(5, "198.51.100.1"), at(6, "fe80::6"), at(7, "fe80::7")}

	tests := []struct {
		name  string
		cfg   Config
		addrs []Address
		want  site
		mtu   int
	}{
		{"address on an uplink: its MTU", Config{VTEP: four}, []Address{at(2, "10.0.0.1"), at(3, "10.1.0.1")}, site{vtep: four, present: true, where: "eth0", mtu: 9000}, 8950},
		{"address on lo: the smallest uplink that is up, bridges of ours and their ports aside", Config{VTEP: four}, append(uplinks, at(1, "10.0.0.1")), site{vtep: four, present: true, mtu: 1600}, 1550},
		{"IPv6 costs 20 more", Config{VTEP: six}, []Address{at(3, "2001:db8::1")}, site{vtep: six, present: true, where: "eth1", mtu: 1600}, 1530},
		{"not on the host", Config{VTEP: four}, uplinks, site{vtep: four, mtu: 1600}, 1550},
		{"nothing known of the underlay", Config{VTEP: four}, nil, site{vtep: four, mtu: 1500}, 1450},
		{"tentative address", Config{VTEP: six}, []Address{{Index: 3, IP: six, Unusable: true}}, site{vtep: six, mtu: 1600}, 1530},
		{"interface: IPv4 first, never loopback or link-local", Config{VTEPInterface: "lo"},
			[]Address{at(1, "127.0.0.1"), at(1, "::1"), at(1, "2001:db8::1"), at(1, "10.0.0.1"), at(3, "192.0.2.1")}, site{vtep: four, present: true, mtu: 1600}, 1550},
		{"interface without an address", Config{VTEPInterface: "eth1"}, []Address{at(3, "fe80::1")}, site{mtu: 1600}, 1530},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := tt.cfg
			cfg.VNIs = []VNI{{VNI: 100, Ports: []string{"p1"}}}
			cfg = cfg.withDefaults()
			got := newSite(cfg, newSnapshot([]Link{lo, eth0, eth1, down, bridge, access, port}, tt.addrs))
			assert.Equal(t, tt.want, got)
			assert.Equal(t, tt.mtu, got.deviceMTU(cfg.VNIs[0]))
		})
	}
	assert.Equal(t, 1400, site{vtep: four, mtu: 9000}.deviceMTU(VNI{MTU: 1400}))
}
