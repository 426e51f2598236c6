package speaker_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/speaker"
	"github.com/vtepbgp/vtepbgp/speaker/speakertest"
)

// The adversary is a neighbour that sends octets by hand. Beside it, when the speaker reflects,
// there is a client that behaves: it must get every good route and notice nothing else.
type arena struct {
	*speakertest.Running
	client *speakertest.Peer // nil in leaf mode
	next   uint32            // MAC
}

var vtepA = speakertest.VTEP

func newArena(t testing.TB, transit bool) *arena {
	t.Helper()
	cfg := passive(speaker.Neighbor{Address: peerA})
	if transit {
		cfg = passive(speaker.Neighbor{Address: peerA, RouteReflectorClient: true}, speaker.Neighbor{Address: peerB, RouteReflectorClient: true})
	}
	a := &arena{Running: speakertest.Start(t, cfg)}
	if transit {
		a.client = speakertest.Dial(t, peerB, a.At, ibgp(idB)).Handshake(t)
		a.AwaitState(t, peerB, "established")
	}
	return a
}

// attack opens a session as the adversary.
func (a *arena) attack(t testing.TB) *speakertest.Peer {
	t.Helper()
	p := speakertest.Dial(t, peerA, a.At, ibgp(idA)).Handshake(t)
	a.AwaitState(t, peerA, "established")
	return p
}

// route gives a fresh good route.
func (a *arena) route() evpn.Route {
	a.next++
	return speakertest.MACRoute(vtepA, 100, a.next, nil)
}

// await wants routes at the core and at the client.
func (a *arena) await(t testing.TB, keys ...evpn.RouteKey) {
	t.Helper()
	hasAll := func(routes map[evpn.RouteKey]evpn.Route) bool {
		for _, k := range keys {
			if _, ok := routes[k]; !ok {
				return false
			}
		}
		return true
	}
	a.Await(t, "good routes at the core", func([]evpn.Event) bool { return hasAll(a.Routes(peerA)) })
	if a.client != nil {
		a.client.Await(t, "good routes reflected", func(h *speakertest.Heard) bool { return hasAll(h.Routes) })
	}
}

// awaitPref wants routes at the core and at the client, with this LOCAL_PREF.
func (a *arena) awaitPref(t testing.TB, pref uint32, keys ...evpn.RouteKey) {
	t.Helper()
	have := func(routes map[evpn.RouteKey]evpn.Route) bool {
		for _, k := range keys {
			if r, ok := routes[k]; !ok || r.Attrs.LocalPref != pref {
				return false
			}
		}
		return true
	}
	a.Await(t, "good routes at the core", func([]evpn.Event) bool { return have(a.Routes(peerA)) })
	if a.client != nil {
		a.client.Await(t, "good routes reflected", func(h *speakertest.Heard) bool { return have(h.Routes) })
	}
}

// fence returns when all that p sent before has been handled, here and at the client.
func (a *arena) fence(t testing.TB, p *speakertest.Peer) evpn.RouteKey {
	t.Helper()
	r := a.route()
	p.Announce(t, r)
	a.await(t, r.Key)
	return r.Key
}

// absent wants that neither core nor client has a route.
func (a *arena) absent(t testing.TB, keys ...evpn.RouteKey) {
	t.Helper()
	core := a.Routes(peerA)
	for _, k := range keys {
		assert.NotContains(t, core, k, "core")
		if a.client != nil {
			a.client.See(func(h *speakertest.Heard) { assert.NotContains(t, h.Routes, k, "client") })
		}
	}
}

func (a *arena) status(t testing.TB, addr netip.Addr) speaker.NeighborStatus {
	t.Helper()
	for _, n := range a.Neighbors() {
		if n.Address == addr {
			return n
		}
	}
	require.FailNow(t, "no such neighbour")
	return speaker.NeighborStatus{}
}

// unharmed wants the client's session never to have ended.
func (a *arena) unharmed(t testing.TB) {
	t.Helper()
	if a.client == nil {
		return
	}
	st := a.status(t, peerB)
	assert.Equal(t, "established", st.State)
	assert.Zero(t, st.Flaps)
	a.client.See(func(h *speakertest.Heard) {
		assert.Nil(t, h.Notification)
		assert.NoError(t, h.ClosedBy)
		for _, o := range h.Order {
			assert.False(t, strings.HasPrefix(o, "bad") || strings.HasPrefix(o, "drop"), "the client got a bad UPDATE: %s", o)
		}
	})
}
