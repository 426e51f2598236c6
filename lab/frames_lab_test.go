//go:build lab

package lab_test

import (
	"bytes"
	netorder "encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// The frames of address resolution, byte by byte: tests send and expect what hosts send,
// not what a codec of ours makes of it.

var broadcastMAC = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

func hwAddr(s string) net.HardwareAddr {
	m, err := net.ParseMAC(s)
	if err != nil {
		panic(err)
	}
	return m
}

func ethernet(dst, src net.HardwareAddr, typ uint16, payload []byte) []byte {
	b := append(append([]byte{}, dst...), src...)
	return append(netorder.BigEndian.AppendUint16(b, typ), payload...)
}

const (
	arpRequest = 1
	arpReply   = 2
)

// arpFrame is RFC 826. A nil target is zero.
func arpFrame(dst net.HardwareAddr, op uint16, senderMAC net.HardwareAddr, senderIP string, targetMAC net.HardwareAddr, targetIP string) []byte {
	b := []byte{0, 1, 0x08, 0x00, 6, 4}
	b = netorder.BigEndian.AppendUint16(b, op)
	b = append(b, senderMAC...)
	b = append(b, netip.MustParseAddr(senderIP).AsSlice()...)
	if targetMAC == nil {
		targetMAC = make(net.HardwareAddr, 6)
	}
	b = append(b, targetMAC...)
	b = append(b, netip.MustParseAddr(targetIP).AsSlice()...)
	return ethernet(dst, senderMAC, unix.ETH_P_ARP, b)
}

// Types of ICMPv6 messages of neighbour discovery (RFC 4861 section 4).
const (
	ndRouterSolicitation    = 133
	ndRouterAdvertisement   = 134
	ndNeighborSolicitation  = 135
	ndNeighborAdvertisement = 136

	ndRouter    = 0x80
	ndSolicited = 0x40
	ndOverride  = 0x20

	ndSourceMAC = 1 // option
	ndTargetMAC = 2 // option
)

// multicastMAC is RFC 2464 section 7.
func multicastMAC(ip netip.Addr) net.HardwareAddr {
	b := ip.As16()
	return append(net.HardwareAddr{0x33, 0x33}, b[12:]...)
}

// solicitedNode is RFC 4291 section 2.7.1.
func solicitedNode(target string) netip.Addr {
	b := netip.MustParseAddr("ff02::1:ff00:0").As16()
	t := netip.MustParseAddr(target).As16()
	copy(b[13:], t[13:])
	return netip.AddrFrom16(b)
}

// ndFrame is a message of RFC 4861; a nil option is left out, a nil dst is the group's.
func ndFrame(dst, src net.HardwareAddr, from string, to netip.Addr, typ, flags uint8, target string, option uint8, mac net.HardwareAddr) []byte {
	body := []byte{typ, 0, 0, 0, flags, 0, 0, 0}
	if target != "" {
		body = append(body, netip.MustParseAddr(target).AsSlice()...)
	} else if typ == ndRouterAdvertisement {
		body = append(body, make([]byte, 8)...)
	}
	if mac != nil {
		body = append(append(body, option, 1), mac...)
	}
	ip := netorder.BigEndian.AppendUint16([]byte{0x60, 0, 0, 0}, uint16(len(body)))
	ip = append(ip, unix.IPPROTO_ICMPV6, 255)
	ip = append(ip, netip.MustParseAddr(from).AsSlice()...)
	ip = append(ip, to.AsSlice()...)
	sum := uint32(len(body)) + unix.IPPROTO_ICMPV6
	for _, part := range [][]byte{ip[8:40], body} {
		for i := 0; i+1 < len(part); i += 2 {
			sum += uint32(part[i])<<8 | uint32(part[i+1])
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	netorder.BigEndian.PutUint16(body[2:], ^uint16(sum))
	if dst == nil {
		dst = multicastMAC(to)
	}
	return ethernet(dst, src, unix.ETH_P_IPV6, append(ip, body...))
}

// solicitation is the NS that resolves target.
func solicitation(src net.HardwareAddr, from, target string) []byte {
	return ndFrame(nil, src, from, solicitedNode(target), ndNeighborSolicitation, 0, target, ndSourceMAC, src)
}

// isND says that a frame is an ICMPv6 message of this type.
func isND(frame []byte, typ uint8) bool {
	return len(frame) >= 14+40+24 && netorder.BigEndian.Uint16(frame[12:]) == unix.ETH_P_IPV6 && frame[20] == unix.IPPROTO_ICMPV6 && frame[54] == typ
}

func isARP(frame []byte) bool {
	return len(frame) >= 42 && netorder.BigEndian.Uint16(frame[12:]) == unix.ETH_P_ARP
}

// isResolution is what suppression is to keep off the underlay.
func isResolution(frame []byte) bool {
	return isARP(frame) || isND(frame, ndNeighborSolicitation) || isND(frame, ndNeighborAdvertisement)
}

// tap is a packet socket on a device of a node.
type tap struct {
	t  testing.TB
	fd int
}

// sighting is a frame on a device; sent says that it went out of it.
type sighting struct {
	frame []byte
	sent  bool
}

// openTap listens from now on. Frames that it sends itself are not seen.
func (r *running) openTap(node, dev string) *tap {
	r.t.Helper()
	p := &tap{t: r.t}
	require.NoError(r.t, within(r.namespace(node), func() (err error) {
		p.fd, err = packetSocket(dev)
		return err
	}), "tap %s of %s", dev, node)
	r.t.Cleanup(func() { unix.Close(p.fd) })
	return p
}

func packetSocket(dev string) (fd int, err error) {
	link, err := net.InterfaceByName(dev)
	if err != nil {
		return 0, err
	}
	all := uint16(unix.ETH_P_ALL)
	fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	return fd, errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 20_000}),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all<<8 | all>>8, Ifindex: link.Index}),
	)
}

// sendVXLAN sends a frame to a VTEP address of the node as if it came out of a tunnel.
func (r *running) sendVXLAN(node, vtep string, vni uint32, frame []byte) {
	r.t.Helper()
	require.NoError(r.t, within(r.namespace(node), func() error {
		c, err := net.Dial("udp", net.JoinHostPort(vtep, "4789"))
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write(append(netorder.BigEndian.AppendUint64(nil, 8<<56|uint64(vni)<<8), frame...))
		return err
	}))
}

func (p *tap) send(frame []byte) {
	p.t.Helper()
	_, err := unix.Write(p.fd, frame)
	require.NoError(p.t, err)
}

// next gives one frame, or none within 20 ms.
func (p *tap) next() (sighting, bool) {
	p.t.Helper()
	buf := make([]byte, 9216)
	n, from, err := unix.Recvfrom(p.fd, buf, 0)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		return sighting{}, false
	}
	require.NoError(p.t, err)
	ll, ok := from.(*unix.SockaddrLinklayer)
	return sighting{buf[:n], ok && ll.Pkttype == unix.PACKET_OUTGOING}, true
}

// until collects frames up to the first one that is the last, which is part of the answer.
func (p *tap) until(limit time.Duration, what string, last func(sighting) bool) []sighting {
	p.t.Helper()
	var seen []sighting
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); {
		if s, ok := p.next(); ok {
			seen = append(seen, s)
			if last(s) {
				return seen
			}
		}
	}
	require.FailNow(p.t, "frame did not come", "%s within %s; seen:\n%s", what, limit, listing(seen))
	return nil
}

// drain gives what has arrived by now.
func (p *tap) drain() (seen []sighting) {
	p.t.Helper()
	for {
		s, ok := p.next()
		if !ok {
			return seen
		}
		seen = append(seen, s)
	}
}

func listing(seen []sighting) string {
	var b bytes.Buffer
	for _, s := range seen {
		fmt.Fprintf(&b, "sent=%t %x\n", s.sent, s.frame)
	}
	return b.String()
}

// marker is a frame that nothing on the way understands: what follows it came later.
func marker(src net.HardwareAddr, n uint32) []byte {
	const localExperimental = 0x88b5 // IEEE 802
	return ethernet(broadcastMAC, src, localExperimental, append(netorder.BigEndian.AppendUint32(nil, n), make([]byte, 46)...))
}

func isMarker(n uint32) func(sighting) bool {
	return func(s sighting) bool {
		return len(s.frame) >= 18 && netorder.BigEndian.Uint16(s.frame[12:]) == 0x88b5 && netorder.BigEndian.Uint32(s.frame[14:]) == n
	}
}
