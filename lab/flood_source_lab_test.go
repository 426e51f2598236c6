//go:build lab

package lab_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Copies keep the source of the VTEP that sent the frame. Hosts that check sources strictly (rp_filter=1) take them as
// long as the way back is by the interface of the way in; one whose ways differ loses them, says so, and what it says to
// do helps. Routers that check must not do so where a service node's copies come from.
func TestFloodSourceChecks(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ engine, delivery string }{{"ebpf", "unicast"}, {"socket", "multicast"}} {
		t.Run(c.engine+" "+c.delivery, func(t *testing.T) {
			t.Parallel()
			st := floodStage{family: 4, rr: kindVTEPBGP}
			st.players = []floodPlayer{
				st.relay("r1", c.engine, c.delivery, 1, 2), st.member("o1", c.engine, c.delivery, 1), {name: "l1", kind: kindLegacy, segment: 1},
				st.replicator("s1", c.engine, 1), {name: "lf1", kind: kindLeaf},
				{name: "v1", kind: kindVTEPBGP, uplink: true}, {name: "v2", kind: kindFRR},
			}
			st.services = map[string][]string{st.service(1): {"s1"}, st.service(2): {"r1"}}
			f := st.build(t)
			// All ways of v1 are by the link of its VTEP address, that of its session too.
			f.do("v1", "ip", "route", "replace", st.everything(), "via", st.linkGateway(st.number("v1")))
			f.halt("v1", unix.SIGTERM)
			f.start("v1")
			for _, p := range st.players {
				f.do(p.name, "sysctl", "-qw", "net.ipv4.conf.all.rp_filter=1")
			}
			f.exactlyOnce()
			f.truth("l1", "r1", "o1", "s1", "lf1", "v1", "v2")
			for _, d := range []string{"r1", "o1", "s1", "v1"} {
				f.reread(d)
				assert.Empty(t, f.vniProblems(d), d)
			}
			t.Run("a router that checks", func(t *testing.T) {
				f := f.in(t)
				f.do("router", "sysctl", "-qw", "net.ipv4.conf.all.rp_filter=1")
				f.reaches(func(from, to string) bool { return from != "lf1" || to == "s1" })
				f.do("router", "sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0")
			})
			t.Run("another way back", func(t *testing.T) {
				f := f.in(t)
				f.do("v1", "ip", "route", "add", "10.0.1.0/24", "via", st.uplinkGateway(st.number("v1")))
				segment := []string{"r1", "o1", "l1"}
				f.reaches(func(from, to string) bool { return to != "v1" || !slices.Contains(segment, from) })
				var said string
				eventually(t, 10*time.Second, "v1 says what is lost", func() error {
					all := f.vniProblems("v1")
					if len(all) != 1 || !strings.HasPrefix(all[0], "eth1 drops what comes from "+st.addr("r1")+",") {
						return fmt.Errorf("problems of v1: %q", all)
					}
					said = all[0]
					return nil
				})
				assert.Contains(t, said, "which is reached by eth3 (rp_filter is strict)")
				assert.Contains(t, strings.Join(strings.Fields(f.do("v1", "vtepbgp", "status")), " "), said)
				remedy := regexp.MustCompile(`sysctl -w \S+$`).FindString(said)
				require.NotEmpty(t, remedy)
				f.sh("v1", remedy)
				f.exactlyOnce()
				eventually(t, 10*time.Second, "v1 has nothing to say any more", func() error {
					if all := f.vniProblems("v1"); len(all) > 0 {
						return fmt.Errorf("problems of v1: %q", all)
					}
					return nil
				})
			})
		})
	}
}

// reread has a daemon read the kernel now, so that what it says is not of a while ago.
func (f *flooding) reread(node string) {
	f.t.Helper()
	f.do(node, "vtepbgp", "drift", "--repair")
}

func (f *flooding) vniProblems(node string) []string {
	f.t.Helper()
	var all []struct {
		Problems []string `json:"problems"`
	}
	require.NoError(f.t, f.json(&all, node, "vtepbgp", "vni", "show", "100", "--json"))
	require.Len(f.t, all, 1)
	return all[0].Problems
}
