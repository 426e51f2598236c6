package flooding_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/flooding"
	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/flooding/floodingtest"
	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/flood"
)

func TestSegmentIsRelayed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		cfg := segment()
		cfg.VNIs[0].Rate = 7
		w.start(cfg)
		n, ok := w.host.Network("eth1", 100)
		require.True(t, ok, "proxies hear before there is anybody to copy to")
		assert.True(t, n.HearVTEPs && n.HearMACs)
		assert.False(t, n.Own || n.Others)

		w.m.Apply([]evpn.ListChange{
			entry(100, "10.0.2.3", evpn.UseCopy), entry(100, "10.0.2.2", evpn.UseCopy), entry(100, "10.0.1.7", evpn.UseItself),
			entry(100, "10.0.8.8", evpn.UseService), entry(100, "2001:db8::1", evpn.UseCopy),
		}, relay(evpn.Relay{VNI: 100, Own: true, Segment: true}))
		synctest.Wait()
		n, _ = w.host.Network("eth1", 100)
		assert.Equal(t, []string{"10.0.2.2", "10.0.2.3"}, copies(n), "sorted, and of our family")
		assert.Equal(t, []netip.Addr{addr("10.0.1.7")}, n.Itself)
		assert.True(t, n.Own && n.Others && n.Leased)
		assert.Equal(t, uint32(7), n.Rate)
		assert.Equal(t, cfg.VNIs[0].Segment, n.Segment)
		table, engine := w.host.Copying("eth1")
		assert.Equal(t, []netip.Addr{addr("10.0.1.1")}, table.Own)
		assert.Equal(t, []netip.Addr{addr("10.0.8.8"), addr("10.0.9.9")}, table.Services, "theirs and ours")
		assert.Equal(t, floodingtest.Remaining, engine)

		gone := entry(100, "10.0.8.8", evpn.UseService)
		gone.Remove = true
		w.m.Apply([]evpn.ListChange{gone}, relay(evpn.Relay{VNI: 100, Own: true, Segment: true, Deliver: true}))
		synctest.Wait()
		table, _ = w.host.Copying("eth1")
		assert.Equal(t, []netip.Addr{addr("10.0.9.9")}, table.Services)
		require.Len(t, table.Networks, 2)
		assert.Equal(t, addr("10.0.9.9"), table.Networks[1].Listen)
		assert.Equal(t, addr("239.1.1.1"), table.Networks[1].Deliver)
		assert.Empty(t, table.Networks[1].VTEPs)
		w.end()
		assert.Empty(t, w.host.Devices(), "nothing copies after a stop that cleans up")
	})
}

func TestReplicatorHearsTheServiceAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		cfg := segment()
		cfg.LearnFromData = true
		cfg.VNIs = append(cfg.VNIs, flooding.VNI{VNI: 200, Mode: evpn.FloodReplicator, Port: 8472})
		w.start(cfg)
		assert.Equal(t, []string{"eth1"}, w.host.Devices())
		w.m.Apply([]evpn.ListChange{entry(200, "10.0.2.2", evpn.UseCopy)}, relay(evpn.Relay{VNI: 200, Replicate: true}))
		synctest.Wait()
		assert.Equal(t, []string{"eth0", "eth1"}, w.host.Devices(), "an engine for each interface")
		n, _ := w.host.Network("eth0", 200)
		assert.Equal(t, addr("10.0.9.9"), n.Listen)
		assert.Equal(t, uint16(8472), n.Port)
		assert.True(t, n.HearVTEPs)
		assert.False(t, n.HearMACs)

		tables := w.host.Tables()
		w.m.Apply([]evpn.ListChange{entry(200, "10.0.2.3", evpn.UseCopy)}, nil)
		synctest.Wait()
		assert.Equal(t, tables+1, w.host.Tables(), "the other interface keeps its table")

		w.m.Apply([]evpn.ListChange{{ListEntry: entry(200, "10.0.2.2", evpn.UseCopy).ListEntry, Remove: true}}, []evpn.RelayChange{{Relay: evpn.Relay{VNI: 200}, Remove: true}})
		after(flooding.Linger / 2)
		n, _ = w.host.Network("eth0", 200)
		assert.Equal(t, []string{"10.0.2.2", "10.0.2.3"}, copies(n), "leaves send there until they hear that the route is withdrawn")
		w.m.Apply(nil, relay(evpn.Relay{VNI: 200, Replicate: true}))
		synctest.Wait()
		n, _ = w.host.Network("eth0", 200)
		assert.Equal(t, []string{"10.0.2.3"}, copies(n), "it begins anew")
		w.m.Apply(nil, []evpn.RelayChange{{Relay: evpn.Relay{VNI: 200}, Remove: true}})
		after(flooding.Linger)
		assert.Equal(t, []string{"eth1"}, w.host.Devices(), "an interface with nothing to do has no engine")
		w.end()
	})
}

func TestAddressAndInterfaceMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		cfg := segment()
		cfg.VTEP = netip.Addr{}
		w.start(cfg)
		assert.Empty(t, w.host.Devices(), "no VTEP address yet")
		w.m.Configure(segment())
		w.m.Apply(nil, relay(evpn.Relay{VNI: 100, Own: true}))
		synctest.Wait()
		assert.Equal(t, []string{"eth1"}, w.host.Devices())

		moved := segment()
		moved.VTEP, moved.VNIs[0].Interface = addr("10.0.1.2"), "eth2"
		w.m.Configure(moved)
		synctest.Wait()
		assert.Equal(t, []string{"eth2"}, w.host.Devices())
		table, _ := w.host.Copying("eth2")
		assert.Equal(t, []netip.Addr{addr("10.0.1.2")}, table.Own)
		assert.True(t, table.Networks[0].Own, "what the core wants stays")

		tables := w.host.Tables()
		w.m.Configure(moved)
		synctest.Wait()
		assert.Equal(t, tables, w.host.Tables(), "the same configuration changes nothing")
		w.end()
	})
}

func TestWhatIsMissingIsSaid(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(*flooding.Config)
		want string
	}{
		"interface": {func(c *flooding.Config) { c.VNIs[0].Interface = "" }, "no interface of the segment: set multicast.interface"},
		"segment":   {func(c *flooding.Config) { c.VNIs[0].Segment = nil }, "interface eth1 is not there, or has no prefix that could be the segment: look at multicast.interface, or set multicast.segment"},
		"family":    {func(c *flooding.Config) { c.VTEP = addr("2001:db8::1") }, "group 239.1.1.1 is of another address family than the VTEP address 2001:db8::1"},
		"service": {func(c *flooding.Config) { c.VNIs[0].Mode, c.ServiceInterfaces = evpn.FloodReplicator, nil },
			"no interface to hear the service address on: set flood.interface"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				cfg := segment()
				c.edit(&cfg)
				w.start(cfg)
				w.m.Apply(nil, relay(evpn.Relay{VNI: 100, Own: true, Replicate: true}))
				synctest.Wait()
				assert.Equal(t, []string{c.want}, w.m.Status().Networks[100].Problems)
				assert.Empty(t, w.host.Devices())
				w.end()
			})
		})
	}
}

// A burst of changes costs one table at a time, and the last one counts.
func TestChangesComeTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start(segment())
		w.host.Slow(time.Second)
		before := w.host.Tables()
		for i := range 200 {
			w.m.Apply([]evpn.ListChange{entry(100, fmt.Sprintf("10.0.2.%d", i+1), evpn.UseCopy)}, nil)
			synctest.Wait()
		}
		after(5 * time.Second)
		assert.Equal(t, before+2, w.host.Tables(), "the first at once, the rest together")
		n, _ := w.host.Network("eth1", 100)
		assert.Len(t, n.VTEPs, 200)
		w.host.Slow(0)
		w.end()
	})
}

// What a replicator gave up while its engine was busy goes on with the list that the engine has.
func TestGivenUpWhileBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		cfg := segment()
		cfg.VNIs = append(cfg.VNIs, flooding.VNI{VNI: 200, Mode: evpn.FloodReplicator})
		w.start(cfg)
		w.m.Apply([]evpn.ListChange{entry(200, "10.0.2.2", evpn.UseCopy)}, relay(evpn.Relay{VNI: 200, Replicate: true}))
		synctest.Wait()
		w.host.Slow(time.Second)
		w.m.Apply([]evpn.ListChange{entry(200, "10.0.2.3", evpn.UseCopy)}, nil)
		synctest.Wait()
		for _, vtep := range []string{"10.0.2.2", "10.0.2.3"} {
			w.m.Apply([]evpn.ListChange{{ListEntry: entry(200, vtep, evpn.UseCopy).ListEntry, Remove: true}}, nil)
			synctest.Wait()
		}
		w.m.Apply(nil, []evpn.RelayChange{{Relay: evpn.Relay{VNI: 200}, Remove: true}})
		after(2 * time.Second)
		n, _ := w.host.Network("eth0", 200)
		assert.Equal(t, []string{"10.0.2.2", "10.0.2.3"}, copies(n))
		w.host.Slow(0)
		after(flooding.Linger)
		assert.Equal(t, []string{"eth1"}, w.host.Devices())
		w.end()
	})
}

// The lists of 1,000 VNIs grow to 100 VTEPs, one VTEP of all after the other, as their routes come.
func BenchmarkListsGrow(b *testing.B) {
	const vnis, vteps = 1000, 100
	log := logrus.New()
	log.SetOutput(io.Discard)
	cfg := flooding.Config{Engine: flood.Auto, HoldTime: time.Minute, VTEP: addr("10.0.1.1"), Service: addr("10.0.9.9"), ServiceInterfaces: []string{"eth0"}}
	var relays []evpn.RelayChange
	for i := range vnis {
		vni := evpn.VNI(i + 1)
		cfg.VNIs = append(cfg.VNIs, flooding.VNI{VNI: vni, Mode: evpn.FloodReplicator})
		relays = append(relays, relay(evpn.Relay{VNI: vni, Replicate: true})...)
	}
	turn := time.NewTicker(time.Millisecond)
	defer turn.Stop()
	b.ReportAllocs()
	for b.Loop() {
		host := floodingtest.NewHost()
		host.Slow(30 * time.Millisecond) // what an engine takes for as many lists
		m := flooding.New(flooding.Options{Kinds: host.Kinds(), Directory: b.TempDir(), Log: logrus.NewEntry(log)})
		m.Configure(cfg)
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- m.Run(ctx, func(evpn.Event) {}) }()
		m.Apply(nil, relays)
		for i := range vteps {
			var changes []evpn.ListChange
			for vni := range vnis {
				changes = append(changes, entry(evpn.VNI(vni+1), fmt.Sprintf("10.0.2.%d", i+1), evpn.UseCopy))
			}
			for some := range slices.Chunk(changes, vnis/4) { // a turn of the loop
				<-turn.C
				m.Apply(some, nil)
			}
		}
		for {
			if n, _ := host.Network("eth0", vnis); len(n.VTEPs) == vteps {
				break
			}
			<-turn.C
		}
		stop()
		require.NoError(b, <-done)
	}
}

func TestEngineThatCannotStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.host.Break(floodingtest.Remaining, errors.New("verifier says no"))
		w.start(segment())
		_, engine := w.host.Copying("eth1")
		assert.Equal(t, floodingtest.Passing, engine, "auto takes the next one")
		st := w.m.Status()
		require.Len(t, st.Engines, 1)
		assert.Equal(t, "no ebpf: verifier says no", st.Engines[0].Reason)
		assert.Empty(t, st.Engines[0].Problem)
		assert.Equal(t, floodingtest.Passing, st.Networks[100].Engine)

		forced := segment()
		forced.Engine = floodingtest.Remaining
		w.m.Configure(forced)
		synctest.Wait()
		st = w.m.Status()
		assert.Contains(t, st.Engines[0].Problem, "verifier says no")
		assert.Len(t, st.Networks[100].Problems, 1)

		w.host.Break(floodingtest.Remaining, nil)
		after(time.Minute)
		_, engine = w.host.Copying("eth1")
		assert.Equal(t, floodingtest.Remaining, engine, "it is tried again")
		assert.Empty(t, w.m.Status().Networks[100].Problems)
		failed := w.m.Status().Engines[0].Failures
		assert.Positive(t, failed)

		w.host.Hurt(errors.New("no such queue"))
		st = w.m.Status()
		assert.Equal(t, failed+1, st.Engines[0].Failures, "an engine tells what it cannot mend")
		assert.Equal(t, []string{"flooding on eth1: no such queue"}, st.Networks[100].Problems)
		w.host.Hurt(nil)

		w.m.Configure(segment())
		other := segment()
		other.Engine = floodingtest.Passing
		w.m.Configure(other)
		synctest.Wait()
		_, engine = w.host.Copying("eth1")
		assert.Equal(t, floodingtest.Passing, engine)
		w.end() // and never two at once
	})
}

func TestCountersOutliveEngines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start(segment())
		before := w.m.Status()
		assert.EqualValues(t, 1, before.Networks[100].Count.Packets)
		other := segment()
		other.Engine = floodingtest.Passing
		w.m.Configure(other)
		synctest.Wait()
		now := w.m.Status()
		assert.EqualValues(t, 2, now.Networks[100].Count.Packets)
		assert.EqualValues(t, 2, now.Engines[0].Total.Packets)
		assert.Len(t, now.Networks[100].Count.Dropped, 1)
		w.end()
	})
}

// Who would take over hears at once that we end: nothing is copied for others from then on.
func TestLeaseThatDoesNotOutlive(t *testing.T) {
	for name, stop := range map[string]func(*world){
		"crash": (*world).crash,
		"left for the next": func(w *world) {
			w.m.Leave(time.Minute)
			w.end()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := working(t)
				w.m.Renew(flood.Lease{For: time.Hour})
				assert.True(t, w.host.Leased("eth1"))
				stop(w)
				_, ok := w.host.Network("eth1", 100)
				require.True(t, ok, "our own frames are copied on")
				assert.False(t, w.host.Leased("eth1"))
			})
		})
	}
}

func TestLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start(segment())
		assert.False(t, w.host.Leased("eth1"), "nobody has renewed it")
		w.m.Renew(flood.Lease{For: 3 * time.Second})
		assert.True(t, w.host.Leased("eth1"))
		after(2 * time.Second)
		other := segment()
		other.Engine = floodingtest.Passing
		w.m.Configure(other)
		synctest.Wait()
		assert.True(t, w.host.Leased("eth1"), "the next engine has what is left of it")
		after(1100 * time.Millisecond)
		assert.False(t, w.host.Leased("eth1"))
		w.end()
	})
}

// Frames for the service address may arrive by any uplink: each has an engine, and what they
// count adds up. Who delivers to a segment hears them on its interface as well.
func TestServiceAddressOnSeveralUplinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		cfg := segment()
		cfg.ServiceInterfaces, cfg.Uplinks = []string{"eth0", "eth2"}, []string{"eth0", "eth1", "eth2"}
		cfg.VNIs = append(cfg.VNIs, flooding.VNI{VNI: 200, Mode: evpn.FloodReplicator})
		w.start(cfg)
		w.m.Apply([]evpn.ListChange{entry(200, "10.0.2.2", evpn.UseCopy)}, append(
			relay(evpn.Relay{VNI: 100, Own: true, Deliver: true}), relay(evpn.Relay{VNI: 200, Replicate: true})...))
		synctest.Wait()
		assert.Equal(t, []string{"eth0", "eth1", "eth2"}, w.host.Devices())
		for device, out := range map[string]string{"eth0": "eth1", "eth1": "", "eth2": "eth1"} {
			table, _ := w.host.Copying(device)
			at := slices.IndexFunc(table.Networks, func(n flood.Network) bool { return n.Deliver == addr("239.1.1.1") })
			require.GreaterOrEqual(t, at, 0, device)
			assert.Equal(t, out, table.Networks[at].Out)
			replicates := slices.ContainsFunc(table.Networks, func(n flood.Network) bool { return n.VNI == 200 })
			assert.Equal(t, device != "eth1", replicates)
		}
		st := w.m.Status()
		assert.Equal(t, []string{"eth1", "eth0", "eth2"}, st.Networks[100].Interfaces)
		assert.Equal(t, []string{"eth0", "eth2"}, st.Networks[200].Interfaces)
		assert.Len(t, st.Engines, 3)
		var sum uint64
		for _, e := range st.Engines {
			if e.Interface != "eth1" {
				sum += e.Total.Packets
			}
		}
		assert.Equal(t, sum, st.Networks[200].Count.Packets)

		cfg.ServiceInterfaces, cfg.Uplinks = []string{"eth2"}, []string{"eth1", "eth2"}
		w.m.Configure(cfg)
		after(flooding.Linger)
		assert.Equal(t, []string{"eth1", "eth2"}, w.host.Devices(), "the host has changed")
		w.end()
	})
}
