package daemon

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/evpn"
)

func learned(n byte, port string) evpn.Event {
	return evpn.LocalMACLearned{VNI: 100, MAC: evpn.MAC{2, 5: n}, Port: port}
}

func gone(n byte) evpn.Event { return evpn.LocalMACGone{VNI: 100, MAC: evpn.MAC{2, 5: n}} }

func events(items []queued) (out []evpn.Event) {
	for _, it := range items {
		out = append(out, it.event)
	}
	return out
}

func TestQueueNewestFactWins(t *testing.T) {
	q := newQueue(100)
	for _, ev := range []evpn.Event{learned(1, "a"), learned(2, "a"), gone(1), evpn.VNIState{VNI: 100}, learned(1, "b"), evpn.VNIState{VNI: 100, Up: true}} {
		require.True(t, q.put(t.Context(), ev))
	}
	assert.Equal(t, []evpn.Event{learned(1, "b"), learned(2, "a"), evpn.VNIState{VNI: 100, Up: true}}, events(q.take(nil, 100)))
	assert.Equal(t, uint64(3), q.stats().merged)

	// what was taken is no longer replaced
	require.True(t, q.put(t.Context(), gone(1)))
	assert.Equal(t, []evpn.Event{gone(1)}, events(q.take(nil, 100)))
}

func TestQueueKeepsOrderOfASession(t *testing.T) {
	q := newQueue(100)
	a := netip.MustParseAddr("10.0.0.2")
	want := []evpn.Event{evpn.NeighborUp{Neighbor: a}, evpn.EndOfRIB{Neighbor: a}, evpn.NeighborDown{Neighbor: a}, evpn.NeighborUp{Neighbor: a}}
	for _, ev := range want {
		require.True(t, q.put(t.Context(), ev))
	}
	var got []evpn.Event
	for range want {
		<-q.ready
		got = append(got, events(q.take(nil, 1))...)
	}
	assert.Equal(t, want, got)
}

func TestQueueMakesTheSourceWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(3)
		routes := evpn.RoutesReceived{Announced: make([]evpn.Route, 2)}
		huge := evpn.RoutesReceived{Announced: make([]evpn.Route, 50)}
		require.True(t, q.put(t.Context(), routes))
		done := 0
		go func() {
			q.put(t.Context(), huge) // heavier than the limit: goes in alone
			done++
			q.put(t.Context(), learned(1, "a"))
			done++
		}()
		synctest.Wait()
		assert.Equal(t, 0, done, "no room yet")
		assert.Equal(t, []evpn.Event{routes}, events(q.take(nil, 100)))
		synctest.Wait()
		assert.Equal(t, 1, done)
		assert.Equal(t, []evpn.Event{huge}, events(q.take(nil, 1)))
		synctest.Wait()
		assert.Equal(t, 2, done)
		assert.Equal(t, uint64(2), q.stats().waits)

		ctx, cancel := context.WithCancel(t.Context())
		require.True(t, q.put(ctx, routes))
		refused := make(chan bool, 1)
		go func() { refused <- q.put(ctx, huge) }()
		synctest.Wait()
		cancel()
		assert.False(t, <-refused, "the end of the context frees a waiting source")
	})
}

// A long life must not make the queue grow or lose its index.
func TestQueueLongLife(t *testing.T) {
	q := newQueue(1 << 20)
	var want, got []evpn.Event
	for i := range 30000 {
		ev := evpn.LocalMACLearned{VNI: evpn.VNI(i + 1), Port: "a"}
		want = append(want, ev)
		require.True(t, q.put(t.Context(), ev))
		if i%3 == 0 {
			got = append(got, events(q.take(nil, 2))...)
		}
	}
	last := evpn.LocalMACGone{VNI: 30000}
	require.True(t, q.put(t.Context(), last))
	want[len(want)-1] = last
	got = append(got, events(q.take(nil, 1<<20))...)
	assert.Equal(t, want, got)
	assert.Zero(t, q.stats().weight)
	assert.Empty(t, q.index)
}
