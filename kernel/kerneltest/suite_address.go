package kerneltest

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/kernel"
)

// owned lists the addresses that bear our mark.
func (r *rig) owned(t testing.TB) []string {
	t.Helper()
	addrs, err := r.raw.Addresses()
	require.NoError(t, err)
	links, err := r.raw.Links()
	require.NoError(t, err)
	out := []string{}
	for _, a := range addrs {
		i := slices.IndexFunc(links, func(l kernel.Link) bool { return l.Index == a.Index })
		if a.Ours && i >= 0 {
			out = append(out, a.IP.String()+" dev "+links[i].Name)
		}
	}
	slices.Sort(out)
	return out
}

func (r *rig) wantOwned(want ...string) {
	r.t.Helper()
	r.wantLines(r.owned, want)
}

func serving(group netip.Addr, addrs ...netip.Addr) kernel.Config {
	cfg := multicast(group)
	cfg.ServiceAddresses, cfg.VNIs[0].Service = addrs, true
	return cfg
}

func ownAddresses(t *testing.T, f Factory) {
	six := netip.MustParseAddr("2001:db8::9:9")
	r := start(t, underlay(t, f), serving(groupA, service, six), 0)
	all := []string{"10.9.9.9 dev lo", "2001:db8::9:9 dev lo", "239.1.1.100 dev eth0"}
	r.wantOwned(all...)
	assert.Equal(t, 3, r.settled().Addresses)
	assert.Equal(t, []string{"service address 2001:db8::9:9 is of another address family than the VTEP address 10.0.0.1"}, r.k.Status()[0].Problems)

	lo, eth0 := r.link("lo").Index, r.link("eth0").Index
	repairs := map[netip.Addr]uint64{}
	for _, own := range []struct {
		link int32
		ip   netip.Addr
	}{{lo, service}, {eth0, groupA}, {lo, six}, {eth0, groupA}} {
		require.NoError(t, r.raw.DeleteAddress(own.link, own.ip))
		repairs[own.ip]++
		r.eventually(func() bool { return maps.Equal(repairs, r.k.Stats().AddressRepairs) }, "repaired, and counted")
		r.wantOwned(all...)
	}
	require.NoError(t, r.k.Configure(serving(groupB, service)))
	r.wantOwned("10.9.9.9 dev lo", "239.1.1.101 dev eth0")
	assert.Equal(t, repairs, r.settled().AddressRepairs, "a change of configuration is no damage")
	require.NoError(t, r.k.Flush(context.Background()))
	r.wantOwned()
	require.NoError(t, r.k.Repair(context.Background()))
	r.wantOwned()
}

func ownAddressesAgain(t *testing.T, f Factory) {
	w := underlay(t, f)
	r := start(t, w, serving(groupA, service), 0)
	all := []string{"10.9.9.9 dev lo", "239.1.1.100 dev eth0"}
	r.wantOwned(all...)
	r.stop() // leaves all, as a crash would
	r.wantOwned(all...)

	again := start(t, w, serving(groupA, service), 0)
	again.wantOwned(all...)
	assert.Equal(t, 2, again.settled().Addresses)
	again.stop()
	// Found, and not wanted any more.
	less := start(t, w, multicast(groupA), 0)
	less.wantOwned("239.1.1.100 dev eth0")
	less.stop()
	require.NoError(t, less.k.Flush(context.Background()), "also after Run has ended")
	less.wantOwned()
}

// What an operator put there is used, and stays.
func ownAddressesBeside(t *testing.T, f Factory) {
	w := underlay(t, f)
	w.SetAddress(t, "lo", service, true)
	other := netip.MustParseAddr("10.9.9.10")
	w.SetAddress(t, "p1", other, true)
	cfg := serving(groupA, service, other)
	cfg.VTEP, cfg.VTEPInterface = netip.Addr{}, "eth0"
	r := start(t, w, cfg, 0)
	r.wantOwned("239.1.1.100 dev eth0")
	assert.Equal(t, []string{"service address 10.9.9.10 is on p1, put there by somebody else: it is used, and stays when this daemon stops"}, r.k.Status()[0].Problems)
	r.SetAddress(t, "p1", other, false)
	r.wantOwned("10.9.9.10 dev lo", "239.1.1.100 dev eth0")
	r.SetAddress(t, "lo", service, false)
	r.wantOwned("10.9.9.10 dev lo", "10.9.9.9 dev lo", "239.1.1.100 dev eth0")
	assert.Empty(t, r.settled().AddressRepairs)
	r.SetAddress(t, "eth0", vtepHere, false)
	r.eventually(func() bool { return r.k.VTEPAddress() == netip.Addr{} }, "ours are no VTEP address")
	cfg.VTEPInterface = "lo"
	require.NoError(t, r.k.Configure(cfg))
	assert.Equal(t, netip.Addr{}, r.k.VTEPAddress(), "nor on lo")

	r.SetAddress(t, "lo", vtepHere, true)
	r.eventually(func() bool { return r.k.VTEPAddress() == vtepHere }, "an operator's is")
	require.NoError(t, r.k.Flush(context.Background()))
	r.wantOwned()
	addrs, err := r.raw.Addresses()
	require.NoError(t, err)
	assert.True(t, slices.ContainsFunc(addrs, func(a kernel.Address) bool { return a.IP == vtepHere }))
}

func driftAddresses(t *testing.T, f Factory) {
	w := underlay(t, f)
	m := &muffled{Backend: w.Backend(t, 0)}
	r := startOn(t, w, m, serving(groupA, service))
	r.k.AllowPrune()
	r.set(flood(100, groupA))
	r.eventually(func() bool { return r.k.Installed(flood(100, groupA).RowKey) }, "installed")
	d, eth0, p2, lo := r.link("vxlan100").Index, r.link("eth0").Index, r.link("p2").Index, r.link("lo").Index
	group := func(via int32, state uint16) kernel.Neighbor {
		n := fdb(d, unix.NTF_SELF, state, evpn.MAC{}, groupA)
		n.Via = via
		return n
	}
	r.silently(m, func() {
		r.foreign(kernel.Delete, group(eth0, 0))
		r.foreign(kernel.Append, group(p2, unix.NUD_PERMANENT|unix.NUD_NOARP))
		require.NoError(t, r.raw.DeleteAddress(lo, service))
		require.NoError(t, r.raw.DeleteAddress(eth0, groupA))
		require.NoError(t, r.raw.AddAddress(lo, netip.MustParseAddr("10.9.9.10")))
	})
	differs, foreign := r.drift()
	assert.Equal(t, []string{
		`missing address lo 10.9.9.9: want "10.9.9.9" found ""`,
		`extra address lo 10.9.9.10: want "" found "10.9.9.10"`,
		`wrong flood vxlan100 239.1.1.100: want "dst 239.1.1.100 via eth0 self permanent" found "dst 239.1.1.100 via p2 self permanent"`,
		`missing address eth0 239.1.1.100: want "member of 239.1.1.100" found ""`,
	}, differs)
	assert.Empty(t, foreign)
	r.repair(m)
	differs, foreign = r.drift()
	assert.Empty(t, differs)
	assert.Empty(t, foreign)
	r.wantOwned("10.9.9.9 dev lo", "239.1.1.100 dev eth0")
}
