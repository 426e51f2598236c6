//go:build lab

package lab_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// switchPorts are the switch's ports towards the players.
var switchPorts = func() map[string]string {
	ports := map[string]string{}
	for i, p := range players {
		ports[p.name] = fmt.Sprintf("eth%d", i+1)
	}
	return ports
}()

// cutOff separates a player from all others, silently: its link stays up.
func (f *fabric) cutOff(node string) (heal func()) {
	f.t.Helper()
	port := switchPorts[node]
	f.do("switch", "ip", "link", "set", port, "nomaster")
	return func() { f.t.Helper(); f.do("switch", "ip", "link", "set", port, "master", "br0") }
}

// cutBetween separates two players from each other alone: isolated ports of a bridge reach all that are not.
func (f *fabric) cutBetween(a, b string) (heal func()) {
	f.t.Helper()
	set := func(to string) {
		f.t.Helper()
		for _, n := range []string{a, b} {
			f.do("switch", "bridge", "link", "set", "dev", switchPorts[n], "isolated", to)
		}
	}
	set("on")
	return func() { f.t.Helper(); set("off") }
}

const (
	// partitionTimers leave room for keepalives that TCP repeats after a short cut, in growing steps: 0.2, 0.6, 1.4 s.
	partitionTimers = "hold_time = \"6s\"\n"
	shortCut        = 1200 * time.Millisecond
)

// A cut is a partition of a test: how it is made, and what must be seen before it ends.
type cut struct {
	apart func(*fabric) (heal func())
	until func(*fabric)
	lasts time.Duration // set by run
}

func (c *cut) run(f *fabric) {
	f.t.Helper()
	start := time.Now()
	heal := c.apart(f)
	c.until(f)
	heal()
	c.lasts = time.Since(start)
}

func shortly(f *fabric) { away(f, shortCut) }

// overCut measures a partition.
func (f *fabric) overCut(t *testing.T, c *cut) (lost int, gaps int, gone map[string]bool) {
	t.Helper()
	report, gone := f.over(t, c.run)
	t.Logf("apart for %s", c.lasts.Round(time.Millisecond))
	if report.Lost() > 0 {
		t.Logf("first packet %s after healing", (report.Until() - c.lasts).Round(time.Millisecond))
	}
	return report.Lost(), max(report.Datagrams.Gaps, report.DatagramsBack.Gaps), gone
}

func (f *fabric) sessionEnds(node, neighbor string) {
	f.t.Helper()
	eventually(f.t, convergence, node+" gives "+neighbor+" up", f.sessionState(node, neighbor, false))
}

// TestPartition cuts a VTEP off, without any link going down.
func TestPartition(t *testing.T) {
	t.Parallel()
	for _, rr := range []string{kindVTEPBGP, kindFRR} {
		t.Run(rr+" reflects", func(t *testing.T) {
			t.Parallel()
			f := stage{kind: map[string]string{"rr": rr, "va": kindVTEPBGP, "vb": kindVTEPBGP}, bgp: partitionTimers}.build(t)
			fromAll := func(f *fabric) func() { return f.cutOff("va") }
			t.Run("shorter than the hold time", func(t *testing.T) {
				lost, gaps, gone := f.overCut(t, &cut{apart: fromAll, until: shortly})
				assert.NotZero(t, lost, "the cut itself")
				assert.Equal(t, 1, gaps, "nothing is lost after the cut")
				assert.Equal(t, map[string]bool{"va": false, "vb": false}, gone)
			})
			t.Run("longer than the hold time", func(t *testing.T) {
				_, gaps, gone := f.overCut(t, &cut{apart: fromAll, until: func(f *fabric) {
					h1, h2 := f.macOf("h1"), f.macOf("h2")
					f.sessionEnds("va", "10.0.0.254")
					for mac, node := range map[string]string{h2: "va", h1: "vb"} {
						eventually(f.t, convergence, "no row on "+node, f.wantFDB(node, mac, nil))
						eventually(f.t, convergence, "no flood row on "+node, f.wantFDB(node, zeroMAC, nil))
					}
					require.NoError(f.t, f.localRow("va", h1)(), "its own hosts stay")
				}})
				assert.Equal(t, 1, gaps, "nothing is lost after the first answer")
				assert.Equal(t, map[string]bool{"va": true, "vb": true}, gone)
			})
		})
	}
}

// TestPartitionFromReflector cuts only the path between a VTEP and its reflector: the VTEPs reach each other.
func TestPartitionFromReflector(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		stage stage
	}{
		{"vtepbgp", stage{kind: map[string]string{"rr": kindVTEPBGP}}},
		{"FRR", stage{kind: map[string]string{"rr": kindFRR}}},
		{"vtepbgp, long-lived", stage{kind: map[string]string{"rr": kindVTEPBGP}, neighbor: "long_lived_stale_time = \"60s\"\n"}},
		{"FRR, long-lived", stage{
			kind: map[string]string{"rr": kindFRR}, neighbor: "long_lived_stale_time = \"60s\"\n", frr: " bgp long-lived-graceful-restart stale-time 60\n",
		}},
		{"one of two, vtepbgp", stage{kind: map[string]string{"rr": kindVTEPBGP, "rr2": kindVTEPBGP}}},
		{"one of two, FRR", stage{kind: map[string]string{"rr": kindFRR, "rr2": kindFRR}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.stage.kind["va"], c.stage.kind["vb"], c.stage.bgp = kindVTEPBGP, kindVTEPBGP, partitionTimers
			f := c.stage.build(t)
			fromReflector := func(f *fabric) func() { return f.cutBetween("va", "rr") }
			none := map[string]bool{"va": false, "vb": false}
			t.Run("shorter than the hold time", func(t *testing.T) {
				lost, _, gone := f.overCut(t, &cut{apart: fromReflector, until: shortly})
				assert.Zero(t, lost)
				assert.Equal(t, none, gone)
			})
			t.Run("longer than the hold time", func(t *testing.T) {
				lost, gaps, gone := f.overCut(t, &cut{apart: fromReflector, until: func(f *fabric) {
					f.sessionEnds("va", "10.0.0.254")
					away(f, 2*time.Second)
				}})
				if len(c.stage.reflectors()) > 1 {
					assert.Zero(t, lost)
					assert.Equal(t, none, gone)
					return
				}
				// The hold timer's NOTIFICATION ends a session without grace (RFC 4724 §4; RFC 8538 would change that).
				assert.Equal(t, map[string]bool{"va": true, "vb": true}, gone)
				assert.Equal(t, 1, gaps, "nothing is lost after the first answer")
			})
		})
	}
}

// TestPartitionMoves moves a host to the other side while its old VTEP is cut off: the last place it
// spoke at is right on all sides after healing, and nobody takes the two claims for a duplicate.
func TestPartitionMoves(t *testing.T) {
	t.Parallel()
	for _, rr := range []string{kindVTEPBGP, kindFRR} {
		t.Run(rr+" reflects", func(t *testing.T) {
			t.Parallel()
			f := stage{
				kind: map[string]string{"rr": rr, "va": kindVTEPBGP, "vb": kindVTEPBGP, "vc": kindVTEPBGP}, roamers: true, bgp: partitionTimers,
			}.build(t)
			s := f.sites()
			va, vb := s[0], s[1]
			noDuplicate := func() {
				t.Helper()
				for _, o := range s {
					require.NotContains(t, f.do(o.vtep, "vtepbgp", "mac", "show", "--duplicate"), roamerMAC)
				}
			}
			f.sessionsUp()
			f.roam(va, roamerIP)
			eventually(t, convergence, "at va", f.settled(va, 0))

			// Away from the one cut off, when its routes are gone: both sides say 0, and after healing the
			// next frame at the new place decides.
			heal := f.cutOff("va")
			f.sessionEnds("va", "10.0.0.254")
			eventually(t, convergence, "vc forgets va", f.wantFDB("vc", roamerMAC, nil))
			require.NoError(t, f.ping("h2", "192.168.100.3", 10), "the others go on")
			f.roam(vb, roamerIP)
			eventually(t, convergence, "vc follows to vb", f.wantFDB("vc", roamerMAC, remoteRows(roamerMAC, vb.addr)))
			heal()
			healed := time.Now()
			f.sessionsUp()
			eventually(t, convergence, "all agree on vb", func() error {
				f.announce(vb.roamer, roamerMAC, roamerIP)
				return f.settled(vb, 1)()
			})
			t.Logf("moved away after the hold time: all agree %s after healing", time.Since(healed).Round(time.Millisecond))
			noDuplicate()

			// To the one cut off, within the hold time: it counts on from what it knows, and tells it when
			// it can. No frame is needed after healing.
			heal = f.cutOff("va")
			f.roam(va, roamerIP)
			require.NoError(t, f.wantFDB("vc", roamerMAC, remoteRows(roamerMAC, vb.addr))())
			heal()
			healed = time.Now()
			eventually(t, convergence, "all agree on va", f.settled(va, 2))
			t.Logf("moved there within the hold time: all agree %s after healing", time.Since(healed).Round(time.Millisecond))
			require.NoError(t, f.ping("h3", roamerIP, 5))
			noDuplicate()
		})
	}
}
