//go:build lab

package lab_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// replicator is a VTEP that copies what comes to a service address.
func (st *floodStage) replicator(name, engine string, service int) floodPlayer {
	return floodPlayer{name: name, kind: kindVTEPBGP, vni: "flooding = \"replicator\"\n",
		global: floodTable(engine, fmt.Sprintf("service_address = %q\nlearn_from_data = true\n", st.service(service)))}
}

// A service node for old leaves that know one destination only: they, VTEPs that copy for themselves,
// and the node's own hosts hear every frame once. Two nodes share the address.
func TestFloodService(t *testing.T) {
	t.Parallel()
	for _, s := range floodFamilies {
		t.Run(fmt.Sprintf("IPv%d behind %s", s.family, s.rr), func(t *testing.T) {
			t.Parallel()
			st := floodStage{family: s.family, rr: s.rr}
			st.players = []floodPlayer{
				st.replicator("s1", "ebpf", 1), st.replicator("s2", "ebpf", 1),
				{name: "l1", kind: kindLeaf}, {name: "l2", kind: kindLeaf}, {name: "l3", kind: kindLeaf},
				{name: "v1", kind: kindVTEPBGP}, st.routedVTEP("v2"),
			}
			st.services = map[string][]string{st.service(1): {"s1"}}
			f := st.build(t)
			all := []string{"s1", "s2", "l1", "l2", "l3", "v1", "v2"}
			for i, engine := range []string{"ebpf", "socket"} {
				t.Run(engine+" one node", func(t *testing.T) {
					f := f.in(t)
					f.halt("s2", unix.SIGTERM)
					f.serve("s1")
					if i > 0 {
						f.with(st.replicator("s1", engine, 1))
					}
					f.exactlyOnce("s1", "l1", "l2", "l3", "v1", "v2")
					f.truth("l1", "s1", "l2", "l3", "v1", "v2")
				})
				t.Run(engine+" two nodes", func(t *testing.T) {
					f := f.in(t)
					f.with(st.replicator("s2", engine, 1))
					f.serve("s1", "s2")
					f.exactlyOnce(all...)
					f.truth("l2", all...)
				})
			}
			t.Run("one of them dies", func(t *testing.T) {
				f := f.in(t)
				f.serve("s2") // routing takes it out before
				f.halt("s1", unix.SIGKILL)
				f.exactlyOnce("s2", "l1", "l2", "l3", "v1", "v2")
			})
		})
	}
}

// serve routes the first service address to some players.
func (f *flooding) serve(players ...string) {
	f.t.Helper()
	f.stage.services = map[string][]string{f.stage.service(1): players}
	for _, route := range f.stage.serviceRoutes() {
		f.sh("router", strings.Replace(route, "route add", "route replace", 1))
	}
}

// wantFlood demands of a VTEP's zero-MAC list that it holds just these.
func (f *flooding) wantFlood(node string, vteps ...string) {
	f.t.Helper()
	eventually(f.t, convergence, "flood list of "+node, f.wantFDB(node, zeroMAC, floodRows(vteps...)))
}

// Leaves of RFC 9574 with one replicator and with two, beside VTEPs that copy for themselves: FRR must
// not take the replicator's address for one more VTEP.
func TestFloodAssisted(t *testing.T) {
	t.Parallel()
	for _, s := range floodFamilies {
		t.Run(fmt.Sprintf("IPv%d behind %s", s.family, s.rr), func(t *testing.T) {
			t.Parallel()
			st := floodStage{family: s.family, rr: s.rr, bfd: s.rr == kindVTEPBGP}
			st.players = []floodPlayer{
				st.replicator("s1", "ebpf", 1), st.replicator("s2", "socket", 2),
				{name: "a1", kind: kindVTEPBGP, vni: "flooding = \"assisted\"\n"}, {name: "a2", kind: kindVTEPBGP, vni: "flooding = \"assisted\"\n"},
				{name: "v1", kind: kindVTEPBGP}, st.routedVTEP("v2"),
			}
			st.services = map[string][]string{st.service(1): {"s1"}, st.service(2): {"s2"}}
			f := st.build(t)
			t.Run("two replicators", func(t *testing.T) {
				f := f.in(t)
				f.wantChosen("s1", "s2")
				f.exactlyOnce()
				f.wantFlood("v1", f.addrs("s1", "s2", "a1", "a2", "v2")...)
				f.wantFlood("v2", f.addrs("s1", "s2", "a1", "a2", "v1")...)
			})
			t.Run("the other engine", func(t *testing.T) {
				f := f.in(t)
				f.with(st.replicator("s1", "socket", 1), st.replicator("s2", "ebpf", 2))
				f.wantChosen("s1", "s2")
				f.exactlyOnce()
			})
			t.Run("one dies", func(t *testing.T) { f.in(t).replicatorDies("s1", "s2") })
			t.Run("the other dies", func(t *testing.T) { f.in(t).replicatorDies("s2") })
		})
	}
}

// replicatorDies loses a replicator, and demands that leaves go on by others, or by themselves when there are none,
// without a frame coming twice.
func (f *flooding) replicatorDies(dies string, others ...string) {
	f.t.Helper()
	f.wantChosen(append(others, dies)...)
	stay := []string{"a1", "a2", "v1", "v2"}
	report := f.during(stay, func(f *flooding) {
		if f.stage.bfd {
			require.NoError(f.t, f.Signal(dies, unix.SIGSTOP))
		} else {
			f.halt(dies, unix.SIGKILL)
		}
		f.pass(1500 * time.Millisecond)
	})
	assert.Zero(f.t, report.Doubled(), "doubled: %v", report.Err())
	assert.Less(f.t, report.Outage(), detectionBound)
	if len(others) > 0 {
		f.wantChosen(others...)
	} else {
		f.wantFlood("a1", f.addrs("a2", "v1", "v2")...)
		f.wantFlood("a2", f.addrs("a1", "v1", "v2")...)
	}
	f.exactlyOnce(stay...)
}

func (f *flooding) addrs(players ...string) (out []string) {
	for _, p := range players {
		out = append(out, f.stage.addr(p))
	}
	return out
}

// wantChosen demands that the list of each leaf holds the address of one of these replicators, and nothing else.
func (f *flooding) wantChosen(replicators ...string) {
	f.t.Helper()
	for _, leaf := range []string{"a1", "a2"} {
		eventually(f.t, convergence, "the choice of "+leaf, func() error {
			rows, err := f.fdb(leaf, "vxlan100", zeroMAC)
			if err != nil {
				return err
			}
			for service, players := range f.stage.services {
				if len(rows) == 1 && rows[0] == floodRows(service)[0] && slices.Contains(replicators, players[0]) {
					return nil
				}
			}
			return fmt.Errorf("flood list of %s: %q", leaf, rows)
		})
	}
}
