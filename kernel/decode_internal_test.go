package kernel

import (
	"encoding/hex"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/evpn"
)

var (
	fuzzMAC = evpn.MAC{2, 0, 0, 0, 0, 0xb}
	fuzzIP  = netip.MustParseAddr("10.0.0.2")
)

func encoded(op NeighborOp) []byte {
	m, _, _ := nextMessage(appendNeighborOp(nil, op, 1, false))
	return m.body
}

// What we write is what we would read.
func TestNeighborRoundTrip(t *testing.T) {
	rows := []Neighbor{
		{Family: unix.AF_BRIDGE, Index: 7, MAC: fuzzMAC, Addr: fuzzIP, Flags: unix.NTF_SELF | unix.NTF_EXT_LEARNED, State: unix.NUD_REACHABLE},
		{Family: unix.AF_BRIDGE, Index: 7, Addr: netip.MustParseAddr("2001:db8::2"), Flags: unix.NTF_SELF, State: unix.NUD_NOARP | unix.NUD_PERMANENT},
		{Family: unix.AF_BRIDGE, Index: 7, MAC: fuzzMAC, Flags: unix.NTF_MASTER, VLAN: 10},
		{Family: unix.AF_INET6, Index: 6, MAC: fuzzMAC, Addr: netip.MustParseAddr("2001:db8::11"), Flags: unix.NTF_EXT_LEARNED | unix.NTF_ROUTER, State: unix.NUD_NOARP, Protocol: Protocol},
	}
	for _, want := range rows {
		got, ok := decodeNeighbor(encoded(NeighborOp{Neighbor: want}))
		require.True(t, ok)
		assert.Equal(t, want, got)
	}
}

// The message of a remote MAC, byte by byte (little-endian hosts).
func TestRemoteMACMessage(t *testing.T) {
	if native.Uint16([]byte{1, 0}) != 1 {
		t.Skip("written for little-endian hosts")
	}
	got := appendNeighborOp(nil, NeighborOp{Neighbor: Neighbor{
		Family: unix.AF_BRIDGE, Index: 7, MAC: fuzzMAC, Addr: fuzzIP,
		Flags: unix.NTF_SELF | unix.NTF_MASTER | unix.NTF_EXT_LEARNED, State: unix.NUD_REACHABLE,
	}}, 5, true)
	assert.Equal(t, ""+
		"30000000"+"1c00"+"0505"+"05000000"+"00000000"+ // RTM_NEWNEIGH, REQUEST|ACK|CREATE|REPLACE
		"07000000"+"07000000"+"0200"+"16"+"00"+ // AF_BRIDGE, index 7, REACHABLE, SELF|MASTER|EXT_LEARNED
		"0a000200"+"02000000000b"+"0000"+ // NDA_LLADDR
		"08000100"+"0a000002", // NDA_DST
		hex.EncodeToString(got))
}

func FuzzDecodeNeighbor(f *testing.F) {
	f.Add(encoded(NeighborOp{Neighbor: Neighbor{Family: unix.AF_BRIDGE, Index: 7, MAC: fuzzMAC, Addr: fuzzIP, VLAN: 3, Protocol: 9}}))
	f.Add([]byte{7, 0, 0, 0, 1, 0, 0, 0, 2, 0, 2, 0, 3, 0, 1, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		b = slices.Clone(b)
		before := slices.Clone(b)
		n, ok := decodeNeighbor(b)
		require.Equal(t, before, b, "input is not changed")
		if !ok {
			require.Zero(t, n)
			return
		}
		kept := n
		for i := range b {
			b[i] ^= 0xff
		}
		require.Equal(t, kept, n, "result shares no memory with the input")
		if n.Master != 0 {
			return // is never written
		}
		again, ok := decodeNeighbor(encoded(NeighborOp{Neighbor: n}))
		require.True(t, ok)
		require.Equal(t, n, again)
	})
}

func FuzzDecodeLink(f *testing.F) {
	on := true
	m, _, _ := nextMessage(appendAddLink(nil, LinkSpec{Name: "vxlan100", MTU: 1550, VXLAN: VXLANAttributes{VNI: 100, Local: fuzzIP, Port: 4789}}, 1))
	f.Add(m.body)
	m, _, _ = nextMessage(appendSetLink(nil, 7, LinkSettings{Learning: &on, NeighSuppress: &on, Up: &on}, 1))
	f.Add(m.body)
	f.Fuzz(func(t *testing.T, b []byte) {
		b = slices.Clone(b)
		l, ok := decodeLink(b)
		kept := l
		kept.Name, kept.Alias, kept.Kind = string([]byte(l.Name)), string([]byte(l.Alias)), string([]byte(l.Kind))
		a, addrOK := decodeAddress(b)
		if addrOK != a.IP.IsValid() {
			t.Fatal("an address without an address")
		}
		for i := range b {
			b[i] ^= 0xff
		}
		require.Equal(t, kept, l, "result shares no memory with the input")
		if !ok {
			require.Zero(t, l)
		}
	})
}

// What we ask for when we create a device reads back as such.
func TestLinkRoundTrip(t *testing.T) {
	for _, want := range []LinkSpec{
		{Name: "vxlan100", MTU: 1550, VXLAN: VXLANAttributes{VNI: 100, Local: fuzzIP, Port: 4789}},
		{Name: "vxlan101", VXLAN: VXLANAttributes{VNI: 101, Local: netip.MustParseAddr("2001:db8::1"), Remote: netip.MustParseAddr("ff05::1"), Port: 8472, Learning: true}},
	} {
		m, _, ok := nextMessage(appendAddLink(nil, want, 1))
		require.True(t, ok)
		got, ok := decodeLink(m.body)
		require.True(t, ok)
		assert.Equal(t, want, LinkSpec{Name: got.Name, MTU: got.MTU, VXLAN: got.VXLAN})
	}
}

func FuzzMessages(f *testing.F) {
	f.Add(appendNeighborOp(appendDeleteLink(nil, 3, 1), NeighborOp{Neighbor: Neighbor{Family: unix.AF_BRIDGE}}, 2, true))
	f.Fuzz(func(t *testing.T, b []byte) {
		total := 0
		for m, rest, ok := nextMessage(b); ok; m, rest, ok = nextMessage(rest) {
			if total += unix.SizeofNlMsghdr + len(m.body); total > len(b) {
				t.Fatal("messages are longer than their buffer")
			}
			_ = m.errno()
			_ = m.explanation()
		}
	})
}
