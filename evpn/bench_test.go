package evpn_test

import (
	"encoding/binary"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/evpn"
)

const many = 100_000

func macAt(n int) evpn.MAC {
	m := evpn.MAC{2}
	binary.BigEndian.PutUint32(m[2:], uint32(n))
	return m
}

// updates packs n type-2 routes as a peer does: a hundred to an UPDATE, one Attrs each.
func updates(n int, nextHop addr) []evpn.RoutesReceived {
	rt, _ := evpn.AutoRouteTarget(65000, 100)
	var evs []evpn.RoutesReceived
	for i := 0; i < n; {
		attrs := &evpn.Attrs{
			NextHop: nextHop, RouteTargets: []evpn.RouteTarget{rt}, Encaps: []uint16{evpn.EncapVXLAN}, LocalPref: 100,
		}
		ev := evpn.RoutesReceived{Neighbor: rr}
		for ; i < n && len(ev.Announced) < 100; i++ {
			key := evpn.RouteKey{Type: evpn.MACIPRoute, RD: evpn.RDFromRouterID(nextHop, 100), MAC: macAt(i)}
			ev.Announced = append(ev.Announced, evpn.Route{Key: key, Label: 100, Attrs: attrs})
		}
		evs = append(evs, ev)
	}
	return evs
}

func liveCore() *evpn.Core {
	c := evpn.New(oneVNI())
	c.Handle(evpn.VNIState{VNI: 100, Up: true}, start)
	c.Drain(start)
	return c
}

func receive(c *evpn.Core, evs []evpn.RoutesReceived) {
	for _, ev := range evs {
		c.Handle(ev, start)
	}
}

func liveHeap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func learn(c *evpn.Core, n int) {
	for i := range n {
		c.Handle(evpn.LocalMACLearned{VNI: 100, MAC: macAt(i), Port: "veth1"}, start)
	}
}

// BenchmarkReceive takes 100,000 routes and drains them, in one batch and in many.
func BenchmarkReceive(b *testing.B) {
	evs := updates(many, vtep2)
	for _, bench := range []struct {
		name  string
		every int
	}{{"drain once", len(evs)}, {"drain per ten updates", 10}} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c := liveCore()
				rows := 0
				for i, ev := range evs {
					c.Handle(ev, start)
					if (i+1)%bench.every == 0 {
						rows += len(c.Drain(start).Rows)
					}
				}
				require.Equal(b, many, rows)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/many, "ns/route")
		})
	}
}

// BenchmarkLocal learns 100,000 local MACs.
func BenchmarkLocal(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		c := liveCore()
		learn(c, many)
		require.Len(b, c.Drain(start).Announce, many)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/many, "ns/mac")
}

// BenchmarkNeighborDown loses a neighbour with 10,000 MACs beside one with 90,000.
func BenchmarkNeighborDown(b *testing.B) {
	const lost = 10_000
	c := liveCore()
	evs := updates(many, vtep2)
	for i := range evs[:lost/100] {
		evs[i].Neighbor = vtep2
	}
	receive(c, evs)
	c.Drain(start)
	for b.Loop() {
		c.Handle(evpn.NeighborDown{Neighbor: vtep2}, start)
		require.Len(b, c.Drain(start).Rows, lost)
		b.StopTimer()
		receive(c, evs[:lost/100])
		require.Len(b, c.Drain(start).Rows, lost)
		b.StartTimer()
	}
}

// BenchmarkNextHopLost loses the way to a VTEP with 10,000 MACs beside one with 90,000,
// and finds it again.
func BenchmarkNextHopLost(b *testing.B) {
	const lost = 10_000
	cfg := oneVNI()
	cfg.Unreachable = evpn.UnreachableRemove
	c := evpn.New(cfg)
	c.Handle(evpn.VNIState{VNI: 100, Up: true}, start)
	vtep3 := addrAt(vtep2, 1)
	receive(c, updates(many, vtep2))
	evs := updates(lost, vtep3)
	for i := range evs { // the MACs after those of vtep2
		for j := range evs[i].Announced {
			evs[i].Announced[j].Key.MAC[1] = 1
		}
	}
	receive(c, evs)
	c.Drain(start)
	for b.Loop() {
		c.Handle(evpn.NextHopState{VTEP: vtep3, Reason: "no route"}, start)
		require.Len(b, c.Drain(start).Rows, lost)
		c.Handle(evpn.NextHopState{VTEP: vtep3, Reachable: true}, start)
		require.Len(b, c.Drain(start).Rows, lost)
	}
}

// BenchmarkSnapshot takes one of 100,000 remote and as many local MACs, and makes a core of it.
func BenchmarkSnapshot(b *testing.B) {
	c := liveCore()
	receive(c, updates(many, vtep2))
	for i := range many {
		c.Handle(evpn.LocalMACLearned{VNI: 100, MAC: macAt(many + i), Port: "veth1"}, start)
	}
	c.Drain(start)
	for b.Loop() {
		require.Len(b, restore(c, start).Desired().Rows, many)
	}
}

// BenchmarkOneChange is what one route costs beside 100,000 others.
func BenchmarkOneChange(b *testing.B) {
	c := liveCore()
	receive(c, updates(many, vtep2))
	c.Drain(start)
	rt, _ := evpn.AutoRouteTarget(65000, 100)
	var seq uint32
	b.ReportAllocs()
	for b.Loop() {
		seq++
		attrs := &evpn.Attrs{
			NextHop: addrAt(vtep2, int(seq%2)), RouteTargets: []evpn.RouteTarget{rt}, Encaps: []uint16{evpn.EncapVXLAN},
			Mobility: evpn.Mobility{Sequence: seq},
		}
		key := evpn.RouteKey{Type: evpn.MACIPRoute, RD: evpn.RDFromRouterID(vtep2, 7), MAC: macAt(77)}
		c.Handle(evpn.RoutesReceived{Neighbor: rr, Announced: []evpn.Route{{Key: key, Label: 100, Attrs: attrs}}}, start)
		require.Len(b, c.Drain(start).Rows, 1-b2i(seq == 1 && attrs.NextHop == vtep2))
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// BenchmarkDesired lists the state of 100,000 remote and as many local MACs.
func BenchmarkDesired(b *testing.B) {
	c := liveCore()
	receive(c, updates(many, vtep2))
	for i := range many {
		c.Handle(evpn.LocalMACLearned{VNI: 100, MAC: macAt(many + i), Port: "veth1"}, start)
	}
	c.Drain(start)
	for b.Loop() {
		d := c.Desired()
		require.Len(b, d.Rows, many)
		require.Len(b, d.Routes, many+1)
	}
}

// BenchmarkMemory measures live heap, the Route itself included.
func BenchmarkMemory(b *testing.B) {
	var remote, local int64
	for b.Loop() {
		remote, local = memoryPerMAC()
	}
	b.ReportMetric(float64(remote), "B/remote-mac")
	b.ReportMetric(float64(local), "B/local-mac")
}

// TestMemoryPerMAC holds the core to its budget. What the events themselves hold, but for
// the routes, which the core copies, is live before and after.
func TestMemoryPerMAC(t *testing.T) {
	const routeSize = 80 // evpn.Route: counted apart, because somebody has to hold it
	remote, local := memoryPerMAC()
	t.Logf("%d bytes per remote MAC, of which %d are the Route; %d per local MAC", remote, routeSize, local)
	require.Less(t, remote, int64(routeSize+400))
	require.Less(t, local, int64(400))
}

func memoryPerMAC() (remote, local int64) {
	evs := updates(many, vtep2)
	before := liveHeap()
	c := liveCore()
	receive(c, evs)
	c.Drain(start)
	remote = (liveHeap() - before) / many
	runtime.KeepAlive(c)
	runtime.KeepAlive(evs)

	before = liveHeap()
	d := liveCore()
	learn(d, many)
	d.Drain(start)
	local = (liveHeap() - before) / many
	runtime.KeepAlive(d)
	return remote, local
}

// TestSoak changes a fixed set of MACs again and again: every table is as large afterwards
// as before.
func TestSoak(t *testing.T) {
	const macs = 1000
	rounds := 100
	if testing.Short() {
		rounds = 20
	}
	c := liveCore()
	now := start
	round := func(n int) {
		rt, _ := evpn.AutoRouteTarget(65000, 100)
		for i := range macs {
			now = now.Add(time.Millisecond)
			attrs := &evpn.Attrs{
				NextHop: addrAt(vtep2, (n+i)%5), RouteTargets: []evpn.RouteTarget{rt}, Encaps: []uint16{evpn.EncapVXLAN},
				Mobility: evpn.Mobility{Sequence: uint32(n*macs + i)}, // no two sets of attributes are equal
			}
			key := evpn.RouteKey{Type: evpn.MACIPRoute, RD: evpn.RDFromRouterID(attrs.NextHop, 1), MAC: macAt(i)}
			ev := evpn.RoutesReceived{Neighbor: rr, Announced: []evpn.Route{{Key: key, Label: 100, Attrs: attrs}}}
			c.Handle(ev, now)
			if n%3 == 0 {
				c.Handle(evpn.LocalMACLearned{VNI: 100, MAC: macAt(i), Port: "veth1"}, now)
				c.Drain(now)
				c.Handle(evpn.LocalMACGone{VNI: 100, MAC: macAt(i)}, now)
			}
			c.Drain(now)
		}
		now = now.Add(time.Hour)
		c.Handle(evpn.Tick{}, now)
	}
	for n := range 10 {
		round(n)
	}
	before := liveHeap()
	for n := range rounds {
		round(10 + n)
	}
	grown := liveHeap() - before
	runtime.KeepAlive(c)
	t.Logf("%d changes, heap %+d bytes", rounds*macs, grown)
	require.Less(t, grown, int64(256<<10))
}
