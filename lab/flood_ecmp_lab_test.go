//go:build lab

package lab_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A service node and VTEPs whose addresses are on lo, behind two links that routing uses at once: frames arrive once by
// whichever link they come and go, and when one of the service node's goes and comes back under load, none comes twice
// and what is lost is lost while routing notices.
func TestFloodECMP(t *testing.T) {
	t.Parallel()
	for _, engine := range []string{"ebpf", "socket"} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			st := floodStage{family: 4, rr: kindVTEPBGP}
			st.players = []floodPlayer{
				st.replicator("s1", engine, 1), {name: "lf1", kind: kindLeaf}, {name: "lf2", kind: kindLeaf},
				{name: "a1", kind: kindVTEPBGP, vni: "flooding = \"assisted\"\n"}, {name: "v1", kind: kindVTEPBGP}, {name: "v2", kind: kindFRR},
			}
			for _, p := range []string{"s1", "a1", "v1"} {
				at := st.player(p)
				at.address, at.uplink, at.onLo = fmt.Sprintf("10.3.%d.1", st.number(p)), true, true
			}
			st.services = map[string][]string{st.service(1): {"s1"}}
			f := st.build(t)
			f.exactlyOnce()
			f.truth("lf1", "s1", "lf2", "a1", "v1", "v2")
			var shown []floodShown
			require.NoError(t, f.json(&shown, "s1", "vtepbgp", "flood", "show", "100", "--json"))
			require.Equal(t, []string{"eth1", "eth3"}, shown[0].Interfaces)
			if engine == "ebpf" {
				for _, device := range shown[0].Interfaces {
					assert.NotEmpty(t, f.programs("s1", device), device)
				}
			}
			// Longer than it takes to ask a neighbour again, which is a second.
			const away = 2500 * time.Millisecond
			for name, port := range map[string]string{"one link": f.port("s1"), "the other link": "eth101"} {
				t.Run(name, func(t *testing.T) {
					f := f.in(t)
					report := f.during(nil, func(f *flooding) {
						f.do("router", "ip", "link", "set", port, "down")
						f.pass(away)
						f.do("router", "ip", "link", "set", port, "up")
						f.pass(repairBound)
					})
					t.Logf("outage %s", report.Outage().Round(time.Millisecond))
					assert.Zero(t, report.Doubled(), "doubled: %v", report.Err())
					assert.Less(t, report.Outage(), away, "the other link takes over before it is back")
					f.exactlyOnce()
				})
			}
		})
	}
}
