package evpn_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// tell plays lines of the scenario language and gives the core.
func tell(t *testing.T, story string) *evpn.Core {
	s := newScenario(t)
	require.NoError(t, s.play([]byte(story)))
	return s.core
}

const fabric = `
vtep 10.0.0.1
vni 100
up 100
`

func verdicts(x evpn.Explanation) []evpn.Verdict {
	var vs []evpn.Verdict
	for _, c := range x.Candidates {
		vs = append(vs, c.Verdict)
	}
	return vs
}

// TestExplainElection: the winner comes first, the others tell what decided, with operands.
func TestExplainElection(t *testing.T) {
	c := tell(t, fabric+`
route 10.0.0.254 mac 10.0.0.2:2 02:00:00:00:00:01 vni 100 nh 10.0.0.2 rt 65000:100 seq 5
route 10.0.0.254 mac 10.0.0.3:2 02:00:00:00:00:01 vni 100 nh 10.0.0.3 rt 65000:100 seq 3
route 10.0.0.254 mac 10.0.0.4:2 02:00:00:00:00:01 vni 100 nh 10.0.0.4 rt 65000:100 seq 5
route 10.0.0.253 mac 10.0.0.2:2 02:00:00:00:00:01 vni 100 nh 10.0.0.2 rt 65000:100 seq 5 lp 50
route 10.0.0.254 mac 10.0.0.5:2 02:00:00:00:00:01 vni 100 nh 10.0.0.5 rt 65000:200 seq 9
`)
	x, ok := c.Explain(100, mac1)
	require.True(t, ok)
	assert.Equal(t, evpn.OriginRemote, x.Origin)
	assert.Equal(t, vtep2, x.VTEP)
	assert.Equal(t, []evpn.Verdict{
		{},
		{Reason: evpn.LosesElection, By: evpn.ByLocalPref, Mine: "50", Theirs: "100"},
		{Reason: evpn.LosesElection, By: evpn.ByNextHop, Mine: "10.0.0.4", Theirs: "10.0.0.2"},
		{Reason: evpn.LosesElection, By: evpn.BySequence, Mine: "3", Theirs: "5"},
		{Reason: evpn.NoImportMatch},
	}, verdicts(x))
	require.Len(t, x.Rows, 1)
	_, ok = c.Explain(100, evpn.MAC{2, 9})
	assert.False(t, ok)
	_, ok = c.Explain(200, mac1)
	assert.False(t, ok)
}

// TestExplainLocal: a local MAC shows its claim, its IPs and own routes, and why routes lose to it.
func TestExplainLocal(t *testing.T) {
	c := tell(t, fabric+`
route 10.0.0.254 mac 10.0.0.2:2 02:00:00:00:00:01 vni 100 nh 10.0.0.2 rt 65000:100 seq 1
local-mac 100 02:00:00:00:00:01 veth1
local-ip 100 192.0.2.1 02:00:00:00:00:01
`)
	x, ok := c.Explain(100, mac1)
	require.True(t, ok)
	assert.Equal(t, evpn.OriginLocal, x.Origin)
	require.NotNil(t, x.Local)
	assert.Equal(t, "veth1", x.Local.Port)
	assert.Equal(t, uint32(2), x.Local.Sequence)
	assert.Len(t, x.Own, 2)
	assert.Equal(t, []evpn.Verdict{{Reason: evpn.LosesToLocal, By: evpn.BySequence, Mine: "1", Theirs: "2"}}, verdicts(x))

	x, ok = c.ExplainIP(100, mustAddr("192.0.2.1"))
	require.True(t, ok)
	assert.Equal(t, mac1, x.MAC)
	assert.Equal(t, evpn.OriginLocal, x.Origin)
	assert.Len(t, x.Own, 1)
	_, ok = c.ExplainIP(100, mustAddr("192.0.2.2"))
	assert.False(t, ok)
}

// TestExplainIP: routes of two MACs for one IP, and a local host that holds out.
func TestExplainIP(t *testing.T) {
	const story = fabric + `
route 10.0.0.254 mac 10.0.0.2:2 02:00:00:00:00:01 192.0.2.1 vni 100 nh 10.0.0.2 rt 65000:100 seq 1
route 10.0.0.254 mac 10.0.0.3:2 02:00:00:00:00:02 192.0.2.1 vni 100 nh 10.0.0.3 rt 65000:100 seq 2
`
	ip := mustAddr("192.0.2.1")
	x, ok := tell(t, story).ExplainIP(100, ip)
	require.True(t, ok)
	assert.Equal(t, evpn.OriginRemote, x.Origin)
	assert.Equal(t, evpn.MAC{2, 5: 2}, x.MAC)
	assert.Equal(t, mustAddr("10.0.0.3"), x.VTEP)
	assert.Equal(t, []evpn.Verdict{{}, {Reason: evpn.LosesElection, By: evpn.BySequence, Mine: "1", Theirs: "2"}}, verdicts(x))

	x, ok = tell(t, story+`
local-mac 100 02:00:00:00:00:03 veth1
local-ip 100 192.0.2.1 02:00:00:00:00:03 arp
`).ExplainIP(100, ip)
	require.True(t, ok)
	assert.Equal(t, evpn.OriginLocal, x.Origin)
	assert.Equal(t, []evpn.LocalIP{{IP: ip, Source: "arp", Announced: true}}, x.Local.IPs)
	assert.Equal(t, []evpn.Verdict{
		{Reason: evpn.LosesToLocal, By: evpn.BySequence, Mine: "2", Theirs: "3"},
		{Reason: evpn.LosesToLocal, By: evpn.BySequence, Mine: "1", Theirs: "3"},
	}, verdicts(x))
}

// TestExplainUnreachable: reachability is told of every candidate, and a lost one says so.
func TestExplainUnreachable(t *testing.T) {
	x, ok := tell(t, "unreachable remove\n"+fabric+`
route 10.0.0.254 mac 10.0.0.2:2 02:00:00:00:00:01 vni 100 nh 10.0.0.2 rt 65000:100 seq 5
route 10.0.0.254 mac 10.0.0.3:2 02:00:00:00:00:01 vni 100 nh 10.0.0.3 rt 65000:100 seq 3
unreachable-vtep 10.0.0.2 no route
`).Explain(100, mac1)
	require.True(t, ok)
	assert.Equal(t, mustAddr("10.0.0.3"), x.VTEP)
	require.Len(t, x.Candidates, 2)
	assert.Equal(t, evpn.Verdict{}, x.Candidates[0].Verdict, "who has it comes first")
	assert.Equal(t, evpn.NextHopUnreachable, x.Candidates[1].Verdict.Reason)
	assert.Equal(t, "no route", x.Candidates[1].UnreachableReason)
	assert.False(t, x.Candidates[1].Reachable)
}

// TestExplainUnreachableStatic: what the configuration says is told also while its VTEP is
// lost and no row is wanted.
func TestExplainUnreachableStatic(t *testing.T) {
	c := tell(t, `
unreachable remove
vtep 10.0.0.1
vni 100 static-mac 02:00:00:00:00:01 10.0.0.2 192.0.2.1
up 100
drain
unreachable-vtep 10.0.0.2 no route
drain
`)
	x, ok := c.Explain(100, mac1)
	require.True(t, ok)
	assert.Equal(t, evpn.OriginStatic, x.Origin)
	assert.Equal(t, vtep2, x.VTEP)
	assert.Empty(t, x.Rows)
	x, ok = c.ExplainIP(100, mustAddr("192.0.2.1"))
	require.True(t, ok)
	assert.Equal(t, mac1, x.MAC)
	assert.Equal(t, evpn.OriginStatic, x.Origin)
	assert.Equal(t, vtep2, x.VTEP)
	assert.Empty(t, x.Rows)
}

// TestExplainHeard: a host that was heard on the segment shows where, and why routes lose
// to that or agree with it.
func TestExplainHeard(t *testing.T) {
	const story = `
vtep 10.0.1.1
vni 100 flooding multicast group 239.1.1.1 segment 10.0.1.0/24 proxy-vteps proxy-macs
up 100
heard 100 10.0.1.7
route 10.0.0.254 mac 10.0.0.9:2 02:00:00:00:00:01 vni 100 nh 10.0.0.9 rt 65000:100 seq 5
at 10s
mac-heard 100 02:00:00:00:00:01 10.0.1.7
route 10.0.0.254 mac 10.0.1.2:2 02:00:00:00:00:01 vni 100 nh 10.0.1.7 rt 65000:100 seq 6
`
	x, ok := tell(t, story).Explain(100, mac1)
	require.True(t, ok)
	assert.Equal(t, evpn.OriginProxy, x.Origin)
	assert.Equal(t, mustAddr("10.0.1.7"), x.VTEP)
	assert.Equal(t, mustAddr("10.0.1.7"), x.Heard)
	require.Len(t, x.Own, 1)
	require.Len(t, x.Rows, 1)
	assert.Equal(t, []evpn.Verdict{
		{Reason: evpn.LosesToHeard},
		{Reason: evpn.LosesToHeard, By: evpn.BySequence, Mine: "5", Theirs: "6"},
	}, verdicts(x))

	x, ok = tell(t, story+`
route 10.0.0.254 mac 10.0.0.9:2 02:00:00:00:00:01 vni 100 nh 10.0.0.9 rt 65000:100 seq 7
`).Explain(100, mac1)
	require.True(t, ok)
	assert.Equal(t, evpn.OriginRemote, x.Origin)
	assert.Equal(t, mustAddr("10.0.1.7"), x.Heard)
}

// TestHeardLimit: who makes up addresses on a segment does not make us hold more of them than a
// bound, and the others are taken when there is room again.
func TestHeardLimit(t *testing.T) {
	v := vniConfig(100, vtep1)
	v.Flooding = evpn.FloodMulticast
	v.Segment = evpn.SegmentConfig{
		Group: mustAddr("239.1.1.1"), Prefixes: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}, ProxyVTEPs: true,
	}
	c := evpn.New(evpn.Config{VTEP: vtep1, VNIs: []evpn.VNIConfig{v}})
	c.Handle(evpn.VNIState{VNI: 100, Up: true}, start)
	at := func(i int) addr { return netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}) }
	for i := range 3000 {
		c.Handle(evpn.VTEPHeard{VNI: 100, VTEP: at(i + 1)}, start)
	}
	limited := 0
	for _, n := range c.Drain(start).Notes {
		if n.Kind == evpn.NoteHeardLimit {
			limited++
		}
	}
	assert.Equal(t, 1, limited)
	assert.Len(t, c.Flood(100), 1024)
	c.Handle(evpn.VTEPSilent{VNI: 100, VTEP: at(1)}, start)
	c.Handle(evpn.VTEPHeard{VNI: 100, VTEP: at(3000)}, start)
	list := c.Flood(100)
	assert.Len(t, list, 1024)
	assert.Equal(t, at(3000), list[1023].VTEP)
}
