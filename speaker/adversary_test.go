package speaker_test

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/speaker"
	"github.com/vtepbgp/vtepbgp/speaker/speakertest"
	"github.com/vtepbgp/vtepbgp/speaker/wire"
)

// The adversary is a neighbour that sends octets by hand. Beside it, when the speaker reflects,
// there is a client that behaves: it must get every good route and notice nothing else.
type arena struct {
	*speakertest.Running
	client *speakertest.Peer // nil in leaf mode
	next   uint32            // MAC
}

var vtepA = netip.MustParseAddr("10.99.0.1")

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

func raw(t testing.TB, parts ...string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(strings.Join(parts, ""), " ", ""))
	require.NoError(t, err)
	return b
}

const (
	attrOrigin  = "40 01 01 00 "
	attrPath    = "40 02 00 "
	attrPref    = "40 05 04 00000065 " // 101, where well-behaved announcements have 100
	attrTargets = "c0 10 10 030c000000000008 0002fde800000064 "
	attrsGood   = attrOrigin + attrPath + attrPref + attrTargets
)

// nlri writes type-2 NLRI in hexadecimal.
func nlri(routes ...evpn.Route) string {
	var s strings.Builder
	for _, r := range routes {
		s.WriteString("0221" + hex.EncodeToString(r.Key.RD[:]) + "00000000000000000000" + "00000000" + "30" + hex.EncodeToString(r.Key.MAC[:]) + "00" +
			hex.EncodeToString([]byte{byte(r.Label >> 16), byte(r.Label >> 8), byte(r.Label)}))
	}
	return s.String()
}

// update puts attributes and, at the end, where overruns hurt most, MP_REACH_NLRI into a message.
func update(t testing.TB, attrs string, nlri ...string) []byte {
	t.Helper()
	b := raw(t, attrs)
	if n := raw(t, nlri...); len(n) > 0 {
		v := append(raw(t, "0019 46 04 0a630001 00"), n...)
		b = append(append(b, 0x90, 14, byte(len(v)>>8), byte(len(v))), v...)
	}
	return wire.Message(wire.TypeUpdate, append(binary.BigEndian.AppendUint16([]byte{0, 0}, uint16(len(b))), b...))
}
