package flood_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/flood"
	"github.com/vtepbgp/vtepbgp/flood/floodtest"
)

// datagram is the payload of one of the packets that offloads merge.
func datagram(inner []byte) []byte { return append([]byte{8, 0, 0, 0, 0, 0, 100, 0}, inner...) }

// merged is what offloads make of datagrams of one flow: one packet with all payloads behind each other
// (udp4_gro_receive). The length of IP bounds it.
func merged(six bool, payloads ...[]byte) []byte {
	p := outer(six, func(p *floodtest.Packet) {
		p.VNI, p.Flags, p.Inner = 100, 0x08000000, nil
		for i, b := range payloads {
			if i == 0 {
				b = b[8:] // the packet has a VXLAN header
			}
			p.Inner = append(p.Inner, b...)
		}
	})
	return p.Bytes()
}

// least is the smallest that is made here: a frame that has room for a number.
const least = 8 + 18

// most is the payload of the largest UDP datagram in an IPv4 packet.
const most = 65535 - 20 - 8

// A super-frame as long as IP can have it comes apart into just what was merged.
func TestSegmentsOfTheLongestSuperFrame(t *testing.T) {
	for _, six := range []bool{false, true} {
		for _, size := range []int{least, 100, 1458, 1522, 8958} {
			var want [][]byte
			for left := most; left >= size; left -= size {
				want = append(want, datagram(floodtest.InnerFrame(uint32(len(want)), size-8)))
			}
			if rest := most - len(want)*size; rest >= least {
				want = append(want, datagram(floodtest.InnerFrame(uint32(len(want)), rest-8)))
			}
			apart(t, merged(six, want...), size, want)
		}
	}
}

// apart takes a super-frame apart and compares.
func apart(t *testing.T, frame []byte, size int, want [][]byte) {
	t.Helper()
	p, r := flood.ParseEthernet(frame, flood.Trust{Checked: true})
	require.Equal(t, flood.Kept, r)
	n := 0
	for at := 0; at < len(p.Payload); at += size {
		part, r := p.Segment(at, min(at+size, len(p.Payload)))
		require.Equal(t, flood.Kept, r)
		require.Equal(t, want[n], part.Payload)
		require.Equal(t, p.Source, part.Source)
		// Its sum is that of its own bytes: a packet with the checksum made of it is one.
		alone := outer(p.Source.Is6(), func(q *floodtest.Packet) { q.VNI, q.Inner = 100, want[n][8:] })
		whole, r := flood.ParseEthernet(alone.Bytes(), flood.Trust{})
		require.Equal(t, flood.Kept, r)
		require.Equal(t, whole.Sum, part.Sum)
		n++
	}
	require.Equal(t, len(want), n)
}

// FuzzSuperFrame: whatever was merged, with whatever size the offload names, each part is refused for a reason or is a VXLAN
// packet within the whole; where the size is that of the packets which were merged, the parts are those.
func FuzzSuperFrame(f *testing.F) {
	for _, count := range []uint16{1, 2, 43, 64, 2900} {
		for _, size := range []uint16{0, 7, least, 27, 1458, 1522, 65000, 65507} {
			f.Add(count, size, size, uint16(0), byte(0), byte(0), count%2 == 0)
			f.Add(count, size, size-1, uint16(30), byte(3), byte(0x80), count%2 == 0)
		}
	}
	f.Fuzz(func(t *testing.T, count, size, claimed, tail uint16, at, flip byte, six bool) {
		var payloads [][]byte
		length := 0
		add := func(n int) {
			if n >= least && length+n <= most {
				payloads = append(payloads, datagram(floodtest.InnerFrame(uint32(len(payloads)), n-8)))
				length += n
			}
		}
		for range min(count, 4000) {
			add(int(size))
		}
		if tail < size {
			add(int(tail))
		}
		if len(payloads) == 0 {
			return
		}
		if flip == 0 && claimed == size && (len(payloads) > 1 || tail >= size) {
			apart(t, merged(six, payloads...), int(size), payloads)
		}
		last := payloads[len(payloads)-1]
		last[int(at)%len(last)] ^= flip
		frame := merged(six, payloads...)
		p, r := flood.ParseEthernet(frame, flood.Trust{Checked: true})
		if r != flood.Kept || claimed == 0 {
			return
		}
		total := 0
		for at := 0; at < len(p.Payload); at += int(claimed) {
			part, r := p.Segment(at, min(at+int(claimed), len(p.Payload)))
			if r != flood.Kept {
				require.Contains(t, []flood.Reason{flood.NoVXLAN, flood.BadFlags}, r)
				continue
			}
			require.GreaterOrEqual(t, len(part.Inner()), 14)
			total += len(part.Payload)
		}
		require.LessOrEqual(t, total, len(p.Payload))
		if parts, r := p.Split(int(claimed)); r == flood.Kept {
			require.NotEmpty(t, parts)
		}
	})
}

// An IPv4 header with options and a checksum within that a device was to complete: the VXLAN devices of Linux send no options, so
// the packet is refused as one that was damaged, and counted as that.
func TestOptionsWithAnUnfinishedChecksumWithin(t *testing.T) {
	inner := floodtest.Inner{UDP: true, Data: floodtest.InnerFrame(7, 100)}
	whole := func(partial bool) []byte {
		b := outer(false, func(p *floodtest.Packet) { p.Inner = inner.Bytes(false) }).Bytes()
		plain := outer(false, func(p *floodtest.Packet) { p.Inner = inner.Bytes(partial) }).Bytes()
		copy(b[14+20+8:], plain[14+20+8:]) // the outer checksum is right for when the inner one is there (lco_csum)
		options := append(append([]byte{}, b[:14+20]...), 1, 1, 1, 0)
		options = append(options, b[14+20:]...)
		options[14], options[17] = 0x46, options[17]+4
		if options[17] < 4 {
			options[16]++
		}
		sumIPv4(options[14 : 14+24])
		return options
	}
	p, r := flood.ParseEthernet(whole(false), flood.Trust{})
	require.Equal(t, flood.Kept, r)
	assert.Equal(t, netip.AddrFrom4([4]byte(whole(false)[14+12:])), p.Source)
	_, r = flood.ParseEthernet(whole(true), flood.Trust{})
	assert.Equal(t, flood.BadUDPChecksum, r)
}
