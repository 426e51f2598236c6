//go:build lab

package lab_test

import (
	"fmt"
	"strings"
	"testing"
)

// A fabric is the smallest network in which every EVPN story can be told:
//
//	h1 ── va ──┐            ┌── vb ── h2        underlay 10.0.0.0/24: va .1, vb .2, rr .254
//	           ├── switch ──┤                   VNI 100: h1 .1, h2 .2 of 192.168.100.0/24
//	           └──── rr ────┘
//
// Who plays va, vb and rr is up to the test: vtepbgp, FRR, or (rr only) gobgpd. With FRR
// in all three parts the same tests show what FRR does, and so what we are to be compared with.
type fabric struct {
	*running
	kind map[string]string // of va, vb, rr
}

const (
	kindVTEPBGP = "vtepbgp"
	kindFRR     = "frr"
	kindGoBGP   = "gobgpd"
)

var fabricAddress = map[string]string{"va": "10.0.0.1", "vb": "10.0.0.2", "rr": "10.0.0.254"}

func newFabric(t testing.TB, rr, va, vb string) *fabric {
	t.Helper()
	needRoot(t)
	f := &fabric{kind: map[string]string{"rr": rr, "va": va, "vb": vb}}
	files := map[string]string{}
	var y strings.Builder
	y.WriteString(`name: fabric
topology:
  defaults: {kind: linux, image: host}
  nodes:
    switch:
      exec:
        - ip link add br0 type bridge
        - ip link set br0 up
        - ip link set eth1 master br0
        - ip link set eth2 master br0
        - ip link set eth3 master br0
    h1: {exec: [ip addr add 192.168.100.1/24 dev eth1]}
    h2: {exec: [ip addr add 192.168.100.2/24 dev eth1]}
`)
	bin := ""
	for _, n := range []string{"rr", "va", "vb"} {
		addr := fabricAddress[n]
		switch f.kind[n] {
		case kindVTEPBGP:
			bin = binary(t)
			files[n+".toml"] = fabricTOML(n, addr)
			fmt.Fprintf(&y, "    %s:\n      image: vtepbgp\n      binds: [%s.toml:/etc/vtepbgp/vtepbgp.toml:ro]\n      exec:\n", n, n)
			fmt.Fprintf(&y, "        - ip addr add %s/24 dev eth1\n", addr)
		case kindFRR:
			files[n+".conf"] = fabricFRR(n, addr)
			files["daemons"] = frrDaemons
			fmt.Fprintf(&y, "    %s:\n      image: frr\n      binds: [daemons:/etc/frr/daemons:ro, %s.conf:/etc/frr/frr.conf:ro]\n      exec:\n", n, n)
			y.WriteString(frrConfigured[n == "rr"])
			fmt.Fprintf(&y, "        - ip addr add %s/24 dev eth1\n", addr)
			if n != "rr" {
				y.WriteString(frrOverlay(addr))
			}
		case kindGoBGP:
			needProgram(t, "gobgpd")
			files[n+".gobgp"] = gobgpRR
			fmt.Fprintf(&y, "    %s:\n      cmd: gobgpd -f /etc/gobgpd.toml\n      binds: [%s.gobgp:/etc/gobgpd.toml:ro]\n      exec:\n", n, n)
			fmt.Fprintf(&y, "        - ip addr add %s/24 dev eth1\n", addr)
		default:
			t.Fatalf("%s is no kind of node", f.kind[n])
		}
	}
	y.WriteString(`  links:
    - {endpoints: ["switch:eth1", "va:eth1"], mtu: 1600}
    - {endpoints: ["switch:eth2", "vb:eth1"], mtu: 1600}
    - {endpoints: ["switch:eth3", "rr:eth1"], mtu: 1600}
    - {endpoints: ["va:eth2", "h1:eth1"], mtu: 1500}
    - {endpoints: ["vb:eth2", "h2:eth1"], mtu: 1500}
`)
	f.running = up(t, parseAs(t, folder(t, files), y.String()), bin)
	return f
}

func fabricTOML(node, addr string) string {
	if node == "rr" {
		return `[bgp]
asn = 65000
router_id = "` + addr + `"
[[neighbor]]
prefix = "10.0.0.0/24"
asn = 65000
route_reflector_client = true
`
	}
	// Short, so that a test sees the end of a restart that never came.
	return `[bgp]
asn = 65000
graceful_restart_time = "5s"
[vtep]
address = "` + addr + `"
[[neighbor]]
address = "10.0.0.254"
asn = 65000
connect_retry = "1s"
[[vni]]
id = 100
ports = ["eth2"]
`
}

const frrDaemons = `bgpd=yes
vtysh_enable=yes
zebra_options="  -A 127.0.0.1 -s 90000000"
bgpd_options="   -A 127.0.0.1"
staticd_options="-A 127.0.0.1"
`

func fabricFRR(node, addr string) string {
	if node == "rr" {
		return `hostname rr
router bgp 65000
 bgp router-id ` + addr + `
 no bgp default ipv4-unicast
 neighbor vteps peer-group
 neighbor vteps remote-as 65000
 bgp listen range 10.0.0.0/24 peer-group vteps
 address-family l2vpn evpn
  neighbor vteps activate
  neighbor vteps route-reflector-client
 exit-address-family
`
	}
	return "hostname " + node + `
router bgp 65000
 bgp router-id ` + addr + `
 no bgp default ipv4-unicast
 neighbor 10.0.0.254 remote-as 65000
 neighbor 10.0.0.254 timers connect 1
 address-family l2vpn evpn
  neighbor 10.0.0.254 activate
  advertise-all-vni
 exit-address-family
`
}

// frrConfigured waits until FRR has read its whole configuration. Rarely, a start
// without this left FRR 8.4 in Active, for a reason not proven; and FRR must know of EVPN
// before the VXLAN device appears. The key is whether it is a route reflector.
var frrConfigured = map[bool]string{
	true:  frrWait("route-reflector-client"),
	false: frrWait("advertise-all-vni"),
}

func frrWait(line string) string {
	return "        - sh -c \"until vtysh -c 'show running-config' 2>/dev/null | grep -q " + line + "; do sleep 0.1; done\"\n"
}

// frrOverlay makes bridge and VXLAN device.
func frrOverlay(addr string) string {
	return `        - ip link add br100 type bridge
        - ip link set br100 addrgenmode none up
        - ip link add vxlan100 type vxlan id 100 local ` + addr + ` dstport 4789 nolearning
        - ip link set vxlan100 master br100 addrgenmode none mtu 1550
        - bridge link set dev vxlan100 learning off neigh_suppress on
        - ip link set vxlan100 up
        - ip link set eth2 master br100
`
}

const gobgpRR = `[global.config]
  as = 65000
  router-id = "10.0.0.254"
[[peer-groups]]
  [peer-groups.config]
    peer-group-name = "vteps"
    peer-as = 65000
  [[peer-groups.afi-safis]]
    [peer-groups.afi-safis.config]
      afi-safi-name = "l2vpn-evpn"
  [peer-groups.route-reflector.config]
    route-reflector-client = true
    route-reflector-cluster-id = "10.0.0.254"
[[dynamic-neighbors]]
  [dynamic-neighbors.config]
    prefix = "10.0.0.0/24"
    peer-group = "vteps"
`
