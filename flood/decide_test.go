package flood_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/flood"
	"github.com/vtepbgp/vtepbgp/flood/floodtest"
)

var (
	own     = netip.MustParseAddr("10.0.1.1")
	service = netip.MustParseAddr("10.255.0.1")
	away    = netip.MustParseAddr("10.7.0.1")
	segment = netip.MustParsePrefix("10.0.1.0/24")
)

func list(from string, n int) []netip.Addr {
	a := netip.MustParseAddr(from)
	var all []netip.Addr
	for range n {
		all = append(all, a)
		a = a.Next()
	}
	return all
}

func vteps(addresses ...netip.Addr) []flood.VTEP {
	var all []flood.VTEP
	for _, a := range addresses {
		all = append(all, flood.VTEP{Address: a})
	}
	return all
}

func compile(t testing.TB, before *flood.Decider, table flood.Table) *flood.Decider {
	t.Helper()
	d, err := flood.Compile(&table, before)
	require.NoError(t, err)
	return d
}

func everyone(v flood.Verdict) []netip.Addr { return slices.Concat(v.Before, v.After) }

func TestDecide(t *testing.T) {
	remote := list("10.9.0.1", 3)
	d := compile(t, nil, flood.Table{
		Own:      []netip.Addr{own},
		Services: []netip.Addr{netip.MustParseAddr("10.255.0.2")},
		Networks: []flood.Network{
			{VNI: 1, Listen: group4, Segment: []netip.Prefix{segment}, VTEPs: vteps(append(slices.Clone(remote), leaf4, own)...), Own: true, Others: true, Itself: []netip.Addr{leaf4.Next()}},
			{VNI: 2, Listen: service, VTEPs: vteps(remote[2], remote[0], remote[1], remote[0], own, service, netip.MustParseAddr("10.255.0.2"))},
			{VNI: 3, Listen: group4, Port: 8472, Segment: []netip.Prefix{segment}, VTEPs: vteps(remote...), Others: true},
			{VNI: 4, Listen: service, VTEPs: vteps(remote[0])},
			{VNI: 5, Listen: group6, Segment: []netip.Prefix{netip.MustParsePrefix("fd00:1::/64")}, VTEPs: vteps(away6), Others: true},
			{VNI: 6, Listen: group6, Segment: []netip.Prefix{netip.MustParsePrefix("fd00:1::/64")}, VTEPs: vteps(away6), Others: true, ZeroChecksum6: true},
			{VNI: 7, Listen: group4, Segment: []netip.Prefix{segment}, VTEPs: vteps(remote...), Own: true},
			{VNI: 8, Listen: service, Segment: []netip.Prefix{segment}, Deliver: group4},
		},
	})
	for _, c := range []struct {
		name           string
		vni            evpn.VNI
		source, to     netip.Addr
		port           uint16
		dscp           uint8
		sent, noUDPSum bool
		want           flood.Reason
		copies         []netip.Addr
	}{
		{name: "heard on the group: all but the segment", vni: 1, source: leaf4, to: group4, copies: remote},
		{name: "our own, on the group", vni: 1, source: own, to: group4, sent: true, copies: remote},
		{name: "our own address, from outside", vni: 1, source: own, to: group4, want: flood.OwnSource},
		{name: "forwarded by us", vni: 1, source: leaf4, to: group4, sent: true, want: flood.Relayed},
		{name: "carried onto the group", vni: 1, source: remote[0], to: group4, want: flood.SourceOutside},
		{name: "a copy", vni: 1, source: leaf4, to: group4, dscp: flood.Mark, want: flood.Relayed},
		{name: "another network's group", vni: 2, source: leaf4, to: group4, want: flood.NotListening},
		{name: "nobody's VNI", vni: 77, source: leaf4, to: group4, want: flood.UnknownVNI},
		{name: "not IPv4's checksum rule", vni: 1, source: leaf4, to: group4, noUDPSum: true, copies: remote},
		{name: "the port of the network", vni: 3, source: leaf4, to: group4, port: 8472, copies: remote},
		{name: "another port", vni: 3, source: leaf4, to: group4, port: 4789, want: flood.WrongPort},
		{name: "to the service, from a VTEP", vni: 2, source: remote[1], to: service, copies: []netip.Addr{remote[0], remote[2]}},
		{name: "to the service, from the first VTEP", vni: 2, source: remote[0], to: service, copies: remote[1:]},
		{name: "to the service, from the last VTEP", vni: 2, source: remote[2], to: service, copies: remote[:2]},
		{name: "to the service, from elsewhere", vni: 2, source: away, to: service, copies: remote},
		{name: "only the sender is on the list", vni: 4, source: remote[0], to: service, want: flood.Nobody},
		{name: "a group as source", vni: 2, source: group4, to: service, want: flood.BadSource},
		{name: "no source", vni: 2, source: netip.IPv4Unspecified(), to: service, want: flood.BadSource},
		{name: "loopback", vni: 2, source: netip.MustParseAddr("127.0.0.1"), to: service, want: flood.BadSource},
		{name: "broadcast", vni: 2, source: netip.MustParseAddr("255.255.255.255"), to: service, want: flood.BadSource},
		{name: "a VTEP that copies itself", vni: 1, source: leaf4.Next(), to: group4, want: flood.CopiedBySender},
		{name: "our own, by another relay", vni: 3, source: own, to: group4, port: 8472, sent: true, want: flood.NotElected},
		{name: "only our own: ours", vni: 7, source: own, to: group4, sent: true, copies: remote},
		{name: "only our own: the segment's", vni: 7, source: leaf4, to: group4, want: flood.NotElected},
		{name: "only our own: what is wrong is said first", vni: 7, source: away, to: group4, want: flood.SourceOutside},
		{name: "delivered", vni: 8, source: away, to: service, copies: []netip.Addr{group4}},
		{name: "a copy, delivered", vni: 8, source: away, to: service, dscp: flood.Mark, copies: []netip.Addr{group4}},
		{name: "not from who hears the group", vni: 8, source: leaf4, to: service, want: flood.SourceInside},
		{name: "a copy from who hears the group", vni: 8, source: leaf4, to: service, dscp: flood.Mark, want: flood.SourceInside},
		{name: "our own address, to be delivered", vni: 8, source: own, to: service, want: flood.OwnSource},
		{name: "what was delivered, on its way", vni: 1, source: away, to: group4, dscp: flood.Mark, sent: true, want: flood.Relayed},
		{name: "what was delivered, heard", vni: 1, source: away, to: group4, dscp: flood.Mark, want: flood.Relayed},
		{name: "IPv6", vni: 5, source: leaf6, to: group6, copies: []netip.Addr{away6}},
		{name: "IPv6 without a checksum", vni: 5, source: leaf6, to: group6, noUDPSum: true, want: flood.NoUDPChecksum},
		{name: "IPv6 without a checksum, allowed", vni: 6, source: leaf6, to: group6, noUDPSum: true, copies: []netip.Addr{away6}},
		{name: "IPv4 in IPv6", vni: 5, source: netip.MustParseAddr("::ffff:10.0.1.10"), to: group6, want: flood.BadSource},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := flood.Packet{VNI: c.vni, Source: c.source, Destination: c.to, Port: c.port, DSCP: c.dscp, TTL: 1, Checksummed: !c.noUDPSum}
			if p.Port == 0 {
				p.Port = flood.Port
			}
			v := d.Decide(&p, c.sent, 0)
			assert.Equal(t, c.want.String(), v.Reason.String())
			assert.Equal(t, c.copies, everyone(v))
			assert.Len(t, c.copies, v.Copies())
			assert.NotNil(t, v.Tally)
		})
	}
	assert.Equal(t, []netip.Addr{service, group4, group6}, d.Listens())
	assert.True(t, d.HearsOwn())
}

var away6 = netip.MustParseAddr("fd00:9::1")

// A copy that comes to any relay is refused, whatever table it has: relays in any number,
// with any lists, copy a packet at most once each.
func TestNoCopyIsCopied(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	services := list("10.255.0.1", 4)
	for range 200 {
		relays := make([]*flood.Decider, len(services))
		for i, at := range services {
			relays[i] = compile(t, nil, flood.Table{Networks: []flood.Network{{VNI: 1, Listen: at, VTEPs: vteps(services...)}}})
		}
		type flight struct {
			to   netip.Addr
			dscp uint8
		}
		air := []flight{{to: services[random.IntN(4)]}}
		arrived := 0
		for ; len(air) > 0; arrived++ {
			require.Less(t, arrived, 100, "packets go round")
			f := air[0]
			air = air[1:]
			i := slices.Index(services, f.to)
			v := relays[i].Decide(&flood.Packet{VNI: 1, Source: away, Destination: f.to, Port: flood.Port, TTL: 64, DSCP: f.dscp}, false, 0)
			for _, a := range everyone(v) {
				air = append(air, flight{a, flood.Mark})
			}
		}
		assert.Equal(t, 4, arrived, "the original, and a copy at each other relay")
	}
}

func TestRate(t *testing.T) {
	table := func(rate, burst uint32) flood.Table {
		return flood.Table{Networks: []flood.Network{{VNI: 1, Listen: service, VTEPs: vteps(away), Rate: rate, Burst: burst}}}
	}
	p := flood.Packet{VNI: 1, Source: leaf4, Destination: service, Port: flood.Port, TTL: 1}
	passes := func(d *flood.Decider, n int, now time.Duration) (passed int) {
		for range n {
			if d.Decide(&p, false, now).Reason == flood.Kept {
				passed++
			}
		}
		return passed
	}
	d := compile(t, nil, table(100, 20))
	assert.Equal(t, 20, passes(d, 50, time.Hour), "the burst")
	assert.Equal(t, 10, passes(d, 50, time.Hour+100*time.Millisecond), "a tenth of a second's worth")
	assert.Equal(t, 20, passes(d, 50, 2*time.Hour), "no more than the burst is saved")
	assert.Zero(t, passes(d, 50, time.Hour), "a clock that goes back saves nothing")
	d = compile(t, d, table(100, 20))
	assert.Zero(t, passes(d, 50, 2*time.Hour), "a new table is no new burst")
	d = compile(t, d, table(0, 0))
	assert.Equal(t, 50, passes(d, 50, 2*time.Hour), "no limit")
	d = compile(t, nil, table(1000, 0))
	assert.Equal(t, 100, passes(d, 500, 0), "a burst of a tenth of the rate")
	d = compile(t, nil, table(1, 0))
	assert.Equal(t, 1, passes(d, 5, 0), "but at least one packet")
	v := d.Decide(&p, false, 0)
	assert.Equal(t, flood.Limited, v.Reason)
	assert.Zero(t, v.Copies())
}

// TestLease: what others send is copied as long as the lease goes, over tables; our own
// frames and other networks have none.
func TestLease(t *testing.T) {
	network := func(vni evpn.VNI, leased bool) flood.Network {
		return flood.Network{VNI: vni, Listen: group4, Segment: []netip.Prefix{segment}, VTEPs: vteps(away), Own: true, Others: true, Leased: leased}
	}
	table := flood.Table{Own: []netip.Addr{own}, Networks: []flood.Network{network(1, true), network(2, false)}}
	d := compile(t, nil, table)
	reason := func(vni evpn.VNI, source netip.Addr, now time.Duration) string {
		p := flood.Packet{VNI: vni, Source: source, Destination: group4, Port: flood.Port, TTL: 1}
		return d.Decide(&p, source == own, now).Reason.String()
	}
	assert.Equal(t, "not_elected", reason(1, leaf4, time.Second), "none yet")
	d.Renew(10 * time.Second)
	assert.Empty(t, reason(1, leaf4, 9*time.Second))
	d = compile(t, d, table)
	assert.Empty(t, reason(1, leaf4, 9*time.Second), "a new table")
	assert.Equal(t, "not_elected", reason(1, leaf4, 10*time.Second), "it ran out")
	assert.Empty(t, reason(1, own, time.Hour), "our own")
	assert.Empty(t, reason(2, leaf4, time.Hour), "not leased")
	d.Renew(2 * time.Hour)
	assert.Empty(t, reason(1, leaf4, time.Hour), "renewed")
	d.Renew(0)
	assert.Equal(t, "not_elected", reason(1, leaf4, time.Second), "ended")
}

func TestTableIsChecked(t *testing.T) {
	for want, n := range map[string]flood.Network{
		"not between 1 and 16777215":        {VNI: 0, Listen: service},
		"listen on a multicast group":       {VNI: 1},
		"10.0.0.0/8 is not a prefix":        {VNI: 1, Listen: group6, Segment: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}},
		"fd00:9::1 is of another":           {VNI: 1, Listen: service, VTEPs: vteps(away6)},
		"239.1.1.100 is not a unicast":      {VNI: 1, Listen: service, VTEPs: vteps(group4)},
		"127.0.0.1 is not a unicast":        {VNI: 1, Listen: service, VTEPs: vteps(netip.MustParseAddr("127.0.0.1"))},
		"what is heard on a group is not":   {VNI: 1, Listen: group4, Deliver: group4},
		"deliver to a multicast group":      {VNI: 1, Listen: service, Deliver: group6},
		"not to 10.7.0.1":                   {VNI: 1, Listen: service, Deliver: away},
		"a network delivers to a group, or": {VNI: 1, Listen: service, Deliver: group4, VTEPs: vteps(away)},
		"sender 239.1.1.100 is not":         {VNI: 1, Listen: group4, Itself: []netip.Addr{group4}},
		"invalid IP is not a unicast addr":  {VNI: 1, Listen: service, VTEPs: vteps(netip.Addr{})},
	} {
		_, err := flood.Compile(&flood.Table{Networks: []flood.Network{n}}, nil)
		assert.ErrorContains(t, err, want)
	}
	twice := flood.Network{VNI: 1, Listen: service}
	_, err := flood.Compile(&flood.Table{Networks: []flood.Network{twice, twice}}, nil)
	assert.ErrorContains(t, err, "there twice")
}

// Counters go on over tables, also those of networks that are gone.
func TestCountersGoOn(t *testing.T) {
	network := func(vni evpn.VNI) flood.Network { return flood.Network{VNI: vni, Listen: service, VTEPs: vteps(away)} }
	p := flood.Packet{VNI: 1, Source: leaf4, Destination: service, Port: flood.Port, TTL: 1}
	d := compile(t, nil, flood.Table{Networks: []flood.Network{network(1), network(2)}})
	d.Decide(&p, false, 0).Tally.Packets.Add(3)
	d.Rest().Drop(flood.Truncated, 2)
	d = compile(t, d, flood.Table{Networks: []flood.Network{network(1)}})
	d.Decide(&p, false, 0).Tally.Drop(flood.TooBig, 5)
	c := d.Counters()
	require.Len(t, c.Networks, 1)
	assert.Equal(t, flood.Count{Packets: 3, Dropped: map[flood.Reason]uint64{flood.TooBig: 5}}, c.Networks[0].Count)
	d = compile(t, d, flood.Table{})
	assert.Equal(t, flood.Counters{
		Total: flood.Count{Packets: 3, Dropped: map[flood.Reason]uint64{flood.TooBig: 5, flood.Truncated: 2}},
		Rest:  flood.Count{Dropped: map[flood.Reason]uint64{flood.Truncated: 2}},
	}, d.Counters())
}

func TestReasonsHaveNames(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range flood.Reasons() {
		assert.NotEmpty(t, r.String())
		assert.False(t, seen[r.String()], "%s twice", r)
		seen[r.String()] = true
	}
	assert.Equal(t, "unknown", flood.Reason(200).String())
	assert.True(t, flood.NotElected.Fit())
	assert.False(t, flood.Relayed.Fit())
}

func BenchmarkParse(b *testing.B) {
	for _, size := range []int{64, 1400} {
		frame := outer(false, func(p *floodtest.Packet) { p.Inner = floodtest.InnerFrame(1, size) }).Bytes()
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			for b.Loop() {
				if _, r := flood.ParseEthernet(frame, flood.Trust{}); r != flood.Kept {
					b.Fatal(r)
				}
			}
		})
	}
}

func BenchmarkDecide(b *testing.B) {
	for _, n := range []int{2, 1000} {
		var networks []flood.Network
		for vni := range evpn.VNI(1000) {
			networks = append(networks, flood.Network{VNI: vni + 1, Listen: service, VTEPs: vteps(list("10.9.0.1", n)...), Rate: 1 << 30})
		}
		d := compile(b, nil, flood.Table{Own: []netip.Addr{own}, Networks: networks})
		p := flood.Packet{VNI: 500, Source: list("10.9.0.1", n)[n/2], Destination: service, Port: flood.Port, TTL: 1}
		b.Run(fmt.Sprintf("1000 networks of %d", n), func(b *testing.B) {
			for b.Loop() {
				if v := d.Decide(&p, false, time.Hour); v.Copies() != n-1 {
					b.Fatal(v.Reason)
				}
			}
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	var networks []flood.Network
	for vni := range evpn.VNI(1000) {
		networks = append(networks, flood.Network{VNI: vni + 1, Listen: service, VTEPs: vteps(list("10.9.0.1", 100)...)})
	}
	table := flood.Table{Own: []netip.Addr{own}, Networks: networks}
	var before *flood.Decider
	for b.Loop() {
		before = compile(b, before, table)
	}
}
