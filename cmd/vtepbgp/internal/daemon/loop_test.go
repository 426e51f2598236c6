package daemon

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/api"
	"github.com/vtepbgp/vtepbgp/evpn"
)

func testCore() *evpn.Core {
	rt, _ := evpn.AutoRouteTarget(65000, 100)
	return evpn.New(evpn.Config{VTEP: netip.MustParseAddr("10.0.0.1"), VNIs: []evpn.VNIConfig{{
		VNI: 100, RD: evpn.RDFromRouterID(netip.MustParseAddr("10.0.0.1"), 1), Flooding: evpn.FloodIngress,
		Export: []evpn.RouteTarget{rt}, Import: []evpn.ImportTarget{{AnyAdmin: true, Number: 100}},
	}}})
}

// sink counts batches and holds what is in effect.
type sink struct {
	mu     sync.Mutex
	calls  int
	routes map[evpn.RouteKey]bool
	rows   map[evpn.RowKey]evpn.RowValue
}

func newSink() *sink {
	return &sink{routes: map[evpn.RouteKey]bool{}, rows: map[evpn.RowKey]evpn.RowValue{}}
}

type routesOf struct{ *sink }

func (s routesOf) Apply(announce []evpn.Route, withdraw []evpn.RouteKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	for _, k := range withdraw {
		delete(s.routes, k)
	}
	for _, r := range announce {
		s.routes[r.Key] = true
	}
}

type rowsOf struct{ *sink }

func (s rowsOf) Apply(changes []evpn.RowChange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range changes {
		if c.Remove {
			delete(s.rows, c.RowKey)
		} else {
			s.rows[c.RowKey] = c.RowValue
		}
	}
}

func (s rowsOf) Track([]evpn.NextHopChange) {}

// listsOf takes what the flooding module would.
type listsOf struct{ *sink }

func (listsOf) Apply([]evpn.ListChange, []evpn.RelayChange) {}

// counts gives the routes and rows in effect and the batches of routes.
func (s *sink) counts() (routes, rows, calls int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.routes), len(s.rows), s.calls
}

func runLoop(t *testing.T, l *loop) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); assert.NoError(t, l.run(ctx)) }()
	return func() { cancel(); <-done }
}

func TestLoopTakesTogetherWhatHasQueuedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink()
		l := newLoop(testCore(), routesOf{s}, rowsOf{s}, listsOf{s}, nil)
		l.kernel.put(t.Context(), evpn.VNIState{VNI: 100, Up: true})
		for i := range 200 {
			l.kernel.put(t.Context(), learned(byte(i), "a"))
		}
		defer runLoop(t, l)()
		synctest.Wait()
		routes, _, calls := s.counts()
		assert.Equal(t, 201, routes)
		assert.Equal(t, 1, calls, "one batch")

		l.kernel.put(t.Context(), gone(7)) // an idle loop acts at once: no clock moves
		synctest.Wait()
		routes, _, calls = s.counts()
		assert.Equal(t, 200, routes)
		assert.Equal(t, 2, calls)
	})
}

// Both sources press more than the queues hold, and calls come meanwhile: all
// arrives, nothing stands still.
func TestLoopUnderPressure(t *testing.T) {
	s := newSink()
	l := newLoop(testCore(), routesOf{s}, rowsOf{s}, listsOf{s}, nil)
	l.kernel, l.speaker = newQueue(16), newQueue(16)
	stop := runLoop(t, l)
	defer stop()
	rt, _ := evpn.AutoRouteTarget(65000, 100)
	attrs := &evpn.Attrs{NextHop: netip.MustParseAddr("10.0.0.2"), RouteTargets: []evpn.RouteTarget{rt}, Encaps: []uint16{evpn.EncapVXLAN}, LocalPref: 100}
	peer := netip.MustParseAddr("10.0.0.254")
	const n = 20000
	mac := func(kind byte, i int) evpn.MAC { return evpn.MAC{2, kind, 0, byte(i >> 16), byte(i >> 8), byte(i)} }
	var wg sync.WaitGroup
	wg.Go(func() {
		l.kernel.put(t.Context(), evpn.VNIState{VNI: 100, Up: true})
		for i := range n {
			l.kernel.put(t.Context(), evpn.LocalMACLearned{VNI: 100, MAC: mac(1, i), Port: "a"})
		}
	})
	wg.Go(func() {
		l.speaker.put(t.Context(), evpn.NeighborUp{Neighbor: peer, IBGP: true, EndOfRIB: true})
		for i := 0; i < n; i += 100 {
			ev := evpn.RoutesReceived{Neighbor: peer}
			for j := range 100 {
				ev.Announced = append(ev.Announced, evpn.Route{
					Key: evpn.RouteKey{Type: evpn.MACIPRoute, RD: evpn.RD{1: 1, 7: 9}, MAC: mac(2, i+j)}, Label: 100, Attrs: attrs,
				})
			}
			l.speaker.put(t.Context(), ev)
		}
	})
	wg.Go(func() {
		for range 200 {
			assert.NoError(t, l.do(t.Context(), func(c *evpn.Core) { c.VNIs() }))
		}
	})
	wg.Wait()
	require.NoError(t, l.settle(t.Context(), l.kernel))
	require.NoError(t, l.settle(t.Context(), l.speaker))
	routes, rows, _ := s.counts()
	assert.Equal(t, n+1, routes, "type-3 and every local MAC")
	assert.Equal(t, n, rows, "every remote MAC")
}

func TestLoopWakesTheCore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink()
		l := newLoop(testCore(), routesOf{s}, rowsOf{s}, listsOf{s}, nil)
		defer runLoop(t, l)()
		rt, _ := evpn.AutoRouteTarget(65000, 100)
		peer := netip.MustParseAddr("10.0.0.254")
		l.kernel.put(t.Context(), evpn.VNIState{VNI: 100, Up: true})
		l.speaker.put(t.Context(), evpn.NeighborUp{Neighbor: peer, EndOfRIB: true})
		l.speaker.put(t.Context(), evpn.RoutesReceived{Neighbor: peer, Announced: []evpn.Route{{
			Key: evpn.RouteKey{Type: evpn.MACIPRoute, RD: evpn.RD{1: 1}, MAC: evpn.MAC{2, 5: 9}}, Label: 100,
			Attrs: &evpn.Attrs{NextHop: netip.MustParseAddr("10.0.0.2"), RouteTargets: []evpn.RouteTarget{rt}, Encaps: []uint16{evpn.EncapVXLAN}},
		}}})
		synctest.Wait()
		rows := func() int { _, n, _ := s.counts(); return n }
		require.Equal(t, 1, rows())
		l.speaker.put(t.Context(), evpn.NeighborDown{Neighbor: peer, Graceful: true, StaleTime: 30 * time.Second})
		time.Sleep(29 * time.Second)
		synctest.Wait()
		assert.Equal(t, 1, rows(), "kept while the neighbour may come back")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		assert.Zero(t, rows(), "gone by the core's own timer, without any event")
	})
}

func TestLoopStopped(t *testing.T) {
	l := newLoop(testCore(), routesOf{newSink()}, rowsOf{newSink()}, listsOf{newSink()}, nil)
	runLoop(t, l)()
	assert.ErrorIs(t, l.do(t.Context(), func(*evpn.Core) {}), api.ErrNotReady)
	assert.ErrorIs(t, l.settle(t.Context(), l.kernel), api.ErrNotReady)
}
