package socket

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/flood"
	"github.com/vtepbgp/vtepbgp/flood/floodtest"
	"github.com/vtepbgp/vtepbgp/kernel/kerneltest"
)

var service = netip.MustParseAddr("10.255.0.1")

// packetOf is a frame from a port with an inner frame of a size.
func packetOf(port uint16, size int, number uint32, c floodtest.Checksum) frame {
	p := floodtest.Packet{
		Source: netip.MustParseAddr("10.7.0.1"), To: service, SourcePort: port, Port: flood.Port, VNI: 1, TTL: 1, Flags: 0x08000000,
		Checksum: c, Inner: floodtest.InnerFrame(number, size),
	}
	return frame{bytes: p.Bytes()}
}

func newBatch(t *testing.T) *batcher {
	d, err := flood.Compile(&flood.Table{Networks: []flood.Network{{
		VNI: 1, Listen: service, VTEPs: []flood.VTEP{{Address: netip.MustParseAddr("10.9.0.1")}},
	}}}, nil)
	require.NoError(t, err)
	b := &batcher{}
	b.begin(d, flood.NewEars(), 0)
	return b
}

func TestRunsKeepTheOrderOfAFlow(t *testing.T) {
	b := newBatch(t)
	for i, p := range []struct {
		port uint16
		size int
		sum  floodtest.Checksum
	}{
		{1, 100, floodtest.Full}, {2, 100, floodtest.Full}, {1, 100, floodtest.Full}, // two flows
		{1, 60, floodtest.Full}, {1, 60, floodtest.Full}, // a shorter one ends a run
		{1, 100, floodtest.Full},                           // a longer one cannot join
		{2, 100, floodtest.Zero}, {2, 100, floodtest.Zero}, // another kind of checksum
	} {
		b.add(packetOf(p.port, p.size, uint32(i), p.sum))
	}
	var runs [][]uint32
	for _, r := range b.all {
		var numbers []uint32
		for _, p := range r.packets {
			numbers = append(numbers, binary.BigEndian.Uint32(p.Inner()[14:]))
		}
		runs = append(runs, numbers)
	}
	assert.Equal(t, [][]uint32{{0, 2, 3}, {1}, {4}, {5}, {6, 7}}, runs)
	first := b.all[0]
	b.forget()
	b.add(packetOf(1, 100, 9, floodtest.Full))
	require.Len(t, b.all, 1)
	assert.Len(t, b.all[0].packets, 1, "nothing of the batch before is left")
	assert.Len(t, b.free, 4, "runs are used again")
	assert.NotNil(t, first)
}

func TestMergedFramesThatCannotBeTakenApart(t *testing.T) {
	b := newBatch(t)
	f := packetOf(1, 100, 1, floodtest.Full)
	f.merged, f.segment = 1, 1400 // TCP, inside
	b.add(f)
	assert.Empty(t, b.all)
	assert.EqualValues(t, 1, b.decider.Counters().Total.Dropped[flood.SuperFrame])
}

func BenchmarkBatch(b *testing.B) {
	d, err := flood.Compile(&flood.Table{Networks: []flood.Network{{
		VNI: 1, Listen: service, VTEPs: []flood.VTEP{{Address: netip.MustParseAddr("10.9.0.1")}},
	}}}, nil)
	require.NoError(b, err)
	ears, f := flood.NewEars(), packetOf(1, 64, 1, floodtest.Full)
	var in batcher
	for b.Loop() {
		in.begin(d, ears, 0)
		for range leastDepth {
			in.add(f)
		}
		in.forget()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/leastDepth, "ns/packet")
	b.ReportAllocs()
}

// Who does not answer is known, on the link and behind a gateway, in both families.
func TestDoubts(t *testing.T) {
	ns := kerneltest.NewNamespace(t)
	ns.IP(t, "link", "add", "u1", "type", "veth", "peer", "name", "v1")
	ns.IP(t, "link", "set", "v1", "up")
	ns.IP(t, "link", "set", "u1", "up")
	for _, f := range []struct{ own, dead, alive, behindDead, behindAlive string }{
		{"10.0.2.1/24", "10.0.2.98", "10.0.2.2", "10.8.0.0/16", "10.9.0.0/16"},
		{"fd00:2::1/64", "fd00:2::98", "fd00:2::2", "fd00:8::/64", "fd00:9::/64"},
	} {
		add := []string{"addr", "add", f.own, "dev", "u1"}
		if netip.MustParsePrefix(f.own).Addr().Is6() {
			add = append(add, "nodad")
		}
		ns.IP(t, add...)
		ns.IP(t, "route", "add", f.behindDead, "via", f.dead)
		ns.IP(t, "route", "add", f.behindAlive, "via", f.alive)
		ns.IP(t, "neigh", "replace", f.alive, "lladdr", "02:00:00:00:00:01", "dev", "u1", "nud", "permanent")
		ns.IP(t, "neigh", "replace", f.dead, "dev", "u1", "nud", "failed")
		d := newDoubts(ns.Do)
		defer d.close()
		dead, alive := netip.MustParseAddr(f.dead), netip.MustParseAddr(f.alive)
		beyondDead, beyondAlive := netip.MustParsePrefix(f.behindDead).Addr().Next(), netip.MustParsePrefix(f.behindAlive).Addr().Next()
		now := d.asked.Add(neighborsFor)
		assert.False(t, d.about(dead), "nobody has asked")
		require.NoError(t, d.ask(now))
		assert.True(t, d.about(dead))
		assert.True(t, d.about(beyondDead))
		assert.False(t, d.about(alive))
		assert.False(t, d.about(beyondAlive))
		assert.False(t, d.about(netip.MustParseAddr("192.0.2.1")), "no way at all")
		ns.IP(t, "neigh", "replace", f.dead, "lladdr", "02:00:00:00:00:02", "dev", "u1", "nud", "permanent")
		require.NoError(t, d.renew(now.Add(neighborsFor/2)))
		assert.True(t, d.about(dead), "an answer is believed for a while")
		require.NoError(t, d.renew(now.Add(neighborsFor)))
		assert.False(t, d.about(dead))
		assert.False(t, d.about(beyondDead))
	}
}
