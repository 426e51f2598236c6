//go:build lab

package lab_test

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/flood"
	"github.com/vtepbgp/vtepbgp/flood/floodtest"
)

// wrongPacket is a packet that no relay may copy, and why.
type wrongPacket struct {
	reason flood.Reason
	name   string
	spoil  func(p *floodtest.Packet)
}

// wrongPackets are what issue and RFC 7348 §4.3 name: fragments, truncated, malformed, and what only looks right.
func wrongPackets(family int) []wrongPacket {
	early := func(change func(ip, udp []byte)) func(*floodtest.Packet) {
		return func(p *floodtest.Packet) { p.Mangle = change }
	}
	all := []wrongPacket{
		{flood.Truncated, "ends before IP says so", func(p *floodtest.Packet) { p.Trim = 20 }},
		{flood.BadUDPLength, "UDP longer than IP", early(func(_, udp []byte) { udp[5]++ })},
		{flood.BadUDPLength, "UDP shorter than IP", early(func(_, udp []byte) { udp[5]-- })},
		{flood.BadUDPLength, "UDP shorter than its header", early(func(_, udp []byte) { udp[4], udp[5] = 0, 7 })},
		{flood.BadUDPChecksum, "a bit flipped", func(p *floodtest.Packet) { p.MangleLate = func(_, udp []byte) { udp[30] ^= 1 } }},
		{flood.BadTTL, "TTL 0", func(p *floodtest.Packet) { p.TTL = 0 }},
		{flood.NoVXLAN, "half an Ethernet header inside", func(p *floodtest.Packet) { p.Inner = p.Inner[:7] }},
		{flood.NoVXLAN, "nothing inside", func(p *floodtest.Packet) { p.Inner = nil }},
		{flood.BadFlags, "no VNI", func(p *floodtest.Packet) { p.Flags = 0 }},
		{flood.BadFlags, "reserved bits", func(p *floodtest.Packet) { p.Flags = 0x08000100 }},
		{flood.UnknownVNI, "VNI of nobody", func(p *floodtest.Packet) { p.VNI = 4711 }},
		{flood.WrongPort, "another port", func(p *floodtest.Packet) { p.Port = 8472 }},
		{flood.BadSource, "from the group", func(p *floodtest.Packet) { p.Source = p.To }},
		{flood.Relayed, "a copy", func(p *floodtest.Packet) { p.TOS = flood.Mark << 2 }},
	}
	if family == 6 {
		return append(all,
			wrongPacket{flood.Fragment, "fragment header", early(func(ip, _ []byte) { ip[6] = 44 })},
			wrongPacket{flood.BadIPHeader, "no payload", early(func(ip, _ []byte) { ip[4], ip[5] = 0, 0 })},
			wrongPacket{flood.BadIPHeader, "version 4", early(func(ip, _ []byte) { ip[0] = 0x40 })},
			wrongPacket{flood.NoUDPChecksum, "no UDP checksum", func(p *floodtest.Packet) { p.Checksum = floodtest.Zero }},
			wrongPacket{flood.SourceOutside, "from elsewhere", func(p *floodtest.Packet) { p.Source = netip.MustParseAddr("fd00:1:77::1") }})
	}
	return append(all,
		wrongPacket{flood.Fragment, "first fragment", early(func(ip, _ []byte) { ip[6] = 0x20 })},
		wrongPacket{flood.Fragment, "last fragment", early(func(ip, _ []byte) { ip[7] = 20 })},
		wrongPacket{flood.BadIPHeader, "version 6", early(func(ip, _ []byte) { ip[0] = 0x65 })},
		wrongPacket{flood.BadIPHeader, "header of 16 octets", early(func(ip, _ []byte) { ip[0] = 0x44 })},
		wrongPacket{flood.BadIPHeader, "total length below the header", early(func(ip, _ []byte) { ip[2], ip[3] = 0, 19 })},
		wrongPacket{flood.BadIPChecksum, "header checksum", func(p *floodtest.Packet) { p.MangleLate = func(ip, _ []byte) { ip[10] ^= 1 } }},
		wrongPacket{flood.SourceOutside, "from elsewhere", func(p *floodtest.Packet) { p.Source = netip.MustParseAddr("10.1.77.1") }})
}

// Raw packets to the group of a running relay: each wrong one is dropped and counted by its reason, in all places that show it,
// and what is right goes on meanwhile.
func TestFloodRefusesWrongPackets(t *testing.T) {
	t.Parallel()
	for _, engine := range []string{"ebpf", "socket"} {
		for _, family := range []int{4, 6} {
			t.Run(fmt.Sprintf("%s IPv%d", engine, family), func(t *testing.T) {
				t.Parallel()
				st := floodStage{family: family, rr: kindVTEPBGP}
				sinks := st.pick("10.8.0.0/24", "fd00:8::/64")
				st.players = []floodPlayer{st.relay("r1", engine, "unicast", 1, 0), {name: "l1", kind: kindLegacy, segment: 1}, {name: "sink", kind: kindSink}}
				st.players[0].global += metered
				st.players[0].vni += staticVTEPs(netip.MustParsePrefix(sinks).Addr().Next().String())
				st.services = map[string][]string{sinks: {"sink"}}
				f := st.build(t)
				f.settled("r1", "l1")
				f.refuses(family)
			})
		}
	}
}

func (f *flooding) refuses(family int) {
	f.t.Helper()
	st := f.stage
	group := netip.MustParseAddr(st.group())
	to := multicastMAC(group)
	if family == 4 { // RFC 1112 §6.4
		g := group.As4()
		to = net.HardwareAddr{0x01, 0x00, 0x5e, g[1] & 0x7f, g[2], g[3]}
	}
	// Past the switch, which drops some of these by itself: it looks into packets.
	wire, sink := f.openTap("router", f.port("r1")), f.openTap("sink", "eth1")
	mac := hwAddr(f.macOf("l1"))
	packet := func(number uint32) *floodtest.Packet {
		return &floodtest.Packet{
			DstMAC: to, SrcMAC: mac, Source: netip.MustParseAddr(st.addr("l1")), To: group, SourcePort: 50000, Port: flood.Port, VNI: 100, TTL: 9,
			Checksum: floodtest.Full, Flags: 0x08000000, Inner: marker(hwAddr("02:00:00:00:77:77"), number),
		}
	}
	// copied demands that just these numbers have come to the sink, once each, after the last one.
	copied := func(last uint32) {
		f.t.Helper()
		var got []uint32
		sink.until(convergence, "the copy of what is right", func(s sighting) bool {
			for n := range last + 1 {
				if !s.sent && carries(s.frame, n) {
					got = append(got, n)
				}
			}
			return carries(s.frame, last)
		})
		assert.Equal(f.t, []uint32{last}, got)
	}
	eventually(f.t, convergence, "the way to the sink", func() error {
		wire.send(packet(0).Bytes())
		for _, s := range sink.drain() {
			if carries(s.frame, 0) {
				return nil
			}
		}
		return fmt.Errorf("no copy")
	})
	f.pass(200 * time.Millisecond)
	sink.drain()
	told := f.monitor("r1", "--kind", "flood_dropped")
	expected, number := map[string]uint64{}, uint32(1)
	dropped := func() map[string]uint64 {
		c := f.counted("r1")[100]
		all := map[string]uint64{}
		for reason := range expected {
			all[reason] = c.Counters["dropped_"+reason] + c.Engines[0].Dropped[reason]
		}
		return all
	}
	const each = 3
	for _, w := range wrongPackets(family) {
		expected[w.reason.String()] += each
		for range each {
			p := packet(number)
			w.spoil(p)
			wire.send(p.Bytes())
			number++
		}
		wire.send(packet(number).Bytes())
		copied(number) // in order: what came before it was not copied
		number++
		eventually(f.t, convergence, w.name, func() error {
			if got := dropped(); !assert.ObjectsAreEqual(expected, got) {
				return fmt.Errorf("%s: counted %v, not %v", w.name, got, expected)
			}
			return nil
		})
	}
	f.t.Logf("dropped: %v", expected)
	text := f.do("r1", "vtepbgp", "flood", "show")
	for reason, n := range expected {
		assert.Contains(f.t, text, fmt.Sprintf("%s=%d", reason, n))
		assert.EqualValues(f.t, n, f.metric("r1", fmt.Sprintf("vtepbgp_flood_engine_drops_total{interface=\"eth1\",reason=%q}", reason)))
	}
	for _, reason := range []flood.Reason{flood.Fragment, flood.Truncated} {
		eventually(f.t, convergence, "it is told", told.tells(toldEvent{Kind: "flood_dropped", Reason: reason.String(), Detail: "on eth1"}))
	}
	require.NotZero(f.t, f.node("r1").PID)
}
