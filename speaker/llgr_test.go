package speaker_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/speaker"
	"github.com/vtepbgp/vtepbgp/speaker/speakertest"
	"github.com/vtepbgp/vtepbgp/speaker/wire"
)

func lastDown(events []evpn.Event) (d evpn.NeighborDown, found bool) {
	for _, ev := range events {
		if x, ok := ev.(evpn.NeighborDown); ok {
			d, found = x, true
		}
	}
	return d, found
}

// How long a peer's routes outlive its session follows from both OPENs.
func TestLongLivedAgreement(t *testing.T) {
	long := wire.LongLived{EVPN: true, Forwarding: true, Time: time.Hour}
	for name, c := range map[string]struct {
		ours  time.Duration // configured
		extra []wire.Capability
		gr    time.Duration
		want  evpn.NeighborDown
	}{
		"both":                       {time.Minute, []wire.Capability{long.Capability()}, 20 * time.Second, evpn.NeighborDown{Graceful: true, StaleTime: 20 * time.Second, LongLived: time.Minute}},
		"the peer's time is shorter": {2 * time.Hour, []wire.Capability{long.Capability()}, 20 * time.Second, evpn.NeighborDown{Graceful: true, StaleTime: 20 * time.Second, LongLived: time.Hour}},
		"not configured here":        {0, []wire.Capability{long.Capability()}, 20 * time.Second, evpn.NeighborDown{Graceful: true, StaleTime: 20 * time.Second}},
		"not announced":              {time.Minute, nil, 20 * time.Second, evpn.NeighborDown{Graceful: true, StaleTime: 20 * time.Second}},
		"without graceful restart":   {time.Minute, []wire.Capability{long.Capability()}, 0, evpn.NeighborDown{}},
		"family in the long-lived capability only": {time.Minute, []wire.Capability{wire.GracefulRestart{Time: 20 * time.Second}.Capability(), long.Capability()}, 0,
			evpn.NeighborDown{Graceful: true, LongLived: time.Minute}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := passive(speaker.Neighbor{Address: peerA, LongLivedStaleTime: c.ours})
			cfg.GracefulRestartTime = 60 * time.Second
			s := speakertest.Start(t, cfg)
			o := ibgp(idA)
			o.GracefulRestart, o.Extra = c.gr, c.extra
			p := speakertest.Dial(t, peerA, s.At, o).Handshake(t)
			if c.ours == 0 {
				assert.Nil(t, p.Theirs.LongLived)
			} else {
				assert.Equal(t, &wire.LongLived{EVPN: true, Time: c.ours}, p.Theirs.LongLived)
			}
			st := s.AwaitState(t, peerA, "established")
			if c.extra == nil {
				assert.Nil(t, st.LongLived)
			} else {
				assert.Equal(t, &speaker.LongLivedStatus{Announced: time.Hour, Forwarding: true, Agreed: c.want.LongLived}, st.LongLived)
			}
			restarts := c.gr > 0 || len(c.extra) == 2
			up := evpn.NeighborUp{Neighbor: peerA, RouterID: idA, ASN: 65000, IBGP: true, EndOfRIB: restarts, KeptLongLived: restarts && c.extra != nil}
			s.Await(t, "NeighborUp", func(ev []evpn.Event) bool { return hasEvent(ev, up) })
			p.Close()
			c.want.Neighbor = peerA
			s.Await(t, "NeighborDown", func(ev []evpn.Event) bool { d, ok := lastDown(ev); return ok && d == c.want })
			st = s.Neighbors()[0]
			assert.Equal(t, c.want.Graceful, !st.StaleUntil.IsZero())
			assert.Equal(t, c.want.LongLived, st.LongLivedUntil.Sub(st.StaleUntil))
		})
	}
}

// A reflector marks what outlives its client's restart time for those who know the mark, and
// withdraws it from others (RFC 9494 §4.2, §4.3). A route that asks for it does not live that long.
func TestReflectorMarksLongLivedStale(t *testing.T) {
	peerC, idC := netip.MustParseAddr("127.0.1.4"), netip.MustParseAddr("10.0.0.4")
	client := func(n speaker.Neighbor) speaker.Neighbor { n.RouteReflectorClient = true; return n }
	cfg := passive(client(speaker.Neighbor{Address: peerA, LongLivedStaleTime: time.Hour}), client(speaker.Neighbor{Address: peerB}), client(speaker.Neighbor{Address: peerC}))
	cfg.GracefulRestartTime = 60 * time.Second
	s := speakertest.Start(t, cfg)
	o := ibgp(idA)
	o.GracefulRestart, o.LongLived = time.Second, time.Hour
	a := speakertest.Dial(t, peerA, s.At, o).Handshake(t)
	knows := ibgp(idB)
	knows.GracefulRestart, knows.LongLived = time.Minute, time.Hour
	b := speakertest.Dial(t, peerB, s.At, knows).Handshake(t)
	plain := ibgp(idC)
	plain.GracefulRestart = time.Minute
	c := speakertest.Dial(t, peerC, s.At, plain).Handshake(t)
	kept, refuses := speakertest.MACRoute(idA, 100, 7, nil), speakertest.MACRoute(idA, 100, 8, nil)
	no := *refuses.Attrs
	no.NoLLGR = true
	refuses.Attrs = &no
	a.Announce(t, kept, refuses)
	for _, p := range []*speakertest.Peer{b, c} {
		p.Await(t, "the routes", func(h *speakertest.Heard) bool { return len(h.Routes) == 2 })
	}
	a.Close()
	b.Await(t, "the mark", func(h *speakertest.Heard) bool {
		r, ok := h.Routes[kept.Key]
		return ok && r.Attrs.LLGRStale && len(h.Routes) == 1
	})
	c.Await(t, "the withdrawal", func(h *speakertest.Heard) bool { return len(h.Routes) == 0 })

	// Back with its forwarding state: the mark goes, and what is not confirmed does.
	o.Restarting, o.Forwarding = true, true
	a = speakertest.Dial(t, peerA, s.At, o).Handshake(t)
	a.Announce(t, kept)
	b.Await(t, "the route as good as new", func(h *speakertest.Heard) bool { return !h.Routes[kept.Key].Attrs.LLGRStale })
	c.Await(t, "the route again", hasRoute(kept.Key))
	a.Send(t, wire.EndOfRIB())
	require.Eventually(t, func() bool { return s.Neighbors()[0].StaleUntil.IsZero() }, speakertest.Wait, 5*time.Millisecond)

	// Back without it: what was stale goes at once, End-of-RIB or not.
	a.Close()
	b.Await(t, "the mark again", func(h *speakertest.Heard) bool { return h.Routes[kept.Key].Attrs.LLGRStale })
	o.Forwarding = false
	speakertest.Dial(t, peerA, s.At, o).Handshake(t)
	b.Await(t, "the withdrawal", lacksRoute(kept.Key))
}
