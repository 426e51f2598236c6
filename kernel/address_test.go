package kernel_test

import (
	"context"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/kernel"
	"github.com/vtepbgp/vtepbgp/kernel/kerneltest"
)

var (
	group   = netip.MustParseAddr("239.1.1.100")
	service = netip.MustParseAddr("10.9.9.9")
)

func relaying() kernel.Config {
	cfg := config()
	cfg.ServiceAddresses = []netip.Addr{service}
	cfg.VNIs[0].Group, cfg.VNIs[0].Service = group, true
	return cfg
}

func TestRefusedAddressesAreShownAndRetried(t *testing.T) {
	for _, tt := range []struct {
		err  error
		text []string
	}{
		{unix.EPERM, []string{
			"joining 239.1.1.100 on eth0 failed: operation not permitted",
			"service address 10.9.9.9 cannot be added to lo: operation not permitted",
		}},
		{unix.ENOBUFS, []string{
			"joining 239.1.1.100 on eth0 failed: the host has net.ipv4.igmp_max_memberships of them already: sysctl -w net.ipv4.igmp_max_memberships=1000",
			"service address 10.9.9.9 cannot be added to lo: no buffer space available",
		}},
	} {
		f := fakeHost()
		k := run(t, f, func(evpn.Event) {})
		<-k.Synced()
		f.FailAddresses(tt.err)
		require.NoError(t, k.Configure(relaying()))
		assert.Equal(t, tt.text, k.Status()[0].Problems)
		assert.True(t, k.Status()[0].Up, "the rest goes on")
		list, err := k.Drift(context.Background(), 0)
		require.NoError(t, err)
		require.Len(t, list, 2)
		for _, d := range list {
			require.ErrorIs(t, d.Err, tt.err)
		}
		f.FailAddresses(nil)
		eventually(t, func() bool { return k.Stats().Addresses == 2 && len(k.Status()[0].Problems) == 0 }, "tried again")
		assert.Empty(t, k.Stats().AddressRepairs)

		f.FailAddresses(tt.err)
		require.ErrorIs(t, k.Flush(context.Background()), tt.err, "what stays behind is told")
		f.FailAddresses(nil)
		require.NoError(t, k.Flush(context.Background()))
	}
}

// Somebody gives the host the address between the look and the write.
func TestAddressThatIsThereAlready(t *testing.T) {
	b := &quick{Fake: fakeHost()}
	k := run(t, b, func(evpn.Event) {})
	<-k.Synced()
	require.NoError(t, k.Configure(relaying()))
	assert.Empty(t, k.Status()[0].Problems)
	assert.Equal(t, 2, k.Stats().Addresses)
	require.NoError(t, k.Flush(context.Background()))
	addrs, err := b.Addresses()
	require.NoError(t, err)
	left := []string{}
	for _, a := range addrs {
		left = append(left, a.IP.String())
	}
	assert.Equal(t, []string{"10.0.0.1", "10.9.9.9", "239.1.1.100"}, left, "theirs stay")
}

// quick is a kernel in which somebody else is always the first.
type quick struct{ *kerneltest.Fake }

func (q *quick) AddAddress(index int32, ip netip.Addr) error {
	links, err := q.Links()
	if err != nil {
		return err
	}
	for _, l := range links {
		if l.Index == index {
			q.SetAddress(l.Name, ip, true)
		}
	}
	return q.Fake.AddAddress(index, ip)
}

func TestRefusedGroupRowIsShownAndRetried(t *testing.T) {
	f := fakeHost()
	k := run(t, f, func(evpn.Event) {})
	<-k.Synced()
	require.NoError(t, k.Configure(relaying()))
	row := evpn.Row{RowKey: evpn.RowKey{Kind: evpn.FloodRow, VNI: 100, IP: group}}
	for _, err := range []error{unix.ENOBUFS, unix.EPERM} {
		failed := k.Stats().Writes["set"].Failed
		f.FailOp(1, err)
		k.Apply([]evpn.RowChange{{Row: row}})
		eventually(t, func() bool { return k.Stats().Writes["set"].Failed == failed+1 }, "refusal is counted")
		eventually(t, func() bool { return k.Installed(row.RowKey) && k.Stats().Failing == 0 }, "written in the end")
		k.Apply([]evpn.RowChange{{Row: row, Remove: true}})
		eventually(t, func() bool { return !k.Installed(row.RowKey) && k.Stats().Pending == 0 }, "gone")
	}
	// EEXIST is what was asked for.
	f.FailOp(1, unix.EEXIST)
	k.Apply([]evpn.RowChange{{Row: row}})
	eventually(t, func() bool { return k.Stats().Writes["set"].Already == 1 && k.Installed(row.RowKey) }, "installed")
}

// linuxHost is a Linux host with an uplink, at whose far end nobody is.
func linuxHost(t *testing.T) (kerneltest.RealWorld, *kernel.Kernel) {
	w := kerneltest.NewRealWorld(t).(kerneltest.RealWorld)
	w.AddPort(t, "eth0", 1600)
	w.AddPort(t, "p1", 1500)
	w.SetPrefix(t, "eth0", netip.MustParsePrefix("10.0.0.1/24"), true)
	w.SetPrefix(t, "eth0", netip.MustParsePrefix("2001:db8::1/64"), true)
	log := logrus.New()
	log.SetOutput(io.Discard)
	return w, kernel.New(w.Backend(t, 0), logrus.NewEntry(log))
}

// What we give to the host is never the source of what it sends by itself.
func TestOwnAddressesAreNoSources(t *testing.T) {
	w, k := linuxHost(t)
	six, group6 := netip.MustParseAddr("2001:db8:9::9"), netip.MustParseAddr("ff05::100")
	sources := func() (out []string) {
		for _, q := range [][]string{
			{"10.0.0.7"}, {"10.0.0.7", "oif", "eth0"}, {"10.200.0.1"}, {"239.1.1.100", "oif", "eth0"}, {"239.7.7.7", "oif", "eth0"}, {"198.51.100.1"},
			{"2001:db8::7"}, {"2001:db8:200::1"}, {"2001:db8:9::1"}, {"ff05::100", "oif", "eth0"}, {"ff05::7", "oif", "eth0"},
		} {
			words := strings.Fields(w.IP(t, append([]string{"route", "get"}, q...)...))
			for i, word := range words {
				if word == "src" || word == "dev" {
					out = append(out, q[0]+" "+word+" "+words[i+1])
				}
			}
		}
		return out
	}
	// A link without an address of its own takes that of another.
	w.AddPort(t, "up0", 1600)
	w.IP(t, "route", "add", "198.51.100.0/24", "dev", "up0")
	w.IP(t, "route", "add", "10.200.0.0/16", "via", "10.0.0.254")
	w.IP(t, "-6", "route", "add", "2001:db8:200::/48", "dev", "up0")
	w.IP(t, "-6", "route", "add", "2001:db8:9::/48", "dev", "up0") // of the same prefix as the service address
	before := sources()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx, func(evpn.Event) {}) }()
	t.Cleanup(func() { cancel(); assert.NoError(t, <-done) })
	cfg := kernel.Config{VTEP: netip.MustParseAddr("10.0.0.1"), ServiceAddresses: []netip.Addr{service, six}, VNIs: []kernel.VNI{
		{VNI: 100, Manage: true, Group: group, GroupInterface: "eth0"}, {VNI: 101, Manage: true, Group: group6, GroupInterface: "eth0"},
	}}
	require.NoError(t, k.Configure(cfg))
	require.Equal(t, 4, k.Stats().Addresses)
	eventually(t, func() bool { return slices.Equal(before, sources()) }, "the sources are those of before")
	assert.Contains(t, w.IP(t, "maddr", "show", "dev", "eth0"), "inet  239.1.1.100\n")
	assert.Contains(t, w.IP(t, "maddr", "show", "dev", "eth0"), "inet6 ff05::100\n")

	// The memberships go with the addresses.
	require.NoError(t, k.Flush(context.Background()))
	assert.NotContains(t, w.IP(t, "maddr", "show", "dev", "eth0"), "239.1.1.100")
	assert.NotContains(t, w.IP(t, "maddr", "show", "dev", "eth0"), "ff05::100\n")
	assert.Equal(t, before, sources())
}

// Linux lets one socket join 20 groups, and all addresses that join share one.
func TestMoreGroupsThanLinuxAllows(t *testing.T) {
	w, k := linuxHost(t)
	cfg := kernel.Config{VTEP: netip.MustParseAddr("10.0.0.1")}
	for i := range 25 {
		cfg.VNIs = append(cfg.VNIs, kernel.VNI{VNI: evpn.VNI(100 + i), Manage: true, Group: netip.AddrFrom4([4]byte{239, 1, 1, byte(i)})})
	}
	require.NoError(t, k.Configure(cfg))
	assert.Equal(t, 20, k.Stats().Addresses)
	failing := 0
	for i, st := range k.Status() {
		if len(st.Problems) > 0 {
			failing++
			assert.Equal(t, []string{"joining 239.1.1." + strconv.Itoa(i) + " on eth0 failed: " +
				"the host has net.ipv4.igmp_max_memberships of them already: sysctl -w net.ipv4.igmp_max_memberships=1000"}, st.Problems)
		}
	}
	assert.Equal(t, 5, failing)
	w.Sysctl(t, "ipv4/igmp_max_memberships", "1000")
	require.NoError(t, k.Configure(cfg))
	assert.Equal(t, 25, k.Stats().Addresses)
}
