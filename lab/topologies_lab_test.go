//go:build lab

package lab_test

import (
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/lab"
	"github.com/vtepbgp/vtepbgp/lab/once"
)

// hostName tells hosts from switches, routers and VTEPs without a daemon, which are plain nodes too.
var hostName = regexp.MustCompile(`^h[0-9]`)

// hostGroups finds the hosts of a lab that share a network: by the letter at the end of
// their names, where there is one. Keys are host names, values addresses.
func (r *running) hostGroups(six bool) map[string]map[string]string {
	r.t.Helper()
	nodes, err := r.Nodes()
	require.NoError(r.t, err)
	groups := map[string]map[string]string{}
	for _, n := range nodes {
		if n.Role != lab.RoleHost || !hostName.MatchString(n.Name) {
			continue
		}
		for _, i := range n.Addresses {
			for _, a := range i.Addresses {
				if a.Addr().Is6() != six {
					continue
				}
				key := strings.TrimLeft(n.Name, "h0123456789")
				if groups[key] == nil {
					groups[key] = map[string]string{}
				}
				groups[key][n.Name] = a.Addr().String()
			}
		}
	}
	return groups
}

// Every topology that we ship: all hosts of a network reach each other, no packet is lost
// after the first round, and nothing is left afterwards.
func TestTopologies(t *testing.T) {
	t.Parallel()
	more := map[string]func(*testing.T, *running){"frr": frrTopology, "ipv6": ipv6Topology, "ebgp": ebgpTopology,
		"multicast": floodTopology, "relays": floodTopology, "service": floodTopology, "assisted": floodTopology}
	for _, file := range topologies(t) {
		name := strings.TrimSuffix(filepath.Base(file), ".clab.yml")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := up(t, load(t, file), binary(t))
			for name, hosts := range r.hostGroups(false) {
				require.GreaterOrEqual(t, len(hosts), 2, "group %q", name)
				eventually(t, convergence, "first answers", func() error { return r.pingAll(hosts, 1) })
				require.NoError(t, r.pingAll(hosts, 25))
				r.fullSize(hosts)
			}
			r.sessionsUp()
			if check := more[name]; check != nil {
				check(t, r)
			}
		})
	}
}

// fullSize sends the largest frames of the hosts' links, 1500 octets and no fragments:
// the tunnels must take them.
func (r *running) fullSize(hosts map[string]string) {
	r.t.Helper()
	for from := range hosts {
		for to, addr := range hosts {
			if from != to {
				out, err := r.try(from, "ping", "-n", "-q", "-c", "2", "-i", "1", "-l", "2", "-W", "2", "-M", "do", "-s", "1472", addr)
				require.NoError(r.t, err, "full frames from %s to %s: %s", from, to, out)
			}
		}
	}
}

// sessionsUp wants every neighbour of every vtepbgp node established.
func (r *running) sessionsUp() {
	r.t.Helper()
	for _, n := range r.top.Nodes {
		if n.Role != lab.RoleVTEPBGP {
			continue
		}
		eventually(r.t, convergence, "sessions of "+n.Name, func() error {
			var neighbors []struct {
				Address string `json:"address"`
				State   string `json:"state"`
			}
			if err := r.json(&neighbors, n.Name, "vtepbgp", "neighbor", "show", "-o", "json"); err != nil {
				return err
			}
			up := 0
			for _, nb := range neighbors {
				if strings.Contains(nb.Address, "/") {
					continue // the range, not a neighbour
				}
				if nb.State != "established" {
					return fmt.Errorf("%s is %s", nb.Address, nb.State)
				}
				up++
			}
			if up == 0 {
				return fmt.Errorf("no session: %+v", neighbors)
			}
			return nil
		})
	}
}

// Two VTEPs see the same remote MAC; one is FRR, the other is us: the rows are the same.
func frrTopology(t *testing.T, r *running) {
	for _, c := range []struct{ host, at, addr, dev, otherDev string }{
		{"h3a", "vtep3", "10.0.0.3", "vxlan100", "vxlan200"},
		{"h3b", "vtep3", "10.0.0.3", "vxlan200", "vxlan100"},
	} {
		mac := strings.TrimSpace(r.do(c.host, "cat", "/sys/class/net/eth1/address"))
		rows := map[string][]string{}
		for _, node := range []string{"vtep1", "vtep2"} {
			got, err := r.fdb(node, c.dev, mac)
			require.NoError(t, err)
			require.Len(t, got, 2, "%s on %s", mac, node)
			rows[node] = got
			leak, err := r.fdb(node, c.otherDev, mac)
			require.NoError(t, err)
			assert.Empty(t, leak, "%s belongs to %s alone", mac, c.dev)
		}
		assert.Equal(t, rows["vtep2"], rows["vtep1"], "FRR's rows and ours")
	}
	for _, dev := range []string{"vxlan100", "vxlan200"} {
		for node, want := range map[string][]string{"vtep1": {"10.0.0.2", "10.0.0.3"}, "vtep2": {"10.0.0.1", "10.0.0.3"}, "vtep3": {"10.0.0.1", "10.0.0.2"}} {
			got, err := r.fdb(node, dev, zeroMAC)
			require.NoError(t, err)
			var rows []string
			for _, v := range want {
				rows = append(rows, zeroMAC+" dev "+dev+" dst "+v+" self permanent")
			}
			assert.Equal(t, rows, got, "flood list of %s on %s", dev, node)
		}
	}
}

func ipv6Topology(t *testing.T, r *running) {
	for _, hosts := range r.hostGroups(true) {
		eventually(t, convergence, "first answers", func() error { return r.pingAll(hosts, 1) })
		require.NoError(t, r.pingAll(hosts, 25))
	}
	assert.NotContains(t, r.do("vtep1", "ip", "-4", "addr", "show", "dev", "eth1"), "inet ", "the underlay is IPv6 alone")
	got, err := r.fdb("vtep1", "vxlan100", zeroMAC)
	require.NoError(t, err)
	assert.Equal(t, floodRows("2001:db8::2", "2001:db8::3"), got)
}

// The spines leave next hops alone, and each leaf has both paths to every other leaf.
func ebgpTopology(t *testing.T, r *running) {
	for leaf, want := range map[string][]string{"leaf1": {"10.0.0.2", "10.0.0.3"}, "leaf2": {"10.0.0.1", "10.0.0.3"}, "leaf3": {"10.0.0.1", "10.0.0.2"}} {
		eventually(t, convergence, "flood list of "+leaf, r.wantFDB(leaf, zeroMAC, floodRows(want...)))
	}
	// One spine dies: nothing is lost but the second path.
	hosts := slices.Collect(maps.Values(r.hostGroups(false)))[0]
	nodes, err := r.Nodes()
	require.NoError(t, err)
	require.True(t, slices.ContainsFunc(nodes, func(n lab.NodeStatus) bool { return n.Name == "spine2" && n.State == "running" }))
	r.sh("spine2", "kill -9 $(pidof watchfrr) $(pidof bgpd)")
	eventually(t, convergence, "leaf1 sees the end of spine2", func() error {
		var neighbors []struct {
			Address string `json:"address"`
			State   string `json:"state"`
		}
		if err := r.json(&neighbors, "leaf1", "vtepbgp", "neighbor", "show", "-o", "json"); err != nil {
			return err
		}
		for _, n := range neighbors {
			if n.Address == "10.1.2.2" && n.State == "established" {
				return fmt.Errorf("spine2 is still %s", n.State)
			}
		}
		return nil
	})
	require.NoError(t, r.pingAll(hosts, 25))
}

// Whoever copies for whom: each frame arrives once.
func floodTopology(t *testing.T, r *running) {
	var stations []once.Station
	for _, hosts := range r.hostGroups(false) {
		for h := range hosts {
			stations = append(stations, once.Station{Name: h, Device: "eth1", Within: func(run func() error) error { return r.Within(h, run) }})
		}
	}
	m, err := once.Open(stations)
	require.NoError(t, err)
	defer m.Close()
	eventually(t, convergence, "frames arrive exactly once", func() error { return m.Send(3, time.Millisecond).Err() })
	report := m.Send(90, 5*time.Millisecond)
	t.Log(report)
	require.NoError(t, report.Err())
}
