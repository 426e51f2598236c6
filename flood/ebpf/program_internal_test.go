package ebpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/flood"
	"github.com/vtepbgp/vtepbgp/flood/floodtest"
	"github.com/vtepbgp/vtepbgp/kernel/kerneltest"
)

// bench is the program in the kernel without an interface: BPF_PROG_TEST_RUN gives it
// packets, and a bridge without ports takes the copies.
type bench struct {
	t       testing.TB
	ns      *kerneltest.Namespace
	objects programObjects
	lists   *lists
	rest    *folded
	decider *flood.Decider
}

func newBench(t testing.TB) *bench { return newSmallBench(t, nil) }

// newSmallBench has maps with less room than usual.
func newSmallBench(t testing.TB, room map[string]uint32) *bench {
	t.Helper()
	b := &bench{t: t, ns: kerneltest.NewNamespace(t)}
	spec, err := loadProgram()
	require.NoError(t, err)
	for name, n := range room {
		spec.Maps[name].MaxEntries = n
	}
	err = spec.LoadAndAssign(&b.objects, nil)
	var refused *ebpf.VerifierError
	if errors.As(err, &refused) {
		t.Log(strings.Join(refused.Log[max(0, len(refused.Log)-40):], "\n"))
	}
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, b.objects.Close()) })
	require.NoError(t, b.objects.Home.Set(uint32(1))) // the loopback, which BPF_PROG_TEST_RUN says packets come from
	b.ns.IP(t, "link", "add", "sink", "type", "bridge")
	b.ns.IP(t, "link", "set", "sink", "up", "mtu", "9000")
	var index int
	_, err = fmt.Sscanf(b.ns.IP(t, "-o", "link", "show", "sink"), "%d:", &index)
	require.NoError(t, err)
	b.lists = newLists(&b.objects, func(destination) way {
		return way{fast: true, device: uint32(index), dmac: [6]byte{2, 0, 0, 0, 0, 1}, smac: [6]byte{2, 0, 0, 0, 0, 2}, mtu: 9000}
	})
	return b
}

func (b *bench) apply(table *flood.Table) {
	b.t.Helper()
	d, err := flood.Compile(table, b.decider)
	require.NoError(b.t, err)
	if b.rest == nil {
		b.rest = &folded{tally: d.Rest()}
	}
	require.NoError(b.t, b.lists.install(d, table.Own, time.Now()))
	b.decider = d
}

// run gives a frame to a program. Nobody is an Ethernet address there but zeros.
func (b *bench) run(frame []byte, sent bool, repeat uint32) (action uint32, took time.Duration) {
	b.t.Helper()
	program := b.objects.FloodIngress
	if sent {
		program = b.objects.FloodEgress
	}
	require.NoError(b.t, b.ns.Do(func() (err error) {
		action, took, err = program.Benchmark(frame, int(repeat), nil)
		return err
	}))
	return action, took
}

func (b *bench) count() flood.Counters {
	b.t.Helper()
	require.NoError(b.t, b.lists.foldAll(b.rest))
	return b.decider.Counters()
}

var (
	leaf4, group4, service4 = netip.MustParseAddr("10.0.1.10"), netip.MustParseAddr("239.1.1.100"), netip.MustParseAddr("10.255.0.1")
	leaf6, group6, service6 = netip.MustParseAddr("fd00:1::10"), netip.MustParseAddr("ff0e::100"), netip.MustParseAddr("fd00:255::1")
	own4, own6              = netip.MustParseAddr("10.0.1.1"), netip.MustParseAddr("fd00:1::1")
	far4, far6              = netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("fd00:9::1")
)

func vteps(from netip.Addr, n int) (all []flood.VTEP) {
	for range n {
		all = append(all, flood.VTEP{Address: from})
		from = from.Next()
	}
	return all
}

// table has a network of each kind and family, and more that differ in one thing.
func table() *flood.Table {
	segment4, segment6 := []netip.Prefix{netip.MustParsePrefix("10.0.1.0/24")}, []netip.Prefix{netip.MustParsePrefix("fd00:1::/64")}
	return &flood.Table{Own: []netip.Addr{own4, own6}, Networks: []flood.Network{
		{VNI: 100, Listen: group4, Segment: segment4, VTEPs: vteps(far4, 3), Own: true, Others: true, Itself: []netip.Addr{leaf4.Next()}},
		{VNI: 100, Listen: group6, Segment: segment6, VTEPs: vteps(far6, 3), Own: true, Others: true, Itself: []netip.Addr{leaf6.Next()}},
		{VNI: 100, Listen: service4, VTEPs: vteps(far4, 5)},
		{VNI: 100, Listen: service6, VTEPs: vteps(far6, 5), ZeroChecksum6: true},
		{VNI: 101, Listen: group4, Segment: segment4, Port: 8472, VTEPs: vteps(far4, 1), Own: true},
		{VNI: 102, Listen: service4, VTEPs: vteps(far4, 1)},
		{VNI: 103, Listen: service6},
		{VNI: 0xffffff, Listen: group4, Segment: append(segment4, netip.MustParsePrefix("10.8.0.0/13")), VTEPs: vteps(far4, 2), Others: true},
		{VNI: 104, Listen: service4, Segment: segment4, Deliver: group4},
		{VNI: 104, Listen: service6, Segment: segment6, Deliver: group6},
	}}
}

func pick[T any](r *rand.Rand, all ...T) T { return all[r.IntN(len(all))] }

// random is a packet in which all is right or something is not, and then perhaps damaged.
func random(r *rand.Rand) (frame []byte, sent bool) {
	p := &floodtest.Packet{
		DstMAC: make([]byte, 6), SourcePort: uint16(r.Uint32()), Port: pick[uint16](r, 4789, 4789, 4789, 4789, 4789, 4789, 8472), VNI: pick[uint32](r, 100, 100, 100, 100, 100, 101, 102, 103, 104, 104, 0xffffff, 7),
		TTL: pick[uint8](r, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 1, 255, 0), TOS: pick[uint8](r, 0, 0, 0, 0, 3, 0x28, flood.Mark<<2, flood.Mark<<2|3), Checksum: pick(r, floodtest.Zero, floodtest.Full, floodtest.Full, floodtest.Full, floodtest.Partial),
		Flags: pick[uint32](r, 0x08000000, 0x08000000, 0x08000000, 0x08000000, 0x08000000, 0x08000000, 0x08000000, 0x08000000, 0x08000000, 0x08000000, 0x08000001, 0x0c000000), Inner: floodtest.InnerFrame(r.Uint32(), 18+r.IntN(1500)),
		Source: pick(r, leaf4, leaf4, leaf4.Next(), own4, far4, far4.Next(), netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("0.0.0.0"), netip.MustParseAddr("224.1.1.1"), netip.MustParseAddr("255.255.255.255")),
		To:     pick(r, group4, group4, service4, service4, far4),
	}
	if r.IntN(2) == 0 {
		p.Source = pick(r, leaf6, leaf6, leaf6.Next(), own6, far6, far6.Next(), netip.IPv6Loopback(), netip.IPv6Unspecified(), netip.MustParseAddr("ff02::1"), netip.MustParseAddr("::ffff:10.0.1.10"))
		p.To = pick(r, group6, group6, service6, service6, far6)
	}
	change := func(b []byte) {
		for range r.IntN(3) {
			b[r.IntN(min(len(b), 44))] = byte(r.Uint32())
		}
	}
	if r.IntN(20) == 0 {
		p.Inner = p.Inner[:r.IntN(14)]
	}
	switch r.IntN(8) {
	case 0:
		p.Mangle = func(ip, _ []byte) { change(ip) }
	case 1:
		p.MangleLate = func(ip, _ []byte) { change(ip) }
	case 2:
		p.MangleLate = func(_, udp []byte) { change(udp) }
	case 3:
		p.MangleLate = func(_, udp []byte) { udp[8+r.IntN(len(udp)-8)] ^= 1 << r.IntN(8) }
	}
	frame = p.Bytes()
	switch r.IntN(12) {
	case 0:
		frame = frame[:14+r.IntN(len(frame)-14)]
	case 1:
		frame = append(frame, make([]byte, r.IntN(20))...)
	}
	return frame, r.IntN(4) == 0 || (p.Source == own4 || p.Source == own6) && r.IntN(2) == 0
}

// listened says that a frame is one that the program counts: UDP, or a fragment, to an
// address of the table.
func (b *bench) listened(frame []byte, sent bool) bool {
	if len(frame) < sizeEthernet+20 {
		return false
	}
	ip := frame[sizeEthernet:]
	var to netip.Addr
	switch binary.BigEndian.Uint16(frame[12:]) {
	case etherIPv4:
		if ip[9] != 17 {
			return false
		}
		to = netip.AddrFrom4([4]byte(ip[16:20]))
	case etherIPv6:
		if len(ip) < 40 || ip[6] != 17 && ip[6] != 44 {
			return false
		}
		to = netip.AddrFrom16([16]byte(ip[24:40]))
	}
	dscp := ip[1] >> 2
	if to.Is6() {
		dscp = (ip[0]<<4 | ip[1]>>4) >> 2
	}
	return slices.Contains(b.decider.Listens(), to) && (!sent || to.IsMulticast() && dscp != flood.Mark)
}

// expect is what the decision in Go makes of a frame: the counters that move, by name.
func (b *bench) expect(frame []byte, sent bool) map[string]uint64 {
	if !b.listened(frame, sent) {
		return map[string]uint64{}
	}
	p, r := flood.ParseEthernet(frame, flood.Trust{})
	if r != flood.Kept {
		return map[string]uint64{"packets": 1, r.String(): 1}
	}
	v := b.decider.Decide(&p, sent, 1)
	if v.Reason != flood.Kept {
		return map[string]uint64{"packets": 1, v.Reason.String(): 1}
	}
	return map[string]uint64{"packets": 1, "copied": 1, "copies": uint64(v.Copies())}
}

func moved(before, after flood.Count) map[string]uint64 {
	m := map[string]uint64{"packets": after.Packets - before.Packets, "copied": after.Relayed - before.Relayed, "copies": after.Copies - before.Copies}
	for r, n := range after.Dropped {
		m[r.String()] = n - before.Dropped[r]
	}
	for k, n := range m {
		if n == 0 {
			delete(m, k)
		}
	}
	return m
}

// check gives one frame to both, and says whether they agree.
func (b *bench) check(frame []byte, sent bool) map[string]uint64 {
	b.t.Helper()
	if len(frame) < sizeEthernet+20 || binary.BigEndian.Uint16(frame[12:]) == etherIPv6 && len(frame) < sizeEthernet+40 {
		return nil // BPF_PROG_TEST_RUN refuses what is shorter than an IP header
	}
	before := b.count().Total
	expected := b.expect(frame, sent)
	b.run(frame, sent, 1)
	got := moved(before, b.count().Total)
	if len(frame) > sizeEthernet && binary.BigEndian.Uint16(frame[12:]) == etherIPv4 && frame[sizeEthernet]&0x0f > 5 && frame[sizeEthernet]>>4 == 4 && len(expected) > 0 {
		// IP options are user space's, which is not there.
		require.Equal(b.t, map[string]uint64{"packets": 1, "overrun": 1}, got, "%x", frame)
		return got
	}
	require.Equal(b.t, expected, got, "sent %v: %x", sent, frame)
	return got
}

func TestProgramDecidesAsTheDecisionDoes(t *testing.T) {
	b := newBench(t)
	b.apply(table())
	r := rand.New(rand.NewPCG(1, 2))
	seen := map[string]int{}
	for range 20000 {
		frame, sent := random(r)
		for k := range b.check(frame, sent) {
			seen[k]++
		}
	}
	for _, reason := range flood.Reasons() {
		switch {
		case reason == flood.NotIP || reason == flood.NotUDP: // not heard
		case reason == flood.Limited || reason == flood.SuperFrame || reason >= flood.Overrun: // have tests of their own
		default:
			assert.Positive(t, seen[reason.String()], "no packet was dropped for %s", reason)
		}
	}
	assert.Greater(t, seen["copied"], 400)
	t.Log(seen)

	b.decider.Keep(0)
	require.NoError(t, b.objects.Kept.Set(uint64(1)))
	clear(seen)
	for range 5000 {
		frame, sent := random(r)
		for k := range b.check(frame, sent) {
			seen[k]++
		}
	}
	assert.Zero(t, seen["copied"])
	assert.Greater(t, seen[flood.NotElected.String()], 100)
}

// TestReasons: the program counts with the numbers of flood.Reason.
func TestReasons(t *testing.T) {
	spec, err := loadProgram()
	require.NoError(t, err)
	names := map[string]bool{}
	enum := enumOf(t, spec, "reason")
	for _, r := range flood.Reasons() {
		name := "REASON_" + strings.ToUpper(r.String())
		names[name] = true
		value, ok := enum[name]
		assert.True(t, ok && value == uint64(r), "%s is %d", name, value)
	}
	for name := range enum {
		assert.True(t, names[name] || name == "REASON_KEPT" || name == "REASONS", "%s is no reason", name)
	}
	assert.Greater(t, reasons, len(flood.Reasons()))
}

func enumOf(t testing.TB, spec *ebpf.CollectionSpec, name string) map[string]uint64 {
	var e *btf.Enum
	require.NoError(t, spec.Types.TypeByName(name, &e))
	values := map[string]uint64{}
	for _, v := range e.Values {
		values[v.Name] = v.Value
	}
	return values
}

func TestRate(t *testing.T) {
	b := newBench(t)
	b.apply(&flood.Table{Networks: []flood.Network{{VNI: 100, Listen: service4, VTEPs: vteps(far4, 2), Rate: 1, Burst: 20}}})
	frame := packet(service4, leaf4, 64).Bytes()
	for range 50 {
		b.run(frame, false, 1)
	}
	c := b.count().Total
	assert.EqualValues(t, 50, c.Packets)
	assert.InDelta(t, 20, c.Relayed, 3) // a token comes each second
	assert.Equal(t, c.Packets-c.Relayed, c.Dropped[flood.Limited])

	// User space takes from the same bucket.
	b.apply(&flood.Table{Networks: []flood.Network{{VNI: 101, Listen: service4, VTEPs: vteps(far4, 2), Rate: 1, Burst: 20}}})
	key := listKey{101, service4}.bytes()
	allowed := uint32(0)
	for range 50 {
		ok, _, err := b.objects.FloodTake.Test(append(make([]byte, sizeEthernet), key[:]...))
		require.NoError(t, err)
		allowed += ok
	}
	assert.InDelta(t, 20, allowed, 10)
	p := packet(service4, leaf4, 64)
	p.VNI = 101
	before := b.count().Total.Dropped[flood.Limited]
	for range 10 {
		b.run(p.Bytes(), false, 1)
	}
	assert.Greater(t, b.count().Total.Dropped[flood.Limited], before+5)
}

func packet(to, from netip.Addr, size int) *floodtest.Packet {
	return &floodtest.Packet{
		DstMAC: make([]byte, 6), Source: from, To: to, SourcePort: 50000, Port: flood.Port, VNI: 100, TTL: 9, Checksum: floodtest.Full, Flags: 0x08000000,
		Inner: floodtest.InnerFrame(1, size),
	}
}

// TestRateAfterSilence: a bucket is full after a while, whatever its rate and size.
func TestRateAfterSilence(t *testing.T) {
	for _, rate := range []uint32{1, 1 << 31, 1<<32 - 1} {
		b := newBench(t)
		b.apply(&flood.Table{Networks: []flood.Network{{VNI: 100, Listen: service4, VTEPs: vteps(far4, 1), Rate: rate, Burst: rate}}})
		now, err := ktime()
		require.NoError(t, err)
		for _, silent := range []time.Duration{time.Second, 3900 * time.Millisecond, time.Hour} {
			var s programState
			require.NoError(t, b.objects.States.Lookup(uint32(1), &s))
			s.Credit, s.At = int64(rate)*1e9, uint64(now-silent)
			require.NoError(t, b.objects.States.Put(uint32(1), s))
			b.run(packet(service4, leaf4, 64).Bytes(), false, 1)
			assert.Zero(t, b.count().Total.Dropped[flood.Limited], "%d a second, after %s", rate, silent)
		}
	}
}

// TestTooBig: a copy larger than the way allows is no copy.
func TestTooBig(t *testing.T) {
	b := newBench(t)
	b.apply(table())
	fits := b.lists.way
	b.lists.way = func(a destination) way {
		w := fits(a)
		if a.address == far4.Next() {
			w.mtu = 20 + 8 + 8 + 999
		}
		return w
	}
	b.apply(table())
	b.run(packet(service4, leaf4, 999).Bytes(), false, 1)
	b.run(packet(service4, leaf4, 1000).Bytes(), false, 1)
	c := b.count().Total
	assert.EqualValues(t, 9, c.Copies)
	assert.EqualValues(t, 1, c.Dropped[flood.TooBig])
}

// TestNobodyWaits: what nobody takes over is counted, copy by copy, and the program goes on.
func TestNobodyWaits(t *testing.T) {
	b := newBench(t)
	reach := b.lists.way
	b.lists.way = func(a destination) way {
		if a.address == far4.Next() || a.address == far4 {
			return way{}
		}
		return reach(a)
	}
	b.apply(table())
	b.run(packet(service4, leaf4, 64).Bytes(), false, 1)
	c := b.count().Total
	assert.EqualValues(t, 3, c.Copies)
	assert.EqualValues(t, 2, c.Dropped[flood.EgressFull])
}

// TestClosedPort: without a VXLAN device nobody answers that the port is closed.
func TestClosedPort(t *testing.T) {
	const unspec, shot = 0xffffffff, 2
	b := newBench(t)
	b.apply(table())
	for _, p := range []*floodtest.Packet{packet(service4, leaf4, 64), packet(service6, leaf6, 64)} {
		action, _ := b.run(p.Bytes(), false, 1)
		assert.EqualValues(t, shot, action)
	}
	action, _ := b.run(packet(group4, leaf4, 64).Bytes(), false, 1)
	assert.EqualValues(t, uint32(unspec), action, "others hear the group as well")
	b.ns.IP(t, "link", "add", "vx", "type", "vxlan", "id", "100", "dstport", "4789", "local", service4.String())
	b.ns.IP(t, "link", "set", "vx", "up")
	assert.Eventually(t, func() bool {
		action, _ = b.run(packet(service4, leaf4, 64).Bytes(), false, 1)
		return action == unspec
	}, within, time.Millisecond, "the VXLAN device gets its copy, from the next tick of the kernel's clock on")
}

// TestNotAtHome: the program does nothing on another interface than the one that it is for.
func TestNotAtHome(t *testing.T) {
	b := newBench(t)
	b.apply(table())
	require.NoError(t, b.objects.Home.Set(uint32(2)))
	action, _ := b.run(packet(service4, leaf4, 64).Bytes(), false, 1)
	assert.EqualValues(t, uint32(0xffffffff), action, "TC_ACT_UNSPEC")
	assert.Zero(t, b.count().Total.Packets)
}

// TestMarks: what has the mark of an address that is listened to, or of our own, is neither.
func TestMarks(t *testing.T) {
	b := newBench(t)
	b.apply(&flood.Table{Own: []netip.Addr{own4, own6}, Networks: []flood.Network{{VNI: 100, Listen: service4, VTEPs: vteps(far4, 2)}}})
	alike := func(a netip.Addr, bits uint32) (other netip.Addr) {
		for other = far4; markOf(other)%bits != markOf(a)%bits; other = other.Next() {
		}
		return other
	}
	b.run(packet(alike(service4, 1<<12), leaf4, 64).Bytes(), false, 1)
	bad := packet(alike(service4, 1<<12), leaf4, 64)
	bad.Flags = 0
	b.run(bad.Bytes(), false, 1)
	options := packet(alike(service4, 1<<12), leaf4, 64).Bytes()
	options[sizeEthernet] = 0x46
	b.run(options, false, 1)
	assert.Zero(t, b.count().Total.Packets)
	b.run(packet(service4, alike(own4, 32), 64).Bytes(), false, 1)
	b.run(packet(service4, own4, 64).Bytes(), false, 1)
	b.run(packet(service6, own6, 64).Bytes(), false, 1)
	c := b.count().Total
	assert.EqualValues(t, 1, c.Relayed)
	assert.EqualValues(t, 1, c.Dropped[flood.OwnSource])
	assert.EqualValues(t, 2, c.Packets)
}

func (b *bench) entries(m *ebpf.Map) (n int) {
	var key, value []byte
	for all := m.Iterate(); all.Next(&key, &value); n++ {
	}
	return n
}

// TestNoRoom: what there is no room for leaves what is there, and the other networks get theirs.
func TestNoRoom(t *testing.T) {
	const room = 8
	b := newSmallBench(t, map[string]uint32{"places": room})
	segment := []netip.Prefix{netip.MustParsePrefix("10.0.1.0/24")}
	here := flood.Network{VNI: 100, Listen: group4, Segment: segment, VTEPs: vteps(far4, 2), Own: true, Others: true}
	there := flood.Network{VNI: 101, Listen: service4, VTEPs: vteps(far4, 5)}
	b.apply(&flood.Table{Own: []netip.Addr{own4}, Networks: []flood.Network{here}})
	used := b.entries(b.objects.Places)

	full := here
	full.Segment = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")}
	for _, v := range vteps(leaf4.Next(), room) {
		full.Itself = append(full.Itself, v.Address)
	}
	d, err := flood.Compile(&flood.Table{Own: []netip.Addr{own4}, Networks: []flood.Network{full, there}}, b.decider)
	require.NoError(t, err)
	require.ErrorContains(t, b.lists.install(d, []netip.Addr{own4}, time.Now()), "put 10.0.1.")
	b.decider = d
	b.run(packet(group4, leaf4.Next(), 64).Bytes(), false, 1)
	b.run(packet(group4, own4, 64).Bytes(), true, 1)
	outside := packet(group4, netip.MustParseAddr("10.0.2.1"), 64)
	b.run(outside.Bytes(), false, 1)
	p := packet(service4, leaf4, 64)
	p.VNI = 101
	b.run(p.Bytes(), false, 1)
	c := b.count().Total
	assert.EqualValues(t, 2+2+5, c.Copies)
	assert.EqualValues(t, 1, c.Dropped[flood.SourceOutside], "the old list")

	b.apply(&flood.Table{Own: []netip.Addr{own4}, Networks: []flood.Network{here}})
	assert.Equal(t, used, b.entries(b.objects.Places), "nothing is left of it")
}

// TestManyPlaces: each network may have its own VTEPs that copy for themselves.
func TestManyPlaces(t *testing.T) {
	b := newBench(t)
	var table flood.Table
	from := netip.MustParseAddr("10.32.0.0")
	for i := range 700 {
		n := flood.Network{VNI: evpn.VNI(1000 + i), Listen: group4, VTEPs: vteps(far4, 1)}
		for _, v := range vteps(from, 100) {
			n.Itself = append(n.Itself, v.Address)
		}
		from = n.Itself[99].Next()
		table.Networks = append(table.Networks, n)
	}
	b.apply(&table)
	assert.Equal(t, 700*100, b.entries(b.objects.Places))
}

// TestListsAreForgotten: a list that was replaced is remembered for what was handed over with it, and not for ever.
func TestListsAreForgotten(t *testing.T) {
	b := newBench(t)
	for n := range 5 {
		b.apply(&flood.Table{Networks: []flood.Network{{VNI: 100, Listen: service4, VTEPs: vteps(far4, 1+n)}}})
	}
	assert.Len(t, b.lists.recent.lists, 5)
	b.lists.recent.expire(time.Now().Add(retention / 2))
	assert.Len(t, b.lists.recent.lists, 5)
	b.lists.recent.expire(time.Now().Add(retention + time.Minute))
	require.Len(t, b.lists.recent.lists, 1)
	assert.Len(t, b.lists.recent.find(5).to, 5)
}

// TestListsAreSwept: what no list refers to is in no map.
func TestListsAreSwept(t *testing.T) {
	b := newBench(t)
	b.apply(table())
	b.apply(&flood.Table{})
	for name, m := range map[string]*ebpf.Map{
		"networks": b.objects.Networks, "vnis": b.objects.Vnis, "listens": b.objects.Listens, "places": b.objects.Places, "states": b.objects.States,
	} {
		assert.Zero(t, b.entries(m), name)
	}
	b.run(packet(service4, leaf4, 64).Bytes(), false, 1)
	assert.Zero(t, b.count().Total.Packets)
}

func BenchmarkCopy(b *testing.B) {
	for _, n := range []int{2, 16, 64, 256, 1000} {
		for _, size := range []int{64, 1400} {
			b.Run(fmt.Sprintf("%d/%d", n, size), func(b *testing.B) {
				rig := newBench(b)
				rig.apply(&flood.Table{Networks: []flood.Network{{VNI: 100, Listen: service4, VTEPs: vteps(far4, n)}}})
				frame := packet(service4, leaf4, size).Bytes()
				var spent time.Duration
				for b.Loop() {
					_, took := rig.run(frame, false, 1)
					spent += took
				}
				b.ReportMetric(float64(spent.Nanoseconds())/float64(b.N*n), "ns/copy")
			})
		}
	}
}

// BenchmarkInstall is 1,000 networks of 100 VTEPs.
func BenchmarkInstall(b *testing.B) {
	rig := newBench(b)
	var t flood.Table
	for i := range 1000 {
		t.Networks = append(t.Networks, flood.Network{VNI: evpn.VNI(1000 + i), Listen: service4, VTEPs: vteps(far4, 100)})
	}
	for b.Loop() {
		rig.apply(&t)
		b.StopTimer()
		rig.apply(&flood.Table{})
		b.StartTimer()
	}
}
