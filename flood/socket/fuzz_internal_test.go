package socket

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/flood"
	"github.com/vtepbgp/vtepbgp/flood/floodtest"
)

// FuzzFrame: whatever the socket reads, with whatever the offload header says, is dropped for
// a reason or becomes packets that can be sent.
func FuzzFrame(f *testing.F) {
	for _, frame := range floodtest.Corpus(make([]byte, 6)) {
		f.Add(make([]byte, sizeVnet), frame, false)
		for _, merged := range []byte{vnetTCPv4, vnetTCPv6, vnetUDP} {
			header := make([]byte, sizeVnet)
			header[0], header[1] = vnetNeedsChecksum, merged
			binary.NativeEndian.PutUint16(header[4:], 50)
			binary.NativeEndian.PutUint16(header[6:], 84)
			binary.NativeEndian.PutUint16(header[8:], 16)
			f.Add(header, frame, true)
		}
	}
	group, service := netip.MustParseAddr("239.1.1.100"), netip.MustParseAddr("10.255.0.1")
	d, err := flood.Compile(&flood.Table{Networks: []flood.Network{
		{VNI: 100, Listen: service, VTEPs: []flood.VTEP{{Address: netip.MustParseAddr("10.9.0.1")}}},
		{VNI: 100, Listen: group, Segment: []netip.Prefix{netip.MustParsePrefix("10.0.1.0/24")}, Others: true, VTEPs: []flood.VTEP{{Address: netip.MustParseAddr("10.9.0.1")}}},
	}}, nil)
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, header, frame []byte, sent bool) {
		if len(header) < sizeVnet {
			return
		}
		var b batcher
		b.begin(d, flood.NewEars(), 0)
		before := d.Counters().Total
		b.add(frameOf(append(append([]byte{}, header[:sizeVnet]...), frame...), sent))
		after := d.Counters().Total
		dropped := uint64(0)
		for r, n := range after.Dropped {
			dropped += n - before.Dropped[r]
		}
		require.Equal(t, after.Packets-before.Packets, after.Relayed-before.Relayed+dropped, "every packet is copied or dropped")
		relayed := uint64(0)
		for _, r := range b.all {
			relayed += uint64(len(r.packets))
			for i := range r.packets {
				require.GreaterOrEqual(t, len(r.packets[i].Inner()), 14)
				require.LessOrEqual(t, len(r.packets[i].Payload), len(r.packets[0].Payload))
			}
			require.Positive(t, r.verdict.Copies())
		}
		require.Equal(t, after.Relayed-before.Relayed, relayed)
	})
}

// FuzzAttributes: what is read of a netlink message is within it.
func FuzzAttributes(f *testing.F) {
	one := make([]byte, unix.SizeofRtAttr+4)
	binary.NativeEndian.PutUint16(one, uint16(len(one)))
	binary.NativeEndian.PutUint16(one[2:], unix.NDA_DST)
	f.Add(one)
	f.Add(append(one, 3, 0, 1, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		total := 0
		attributes(b, func(_ uint16, value []byte) { total += unix.SizeofRtAttr + len(value) })
		require.LessOrEqual(t, total, len(b))
		addressIn(b, unix.NDA_DST)
	})
}
