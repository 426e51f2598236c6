//go:build lab

package lab_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	gatewayMAC = "02:00:00:00:fe:fe"
	gatewayIP  = "192.168.100.254"
)

// An anycast gateway: every VTEP's bridge has the same MAC and address and announces them
// with the default-gateway community (RFC 7432 §10.1). Nobody takes the MAC from anybody,
// no sequence rises, and each host is answered by its own VTEP.
func TestAnycastGateway(t *testing.T) {
	t.Parallel()
	for _, kind := range []map[string]string{
		{"rr": kindVTEPBGP, "va": kindVTEPBGP, "vb": kindVTEPBGP, "vc": kindVTEPBGP},
		{"rr": kindFRR, "va": kindVTEPBGP, "vb": kindVTEPBGP, "vc": kindFRR},
	} {
		t.Run(castName(kind), func(t *testing.T) {
			t.Parallel()
			config := map[string]string{}
			for _, v := range []string{"va", "vb", "vc"} {
				config[v] = "anycast_gateway = true\n"
			}
			f := stage{kind: kind, config: config}.build(t)
			for _, s := range f.sites() {
				if f.kind[s.vtep] == kindFRR {
					f.do(s.vtep, "vtysh", "-c", "configure terminal", "-c", "router bgp 65000", "-c", "address-family l2vpn evpn", "-c", "advertise-default-gw")
				}
				eventually(t, convergence, "bridge", func() error {
					_, err := f.try(s.vtep, "sh", "-c", "ip link set br100 address "+gatewayMAC+" && ip addr replace "+gatewayIP+"/24 dev br100")
					return err
				})
			}
			announced := func() error {
				for _, s := range f.sites() {
					if f.kind[s.vtep] == kindFRR {
						continue
					}
					got, err := f.gatewayRoutes(s.vtep)
					if err != nil {
						return err
					}
					want := []string{}
					for _, o := range f.sites() {
						want = append(want, o.addr+" sequence 0")
					}
					if !slices.Equal(got, want) {
						return fmt.Errorf("gateway routes on %s: %q, want %q", s.vtep, got, want)
					}
					// Nothing of it is in the VXLAN device: the gateway is here.
					if err := f.wantFDB(s.vtep, gatewayMAC, nil)(); err != nil {
						return err
					}
				}
				return nil
			}
			eventually(t, convergence, "all gateways announced", announced)
			for _, s := range f.sites() {
				eventually(t, convergence, "gateway answers "+s.host, func() error { return f.ping(s.host, gatewayIP, 1) })
				require.NoError(t, f.ping(s.host, gatewayIP, 10))
			}
			holds(t, 3*time.Second, "no war", announced)
			require.NoError(t, f.pingAll(map[string]string{"h1": "192.168.100.1", "h2": "192.168.100.2", "h3": "192.168.100.3"}, 5))

			// A host that says it were the gateway is neither believed nor heard elsewhere.
			f.announce("h1", f.macOf("h1"), gatewayIP)
			eventually(t, convergence, "it is named", func() error {
				want := "uses " + gatewayIP + ", which is the address of bridge br100"
				if text := strings.Join(strings.Fields(f.do("va", "vtepbgp", "vni", "show", "100")), " "); !strings.Contains(text, want) {
					return fmt.Errorf("%s", text)
				}
				return nil
			})
			require.NoError(t, announced())
			require.NotContains(t, f.do("h2", "ip", "neigh", "show", gatewayIP), f.macOf("h1"))
			for _, s := range f.sites() {
				require.NoError(t, f.ping(s.host, gatewayIP, 3))
			}
		})
	}
}

// gatewayRoutes lists next hop and sequence of the gateway's routes that a node knows, those
// with the address: FRR 8.4 announces no other.
func (f *fabric) gatewayRoutes(node string) ([]string, error) {
	var routes []struct {
		MAC            string `json:"mac"`
		IP             string `json:"ip"`
		NextHop        string `json:"next_hop"`
		Sequence       uint32 `json:"sequence"`
		DefaultGateway bool   `json:"default_gateway"`
	}
	if err := f.json(&routes, node, "vtepbgp", "route", "show", "-o", "json"); err != nil {
		return nil, err
	}
	out := []string{}
	for _, r := range routes {
		if r.MAC == gatewayMAC && r.IP == gatewayIP && r.DefaultGateway {
			out = append(out, fmt.Sprintf("%s sequence %d", r.NextHop, r.Sequence))
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}
