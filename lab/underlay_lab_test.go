//go:build lab

package lab_test

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// An underlay in which one VTEP is lost to us alone: VTEP addresses on loopbacks, a link
// of its own from va to each of the others, and BGP on a network apart.
//
//	h1 ── va ──┬── vb ── h2, s     s is the same MAC and IP behind both, pinned there, so that
//	           └── vc ── h3, s     both announce it
//	rr ── control ── va, vb, vc
type underlay struct {
	*running
	dir   string
	b, c  netip.Addr // VTEP addresses
	over  int        // overhead of the tunnel
	ip    string     // ip(8) of the family of the underlay
	way   string     // va's route to vb
	raise [2]string  // brings the link between va and vb up at its two ends
}

const (
	sharedMAC = "02:00:00:00:5a:5a"
	sharedIP  = "192.168.100.100"
)

func newUnderlay(t *testing.T, family int) *underlay {
	t.Helper()
	loop, far := "10.0.0.%d/32", "10.1.%d.%d/24"
	u := &underlay{ip: "ip -4", over: 50}
	if family == 6 {
		loop, far = "2001:db8::%d/128", "2001:db8:1:%d::%d/64"
		u.ip, u.over = "ip -6", 70
	}
	address := func(format string, n ...any) string {
		addr, _, _ := strings.Cut(fmt.Sprintf(format, n...), "/")
		return addr
	}
	u.b, u.c = netip.MustParseAddr(address(loop, 2)), netip.MustParseAddr(address(loop, 3))
	u.way = fmt.Sprintf("%s via %s dev eth1", u.b, address(far, 2, 2))
	// IPv6 addresses go with the link, and so do all routes.
	u.raise = [2]string{
		fmt.Sprintf("ip link set eth1 up; ip addr replace %s dev eth1%s; %s route replace %s", fmt.Sprintf(far, 2, 1), nodad(family), u.ip, u.way),
		fmt.Sprintf("ip link set eth1 up; ip addr replace %s dev eth1%s; %s route replace %s via %s",
			fmt.Sprintf(far, 2, 2), nodad(family), u.ip, address(loop, 1), address(far, 2, 1)),
	}
	files := map[string]string{"rr.toml": "[bgp]\nasn = 65000\nrouter_id = \"10.255.0.254\"\n" +
		"[[neighbor]]\nprefix = \"10.255.0.0/24\"\nasn = 65000\nroute_reflector_client = true\n"}
	nodes := map[string][]string{
		"control": {"ip link add br0 type bridge", "ip link set br0 up", "ip link set eth4 master br0"},
		"rr":      {"ip addr add 10.255.0.254/24 dev eth9"},
	}
	links := []string{`["control:eth4", "rr:eth9"], mtu: 1600`}
	for i, v := range []string{"va", "vb", "vc"} {
		n := i + 1
		ports := []string{"eth2"}
		nodes["control"] = append(nodes["control"], fmt.Sprintf("ip link set eth%d master br0", n))
		nodes[v] = []string{fmt.Sprintf("ip addr add 10.255.0.%d/24 dev eth9", n), fmt.Sprintf("ip addr add %s dev lo", fmt.Sprintf(loop, n))}
		nodes["h"+fmt.Sprint(n)] = []string{fmt.Sprintf("ip addr add 192.168.100.%d/24 dev eth1", n)}
		links = append(links, fmt.Sprintf(`["control:eth%d", "%s:eth9"], mtu: 1600`, n, v), fmt.Sprintf(`["%s:eth2", "h%d:eth1"], mtu: 1500`, v, n))
		if n > 1 {
			ports = append(ports, "eth4")
			nodes[fmt.Sprintf("s%d", n)] = []string{"ip link set eth1 down", "ip link set eth1 address " + sharedMAC, "ip addr add " + sharedIP + "/24 dev eth1"}
			links = append(links, fmt.Sprintf(`["%s:eth4", "s%d:eth1"], mtu: 1500`, v, n))
			links = append(links, fmt.Sprintf(`["va:eth%d", "%s:eth1"], mtu: 1600`, 2*n-3, v))
			// Without duplicate address detection an address is of use at once.
			nodes["va"] = append(nodes["va"], fmt.Sprintf("ip addr add %s dev eth%d%s", fmt.Sprintf(far, n, 1), 2*n-3, nodad(family)))
			nodes[v] = append(nodes[v], fmt.Sprintf("ip addr add %s dev eth1%s", fmt.Sprintf(far, n, n), nodad(family)),
				fmt.Sprintf("%s route add %s via %s", u.ip, address(loop, 1), address(far, n, 1)))
		}
		files[v+".toml"] = fmt.Sprintf("[bgp]\nasn = 65000\nrouter_id = \"10.255.0.%d\"\n[vtep]\naddress = %q\nunreachable = \"keep\"\n", n, address(loop, n)) +
			"[[neighbor]]\naddress = \"10.255.0.254\"\nasn = 65000\nconnect_retry = \"1s\"\n" +
			"[[vni]]\nid = 100\nmtu = 0\nports = [\"" + strings.Join(ports, `", "`) + "\"]\n"
	}
	nodes["va"] = append(nodes["va"], u.ip+" route add "+u.way, fmt.Sprintf("%s route add %s via %s", u.ip, u.c, address(far, 3, 3)))
	var y strings.Builder
	y.WriteString("name: underlay\ntopology:\n  defaults: {kind: linux, image: host}\n  nodes:\n")
	for _, name := range []string{"control", "rr", "va", "vb", "vc", "h1", "h2", "h3", "s2", "s3"} {
		fmt.Fprintf(&y, "    %s:\n", name)
		if _, runs := files[name+".toml"]; runs {
			fmt.Fprintf(&y, "      image: vtepbgp\n      binds: [%s.toml:/etc/vtepbgp/vtepbgp.toml:ro]\n", name)
		}
		y.WriteString("      exec:\n")
		for _, line := range nodes[name] {
			fmt.Fprintf(&y, "        - %s\n", line)
		}
	}
	y.WriteString("  links:\n")
	for _, l := range links {
		fmt.Fprintf(&y, "    - {endpoints: %s}\n", l)
	}
	file := folder(t, files)
	u.dir = strings.TrimSuffix(file, "/t.clab.yml")
	u.running = up(t, parseAs(t, file, y.String()), binary(t))

	for _, v := range []string{"vb", "vc"} {
		eventually(t, 20*time.Second, "pinned on "+v, func() error {
			_, err := u.try(v, "bridge", "fdb", "replace", sharedMAC, "dev", "eth4", "master", "static", "sticky")
			return err
		})
	}
	u.do("s2", "ip", "link", "set", "eth1", "up")
	u.do("s3", "ip", "link", "set", "eth1", "up")
	eventually(t, 30*time.Second, "hosts reach each other", func() error { return u.pings("192.168.100.2", "192.168.100.3", sharedIP) })
	return u
}

func nodad(family int) string {
	if family == 6 {
		return " nodad"
	}
	return ""
}

// pings sends from h1.
func (u *underlay) pings(to ...string) error {
	for _, ip := range to {
		if err := u.ping("h1", ip, 3); err != nil {
			return err
		}
	}
	return nil
}

// vtepRow is what `vtep show` tells of a VTEP.
type vtepRow struct {
	Address   string `json:"address"`
	MACs      int    `json:"macs"`
	Reachable bool   `json:"reachable"`
	Reason    string `json:"reason"`
	Interface string `json:"interface"`
	Gateway   string `json:"gateway"`
	MTU       int    `json:"mtu"`
}

func (u *underlay) vtep(addr netip.Addr) (v vtepRow, err error) {
	var rows []vtepRow
	if err := u.json(&rows, "va", "vtepbgp", "vtep", "show", "-o", "json"); err != nil {
		return v, err
	}
	i := slices.IndexFunc(rows, func(r vtepRow) bool { return r.Address == addr.String() })
	if i < 0 {
		return v, fmt.Errorf("vtep %s is not shown", addr)
	}
	return rows[i], nil
}

func (u *underlay) wantVTEP(addr netip.Addr, reachable bool, reason string) func() error {
	return func() error {
		v, err := u.vtep(addr)
		if err == nil && (v.Reachable != reachable || v.Reason != reason) {
			err = fmt.Errorf("vtep %s: reachable %v, %q", addr, v.Reachable, v.Reason)
		}
		return err
	}
}

// wantRow compares where a MAC's packets go from va; "" = nowhere.
func (u *underlay) wantRow(mac, to string) func() error {
	return func() error {
		rows, err := u.fdb("va", "vxlan100", mac)
		if err != nil {
			return err
		}
		text := strings.Join(rows, "\n")
		if (to == "" && text != "") || (to != "" && !strings.Contains(text, " dst "+to+" ")) {
			return fmt.Errorf("rows of %s, want %q: %s", mac, to, text)
		}
		return nil
	}
}

func (u *underlay) problems() []string {
	var vnis []struct {
		Problems []string `json:"problems"`
	}
	require.NoError(u.t, u.json(&vnis, "va", "vtepbgp", "vni", "show", "-o", "json"))
	require.Len(u.t, vnis, 1)
	return vnis[0].Problems
}

func (u *underlay) reconfigure(old, new string) {
	u.t.Helper()
	(&fabric{running: u.running, dir: u.dir}).reconfigure("va", old, new)
}

func (u *underlay) hostMAC(host string) string {
	return strings.TrimSpace(u.do(host, "cat", "/sys/class/net/eth1/address"))
}

func TestUnderlay(t *testing.T) {
	for _, family := range []int{4, 6} {
		t.Run(fmt.Sprintf("IPv%d", family), func(t *testing.T) {
			u := newUnderlay(t, family)
			t.Run("unreachable VTEP", func(t *testing.T) { u.unreachable(t) })
			t.Run("sizes", func(t *testing.T) { u.sizes(t) })
		})
	}
}

// unreachable takes va's link to vb.
func (u *underlay) unreachable(t *testing.T) {
	h2, b, c := u.hostMAC("h2"), u.b.String(), u.c.String()
	v, err := u.vtep(u.b)
	require.NoError(t, err)
	_, gateway, _ := strings.Cut(u.way, " via ")
	gateway, _, _ = strings.Cut(gateway, " ")
	assert.Equal(t, vtepRow{Address: b, MACs: v.MACs, Reachable: true, Interface: "eth1", Gateway: gateway, MTU: 1600}, v)
	eventually(t, 10*time.Second, "of equals, the lowest VTEP", u.wantRow(sharedMAC, b))
	require.NoError(t, u.wantRow(h2, b)())

	// Keep: shown, and the rows stay.
	u.do("va", "ip", "link", "set", "eth1", "down")
	cut := time.Now()
	eventually(t, 10*time.Second, "shown as unreachable", u.wantVTEP(u.b, false, "no route"))
	t.Logf("shown as unreachable %v after the link went", time.Since(cut))
	assert.Contains(t, u.do("va", "vtepbgp", "status"), "vtep "+b+" is unreachable: no route")
	require.NoError(t, u.wantRow(h2, b)())
	require.NoError(t, u.wantRow(sharedMAC, b)())
	holds(t, time.Second, "the other VTEP is as before", u.wantVTEP(u.c, true, ""))

	// Remove: what is behind another VTEP too goes there, the rest goes.
	u.reconfigure(`unreachable = "keep"`, `unreachable = "remove"`)
	eventually(t, 10*time.Second, "rows go", u.wantRow(h2, ""))
	eventually(t, 10*time.Second, "the MAC behind both fails over", u.wantRow(sharedMAC, c))
	eventually(t, 10*time.Second, "its traffic, too", func() error { return u.pings(sharedIP, "192.168.100.3") })
	rows, err := u.fdb("va", "vxlan100", zeroMAC)
	require.NoError(t, err)
	assert.Equal(t, floodRows(c), rows)
	require.NoError(t, u.wantVTEP(u.b, false, "no route")(), "still shown")
	assert.Contains(t, u.do("va", "vtepbgp", "route", "show"), "next hop is unreachable")

	u.sh("va", u.raise[0])
	eventually(t, 20*time.Second, "reachable again", u.wantVTEP(u.b, true, ""))
	eventually(t, 10*time.Second, "rows come back", u.wantRow(h2, b))
	eventually(t, 10*time.Second, "the better one wins again", u.wantRow(sharedMAC, b))
	eventually(t, 10*time.Second, "hosts reach each other", func() error { return u.pings("192.168.100.2", "192.168.100.3", sharedIP) })

	// The far end goes; then a route leads nowhere.
	u.do("vb", "ip", "link", "set", "eth1", "down")
	eventually(t, 20*time.Second, "no carrier", u.wantVTEP(u.b, false, "eth1 has no carrier"))
	eventually(t, 10*time.Second, "rows go", u.wantRow(h2, ""))
	u.sh("vb", u.raise[1])
	eventually(t, 20*time.Second, "reachable again", u.wantVTEP(u.b, true, ""))
	u.sh("va", u.ip+" route replace blackhole "+b)
	eventually(t, 10*time.Second, "blackhole", u.wantVTEP(u.b, false, "the route is of type blackhole"))
	u.sh("va", u.ip+" route del blackhole "+b+"; "+u.ip+" route replace "+u.way)
	eventually(t, 10*time.Second, "rows come back", u.wantRow(h2, b))
	eventually(t, 20*time.Second, "hosts reach each other", func() error { return u.pings("192.168.100.2", "192.168.100.3", sharedIP) })
}

var fits = regexp.MustCompile(`: (\d+) would fit$`)

// sizes lowers the MTU of the way to vb.
func (u *underlay) sizes(t *testing.T) {
	require.Empty(t, u.problems())
	u.sh("va", u.ip+" route replace "+u.way+" mtu 1500")
	want := fmt.Sprintf("MTU %d of vxlan100 does not fit the way to %s (eth1, 1500): %d would fit", 1600-u.over, u.b, 1500-u.over)
	eventually(t, 10*time.Second, "problem is shown", func() error {
		if got := u.problems(); !slices.Equal(got, []string{want}) {
			return fmt.Errorf("problems: %q", got)
		}
		return nil
	})
	room, err := strconv.Atoi(fits.FindStringSubmatch(want)[1])
	require.NoError(t, err)
	send := func(size int) error {
		const headers = 28 // IPv4 and ICMP
		_, err := u.try("h1", "ping", "-n", "-q", "-c", "3", "-i", "0.2", "-W", "1", "-M", "do", "-s", strconv.Itoa(size-headers), "192.168.100.2")
		return err
	}
	require.NoError(t, send(room), "what the problem says fits")
	require.Error(t, send(room+1), "what is one larger does not")
	v, err := u.vtep(u.b)
	require.NoError(t, err)
	assert.Equal(t, 1500, v.MTU)

	// The operator does as he is told; ports that are too large then are named.
	u.reconfigure("mtu = 0", fmt.Sprintf("mtu = %d", room))
	eventually(t, 10*time.Second, "solved", func() error {
		if got := u.problems(); len(got) != 1 || !strings.Contains(got[0], fmt.Sprintf("hosts behind it need MTU %d", room)) {
			return fmt.Errorf("problems: %q", got)
		}
		return nil
	})
	u.do("va", "ip", "link", "set", "eth2", "mtu", strconv.Itoa(room))
	eventually(t, 10*time.Second, "no problem is left", func() error {
		if got := u.problems(); len(got) != 0 {
			return fmt.Errorf("problems: %q", got)
		}
		return nil
	})
	require.NoError(t, send(room))
}
