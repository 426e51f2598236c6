//go:build lab

package lab_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const arIP = "10.255.0.1"

// floodShown is what `flood show` says of VNI 100.
type floodShown struct {
	Engine   string   `json:"engine"`
	Elected  string   `json:"elected"`
	Tasks    []string `json:"tasks"`
	Problems []string `json:"problems"`
	// Interfaces are those that are listened on.
	Interfaces []string `json:"interfaces"`
	VTEPs      []struct {
		Address string `json:"address"`
		Source  string `json:"source"`
		Role    string `json:"role"`
	} `json:"vteps"`
}

func (f *fabric) floodShow(node string) (floodShown, error) {
	var all []floodShown
	if err := f.json(&all, node, "vtepbgp", "flood", "show", "100", "--json"); err != nil {
		return floodShown{}, err
	}
	if len(all) != 1 {
		return floodShown{}, fmt.Errorf("flood show on %s: %d VNIs", node, len(all))
	}
	return all[0], nil
}

// TestReplicatorThroughReflectors: a leaf finds the replicator behind a reflector of any make, an FRR beside
// it keeps its session and copies to VTEPs, never to the replicator's address, and all are there again when the
// replicator goes.
func TestReplicatorThroughReflectors(t *testing.T) {
	t.Parallel()
	for _, rr := range []string{kindFRR, kindGoBGP, kindVTEPBGP} {
		t.Run("rr="+rr, func(t *testing.T) {
			f := stage{
				kind: map[string]string{"rr": rr, "va": kindVTEPBGP, "vb": kindVTEPBGP, "vc": kindFRR},
				config: map[string]string{
					"va": "flooding = \"replicator\"\n[flood]\nservice_address = \"" + arIP + "\"\n",
					"vb": "flooding = \"assisted\"\n",
				},
			}.build(t)
			// Sessions of an FRR may have been cleared before (listedByFRR).
			session := func() string {
				return f.sh("vc", "vtysh -c 'show bgp neighbors json' | jq '[.[] | {bgpState, connectionsDropped}]' -c")
			}
			var before string
			eventually(t, convergence, "the session of the FRR", func() error {
				if before = session(); !strings.Contains(before, `"bgpState":"Established"`) {
					return errors.New(before)
				}
				return nil
			})
			// FRR reflects no route whose next hop it cannot reach.
			for _, node := range []string{"vb", "vc", "rr"} {
				f.do(node, "ip", "route", "add", arIP, "via", "10.0.0.1")
			}
			eventually(t, convergence, "all VTEPs on the FRR", f.wantFDB("vc", zeroMAC, floodRows("10.0.0.1", "10.0.0.2")))
			eventually(t, convergence, "the replicator alone on the leaf", f.wantFDB("vb", zeroMAC, floodRows(arIP)))
			eventually(t, convergence, "all VTEPs on the replicator", f.wantFDB("va", zeroMAC, floodRows("10.0.0.2", "10.0.0.3")))
			holds(t, 2*time.Second, "the FRR copies to VTEPs only", f.wantFDB("vc", zeroMAC, floodRows("10.0.0.1", "10.0.0.2")))
			shown, err := f.floodShow("vb")
			require.NoError(t, err)
			roles := map[string]string{}
			for _, v := range shown.VTEPs {
				roles[v.Address] = v.Role
			}
			require.Equal(t, map[string]string{arIP: "replicator", "10.0.0.1": "standby", "10.0.0.3": "standby"}, roles)
			require.NoError(t, f.pingAll(map[string]string{"h1": "192.168.100.1", "h2": "192.168.100.2", "h3": "192.168.100.3"}, 5))
			require.Equal(t, before, session(), "one session from start to end")

			f.reconfigure("va", "flooding = \"replicator\"", "flooding = \"ingress\"")
			eventually(t, convergence, "all VTEPs on the leaf", f.wantFDB("vb", zeroMAC, floodRows("10.0.0.1", "10.0.0.3")))
			require.NoError(t, f.wantFDB("vc", zeroMAC, floodRows("10.0.0.1", "10.0.0.2"))())
		})
	}
}

// TestElectionThroughReflectors: what two relays say of themselves passes reflectors of any make, so that
// both name the same one, and an FRR beside them is not disturbed.
func TestElectionThroughReflectors(t *testing.T) {
	t.Parallel()
	relay := `flooding = "multicast"
[vni.multicast]
group = "239.1.1.100"
segment = ["10.0.0.1/32", "10.0.0.2/32"]
proxy_vteps = true
`
	for _, rr := range []string{kindFRR, kindGoBGP, kindVTEPBGP} {
		t.Run("rr="+rr, func(t *testing.T) {
			f := stage{
				kind:   map[string]string{"rr": rr, "va": kindVTEPBGP, "vb": kindVTEPBGP, "vc": kindVTEPBGP},
				config: map[string]string{"va": relay, "vb": relay},
			}.build(t)
			eventually(t, convergence, "one is elected", func() error {
				a, err := f.floodShow("va")
				if err != nil {
					return err
				}
				b, err := f.floodShow("vb")
				if err != nil {
					return err
				}
				copying := 0
				for _, s := range []floodShown{a, b} {
					if strings.Contains(strings.Join(s.Tasks, " "), "segment") {
						copying++
					}
				}
				if a.Elected == "" || a.Elected != b.Elected || copying != 1 {
					return fmt.Errorf("va says %+v, vb says %+v", a, b)
				}
				return nil
			})
			eventually(t, convergence, "both are VTEPs like others to the third", f.wantFDB("vc", zeroMAC, floodRows("10.0.0.1", "10.0.0.2")))
		})
	}
}
