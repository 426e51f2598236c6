//go:build lab

package lab_test

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/speaker/speakertest"
)

// A siege is a daemon under attack by a peer that writes raw octets:
//
//	peer ── target                 leaf: the target is a VTEP itself
//	peer ── target ── client       transit: it reflects what it gets to a VTEP
//
// What the attacks leave of the good routes shows in the VTEP's kernel.
type siege struct {
	*running
	vtep  string                // the node whose rows tell
	lives map[string]string     // of each daemon: process id and start time
	next  uint32                // MAC
	good  map[string]evpn.Route // must be there, by MAC
	flood evpn.Route
}

var (
	siegePeer   = netip.MustParseAddr("10.0.0.254")
	siegeTarget = netip.MustParseAddrPort("10.0.0.1:179")
)

// 10.0.0.5 is the router ID that the attack of reflected routes names.
const siegeLeaf = `[bgp]
asn = 65000
router_id = "10.0.0.5"
[vtep]
address = "10.0.0.1"
[[neighbor]]
address = "10.0.0.254"
asn = 65000
passive = true
[[vni]]
id = 100
`

const siegeReflector = `[bgp]
asn = 65000
router_id = "10.0.0.5"
[[neighbor]]
address = "10.0.0.254"
asn = 65000
passive = true
route_reflector_client = true
[[neighbor]]
address = "10.0.1.2"
asn = 65000
passive = true
route_reflector_client = true
`

const siegeClient = `[bgp]
asn = 65000
router_id = "10.0.1.2"
[vtep]
address = "10.0.1.2"
[[neighbor]]
address = "10.0.1.1"
asn = 65000
connect_retry = "1s"
[[vni]]
id = 100
`

const siegeLeafLab = `name: siege
topology:
  defaults: {kind: linux, image: host}
  nodes:
    peer: {exec: [ip addr add 10.0.0.254/24 dev eth1]}
    target:
      image: vtepbgp
      binds: [target.toml:/etc/vtepbgp/vtepbgp.toml:ro]
      exec: [ip addr add 10.0.0.1/24 dev eth1]
  links:
    - {endpoints: ["peer:eth1", "target:eth1"], mtu: 1600}
`

const siegeTransitLab = `name: siege
topology:
  defaults: {kind: linux, image: host}
  nodes:
    peer: {exec: [ip addr add 10.0.0.254/24 dev eth1]}
    target:
      image: vtepbgp
      binds: [target.toml:/etc/vtepbgp/vtepbgp.toml:ro]
      exec: [ip addr add 10.0.0.1/24 dev eth1, ip addr add 10.0.1.1/24 dev eth2]
    client:
      image: vtepbgp
      binds: [client.toml:/etc/vtepbgp/vtepbgp.toml:ro]
      exec: [ip addr add 10.0.1.2/24 dev eth1]
  links:
    - {endpoints: ["peer:eth1", "target:eth1"], mtu: 1600}
    - {endpoints: ["target:eth2", "client:eth1"], mtu: 1600}
`

func newSiege(t *testing.T, transit bool) *siege {
	t.Helper()
	needRoot(t)
	files, top := map[string]string{"target.toml": siegeLeaf}, siegeLeafLab
	s := &siege{vtep: "target", lives: map[string]string{}, good: map[string]evpn.Route{}}
	if transit {
		files, top = map[string]string{"target.toml": siegeReflector, "client.toml": siegeClient}, siegeTransitLab
		s.vtep = "client"
	}
	s.running = up(t, parseAs(t, folder(t, files), top), binary(t))
	for _, n := range []string{"target", s.vtep} {
		s.lives[n] = s.life(n)
	}
	attrs := *speakertest.Attrs(speakertest.VTEP, 100)
	attrs.PMSI = &evpn.PMSITunnel{Type: evpn.PMSIIngressReplication, Label: 100, Endpoint: speakertest.VTEP}
	s.flood = evpn.Route{
		Key:   evpn.RouteKey{Type: evpn.IMETRoute, RD: evpn.RDFromRouterID(speakertest.VTEP, 100), IP: speakertest.VTEP},
		Attrs: &attrs,
	}
	for range 10 {
		s.route()
	}
	return s
}

// life names a run of a node's daemon.
func (s *siege) life(node string) string {
	s.t.Helper()
	pid := s.node(node).PID
	require.NotZero(s.t, pid, "%s has ended", node)
	since := started(fmt.Sprintf("/proc/%d", pid))
	require.NotEmpty(s.t, since, "%s has ended", node)
	return fmt.Sprintf("process %d since %s", pid, since)
}

// route makes one more good route.
func (s *siege) route() evpn.Route {
	s.next++
	r := speakertest.MACRoute(speakertest.VTEP, 100, s.next, nil)
	s.expect(r)
	return r
}

func (s *siege) expect(routes ...evpn.Route) {
	for _, r := range routes {
		s.good[r.Key.MAC.String()] = r
	}
}

// dialIn connects from a namespace.
func dialIn(ns netns.NsHandle) (conn net.Conn, err error) {
	err = within(ns, func() error {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: siegePeer.AsSlice()}, Timeout: time.Second}
		conn, err = d.Dial("tcp", siegeTarget.String())
		return err
	})
	return conn, err
}

// dial opens a connection as the peer.
func (s *siege) dial(t *testing.T, ns netns.NsHandle) *speakertest.Peer {
	t.Helper()
	var conn net.Conn
	eventually(t, convergence, "connection", func() (err error) {
		conn, err = dialIn(ns)
		return err
	})
	p := speakertest.New(conn, speakertest.Options{ASN: 65000, RouterID: siegePeer})
	t.Cleanup(p.Close)
	return p
}

// session opens a session and announces all that is good.
func (s *siege) session(t *testing.T, ns netns.NsHandle) *speakertest.Peer {
	t.Helper()
	p := s.dial(t, ns).Handshake(t)
	p.Announce(t, s.flood)
	p.Announce(t, slices.Collect(maps.Values(s.good))...)
	eventually(t, convergence, "the good routes' rows", s.whole)
	return p
}

// whole wants that the kernel has the rows of all good routes and nobody else's.
func (s *siege) whole() error {
	rows, err := s.fdbAll(s.vtep, "vxlan100")
	if err != nil {
		return err
	}
	vtep := speakertest.VTEP.String()
	if got := rows[zeroMAC]; !slices.Equal(got, floodRows(vtep)) {
		return fmt.Errorf("flood rows: %v", got)
	}
	for mac := range s.good {
		if got := rows[mac]; !slices.Equal(got, slices.Sorted(slices.Values(remoteRows(mac, vtep)))) {
			return fmt.Errorf("rows of good route %s: %v", mac, got)
		}
	}
	for mac, got := range rows {
		if _, ok := s.good[mac]; !ok && mac != zeroMAC && strings.Contains(strings.Join(got, "\n"), "extern_learn") {
			return fmt.Errorf("rows of a route that is none: %v", got)
		}
	}
	return nil
}

// siegeNeighbor is what a daemon says of a neighbour.
type siegeNeighbor struct {
	Address string            `json:"address"`
	State   string            `json:"state"`
	Flaps   uint64            `json:"flaps"`
	Drops   map[string]uint64 `json:"drops"`
}

func (s *siege) neighbor(t *testing.T, node, addr string) siegeNeighbor {
	t.Helper()
	var all []siegeNeighbor
	require.NoError(t, s.json(&all, node, "vtepbgp", "neighbor", "show", "-o", "json"))
	i := slices.IndexFunc(all, func(n siegeNeighbor) bool { return n.Address == addr })
	require.GreaterOrEqual(t, i, 0, "no neighbour %s", addr)
	return all[i]
}

// unharmed wants the same processes as at the start, and no flap of sessions that nobody attacks.
func (s *siege) unharmed(t *testing.T) {
	t.Helper()
	for node, life := range s.lives {
		require.Equal(t, life, s.life(node), node)
	}
	if s.vtep == "target" {
		return
	}
	for node, addr := range map[string]string{"target": "10.0.1.2", "client": "10.0.1.1"} {
		n := s.neighbor(t, node, addr)
		require.Equal(t, "established", n.State, node)
		require.Zero(t, n.Flaps, node)
		if node == "client" {
			require.Empty(t, n.Drops, "the target passes on nothing malformed")
		}
	}
}

// losses notes the MACs whose rows go away.
type losses struct {
	mu   sync.Mutex
	macs map[string]bool
	err  error
}

func watchLosses(t *testing.T, ns netns.NsHandle) *losses {
	t.Helper()
	l := &losses{macs: map[string]bool{}}
	updates, done := make(chan netlink.NeighUpdate, 4096), make(chan struct{})
	t.Cleanup(func() { close(done) })
	require.NoError(t, netlink.NeighSubscribeWithOptions(updates, done, netlink.NeighSubscribeOptions{
		Namespace: &ns,
		ErrorCallback: func(err error) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.err = err
		},
	}))
	go func() {
		for u := range updates {
			if u.Type == unix.RTM_DELNEIGH && u.Family == unix.AF_BRIDGE {
				l.mu.Lock()
				l.macs[u.HardwareAddr.String()] = true
				l.mu.Unlock()
			}
		}
	}()
	return l
}
