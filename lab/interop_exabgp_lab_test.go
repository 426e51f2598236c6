//go:build lab

package lab_test

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// oddRoute is an UPDATE that ExaBGP sends: MP_REACH_NLRI with the NLRI, and communities.
type oddRoute struct {
	nlri   [][]byte
	comms  []string // extended communities in hex, beside RT 65000:100 and VXLAN
	raw    string   // more attributes, in ExaBGP's notation
	prefix string   // of its own; "" = the next free one, which is not sent
	vtep   string   // next hop; "" = oddVTEP
}

func nlri(typ byte, body []byte) []byte { return append([]byte{typ, byte(len(body))}, body...) }

// macNLRI is the body of a type-2 route (RFC 7432 §7.2).
func macNLRI(mac string, label uint32) []byte {
	var m evpn.MAC
	if err := m.UnmarshalText([]byte(mac)); err != nil {
		panic(err)
	}
	b := rd()
	b = append(b, make([]byte, 10+4)...) // ESI, Ethernet tag
	b = append(b, 48)
	b = append(b, m[:]...)
	b = append(b, 0) // no IP
	return append(b, byte(label>>16), byte(label>>8), byte(label))
}

func rd() []byte { return []byte{0, 1, 10, 0, 0, 9, 0, 1} }

// imetNLRI is the body of a type-3 route (RFC 7432 §7.3).
func imetNLRI(addr string) []byte {
	a := netip.MustParseAddr(addr).As4()
	return append(append(append(rd(), 0, 0, 0, 0), 32), a[:]...)
}

const oddVTEP = "10.0.0.9"

func (o oddRoute) config(i int) string {
	prefix := o.prefix
	if prefix == "" {
		prefix = fmt.Sprintf("203.0.113.%d/32", i)
	}
	nh := netip.MustParseAddr(cmp.Or(o.vtep, oddVTEP)).As4()
	reach := append([]byte{0, 25, 70, 4}, nh[:]...)
	reach = append(reach, 0)
	for _, n := range o.nlri {
		reach = append(reach, n...)
	}
	comms := "0002fde800000064" + "030c000000000008" + strings.Join(o.comms, "")
	return fmt.Sprintf("        route %s next-hop "+oddVTEP+" local-preference 100 attribute [ 0x0e 0x80 0x%s ] attribute [ 0x10 0xc0 0x%s ] %s;\n",
		prefix, hex.EncodeToString(reach), comms, o.raw)
}

func pmsi(addr string, vni uint32) string { return pmsiOf(0, 6, addr, vni) }

// pmsiOf has any flags and tunnel type; "" is no tunnel identifier.
func pmsiOf(flags, typ byte, addr string, vni uint32) string {
	b := []byte{flags, typ, byte(vni >> 16), byte(vni >> 8), byte(vni)}
	if addr != "" {
		b = append(b, netip.MustParseAddr(addr).AsSlice()...)
	}
	return fmt.Sprintf("attribute [ 0x16 0xc0 0x%s ]", hex.EncodeToString(b))
}

func exaConfig(routes []oddRoute) string {
	var b strings.Builder
	b.WriteString(`neighbor 10.0.0.1 {
    router-id 10.0.0.254;
    local-address 10.0.0.254;
    local-as 65000;
    peer-as 65000;
    family {
        ipv4 unicast;
        l2vpn evpn;
    }
    static {
`)
	for i, r := range routes {
		b.WriteString(r.config(i + 1))
	}
	b.WriteString("    }\n}\n")
	return b.String()
}

// exaFabric is va with its host, and ExaBGP in the place of the route reflector.
func exaFabric(t *testing.T, va string, routes []oddRoute) *fabric {
	t.Helper()
	needRoot(t)
	if _, err := os.Stat("/usr/lib/python3/dist-packages/exabgp"); err != nil {
		missing(t, "needs ExaBGP: %v", err)
	}
	launcher, err := os.ReadFile("testdata/exabgp_raw.py")
	require.NoError(t, err)
	files := map[string]string{"exa.conf": exaConfig(routes), "run.py": string(launcher)}
	node, bin := "", ""
	if va == kindFRR {
		files["daemons"], files["va.conf"] = frrDaemons, stage{}.fabricFRR("va", "10.0.0.1")
		node = "image: frr\n      binds: [daemons:/etc/frr/daemons:ro, va.conf:/etc/frr/frr.conf:ro]\n      exec:\n" + frrConfigured[false] + "        - ip addr add 10.0.0.1/24 dev eth1\n" + frrOverlay("10.0.0.1", "eth2")
	} else {
		bin = binary(t)
		files["va.toml"] = stage{}.fabricTOML("10.0.0.1", "eth2")
		node = "image: vtepbgp\n      binds: [va.toml:/etc/vtepbgp/vtepbgp.toml:ro]\n      exec:\n        - ip addr add 10.0.0.1/24 dev eth1\n"
	}
	f := &fabric{kind: map[string]string{"va": va}}
	f.running = up(t, parseAs(t, folder(t, files), `name: exa
topology:
  defaults: {kind: linux, image: host}
  nodes:
    h1: {exec: [ip addr add 192.168.100.1/24 dev eth1]}
    va:
      `+node+`
    rr:
      cmd: /usr/bin/python3 /etc/exabgp/run.py /etc/exabgp/exa.conf
      env: {exabgp.daemon.user: root, exabgp.api.cli: "false", exabgp.log.destination: stderr, exabgp.log.packets: "false"}
      binds: [exa.conf:/etc/exabgp/exa.conf:ro, run.py:/etc/exabgp/run.py:ro]
      exec: [ip addr add 10.0.0.254/24 dev eth1]
  links:
    - {endpoints: ["rr:eth1", "va:eth1"], mtu: 1600}
    - {endpoints: ["va:eth2", "h1:eth1"], mtu: 1500}
`), bin)
	return f
}

func goodMAC(i uint16) string {
	return mustMAC(fmt.Sprintf("02:99:00:00:%02x:%02x", i>>8, i&0xff))
}

// The routes that every receiver must take: this also proves the sender, with FRR.
func goodRoutes() []oddRoute {
	return []oddRoute{
		{nlri: [][]byte{nlri(3, imetNLRI(oddVTEP))}, raw: pmsi(oddVTEP, 100)},
		{nlri: [][]byte{nlri(2, macNLRI(goodMAC(1), 100))}},
	}
}

func TestExaBGPSendsToFRR(t *testing.T) {
	t.Parallel()
	f := exaFabric(t, kindFRR, goodRoutes())
	eventually(t, convergence, "flood row", f.wantFDB("va", zeroMAC, floodRows(oddVTEP)))
	eventually(t, convergence, "MAC", f.wantFDB("va", goodMAC(1), remoteRows(goodMAC(1), oddVTEP)))
}

// Odd routes from a BGP speaker of another make: the session and the process live, and the good routes
// beside them are in the kernel. ExaBGP builds its own messages; the whole list of malformed input is TestMalformed's.
func TestExaBGPSendsOddRoutes(t *testing.T) {
	t.Parallel()
	good := func(i uint16) []byte { return nlri(2, macNLRI(goodMAC(i), 100)) }
	junk := []byte{1, 2, 3, 4, 5}
	routes := append(goodRoutes(),
		// Types of other documents and of the future, among good ones.
		oddRoute{nlri: [][]byte{good(10), nlri(6, junk), nlri(7, junk), nlri(8, junk), nlri(9, junk), nlri(10, junk), nlri(11, junk), good(11)}},
		// EVPN extended communities: ARP/ND (RFC 9047), layer 2 attributes (RFC 8214) and an unknown one.
		oddRoute{nlri: [][]byte{good(12)}, comms: []string{"0608000000000000"}},
		oddRoute{nlri: [][]byte{good(13)}, comms: []string{"0604000000000000", "067f010203040506"}},
		// Never to be installed: label 0, a group MAC, a short body.
		oddRoute{nlri: [][]byte{nlri(2, macNLRI(goodMAC(20), 0))}},
		oddRoute{nlri: [][]byte{nlri(2, macNLRI("01:99:00:00:00:21", 100))}},
		oddRoute{nlri: [][]byte{nlri(2, rd())}},
		oddRoute{nlri: [][]byte{nlri(3, rd()[:4])}},
		oddRoute{nlri: [][]byte{nlri(2, macNLRI(goodMAC(22), 100)[:20])}},
		// An unknown attribute, optional and transitive.
		oddRoute{nlri: [][]byte{good(14)}, raw: "attribute [ 0xf0 0xc0 0x0102 ]"},
		// IPv4 unicast, which only ExaBGP offers, in the same message.
		oddRoute{nlri: [][]byte{good(15)}, prefix: "198.18.0.0/24"},
		oddRoute{nlri: [][]byte{good(16)}},
	)
	f := exaFabric(t, kindVTEPBGP, routes)
	before := f.node("va").PID
	eventually(t, convergence, "flood row", f.wantFDB("va", zeroMAC, floodRows(oddVTEP)))
	for _, i := range []uint16{1, 10, 11, 12, 13, 14, 15, 16} {
		eventually(t, convergence, "MAC "+goodMAC(i), f.wantFDB("va", goodMAC(i), remoteRows(goodMAC(i), oddVTEP)))
	}
	for _, mac := range []string{goodMAC(20), "01:99:00:00:00:21", goodMAC(22)} {
		require.NoError(t, f.wantFDB("va", mac, nil)())
	}
	var neighbors []struct {
		Address string `json:"address"`
		State   string `json:"state"`
		Flaps   uint64 `json:"flaps"`
	}
	require.NoError(t, f.json(&neighbors, "va", "vtepbgp", "neighbor", "show", "-o", "json"))
	require.Len(t, neighbors, 1)
	require.Equal(t, "established", neighbors[0].State)
	require.Zero(t, neighbors[0].Flaps, "one session from start to end")
	require.Equal(t, before, f.node("va").PID, "the process must live on")
	log, err := f.try("rr", "cat", "/proc/1/status") // the sender's node lives too
	require.NoError(t, err, log)
}

// TestFRRAndFloodingRoutes: whom FRR as a VTEP copies to. What carries "no tunnel" is on no list of its, the flags of
// a leaf and the claim of a relay mean nothing to it, and a route for another VTEP is as good as any.
func TestFRRAndFloodingRoutes(t *testing.T) {
	t.Parallel()
	imet := func(vtep, pmsi string, comms ...string) oddRoute {
		return oddRoute{nlri: [][]byte{nlri(3, imetNLRI(vtep))}, vtep: vtep, raw: pmsi, comms: comms}
	}
	f := exaFabric(t, kindFRR, append(goodRoutes(),
		imet("10.0.0.5", pmsiOf(0, 6, "10.0.0.5", 100), "8a011234abcd0100"),
		imet("10.0.0.6", pmsiOf(0x10, 6, "10.0.0.6", 100), "8a02100000000000"),
		imet("10.0.0.7", pmsiOf(0, 0, "", 100), "8a011234abcd0201"),
		imet("10.0.0.8", pmsiOf(0x08, 0, "", 100), "8a02080000000000"),
		oddRoute{nlri: [][]byte{nlri(2, macNLRI(goodMAC(2), 100))}},
	))
	eventually(t, convergence, "the last route", f.wantFDB("va", goodMAC(2), remoteRows(goodMAC(2), oddVTEP)))
	eventually(t, convergence, "the VTEPs that want copies", f.wantFDB("va", zeroMAC, floodRows("10.0.0.5", "10.0.0.6", oddVTEP)))
	holds(t, 2*time.Second, "and no others", f.wantFDB("va", zeroMAC, floodRows("10.0.0.5", "10.0.0.6", oddVTEP)))
	shown := f.sh("va", "vtysh -c 'show evpn vni 100'")
	for vtep, flood := range map[string]string{oddVTEP: "HER", "10.0.0.5": "HER", "10.0.0.6": "HER", "10.0.0.7": "-", "10.0.0.8": "-"} {
		require.Contains(t, shown, vtep+" flood: "+flood)
	}
}
