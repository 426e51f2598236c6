package floodtest

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/flood"
)

// Run asks everything of an engine.
func Run(t *testing.T, open Factory) {
	cases := []struct {
		name string
		run  func(t *testing.T, open Factory, f family)
	}{
		{"copies", testCopies},
		{"service", testService},
		{"runs", testRuns},
		{"merged", testMerged},
		{"own frames", testOwn},
		{"offloads within", testInner},
		{"many groups", testManyGroups},
		{"reasons", testReasons},
		{"rate", testRate},
		{"heard", testHeard},
		{"unresolved", testUnresolved},
		{"lists change", testListsChange},
		{"facing", testFacing},
		{"election", testElection},
		{"lease", testLease},
		{"kept", testKept},
		{"deliver", testDeliver},
		{"deliver elsewhere", testDeliverElsewhere},
		{"joined", testJoined},
		{"down and up", testDownUp},
		{"interface replaced", testReplaced},
		{"interface renamed", testRenamed},
		{"addresses change", testAddress},
		{"several", testSeveral},
		{"closed", testClosed},
		{"slow wire", testSlowWire},
	}
	for _, f := range families() {
		t.Run(f.name, func(t *testing.T) {
			for _, c := range cases {
				t.Run(c.name, func(t *testing.T) { c.run(t, open, f) })
			}
		})
	}
}

// testCopies: lists of every length, small and large frames, all kinds of checksums.
func testCopies(t *testing.T, open Factory, f family) {
	s := newStage(t, f)
	out := newTap(t, s.relay, "u1")
	e := s.start(open, f.table())
	for _, n := range []int{1, 2, 16, 1000} {
		to := f.list(n)
		network := f.onGroup(to...)
		network.ZeroChecksum6 = true
		require.NoError(t, e.Apply(f.table(network)))
		for _, size := range []int{64, 1400} {
			for _, c := range []Checksum{Zero, Full, Partial} {
				t.Run(fmt.Sprintf("%d VTEPs/%d bytes/%s", n, size, c), func(t *testing.T) {
					packets := []*Packet{s.packet(size, c), s.packet(size, c), s.packet(size, c)}
					before := e.Counters()
					s.send(e, packets...)
					out.expect(t, to, packets...)
					s.await(e, "copies are counted", func(c flood.Counters) bool {
						return c.Total.Copies-before.Total.Copies == uint64(3*n) && c.Total.Relayed-before.Total.Relayed == 3
					})
				})
			}
		}
	}
}

// testService: unicast to a service address is copied to all but who sent it.
func testService(t *testing.T, open Factory, f family) {
	s := newStage(t, f)
	out := newTap(t, s.relay, "u1")
	to := f.list(16)
	from := to[7]
	// Neither we nor another replicator gets a copy, whatever the list says.
	network := f.onService(append(slices.Clone(to), f.relay, f.exit, f.service, addrNext(f.service))...)
	table := f.table(network)
	table.Services = []netip.Addr{addrNext(f.service)}
	e := s.start(open, table)
	for _, size := range []int{64, 1400} {
		inside, outside := s.toService(size, Full), s.toService(size, Full)
		inside.Source = from
		s.send(e, inside)
		out.expect(t, slices.Delete(slices.Clone(to), 7, 8), inside)
		s.send(e, outside)
		out.expect(t, to, outside)
	}
	notMine := s.toService(64, Full)
	notMine.DstMAC = []byte{2, 0xbb, 0, 0, 0, 9}
	s.hose.send(t, notMine)
	mine := s.toService(64, Full)
	s.hose.send(t, mine)
	out.expect(t, to, mine)

	// What this host sends to such an address is another's to copy, also where it hears its own frames to a group.
	table.Networks = append(table.Networks, f.onGroup(to...))
	require.NoError(t, e.Apply(table))
	before := e.Counters().Total
	sent := s.toService(64, Full)
	sent.Source = f.relay
	newHose(t, s.relay, "u0").send(t, sent)
	mine = s.own(64)
	newHose(t, s.relay, "u0").send(t, mine)
	out.expect(t, to, mine)
	assert.Equal(t, before.Packets+1, e.Counters().Total.Packets)
}

func addrNext(a netip.Addr) netip.Addr { return a.Next() }

// testRuns: many packets of a few flows at once keep their order, and their number, on a
// plain card and on one that takes packets merged and without checksums.
func testRuns(t *testing.T, open Factory, f family) {
	for offloads, name := range []string{"plain", "offloads"} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, f)
			setOffloads(t, s.relay, "u1", uint32(offloads))
			sendRuns(t, open, s)
		})
	}
}

func sendRuns(t *testing.T, open Factory, s *stage) {
	f := s.family
	out := newTap(t, s.relay, "u1")
	to := f.list(16)
	e := s.start(open, f.table(f.onGroup(to...)))
	var packets []*Packet
	for i := range 600 {
		size := 200
		if i%50 > 45 {
			size = 64 + i%7
		}
		p := s.packet(size, Full)
		p.SourcePort = 50000 + uint16(i%3)
		packets = append(packets, p)
	}
	s.send(e, packets...)
	copies := out.expect(t, to, packets...)
	type stream struct {
		to   netip.Addr
		port uint16
	}
	last := map[stream]uint32{}
	for _, c := range copies {
		k := stream{c.to, c.port}
		if n, ok := last[k]; ok && n >= c.number {
			require.Fail(t, "out of order", "%d after %d to %s", c.number, n, c.to)
		}
		last[k] = c.number
	}
}

// testMerged: what offloads merged arrives at the VTEPs as the frames that it was.
func testMerged(t *testing.T, open Factory, f family) {
	s := newStage(t, f)
	out := newTap(t, s.relay, "u1")
	to := f.list(16)
	e := s.start(open, f.table(f.onGroup(to...)))
	for range 3 {
		packets := make([]*Packet, 20)
		for i := range packets {
			packets[i] = s.packet(500, Full)
		}
		s.hose.sendMerged(t, packets...)
		out.expect(t, to, packets...)
	}
	_ = e
}

// testOwn: what this host's own VXLAN device sends to the group is copied like
// anything else on the group, with whatever checksum the device leaves to do.
func testOwn(t *testing.T, open Factory, f family) {
	s := newStage(t, f)
	out := newTap(t, s.relay, "u1")
	to := f.list(16)
	e := s.start(open, f.table(f.onGroup(to...)))
	device := s.vxlan(s.relay, "u0", f.relay, "udpcsum")
	var numbers []uint32
	for i := range 3 {
		number := uint32(7000 + i)
		numbers = append(numbers, number)
		device.write(t, append(make([]byte, vnetLength), InnerFrame(number, 300)...))
	}
	want := len(to) * len(numbers)
	eventually(t, func() (string, bool) {
		return fmt.Sprintf("%d of %d; %+v", out.seen(), want, e.Counters().Total), out.seen() >= want
	})
	got := map[netip.Addr][]uint32{}
	for _, c := range out.take(t) {
		assert.Equal(t, f.relay, c.from)
		assert.Equal(t, InnerFrame(c.number, 300), c.payload[vxlanLength:])
		got[c.to] = append(got[c.to], c.number)
	}
	for _, a := range to {
		assert.Equal(t, numbers, got[a], "to %s", a)
	}
	// And what comes from the segment still is.
	p := s.packet(64, Full)
	s.hose.send(t, p)
	out.expect(t, to, p)
}

// testHeard: who sends is noted where the network asks for it.
func testHeard(t *testing.T, open Factory, f family) {
	s := newStage(t, f)
	network := f.onGroup(f.list(1)...)
	network.HearVTEPs, network.HearMACs = true, true
	e := s.start(open, f.table(network))
	p, damaged := s.packet(64, Full), s.packet(64, Full)
	damaged.Source, damaged.VNI = f.leaf.Next(), vni+1
	s.send(e, damaged, p)
	var heard []flood.Heard
	eventually(t, func() (string, bool) {
		heard = e.Heard(within)
		return fmt.Sprint(heard), len(heard) == 2
	})
	macs := map[string]bool{}
	for _, h := range heard {
		assert.Equal(t, f.leaf, h.VTEP)
		assert.EqualValues(t, vni, h.VNI)
		macs[h.MAC.String()] = true
	}
	assert.Equal(t, map[string]bool{"00:00:00:00:00:00": true, "02:00:00:00:00:01": true}, macs)
}

// testClosed: a closed engine sends nothing more, and can be had again.
func testClosed(t *testing.T, open Factory, f family) {
	s := newStage(t, f)
	out := newTap(t, s.relay, "u1")
	to := f.list(4)
	first := s.start(open, f.table(f.onGroup(to...)))
	p := s.packet(64, Full)
	s.send(first, p)
	out.expect(t, to, p)
	require.NoError(t, first.Close())
	require.ErrorIs(t, first.Close(), os.ErrClosed)
	require.ErrorIs(t, first.Apply(f.table()), os.ErrClosed)
	require.ErrorIs(t, first.Start(), os.ErrClosed)
	assert.EqualValues(t, len(to), first.Counters().Total.Copies, "what was counted can still be read")
	s.hose.send(t, s.packet(64, Full))
	second := s.start(open, f.table(f.onGroup(to...)))
	p = s.packet(64, Full)
	s.send(second, p)
	out.expect(t, to, p)
}

// testManyGroups: the interface is a member of the group of every network, as switches
// that snoop would not bring it the frames otherwise, and no longer than that.
func testManyGroups(t *testing.T, open Factory, f family) {
	s := newStage(t, f)
	require.NoError(t, s.relay.Do(func() error { return os.WriteFile("/proc/sys/net/ipv4/igmp_max_memberships", []byte("7"), 0) }))
	out := newTap(t, s.relay, "u1")
	to := f.list(2)
	e := s.start(open, f.table())
	var networks []flood.Network
	group := f.group
	for i := range 150 {
		n := f.onGroup(to...)
		group = group.Next()
		n.VNI, n.Listen = evpn.VNI(1000+i), group
		networks = append(networks, n)
	}
	require.NoError(t, e.Apply(f.table(networks...)))
	s.members(networks...)
	for _, i := range []int{0, 75, 149} {
		p := s.packet(64, Full)
		p.VNI, p.To = uint32(networks[i].VNI), networks[i].Listen
		p.DstMAC = GroupMAC(p.To)
		s.send(e, p)
		out.expect(t, to, p)
	}
	require.NoError(t, e.Apply(f.table(networks[:3]...)))
	s.members(networks[:3]...)
	require.NoError(t, e.Close())
	s.members()
}

// members waits until the relay is a member of just the groups of these networks.
func (s *stage) members(networks ...flood.Network) {
	s.t.Helper()
	var want []netip.Addr
	for _, n := range networks {
		want = append(want, n.Listen)
	}
	slices.SortFunc(want, netip.Addr.Compare)
	scope := netip.PrefixFrom(s.family.group, 16).Masked()
	eventually(s.t, func() (string, bool) {
		var got []netip.Addr
		for line := range strings.Lines(s.relay.IP(s.t, "maddr", "show", "dev", "u0")) {
			fields := strings.Fields(line)
			if group, err := netip.ParseAddr(fields[1]); err == nil && scope.Contains(group) {
				got = append(got, group)
			}
		}
		slices.SortFunc(got, netip.Addr.Compare)
		return fmt.Sprintf("%d groups: %v", len(got), got), slices.Equal(got, want)
	})
}
