package snoop_test

import (
	"bufio"
	"encoding/hex"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/kernel/snoop"
)

type capturedFrame struct {
	what, kind string
	mac        evpn.MAC
	ip         netip.Addr
	frame      []byte
}

// captured reads testdata/frames.txt.
func captured(t testing.TB) (frames []capturedFrame) {
	t.Helper()
	f, err := os.Open("testdata/frames.txt")
	require.NoError(t, err)
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if strings.HasPrefix(s.Text(), "#") {
			continue
		}
		fields := strings.Split(s.Text(), " | ")
		require.Len(t, fields, 5)
		c := capturedFrame{what: fields[0], kind: fields[1]}
		c.frame, err = hex.DecodeString(fields[4])
		require.NoError(t, err)
		if c.kind != "irrelevant" {
			c.mac, err = evpn.ParseMAC(fields[2])
			require.NoError(t, err)
			c.ip = netip.MustParseAddr(fields[3])
		}
		frames = append(frames, c)
	}
	require.NotEmpty(t, frames)
	return frames
}

// find gives the frame of that description.
func find(t testing.TB, what string) []byte {
	t.Helper()
	for _, c := range captured(t) {
		if c.what == what {
			return c.frame
		}
	}
	require.FailNow(t, "no captured frame "+what)
	return nil
}

func TestParseCaptured(t *testing.T) {
	t.Parallel()
	for _, c := range captured(t) {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			p, reason := snoop.Parse(c.frame)
			if c.kind == "irrelevant" {
				assert.Equal(t, snoop.Irrelevant, reason)
				return
			}
			require.Empty(t, reason)
			assert.Equal(t, c.kind, p.Kind.String())
			assert.Equal(t, c.mac, p.MAC)
			assert.Equal(t, c.ip, p.IP)
			assert.Equal(t, evpn.MAC(c.frame[:6]), p.Dest)
			assert.Equal(t, evpn.MAC(c.frame[6:12]), p.Source)
		})
	}
}

func TestParseCutShort(t *testing.T) {
	t.Parallel()
	for _, c := range captured(t) {
		if c.kind == "irrelevant" {
			continue
		}
		// An ARP packet is shorter than the padding behind it, a DHCP packet shorter
		// than the options after its type.
		whole := len(c.frame)
		if strings.HasPrefix(c.kind, "arp") {
			whole = 14 + 28
		}
		for n := range whole {
			_, reason := snoop.Parse(c.frame[:n])
			assert.NotEmpty(t, reason, "%s, %d octets", c.what, n)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	put := func(at int, b ...byte) func([]byte) []byte {
		return func(f []byte) []byte { copy(f[at:], b); return f }
	}
	// sum makes the checksum of an ICMPv6 message right again.
	sum := func(change func([]byte) []byte) func([]byte) []byte {
		return func(f []byte) []byte { return icmp6Sum(change(f)) }
	}
	add := func(b ...byte) func([]byte) []byte {
		return func(f []byte) []byte {
			f = append(f, b...)
			f[19] += byte(len(b))
			return f
		}
	}
	for _, c := range []struct {
		name, frame string
		change      func([]byte) []byte
		want        snoop.Reason
	}{
		{"source is a group", "ARP request", put(6, 0x03), snoop.BadMAC},
		{"source is zero", "ARP request", put(6, 0, 0, 0, 0, 0, 0), snoop.BadMAC},
		{"VLAN tag", "ARP request", put(12, 0x81, 0x00), snoop.Irrelevant},
		{"ARP: another sender", "ARP request", put(22+5, 0x99), snoop.WrongSender},
		{"ARP: hardware type", "ARP request", put(14, 0, 6), snoop.Malformed},
		{"ARP: address length", "ARP request", put(19, 16), snoop.Malformed},
		{"ARP: RARP", "ARP request", put(20, 0, 3), snoop.Irrelevant},
		{"ARP: loopback", "ARP request", put(28, 127, 0, 0, 1), snoop.BadIP},
		{"ARP: 0.0.0.1", "ARP request", put(28, 0, 0, 0, 1), snoop.BadIP},
		{"ARP: multicast", "ARP request", put(28, 224, 0, 0, 1), snoop.BadIP},
		{"ARP: broadcast", "ARP request", put(28, 255, 255, 255, 255), snoop.BadIP},
		{"ARP: link-local", "ARP request", put(28, 169, 254, 1, 1), snoop.BadIP},
		{"ARP: reply of nobody", "its reply", put(28, 0, 0, 0, 0), snoop.BadIP},

		{"ND: checksum", "neighbour solicitation", put(60, 0xff), snoop.Malformed},
		{"ND: hop limit", "neighbour solicitation", put(21, 254), snoop.Malformed},
		{"ND: code", "neighbour solicitation", sum(put(55, 1)), snoop.Malformed},
		{"ND: version", "neighbour solicitation", put(14, 0x40), snoop.Malformed},
		{"ND: extension header", "neighbour solicitation", put(20, 44), snoop.Irrelevant},
		{"ND: other source option", "neighbour solicitation", sum(put(80, 2, 9, 9)), snoop.WrongSender},
		{"ND: other target option", "its advertisement", sum(put(80, 2, 9, 9)), snoop.WrongSender},
		{"ND: option of no length", "neighbour solicitation", sum(put(79, 0)), snoop.Malformed},
		{"ND: option too long", "neighbour solicitation", sum(put(79, 2)), snoop.Malformed},
		{"ND: half an option", "neighbour solicitation", sum(add(9)), snoop.Malformed},
		{"ND: multicast target", "neighbour solicitation", sum(put(62, 0xff)), snoop.Malformed},
		{"ND: source is loopback", "neighbour solicitation", sum(put(22, netip.IPv6Loopback().AsSlice()...)), snoop.BadIP},
		{"ND: source is multicast", "neighbour solicitation", sum(put(22, 0xff, 2)), snoop.BadIP},
		{"ND: advertisement of ::", "its advertisement", sum(put(22, make([]byte, 16)...)), snoop.Malformed},
		{"ND: IPv4-mapped", "its advertisement", sum(put(62, netip.MustParseAddr("::ffff:192.0.2.1").AsSlice()...)), snoop.BadIP},
		{"ND: solicited, to all", "ndisc_notify", sum(put(58, 0x60)), snoop.Malformed},
		{"DAD: to a unicast address", "duplicate address detection", sum(put(38, 0x20, 1)), snoop.Malformed},
		{"DAD: with a source option", "duplicate address detection", sum(put(78, 1, 1)), snoop.Malformed},

		{"DHCP: fragment", "DHCPACK", put(20, 0x20), snoop.Malformed},
		{"DHCP: TCP", "DHCPACK", put(23, 6), snoop.Irrelevant},
		{"DHCP: longer than the frame", "DHCPACK", put(16, 0xff), snoop.Malformed},
		{"DHCP: short header", "DHCPACK", put(14, 0x44), snoop.Malformed},
		{"DHCP: to a relay", "DHCPACK", put(36, 0, 67), snoop.Irrelevant},
		{"DHCP: a request", "DHCPACK", put(42, 1), snoop.Irrelevant},
		{"DHCP: no Ethernet", "DHCPACK", put(43, 6), snoop.Malformed},
		{"DHCP: cookie", "DHCPACK", put(42+236, 0), snoop.Malformed},
		{"DHCP: client is a group", "DHCPACK", put(42+28, 1), snoop.BadMAC},
		{"DHCP: loopback", "DHCPACK", put(42+16, 127), snoop.BadIP},
		{"DHCP: answer to DHCPINFORM", "DHCPACK", put(42+16, 0, 0, 0, 0), snoop.Irrelevant},
		{"DHCP: options end in the middle", "DHCPACK", put(42+240+1, 255), snoop.Irrelevant},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, reason := snoop.Parse(c.change(slices.Clone(find(t, c.frame))))
			assert.Equal(t, c.want, reason)
		})
	}
}

// icmp6Sum gives a frame a right ICMPv6 checksum.
func icmp6Sum(f []byte) []byte {
	f[56], f[57] = 0, 0
	total := uint32(len(f)-54) + 58
	for i, b := range f[22:] {
		if i%2 == 0 {
			total += uint32(b) << 8
		} else {
			total += uint32(b)
		}
	}
	for total > 0xffff {
		total = total>>16 + total&0xffff
	}
	f[56], f[57] = ^byte(total>>8), ^byte(total)
	return f
}

// TestBuiltFrames: what we send is what we would accept, and is as Linux sends it.
func TestBuiltFrames(t *testing.T) {
	t.Parallel()
	a := snoop.Station{MAC: evpn.MAC{2, 0, 0x5e, 0x10, 0, 0xa}, IP: netip.MustParseAddr("192.0.2.10")}
	b := snoop.Station{MAC: evpn.MAC{2, 0, 0x5e, 0x10, 0, 0xb}, IP: netip.MustParseAddr("192.0.2.11")}
	a6, b6 := snoop.Station{MAC: a.MAC, IP: netip.MustParseAddr("2001:db8::a")}, snoop.Station{MAC: b.MAC, IP: netip.MustParseAddr("2001:db8::b")}
	assert.Equal(t, find(t, "ARP request"), snoop.ARPRequestFrame(snoop.BroadcastMAC, a, b.IP))
	assert.Equal(t, find(t, "its reply"), snoop.ARPReplyFrame(b, a))
	assert.Equal(t, find(t, "its advertisement"), snoop.NAFrame(b6, a6, b6.IP, snoop.Flags{Solicited: true, Override: true}))
	assert.Equal(t, find(t, "ndisc_notify"),
		snoop.NAFrame(a6, snoop.Station{MAC: evpn.MAC{0x33, 0x33, 5: 1}, IP: netip.MustParseAddr("ff02::1")}, a6.IP, snoop.Flags{Override: true}))
	assert.Equal(t, find(t, "unicast solicitation of a stale neighbour"), snoop.NSFrame(snoop.Station{MAC: b.MAC, IP: snoop.LinkLocal(b.MAC)}, a6))

	p, reason := snoop.Parse(snoop.ARPRequestFrame(b.MAC, snoop.Station{MAC: a.MAC}, b.IP))
	assert.Empty(t, reason)
	assert.Equal(t, snoop.ARPProbe, p.Kind)
	assert.Equal(t, b.IP, p.IP)
}

func FuzzParse(f *testing.F) {
	for _, c := range captured(f) {
		f.Add(c.frame)
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		p, reason := snoop.Parse(frame)
		if reason != "" {
			return
		}
		assert.NotEqual(t, snoop.Other, p.Kind)
		assert.False(t, p.MAC.IsZero() || p.MAC.IsGroup())
		assert.True(t, p.MAC == p.Source || p.Kind == snoop.DHCPAck)
		assert.True(t, snoop.HostIP(p.IP), "%s", p.IP)
		assert.Contains(t, []string{"arp", "nd", "dhcp"}, p.Kind.Source())
		clear(frame)
		assert.False(t, p.MAC.IsZero(), "it keeps no reference")
	})
}
