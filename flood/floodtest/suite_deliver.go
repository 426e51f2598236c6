package floodtest

import (
	"errors"
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/flood"
	"github.com/vtepbgp/vtepbgp/kernel/kerneltest"
)

// testDeliver: what arrives at the service address goes to the group, once, also what is a
// copy; not what comes from those who hear the group. This host does not hear it again, and
// nobody copies it from there.
func testDeliver(t *testing.T, open Factory, f family) {
	s := newStage(t, f)
	out, onward := newTap(t, s.relay, "u0", delivered(f.group)), newTap(t, s.relay, "u1")
	ear := newEar(t, s.relay, "u0", f.group)
	delivery := flood.Network{VNI: vni, Listen: f.service, Segment: []netip.Prefix{f.segment}, Deliver: f.group}
	e := s.start(open, f.table(delivery, f.onGroup(f.list(3)...)))
	for _, size := range []int{64, 1400} {
		plain, copied, unicast := s.toService(size, Full), s.toService(size, Full), s.toService(size, Full)
		copied.TOS = flood.Mark<<2 | 2
		unicast.Inner[0] = 0x02
		s.send(e, plain, copied, unicast)
		out.expect(t, []netip.Addr{f.group}, plain, copied, unicast)
	}
	var many []*Packet
	for range 300 {
		many = append(many, s.toService(300, Full))
	}
	s.send(e, many...)
	out.expect(t, []netip.Addr{f.group}, many...)
	inside := s.toService(64, Full)
	inside.Source = f.leaf
	s.refuses(e, flood.SourceInside, inside)
	// What was delivered and comes back, as to another relay of the segment.
	returned, copied := s.toService(64, Full), s.packet(64, Full)
	returned.To, returned.DstMAC, returned.TOS = f.group, GroupMAC(f.group), flood.Mark<<2
	s.refuses(e, flood.Relayed, returned)
	copied.TOS = flood.Mark << 2
	s.refuses(e, flood.Relayed, copied)
	assert.Empty(t, out.take(t))
	assert.Empty(t, onward.take(t))
	assert.EqualValues(t, 309, e.Counters().Total.Packets, "what was delivered is not heard on its way out")
	// The host hears what others send to the group, and of what we delivered nothing.
	for _, p := range []*Packet{returned, copied} {
		assert.Equal(t, p.payload(), ear.hear(t), "what comes from outside, and nothing before")
	}
}

// testDeliverElsewhere: what arrives by an uplink goes to the group out of the segment's
// interface, where the engine of the segment lets it pass.
func testDeliverElsewhere(t *testing.T, open Factory, f family) {
	s := newStage(t, f)
	out := newTap(t, s.relay, "u0", delivered(f.group))
	here := s.start(open, f.table(f.onGroup(f.list(3)...)))
	delivery := flood.Network{VNI: vni, Listen: f.service, Segment: []netip.Prefix{f.segment}, Deliver: f.group, Out: "u0"}
	uplink := launch(t, open, options(t, s.relay, "u1"), f.table(delivery))
	s.mac, s.hose = hardware(t, s.relay, "u1"), newHose(t, s.beyond, "v1")
	for _, size := range []int{64, 1400} {
		plain, copied := s.toService(size, Full), s.toService(size, Full)
		copied.TOS = flood.Mark << 2
		s.send(uplink, plain, copied)
		out.expect(t, []netip.Addr{f.group}, plain, copied)
	}
	assert.Zero(t, here.Counters().Total.Packets, "what was delivered is not heard on its way out")

	s.rename("u0", "x0")
	eventually(t, func() (string, bool) {
		s.hose.send(t, s.toService(64, Full))
		return "there is no interface of that name", uplink.Counters().Total.Dropped[flood.NoRoute] > 0
	})
	s.rename("x0", "u0")
	eventually(t, func() (string, bool) {
		out.take(t)
		s.hose.send(t, s.toService(64, Full))
		return "it is there again", out.seen() > 0
	})
}

// testJoined: two segments that each have a relay are joined to one by mistake, and the
// relays have each other's delivery address as a VTEP. Every packet is copied once by the
// first relay, delivered once by the second, and that is that.
func testJoined(t *testing.T, open Factory, f family) {
	s := newStage(t, f)
	other := kerneltest.NewNamespace(t)
	// The switch that should not be there.
	s.segment.IP(t, "link", "add", "br0", "type", "bridge", "mcast_snooping", "0", "stp_state", "0")
	s.segment.IP(t, "link", "set", "s0", "master", "br0")
	s.segment.IP(t, "link", "set", "br0", "up")
	s.connect(s.segment, "s1", other, "w0")
	s.segment.IP(t, "link", "set", "s1", "master", "br0")
	ready(t, s.segment, "br0")
	s.hose = newHose(t, s.segment, "br0")
	// The other segment has the addresses from far on; its delivery address is reached from
	// the first relay, and the other way round.
	address := f.far.Next()
	delivers := f.service.Next()
	s.address(other, "w0", f.host(address))
	s.address(other, "lo", netip.PrefixFrom(delivers, f.bits()).String())
	s.reaches(s.relay, "u0", delivers, hardware(t, other, "w0"))
	s.reaches(other, "w0", f.service, s.mac)

	outside := netip.PrefixFrom(f.far, f.prefixBits()).Masked()
	network := func(listen netip.Addr, segment netip.Prefix, to ...netip.Addr) flood.Network {
		return flood.Network{VNI: vni, Listen: listen, Segment: []netip.Prefix{segment}, VTEPs: vteps(to...), Own: true, Others: true}
	}
	deliver := func(listen netip.Addr, segment netip.Prefix) flood.Network {
		return flood.Network{VNI: vni, Listen: listen, Segment: []netip.Prefix{segment}, Deliver: f.group}
	}
	first, second := newTap(t, s.relay, "u0", delivered(f.group)), newTap(t, other, "w0", delivered(f.group))
	here := s.start(open, f.table(network(f.group, f.segment, delivers), deliver(f.service, f.segment)))
	there := launch(t, open, options(t, other, "w0"), &flood.Table{
		Own: []netip.Addr{address}, Networks: []flood.Network{network(f.group, outside, f.service), deliver(delivers, outside)},
	})
	var packets []*Packet
	for range 20 {
		packets = append(packets, s.packet(100, Full))
	}
	s.send(here, packets...)
	first.expect(t, []netip.Addr{delivers}, packets...)
	second.expect(t, []netip.Addr{f.group}, packets...)
	s.await(here, "what comes back is refused", func(c flood.Counters) bool { return c.Total.Dropped[flood.Relayed] == 20 })
	s.await(there, "what is not of its segment is refused", func(c flood.Counters) bool { return c.Total.Dropped[flood.SourceOutside] == 20 })
	assert.EqualValues(t, 40, here.Counters().Total.Packets, "the packets, and what was delivered")
	assert.EqualValues(t, 40, there.Counters().Total.Packets, "the packets, and the copies")
	assert.Zero(t, first.seen()+second.seen(), "nothing goes on")
}

// reaches makes an address one that is on the link of a device.
func (s *stage) reaches(ns *kerneltest.Namespace, dev string, to netip.Addr, mac net.HardwareAddr) {
	ns.IP(s.t, "route", "add", netip.PrefixFrom(to, to.BitLen()).String(), "dev", dev)
	ns.IP(s.t, "neigh", "replace", to.String(), "lladdr", mac.String(), "dev", dev, "nud", "permanent")
}

// ear is a socket of the relay that hears a group, as that of a VXLAN device does.
type ear struct{ fd int }

func newEar(t testing.TB, ns *kerneltest.Namespace, dev string, group netip.Addr) *ear {
	e := &ear{}
	require.NoError(t, ns.Do(func() (err error) {
		i, err := net.InterfaceByName(dev)
		if err != nil {
			return err
		}
		if group.Is4() {
			if e.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
				return err
			}
			return errors.Join(unix.Bind(e.fd, &unix.SockaddrInet4{Port: flood.Port, Addr: group.As4()}),
				unix.SetsockoptIPMreqn(e.fd, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, &unix.IPMreqn{Multiaddr: group.As4(), Ifindex: int32(i.Index)}))
		}
		if e.fd, err = unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		return errors.Join(unix.Bind(e.fd, &unix.SockaddrInet6{Port: flood.Port, Addr: group.As16()}),
			unix.SetsockoptIPv6Mreq(e.fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, &unix.IPv6Mreq{Multiaddr: group.As16(), Interface: uint32(i.Index)}))
	}))
	t.Cleanup(func() { unix.Close(e.fd) })
	require.NoError(t, unix.SetsockoptTimeval(e.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: int64(within.Seconds())}))
	return e
}

// hear gives the next packet's payload.
func (e *ear) hear(t testing.TB) []byte {
	t.Helper()
	b := make([]byte, 1<<16)
	n, _, err := unix.Recvfrom(e.fd, b, 0)
	require.NoError(t, err)
	return b[:n]
}
