package kerneltest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/kernel"
)

// muffled is a kernel whose events can be kept from its user, as a bug in the
// handling of events would: nothing but a fresh look finds the damage. Meanwhile it
// refuses changes of links and addresses, so that a look at links for another reason repairs nothing.
type muffled struct {
	kernel.Backend
	deaf atomic.Bool
}

type muffledSubscription struct {
	kernel.Subscription[kernel.Notification]
	from *muffled
}

func (m *muffled) Subscribe() (kernel.Subscription[kernel.Notification], error) {
	s, err := m.Backend.Subscribe()
	return muffledSubscription{s, m}, err
}

func (s muffledSubscription) Drain(limit int, yield func(kernel.Notification)) (bool, error) {
	return s.Subscription.Drain(limit, func(n kernel.Notification) {
		if !s.from.deaf.Load() {
			yield(n)
		}
	})
}

func (m *muffled) AddLink(s kernel.LinkSpec) error {
	if m.deaf.Load() {
		return unix.EPERM
	}
	return m.Backend.AddLink(s)
}

func (m *muffled) SetLink(index int32, s kernel.LinkSettings) error {
	if m.deaf.Load() {
		return unix.EPERM
	}
	return m.Backend.SetLink(index, s)
}

func (m *muffled) AddAddress(index int32, ip netip.Addr) error {
	if m.deaf.Load() {
		return unix.EPERM
	}
	return m.Backend.AddAddress(index, ip)
}

func (m *muffled) DeleteAddress(index int32, ip netip.Addr) error {
	if m.deaf.Load() {
		return unix.EPERM
	}
	return m.Backend.DeleteAddress(index, ip)
}

// silently does something that r's Kernel hears nothing of until it is repaired.
func (r *rig) silently(m *muffled, do func()) {
	r.t.Helper()
	r.settled()
	m.deaf.Store(true)
	do()
}

func (r *rig) repair(m *muffled) {
	r.t.Helper()
	m.deaf.Store(false)
	require.NoError(r.t, r.k.Repair(context.Background()))
}

// drift gives what differs as lines, and the foreign things as others.
func (r *rig) drift() (differs, foreign []string) {
	r.t.Helper()
	list, err := r.k.Drift(context.Background(), 0)
	require.NoError(r.t, err)
	for _, d := range list {
		line := driftLine(d)
		if d.Counts() {
			differs = append(differs, line)
		} else {
			foreign = append(foreign, fmt.Sprintf("%s (pending %t)", line, d.Pending))
		}
	}
	return differs, foreign
}

func driftLine(d kernel.Drift) string {
	key := d.Setting
	switch {
	case d.IP.IsValid():
		key = d.IP.String()
	case d.Setting == "":
		key = d.MAC.String()
	}
	return fmt.Sprintf("%s %s %s %s: want %q found %q", d.State, d.Table, d.Link, key, d.Expected, d.Found)
}

func driftRows(t *testing.T, f Factory) {
	w := underlay(t, f)
	m := &muffled{Backend: w.Backend(t, 0)}
	r := startOn(t, w, m, oneVNI())
	r.k.AllowPrune()
	router := binding(100, "2001:db8::b", macB)
	router.Router = true
	macD := evpn.MAC{2, 0, 0, 0, 0, 0xd}
	r.set(flood(100, vtepB), remote(100, macB, vtepB), sticky(remote(100, macC, vtepB)), remote(100, macD, vtepB), binding(100, "192.0.2.11", macB), router)
	r.seen("p2", evpn.MAC{2, 9})
	r.settled()
	differs, foreign := r.drift()
	assert.Empty(t, differs)
	assert.Empty(t, foreign)

	d, br, p1 := r.link("vxlan100").Index, r.link("br100").Index, r.link("p1").Index
	dynamic, static := uint16(unix.NUD_REACHABLE), uint16(unix.NUD_NOARP)
	damage := []struct {
		verb kernel.Verb
		row  kernel.Neighbor
	}{
		{kernel.Delete, fdb(d, unix.NTF_SELF, 0, evpn.MAC{}, vtepB)},
		{kernel.Append, fdb(d, unix.NTF_SELF, static|unix.NUD_PERMANENT, evpn.MAC{}, vtepC)},
		{kernel.Replace, fdb(d, unix.NTF_SELF|unix.NTF_EXT_LEARNED, dynamic, macB, vtepC)},
		{kernel.Delete, fdb(d, unix.NTF_SELF|unix.NTF_MASTER, 0, macC, vtepB)},
		{kernel.Replace, fdb(d, unix.NTF_SELF|unix.NTF_MASTER|unix.NTF_EXT_LEARNED, dynamic, macA, vtepC)},
		{kernel.Replace, fdb(p1, unix.NTF_MASTER, static, macD, netip.Addr{})},
		{kernel.Replace, fdb(p1, unix.NTF_MASTER, static, evpn.MAC{2, 8}, netip.Addr{})},
		{kernel.Delete, kernel.Neighbor{Family: unix.AF_INET, Index: br, Addr: netip.MustParseAddr("192.0.2.11")}},
		{kernel.Replace, kernel.Neighbor{Family: unix.AF_INET6, Index: br, Addr: netip.MustParseAddr("2001:db8::b"), MAC: macB, State: unix.NUD_NOARP, Flags: unix.NTF_EXT_LEARNED, Protocol: kernel.Protocol}},
		{kernel.Replace, kernel.Neighbor{Family: unix.AF_INET, Index: br, Addr: netip.MustParseAddr("192.0.2.99"), MAC: macA, State: unix.NUD_NOARP, Flags: unix.NTF_EXT_LEARNED, Protocol: kernel.Protocol}},
		// Somebody else's, which stay.
		{kernel.Replace, fdb(d, unix.NTF_SELF, unix.NUD_PERMANENT, evpn.MAC{2, 7}, vtepC)},
		{kernel.Replace, kernel.Neighbor{Family: unix.AF_INET, Index: br, Addr: netip.MustParseAddr("192.0.2.66"), MAC: macA, State: unix.NUD_NOARP, Flags: unix.NTF_EXT_LEARNED, Protocol: unix.RTPROT_ZEBRA}},
	}
	r.silently(m, func() {
		for _, c := range damage {
			r.foreign(c.verb, c.row)
		}
	})
	differs, foreign = r.drift()
	assert.Equal(t, []string{
		`missing flood vxlan100 10.0.0.2: want "dst 10.0.0.2 self permanent" found ""`,
		`extra flood vxlan100 10.0.0.3: want "" found "dst 10.0.0.3 self permanent"`,
		`extra vxlan vxlan100 02:00:00:00:00:0a: want "" found "dst 10.0.0.3 extern_learn"`,
		`wrong vxlan vxlan100 02:00:00:00:00:0b: want "dst 10.0.0.2 extern_learn" found "dst 10.0.0.3 extern_learn"`,
		`missing vxlan vxlan100 02:00:00:00:00:0c: want "dst 10.0.0.2 sticky static" found ""`,
		`extra bridge br100 02:00:00:00:00:0a: want "" found "dev vxlan100 extern_learn"`,
		`missing bridge br100 02:00:00:00:00:0c: want "dev vxlan100 sticky static" found ""`,
		`wrong bridge br100 02:00:00:00:00:0d: want "dev vxlan100 extern_learn" found "dev p1 extern_learn static"`,
		`missing neighbor br100 192.0.2.11: want "lladdr 02:00:00:00:00:0b extern_learn NOARP proto 229" found ""`,
		`extra neighbor br100 192.0.2.99: want "" found "lladdr 02:00:00:00:00:0a extern_learn NOARP proto 229"`,
		`wrong neighbor br100 2001:db8::b: want "lladdr 02:00:00:00:00:0b router extern_learn NOARP proto 229" found "lladdr 02:00:00:00:00:0b extern_learn NOARP proto 229"`,
		`wrong local br100 02:00:00:00:00:0d: want "" found "dev p1"`,
		`wrong local br100 02:08:00:00:00:00: want "" found "dev p1"`,
	}, differs)
	assert.Equal(t, []string{
		`foreign vxlan vxlan100 02:07:00:00:00:00: want "" found "dst 10.0.0.3 permanent" (pending false)`,
		`foreign neighbor br100 192.0.2.66: want "" found "lladdr 02:00:00:00:00:0a extern_learn NOARP proto 11" (pending false)`,
	}, foreign)
	none, err := r.k.Drift(context.Background(), 4711)
	require.NoError(t, err)
	assert.Empty(t, none, "another VNI")

	r.repair(m)
	differs, foreign = r.drift()
	// The row of a port over a remote MAC of ours is news, not damage: the core decides.
	assert.Empty(t, differs)
	assert.Equal(t, []string{
		`foreign vxlan vxlan100 02:07:00:00:00:00: want "" found "dst 10.0.0.3 permanent" (pending false)`,
		`wrong bridge br100 02:00:00:00:00:0d: want "dev vxlan100 extern_learn" found "dev p1 extern_learn static" (pending true)`,
		`foreign neighbor br100 192.0.2.66: want "" found "lladdr 02:00:00:00:00:0a extern_learn NOARP proto 11" (pending false)`,
	}, foreign)
	assert.EqualValues(t, 1, r.k.Stats().Resyncs["repair"])
	assert.Subset(t, r.heard(), []evpn.Event{
		evpn.LocalMACLearned{VNI: 100, MAC: macD, Port: "p1"}, evpn.LocalMACLearned{VNI: 100, MAC: evpn.MAC{2, 8}, Port: "p1"},
	}, "the hosts that nobody told of are told")
}

func fdb(link int32, flags uint8, state uint16, mac evpn.MAC, to netip.Addr) kernel.Neighbor {
	return kernel.Neighbor{Family: unix.AF_BRIDGE, Index: link, MAC: mac, Addr: to, Flags: flags, State: state}
}

func driftLinks(t *testing.T, f Factory) {
	w := underlay(t, f)
	m := &muffled{Backend: w.Backend(t, 0)}
	r := startOn(t, w, m, oneVNI())
	r.silently(m, func() {
		d, no, yes, mtu, here := r.link("vxlan100").Index, false, true, 1400, vtepC
		for _, s := range []kernel.LinkSettings{{MTU: &mtu}, {Local: &here}, {Learning: &yes, NeighSuppress: &no}} {
			require.NoError(t, r.raw.SetLink(d, s))
		}
		none := int32(0)
		require.NoError(t, r.raw.SetLink(r.link("p1").Index, kernel.LinkSettings{Master: &none}))
	})
	differs, foreign := r.drift()
	assert.Equal(t, []string{
		`missing link p1 master: want "br100" found ""`,
		`wrong link vxlan100 local: want "10.0.0.1" found "10.0.0.3"`,
		`wrong link vxlan100 mtu: want "1550" found "1400"`,
		`wrong link vxlan100 neigh_suppress: want "on" found "off"`,
		`wrong link vxlan100 port learning: want "off" found "on"`,
	}, differs)
	assert.Empty(t, foreign)
	r.repair(m)
	differs, foreign = r.drift()
	assert.Empty(t, differs)
	assert.Empty(t, foreign)

	r.silently(m, func() { require.NoError(t, r.raw.DeleteLink(r.link("vxlan100").Index)) })
	differs, _ = r.drift()
	assert.Equal(t, []string{`missing link vxlan100 device: want "vxlan id 100" found ""`}, differs)
	r.repair(m)
	differs, _ = r.drift()
	assert.Empty(t, differs)
}

// What the daemon leaves to the operator is shown, and is not drift.
func driftOfOperator(t *testing.T, f Factory) {
	w := underlay(t, f)
	userDevice(t, w, "vxlan100", "br100", kernel.VXLANAttributes{VNI: 100, Local: vtepB, Port: 4789, Learning: true})
	cfg := oneVNI()
	cfg.VNIs[0].Manage, cfg.VNIs[0].Ports = false, []string{"p1", "p9"}
	r := start(t, w, cfg, 0)
	differs, foreign := r.drift()
	assert.Empty(t, differs)
	assert.Equal(t, []string{
		`foreign link p1 master: want "br100" found "" (pending false)`,
		`foreign link p9 device: want "port of br100" found "" (pending false)`,
		`foreign link vxlan100 learning: want "off" found "on" (pending false)`,
		`foreign link vxlan100 local: want "10.0.0.1" found "10.0.0.2" (pending false)`,
		`foreign link vxlan100 neigh_suppress: want "on" found "off" (pending false)`,
		`foreign link vxlan100 port learning: want "off" found "on" (pending false)`,
	}, foreign)
}

func driftUnconfirmed(t *testing.T, f Factory) {
	w := underlay(t, f)
	before := start(t, w, oneVNI(), 0)
	before.set(flood(100, vtepB), remote(100, macB, vtepB))
	before.eventually(func() bool { return before.k.Installed(remote(100, macB, vtepB).RowKey) }, "installed")
	before.stop()

	r := start(t, w, oneVNI(), 0)
	differs, foreign := r.drift()
	assert.Empty(t, differs, "they wait for the neighbours' word")
	assert.Equal(t, []string{
		`unconfirmed flood vxlan100 10.0.0.2: want "" found "dst 10.0.0.2 self permanent" (pending false)`,
		`unconfirmed vxlan vxlan100 02:00:00:00:00:0b: want "" found "dst 10.0.0.2 extern_learn" (pending false)`,
		`unconfirmed bridge br100 02:00:00:00:00:0b: want "" found "dev vxlan100 extern_learn" (pending false)`,
	}, foreign)
}

func driftRefused(t *testing.T, f Factory) {
	w := underlay(t, f)
	here := netip.MustParseAddr("2001:db8::1")
	w.SetAddress(t, "eth0", here, true)
	cfg := oneVNI()
	cfg.VTEP = here
	r := start(t, w, cfg, 0)
	r.set(flood(100, vtepB))
	r.eventually(func() bool { return r.k.Stats().Failing == 1 }, "refused")
	list, err := r.k.Drift(context.Background(), 100)
	require.NoError(t, err)
	require.Len(t, list, 1)
	assert.Equal(t, `missing flood vxlan100 10.0.0.2: want "dst 10.0.0.2 self permanent" found ""`, driftLine(list[0]))
	assert.True(t, list[0].Counts())
	require.ErrorIs(t, list[0].Err, unix.EAFNOSUPPORT)
	require.NoError(t, r.k.Repair(context.Background()))
	list, err = r.k.Drift(context.Background(), 100)
	require.NoError(t, err)
	require.Len(t, list, 1)
	assert.ErrorIs(t, list[0].Err, unix.EAFNOSUPPORT, "it was tried again")
}

// However fast intent changes, a write on its way is no drift.
func driftChurn(t *testing.T, f Factory) {
	r := start(t, underlay(t, f), oneVNI(), 0)
	r.k.AllowPrune()
	stop, stopped := make(chan struct{}), make(chan struct{})
	var rounds atomic.Int64
	go func() {
		defer close(stopped)
		random := rand.New(rand.NewPCG(1, 2))
		for {
			select {
			case <-stop:
				return
			default:
			}
			rounds.Add(1)
			var changes []evpn.RowChange
			for range 20 {
				n := byte(random.IntN(100))
				to := []netip.Addr{vtepB, vtepC}[random.IntN(2)]
				remove := random.IntN(3) == 0
				for _, row := range []evpn.Row{remote(100, evpn.MAC{4, 5: n}, to), binding(100, fmt.Sprintf("192.0.2.%d", n), evpn.MAC{4, 5: n})} {
					changes = append(changes, evpn.RowChange{Row: row, Remove: remove})
				}
			}
			r.k.Apply(changes)
		}
	}()
	for rounds.Load() < 2000 {
		differs, _ := r.drift()
		assert.Empty(t, differs)
	}
	close(stop)
	<-stopped
	r.settled()
	differs, foreign := r.drift()
	assert.Empty(t, differs)
	assert.Empty(t, foreign)

	r.stop() // so that a write waits for ever
	r.set(flood(100, vtepB))
	differs, foreign = r.drift()
	assert.Empty(t, differs)
	assert.Equal(t, []string{`missing flood vxlan100 10.0.0.2: want "dst 10.0.0.2 self permanent" found "" (pending true)`}, foreign)
}

func inspect(t *testing.T, f Factory) {
	r := start(t, underlay(t, f), oneVNI(), 0)
	r.seen("p1", macA)
	r.set(remote(100, macB, vtepB), remote(100, macC, vtepB), binding(100, "192.0.2.11", macB))
	r.foreign(kernel.Replace, kernel.Neighbor{Family: unix.AF_INET, Index: r.link("br100").Index, Addr: netip.MustParseAddr("192.0.2.10"), MAC: macA, State: unix.NUD_STALE})
	r.eventually(func() bool { return r.k.Installed(binding(100, "192.0.2.11", macB).RowKey) }, "installed")
	r.settled()
	lines := func(macs []evpn.MAC, ips ...string) (out []string) {
		var addrs []netip.Addr
		for _, ip := range ips {
			addrs = append(addrs, netip.MustParseAddr(ip))
		}
		list, err := r.k.Inspect(context.Background(), 100, macs, addrs)
		require.NoError(t, err)
		for _, d := range list {
			out = append(out, driftLine(d))
		}
		return out
	}
	neighbor := `"lladdr 02:00:00:00:00:0b extern_learn NOARP proto 229"`
	assert.Equal(t, []string{
		`equal vxlan vxlan100 02:00:00:00:00:0b: want "dst 10.0.0.2 extern_learn" found "dst 10.0.0.2 extern_learn"`,
		`equal bridge br100 02:00:00:00:00:0b: want "dev vxlan100 extern_learn" found "dev vxlan100 extern_learn"`,
		`equal neighbor br100 192.0.2.11: want ` + neighbor + ` found ` + neighbor,
	}, lines([]evpn.MAC{macB}, "192.0.2.11"))
	r.eventually(func() bool { return len(r.heard()) >= 3 }, "host and address are told")
	assert.Equal(t, []string{
		`foreign neighbor br100 192.0.2.10: want "" found "lladdr 02:00:00:00:00:0a"`,
		`equal local br100 02:00:00:00:00:0a: want "dev p1" found "dev p1"`,
	}, lines([]evpn.MAC{macA}, "192.0.2.10"))
	assert.Empty(t, lines([]evpn.MAC{{2, 99}}, "192.0.2.99"), "nobody's")

	// Several at once, of both families.
	six := binding(100, "2001:db8::11", macB)
	r.set(six)
	r.eventually(func() bool { return r.k.Installed(six.RowKey) }, "installed")
	assert.Len(t, lines([]evpn.MAC{macB, macC}, "192.0.2.11", "2001:db8::11"), 6)

	// Without the device there is nothing to ask of it.
	require.NoError(t, r.raw.DeleteLink(r.link("p1").Index))
	r.stop()
	require.NoError(t, r.raw.DeleteLink(r.link("vxlan100").Index))
	assert.Contains(t, lines([]evpn.MAC{macB}, "192.0.2.11"), `missing vxlan vxlan100 02:00:00:00:00:0b: want "dst 10.0.0.2 extern_learn" found ""`)
}
