package evpn_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// restore makes a core of a snapshot.
func restore(c *evpn.Core, now time.Time) *evpn.Core {
	r := evpn.New(c.Config())
	for _, ev := range c.Snapshot() {
		r.Handle(ev, now)
	}
	return r
}

// TestSnapshot: a core made of a snapshot, at any time, shows the same and from then on
// answers every event the same.
func TestSnapshot(t *testing.T) {
	eachSeed(t, manySeeds, func(t *testing.T, g gen) {
		c := evpn.New(g.config())
		allUp(c)
		now := start
		for range 6 {
			for range g.IntN(60) {
				now = now.Add(time.Duration(g.IntN(4000)) * time.Millisecond)
				c.Handle(g.event(), now)
				if g.chance(50) {
					c.Drain(now)
				}
			}
			r := restore(c, now)
			c.Drain(now)
			sum := newLedger()
			sum.apply(t, r.Drain(now))
			require.Equal(t, c.Desired(), sum.desired())
			require.Equal(t, dump(c), dump(r))
			require.Equal(t, c.Snapshot(), r.Snapshot())
			for range 40 {
				ev := g.event()
				now = now.Add(time.Duration(g.IntN(4000)) * time.Millisecond)
				c.Handle(ev, now)
				r.Handle(ev, now)
				require.Equal(t, c.Drain(now), r.Drain(now), "after %T %+v", ev, ev)
			}
			require.Equal(t, dump(c), dump(r))
		}
	})
}

// TestSnapshotKeepsPlaces: a MAC that was heard on the segment keeps its place under max_macs, and
// the route that came later goes on waiting.
func TestSnapshotKeepsPlaces(t *testing.T) {
	vtep3, mac2 := addrAt(vtep2, 1), evpn.MAC{2, 0, 0, 0, 0, 2}
	cfg := oneVNI()
	v := &cfg.VNIs[0]
	v.MaxMACs, v.Flooding = 1, evpn.FloodMulticast
	v.Segment = evpn.SegmentConfig{
		Group: mustAddr("239.1.1.1"), Prefixes: []netip.Prefix{netip.PrefixFrom(vtep3, 32)}, ProxyVTEPs: true, ProxyMACs: true,
	}
	c := evpn.New(cfg)
	far := evpn.New(evpn.Config{VTEP: vtep2, VNIs: []evpn.VNIConfig{vniConfig(100, vtep2)}})
	far.Handle(evpn.VNIState{VNI: 100, Up: true}, start)
	far.Handle(evpn.LocalMACLearned{VNI: 100, MAC: mac1, Port: "veth1"}, start)
	for _, ev := range []evpn.Event{
		evpn.VNIState{VNI: 100, Up: true},
		evpn.VTEPHeard{VNI: 100, VTEP: vtep3}, evpn.MACHeard{VNI: 100, VTEP: vtep3, MAC: mac2},
		evpn.RoutesReceived{Neighbor: rr, Announced: far.Drain(start).Announce},
	} {
		c.Handle(ev, start)
	}
	for _, x := range []*evpn.Core{c, restore(c, start)} {
		e, ok := x.Explain(100, mac2)
		require.True(t, ok)
		assert.Equal(t, evpn.OriginProxy, e.Origin)
		e, ok = x.Explain(100, mac1)
		require.True(t, ok)
		assert.True(t, e.Limit.Over)
	}
}

// TestSnapshotIsSafe: restoring events of a file that somebody wrote by hand do no harm.
func TestSnapshotIsSafe(t *testing.T) {
	c := liveCore()
	for _, ev := range []evpn.Event{
		evpn.PlaceRestored{VNI: 100}, evpn.PlaceRestored{VNI: 7, MAC: mac1}, evpn.PlaceRestored{VNI: 100, MAC: mac1},
		evpn.MACRestored{VNI: 100}, evpn.MACRestored{VNI: 7, MAC: mac1, Local: true},
		evpn.IPRestored{VNI: 100, MAC: mac1}, evpn.IPRestored{VNI: 100, IP: vtep2, MAC: evpn.MAC{1}},
		evpn.NeighborRestored{Neighbor: rr, Stale: []evpn.RouteKey{{}}},
		evpn.MACRestored{VNI: 100, MAC: mac1, FrozenAt: start},
	} {
		c.Handle(ev, start)
	}
	assert.Len(t, c.Desired().Routes, 1)
	assert.Len(t, c.Snapshot(), 3, "the VNI, the neighbour, the frozen MAC")
}
