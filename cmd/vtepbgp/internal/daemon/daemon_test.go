package daemon

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/api"
	"github.com/vtepbgp/vtepbgp/config"
	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/kernel"
)

func TestStartAndStop(t *testing.T) {
	w := newWorld(t, t.TempDir())
	pid := filepath.Join(w.dir, "pid")
	w.start(Options{PIDFile: pid})
	b, err := os.ReadFile(pid)
	require.NoError(t, err)
	assert.NotEmpty(t, strings.TrimSpace(string(b)))

	_, atStart := w.speaker.counts()
	assert.Equal(t, 2, atStart, "type-3 and the local MAC were with the speaker before the first session")
	w.speaker.establish("10.0.0.254")
	w.eventually("flood row", func() bool { rows, _ := w.kernel.rowCount(); return rows == 1 })

	require.NoError(t, w.end())
	rows, _ := w.kernel.rowCount()
	assert.Equal(t, 1, rows, "a graceful stop leaves the rows")
	assert.False(t, w.kernel.flushed)
	assert.Equal(t, []bool{true}, w.speaker.shutdown)
	assert.NoFileExists(t, pid)
	assert.NoFileExists(t, w.cfg.API.Socket)
	require.Len(t, w.notified, 2)
	assert.Contains(t, w.notified[0], "READY=1")
	assert.Equal(t, "STOPPING=1", w.notified[1])
}

func TestStopCleansWhenAskedOrWithoutGracefulRestart(t *testing.T) {
	t.Run("flush on exit", func(t *testing.T) {
		w := newWorld(t, t.TempDir())
		w.start(Options{FlushOnExit: true})
		require.NoError(t, w.end())
		assert.True(t, w.kernel.flushed)
		assert.Equal(t, []bool{false}, w.speaker.shutdown)
	})
	t.Run("graceful restart off", func(t *testing.T) {
		w := newWorld(t, t.TempDir())
		w.change(func(c *config.Config) { c.BGP.GracefulRestartTime = 0 })
		w.start(Options{})
		require.NoError(t, w.end())
		assert.True(t, w.kernel.flushed)
		assert.Equal(t, []bool{false}, w.speaker.shutdown)
	})
}

func TestRestartIsTold(t *testing.T) {
	dir := t.TempDir()
	one := newWorld(t, dir)
	one.start(Options{})
	assert.False(t, one.speaker.cfg.Restarting, "nobody ran before")
	require.NoError(t, one.end())

	two := newWorld(t, dir)
	two.start(Options{FlushOnExit: true})
	assert.True(t, two.speaker.cfg.Restarting)
	require.NoError(t, two.end())

	three := newWorld(t, dir)
	three.start(Options{})
	assert.False(t, three.speaker.cfg.Restarting, "the one before cleaned up")
	require.NoError(t, three.end())
}

func TestKeptForwarding(t *testing.T) {
	now := time.Unix(1e9, 0)
	last := lastRun{BootID: "b", NetNS: "n", Alive: now}
	later := func(s int) lastRun {
		return lastRun{BootID: "b", NetNS: "n", Alive: now.Add(time.Duration(s) * time.Second)}
	}
	assert.True(t, last.keptForwarding(later(60), time.Minute, true))
	assert.False(t, last.keptForwarding(later(71), time.Minute, true), "too long ago")
	assert.False(t, last.keptForwarding(lastRun{BootID: "c", NetNS: "n", Alive: now}, time.Minute, true), "another boot")
	assert.False(t, last.keptForwarding(lastRun{BootID: "b", NetNS: "m", Alive: now}, time.Minute, true), "another namespace")
	assert.False(t, lastRun{}.keptForwarding(later(0), time.Minute, true))
	assert.True(t, last.keptForwarding(lastRun{BootID: "c", NetNS: "m", Alive: now}, time.Minute, false), "a reflector has no rows to lose")
	assert.False(t, last.keptForwarding(later(71), time.Minute, false))
	assert.False(t, lastRun{}.keptForwarding(later(0), time.Minute, false))
}

func TestAcquaintances(t *testing.T) {
	now := time.Unix(1e9, 0)
	a, b, c := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.3")
	m := newAcquaintances([]netip.Addr{a, b}, now.Add(time.Minute))
	assert.Equal(t, []netip.Addr{a, b}, m.list(now))
	m.see(evpn.NeighborUp{Neighbor: c})
	m.see(evpn.NeighborUp{Neighbor: a})
	assert.Equal(t, []netip.Addr{a, b, c}, m.list(now))
	assert.Equal(t, []netip.Addr{a, c}, m.list(now.Add(time.Minute)), "who did not come back is not waited for again")
	m.see(evpn.NeighborDown{Neighbor: c, Graceful: true})
	assert.Contains(t, m.list(now), c, "it is expected back")
	m.see(evpn.NeighborDown{Neighbor: c})
	m.see(evpn.NeighborRemoved{Neighbor: a})
	assert.Equal(t, []netip.Addr{b}, m.list(now))
	<-m.changed
}

func TestRowsFoundAtStartArePrunedOnceComplete(t *testing.T) {
	w := newWorld(t, t.TempDir())
	flood := evpn.RowKey{Kind: evpn.FloodRow, VNI: 100, IP: netip.MustParseAddr("10.0.0.2")}
	stale := evpn.RowKey{Kind: evpn.FloodRow, VNI: 100, IP: netip.MustParseAddr("10.0.0.3")}
	w.kernel.found[flood], w.kernel.found[stale] = true, true
	w.start(Options{})
	_, found := w.kernel.rowCount()
	assert.Equal(t, 2, found, "nothing is removed before the neighbour has spoken")
	w.speaker.establish("10.0.0.254")
	w.eventually("sweep", func() bool { rows, found := w.kernel.rowCount(); return rows == 1 && found == 0 })
	st, err := w.api.Status(t.Context())
	require.NoError(t, err)
	assert.True(t, st.PruneAllowed)
	assert.True(t, st.Synced)
	require.NoError(t, w.end())
}

func TestRowsThatNobodyConfirmsStayUntilTheTimer(t *testing.T) {
	for name, c := range map[string]struct {
		reflector func(*fakeSpeaker)
		confirmed int
	}{
		"the neighbour never comes":            {func(*fakeSpeaker) {}, 0},
		"it comes, and never sends End-of-RIB": {func(s *fakeSpeaker) { s.establishWithoutEnd("10.0.0.254") }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			const grace = time.Second // the least that is not off
			w := newWorld(t, t.TempDir())
			w.change(func(c *config.Config) { c.BGP.GracefulRestartTime = grace })
			for _, vtep := range []string{"10.0.0.2", "10.0.0.3"} {
				w.kernel.found[evpn.RowKey{Kind: evpn.FloodRow, VNI: 100, IP: netip.MustParseAddr(vtep)}] = true
			}
			before := time.Now()
			w.start(Options{})
			c.reflector(w.speaker)
			w.eventually("sweep", func() bool { _, found := w.kernel.rowCount(); return found == 0 })
			assert.GreaterOrEqual(t, time.Since(before), grace, "not before the timer")
			rows, _ := w.kernel.rowCount()
			assert.Equal(t, c.confirmed, rows, "what was confirmed stays")
			st, err := w.api.Status(t.Context())
			require.NoError(t, err)
			assert.True(t, st.PruneAllowed)
			assert.False(t, st.Synced)
			require.NoError(t, w.end())
		})
	}
}

func TestStartStopManyTimesLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	newWorldOnce := func() {
		w := newWorld(t, dir)
		w.start(Options{})
		w.speaker.establish("10.0.0.254")
		w.eventually("row", func() bool { rows, _ := w.kernel.rowCount(); return rows == 1 })
		require.NoError(t, w.end())
	}
	newWorldOnce() // what the runtime starts once stays
	before := runtime.NumGoroutine()
	for range 20 {
		newWorldOnce()
	}
	// Eventually asks from a goroutine of its own; a leak would be 20 or more.
	require.Eventually(t, func() bool { return runtime.NumGoroutine() <= before+2 }, 30*time.Second, 10*time.Millisecond,
		"goroutines leak: %d before", before)
}

func TestPartThatFailsEndsTheDaemon(t *testing.T) {
	for name, breakIt := range map[string]func(*world){
		"kernel":  func(w *world) { w.kernel.broken <- errors.New("no netlink") },
		"speaker": func(w *world) { w.speaker.broken <- errors.New("no sockets") },
		"ended":   func(w *world) { w.kernel.broken <- nil },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, t.TempDir())
			w.start(Options{FlushOnExit: true})
			breakIt(w)
			err := <-w.done
			require.Error(t, err)
			t.Log(err)
			assert.False(t, w.kernel.flushed, "the service manager starts us again: rows stay")
			w.stop()
		})
	}
}

func TestSecondInstanceIsRefused(t *testing.T) {
	w := newWorld(t, t.TempDir())
	pid := filepath.Join(w.dir, "pid")
	w.start(Options{PIDFile: pid})
	other := newWorld(t, w.dir)

	err := run(t.Context(), Options{PIDFile: pid}, other.environment())
	require.ErrorIs(t, err, errLocked)
	assert.ErrorContains(t, err, "process id")
	err = run(t.Context(), Options{}, other.environment())
	require.ErrorIs(t, err, errLocked, "the same state directory")
	other.change(func(c *config.Config) { c.State.Directory = w.dir + "/other" })
	err = run(t.Context(), Options{}, other.environment())
	require.ErrorIs(t, err, api.ErrInUse, "the same socket")
	assert.Zero(t, other.kernel.configs, "the host was not touched")

	require.FileExists(t, pid)
	require.NoError(t, w.end())
}

func TestBadConfigurationStartsNothing(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.loadErr = config.Problems{{File: "vtepbgp.toml", Line: 3, Key: "bgp.asn", Message: "missing"}}
	err := run(t.Context(), Options{}, w.environment())
	var problems config.Problems
	require.ErrorAs(t, err, &problems)
	entries, err := os.ReadDir(w.dir)
	require.NoError(t, err)
	assert.Empty(t, entries)
}

func TestReloadAppliesTheDifference(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.kernel.local[200] = []evpn.MAC{{2, 5: 2}}
	w.start(Options{})
	w.speaker.establish("10.0.0.254")

	res, err := w.api.Reload(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []string{}, res.Changed, "nothing differs")

	w.change(func(c *config.Config) {
		c.VNIs = append(c.VNIs, testVNI(200))
		c.Neighbors = append(c.Neighbors, config.Neighbor{Address: netip.MustParseAddr("10.0.0.253"), ASN: 65000})
		c.Log.Format = "json"
	})
	res, err = w.api.Reload(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []string{"log changed", "neighbor 10.0.0.253 added", "vni 200 added"}, res.Changed)
	w.eventually("routes of both VNIs", func() bool { own, _ := w.speaker.counts(); return own == 4 })
	rt, _ := evpn.AutoRouteTarget(65000, 200)
	assert.True(t, w.speaker.imports.MatchesAny([]evpn.RouteTarget{rt}))
	assert.Len(t, w.speaker.cfg.Neighbors, 2)
	vnis, err := w.api.VNIs(t.Context(), api.VNIFilter{})
	require.NoError(t, err)
	require.Len(t, vnis, 2)
	assert.Equal(t, "10.0.0.1:1", vnis[0].RD, "the VNI that stayed keeps its route distinguisher")
	assert.Equal(t, "10.0.0.1:2", vnis[1].RD)

	w.change(func(c *config.Config) { c.VNIs = c.VNIs[1:]; c.Neighbors = c.Neighbors[:1] })
	res, err = w.api.Reload(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []string{"neighbor 10.0.0.253 removed", "vni 100 removed"}, res.Changed)
	w.eventually("routes of one VNI", func() bool { own, _ := w.speaker.counts(); return own == 2 })
	w.eventually("rows of it are gone", func() bool { rows, _ := w.kernel.rowCount(); return rows == 0 })
	vnis, err = w.api.VNIs(t.Context(), api.VNIFilter{})
	require.NoError(t, err)
	require.Len(t, vnis, 1)
	assert.Equal(t, "10.0.0.1:2", vnis[0].RD)
	require.NoError(t, w.end())
}

func TestBadReloadChangesNothing(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.start(Options{})
	configs := w.kernel.configs
	before, err := w.api.VNIs(t.Context(), api.VNIFilter{})
	require.NoError(t, err)

	w.change(func(c *config.Config) { c.VNIs = nil })
	w.mu.Lock()
	w.loadErr = config.Problems{{File: "a.toml", Line: 1, Key: "bgp.asn", Message: "missing"}, {File: "a.toml", Line: 9, Key: "vni[0].id", Message: "0 is out of range"}}
	w.mu.Unlock()
	_, err = w.api.Reload(t.Context())
	var refused *api.Error
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, http.StatusUnprocessableEntity, refused.StatusCode)
	assert.Equal(t, []string{"a.toml:1: bgp.asn: missing", "a.toml:9: vni[0].id: 0 is out of range"}, refused.Problems)

	w.mu.Lock()
	w.loadErr = nil
	w.mu.Unlock()
	w.change(func(c *config.Config) { c.BGP.ASN, c.API.Socket = 65001, "/elsewhere" })
	_, err = w.api.Reload(t.Context())
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, http.StatusConflict, refused.StatusCode)
	assert.Equal(t, []string{"bgp.asn: 65000 to 65001", "api.socket: " + w.dir + "/run/s.sock to /elsewhere"}, refused.Problems)

	after, err := w.api.VNIs(t.Context(), api.VNIFilter{})
	require.NoError(t, err)
	assert.Equal(t, before, after)
	assert.Equal(t, configs, w.kernel.configs)
	st, err := w.api.Status(t.Context())
	require.NoError(t, err)
	assert.Contains(t, st.Reload.LastError, "cannot change")
	require.NoError(t, w.end())
}

func TestVTEPAddressOfInterface(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.change(func(c *config.Config) { c.VTEP = config.VTEP{Interface: "lo"} })
	w.start(Options{})
	var hops []netip.Addr
	require.NoError(t, w.api.Routes(t.Context(), api.RouteFilter{Local: true}, func(r api.Route) error {
		hops = append(hops, r.NextHop)
		return nil
	}))
	own := netip.MustParseAddr("10.9.9.9")
	assert.Equal(t, []netip.Addr{own, own}, hops)
	require.NoError(t, w.end())
}

func TestShowAndOrders(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.start(Options{})
	w.speaker.establish("10.0.0.254")
	ctx := t.Context()
	w.eventually("route accepted", func() bool {
		ns, err := w.api.Neighbors(ctx)
		return err == nil && len(ns) == 1 && ns[0].RoutesAccepted == 1 && ns[0].State == "established"
	})
	st, err := w.api.Status(ctx)
	require.NoError(t, err)
	assert.Equal(t, "1.2.3", st.Version)
	assert.Equal(t, api.NeighborSummary{Total: 1, Established: 1}, st.Neighbors)
	assert.Equal(t, api.VNISummary{Total: 1, Up: 1}, st.VNIs)
	assert.Equal(t, 1, st.VTEPs)
	assert.Equal(t, api.RouteSummary{Received: 1, Accepted: 1, Own: 2}, st.Routes)

	fl, err := w.api.Flood(ctx, api.VNIFilter{VNI: 100})
	require.NoError(t, err)
	assert.Equal(t, []api.Flood{{
		VNI: 100, Mode: "ingress", Engine: "kernel", Interfaces: []string{}, Segment: []netip.Prefix{}, Tasks: []api.FloodTask{}, Problems: []string{}, Engines: []api.FloodEngine{}, Counters: map[string]uint64{},
		VTEPs: []api.FloodVTEP{{Address: netip.MustParseAddr("10.0.0.2"), Source: "bgp", Role: "vtep", Kernel: true, Installed: true}},
	}}, fl)
	vteps, err := w.api.VTEPs(ctx, api.VNIFilter{})
	require.NoError(t, err)
	assert.Equal(t, []api.VTEP{{Address: netip.MustParseAddr("10.0.0.2"), VNIs: []evpn.VNI{100}, Sources: []evpn.FloodSource{"bgp"}, Reachable: true, Interface: "eth0", MTUBytes: 1500}}, vteps)
	var macs []api.MAC
	require.NoError(t, w.api.MACs(ctx, api.MACFilter{VNI: 100}, func(m api.MAC) error { macs = append(macs, m); return nil }))
	assert.Equal(t, []api.MAC{{VNI: 100, MAC: evpn.MAC{2, 5: 1}, IPs: []netip.Addr{}, DuplicateIPs: []netip.Addr{}, Origin: "local", Port: "veth1", Installed: true}}, macs)
	var routes []api.Route
	require.NoError(t, w.api.Routes(ctx, api.RouteFilter{Received: true}, func(r api.Route) error { routes = append(routes, r); return nil }))
	require.Len(t, routes, 1)
	assert.True(t, routes[0].Best && routes[0].Imported)

	require.NoError(t, w.api.ResetNeighbor(ctx, netip.MustParseAddr("10.0.0.254"), true))
	assert.Equal(t, []string{"10.0.0.254 soft=true"}, w.speaker.resets)
	var refused *api.Error
	require.ErrorAs(t, w.api.ResetNeighbor(ctx, netip.MustParseAddr("10.0.0.99"), true), &refused)
	assert.Equal(t, http.StatusNotFound, refused.StatusCode)
	require.NoError(t, w.api.ClearDuplicate(ctx, 100, evpn.MAC{2, 5: 1}))
	require.ErrorAs(t, w.api.ClearDuplicate(ctx, 999, evpn.MAC{}), &refused)
	assert.Equal(t, http.StatusNotFound, refused.StatusCode)
	_, err = w.api.VNIs(ctx, api.VNIFilter{VNI: 999})
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, http.StatusNotFound, refused.StatusCode)
	_, err = w.api.VTEPs(ctx, api.VNIFilter{VNI: 999})
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, http.StatusNotFound, refused.StatusCode)
	require.NoError(t, w.end())
}

// What the kernel says of the way to a VTEP is shown, and with the policy to remove
// them its rows go, and come back.
func TestUnreachableVTEP(t *testing.T) {
	for _, policy := range []evpn.UnreachablePolicy{evpn.UnreachableKeep, evpn.UnreachableRemove} {
		t.Run(string(policy), func(t *testing.T) {
			w := newWorld(t, t.TempDir())
			w.change(func(c *config.Config) { c.VTEP.Unreachable = policy })
			w.start(Options{})
			w.speaker.establish("10.0.0.254")
			w.eventually("row", func() bool { rows, _ := w.kernel.rowCount(); return rows == 1 })
			remote := netip.MustParseAddr("10.0.0.2")
			w.kernel.setWay(kernel.VTEPState{VTEP: remote, Reason: "no route", Since: time.Now()})
			left := map[evpn.UnreachablePolicy]int{evpn.UnreachableKeep: 1, evpn.UnreachableRemove: 0}[policy]
			w.eventually("rows by policy", func() bool { rows, _ := w.kernel.rowCount(); return rows == left })
			vteps, err := w.api.VTEPs(t.Context(), api.VNIFilter{})
			require.NoError(t, err)
			require.Len(t, vteps, 1)
			assert.Equal(t, "no route", vteps[0].Reason)
			assert.False(t, vteps[0].Reachable)
			st, err := w.api.Status(t.Context())
			require.NoError(t, err)
			assert.Equal(t, 1, st.VTEPsUnreachable)
			assert.Equal(t, []string{"vtep 10.0.0.2 is unreachable: no route"}, st.Problems)

			w.kernel.setWay(kernel.VTEPState{VTEP: remote, Own: true, Reason: "the address is on this host", Since: time.Now()})
			w.eventually("no rows to ourselves", func() bool { rows, _ := w.kernel.rowCount(); return rows == 0 })
			w.kernel.setWay(kernel.VTEPState{VTEP: remote, Reachable: true, Since: time.Now()})
			w.eventually("back", func() bool {
				st, err := w.api.Status(t.Context())
				rows, _ := w.kernel.rowCount()
				return err == nil && len(st.Problems) == 0 && rows == 1
			})
			require.NoError(t, w.end())
		})
	}
}

func TestManyUnreachableVTEPs(t *testing.T) {
	var ways []kernel.VTEPState
	for i := range 7 {
		ways = append(ways, kernel.VTEPState{VTEP: netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), Reachable: i == 1, Reason: "no route"})
	}
	assert.Len(t, unreachable(ways[:6]), 5)
	got := unreachable(ways)
	assert.Len(t, got, 6)
	assert.Equal(t, "vtep 10.0.0.0 is unreachable: no route", got[0])
	assert.Equal(t, "1 more vteps are unreachable", got[5])
}

func TestStopWhileStarting(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.change(func(c *config.Config) { c.VNIs = nil })
	ctx, cancel := context.WithCancel(t.Context())
	w.kernel.changed = nil // the first dump never comes
	go func() { w.done <- run(ctx, Options{}, w.environment()) }()
	w.eventually("waiting for the kernel", func() bool {
		st, err := w.api.Status(t.Context())
		return err == nil && st.NotReady == "reading the kernel"
	})
	cancel()
	require.NoError(t, <-w.done)
}
