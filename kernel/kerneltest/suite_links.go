package kerneltest

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/kernel"
)

func createDevices(t *testing.T, f Factory) {
	r := start(t, underlay(t, f), oneVNI(), 0)
	r.wantEvents(evpn.VNIState{VNI: 100, Up: true})

	d, br := r.link("vxlan100"), r.link("br100")
	assert.Equal(t, kernel.VXLANAttributes{VNI: 100, Local: vtepHere, Port: 4789}, d.VXLAN)
	assert.Equal(t, kernel.PortAttributes{Bridge: true, NeighSuppress: true}, d.Port, "learning off, neigh_suppress on")
	assert.Equal(t, 1550, d.MTU, "underlay 1600 less 50")
	assert.Equal(t, br.Index, d.Master)
	assert.True(t, d.Up && br.Up)
	assert.Equal(t, []string{"vtepbgp vni 100", "vtepbgp vni 100"}, []string{d.Alias, br.Alias})
	assert.Equal(t, br.Index, r.link("p1").Master)
	assert.Equal(t, br.Index, r.link("p2").Master)

	st := r.k.Status()
	require.Len(t, st, 1)
	assert.Equal(t, kernel.VNIStatus{
		VNI: 100, Device: "vxlan100", Bridge: "br100", DeviceIndex: int(d.Index), BridgeIndex: int(br.Index),
		MTU: 1550, Managed: true, Up: true, Problems: []string{}, Ports: []string{"p1", "p2"},
		SuppressionState: kernel.SuppressionReady, SuppressionMissing: []string{},
	}, st[0])

	// A second start finds everything as it should be.
	r.stop()
	again := start(t, r.World, oneVNI(), 0)
	again.wantEvents(evpn.VNIState{VNI: 100, Up: true})
	assert.Equal(t, d.Index, again.link("vxlan100").Index)
	assert.True(t, again.k.Status()[0].Managed, "the mark survives a restart")
}

// userDevice makes a VXLAN device in a bridge as an operator would.
func userDevice(t testing.TB, w World, name, bridge string, v kernel.VXLANAttributes) {
	b := w.Backend(t, 0)
	require.NoError(t, b.AddLink(kernel.LinkSpec{Name: name, VXLAN: v}))
	require.NoError(t, b.AddLink(kernel.LinkSpec{Name: bridge}))
	links, err := b.Links()
	require.NoError(t, err)
	index := map[string]int32{}
	for _, l := range links {
		index[l.Name] = l.Index
	}
	up, master := true, index[bridge]
	require.NoError(t, b.SetLink(index[name], kernel.LinkSettings{Master: &master}))
	require.NoError(t, b.SetLink(index[name], kernel.LinkSettings{Up: &up}))
	require.NoError(t, b.SetLink(index[bridge], kernel.LinkSettings{Up: &up}))
}

func adoptDevices(t *testing.T, f Factory) {
	w := underlay(t, f)
	userDevice(t, w, "vxlan100", "br100", kernel.VXLANAttributes{VNI: 100, Local: vtepB, Port: 4789, Learning: true})
	cfg := oneVNI()
	cfg.VNIs[0].Manage, cfg.VNIs[0].Ports = false, nil
	r := start(t, w, cfg, 0)
	r.wantEvents(evpn.VNIState{VNI: 100, Up: true})

	before := r.link("vxlan100")
	assert.Equal(t, vtepB, before.VXLAN.Local)
	assert.Equal(t, kernel.PortAttributes{Bridge: true, Learning: true}, before.Port, "not ours to change")
	assert.Empty(t, before.Alias)
	assert.Equal(t, []string{
		"device vxlan100 learns from the data path (made without nolearning)",
		"device vxlan100 has local address 10.0.0.2 instead of 10.0.0.1",
		"bridge port vxlan100 has learning on",
		"ARP and ND suppression is not ready: device vxlan100 learns MACs from the tunnel: ip link set vxlan100 type vxlan nolearning; " +
			"bridge port vxlan100 learns MACs from the tunnel: bridge link set dev vxlan100 learning off; " +
			"bridge port vxlan100 has neigh_suppress off: bridge link set dev vxlan100 neigh_suppress on (Linux 4.15 or later)",
	}, r.k.Status()[0].Problems)

	// With manage, port settings are repaired; what the operator made it with stays.
	cfg.VNIs[0].Manage = true
	require.NoError(t, r.k.Configure(cfg))
	after := r.link("vxlan100")
	assert.Equal(t, before.Index, after.Index)
	assert.Equal(t, before.VXLAN, after.VXLAN)
	assert.Equal(t, kernel.PortAttributes{Bridge: true, NeighSuppress: true}, after.Port)
	assert.Empty(t, after.Alias, "a user's device is never marked as ours")
}

func impossibleDevices(t *testing.T, f Factory) {
	w := underlay(t, f)
	userDevice(t, w, "vxlan100", "br100", kernel.VXLANAttributes{VNI: 101, Local: vtepHere, Port: 4789})
	userDevice(t, w, "vxlan102", "br102", kernel.VXLANAttributes{VNI: 102, Local: vtepHere, Port: 8472})
	cfg := oneVNI()
	cfg.VNIs[0].Ports = nil
	cfg.VNIs = append(cfg.VNIs, kernel.VNI{VNI: 102, Manage: true}, kernel.VNI{VNI: 103}, kernel.VNI{VNI: 104, Device: "p1", Manage: true})
	r := start(t, w, cfg, 0)
	r.wantEvents(
		evpn.VNIState{VNI: 100, Reason: "device vxlan100 has VNI 101"},
		evpn.VNIState{VNI: 102, Reason: "device vxlan102 sends to UDP port 8472 instead of 4789"},
		evpn.VNIState{VNI: 103, Reason: "device vxlan103 does not exist"},
		evpn.VNIState{VNI: 104, Reason: "p1 is not a VXLAN device"},
	)
	r.set(remote(100, macB, vtepB))
	assert.Empty(t, r.FDB(t), "nothing is written to a device of another VNI")
}

func removeVNI(t *testing.T, f Factory) {
	w := underlay(t, f)
	userDevice(t, w, "vxlan200", "br200", kernel.VXLANAttributes{VNI: 200, Local: vtepHere, Port: 4789})
	cfg := oneVNI()
	cfg.VNIs = append(cfg.VNIs, kernel.VNI{VNI: 200, Manage: true})
	r := start(t, w, cfg, 0)
	r.set(flood(200, vtepB), remote(200, macB, vtepB))
	r.wantFDB(
		"00:00:00:00:00:00 dev vxlan200 dst 10.0.0.2 self permanent",
		"02:00:00:00:00:0b dev vxlan200 dst 10.0.0.2 self extern_learn",
		"02:00:00:00:00:0b dev vxlan200 extern_learn master br200")

	require.NoError(t, r.k.Configure(kernel.Config{VTEP: vtepHere}))
	r.wantFDB()
	assert.Zero(t, r.link("vxlan100").Index, "ours goes")
	assert.Zero(t, r.link("br100").Index, "ours goes")
	assert.NotZero(t, r.link("vxlan200").Index, "the user's stays")
	assert.NotZero(t, r.link("br200").Index, "the user's stays")
	assert.NotZero(t, r.link("p1").Index)
	assert.Empty(t, r.k.Status())
}

func deviceDeleted(t *testing.T, f Factory) {
	r := start(t, underlay(t, f), oneVNI(), 0)
	r.set(flood(100, vtepB), remote(100, macB, vtepB), binding(100, "192.0.2.11", macB))
	fdb := []string{
		"00:00:00:00:00:00 dev vxlan100 dst 10.0.0.2 self permanent",
		"02:00:00:00:00:0b dev vxlan100 dst 10.0.0.2 self extern_learn",
		"02:00:00:00:00:0b dev vxlan100 extern_learn master br100",
	}
	neighbors := []string{"192.0.2.11 dev br100 lladdr 02:00:00:00:00:0b extern_learn NOARP proto 229"}
	r.wantFDB(fdb...)
	r.wantNeighbors(neighbors...)
	for _, name := range []string{"vxlan100", "br100"} {
		old := r.link(name).Index
		require.NoError(t, r.raw.DeleteLink(old))
		r.eventually(func() bool { l := r.link(name); return l.Index != 0 && l.Index != old && l.Up }, name+" is made again")
		r.wantFDB(fdb...)
		r.wantNeighbors(neighbors...)
		r.eventually(func() bool { return r.k.Status()[0].Up }, "up again")
	}
}

func addressComesAndGoes(t *testing.T, f Factory) {
	r := start(t, underlay(t, f), oneVNI(), 0)
	r.wantEvents(evpn.VNIState{VNI: 100, Up: true})
	r.SetAddress(t, "eth0", vtepHere, false)
	r.wantEvents(evpn.VNIState{VNI: 100, Reason: "VTEP address 10.0.0.1 is not on this host"})
	r.SetAddress(t, "eth0", vtepHere, true)
	r.wantEvents(evpn.VNIState{VNI: 100, Up: true})

	down := false
	require.NoError(t, r.raw.SetLink(r.link("vxlan100").Index, kernel.LinkSettings{Up: &down}))
	r.eventually(func() bool { return r.link("vxlan100").Up }, "a managed device is set up again")

	// With an interface, its address is followed.
	r.eventually(func() bool { return r.k.Status()[0].Up }, "up again")
	cfg := oneVNI()
	cfg.VTEP, cfg.VTEPInterface = netip.Addr{}, "eth0"
	require.NoError(t, r.k.Configure(cfg))
	assert.Equal(t, vtepHere, r.k.VTEPAddress())
	r.SetAddress(t, "eth0", vtepHere, false)
	r.SetAddress(t, "eth0", vtepC, true)
	r.eventually(func() bool { return r.k.VTEPAddress() == vtepC }, "address is followed")
	r.eventually(func() bool { return r.link("vxlan100").VXLAN.Local == vtepC }, "our device follows")
}

func bridgeInterface(t *testing.T, f Factory) {
	w := underlay(t, f)
	cfg := oneVNI()
	cfg.VNIs[0].AdvertiseSVI = true
	r := start(t, w, cfg, 0)
	mac := r.link("br100").MAC
	r.wantEvents(evpn.VNIState{VNI: 100, Up: true}, evpn.LocalMACLearned{VNI: 100, MAC: mac, Port: "br100"})
	gateway := netip.MustParseAddr("192.0.2.1")
	w.SetAddress(t, "br100", gateway, true)
	r.wantEvents(evpn.LocalIPLearned{VNI: 100, IP: gateway, MAC: mac, Source: "kernel"})
	w.SetAddress(t, "br100", gateway, false)
	r.wantEvents(evpn.LocalIPGone{VNI: 100, IP: gateway, MAC: mac})

	cfg = oneVNI()
	cfg.VNIs[0].AdvertiseSVI, cfg.VNIs[0].AnycastGateway = true, true
	require.NoError(t, r.k.Configure(cfg))
	r.wantEvents(evpn.LocalMACLearned{VNI: 100, MAC: mac, Port: "br100", Gateway: true})
}
