//go:build lab

package lab_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A fabric is the smallest network in which every EVPN story can be told:
//
//	h1 ── va ──┐            ┌── vb ── h2        underlay 10.0.0.0/24: va .1, vb .2, vc .3, rr .254
//	           ├── switch ──┤                   VNI 100: h1 .1, h2 .2, h3 .3 of 192.168.100.0/24
//	           └──── rr ────┘ (└── vc ── h3)
//	               (rr2)                       rr2 .253
//
// Who plays va, vb, rr, and where the story needs a third VTEP, vc, or a second reflector, rr2, is up to the
// test: vtepbgp, FRR, or (rr only) gobgpd. With FRR in all parts the same tests show what FRR does, and so
// what we are to be compared with.
type fabric struct {
	*running
	kind map[string]string // of the players
	dir  string            // with the configuration files, NAME.toml
}

const (
	kindVTEPBGP = "vtepbgp"
	kindFRR     = "frr"
	kindGoBGP   = "gobgpd"
)

// players are the nodes of a fabric besides switch and hosts; hosts are numbered as they are.
var players = []struct{ name, addr, host string }{
	{"va", "10.0.0.1", "1"}, {"vb", "10.0.0.2", "2"}, {"vc", "10.0.0.3", "3"}, {"rr", "10.0.0.254", ""}, {"rr2", "10.0.0.253", ""},
}

func newFabric(t testing.TB, rr, va, vb string) *fabric {
	t.Helper()
	return stage{kind: map[string]string{"rr": rr, "va": va, "vb": vb}}.build(t)
}

// stage says what a fabric is made of.
type stage struct {
	kind map[string]string // of each player; one that is not named does not exist
	// roamers puts a second host behind each VTEP, on eth3: r1, r2, r3. One of them at a
	// time plays a host that moves, with roamerMAC.
	roamers bool
	// config is added to the configuration of a vtepbgp player.
	config map[string]string
	// bgp and neighbor are lines for the tables of that name of all vtepbgp players, frr for FRR's
	// router bgp.
	bgp, neighbor, frr string
	// cmd is what a vtepbgp player runs instead of `vtepbgp run`.
	cmd map[string]string
}

// reflectors are the addresses that a VTEP peers with.
func (st stage) reflectors() []string {
	if st.kind["rr2"] != "" {
		return []string{"10.0.0.254", "10.0.0.253"}
	}
	return []string{"10.0.0.254"}
}

const roamerMAC = "02:00:00:00:aa:aa"

func (st stage) build(t testing.TB) *fabric {
	t.Helper()
	needRoot(t)
	f := &fabric{kind: st.kind}
	ports := []string{"eth2"}
	if st.roamers {
		ports = append(ports, "eth3")
	}
	files := map[string]string{}
	var nodes, links, bridge strings.Builder
	bin := ""
	for i, p := range players {
		kind := st.kind[p.name]
		if kind == "" {
			continue
		}
		fmt.Fprintf(&bridge, "        - ip link set eth%d master br0\n", i+1)
		fmt.Fprintf(&links, "    - {endpoints: [\"switch:eth%d\", \"%s:eth1\"], mtu: 1600}\n", i+1, p.name)
		if p.host != "" {
			fmt.Fprintf(&nodes, "    h%s: {exec: [ip addr add 192.168.100.%s/24 dev eth1]}\n", p.host, p.host)
			fmt.Fprintf(&links, "    - {endpoints: [\"%s:eth2\", \"h%s:eth1\"], mtu: 1500}\n", p.name, p.host)
		}
		if p.host != "" && st.roamers {
			fmt.Fprintf(&nodes, "    r%s: {}\n", p.host)
			fmt.Fprintf(&links, "    - {endpoints: [\"%s:eth3\", \"r%s:eth1\"], mtu: 1500}\n", p.name, p.host)
		}
		switch kind {
		case kindVTEPBGP:
			bin = binary(t)
			if p.host == "" {
				files[p.name+".toml"] = st.reflectorTOML(p.addr) + st.config[p.name]
			} else {
				files[p.name+".toml"] = st.fabricTOML(p.addr, ports...) + st.config[p.name]
			}
			fmt.Fprintf(&nodes, "    %s:\n      image: vtepbgp\n      binds: [%s.toml:/etc/vtepbgp/vtepbgp.toml:ro]\n", p.name, p.name)
			if cmd := st.cmd[p.name]; cmd != "" {
				fmt.Fprintf(&nodes, "      cmd: %s\n", cmd)
			}
			nodes.WriteString("      exec:\n")
			fmt.Fprintf(&nodes, "        - ip addr add %s/24 dev eth1\n", p.addr)
		case kindFRR:
			files[p.name+".conf"] = st.fabricFRR(p.name, p.addr)
			if p.host == "" {
				files[p.name+".conf"] = st.reflectorFRR(p.name, p.addr)
			}
			files["daemons"] = frrDaemons
			fmt.Fprintf(&nodes, "    %s:\n      image: frr\n      binds: [daemons:/etc/frr/daemons:ro, %s.conf:/etc/frr/frr.conf:ro]\n      exec:\n", p.name, p.name)
			nodes.WriteString(frrConfigured[p.host == ""])
			fmt.Fprintf(&nodes, "        - ip addr add %s/24 dev eth1\n", p.addr)
			if p.host != "" {
				nodes.WriteString(frrOverlay(p.addr, ports...))
			}
		case kindGoBGP:
			needProgram(t, "gobgpd")
			files[p.name+".gobgp"] = gobgpRR
			fmt.Fprintf(&nodes, "    %s:\n      cmd: gobgpd -f /etc/gobgpd.toml\n      binds: [%s.gobgp:/etc/gobgpd.toml:ro]\n      exec:\n", p.name, p.name)
			fmt.Fprintf(&nodes, "        - ip addr add %s/24 dev eth1\n", p.addr)
		default:
			t.Fatalf("%s is no kind of node", kind)
		}
	}
	y := `name: fabric
topology:
  defaults: {kind: linux, image: host}
  nodes:
    switch:
      exec:
        - ip link add br0 type bridge
        - ip link set br0 up
` + bridge.String() + nodes.String() + "  links:\n" + links.String()
	file := folder(t, files)
	f.dir = filepath.Dir(file)
	f.running = up(t, parseAs(t, file, y), bin)
	for _, p := range players {
		for _, rr := range players {
			if p.host != "" && st.kind[p.name] == kindFRR && rr.host == "" && st.kind[rr.name] == kindFRR {
				f.listedByFRR(rr.name, p.name, p.addr)
			}
		}
	}
	return f
}

// listedByFRR waits until a reflector of FRR lists an FRR that dials it. Of a dynamic neighbour that dialled twice in a row
// FRR 8.4 sometimes keeps a session that no list shows and that gets no routes, until somebody clears it
// (https://github.com/FRRouting/frr/issues/9929).
func (r *running) listedByFRR(reflector, client, addr string) {
	r.t.Helper()
	cleared := time.Now()
	eventually(r.t, 2*convergence, reflector+" lists "+client, func() error {
		var shown struct {
			Peers map[string]struct {
				State string `json:"state"`
			} `json:"peers"`
		}
		err := r.json(&shown, reflector, "vtysh", "-c", "show bgp l2vpn evpn summary json")
		if err != nil || shown.Peers[addr].State == "Established" {
			return err
		}
		if time.Since(cleared) > convergence/3 {
			cleared = time.Now()
			r.t.Logf("%s lists %+v: sessions of %s are cleared", reflector, shown.Peers, client)
			if _, err := r.try(client, "vtysh", "-c", "clear bgp *"); err != nil {
				return err
			}
		}
		return fmt.Errorf("%s on %s: %+v", addr, reflector, shown.Peers)
	})
}

// reconfigure changes the configuration file of a vtepbgp player in place and reloads it.
func (f *fabric) reconfigure(node, old, new string) {
	f.t.Helper()
	f.rewrite(node, old, new)
	f.do(node, "vtepbgp", "reload")
}

func (f *fabric) rewrite(node, old, new string) {
	f.t.Helper()
	file := filepath.Join(f.dir, node+".toml")
	text, err := os.ReadFile(file)
	require.NoError(f.t, err)
	require.Contains(f.t, string(text), old)
	changed := strings.Replace(string(text), old, new, 1)
	require.NoError(f.t, os.WriteFile(file, []byte(changed), 0o644))
}

func (st stage) reflectorTOML(addr string) string {
	return `[bgp]
asn = 65000
router_id = "` + addr + `"
` + st.bgp + `
[[neighbor]]
prefix = "10.0.0.0/24"
asn = 65000
route_reflector_client = true
` + st.neighbor
}

func (st stage) fabricTOML(addr string, ports ...string) string {
	var b strings.Builder
	b.WriteString("[bgp]\nasn = 65000\nrouter_id = \"" + addr + "\"\n")
	if !strings.Contains(st.bgp, "graceful_restart_time") {
		// Short, so that a test sees the end of a restart that never came.
		b.WriteString("graceful_restart_time = \"5s\"\n")
	}
	b.WriteString(st.bgp + "[vtep]\naddress = \"" + addr + "\"\n")
	for _, r := range st.reflectors() {
		b.WriteString("[[neighbor]]\naddress = \"" + r + "\"\nasn = 65000\nconnect_retry = \"1s\"\n" + st.neighbor)
	}
	b.WriteString("[[vni]]\nid = 100\nports = [\"" + strings.Join(ports, `", "`) + "\"]\n")
	return b.String()
}

const frrDaemons = `bgpd=yes
vtysh_enable=yes
zebra_options="  -A 127.0.0.1 -s 90000000"
bgpd_options="   -A 127.0.0.1"
staticd_options="-A 127.0.0.1"
`

func (st stage) reflectorFRR(node, addr string) string {
	return reflectorFRR(node, addr, "10.0.0.0/24", st.frr)
}

// reflectorFRR is an FRR that reflects for whoever connects from a prefix; lines go to router bgp.
func reflectorFRR(node, id, clients, lines string) string {
	return "hostname " + node + `
router bgp 65000
 bgp router-id ` + id + `
 no bgp default ipv4-unicast
` + lines + ` neighbor vteps peer-group
 neighbor vteps remote-as 65000
 bgp listen range ` + clients + ` peer-group vteps
 address-family l2vpn evpn
  neighbor vteps activate
  neighbor vteps route-reflector-client
 exit-address-family
`
}

func (st stage) fabricFRR(node, addr string) string {
	return vtepFRR(node, addr, st.frr, st.reflectors()...)
}

// vtepFRR is an FRR that is a VTEP; lines go to router bgp.
func vtepFRR(node, id, lines string, reflectors ...string) string {
	var b strings.Builder
	b.WriteString("hostname " + node + "\nrouter bgp 65000\n bgp router-id " + id + "\n no bgp default ipv4-unicast\n" + lines)
	for _, r := range reflectors {
		b.WriteString(" neighbor " + r + " remote-as 65000\n neighbor " + r + " timers connect 1\n")
	}
	b.WriteString(" address-family l2vpn evpn\n")
	for _, r := range reflectors {
		b.WriteString("  neighbor " + r + " activate\n")
	}
	b.WriteString("  advertise-all-vni\n exit-address-family\n")
	return b.String()
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
func frrOverlay(addr string, ports ...string) string {
	lines := `        - ip link add br100 type bridge
        - ip link set br100 addrgenmode none up
        - ip link add vxlan100 type vxlan id 100 local ` + addr + ` dstport 4789 nolearning
        - ip link set vxlan100 master br100 addrgenmode none mtu 1550
        - bridge link set dev vxlan100 learning off neigh_suppress on
        - ip link set vxlan100 up
`
	for _, p := range ports {
		lines += "        - ip link set " + p + " master br100\n"
	}
	return lines
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
