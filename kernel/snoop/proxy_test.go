package snoop_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/kernel/snoop"
)

var (
	proxyHost   = evpn.MAC{2, 0, 0, 0, 0, 1}
	proxyRemote = evpn.MAC{2, 0, 0, 0, 0, 0x99}
	proxyRouter = evpn.MAC{2, 0, 0, 0, 0, 0xfe}

	proxyOwners = map[netip.Addr]snoop.Owner{
		netip.MustParseAddr("192.0.2.9"):       {MAC: proxyRemote},
		netip.MustParseAddr("2001:db8::9"):     {MAC: proxyRemote},
		netip.MustParseAddr("2001:db8::fe"):    {MAC: proxyRouter, Router: true},
		netip.MustParseAddr("192.0.2.1"):       {MAC: proxyHost}, // was elsewhere until now
		netip.MustParseAddr("2001:db8::1"):     {MAC: proxyHost},
		netip.MustParseAddr("fe80::ff:fe00:9"): {MAC: proxyRemote},
	}
	proxySegment = snoop.Segment{Port: 7, Tunnel: 100, Floods: true, Remote: func(ip netip.Addr) (snoop.Owner, bool) {
		o, ok := proxyOwners[ip]
		return o, ok
	}}
)

// dadFrame is a neighbour solicitation from :: (RFC 4862 §5.4.2).
func dadFrame(from evpn.MAC, target string) []byte {
	ip := netip.MustParseAddr(target).As16()
	group := [16]byte{0: 0xff, 1: 2, 11: 1, 12: 0xff, 13: ip[13], 14: ip[14], 15: ip[15]}
	b := append([]byte{0x33, 0x33}, group[12:]...)
	b = append(append(b, from[:]...), 0x86, 0xdd, 0x60, 0, 0, 0, 0, 24, 58, 255)
	b = append(append(b, make([]byte, 16)...), group[:]...)
	b = append(append(b, 135, 0, 0, 0, 0, 0, 0, 0), ip[:]...)
	sum := uint32(24 + 58)
	for i := 14 + 8; i < len(b); i += 2 {
		sum += uint32(b[i])<<8 | uint32(b[i+1])
	}
	sum = sum>>16 + sum&0xffff
	sum = sum>>16 + sum&0xffff
	b[14+40+2], b[14+40+3] = ^byte(sum>>8), ^byte(sum)
	return b
}

func TestProxy(t *testing.T) {
	ip := netip.MustParseAddr
	at := func(mac evpn.MAC, addr string) snoop.Station { return snoop.Station{MAC: mac, IP: ip(addr)} }
	broadcast := snoop.BroadcastMAC
	nodes := snoop.Station{MAC: evpn.MAC{0x33, 0x33, 0, 0, 0, 1}, IP: ip("ff02::1")}
	garp := func(op func(snoop.Station, snoop.Station) []byte, addr string) []byte {
		return op(at(proxyHost, addr), at(broadcast, addr))
	}
	request := func(from, to snoop.Station) []byte { return snoop.ARPRequestFrame(broadcast, from, to.IP) }
	probe := func(addr string) []byte { return snoop.ARPRequestFrame(broadcast, at(proxyHost, "0.0.0.0"), ip(addr)) }
	override := snoop.Flags{Override: true}

	tests := []struct {
		name   string
		frame  []byte
		answer []byte // else
		carry  bool
	}{
		{"ARP probe, known", probe("192.0.2.9"), snoop.ARPReplyFrame(at(proxyRemote, "192.0.2.9"), at(proxyHost, "0.0.0.0")), false},
		{"ARP probe, unknown", probe("192.0.2.77"), nil, true},
		{"ARP probe of the owner, which has moved here", probe("192.0.2.1"), nil, true},
		{"ARP probe of a link-local address", probe("169.254.1.1"), nil, true},
		{"ARP probe, unicast", snoop.ARPRequestFrame(proxyRemote, at(proxyHost, "0.0.0.0"), ip("192.0.2.9")), nil, false},
		{"ARP request", snoop.ARPRequestFrame(broadcast, at(proxyHost, "192.0.2.1"), ip("192.0.2.9")), nil, false},
		{"ARP reply", snoop.ARPReplyFrame(at(proxyHost, "192.0.2.1"), at(proxyRemote, "192.0.2.9")), nil, false},
		{"gratuitous ARP, request", garp(request, "192.0.2.1"), nil, true},
		{"gratuitous ARP, reply", garp(snoop.ARPReplyFrame, "192.0.2.1"), nil, true},
		{"gratuitous ARP of a link-local address", garp(request, "169.254.1.1"), nil, true},
		{"gratuitous ARP of a group", garp(request, "224.0.0.9"), nil, false},
		{"gratuitous ARP, unicast", snoop.ARPReplyFrame(at(proxyHost, "192.0.2.1"), at(proxyRemote, "192.0.2.1")), nil, false},
		{"gratuitous ARP of somebody else", append(append(broadcast[:], proxyRemote[:]...), garp(request, "192.0.2.1")[12:]...), nil, false},

		{"DAD, known", dadFrame(proxyHost, "2001:db8::9"), snoop.NAFrame(at(proxyRemote, "2001:db8::9"), nodes, ip("2001:db8::9"), override), false},
		{"DAD, a router", dadFrame(proxyHost, "2001:db8::fe"),
			snoop.NAFrame(at(proxyRouter, "2001:db8::fe"), nodes, ip("2001:db8::fe"), snoop.Flags{Router: true, Override: true}), false},
		{"DAD, a known link-local address", dadFrame(proxyHost, "fe80::ff:fe00:9"),
			snoop.NAFrame(at(proxyRemote, "fe80::ff:fe00:9"), nodes, ip("fe80::ff:fe00:9"), override), false},
		{"DAD, unknown", dadFrame(proxyHost, "2001:db8::77"), nil, true},
		{"DAD of the owner, which has moved here", dadFrame(proxyHost, "2001:db8::1"), nil, true},
		{"NS", snoop.NSFrame(at(proxyHost, "fe80::1"), at(proxyRemote, "2001:db8::9")), nil, false},
		{"NA, unsolicited", snoop.NAFrame(at(proxyHost, "2001:db8::1"), nodes, ip("2001:db8::1"), override), nil, true},
		{"NA, unsolicited but unicast", snoop.NAFrame(at(proxyHost, "2001:db8::1"), at(proxyRemote, "2001:db8::9"), ip("2001:db8::1"), override), nil, false},
		{"NA, solicited", snoop.NAFrame(at(proxyHost, "2001:db8::1"), at(proxyRemote, "2001:db8::9"), ip("2001:db8::1"), snoop.Flags{Solicited: true}), nil, false},
		{"nothing of ours", append(append(broadcast[:], proxyHost[:]...), 0x88, 0xb5, 0, 0), nil, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			x := snoop.NewProxy()
			p, why := snoop.Parse(tt.frame)
			out := x.Handle(time.Now(), proxySegment, tt.frame, &p, why)
			var want snoop.ProxyStats
			switch {
			case tt.answer != nil:
				assert.Equal(t, snoop.Frame{Link: 7, Frame: tt.answer}, out)
				want[p.Kind][snoop.Answered] = 1
			case tt.carry:
				assert.Equal(t, snoop.Frame{Link: 100, Frame: tt.frame}, out, "unchanged")
				want[p.Kind][snoop.Carried] = 1
			default:
				assert.Zero(t, out)
			}
			assert.Equal(t, want, x.Stats())

			// Nobody to carry to: answers still come.
			off := proxySegment
			off.Floods = false
			assert.Equal(t, tt.answer, x.Handle(time.Now(), off, tt.frame, &p, why).Frame)
			if tt.carry {
				want[p.Kind][snoop.Unflooded] = 1
				assert.Equal(t, want, x.Stats())
			}
		})
	}
}

// The answers are such as Parse itself accepts.
func TestProxyAnswersAreWellFormed(t *testing.T) {
	x := snoop.NewProxy()
	for _, frame := range [][]byte{
		snoop.ARPRequestFrame(snoop.BroadcastMAC, snoop.Station{MAC: proxyHost, IP: netip.IPv4Unspecified()}, netip.MustParseAddr("192.0.2.9")),
		dadFrame(proxyHost, "2001:db8::fe"),
	} {
		p, why := snoop.Parse(frame)
		a, why := snoop.Parse(x.Handle(time.Now(), proxySegment, frame, &p, why).Frame)
		require.Empty(t, why)
		assert.True(t, a.Binds())
		assert.Equal(t, p.IP, a.IP)
		assert.Equal(t, proxyOwners[p.IP].MAC, a.Source)
		assert.Equal(t, proxyOwners[p.IP].Router, a.Router)
	}
}

// What is said for a host is what it would say itself.
func TestProxyAnnounces(t *testing.T) {
	x := snoop.NewProxy()
	for _, ip := range []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")} {
		out := x.Announce(100, snoop.Station{MAC: proxyHost, IP: ip}, ip.Is6())
		assert.Equal(t, int32(100), out.Link)
		p, why := snoop.Parse(out.Frame)
		require.Empty(t, why)
		assert.Contains(t, []snoop.Kind{snoop.ARPGratuitous, snoop.NAUnsolicited}, p.Kind)
		assert.Equal(t, snoop.Station{MAC: proxyHost, IP: ip}, snoop.Station{MAC: p.MAC, IP: p.IP})
		assert.Equal(t, ip.Is6(), p.Router)
		assert.True(t, p.Dest.IsGroup())
		assert.EqualValues(t, 1, x.Stats()[p.Kind][snoop.Announced])
	}
}

// One port that announces without end is held back; others are not.
func TestProxyLimits(t *testing.T) {
	x := snoop.NewProxy()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	frame := snoop.ARPRequestFrame(snoop.BroadcastMAC, snoop.Station{MAC: proxyHost, IP: netip.MustParseAddr("192.0.2.1")}, netip.MustParseAddr("192.0.2.1"))
	p, why := snoop.Parse(frame)
	sent := func(port int32, n int) (count int) {
		s := proxySegment
		s.Port = port
		for range n {
			if x.Handle(now, s, frame, &p, why).Link != 0 {
				count++
			}
		}
		return count
	}
	assert.Equal(t, 1000, sent(7, 5000), "a burst")
	assert.Equal(t, 10, sent(8, 10), "another port")
	now = now.Add(time.Second)
	assert.Equal(t, 200, sent(7, 5000), "then so much a second")
	st := x.Stats()[snoop.ARPGratuitous]
	assert.Equal(t, uint64(1210), st[snoop.Carried])
	assert.Equal(t, uint64(10000-1200), st[snoop.Limited])
	x.Follow([]int32{8})
	assert.Equal(t, 1000, sent(7, 5000), "a port that left and came is a new one")
}
