//go:build lab

package lab_test

import (
	netorder "encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// All modes in one network, and what an administrator, or his scripts, may do to it.
func TestFloodAllModes(t *testing.T) {
	t.Parallel()
	for _, engine := range []string{"ebpf", "socket"} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			st := floodStage{family: 4, rr: kindVTEPBGP}
			st.players = []floodPlayer{
				st.relay("r1", engine, "unicast", 1, 0), {name: "l1", kind: kindLegacy, segment: 1},
				st.replicator("s1", engine, 1), {name: "lf1", kind: kindLeaf},
				{name: "a1", kind: kindVTEPBGP, vni: "flooding = \"assisted\"\n"},
				{name: "v1", kind: kindVTEPBGP}, {name: "v2", kind: kindFRR}, {name: "v3", kind: kindVTEPBGP},
			}
			for i := range st.players {
				if st.players[i].global != "" {
					st.players[i].global += metered
				}
			}
			st.services = map[string][]string{st.service(1): {"s1"}}
			f := st.build(t)
			f.exactlyOnce()
			f.truth("l1", "r1", "s1", "lf1", "a1", "v1", "v2", "v3")
			f.truth("lf1", "r1", "s1", "l1", "a1", "v1", "v2", "v3")
			t.Run("lists change under load", func(t *testing.T) { f.in(t).listsChange() })
			t.Run("service address removed", func(t *testing.T) {
				f := f.in(t)
				f.repaired("s1", "ip addr del "+st.service(1)+"/32 dev lo")
				require.Contains(t, f.do("s1", "ip", "addr", "show", "dev", "lo"), " "+st.service(1)+"/32 ")
			})
			t.Run("link down and up", func(t *testing.T) {
				f.in(t).repaired("r1", "ip link set eth1 down; ip link set eth1 up; ip route add "+st.everything()+" via "+st.segmentGateway(1))
			})
			if engine == "ebpf" {
				for _, node := range []string{"r1", "s1"} {
					t.Run("programs detached at "+node, func(t *testing.T) {
						f.in(t).repairedAfter(node, "programs detached", func(f *flooding) { f.detach(node, "eth1") })
					})
				}
				t.Run("filter of somebody else", func(t *testing.T) { f.in(t).behindAFilter("r1") })
			}
		})
	}
}

// listsChange has a VTEP come and go while frames are counted between those that stay.
func (f *flooding) listsChange() {
	f.t.Helper()
	report := f.during([]string{"r1", "l1", "s1", "lf1", "a1", "v1", "v2"}, func(f *flooding) {
		for range 3 {
			f.halt("v3", unix.SIGTERM)
			f.notListed("v1", "v3")
			f.start("v3")
			eventually(f.t, convergence, "v3 is listed", func() error {
				if f.listed("v1", "v3") {
					return nil
				}
				return fmt.Errorf("v3 is not on v1's list")
			})
		}
	})
	require.NoError(f.t, report.Err())
	f.settled()
}

func (f *flooding) listed(at, player string) bool {
	rows, err := f.fdb(at, "vxlan100", zeroMAC)
	require.NoError(f.t, err)
	return strings.Contains(strings.Join(rows, "\n")+" ", " dst "+f.stage.addr(player)+" ")
}

func (f *flooding) notListed(at, player string) {
	f.t.Helper()
	eventually(f.t, convergence, player+" goes from the list", func() error {
		if f.listed(at, player) {
			return fmt.Errorf("%s is on %s's list", player, at)
		}
		return nil
	})
}

// repairBound is how long something that an administrator broke may stay so.
const repairBound = 3 * time.Second

// repaired breaks something, and demands that it is whole again by itself, without a frame coming twice, and that the
// repair is counted and told. It may be so soon that no frame is lost.
func (f *flooding) repaired(node, harm string) {
	f.t.Helper()
	f.repairedAfter(node, harm, func(f *flooding) { f.sh(node, harm) })
}

func (f *flooding) repairedAfter(node, what string, harm func(f *flooding)) {
	f.t.Helper()
	told, before := f.monitor(node, "--kind", "flood_repair"), f.repairs(node)
	report := f.during(nil, func(f *flooding) {
		harm(f)
		f.pass(repairBound + time.Second)
	})
	f.t.Logf("%s at %s: outage %s", what, node, report.Outage().Round(time.Millisecond))
	assert.Zero(f.t, report.Doubled(), "doubled: %v", report.Err())
	assert.Less(f.t, report.Outage(), repairBound)
	after := f.repairs(node)
	assert.Greater(f.t, after.shown, before.shown)
	assert.EqualValues(f.t, after.shown-before.shown, after.metrics-before.metrics)
	eventually(f.t, convergence, "the repair is told", told.tells(toldEvent{Kind: "flood_repair"}))
	f.exactlyOnce()
}

// behindAFilter has somebody put a filter before ours: the program goes to clsact, behind it, which is no repair, and what is
// done to it there is mended too. No frame comes twice.
func (f *flooding) behindAFilter(node string) {
	f.t.Helper()
	before := f.repairs(node)
	ours := func() string { return f.do(node, "tc", "filter", "show", "dev", "eth1", "ingress", "pref", "4789") }
	report := f.during(nil, func(f *flooding) {
		f.sh(node, "tc qdisc add dev eth1 clsact; tc filter add dev eth1 ingress pref 1 protocol ip u32 match ip protocol 253 0xff")
		eventually(f.t, convergence, "the program goes behind the filter", func() error {
			if shown := ours(); !strings.Contains(shown, "vtepbgp_flood") {
				return fmt.Errorf("it is not there: %s", shown)
			}
			return nil
		})
	})
	f.t.Logf("behind a filter at %s: outage %s", node, report.Outage().Round(time.Millisecond))
	assert.Zero(f.t, report.Doubled(), "doubled: %v", report.Err())
	assert.Less(f.t, report.Outage(), repairBound)
	assert.Equal(f.t, before.shown, f.repairs(node).shown)
	f.repaired(node, "tc filter del dev eth1 ingress pref 4789")
	require.Contains(f.t, ours(), "vtepbgp_flood")
	f.repaired(node, "tc qdisc del dev eth1 clsact")
	require.NotContains(f.t, f.do(node, "tc", "qdisc", "show", "dev", "eth1"), "clsact")
}

// repairs are those of a player's engine and addresses, by `flood show` and by its metrics.
type repairs struct {
	shown   uint64
	metrics float64
}

func (f *flooding) repairs(node string) repairs {
	f.t.Helper()
	return repairs{
		f.counted(node)[100].Counters["repairs"],
		f.metric(node, `vtepbgp_flood_engine_repairs_total{interface="eth1"}`) + f.metric(node, "vtepbgp_kernel_address_repairs_total"),
	}
}

// A wire of 500 Mbit/s whose queue holds a fifth of a burst: 1,000 copies of each frame, and none is lost or comes
// twice, with the engine that is chosen by default. It runs alone: what its bursts drive out of the backlog of the machine
// may be the packets of another lab (see backlogLosses).
func TestFloodSlowWire(t *testing.T) {
	const vteps, frames, size = 1000, 10, 1400
	st := floodStage{family: 4, rr: kindVTEPBGP}
	st.players = []floodPlayer{
		st.relay("r1", "auto", "unicast", 1, 0), {name: "l1", kind: kindLegacy, segment: 1}, {name: "sink", kind: kindSink},
	}
	sinks := netip.MustParsePrefix("10.8.0.0/16")
	var static strings.Builder
	for i, a := 0, sinks.Addr().Next(); i < vteps; i, a = i+1, a.Next() {
		fmt.Fprintf(&static, "[[vni.static_vtep]]\naddress = \"%s\"\n", a)
	}
	st.players[0].vni += static.String()
	st.services = map[string][]string{sinks.String(): {"sink"}}
	f := st.build(t)
	f.settled("r1", "l1")
	f.do("r1", "tc", "qdisc", "add", "dev", "eth1", "root", "tbf", "rate", "500mbit", "burst", "32k", "limit", "300000")
	source, wire := f.openTap(floodHost("l1"), "eth1"), f.openTap("sink", "eth1")
	mac := hwAddr(f.macOf(floodHost("l1")))
	counted := map[string]int{}
	count := func() error {
		for {
			s, ok := wire.next()
			if !ok {
				return nil
			}
			const inner = 14 + 20 + 8 + 8
			if !s.sent && len(s.frame) == inner+size && isMarker(netorder.BigEndian.Uint32(s.frame[inner+14:]))(sighting{frame: s.frame[inner:]}) {
				counted[string(s.frame[30:34])+string(s.frame[inner+14:inner+18])]++
			}
		}
	}
	// The first ones only make the ways known.
	eventually(t, convergence, "a whole burst", func() error {
		clear(counted)
		source.send(append(marker(mac, 9999), make([]byte, size-64)...))
		f.pass(300 * time.Millisecond)
		require.NoError(t, count())
		if len(counted) != vteps {
			return fmt.Errorf("%d of %d copies", len(counted), vteps)
		}
		return nil
	})
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for tries, again := 0, true; again; tries++ {
		require.Less(t, tries, 5, "the machine loses packets between its namespaces each time")
		clear(counted)
		before := backlogLosses(t)
		for n := range frames {
			source.send(append(marker(mac, uint32(n)), make([]byte, size-64)...))
			<-tick.C
			require.NoError(t, count())
		}
		eventually(t, convergence, "the last ones come", func() error {
			require.NoError(t, count())
			missing, lost := vteps*frames-len(counted), backlogLosses(t)-before
			if again = missing > 0; missing > lost {
				return fmt.Errorf("%d of %d copies, and the machine lost %d; %v; %s", len(counted), vteps*frames, lost,
					f.counters("r1", 100), f.do("r1", "tc", "-s", "qdisc", "show", "dev", "eth1", "root"))
			}
			return nil
		})
		if again {
			t.Log("again: the machine lost packets")
			f.pass(time.Second) // what is late belongs to this time
			require.NoError(t, count())
		}
	}
	holds(t, 300*time.Millisecond, "no more come", count)
	doubled := 0
	for _, n := range counted {
		doubled += n - 1
	}
	t.Logf("%d copies, %d doubled; %s", len(counted), doubled, f.do("r1", "tc", "-s", "qdisc", "show", "dev", "eth1", "root"))
	assert.Zero(t, doubled)
}

// backlogLosses are the packets that the machine dropped between any two namespaces, because a processor had no time for
// them: one backlog of net.core.netdev_max_backlog packets is for all veth devices (netif_rx, net/core/dev.c).
func backlogLosses(t testing.TB) (n int) {
	t.Helper()
	text, err := os.ReadFile("/proc/net/softnet_stat")
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		dropped, err := strconv.ParseUint(strings.Fields(line)[1], 16, 32)
		require.NoError(t, err)
		n += int(dropped)
	}
	return n
}
