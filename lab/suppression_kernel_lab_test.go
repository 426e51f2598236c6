//go:build lab

package lab_test

import (
	"bytes"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

const suppressingBridge = `name: suppressing
topology:
  defaults: {kind: linux, image: host}
  nodes:
    n:
      exec:
        - ip addr add 10.0.0.1/32 dev lo
        - ip link add br100 type bridge
        - ip link set br100 addrgenmode none up
        - ip link add vxlan100 type vxlan id 100 local 10.0.0.1 dstport 4789 nolearning
        - ip link set vxlan100 master br100 addrgenmode none
        - bridge link set dev vxlan100 learning off neigh_suppress on
        - ip link set vxlan100 up
        - bridge fdb append 00:00:00:00:00:00 dev vxlan100 dst 10.0.0.2
        - ip link add p1 type veth peer name e1
        - ip link add p2 type veth peer name e2
        - ip link set p1 master br100 addrgenmode none up
        - ip link set p2 master br100 addrgenmode none up
        - ip link set e1 addrgenmode none up
        - ip link set e2 addrgenmode none up
        - bridge fdb add 02:00:00:00:00:99 dev vxlan100 master extern_learn
        - bridge fdb append 02:00:00:00:00:99 dev vxlan100 dst 10.0.0.2 self
        - ip neigh add 192.0.2.9 lladdr 02:00:00:00:00:99 dev br100 nud noarp extern_learn
        - ip neigh add 2001:db8::9 lladdr 02:00:00:00:00:99 dev br100 nud noarp extern_learn
`

// watched is what became of a frame that was sent to p1.
type watched struct {
	answer   []byte // came back to the sender
	local    bool   // flooded to p2
	underlay bool   // sent out of the VXLAN device
}

func (w watched) String() string {
	var out []string
	for text, is := range map[string]bool{"answered": w.answer != nil, "local": w.local, "underlay": w.underlay} {
		if is {
			out = append(out, text)
		}
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// suppressing is a bridge with two hosts, e1 behind p1 and e2 behind p2, whose frames are watched.
type suppressing struct {
	*running
	e1, e2, vx *tap
	n          uint32
}

func newSuppressing(t *testing.T) *suppressing {
	r := up(t, parseAs(t, "suppressing", suppressingBridge), "")
	return &suppressing{running: r, e1: r.openTap("n", "e1"), e2: r.openTap("n", "e2"), vx: r.openTap("n", "vxlan100")}
}

// watch sends a frame from e1. A marker behind it on each way says that nothing more comes.
func (s *suppressing) watch(frame []byte) (w watched) {
	s.t.Helper()
	s.n++
	there, back := isMarker(s.n), isMarker(s.n+1<<16)
	s.e1.send(frame)
	s.e1.send(marker(hwAddr("02:00:00:00:00:01"), s.n))
	onVX := s.vx.until(10*time.Second, "marker", there)
	onE2 := s.e2.until(10*time.Second, "marker", there)
	s.e2.send(marker(hwAddr("02:00:00:00:00:02"), s.n+1<<16))
	for _, g := range s.e1.until(10*time.Second, "marker", back) {
		if !g.sent && isResolution(g.frame) {
			w.answer = g.frame
		}
	}
	for _, g := range onE2 {
		w.local = w.local || bytes.Equal(g.frame, frame)
	}
	for _, g := range onVX {
		w.underlay = w.underlay || bytes.Equal(g.frame, frame)
	}
	return w
}

// arrive sends a frame through the tunnel and says which hosts see it.
func (s *suppressing) arrive(frame []byte) (e1, e2 bool) {
	s.t.Helper()
	s.n++
	s.sendVXLAN("n", "10.0.0.1", 100, frame)
	s.sendVXLAN("n", "10.0.0.1", 100, marker(hwAddr("02:00:00:00:00:99"), s.n))
	for _, g := range s.e1.until(10*time.Second, "marker", isMarker(s.n)) {
		e1 = e1 || bytes.Equal(g.frame, frame)
	}
	for _, g := range s.e2.until(10*time.Second, "marker", isMarker(s.n)) {
		e2 = e2 || bytes.Equal(g.frame, frame)
	}
	return e1, e2
}

// What a bridge does with the frames of address resolution when its VXLAN port has
// neigh_suppress and it holds neighbour rows (net/bridge/br_arp_nd_proxy.c). vtepbgp
// does by itself exactly what is missing here; docs/suppression.md is this in words.
func TestKernelSuppression(t *testing.T) {
	t.Parallel()
	s := newSuppressing(t)
	me, remote := hwAddr("02:00:00:00:00:01"), hwAddr("02:00:00:00:00:99")
	addr := netip.MustParseAddr
	var (
		arpKnown   = arpFrame(broadcastMAC, arpRequest, me, "192.0.2.1", nil, "192.0.2.9")
		probe      = arpFrame(broadcastMAC, arpRequest, me, "0.0.0.0", nil, "192.0.2.77")
		garp       = arpFrame(broadcastMAC, arpRequest, me, "192.0.2.1", nil, "192.0.2.1")
		nsKnown    = solicitation(me, "fe80::1", "2001:db8::9")
		nsUnknown  = solicitation(me, "fe80::1", "2001:db8::77")
		dad        = ndFrame(nil, me, "::", solicitedNode("2001:db8::77"), ndNeighborSolicitation, 0, "2001:db8::77", 0, nil)
		announced  = ndFrame(nil, me, "2001:db8::1", addr("ff02::1"), ndNeighborAdvertisement, ndOverride, "2001:db8::1", ndTargetMAC, me)
		resolution = map[string][]byte{"ARP probe": probe, "gratuitous ARP": garp, "DAD": dad, "unsolicited NA": announced, "NS": nsUnknown, "ARP request": arpKnown}
	)
	const swallowed = "local" // by the VXLAN port; other hosts on this bridge see it

	for _, c := range []struct {
		name, want string
		frame      []byte
	}{
		// What suppression is for.
		{"ARP request, known", "answered local", arpKnown},
		{"ARP request, unknown", "local underlay", arpFrame(broadcastMAC, arpRequest, me, "192.0.2.1", nil, "192.0.2.77")},
		{"NS, known", "answered local", nsKnown},
		{"NS, unknown", "local underlay", nsUnknown},
		// Probes of hosts that know each other go end to end.
		{"ARP request, unicast", "underlay", arpFrame(remote, arpRequest, me, "192.0.2.1", nil, "192.0.2.9")},
		{"ARP probe, unicast", "underlay", arpFrame(remote, arpRequest, me, "0.0.0.0", nil, "192.0.2.9")},
		{"NS, unicast", "underlay", ndFrame(remote, me, "fe80::1", addr("2001:db8::9"), ndNeighborSolicitation, 0, "2001:db8::9", ndSourceMAC, me)},
		// Answers of hosts here pass.
		{"ARP reply, unicast", "underlay", arpFrame(remote, arpReply, me, "192.0.2.1", remote, "192.0.2.9")},
		{"ARP reply to all, other target", "local underlay", arpFrame(broadcastMAC, arpReply, me, "192.0.2.1", broadcastMAC, "192.0.2.255")},
		{"NA, solicited", "underlay", ndFrame(remote, me, "2001:db8::1", addr("2001:db8::9"), ndNeighborAdvertisement, ndSolicited|ndOverride, "2001:db8::1", ndTargetMAC, me)},
		{"NA, unsolicited but unicast", "underlay", ndFrame(remote, me, "2001:db8::1", addr("2001:db8::9"), ndNeighborAdvertisement, ndOverride, "2001:db8::1", ndTargetMAC, me)},
		{"gratuitous ARP, unicast", "underlay", arpFrame(remote, arpReply, me, "192.0.2.1", remote, "192.0.2.1")},
		// What is lost, and neither answered.
		{"gratuitous ARP, request form", swallowed, garp},
		{"gratuitous ARP, reply form", swallowed, arpFrame(broadcastMAC, arpReply, me, "192.0.2.1", broadcastMAC, "192.0.2.1")},
		{"ARP probe, known", swallowed, arpFrame(broadcastMAC, arpRequest, me, "0.0.0.0", nil, "192.0.2.9")},
		{"ARP probe, unknown", swallowed, probe},
		{"DAD, known", swallowed, ndFrame(nil, me, "::", solicitedNode("2001:db8::9"), ndNeighborSolicitation, 0, "2001:db8::9", 0, nil)},
		{"DAD, unknown", swallowed, dad},
		{"unsolicited NA", swallowed, announced},
		// An owner answers the DAD of another host like this (RFC 4861 section 7.2.4).
		{"NA to DAD", swallowed, ndFrame(nil, me, "2001:db8::77", addr("ff02::1"), ndNeighborAdvertisement, ndOverride, "2001:db8::77", ndTargetMAC, me)},
		// Not its business.
		{"gratuitous ARP of a group", "local underlay", arpFrame(broadcastMAC, arpRequest, me, "224.0.0.9", nil, "224.0.0.9")},
		{"RS", "local underlay", ndFrame(nil, me, "fe80::1", addr("ff02::2"), ndRouterSolicitation, 0, "", ndSourceMAC, me)},
		{"RA", "local underlay", ndFrame(nil, me, "fe80::1", addr("ff02::1"), ndRouterAdvertisement, 0, "", ndSourceMAC, me)},
	} {
		assert.Equal(t, c.want, s.watch(c.frame).String(), c.name)
	}
	// The answers that hosts get, which ours are to be like.
	assert.Equal(t, arpFrame(me, arpReply, remote, "192.0.2.9", me, "192.0.2.1"), s.watch(arpKnown).answer[:42])
	assert.Equal(t, ndFrame(me, remote, "2001:db8::9", addr("fe80::1"), ndNeighborAdvertisement, ndSolicited|ndOverride, "2001:db8::9", ndTargetMAC, remote), s.watch(nsKnown).answer)

	// What comes out of the tunnel is neither answered nor swallowed: what is carried
	// reaches the hosts behind a bridge like this one, whoever made it.
	for name, frame := range resolution {
		frame = append([]byte{}, frame...)
		copy(frame[6:], remote)
		e1, e2 := s.arrive(frame)
		assert.True(t, e1 && e2, "%s from the tunnel", name)
	}

	// What suppression depends on.
	s.do("n", "bridge", "link", "set", "dev", "p1", "neigh_suppress", "on")
	for name, frame := range resolution {
		assert.Equal(t, "local underlay", s.watch(frame).String(), "%s from a port that suppresses too", name)
	}
	s.do("n", "bridge", "link", "set", "dev", "p1", "neigh_suppress", "off")
	s.do("n", "bridge", "link", "set", "dev", "vxlan100", "neigh_suppress", "off")
	for name, frame := range resolution {
		assert.Equal(t, "local underlay", s.watch(frame).String(), "%s with suppression off", name)
	}
	s.do("n", "bridge", "link", "set", "dev", "vxlan100", "neigh_suppress", "on")
	s.do("n", "bridge", "fdb", "del", remote.String(), "dev", "vxlan100", "master")
	assert.Equal(t, "local underlay", s.watch(arpKnown).String(), "the bridge must know the MAC, too")
	s.do("n", "bridge", "fdb", "add", remote.String(), "dev", "vxlan100", "master", "extern_learn")
	for _, off := range []struct{ name, off, on string }{
		{"IPv6 off", "sysctl -qw net.ipv6.conf.br100.disable_ipv6=1", "sysctl -qw net.ipv6.conf.br100.disable_ipv6=0"},
		{"MTU too small for IPv6", "ip link set br100 mtu 1279", "ip link set br100 mtu 1500"},
	} {
		s.sh("n", off.off)
		assert.Equal(t, "answered local", s.watch(arpKnown).String(), off.name)
		assert.Equal(t, "local underlay", s.watch(nsKnown).String(), off.name)
		assert.Equal(t, swallowed, s.watch(dad).String(), off.name)
		_, err := s.try("n", "sh", "-c", neighbor6)
		assert.ErrorContains(t, err, "IPv6 is disabled on this device", off.name)
		s.sh("n", off.on)
		assert.Equal(t, "local underlay", s.watch(nsKnown).String(), "%s, then on: the rows are gone", off.name)
		s.sh("n", neighbor6)
		assert.Equal(t, "answered local", s.watch(nsKnown).String(), "%s, then on, and the row is back", off.name)
	}
	// A querier makes the bridge prune groups that nobody has joined. The solicited-node group
	// of a host elsewhere is one, unless an MLD report of that host came out of the tunnel, or the
	// port is a router port.
	s.sh("n", "ip link set br100 addrgenmode eui64 && ip addr add fe80::100/64 dev br100 nodad && "+
		"ip link set br100 type bridge mcast_query_response_interval 20 && ip link set br100 type bridge mcast_querier 1") // it floods for that long
	eventually(t, 20*time.Second, "pruning", func() error {
		if w := s.watch(nsUnknown); w.underlay {
			return errors.New("NS for an unknown host still leaves")
		}
		return nil
	})
	assert.NotNil(t, s.watch(nsKnown).answer)
	s.do("n", "bridge", "link", "set", "dev", "vxlan100", "mcast_router", "2")
	assert.True(t, s.watch(nsUnknown).underlay)
}

const neighbor6 = "ip neigh replace 2001:db8::9 lladdr 02:00:00:00:00:99 dev br100 nud noarp extern_learn"
