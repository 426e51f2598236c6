package flood_test

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/flood"
	"github.com/vtepbgp/vtepbgp/flood/floodtest"
)

var (
	leaf4  = netip.MustParseAddr("10.0.1.10")
	group4 = netip.MustParseAddr("239.1.1.100")
	leaf6  = netip.MustParseAddr("fd00:1::10")
	group6 = netip.MustParseAddr("ff0e::100")
)

const (
	ethernet = 14
	ipv4     = 20
	ipv6     = 40
)

func outer(six bool, change ...func(*floodtest.Packet)) *floodtest.Packet {
	p := &floodtest.Packet{
		Source: leaf4, To: group4, SourcePort: 50000, Port: flood.Port, VNI: 0xabcdef, TTL: 9, TOS: 0x28, Checksum: floodtest.Full,
		Flags: 0x08000000, Inner: floodtest.InnerFrame(1, 101),
	}
	if six {
		p.Source, p.To = leaf6, group6
	}
	for _, f := range change {
		f(p)
	}
	return p
}

func TestParse(t *testing.T) {
	for _, six := range []bool{false, true} {
		for _, c := range []floodtest.Checksum{floodtest.Zero, floodtest.Full, floodtest.Partial} {
			in := outer(six, func(p *floodtest.Packet) { p.Checksum = c })
			b := append(in.Bytes(), 0, 0, 0, 0) // padding
			p, r := flood.ParseEthernet(b, flood.Trust{Partial: c == floodtest.Partial})
			require.Equal(t, flood.Kept, r)
			assert.Equal(t, in.Source, p.Source)
			assert.Equal(t, in.To, p.Destination)
			assert.EqualValues(t, 50000, p.SourcePort)
			assert.EqualValues(t, flood.Port, p.Port)
			assert.EqualValues(t, 0xabcdef, p.VNI)
			assert.EqualValues(t, 9, p.TTL)
			assert.EqualValues(t, 10, p.DSCP)
			assert.Equal(t, c != floodtest.Zero, p.Checksummed)
			assert.Equal(t, in.Inner, p.Inner())
			assert.Equal(t, "02:00:00:00:00:01", p.InnerSource().String())
			if c == floodtest.Partial {
				_, r = flood.ParseEthernet(b, flood.Trust{})
				assert.Equal(t, flood.BadUDPChecksum, r, "an incomplete checksum is wrong on a wire")
			}
		}
	}
}

func TestParseTakesOptions(t *testing.T) {
	b := outer(false).Bytes()[ethernet:]
	with := append(append(append([]byte{}, b[:ipv4]...), 1, 1, 1, 0), b[ipv4:]...)
	with[0] = 0x46
	binary.BigEndian.PutUint16(with[2:], uint16(len(with)))
	sumIPv4(with[:24])
	p, r := flood.Parse(with, flood.Trust{})
	require.Equal(t, flood.Kept, r)
	assert.Equal(t, outer(false).Inner, p.Inner())
}

// sumIPv4 writes the checksum of a header.
func sumIPv4(h []byte) {
	h[10], h[11] = 0, 0
	var s uint32
	for i := 0; i < len(h); i += 2 {
		s += uint32(binary.BigEndian.Uint16(h[i:]))
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	binary.BigEndian.PutUint16(h[10:], ^uint16(s))
}

func TestParseRefuses(t *testing.T) {
	type change = func(p *floodtest.Packet)
	early := func(f func(ip, udp []byte)) change { return func(p *floodtest.Packet) { p.Mangle = f } }
	late := func(f func(ip, udp []byte)) change { return func(p *floodtest.Packet) { p.MangleLate = f } }
	for _, c := range []struct {
		name   string
		six    bool
		change change
		want   flood.Reason
	}{
		{"version 5", false, early(func(ip, _ []byte) { ip[0] = 0x55 }), flood.BadIPHeader},
		{"header of 16 bytes", false, early(func(ip, _ []byte) { ip[0] = 0x44 }), flood.BadIPHeader},
		{"total below the header", false, early(func(ip, _ []byte) { ip[2], ip[3] = 0, 19 }), flood.BadIPHeader},
		{"cut off", false, func(p *floodtest.Packet) { p.Trim = 1 }, flood.Truncated},
		{"header sum", false, late(func(ip, _ []byte) { ip[10] ^= 1 }), flood.BadIPChecksum},
		{"more fragments", false, early(func(ip, _ []byte) { ip[6] = 0x20 }), flood.Fragment},
		{"offset", false, early(func(ip, _ []byte) { ip[7] = 1 }), flood.Fragment},
		{"TTL 0", false, func(p *floodtest.Packet) { p.TTL = 0 }, flood.BadTTL},
		{"TCP", false, early(func(ip, _ []byte) { ip[9] = 6 }), flood.NotUDP},
		{"UDP longer than IP", false, early(func(_, udp []byte) { udp[5]++ }), flood.BadUDPLength},
		{"UDP shorter than IP", false, early(func(_, udp []byte) { udp[5]-- }), flood.BadUDPLength},
		{"UDP shorter than its header", false, early(func(_, udp []byte) { udp[4], udp[5] = 0, 7 }), flood.BadUDPLength},
		{"UDP sum", false, late(func(_, udp []byte) { udp[6] ^= 1 }), flood.BadUDPChecksum},
		{"payload", false, late(func(_, udp []byte) { udp[40] ^= 1 }), flood.BadUDPChecksum},
		{"address", false, late(func(ip, _ []byte) { ip[15]++; sumIPv4(ip[:20]) }), flood.BadUDPChecksum},
		{"no inner header", false, func(p *floodtest.Packet) { p.Inner = p.Inner[:13] }, flood.NoVXLAN},
		{"no I flag", false, func(p *floodtest.Packet) { p.Flags = 0 }, flood.BadFlags},
		{"GBP", false, func(p *floodtest.Packet) { p.Flags = 0x88000000 }, flood.BadFlags},
		{"reserved 24 bits", false, func(p *floodtest.Packet) { p.Flags = 0x08000100 }, flood.BadFlags},
		{"reserved last byte", false, early(func(_, udp []byte) { udp[15] = 1 }), flood.BadFlags},

		{"version 4 as IPv6", true, early(func(ip, _ []byte) { ip[0] = 0x40 }), flood.BadIPHeader},
		{"no payload", true, early(func(ip, _ []byte) { ip[4], ip[5] = 0, 0 }), flood.BadIPHeader},
		{"cut off", true, func(p *floodtest.Packet) { p.Trim = 1 }, flood.Truncated},
		{"fragment header", true, early(func(ip, _ []byte) { ip[6] = 44 }), flood.Fragment},
		{"hop limit 0", true, func(p *floodtest.Packet) { p.TTL = 0 }, flood.BadTTL},
		{"hop-by-hop options", true, early(func(ip, _ []byte) { ip[6] = 0 }), flood.NotUDP},
		{"UDP longer than IP", true, early(func(_, udp []byte) { udp[5]++ }), flood.BadUDPLength},
		{"payload", true, late(func(_, udp []byte) { udp[40] ^= 1 }), flood.BadUDPChecksum},
		{"address", true, late(func(ip, _ []byte) { ip[30]++ }), flood.BadUDPChecksum},
	} {
		_, r := flood.ParseEthernet(outer(c.six, c.change).Bytes(), flood.Trust{})
		assert.Equal(t, c.want.String(), r.String(), "%s, IPv6 %v", c.name, c.six)
	}
	arp := outer(false).Bytes()
	arp[12], arp[13] = 0x08, 0x06
	_, r := flood.ParseEthernet(arp, flood.Trust{})
	assert.Equal(t, flood.NotIP, r)
	tagged := outer(false).Bytes()
	tagged[12], tagged[13] = 0x81, 0
	_, r = flood.ParseEthernet(tagged, flood.Trust{})
	assert.Equal(t, flood.NotIP, r)
}

// Whatever is cut off at the end, it is seen: no length makes it pass.
func TestParseEveryLength(t *testing.T) {
	for _, six := range []bool{false, true} {
		whole := outer(six).Bytes()
		for n := range whole {
			_, r := flood.ParseEthernet(whole[:n], flood.Trust{})
			assert.Equal(t, flood.Truncated, r, "%d bytes", n)
		}
	}
}

func TestSegment(t *testing.T) {
	p, r := flood.ParseEthernet(outer(false).Bytes(), flood.Trust{})
	require.Equal(t, flood.Kept, r)
	q, r := p.Segment(0, len(p.Payload)-10)
	require.Equal(t, flood.Kept, r)
	assert.Equal(t, p.Inner()[:len(p.Inner())-10], q.Inner())
	assert.NotEqual(t, p.Sum, q.Sum)
	_, r = p.Segment(0, 21)
	assert.Equal(t, flood.NoVXLAN, r)
	_, r = p.Segment(8, len(p.Payload))
	assert.Equal(t, flood.BadFlags, r)
}

// The checksum of a copy is that of a packet which was written to its new destination.
func TestUDPChecksum(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		six := random.IntN(2) == 0
		in := outer(six, func(p *floodtest.Packet) {
			p.Inner = floodtest.InnerFrame(random.Uint32(), 18+random.IntN(1500))
		})
		p, r := flood.ParseEthernet(in.Bytes(), flood.Trust{})
		require.Equal(t, flood.Kept, r)
		to := netip.AddrFrom4([4]byte{10, byte(random.Uint32()), byte(random.Uint32()), 1})
		at := ethernet + ipv4
		if six {
			to, at = netip.AddrFrom16([16]byte{0xfd, 1: byte(random.Uint32()), 15: byte(random.Uint32())}), ethernet+ipv6
		}
		in.To = to
		want := binary.BigEndian.Uint16(in.Bytes()[at+6:])
		assert.Equal(t, want, flood.UDPChecksum(p.Source, to, p.SourcePort, p.Port, p.Sum, len(p.Payload)))
	}
}

// A sum of zero is written as its other form, because zero says that there is none.
func TestUDPChecksumIsNeverZero(t *testing.T) {
	zeros := 0
	for sum := range 1 << 16 {
		c := flood.UDPChecksum(leaf4, group4, 1, 2, uint16(sum), 30)
		require.NotZero(t, c)
		if c == 0xffff {
			zeros++
		}
	}
	assert.Positive(t, zeros)
}

func FuzzParse(f *testing.F) {
	for _, six := range []bool{false, true} {
		for _, c := range []floodtest.Checksum{floodtest.Zero, floodtest.Full, floodtest.Partial} {
			f.Add(outer(six, func(p *floodtest.Packet) { p.Checksum = c }).Bytes(), c == floodtest.Partial)
		}
	}
	for _, frame := range floodtest.Corpus(make([]byte, 6)) {
		f.Add(frame, false)
	}
	f.Fuzz(func(t *testing.T, b []byte, partial bool) {
		p, r := flood.ParseEthernet(b, flood.Trust{Partial: partial})
		if r != flood.Kept {
			assert.NotEmpty(t, r.String())
			return
		}
		require.True(t, p.VNI <= 0xffffff && p.TTL > 0 && len(p.Inner()) >= ethernet)
		require.LessOrEqual(t, len(p.Payload), len(b)-ethernet-ipv4-8)
		// Written anew, by other code, it reads the same.
		again := floodtest.Packet{
			Source: p.Source, To: p.Destination, SourcePort: p.SourcePort, Port: p.Port, VNI: uint32(p.VNI), TTL: p.TTL, TOS: p.DSCP << 2,
			Flags: 0x08000000, Inner: p.Inner(),
		}
		if p.Checksummed {
			again.Checksum = floodtest.Full
		}
		q, r := flood.ParseEthernet(again.Bytes(), flood.Trust{})
		require.Equal(t, flood.Kept, r)
		require.Equal(t, p, q)
	})
}
