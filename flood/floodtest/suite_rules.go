package floodtest

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/flood"
)

// testReasons: what must not be copied is not, and counted by its reason.
func testReasons(t *testing.T, open Factory, f family) {
	s := newStage(t, f)
	out := newTap(t, s.relay, "u1")
	to := f.list(4)
	alone := f.onGroup()
	alone.VNI = vni + 5
	e := s.start(open, f.table(f.onGroup(to...), alone))
	for _, c := range badPackets(f) {
		t.Run(c.reason.String()+" "+c.name, func(t *testing.T) {
			p := s.packet(100, Full)
			c.spoil(p)
			before := e.Counters().Total
			s.hose.send(t, p)
			s.await(e, "it is counted", func(n flood.Counters) bool {
				return n.Total.Dropped[c.reason] == before.Dropped[c.reason]+1
			})
			after := e.Counters().Total
			assert.Equal(t, before.Packets+1, after.Packets)
			assert.Equal(t, before.Relayed, after.Relayed)
			good := s.packet(100, Full)
			s.hose.send(t, good)
			out.expect(t, to, good)
		})
	}
}

type badPacket struct {
	reason flood.Reason
	name   string
	spoil  func(p *Packet)
}

func badPackets(f family) []badPacket {
	all := []badPacket{
		{flood.BadUDPLength, "too long", func(p *Packet) {
			p.Mangle = func(_, udp []byte) { binary.BigEndian.PutUint16(udp[4:], uint16(len(udp)+1)) }
		}},
		{flood.BadUDPLength, "too short", func(p *Packet) {
			p.Mangle = func(_, udp []byte) { binary.BigEndian.PutUint16(udp[4:], uint16(len(udp)-1)) }
		}},
		{flood.Truncated, "cut off", func(p *Packet) { p.Trim = 10 }},
		{flood.BadUDPChecksum, "payload damaged", func(p *Packet) { p.MangleLate = func(_, udp []byte) { udp[60] ^= 1 } }},
		{flood.WrongPort, "", func(p *Packet) { p.Port = 8472 }},
		{flood.NoVXLAN, "no frame inside", func(p *Packet) { p.Inner = p.Inner[:13] }},
		{flood.BadFlags, "no VNI", func(p *Packet) { p.Flags = 0 }},
		{flood.BadFlags, "group policy", func(p *Packet) { p.Flags = 0x88000000 }},
		{flood.BadFlags, "GPE", func(p *Packet) { p.Flags = 0x0c000003 }},
		{flood.BadFlags, "reserved byte", func(p *Packet) { p.Mangle = func(_, udp []byte) { udp[15] = 1 } }},
		{flood.UnknownVNI, "", func(p *Packet) { p.VNI = vni + 1 }},
		{flood.SourceOutside, "", func(p *Packet) { p.Source = f.far }},
		{flood.OwnSource, "", func(p *Packet) { p.Source = f.relay }},
		{flood.Relayed, "marked", func(p *Packet) { p.TOS = flood.Mark << 2 }},
		{flood.Relayed, "marked, with congestion", func(p *Packet) { p.TOS = flood.Mark<<2 | 3 }},
		{flood.BadSource, "group", func(p *Packet) { p.Source = f.group }},
		{flood.Nobody, "", func(p *Packet) { p.VNI = vni + 5 }},
		{flood.BadTTL, "", func(p *Packet) { p.TTL = 0 }},
	}
	if f.six {
		return append(all,
			badPacket{flood.NoUDPChecksum, "", func(p *Packet) { p.Checksum = Zero }},
			badPacket{flood.Fragment, "", func(p *Packet) { p.Mangle = func(ip, _ []byte) { ip[6] = 44 } }})
	}
	return append(all,
		badPacket{flood.Fragment, "first", func(p *Packet) { p.Mangle = func(ip, _ []byte) { ip[6] = 0x20 } }},
		badPacket{flood.Fragment, "later", func(p *Packet) { p.Mangle = func(ip, _ []byte) { ip[7] = 20 } }},
		badPacket{flood.BadIPChecksum, "", func(p *Packet) { p.MangleLate = func(ip, _ []byte) { ip[1] ^= 0x40 } }},
		badPacket{flood.BadIPHeader, "header longer than the packet", func(p *Packet) {
			p.Mangle = func(ip, _ []byte) { binary.BigEndian.PutUint16(ip[2:], 19) }
		}})
}

// testRate: no more than the burst at once.
func testRate(t *testing.T, open Factory, f family) {
	s := newStage(t, f)
	out := newTap(t, s.relay, "u1")
	to := f.list(2)
	network := f.onGroup(to...)
	network.Rate, network.Burst = 1, 10
	e := s.start(open, f.table(network))
	var packets []*Packet
	for range 100 {
		packets = append(packets, s.packet(64, Full))
	}
	s.send(e, packets...)
	s.await(e, "all are judged", func(c flood.Counters) bool { return c.Total.Relayed+c.Total.Dropped[flood.Limited] == 100 })
	relayed := e.Counters().Total.Relayed
	assert.GreaterOrEqual(t, relayed, uint64(10))
	assert.Less(t, relayed, uint64(10+2*within.Seconds()), "one a second, on however slow a machine")
	out.expect(t, to, packets[:10]...)
}

// testFacing: two replicators that were told of each other as plain VTEPs. A copy is not
// copied again, so everything dies out.
func testFacing(t *testing.T, open Factory, f family) {
	s := newStage(t, f)
	out := newTap(t, s.relay, "u1")
	other := f.service.Next()
	s.address(s.beyond, "lo", netip.PrefixFrom(other, f.bits()).String())
	s.relay.IP(t, "route", "add", netip.PrefixFrom(other, f.bits()).String(), "via", f.gateway.String())
	s.beyond.IP(t, "route", "add", netip.PrefixFrom(f.service, f.bits()).String(), "via", f.exit.String())
	s.beyond.IP(t, "neigh", "replace", f.exit.String(), "lladdr", hardware(t, s.relay, "u1").String(), "dev", "v1", "nud", "permanent")
	back := newTap(t, s.beyond, "v1", ignoring(f.leaf, f.far)) // ICMP has it that nobody listens on the port
	to := f.list(2)
	here := s.start(open, f.table(f.onService(append([]netip.Addr{other}, to...)...)))
	there := launch(t, open, options(t, s.beyond, "v1"), &flood.Table{
		Own: []netip.Addr{f.gateway, f.near}, Networks: []flood.Network{{VNI: vni, Listen: other, VTEPs: vteps(f.service, f.exit)}},
	})
	var packets []*Packet
	for range 20 {
		packets = append(packets, s.toService(100, Full))
	}
	s.send(here, packets...)
	out.expect(t, append([]netip.Addr{other}, to...), packets...)
	s.await(there, "the other one refuses copies", func(c flood.Counters) bool { return c.Total.Dropped[flood.Relayed] == 20 })
	assert.Zero(t, there.Counters().Total.Copies)
	assert.Zero(t, back.seen(), "nothing comes back")
	// The other way round: what the first relay hears of a second one's copies.
	copied := s.toService(100, Full)
	copied.TOS = flood.Mark << 2
	s.send(here, copied)
	s.await(here, "it refuses copies", func(c flood.Counters) bool { return c.Total.Dropped[flood.Relayed] == 1 })
	assert.Empty(t, out.take(t))
}

// testUnresolved: VTEPs that do not answer, and one that has yet to be asked for, cost
// the others nothing, neither at first nor in the long run.
func testUnresolved(t *testing.T, open Factory, f family) {
	s := newStage(t, f)
	out := newTap(t, s.relay, "u1")
	to := append([]netip.Addr{f.near}, f.list(14)...)
	dead := []netip.Addr{f.dead, f.dead.Next(), f.dead.Next().Next()}
	e := s.start(open, f.table(f.onGroup(append(dead, to...)...)))
	first := s.packet(1400, Full)
	s.hose.send(t, first)
	out.expect(t, to, first) // also to the one that had to be asked for
	var packets []*Packet
	for range 3000 {
		packets = append(packets, s.packet(1400, Full))
	}
	s.send(e, packets...)
	out.expect(t, to, packets...)
	require.Zero(t, e.Counters().Total.Dropped[flood.Overrun])

	// One of them comes to life: it gets what is sent from then on.
	s.address(s.beyond, "v1", f.host(f.dead))
	eventually(t, func() (string, bool) {
		s.hose.send(t, s.packet(64, Full))
		return "nothing to who came to life", slices.ContainsFunc(out.take(t), func(l leaving) bool { return l.to == f.dead })
	})
}
