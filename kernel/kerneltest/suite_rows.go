package kerneltest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/kernel"
)

func rows(t *testing.T, f Factory) {
	r := start(t, underlay(t, f), oneVNI(), 0)
	router := binding(100, "2001:db8::b", macB)
	router.Router = true
	all := []evpn.Row{
		flood(100, vtepB), flood(100, vtepC), remote(100, macB, vtepB), sticky(remote(100, macC, vtepC)),
		binding(100, "192.0.2.11", macB), router,
	}
	r.set(all...)
	r.wantFDB(
		"00:00:00:00:00:00 dev vxlan100 dst 10.0.0.2 self permanent",
		"00:00:00:00:00:00 dev vxlan100 dst 10.0.0.3 self permanent",
		"02:00:00:00:00:0b dev vxlan100 dst 10.0.0.2 self extern_learn",
		"02:00:00:00:00:0b dev vxlan100 extern_learn master br100",
		"02:00:00:00:00:0c dev vxlan100 dst 10.0.0.3 self sticky static",
		"02:00:00:00:00:0c dev vxlan100 sticky master br100 static")
	r.wantNeighbors(
		"192.0.2.11 dev br100 lladdr 02:00:00:00:00:0b extern_learn NOARP proto 229",
		"2001:db8::b dev br100 lladdr 02:00:00:00:00:0b router extern_learn NOARP proto 229")
	for _, row := range all {
		assert.True(t, r.k.Installed(row.RowKey), "%v", row.RowKey)
	}
	r.forget()

	writes := r.settled().Writes["set"].OK
	r.set(all...)
	assert.Equal(t, writes, r.settled().Writes["set"].OK, "saying it twice writes nothing")

	r.remove(all...)
	r.wantFDB()
	r.wantNeighbors()
	s := r.settled()
	assert.Zero(t, s.Repairs, "own writes are not taken for somebody else's")
	assert.Empty(t, r.heard(), "own writes are no local learning")
}

func rowsIPv6(t *testing.T, f Factory) {
	w := underlay(t, f)
	here, there := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
	w.SetAddress(t, "eth0", here, true)
	cfg := oneVNI()
	cfg.VTEP = here
	r := start(t, w, cfg, 0)
	assert.Equal(t, here, r.link("vxlan100").VXLAN.Local)
	assert.Equal(t, 1530, r.link("vxlan100").MTU, "underlay 1600 less 70")
	r.set(flood(100, there), remote(100, macB, there))
	r.wantFDB(
		"00:00:00:00:00:00 dev vxlan100 dst 2001:db8::2 self permanent",
		"02:00:00:00:00:0b dev vxlan100 dst 2001:db8::2 self extern_learn",
		"02:00:00:00:00:0b dev vxlan100 extern_learn master br100")
	// A row of the other family is refused by the kernel, shown, and not fatal.
	r.set(flood(100, vtepB))
	r.eventually(func() bool { return r.k.Stats().Failing == 1 }, "refusal is visible")
	assert.Contains(t, r.k.Status()[0].Problems[0], "the kernel refuses 1 rows: write flood row 10.0.0.2 of VNI 100")
	r.remove(flood(100, vtepB))
	r.settled()
}

func moveRemote(t *testing.T, f Factory) {
	r := start(t, underlay(t, f), oneVNI(), 0)
	for _, to := range []netip.Addr{vtepB, vtepC, vtepB} {
		r.set(remote(100, macB, to))
		r.wantFDB(
			"02:00:00:00:00:0b dev vxlan100 dst "+to.String()+" self extern_learn",
			"02:00:00:00:00:0b dev vxlan100 extern_learn master br100")
	}
	s := r.settled()
	assert.Zero(t, s.Repairs)
	assert.Zero(t, s.Writes["delete"].OK, "a move is one replacement")
}

func toggleSticky(t *testing.T, f Factory) {
	r := start(t, underlay(t, f), oneVNI(), 0)
	for range 2 {
		r.set(remote(100, macB, vtepB))
		r.wantFDB(
			"02:00:00:00:00:0b dev vxlan100 dst 10.0.0.2 self extern_learn",
			"02:00:00:00:00:0b dev vxlan100 extern_learn master br100")
		r.set(sticky(remote(100, macB, vtepB)))
		r.wantFDB(
			"02:00:00:00:00:0b dev vxlan100 dst 10.0.0.2 self sticky static",
			"02:00:00:00:00:0b dev vxlan100 sticky master br100 static")
	}
	assert.Zero(t, r.settled().Repairs)
}

func foreignRepaired(t *testing.T, f Factory) {
	r := start(t, underlay(t, f), oneVNI(), 0)
	d, br := r.link("vxlan100").Index, r.link("br100").Index
	ip := netip.MustParseAddr("192.0.2.11")
	r.set(flood(100, vtepB), remote(100, macB, vtepB), sticky(remote(100, macC, vtepB)), binding(100, ip.String(), macB))
	fdb := []string{
		"00:00:00:00:00:00 dev vxlan100 dst 10.0.0.2 self permanent",
		"02:00:00:00:00:0b dev vxlan100 dst 10.0.0.2 self extern_learn",
		"02:00:00:00:00:0b dev vxlan100 extern_learn master br100",
		"02:00:00:00:00:0c dev vxlan100 dst 10.0.0.2 self sticky static",
		"02:00:00:00:00:0c dev vxlan100 sticky master br100 static",
	}
	neighbors := []string{"192.0.2.11 dev br100 lladdr 02:00:00:00:00:0b extern_learn NOARP proto 229"}
	r.wantFDB(fdb...)
	r.wantNeighbors(neighbors...)
	fdbRow := func(flags uint8, state uint16, mac evpn.MAC, to netip.Addr) kernel.Neighbor {
		return kernel.Neighbor{Family: unix.AF_BRIDGE, Index: d, MAC: mac, Addr: to, Flags: flags, State: state}
	}
	damage := []struct {
		what string
		verb kernel.Verb
		row  kernel.Neighbor
	}{
		{"flood row deleted", kernel.Delete, fdbRow(unix.NTF_SELF, 0, evpn.MAC{}, vtepB)},
		{"bridge row deleted", kernel.Delete, fdbRow(unix.NTF_MASTER, 0, macB, netip.Addr{})},
		{"VXLAN row deleted", kernel.Delete, fdbRow(unix.NTF_SELF, 0, macB, vtepB)},
		{"both deleted", kernel.Delete, fdbRow(unix.NTF_SELF|unix.NTF_MASTER, 0, macC, vtepB)},
		{"destination changed", kernel.Replace, fdbRow(unix.NTF_SELF|unix.NTF_EXT_LEARNED, unix.NUD_REACHABLE, macB, vtepC)},
		{"VXLAN row made permanent", kernel.Replace, fdbRow(unix.NTF_SELF, unix.NUD_PERMANENT, macB, vtepB)},
		{"bridge row made static", kernel.Replace, fdbRow(unix.NTF_MASTER, unix.NUD_NOARP, macB, netip.Addr{})},
		{"neighbour deleted", kernel.Delete, kernel.Neighbor{Family: unix.AF_INET, Index: br, Addr: ip}},
		{"neighbour changed", kernel.Replace, kernel.Neighbor{Family: unix.AF_INET, Index: br, Addr: ip, MAC: macA, State: unix.NUD_PERMANENT}},
	}
	for i, c := range damage {
		t.Log(c.what)
		began := time.Now()
		r.foreign(c.verb, c.row)
		r.eventually(func() bool { return r.k.Stats().Repairs > uint64(i) }, c.what)
		r.settled()
		// At once, that is by the event, and not by the periodic re-read minutes later.
		assert.Less(t, time.Since(began), patience, c.what)
		r.wantFDB(fdb...)
		r.wantNeighbors(neighbors...)
		assert.EqualValues(t, i+1, r.settled().Repairs, c.what)
	}
	r.wantEvents(evpn.VNIState{VNI: 100, Up: true}) // damage is no local learning
}

func foreignStay(t *testing.T, f Factory) {
	w := underlay(t, f)
	r := start(t, w, oneVNI(), 0)
	d, p1 := r.link("vxlan100").Index, r.link("p1").Index
	r.foreign(kernel.Replace, kernel.Neighbor{Family: unix.AF_BRIDGE, Index: d, MAC: macA, Addr: vtepC, Flags: unix.NTF_SELF, State: unix.NUD_PERMANENT})
	r.foreign(kernel.Replace, kernel.Neighbor{Family: unix.AF_BRIDGE, Index: d, MAC: macA, Flags: unix.NTF_MASTER, State: unix.NUD_NOARP})
	r.foreign(kernel.Replace, kernel.Neighbor{Family: unix.AF_BRIDGE, Index: p1, MAC: macC, Flags: unix.NTF_MASTER, State: unix.NUD_NOARP})
	r.foreign(kernel.Replace, kernel.Neighbor{Family: unix.AF_INET, Index: r.link("br100").Index, Addr: netip.MustParseAddr("192.0.2.66"), MAC: macA, State: unix.NUD_NOARP, Flags: unix.NTF_EXT_LEARNED, Protocol: unix.RTPROT_ZEBRA})
	r.k.AllowPrune()
	r.set(remote(100, macB, vtepB))
	r.remove(remote(100, macB, vtepB))
	r.settled()
	require.NoError(t, r.k.Flush(context.Background()))
	r.wantFDB(
		"02:00:00:00:00:0a dev vxlan100 dst 10.0.0.3 self permanent",
		"02:00:00:00:00:0a dev vxlan100 master br100 static",
		"02:00:00:00:00:0c dev p1 master br100 static")
	assert.Len(t, r.Neighbors(t), 1)
}

func adoption(t *testing.T, f Factory) {
	w := underlay(t, f)
	r := start(t, w, oneVNI(), 0)
	kept := []evpn.Row{flood(100, vtepB), remote(100, macB, vtepB), sticky(remote(100, macC, vtepB)), binding(100, "192.0.2.11", macB)}
	stale := []evpn.Row{flood(100, vtepC), remote(100, macA, vtepC), binding(100, "192.0.2.12", macA)}
	r.set(append(kept, stale...)...)
	r.eventually(func() bool { return r.k.Installed(stale[2].RowKey) }, "rows are there")
	r.settled()
	r.stop() // leaves all rows, as a crash would
	fdb, neighbors := r.FDB(t), r.Neighbors(t)
	require.Len(t, fdb, 8)

	again := start(t, w, oneVNI(), 0)
	again.set(kept...)
	for _, row := range kept {
		assert.True(t, again.k.Installed(row.RowKey), "adopted as it is: %v", row.RowKey)
	}
	s := again.settled()
	assert.Zero(t, s.Batches, "rows that are right are not written again")
	assert.Equal(t, fdb, again.FDB(t), "rows that nobody confirmed yet stay")
	assert.Equal(t, neighbors, again.Neighbors(t))

	again.k.AllowPrune()
	again.wantFDB(
		"00:00:00:00:00:00 dev vxlan100 dst 10.0.0.2 self permanent",
		"02:00:00:00:00:0b dev vxlan100 dst 10.0.0.2 self extern_learn",
		"02:00:00:00:00:0b dev vxlan100 extern_learn master br100",
		"02:00:00:00:00:0c dev vxlan100 dst 10.0.0.2 self sticky static",
		"02:00:00:00:00:0c dev vxlan100 sticky master br100 static")
	again.wantNeighbors("192.0.2.11 dev br100 lladdr 02:00:00:00:00:0b extern_learn NOARP proto 229")
	assert.Zero(t, again.settled().Writes["set"].OK)
}

func flush(t *testing.T, f Factory) {
	r := start(t, underlay(t, f), oneVNI(), 0)
	r.set(flood(100, vtepB), remote(100, macB, vtepB), binding(100, "192.0.2.11", macB))
	r.eventually(func() bool { return len(r.FDB(t)) == 3 && len(r.Neighbors(t)) == 1 }, "rows are there")
	r.stop()
	require.NoError(t, r.k.Flush(context.Background()), "also after Run has ended")
	assert.Empty(t, r.FDB(t))
	assert.Empty(t, r.Neighbors(t))
	assert.NotZero(t, r.link("vxlan100").Index, "devices stay")
}

func lostEvents(t *testing.T, f Factory) {
	r := start(t, underlay(t, f), oneVNI(), 4<<10)
	r.set(flood(100, vtepB), remote(100, macB, vtepB))
	r.eventually(func() bool { return r.k.Installed(remote(100, macB, vtepB).RowKey) }, "rows are there")
	// In one send many hosts appear, and a row of ours goes. A quick reader may keep
	// up with one burst, so there are some more.
	p1, d := r.link("p1").Index, r.link("vxlan100").Index
	hosts := 0
	for burst := 0; burst < 50 && r.k.Stats().Lost == 0; burst++ {
		var ops []kernel.NeighborOp
		for range 2000 {
			ops = append(ops, kernel.NeighborOp{Neighbor: kernel.Neighbor{
				Family: unix.AF_BRIDGE, Index: p1, MAC: evpn.MAC{6, 0, 0, byte(hosts >> 16), byte(hosts >> 8), byte(hosts)}, Flags: unix.NTF_MASTER, State: unix.NUD_NOARP,
			}})
			hosts++
		}
		ops = append(ops, kernel.NeighborOp{Verb: kernel.Delete, Neighbor: kernel.Neighbor{Family: unix.AF_BRIDGE, Index: d, MAC: macB, Flags: unix.NTF_SELF | unix.NTF_MASTER, Addr: vtepB}})
		require.NoError(t, r.raw.Write(ops, func(_ int, err error) { require.NoError(t, err) }))
		r.eventually(func() bool {
			return r.k.Installed(remote(100, macB, vtepB).RowKey) && r.k.Stats().Repairs > uint64(burst)
		}, "the row is back")
	}
	r.eventually(func() bool { return r.k.Status()[0].LocalMACs == hosts }, "all hosts are known")
	r.eventually(func() bool { return r.k.Installed(remote(100, macB, vtepB).RowKey) }, "the row is back")
	assert.NotZero(t, r.settled().Lost)
	r.eventually(func() bool { return r.k.Stats().Resyncs["lost"] > 0 }, "everything is read again")
	r.eventually(func() bool {
		learned := map[evpn.MAC]struct{}{}
		for _, ev := range r.heard() {
			if l, ok := ev.(evpn.LocalMACLearned); ok {
				learned[l.MAC] = struct{}{}
			}
		}
		return len(learned) == hosts
	}, "all hosts are reported")
}

func manyRows(t *testing.T, f Factory) {
	r := start(t, underlay(t, f), oneVNI(), 0)
	var all []evpn.Row
	for i := range 10_000 {
		all = append(all, remote(100, evpn.MAC{4, 0, 0, 0, byte(i >> 8), byte(i)}, vtepB))
	}
	r.set(all...)
	r.eventually(func() bool { s := r.k.Stats(); return s.Pending == 0 && s.Writes["set"].OK == 10_000 }, "all written")
	assert.Len(t, r.FDB(t), 20_000)
	s := r.settled()
	assert.Zero(t, s.Repairs)
	assert.Zero(t, s.Writes["set"].Failed)
	r.remove(all...)
	r.wantFDB()
}

// walk goes at random between intended states; wherever it comes from, the same
// intent must give the same kernel.
func walk(t *testing.T, f Factory) {
	r := start(t, underlay(t, f), oneVNI(), 0)
	states := [][]evpn.Row{
		{},
		{flood(100, vtepB)},
		{flood(100, vtepB), flood(100, vtepC)},
		{flood(100, vtepC), remote(100, macB, vtepC)},
		{remote(100, macB, vtepB), remote(100, macC, vtepC), binding(100, "192.0.2.11", macB)},
		{sticky(remote(100, macB, vtepB)), binding(100, "192.0.2.11", macC)},
		{sticky(remote(100, macB, vtepC)), sticky(remote(100, macC, vtepC)), flood(100, vtepC)},
		{remote(100, macA, vtepB), binding(100, "192.0.2.12", macA), binding(100, "2001:db8::12", macA)},
	}
	const seed = 7432
	random := rand.New(rand.NewPCG(seed, seed))
	now := 0
	for step := range 40 {
		next := random.IntN(len(states))
		t.Logf("seed %d step %d: state %d to %d", seed, step, now, next)
		r.k.Apply(difference(states[now], states[next]))
		fdb, neighbors := render(states[next])
		r.wantFDB(fdb...)
		r.wantNeighbors(neighbors...)
		now = next
	}
	assert.Zero(t, r.settled().Repairs)
}

func difference(from, to []evpn.Row) (out []evpn.RowChange) {
	want := map[evpn.RowKey]bool{}
	for _, row := range to {
		want[row.RowKey] = true
		out = append(out, evpn.RowChange{Row: row})
	}
	for _, row := range from {
		if !want[row.RowKey] {
			out = append(out, evpn.RowChange{Row: row, Remove: true})
		}
	}
	return out
}

// render writes by hand what bridge(8) and ip(8) must print for these rows.
func render(rows []evpn.Row) (fdb, neighbors []string) {
	for _, row := range rows {
		switch row.Kind {
		case evpn.FloodRow:
			fdb = append(fdb, fmt.Sprintf("00:00:00:00:00:00 dev vxlan100 dst %s self permanent", row.IP))
		case evpn.MACRow:
			self, bridge := "self extern_learn", "extern_learn master br100"
			if row.Sticky {
				self, bridge = "self sticky static", "sticky master br100 static"
			}
			fdb = append(fdb,
				fmt.Sprintf("%s dev vxlan100 dst %s %s", row.RowKey.MAC, row.VTEP, self),
				fmt.Sprintf("%s dev vxlan100 %s", row.RowKey.MAC, bridge))
		case evpn.NeighborRow:
			neighbors = append(neighbors, fmt.Sprintf("%s dev br100 lladdr %s extern_learn NOARP proto 229", row.IP, row.RowValue.MAC))
		}
	}
	return fdb, neighbors
}
