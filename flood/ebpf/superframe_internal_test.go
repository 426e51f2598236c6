package ebpf

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/flood"
	"github.com/vtepbgp/vtepbgp/flood/floodtest"
)

// runMerged gives a frame to a program that offloads have merged of packets with this many bytes. No device takes its copies,
// as how it is to be cut cannot be told here: they count as those that a full queue does not take.
func (b *bench) runMerged(frame []byte, sent bool, size, packets int) {
	b.t.Helper()
	program := b.objects.FloodIngress
	if sent {
		program = b.objects.FloodEgress
	}
	skb := make([]byte, 192) // struct __sk_buff
	binary.NativeEndian.PutUint32(skb[164:], uint32(packets))
	binary.NativeEndian.PutUint32(skb[176:], uint32(size))
	require.NoError(b.t, b.ns.Do(func() error {
		_, err := program.Run(&ebpf.RunOptions{Data: frame, Context: skb})
		return err
	}))
}

// TestMerged: what offloads have merged of packets of one network is copied as a whole. What is of several goes to user
// space, unless it is the data within one frame.
func TestMerged(t *testing.T) {
	const size, n = 200, 3
	b := newBench(t)
	b.apply(table())
	outer := func(to, from netip.Addr, vnis ...uint32) []byte {
		p := packet(to, from, size-8)
		for _, vni := range vnis {
			p.Inner = append(p.Inner, 8, 0, 0, 0, 0, byte(vni>>8), byte(vni), 0)
			p.Inner = append(p.Inner, floodtest.InnerFrame(1, size-8)...)
		}
		return p.Bytes()
	}
	long := func(to, from netip.Addr, inner floodtest.Inner, tagged bool) []byte {
		inner.Data = make([]byte, n*size)
		for at := size - 8 - inner.HeaderLength(); at+22 < len(inner.Data); at += size {
			copy(inner.Data[at:], []byte{8, 0, 0, 0, 0, 0, 102, 0}) // posing as a packet of another network
		}
		p := packet(to, from, 64)
		p.Inner = inner.Bytes(true)
		if tagged {
			p.Inner = append(append(append([]byte{}, p.Inner[:12]...), 0x81, 0, 0, 7), p.Inner[12:]...)
		}
		return p.Bytes()
	}
	copied, handed := map[string]uint64{"packets": n, "copied": n}, map[string]uint64{"packets": 1, "overrun": 1}
	check := func(name string, frame []byte, sent bool, copies uint64, want map[string]uint64) {
		t.Helper()
		before := b.count().Total
		b.runMerged(frame, sent, size, n)
		got := moved(before, b.count().Total)
		assert.Equal(t, copies, got["egress_full"], name)
		delete(got, "egress_full")
		assert.Equal(t, want, got, name)
	}
	for _, six := range []bool{false, true} {
		leaf, own, group, service := leaf4, own4, group4, service4
		if six {
			leaf, own, group, service = leaf6, own6, group6, service6
		}
		check("one network", outer(service, leaf, 100, 100), false, 5*n, copied)
		check("several networks", outer(service, leaf, 100, 102), false, 0, handed)
		check("several networks, at the end", outer(service, leaf, 102), false, 0, handed)
		check("of no network", outer(service, leaf, 0, 100), false, 0, handed)
		for i := range 8 {
			inner, tagged := floodtest.Inner{Six: i&1 != 0, UDP: i&2 != 0}, i&4 != 0
			check("long, heard", long(group, leaf, inner, tagged), false, 3*n, copied)
			check("long, own", long(group, own, inner, tagged), true, 3*n, copied)
		}
		lying := long(group, own, floodtest.Inner{UDP: true}, false)
		at := sizeEthernet + 20 + 16 + sizeEthernet + 2
		if six {
			at += 20
		}
		binary.BigEndian.PutUint16(lying[at:], size-22)
		lying = seal(lying)
		check("long, with another length", lying, true, 3*n, copied)
	}
}

// seal makes the UDP checksum of a frame right.
func seal(frame []byte) []byte {
	at := sizeEthernet + 20
	if binary.BigEndian.Uint16(frame[12:]) == etherIPv6 {
		at = sizeEthernet + 40
	}
	p, r := flood.ParseEthernet(frame, flood.Trust{Checked: true})
	if r == flood.Kept {
		binary.BigEndian.PutUint16(frame[at+6:], flood.UDPChecksum(p.Source, p.Destination, p.SourcePort, p.Port, p.Sum, len(p.Payload)))
	}
	return frame
}

// TestMergedAndTooBig: a super-frame is too big when the packets are that a device makes of it.
func TestMergedAndTooBig(t *testing.T) {
	const size, n = 200, 3
	for _, inner := range []floodtest.Inner{{}, {Six: true}, {UDP: true}, {UDP: true, Six: true}} {
		inner.Data = make([]byte, n*size)
		b := newBench(t)
		p := packet(group4, leaf4, 64)
		p.Inner = inner.Bytes(true)
		largest := 20 + 8 + 8 + inner.HeaderLength() + size
		reach := b.lists.way
		b.lists.way = func(a destination) way {
			w := reach(a)
			w.mtu = uint32(largest)
			if a.address == far4 {
				w.mtu--
			}
			return w
		}
		b.apply(table())
		b.runMerged(p.Bytes(), false, size, n)
		c := b.count().Total
		assert.EqualValues(t, n, c.Dropped[flood.TooBig], "%+v", inner)
		assert.EqualValues(t, 2*n, c.Dropped[flood.EgressFull], "%+v", inner)
	}
}
