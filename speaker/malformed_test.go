package speaker_test

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/speaker/speakertest"
	"github.com/vtepbgp/vtepbgp/speaker/wire"
)

func bothModes(t *testing.T, f func(t *testing.T, transit bool)) {
	t.Run("leaf", func(t *testing.T) { f(t, false) })
	t.Run("transit", func(t *testing.T) { f(t, true) })
}

// TestMalformedUpdates sends all UpdateAttacks in one session: it stays, no good route is lost,
// every drop is counted by its reason, and what an error withdraws is withdrawn everywhere.
func TestMalformedUpdates(t *testing.T) {
	bothModes(t, func(t *testing.T, transit bool) {
		a := newArena(t, transit)
		p := a.attack(t)
		var good []evpn.RouteKey
		for _, c := range speakertest.UpdateAttacks {
			t.Run(c.Name, func(t *testing.T) {
				routes := []evpn.Route{a.route(), a.route(), a.route(), a.route()}
				p.Announce(t, routes...) // an error must withdraw what was there
				for _, r := range routes {
					a.await(t, r.Key)
				}
				before := a.status(t, peerA).Drops
				p.Send(t, c.Message(t, routes))
				good = append(good, a.fence(t, p))
				for _, r := range routes {
					switch c.Outcome {
					case speakertest.Kept, speakertest.Useless: // by the attack itself: LOCAL_PREF tells
						a.awaitPref(t, 101, r.Key)
						good = append(good, r.Key)
					case speakertest.Untouched:
						a.awaitPref(t, 100, r.Key)
						good = append(good, r.Key)
					case speakertest.Withdrawn:
						a.absent(t, r.Key)
					}
				}
				after := a.status(t, peerA).Drops
				for reason, n := range c.Drops {
					assert.Equal(t, n, after[reason]-before[reason], "drops for %q", reason)
				}
			})
		}
		a.await(t, good...)
		st := a.status(t, peerA)
		assert.Equal(t, "established", st.State)
		assert.Zero(t, st.Flaps, "one session from start to end")
		p.See(func(h *speakertest.Heard) { assert.Nil(t, h.Notification) })
		a.unharmed(t)
	})
}

// TestAttributesOfReflectedRoutes: core and client get all they can use.
func TestAttributesOfReflectedRoutes(t *testing.T) {
	a := newArena(t, true)
	p := a.attack(t)
	r := a.route()
	p.Send(t, speakertest.Update(t, speakertest.AttrOrigin+speakertest.AttrPath+speakertest.AttrPref+"c0 10 28 030c000000000008 0002fde800000064 0600010000000007 0608010000000000 067f000000000000"+
		"c0 16 09 98 06 000064 0a630001 c0 28 03 05 00ff c0 fe 01 07", speakertest.NLRI(r)))
	a.await(t, r.Key)
	core := a.Routes(peerA)[r.Key]
	assert.True(t, core.Attrs.Router)
	a.client.See(func(h *speakertest.Heard) {
		got := h.Routes[r.Key].Attrs
		assert.Equal(t, vtepA, got.NextHop)
		assert.Equal(t, evpn.Mobility{Sequence: 7, Sticky: true}, got.Mobility)
		assert.Equal(t, core.Attrs.RouteTargets, got.RouteTargets)
		assert.Equal(t, idA, got.OriginatorID, "RFC 4456 §8")
		assert.True(t, got.Router, "what GoBGP cannot parse gets through it all the same")
		assert.Equal(t, core.Attrs.PMSI, got.PMSI, "all flags of it")
		last := h.Raw[len(h.Raw)-1]
		assert.True(t, bytes.Contains(last, speakertest.Hex(t, "067f000000000000")), "unknown communities")
		assert.True(t, bytes.Contains(last, speakertest.Hex(t, "c0 28 03 05 00ff")), "a prefix SID")
		assert.True(t, bytes.Contains(last, speakertest.Hex(t, "e0 fe 01 07")), "an unknown attribute, partial")
	})
}

// TestOddRoutesReflected sends what is unusual but valid: GoBGP holds, replaces, reflects and withdraws it.
func TestOddRoutesReflected(t *testing.T) {
	a := newArena(t, true)
	p := a.attack(t)
	odd := strings.Join([]string{
		"01 19 00010a6300010002 00112233445566778899 ffffffff 000064",                                                                      // type 1
		"01 19 00020000fde80002 00112233445566778899 00000000 000064",                                                                      // RD of a 4-octet AS
		"04 17 0000fde800000002 00112233445566778899 20 0a630001",                                                                          // type 4
		"04 23 0000fde800000002 03aabbccddeeff000001 80 20010db8000000000000000000000001",                                                  // … IPv6, ESI type 3
		"03 1d 00010a6300010002 00000007 80 20010db8000000000000000000000001",                                                              // type 3, IPv6, tag 7
		"02 28 00010a6300010002 00112233445566778899 00000000 30 02aa00000001 20 c0a86401 000064 0003e7",                                   // two labels, an ESI
		"02 34 00010a6300010002 00000000000000000000 00000000 30 02aa00000001 80 00000000000000000000ffffc0a86401 000064 0003e7",           // IPv4 mapped in IPv6
		"02 21 00010a6300010002 00000000000000000000 00000000 30 ffffffffffff 00 ffffff",                                                   // broadcast
		"02 21 0000000000000000 00000000000000000000 ffffffff 30 000000000000 00 000000",                                                   // nothing at all
		"05 22 00010a6300010002 00000000000000000000 00000000 18 0a000000 0a630001 000064",                                                 // type 5
		"05 3a 00010a6300010002 00000000000000000000 00000000 40 20010db8000000000000000000000000 20010db8000000000000000000000001 000064", // … IPv6
	}, "")
	communities := "c0 10 68 030c000000000008 0002fde800000064 0102 0a000001 0007 0202 fa56ea00 0007 0600 01 00 ffffffff 0601 01 0000 000064 0602 02aa00000001 0603 02aa00000001" +
		"0604 0000 05dc 0000 030d 000000000000 030b 0000 00000064 8006 0000 00000000 4300 000000000001"
	pmsi := "c0 16 15 02 06 000064 20010db8000000000000000000000001"
	attrs := speakertest.AttrOrigin + "40 02 10 02 02 00000001 00000002 01 01 00000003" + speakertest.AttrPref + "80 04 04 00000009 c0 08 04 ffffff01 c0 20 0c 000000010000000200000003" + communities + pmsi
	seen := func() (routes, others int) {
		s := wire.Session{FourOctetAS: true, EVPN: true, IBGP: true, LocalASN: 65000, LocalRouterID: idB}
		a.client.See(func(h *speakertest.Heard) {
			routes = len(h.Routes)
			for _, b := range h.Raw {
				up, err := wire.ParseUpdate(b, &s)
				assert.NoError(t, err)
				others += up.Others
			}
		})
		return routes, others
	}
	for round := range 3 { // announced, replaced, withdrawn
		p.Send(t, speakertest.Update(t, attrs, odd))
		a.fence(t, p)
		p.Send(t, speakertest.Update(t, attrs+"c0 fe 00", odd))
		a.fence(t, p)
		assert.Len(t, a.Routes(peerA), 7+2*(round+1), "types 2, 3 and 5, and the fences")
		routes, others := seen()
		assert.Equal(t, 6+2*(round+1), routes, "all but the mapped one, which GoBGP would take for the other")
		assert.GreaterOrEqual(t, others, 4*(1+3*round), "types 1 and 4")
		v := append(speakertest.Hex(t, "0019 46"), speakertest.Hex(t, odd)...)
		p.Send(t, speakertest.Update(t, "90 0f"+hex.EncodeToString([]byte{byte(len(v) >> 8), byte(len(v))})+hex.EncodeToString(v)))
		a.client.Await(t, "the withdrawals", func(h *speakertest.Heard) bool { return len(h.Routes) == 2*(round+1) })
	}
	assert.Zero(t, a.status(t, peerA).Flaps)
	a.unharmed(t)
}

// TestOneMACManyRoutes: GoBGP compares each type-2 with all others of the same MAC and route target that it
// sees. A router with thousands of addresses must not cost a reflector much more than as many hosts.
func TestOneMACManyRoutes(t *testing.T) {
	a := newArena(t, true)
	p := a.attack(t)
	const n = 5000
	attrs := speakertest.Attrs(vtepA, 100)
	reflect := func(mac func(i uint32) uint32) time.Duration {
		routes := make([]evpn.Route, n)
		keys := make([]evpn.RouteKey, n)
		for i := range routes {
			routes[i] = speakertest.MACRoute(vtepA, 100, mac(uint32(i)), attrs)
			routes[i].Key.IP = netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
			keys[i] = routes[i].Key
		}
		began := time.Now()
		p.Announce(t, routes...)
		a.client.Await(t, "all of them", func(h *speakertest.Heard) bool { return len(h.Routes) == n })
		took := time.Since(began)
		p.Withdraw(t, keys...)
		a.client.Await(t, "the withdrawals", func(h *speakertest.Heard) bool { return len(h.Routes) == 0 })
		return took
	}
	hosts := reflect(func(i uint32) uint32 { return i })
	router := reflect(func(uint32) uint32 { return 1 })
	assert.Less(t, router, 10*hosts+500*time.Millisecond, "%d hosts took %v", n, hosts)
}

// TestMalformedStreams: where RFC 4271 and RFC 7606 leave only a reset, the session ends with the right
// NOTIFICATION, takes its routes along, and comes back; nobody else notices.
func TestMalformedStreams(t *testing.T) {
	bothModes(t, func(t *testing.T, transit bool) {
		a := newArena(t, transit)
		for i, c := range speakertest.StreamAttacks {
			t.Run(c.Name, func(t *testing.T) {
				p := a.attack(t)
				key := a.fence(t, p)
				c.Send(t, p)
				if c.Code != 0 {
					n := p.AwaitNotification(t)
					assert.Equal(t, wire.ErrorText(c.Code, c.Sub), wire.ErrorText(n.Code, n.Subcode))
				}
				a.Await(t, "NeighborDown", func([]evpn.Event) bool { return len(a.Routes(peerA)) == 0 })
				if a.client != nil {
					a.client.Await(t, "the withdrawal", func(h *speakertest.Heard) bool { _, ok := h.Routes[key]; return !ok })
				}
				p.Close()
				assert.EqualValues(t, i+1, a.status(t, peerA).Flaps)
			})
		}
		a.fence(t, a.attack(t))
		a.unharmed(t)
	})
}

// TestMalformedOpen: before a session there is not even a flap.
func TestMalformedOpen(t *testing.T) {
	a := newArena(t, true)
	for _, c := range speakertest.OpenAttacks {
		t.Run(c.Name, func(t *testing.T) {
			p := speakertest.Dial(t, peerA, a.At, ibgp(idA))
			n := c.Run(t, p)
			assert.Equal(t, wire.ErrorText(c.Code, c.Sub), wire.ErrorText(n.Code, n.Subcode))
		})
	}
	a.fence(t, a.attack(t))
	assert.Zero(t, a.status(t, peerA).Flaps)
	a.unharmed(t)
}

// TestSlowPeer: octets that come one by one are as good as others.
func TestSlowPeer(t *testing.T) {
	bothModes(t, func(t *testing.T, transit bool) {
		a := newArena(t, transit)
		o := ibgp(idA)
		o.Silent = true // a KEEPALIVE must not get between
		p := speakertest.Dial(t, peerA, a.At, o).Handshake(t)
		a.AwaitState(t, peerA, "established")
		var keys []evpn.RouteKey
		for range 3 {
			routes := []evpn.Route{a.route(), a.route(), a.route(), a.route()}
			for _, b := range speakertest.Update(t, speakertest.AttrsGood, speakertest.NLRI(routes[:2]...), speakertest.ShortIMET, speakertest.LaterTypes, speakertest.NLRI(routes[2:]...)) {
				p.Send(t, []byte{b})
			}
			for _, r := range routes {
				keys = append(keys, r.Key)
			}
		}
		a.await(t, keys...)
		a.unharmed(t)
	})
}

// TestManyReconnects: hundreds of sessions and half sessions leave nothing behind.
func TestManyReconnects(t *testing.T) {
	bothModes(t, func(t *testing.T, transit bool) {
		a := newArena(t, transit)
		a.attack(t).Close()
		a.Await(t, "NeighborDown", lastIs(evpn.NeighborDown{Neighbor: peerA}))
		base := runtime.NumGoroutine()
		for i := range 200 {
			p := speakertest.Dial(t, peerA, a.At, ibgp(idA))
			var say []byte
			switch open := ibgp(idA).Open(); i % 4 {
			case 0: // nothing at all
			case 1:
				say = append(open, speakertest.Hex(t, "00112233445566778899")...)
			case 2:
				say = open[:i%25]
			case 3:
				say = slices.Concat(open, wire.Keepalive(), speakertest.Update(t, speakertest.AttrsGood, speakertest.NLRI(a.route()), speakertest.ShortIMET), speakertest.Hex(t, speakertest.Marker, "0012 02"))
			}
			_, _ = p.Conn.Write(say) // the one before may have won the collision
			p.Close()
		}
		quiet := 0
		require.Eventually(t, func() bool {
			if quiet++; a.status(t, peerA).State != "active" {
				quiet = 0
			}
			return quiet > 50
		}, speakertest.Wait, 2*time.Millisecond, "the last of them is forgotten")
		a.fence(t, a.attack(t))
		a.unharmed(t)
		require.Eventually(t, func() bool { return runtime.NumGoroutine() <= base+20 }, speakertest.Wait, 10*time.Millisecond,
			"goroutines: %d at first, %d now", base, runtime.NumGoroutine())
	})
}
