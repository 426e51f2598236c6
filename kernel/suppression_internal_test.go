package kernel

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
)

// Each thing that keeps a bridge from answering is named with what to do.
func TestSuppressionMissing(t *testing.T) {
	vtep := netip.MustParseAddr("10.0.0.1")
	tests := []struct {
		name  string
		spoil func(cfg *VNI, device, bridge, port *Link)
		want  []string
	}{
		{"ready", func(*VNI, *Link, *Link, *Link) {}, nil},
		{"not wanted", func(cfg *VNI, d, br, _ *Link) { cfg.Suppression, d.Port.NeighSuppress, br.IPv6 = false, false, false }, nil},
		{"down", func(_ *VNI, _, br, _ *Link) { br.Up = false }, []string{"the VNI is down: bridge br100 is down"}},
		{"device learns", func(_ *VNI, d, _, _ *Link) { d.VXLAN.Learning = true },
			[]string{"device vxlan100 learns MACs from the tunnel: ip link set vxlan100 type vxlan nolearning"}},
		{"VXLAN port learns", func(_ *VNI, d, _, _ *Link) { d.Port.Learning = true },
			[]string{"bridge port vxlan100 learns MACs from the tunnel: bridge link set dev vxlan100 learning off"}},
		{"VXLAN port does not suppress", func(_ *VNI, d, _, _ *Link) { d.Port.NeighSuppress = false },
			[]string{"bridge port vxlan100 has neigh_suppress off: bridge link set dev vxlan100 neigh_suppress on (Linux 4.15 or later)"}},
		{"VLANs", func(_ *VNI, _, br, _ *Link) { br.Bridge.VLANFiltering = true },
			[]string{"bridge br100 filters VLANs: ip link set br100 type bridge vlan_filtering 0"}},
		{"IPv6 off", func(_ *VNI, _, br, _ *Link) { br.IPv6 = false },
			[]string{"bridge br100 has no IPv6, so that ND is not answered: sysctl -w net.ipv6.conf.br100.disable_ipv6=0"}},
		{"MTU below IPv6's", func(_ *VNI, _, br, _ *Link) { br.IPv6, br.MTU = false, 1279 },
			[]string{"bridge br100 has no IPv6, so that ND is not answered: its MTU of 1279 must be 1280 or more"}},
		{"access port suppresses", func(_ *VNI, d, _, p *Link) { p.Port.NeighSuppress, d.Port.NeighSuppress = true, false }, []string{
			"bridge port vxlan100 has neigh_suppress off: bridge link set dev vxlan100 neigh_suppress on (Linux 4.15 or later)",
			"port p1 has neigh_suppress on, so that its hosts get no answers: bridge link set dev p1 neigh_suppress off",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := VNI{VNI: 100, Suppression: true}
			links := []Link{
				{Index: 1, Name: "lo", Up: true, Loop: true},
				{Index: 2, Name: "br100", Kind: "bridge", MTU: 1500, Up: true, IPv6: true},
				{Index: 3, Name: "vxlan100", Kind: "vxlan", Up: true, Master: 2,
					VXLAN: VXLANAttributes{VNI: 100, Local: vtep, Port: 4789}, Port: PortAttributes{Bridge: true, NeighSuppress: true}},
				{Index: 4, Name: "p1", Kind: "veth", Up: true, Master: 2, Port: PortAttributes{Bridge: true, Learning: true}},
			}
			tt.spoil(&cfg, &links[2], &links[1], &links[3])
			all := Config{VTEP: vtep, VNIs: []VNI{cfg}}.withDefaults()
			s := newSnapshot(links, []Address{{Index: 1, IP: vtep}})
			p := &plan{cfg: all.VNIs[0], site: newSite(all, s), s: s}
			p.run()
			assert.Equal(t, tt.want, p.state.missing)
		})
	}
}
