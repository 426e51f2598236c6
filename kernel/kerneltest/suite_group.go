package kerneltest

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/kernel"
)

var (
	groupA  = netip.MustParseAddr("239.1.1.100")
	groupB  = netip.MustParseAddr("239.1.1.101")
	group6  = netip.MustParseAddr("ff05::100")
	service = netip.MustParseAddr("10.9.9.9")
)

func multicast(group netip.Addr) kernel.Config {
	cfg := oneVNI()
	cfg.VNIs[0].Group = group
	return cfg
}

const groupLine = "00:00:00:00:00:00 dev vxlan100 dst 239.1.1.100 via eth0 self permanent"

func groupRow(t *testing.T, f Factory) {
	r := start(t, underlay(t, f), multicast(groupA), 0)
	row := flood(100, groupA)
	r.set(row)
	r.wantFDB(groupLine)
	r.eventually(func() bool { return r.k.Installed(row.RowKey) }, "installed")
	writes := r.settled().Writes["set"].OK
	r.set(row)
	assert.Equal(t, writes, r.settled().Writes["set"].OK, "saying it twice writes nothing")
	assert.Empty(t, r.k.Status()[0].Problems)

	d, eth0, p1 := r.link("vxlan100").Index, r.link("eth0").Index, r.link("p1").Index
	byLink := func(link int32, state uint16) kernel.Neighbor {
		n := fdb(d, unix.NTF_SELF, state, evpn.MAC{}, groupA)
		n.Via = link
		return n
	}
	r.foreign(kernel.Delete, byLink(eth0, 0))
	r.eventually(func() bool { return r.k.Stats().Repairs == 1 }, "put back")
	r.wantFDB(groupLine)
	// By another link it is another row, which nobody asked for.
	r.foreign(kernel.Append, byLink(p1, unix.NUD_PERMANENT|unix.NUD_NOARP))
	r.k.AllowPrune()
	r.wantFDB(groupLine)
	r.remove(row)
	r.wantFDB()
	assert.False(t, r.k.Installed(row.RowKey))
	r.settled()

	// Found again by the next process, and swept when nobody asks for it.
	r.set(row)
	r.wantFDB(groupLine)
	r.stop()
	again := start(t, r.World, multicast(groupA), 0)
	again.set(row)
	again.k.AllowPrune()
	assert.Zero(t, again.settled().Batches)
	again.stop()
	last := start(t, r.World, oneVNI(), 0)
	last.wantFDB(groupLine)
	last.k.AllowPrune()
	last.wantFDB()
}

func groupIPv6(t *testing.T, f Factory) {
	w := underlay(t, f)
	here := netip.MustParseAddr("2001:db8::1")
	w.SetAddress(t, "eth0", here, true)
	cfg := multicast(group6)
	cfg.VTEP, cfg.VNIs[0].GroupInterface = here, "eth0"
	r := start(t, w, cfg, 0)
	r.set(flood(100, group6))
	r.wantFDB("00:00:00:00:00:00 dev vxlan100 dst ff05::100 via eth0 self permanent")
	r.wantOwned("ff05::100 dev eth0")

	// What is sent to the group leaves this host, also after the kernel thought again.
	eth0 := r.link("eth0").Index
	out := func() bool {
		routes, err := r.raw.Routes(kernel.RouteQuery{Device: eth0, To: []netip.Addr{group6}})
		require.NoError(t, err)
		return routes[0].Err == nil && routes[0].Type == unix.RTN_MULTICAST
	}
	assert.True(t, out())
	r.RestoreLocalRoute(t, "eth0", group6)
	r.eventually(out, "the local route goes again")

	// A link that is set down loses its IPv6 addresses, and the membership stays.
	up, down := true, false
	require.NoError(t, r.raw.SetLink(eth0, kernel.LinkSettings{Up: &down}))
	r.wantOwned()
	require.NoError(t, r.raw.SetLink(eth0, kernel.LinkSettings{Up: &up}))
	r.SetAddress(t, "eth0", here, true)
	r.eventually(func() bool { st := r.k.Status()[0]; return st.Up && len(st.Problems) == 0 }, "all is well")
	differs, _ := r.drift()
	assert.Empty(t, differs)
	r.remove(flood(100, group6))
	r.wantFDB()
}

// A user's device that sends to the group itself has the row already.
func groupOfDevice(t *testing.T, f Factory) {
	w := underlay(t, f)
	var eth0 int32
	links, err := w.Backend(t, 0).Links()
	require.NoError(t, err)
	for _, l := range links {
		if l.Name == "eth0" {
			eth0 = l.Index
		}
	}
	userDevice(t, w, "vxlan100", "br100", kernel.VXLANAttributes{VNI: 100, Local: vtepHere, Port: 4789, Remote: groupA, Link: eth0})
	r := start(t, w, multicast(groupA), 0)
	before := r.link("vxlan100").Index
	r.set(flood(100, groupA))
	r.eventually(func() bool { return r.k.Installed(flood(100, groupA).RowKey) }, "it is there")
	r.k.AllowPrune()
	assert.Zero(t, r.settled().Batches, "and not written")
	assert.Empty(t, r.k.Status()[0].Problems)
	differs, foreign := r.drift()
	assert.Empty(t, differs)
	assert.Empty(t, foreign)
	row := fdb(before, unix.NTF_SELF, 0, evpn.MAC{}, groupA)
	row.Via = eth0
	r.foreign(kernel.Delete, row)
	r.eventually(func() bool { return r.k.Stats().Repairs == 1 }, "put back while it is wanted")
	r.wantFDB(groupLine)

	r.remove(flood(100, groupA))
	r.set(flood(100, vtepB))
	second := "00:00:00:00:00:00 dev vxlan100 dst 10.0.0.2 self permanent"
	r.wantFDB(groupLine, second)
	require.NoError(t, r.k.Configure(kernel.Config{VTEP: vtepHere}))
	r.wantFDB(groupLine)
	assert.Equal(t, before, r.link("vxlan100").Index, "the user's device stays as it is")

	cfg := multicast(groupB)
	require.NoError(t, r.k.Configure(cfg))
	assert.Equal(t, []string{"device vxlan100 also floods to its default remote 239.1.1.100"}, r.k.Status()[0].Problems)
	cfg = multicast(groupA)
	cfg.VNIs[0].GroupInterface = "p9"
	w.AddPort(t, "p9", 1500)
	require.NoError(t, r.k.Configure(cfg))
	assert.Equal(t, []string{"device vxlan100 sends to its group 239.1.1.100 by another interface than p9"}, r.k.Status()[0].Problems)
}

func groupInterface(t *testing.T, f Factory) {
	w := underlay(t, f)
	w.AddPort(t, "seg0", 1500)
	cfg := multicast(groupA)
	cfg.VNIs[0].GroupInterface = "seg0"
	r := start(t, w, cfg, 0)
	line := "00:00:00:00:00:00 dev vxlan100 dst 239.1.1.100 via seg0 self permanent"
	r.set(flood(100, groupA))
	r.wantFDB(line)
	r.wantOwned("239.1.1.100 dev seg0")

	require.NoError(t, r.raw.DeleteLink(r.link("seg0").Index))
	r.wantFDB()
	r.wantOwned()
	assert.False(t, r.k.Installed(flood(100, groupA).RowKey))
	r.eventually(func() bool {
		return slices.Contains(r.k.Status()[0].Problems, "interface seg0 of group 239.1.1.100 does not exist")
	}, "told")
	r.settled()
	differs, _ := r.drift()
	assert.Equal(t, []string{`missing flood vxlan100 239.1.1.100: want "dst 239.1.1.100 via seg0 self permanent" found ""`}, differs)

	r.AddPort(t, "seg0", 1500)
	r.wantFDB(line)
	r.wantOwned("239.1.1.100 dev seg0")
	assert.Empty(t, r.settled().AddressRepairs)
	r.eventually(func() bool { return len(r.k.Status()[0].Problems) == 0 }, "no problem is left")

	// To another interface by configuration.
	require.NoError(t, r.k.Configure(multicast(groupA)))
	r.wantFDB(groupLine)
	r.wantOwned("239.1.1.100 dev eth0")
	r.eventually(func() bool { return r.k.Installed(flood(100, groupA).RowKey) }, "installed")
	// To another group: the old one keeps its row until the core says so.
	require.NoError(t, r.k.Configure(multicast(groupB)))
	r.wantOwned("239.1.1.101 dev eth0")
	r.wantFDB(groupLine)
	r.k.Apply(difference([]evpn.Row{flood(100, groupA)}, []evpn.Row{flood(100, groupB)}))
	r.wantFDB("00:00:00:00:00:00 dev vxlan100 dst 239.1.1.101 via eth0 self permanent")
	assert.Zero(t, r.settled().Repairs)
}

// However the mode changes, the list is what the mode wants, and nothing of the other's.
func listToGroup(t *testing.T, f Factory) {
	r := start(t, underlay(t, f), oneVNI(), 0)
	list, one := []evpn.Row{flood(100, vtepB), flood(100, vtepC)}, []evpn.Row{flood(100, groupA)}
	r.set(list...)
	lines, _ := render(list)
	r.wantFDB(lines...)
	for range 3 {
		require.NoError(t, r.k.Configure(multicast(groupA)))
		r.k.Apply(difference(list, one))
		r.wantFDB(groupLine)
		r.wantOwned("239.1.1.100 dev eth0")
		require.NoError(t, r.k.Configure(oneVNI()))
		r.k.Apply(difference(one, list))
		r.wantFDB(lines...)
		r.wantOwned()
	}
	assert.Zero(t, r.settled().Repairs)
	// Rows may be wanted before the configuration has their group.
	r.k.Apply(difference(list, one))
	r.wantFDB()
	require.NoError(t, r.k.Configure(multicast(groupA)))
	r.wantFDB(groupLine)
}

func groupProblems(t *testing.T, f Factory) {
	w := underlay(t, f)
	w.SetAddress(t, "eth0", netip.MustParseAddr("10.0.0.9"), true) // it stays an uplink
	cfg := multicast(groupA)
	r := start(t, w, cfg, 0)
	want := func(text ...string) {
		t.Helper()
		r.wantLines(func(testing.TB) []string { return r.k.Status()[0].Problems }, text)
	}
	want()
	cfg.VNIs[0].GroupInterface = "lo"
	require.NoError(t, r.k.Configure(cfg))
	want("interface lo of group 239.1.1.100 does not carry multicast: ip link set lo multicast on")
	cfg = multicast(group6)
	require.NoError(t, r.k.Configure(cfg))
	want("group ff05::100 is of another address family than the VTEP address 10.0.0.1")

	// A relay brings frames of a VTEP that would be answered by another interface.
	cfg = multicast(groupA)
	require.NoError(t, r.k.Configure(cfg))
	w.AddPort(t, "up0", 1600)
	w.SetRoute(t, Route{To: netip.MustParsePrefix("10.9.0.0/24"), Device: "up0"})
	far := netip.MustParseAddr("10.9.0.7")
	r.set(remote(100, macB, far))
	r.track(far)
	r.eventually(func() bool { ways := r.k.Underlay(); return len(ways) == 1 && ways[0].Device == "up0" }, "looked up")
	w.SetSourceCheck(t, "eth0", 1)
	strict := "eth0 drops what comes from 10.9.0.7, which is reached by up0 (rp_filter is strict): sysctl -w net.ipv4.conf.eth0.rp_filter=2"
	want(strict)
	// So does the VTEP address, with a group elsewhere and without one.
	cfg.VNIs[0].GroupInterface = "up0"
	require.NoError(t, r.k.Configure(cfg))
	want(strict)
	require.NoError(t, r.k.Configure(oneVNI()))
	want(strict)
	cfg.VNIs[0].GroupInterface = ""
	require.NoError(t, r.k.Configure(cfg))
	want(strict)
	w.SetSourceCheck(t, "eth0", 2)
	want()

	// The VTEP address on lo says nothing of the segment.
	w.SetAddress(t, "eth0", vtepHere, false)
	w.SetAddress(t, "lo", vtepHere, true)
	want("group 239.1.1.100 has no interface: nothing arrives on the one of the VTEP address, so give that of the segment (multicast.interface)")
	up, down := true, false
	cfg.VNIs[0].GroupInterface = "up0"
	require.NoError(t, r.k.Configure(cfg))
	want()
	require.NoError(t, r.raw.SetLink(r.link("up0").Index, kernel.LinkSettings{Up: &down}))
	want("interface up0 of group 239.1.1.100 is down")
	require.NoError(t, r.raw.SetLink(r.link("up0").Index, kernel.LinkSettings{Up: &up}))
	want()
}

// sourceCheckEvents: a link that begins or ends to check sources has an event, though it is a sysctl.
func sourceCheckEvents(t *testing.T, f Factory) {
	w := underlay(t, f)
	sub, err := w.Backend(t, 0).Subscribe()
	require.NoError(t, err)
	defer func() { assert.NoError(t, sub.Close()) }()
	told := func() (links int) {
		for more := true; more; {
			more, err = sub.Drain(64, func(n kernel.Notification) {
				if n.Link {
					links++
				}
			})
			require.NoError(t, err)
		}
		return links
	}
	for i := range 10 { // as many as a new link has no other events
		told()
		w.SetSourceCheck(t, "eth0", uint8(1+i%2))
		require.Eventually(t, func() bool { return told() > 0 }, patience, time.Millisecond)
	}
}

func segments(t *testing.T, f Factory) {
	w := underlay(t, f)
	r := start(t, w, multicast(groupA), 0)
	assert.Empty(t, r.k.Segment(""), "a host's own address is no segment")
	w.SetPrefix(t, "eth0", netip.MustParsePrefix("10.0.1.7/24"), true)
	w.SetPrefix(t, "eth0", netip.MustParsePrefix("10.0.1.8/24"), true)
	w.SetPrefix(t, "eth0", netip.MustParsePrefix("10.0.0.9/28"), true)
	w.SetPrefix(t, "eth0", netip.MustParsePrefix("2001:db8::7/64"), true)
	w.SetPrefix(t, "p1", netip.MustParsePrefix("192.0.2.7/24"), true)
	two := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/28"), netip.MustParsePrefix("10.0.1.0/24")}
	r.eventually(func() bool { return slices.Equal(r.k.Segment(""), two) && len(r.k.Segment("p1")) == 1 }, "followed")
	assert.Equal(t, two, r.k.Segment("eth0"))
	assert.Equal(t, []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, r.k.Segment("p1"))
	assert.Equal(t, []netip.Prefix{}, r.k.Segment("p9"))
	assert.Contains(t, r.k.Uplinks(), "eth0")
	assert.NotContains(t, r.k.Uplinks(), "lo")
	assert.NotContains(t, r.k.Uplinks(), "p1", "a port of a VNI, though it has an address")
	gone := netip.MustParsePrefix("10.0.0.9/28")
	assert.True(t, r.k.Local(gone.Addr()))
	assert.False(t, r.k.Local(netip.MustParseAddr("10.0.0.10")), "on the link, but another host's")
	w.SetPrefix(t, "eth0", gone, false)
	r.eventually(func() bool { return len(r.k.Segment("")) == 1 }, "and gone again")
	assert.False(t, r.k.Local(gone.Addr()))
}
