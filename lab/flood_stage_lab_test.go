//go:build lab

package lab_test

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/lab/once"
)

// The flooding labs: VTEPs of every kind around one router, each with a host of VNI 100 behind it.
//
//	h1 ── l1 ──┐                        ┌── v1 ── h4      a routed link each, 10.1.<n>.0/24
//	h2 ── l2 ──┤ segment 10.0.<s>.0/24  │
//	h3 ── r1 ──┘  ════════════ router ──┼── v2 ── h5
//	              IGMP snooping         │
//	                                    └── rr            10.1.250.0/24
//
// The number of a player is its place in the list. With IPv6 the underlay is fd00:0:<s>::/64 and fd00:1:<n>::/64.
// The router forwards no multicast.
type floodStage struct {
	family  int
	rr      string // kind of the reflector
	bfd     bool   // sessions are watched, 100 ms × 3
	port    int    // UDP port of the VNI; 0 = 4789
	players []floodPlayer
	// services maps each service address to the players that answer there: several are anycast.
	services map[string][]string
}

// floodPlayer is a VTEP.
type floodPlayer struct {
	name    string
	kind    string
	segment int // 0 = a routed link
	// uplink: a routed link besides the segment, by which everything else is reached, and the
	// service addresses of the player: 10.2.<n>.0/24, or fd00:2:<n>::/64.
	uplink bool
	// onLo: the VTEP address is on lo, 10.3.<n>.1, and both links, of its own and the uplink, lead to it and
	// from it at once (ECMP). IPv4 only.
	onLo bool
	cmd  string // arguments of a vtepbgp player; "" = run
	// address is the VTEP address where it is another one than the number of the player says, and
	// vtepInterface the interface that a vtepbgp player takes it from.
	address, vtepInterface string
	// bgp, global and vni are lines of a vtepbgp player's configuration: for the table [bgp], for
	// the end of the file but before the VNI, and for the VNI.
	bgp, global, vni string
}

const (
	// kindLegacy is a kernel VXLAN device with a group, that learns, and no daemon.
	kindLegacy = "legacy"
	// kindLeaf is a kernel VXLAN device with one destination, a service node, that learns, and no daemon.
	kindLeaf = "leaf"
	// kindSink hears what is routed to it, and drops it.
	kindSink = "sink"

	floodGroup4 = "239.1.1.100"
	floodGroup6 = "ff05::1:100"
)

// floodFamilies are the underlays of the matrix, and the reflector of each. FRR 8.4 ends sessions for type-3 routes of VTEPs
// with IPv6 addresses: their PMSI attribute is not 9 octets long.
var floodFamilies = []struct {
	family int
	rr     string
}{{4, kindFRR}, {6, kindVTEPBGP}}

// flooding is a running stage.
type flooding struct {
	*running
	stage *floodStage
	dir   string
	meter *once.Meter
}

func (st *floodStage) number(name string) int {
	return 1 + slices.IndexFunc(st.players, func(p floodPlayer) bool { return p.name == name })
}

func (st *floodStage) player(name string) *floodPlayer { return &st.players[st.number(name)-1] }

func (st *floodStage) udpPort() int { return cmp.Or(st.port, 4789) }

func floodHost(name string) string { return "h" + name }

// hosts are the hosts of all players, or of some, with their addresses.
func (st *floodStage) hosts(names ...string) map[string]string {
	out := map[string]string{}
	for i, p := range st.players {
		if len(names) == 0 || slices.Contains(names, p.name) {
			out[floodHost(p.name)] = fmt.Sprintf("192.168.100.%d", i+1)
		}
	}
	return out
}

// toml is the configuration of a vtepbgp player.
func (st *floodStage) toml(p *floodPlayer) string {
	n := st.number(p.name)
	var b strings.Builder
	fmt.Fprintf(&b, "[bgp]\nasn = 65000\nrouter_id = \"10.255.0.%d\"\n", n)
	if !strings.Contains(p.bgp, "graceful_restart_time") {
		grace := map[string]string{kindVTEPBGP: "0s", kindFRR: "5s"} // FRR sends End-of-RIB to who restarts gracefully
		fmt.Fprintf(&b, "graceful_restart_time = %q\n", grace[st.rr])
	}
	vtep := fmt.Sprintf("address = %q", st.addr(p.name))
	if p.vtepInterface != "" {
		vtep = fmt.Sprintf("interface = %q", p.vtepInterface)
	}
	fmt.Fprintf(&b, "%s[vtep]\n%s\n[[neighbor]]\naddress = %q\nasn = 65000\nconnect_retry = \"1s\"\n", p.bgp, vtep, st.reflector())
	b.WriteString(st.watched() + p.global)
	fmt.Fprintf(&b, "[[vni]]\nid = 100\nports = [\"eth2\"]\nudp_port = %d\n%s", st.udpPort(), p.vni)
	return b.String()
}

func (st *floodStage) watched() string {
	if st.bfd {
		return "bfd = true\nbfd_interval = \"100ms\"\n"
	}
	return ""
}

func (st *floodStage) build(t testing.TB) *flooding {
	t.Helper()
	needRoot(t)
	f := &flooding{stage: st}
	files := map[string]string{"daemons": frrDaemons}
	var nodes, links strings.Builder
	router := []string{"sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.fib_multipath_hash_policy=1 net.ipv6.fib_multipath_hash_policy=1"}
	node := func(name, image, extra string, script []string) {
		fmt.Fprintf(&nodes, "    %s:\n      image: %s\n%s", name, image, extra)
		if len(script) > 0 {
			file := name + ".sh"
			files[file] = "set -e\n" + strings.Join(script, "\n") + "\n"
			fmt.Fprintf(&nodes, "      binds: [%s:/etc/setup.sh:ro]\n      exec: [sh /etc/setup.sh]\n", file)
		}
	}
	link := func(a, b string, mtu int) {
		fmt.Fprintf(&links, "    - {endpoints: [%q, %q], mtu: %d}\n", a, b, mtu)
	}

	segments := map[int]bool{}
	for i, p := range st.players {
		n, host := i+1, floodHost(p.name)
		port, gateway := fmt.Sprintf("eth%d", n), st.linkGateway(n)
		link("router:"+port, p.name+":eth1", 1600)
		link(p.name+":eth2", host+":eth1", 1500)
		if s := p.segment; s > 0 {
			gateway = st.segmentGateway(s)
			if !segments[s] {
				segments[s] = true
				router = append(router, st.segmentBridge(s)...)
			}
			router = append(router, fmt.Sprintf("ip link set %s master seg%d", port, s))
		} else {
			router = append(router, fmt.Sprintf("ip addr add %s%s dev %s", gateway, st.mask(), port))
		}
		node(host, "host", "", []string{
			"sysctl -qw net.ipv6.conf.eth1.disable_ipv6=1", // its chatter belongs to no test
			fmt.Sprintf("ip addr add %s/24 dev eth1", st.hosts(p.name)[host])})
		var more []string
		if p.uplink {
			far := fmt.Sprintf("eth%d", 100+n)
			link("router:"+far, p.name+":eth3", 1600)
			gateway = st.uplinkGateway(n)
			router = append(router, fmt.Sprintf("ip addr add %s%s dev %s", gateway, st.mask(), far))
			more = []string{fmt.Sprintf("ip addr add %s%s dev eth3", st.entrance(p.name), st.mask())}
		}
		if p.onLo {
			router = append(router, "ip route add "+st.addr(p.name)+st.hops(p.name))
		}
		up := append(more, st.ways(&p, gateway)...)
		switch p.kind {
		case kindVTEPBGP:
			files[p.name+".toml"] = st.toml(&p)
			extra := ""
			if p.cmd != "" {
				extra = fmt.Sprintf("      cmd: %s\n", p.cmd)
			}
			node(p.name, "vtepbgp", extra, nil)
			fmt.Fprintf(&nodes, "      binds: [%s.toml:/etc/vtepbgp/vtepbgp.toml:ro]\n      exec: [%s]\n", p.name, `"`+strings.Join(up, `", "`)+`"`)
		case kindFRR:
			files[p.name+".conf"] = vtepFRR(p.name, fmt.Sprintf("10.255.0.%d", n), "", st.reflector())
			node(p.name, "frr", "", nil)
			fmt.Fprintf(&nodes, "      binds: [daemons:/etc/frr/daemons:ro, %s.conf:/etc/frr/frr.conf:ro]\n      exec:\n%s", p.name, frrConfigured[false])
			for _, line := range up {
				fmt.Fprintf(&nodes, "        - %s\n", line)
			}
			nodes.WriteString(strings.Replace(frrOverlay(st.addr(p.name), "eth2"), "dstport 4789", fmt.Sprintf("dstport %d", st.udpPort()), 1))
		case kindLegacy:
			node(p.name, "host", "", append(up, st.learner("dev eth1 group "+st.group(), p.name)...))
		case kindLeaf:
			node(p.name, "host", "", append(up, st.learner("remote "+st.service(1), p.name)...))
		case kindSink:
			// Who counts there sees packets one by one, those that travelled as one too (UDP_SEGMENT).
			router = append(router, fmt.Sprintf("ip link set %s gso_max_segs 1", port))
			node(p.name, "host", "", append(up, "sysctl -qw net.ipv4.ip_forward=0"))
		default:
			t.Fatalf("%s is no kind of VTEP", p.kind)
		}
	}
	router = append(router, fmt.Sprintf("ip addr add %s%s dev eth%d", st.linkGateway(reflectorNumber), st.mask(), reflectorNumber))
	router = append(router, st.serviceRoutes()...)
	node("router", "host", "", router)
	link(fmt.Sprintf("router:eth%d", reflectorNumber), "rr:eth1", 1600)
	up := fmt.Sprintf("\"ip addr add %s%s dev eth1\", \"ip route add %s via %s\"", st.reflector(), st.mask(), st.everything(), st.linkGateway(reflectorNumber))
	switch st.rr {
	case kindVTEPBGP:
		files["rr.toml"] = fmt.Sprintf("[bgp]\nasn = 65000\nrouter_id = \"10.255.0.%d\"\n[[neighbor]]\nprefix = %q\nasn = 65000\nroute_reflector_client = true\n%s",
			reflectorNumber, st.everything(), st.watched())
		node("rr", "vtepbgp", "      binds: [rr.toml:/etc/vtepbgp/vtepbgp.toml:ro]\n      exec: ["+up+"]\n", nil)
	case kindFRR:
		files["rr.conf"] = reflectorFRR("rr", fmt.Sprintf("10.255.0.%d", reflectorNumber), st.everything(), "")
		node("rr", "frr", "      binds: [daemons:/etc/frr/daemons:ro, rr.conf:/etc/frr/frr.conf:ro]\n      exec:\n"+frrConfigured[true], nil)
		for _, line := range strings.Split(strings.Trim(up, `"`), `", "`) {
			fmt.Fprintf(&nodes, "        - %s\n", line)
		}
	default:
		t.Fatalf("%s is no kind of reflector", st.rr)
	}

	file := folder(t, files)
	f.dir = filepath.Dir(file)
	f.running = startLab(t, file, "name: flood\ntopology:\n  defaults: {kind: linux}\n  nodes:\n"+nodes.String()+"  links:\n"+links.String())
	for _, p := range st.players {
		if p.kind == kindFRR && st.rr == kindFRR {
			f.listedByFRR("rr", p.name, st.addr(p.name))
		}
	}
	f.openMeter()
	t.Cleanup(f.wake)
	return f
}

// wake lets daemons go on that were stopped, so that their tables can be seen.
func (f *flooding) wake() {
	for _, p := range f.stage.players {
		if p.kind == kindVTEPBGP {
			_ = f.Signal(p.name, unix.SIGCONT) // some are dead
		}
	}
}

func startLab(t testing.TB, file, text string) *running {
	t.Helper()
	return up(t, parseAs(t, file, text), binary(t))
}

// segmentBridge is a switch that sends the group only to where it was joined, as switches do.
func (st *floodStage) segmentBridge(s int) []string {
	b := fmt.Sprintf("seg%d", s)
	return []string{
		fmt.Sprintf("ip link add %s type bridge mcast_query_response_interval 10 mcast_query_use_ifaddr 1", b),
		// It asks every second: who joined before the switch was there is heard of soon. For the response interval
		// of the moment it becomes a querier it floods (net/bridge/br_multicast.c: br_multicast_set_querier), the
		// reports of members too, and who hears another's report keeps its own (RFC 2236 section 3).
		fmt.Sprintf("ip link set %s type bridge mcast_querier 1 mcast_query_interval 100 mcast_startup_query_interval 100", b),
		// It asks from a link-local address (RFC 2710 section 3), which it has to prove unique first when it makes one up.
		fmt.Sprintf("ip link set %s addrgenmode none up", b),
		fmt.Sprintf("ip addr add fe80::fe/64 dev %s nodad", b),
		fmt.Sprintf("ip addr add %s%s dev %s", st.segmentGateway(s), st.mask(), b),
	}
}

// learner makes the overlay of a VTEP without a daemon, as administrators did before EVPN.
func (st *floodStage) learner(destination, player string) []string {
	return []string{
		// Its devices would solicit routers through the overlay.
		"sysctl -qw net.ipv6.conf.default.disable_ipv6=1 net.ipv6.conf.eth2.disable_ipv6=1",
		"ip link add br100 type bridge",
		"ip link set br100 up",
		fmt.Sprintf("ip link add vxlan100 type vxlan id 100 local %s %s dstport %d", st.addr(player), destination, st.udpPort()),
		"ip link set vxlan100 master br100 mtu 1500 up",
		"ip link set eth2 master br100",
	}
}

// ways are the lines for the VTEP address of a player and for its way to all others.
func (st *floodStage) ways(p *floodPlayer, gateway string) []string {
	if !p.onLo {
		return []string{
			fmt.Sprintf("ip addr add %s%s dev eth1", st.addr(p.name), st.mask()), fmt.Sprintf("ip route add %s via %s", st.everything(), gateway),
		}
	}
	n := st.number(p.name)
	return []string{
		fmt.Sprintf("ip addr add 10.1.%d.1/24 dev eth1", n), "ip addr add " + st.addr(p.name) + "/32 dev lo",
		// The latter counts by interface (IN_DEV_IGNORE_ROUTES_WITH_LINKDOWN, include/linux/inetdevice.h).
		"sysctl -qw net.ipv4.fib_multipath_hash_policy=1 net.ipv4.conf.eth1.ignore_routes_with_linkdown=1 net.ipv4.conf.eth3.ignore_routes_with_linkdown=1",
		fmt.Sprintf("ip route add %s src %s nexthop via %s nexthop via %s", st.everything(), st.addr(p.name), st.linkGateway(n), gateway),
	}
}

// hops are the next hops to a player, as ip-route(8) has them.
func (st *floodStage) hops(name string) string {
	hops := " nexthop via " + st.entrance(name)
	if st.player(name).onLo {
		hops += fmt.Sprintf(" nexthop via 10.1.%d.1", st.number(name))
	}
	return hops
}

// serviceRoutes lead to the service addresses, along several ways where they are anycast.
func (st *floodStage) serviceRoutes() []string {
	var out []string
	for service, players := range st.services {
		route := "ip route add " + service
		for _, p := range players {
			route += st.hops(p)
		}
		out = append(out, route)
	}
	slices.Sort(out)
	return out
}

func (f *flooding) openMeter() {
	f.t.Helper()
	var stations []once.Station
	for _, p := range f.stage.players {
		host := floodHost(p.name)
		stations = append(stations, once.Station{Name: host, Device: "eth1", Within: func(run func() error) error { return f.Within(host, run) }})
	}
	var err error
	f.meter, err = once.Open(stations)
	require.NoError(f.t, err)
	f.t.Cleanup(f.meter.Close)
}

// in is the stage for a subtest.
func (f *flooding) in(t testing.TB) *flooding {
	copied, r := *f, *f.running
	r.t = t
	copied.running = &r
	return &copied
}

// with writes configurations of players anew, and restarts their daemons.
func (f *flooding) with(players ...floodPlayer) {
	f.t.Helper()
	for _, p := range players {
		*f.stage.player(p.name) = p
		require.NoError(f.t, os.WriteFile(filepath.Join(f.dir, p.name+".toml"), []byte(f.stage.toml(&p)), 0o644))
	}
	for _, p := range players {
		f.halt(p.name, unix.SIGTERM)
	}
	for _, p := range players {
		require.NoError(f.t, f.Start(f.t.Context(), p.name))
	}
	f.pass(partTaken)
}

// partTaken is when who was restarted plays its part again: RFC 7432 §8.5 and RFC 9574 §5.2 have it wait 3 s, while others
// may do it.
const partTaken = 3500 * time.Millisecond

// halt ends the daemon of a player, unless it has ended.
func (f *flooding) halt(name string, sig unix.Signal) {
	f.t.Helper()
	if f.node(name).PID == 0 {
		return
	}
	require.NoError(f.t, f.Signal(name, sig))
	eventually(f.t, 20*time.Second, name+" ends", func() error {
		if pid := f.node(name).PID; pid != 0 {
			return fmt.Errorf("process %d lives", pid)
		}
		return nil
	})
}

// floodConvergence bounds the wait for the first round of frames that are all right: BGP, and 3 s for each of
// the pauses of RFC 7432 §8.5 and RFC 9574 §5.2.
const floodConvergence = convergence

// settled waits until frames between the hosts of some players, or all, arrive once.
func (f *flooding) settled(names ...string) {
	f.t.Helper()
	hosts := f.names(names)
	begin := time.Now()
	f.meter.Wait = 300 * time.Millisecond
	defer func() { f.meter.Wait = 0 }()
	eventually(f.t, floodConvergence, "frames arrive exactly once", func() error {
		return f.meter.Send(3, time.Millisecond).Between(hosts...).Err()
	})
	f.t.Logf("settled after %s", time.Since(begin).Round(100*time.Millisecond))
}

func (f *flooding) names(players []string) (hosts []string) {
	for h := range f.stage.hosts(players...) {
		hosts = append(hosts, h)
	}
	return hosts
}

// exactlyOnce demands of numbered frames and of pings, from an empty ARP cache, that nothing is lost and nothing is
// doubled between the hosts of some players, or all.
func (f *flooding) exactlyOnce(names ...string) {
	f.t.Helper()
	f.settled(names...)
	hosts := f.stage.hosts(names...)
	report := f.meter.Send(90, 5*time.Millisecond).Between(f.names(names)...)
	f.t.Log(report)
	require.NoError(f.t, report.Err())
	for h := range hosts {
		f.do(h, "ip", "neigh", "flush", "all")
	}
	require.NoError(f.t, f.pingAll(hosts, 1), "from an empty ARP cache")
	require.NoError(f.t, f.pingAll(hosts, 3))
}

// truth demands that a VTEP which learns from data has learned each remote MAC from its true VTEP.
func (f *flooding) truth(learner string, players ...string) {
	f.t.Helper()
	for _, p := range players {
		if p == learner {
			continue
		}
		mac := f.macOf(floodHost(p))
		rows, err := f.fdb(learner, "vxlan100", mac)
		require.NoError(f.t, err)
		require.Contains(f.t, rows, mac+" dev vxlan100 dst "+f.stage.addr(p)+" self", "%s at %s", floodHost(p), learner)
	}
}
