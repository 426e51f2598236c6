//go:build lab

package lab_test

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const suppressingBridge = `name: suppressing
topology:
  defaults: {kind: linux, image: host}
  nodes:
    n:
      exec:
        - ip addr add 10.0.0.1/32 dev lo
        - ip link add dummy0 type dummy
        - ip link set dummy0 up
        - ip route add 10.0.0.0/24 dev dummy0
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

// What a bridge does with the frames of address resolution when its VXLAN port has
// neigh_suppress and it holds neighbour rows (net/bridge/br_arp_nd_proxy.c). vtepbgp
// does by itself exactly what is missing here; docs/suppression.md is this table in words.
func TestKernelSuppression(t *testing.T) {
	t.Parallel()
	r := up(t, parseAs(t, "suppressing", suppressingBridge), "")
	var (
		me, remote = hwAddr("02:00:00:00:00:01"), hwAddr("02:00:00:00:00:99")
		lla        = "fe80::1"
		allNodes   = netip.MustParseAddr("ff02::1")
		allRouters = netip.MustParseAddr("ff02::2")
	)
	e1, e2, vx := r.openTap("n", "e1"), r.openTap("n", "e2"), r.openTap("n", "vxlan100")
	n := uint32(0)
	run := func(frame []byte) string {
		n++
		e1.send(frame)
		e1.send(marker(me, n))
		onVX := vx.until(10*time.Second, "marker", isMarker(n))
		onE2 := e2.until(10*time.Second, "marker", isMarker(n))
		e2.send(marker(hwAddr("02:00:00:00:00:02"), n+1<<16))
		onE1 := e1.until(10*time.Second, "marker", isMarker(n+1<<16))
		var out []string
		is := func(s sighting) bool { return string(s.frame) == string(frame) }
		for _, s := range onE1 {
			if !s.sent && isResolution(s.frame) {
				out = append(out, fmt.Sprintf("answered %x", s.frame[12:]))
			}
		}
		for _, s := range onE2 {
			if !s.sent && is(s) {
				out = append(out, "local")
			}
		}
		for _, s := range onVX {
			if s.sent && is(s) {
				out = append(out, "underlay")
			}
		}
		return strings.Join(out, ",")
	}
	_ = binary.BigEndian
	_ = unix.AF_INET
	_ = net.IP{}
	for _, c := range []struct {
		name  string
		frame []byte
	}{
		{"ARP request known", arpFrame(broadcastMAC, arpRequest, me, "192.0.2.1", nil, "192.0.2.9")},
		{"ARP request unknown", arpFrame(broadcastMAC, arpRequest, me, "192.0.2.1", nil, "192.0.2.77")},
		{"ARP unicast request known", arpFrame(remote, arpRequest, me, "192.0.2.1", nil, "192.0.2.9")},
		{"GARP request form", arpFrame(broadcastMAC, arpRequest, me, "192.0.2.1", nil, "192.0.2.1")},
		{"GARP reply form", arpFrame(broadcastMAC, arpReply, me, "192.0.2.1", broadcastMAC, "192.0.2.1")},
		{"GARP reply other target", arpFrame(broadcastMAC, arpReply, me, "192.0.2.1", broadcastMAC, "192.0.2.255")},
		{"ARP unicast reply", arpFrame(remote, arpReply, me, "192.0.2.1", remote, "192.0.2.9")},
		{"GARP unicast", arpFrame(remote, arpReply, me, "192.0.2.1", remote, "192.0.2.1")},
		{"ARP probe known", arpFrame(broadcastMAC, arpRequest, me, "0.0.0.0", nil, "192.0.2.9")},
		{"ARP probe unknown", arpFrame(broadcastMAC, arpRequest, me, "0.0.0.0", nil, "192.0.2.77")},
		{"ARP probe unicast", arpFrame(remote, arpRequest, me, "0.0.0.0", nil, "192.0.2.9")},
		{"NS known", solicitation(me, lla, "2001:db8::9")},
		{"NS unknown", solicitation(me, lla, "2001:db8::77")},
		{"NS unicast known", ndFrame(remote, me, lla, netip.MustParseAddr("2001:db8::9"), ndNeighborSolicitation, 0, "2001:db8::9", ndSourceMAC, me)},
		{"DAD NS known", ndFrame(nil, me, "::", solicitedNode("2001:db8::9"), ndNeighborSolicitation, 0, "2001:db8::9", 0, nil)},
		{"DAD NS unknown", ndFrame(nil, me, "::", solicitedNode("2001:db8::77"), ndNeighborSolicitation, 0, "2001:db8::77", 0, nil)},
		{"NA unsolicited", ndFrame(nil, me, "2001:db8::1", allNodes, ndNeighborAdvertisement, ndOverride, "2001:db8::1", ndTargetMAC, me)},
		{"NA solicited unicast", ndFrame(remote, me, "2001:db8::1", netip.MustParseAddr("2001:db8::9"), ndNeighborAdvertisement, ndSolicited|ndOverride, "2001:db8::1", ndTargetMAC, me)},
		{"NA unsolicited unicast", ndFrame(remote, me, "2001:db8::1", netip.MustParseAddr("2001:db8::9"), ndNeighborAdvertisement, ndOverride, "2001:db8::1", ndTargetMAC, me)},
		{"RS", ndFrame(nil, me, lla, allRouters, ndRouterSolicitation, 0, "", ndSourceMAC, me)},
		{"RA", ndFrame(nil, me, lla, allNodes, ndRouterAdvertisement, 0, "", ndSourceMAC, me)},
	} {
		t.Logf("%-28s %s", c.name, run(c.frame))
	}
	for _, setup := range []string{
		"ip link set br100 type bridge mcast_querier 1", "ip link set br100 type bridge mcast_querier 0 mcast_snooping 0",
		"sysctl -w net.ipv6.conf.br100.disable_ipv6=1", "ip neigh replace 2001:db8::9 lladdr 02:00:00:00:00:99 dev br100 nud noarp extern_learn",
		"ip -6 neigh show dev br100 nud all",
		"ip link set br100 mtu 1200", "ip -6 neigh show dev br100 nud all",
		"ip neigh replace 2001:db8::9 lladdr 02:00:00:00:00:99 dev br100 nud noarp extern_learn",
		"sysctl -w net.ipv6.conf.br100.disable_ipv6=0", "ip link set br100 mtu 1500", "sysctl -w net.ipv6.conf.br100.disable_ipv6=0",
		"ip neigh replace 2001:db8::9 lladdr 02:00:00:00:00:99 dev br100 nud noarp extern_learn",
		"bridge link set dev p1 neigh_suppress on", "bridge link set dev p1 neigh_suppress off", "ip link set br100 down", "ip link set br100 up",
		"ip neigh show dev br100 nud all",
	} {
		out, err := r.try("n", "sh", "-c", setup)
		t.Log("### ", setup, out, err)
		t.Logf("%-28s %s", "ARP known", run(arpFrame(broadcastMAC, arpRequest, me, "192.0.2.1", nil, "192.0.2.9")))
		t.Logf("%-28s %s", "NS known", run(solicitation(me, lla, "2001:db8::9")))
		t.Logf("%-28s %s", "NS unknown", run(solicitation(me, lla, "2001:db8::77")))
	}
}
