//go:build lab

package lab_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// More groups than the kernel lets a host have: those beyond the limit say what to set, the others flood, and when it is set, all do.
func TestFloodMoreGroupsThanTheKernelAllows(t *testing.T) {
	t.Parallel()
	const networks, allowed = 24, 20 // net.ipv4.igmp_max_memberships
	for _, engine := range []string{"ebpf", "socket"} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			st := floodStage{family: 4, rr: kindVTEPBGP}
			group := func(n int) string { return fmt.Sprintf("239.1.2.%d", n) }
			r1 := floodPlayer{name: "r1", kind: kindVTEPBGP, segment: 1, global: floodTable(engine, ""),
				vni: fmt.Sprintf("flooding = \"multicast\"\n[vni.multicast]\ngroup = %q\n", group(0))}
			far := floodPlayer{name: "v1", kind: kindVTEPBGP}
			for n := 1; n < networks; n++ {
				r1.vni += fmt.Sprintf("[[vni]]\nid = %d\nflooding = \"multicast\"\n[vni.multicast]\ngroup = %q\n", 100+n, group(n))
				far.vni += fmt.Sprintf("[[vni]]\nid = %d\n", 100+n)
			}
			st.players = []floodPlayer{r1, far}
			f := st.build(t)
			// refused wants so many VNIs to say that their group could not be joined, and what to do, and the others nothing.
			refused := func(want int) func() error {
				return func() error {
					var shown []struct {
						VNI      int
						Problems []string
					}
					require.NoError(t, f.json(&shown, "r1", "vtepbgp", "vni", "show", "--json"))
					said, all := 0, []string{}
					for _, v := range shown {
						all = append(all, v.Problems...)
						if slices.Equal(v.Problems, []string{"joining " + group(v.VNI-100) + " on eth1 failed: the host has net.ipv4.igmp_max_memberships of them already: " +
							"sysctl -w net.ipv4.igmp_max_memberships=1000"}) {
							said++
						}
					}
					if said != want || len(all) != want || len(shown) != networks {
						return fmt.Errorf("of %d VNIs %d were refused a group; problems: %q", len(shown), said, all)
					}
					return nil
				}
			}
			eventually(t, convergence, "the kernel has refused some", refused(networks-allowed))
			f.exactlyOnce() // VNI 100
			f.sh("r1", "sysctl -qw net.ipv4.igmp_max_memberships=1000; vtepbgp reload")
			eventually(t, convergence, "all are joined", refused(0))
			f.exactlyOnce()
		})
	}
}
