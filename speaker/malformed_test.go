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

// attackUpdate is an UPDATE that must not end the session.
type attackUpdate struct {
	name  string
	msg   func(t testing.TB, good []evpn.Route) []byte // of four good routes
	keep  [4]bool                                      // which of them are announced by it
	drops map[string]uint64
}

var (
	all     = [4]bool{true, true, true, true}
	nothing = [4]bool{}
)

func among(extra ...string) func(testing.TB, []evpn.Route) []byte {
	return func(t testing.TB, g []evpn.Route) []byte {
		return update(t, attrsGood, nlri(g[0], g[1]), strings.Join(extra, ""), nlri(g[2], g[3]))
	}
}

func atTheEnd(extra string) func(testing.TB, []evpn.Route) []byte {
	return func(t testing.TB, g []evpn.Route) []byte { return update(t, attrsGood, nlri(g...), extra) }
}

func with(attrs string) func(testing.TB, []evpn.Route) []byte {
	return func(t testing.TB, g []evpn.Route) []byte { return update(t, attrs, nlri(g...)) }
}

const (
	short3     = "03 0d 00010a6300010002 00000000 20 "
	short2     = "02 14 00010a6300010002 00000000000000000000 0000 "
	tiny3      = "03 02 0001 "
	laterTypes = "06 02 0000 07 00 08 01 ff 09 00 0a 03 000000 0b 00 "
)

// attackUpdates are what a peer may send without losing its session (RFC 7606).
var attackUpdates = []attackUpdate{
	{"short type 3 that panics GoBGP, among good ones", among(short3), all, map[string]uint64{wire.DropNLRI: 1}},
	{"short type 3 that panics GoBGP, at the end", atTheEnd(short3), all, map[string]uint64{wire.DropNLRI: 1}},
	{"short type 2 that panics GoBGP, among good ones", among(short2), all, map[string]uint64{wire.DropNLRI: 1}},
	{"short type 2 that panics GoBGP, at the end", atTheEnd(short2), all, map[string]uint64{wire.DropNLRI: 1}},
	{"type 3 of two octets, among good ones", among(tiny3), all, map[string]uint64{wire.DropNLRI: 1}},
	{"type 3 of two octets, at the end", atTheEnd(tiny3), all, map[string]uint64{wire.DropNLRI: 1}},
	{"all three", among(short3, short2, tiny3), all, map[string]uint64{wire.DropNLRI: 3}},
	{"route types 6 to 11 among good ones", among(laterTypes), all, map[string]uint64{wire.DropRouteType: 6}},
	{"NLRI that runs past the end", atTheEnd("02 ff 00"), all, map[string]uint64{wire.DropNLRIFraming: 1}},
	{"MAC length 47", among("02 21 00010a6300010002 00000000000000000000 00000000 2f 02aa00000001 00 000064"), all, map[string]uint64{wire.DropNLRI: 1}},
	{"IP length 64", among("02 29 00010a6300010002 00000000000000000000 00000000 30 02aa00000001 40 c0a86401c0a86401 000064"), all, map[string]uint64{wire.DropNLRI: 1}},
	{"unknown EVPN communities", with(attrOrigin + attrPath + attrPref + "c0 10 28 030c000000000008 0002fde800000064 0604000000000000 0608010000000000 067f000000000000"), all, nil},
	{"ORIGIN with wrong flags", with("c0 01 01 00" + attrPath + attrPref + attrTargets), nothing, map[string]uint64{wire.DropAttributeFlags: 4}},
	{"MED with wrong length", with(attrsGood + "80 04 03 000000"), nothing, map[string]uint64{wire.DropAttributeLength: 4}},
	{"communities with wrong length", with(attrOrigin + attrPath + attrPref + "c0 10 09 0002fde80000006400"), nothing, map[string]uint64{wire.DropAttributeLength: 4}},
	{"AS_PATH that overruns", with(attrOrigin + "40 02 04 02 09 0001" + attrPref + attrTargets), nothing, map[string]uint64{wire.DropAttributeValue: 4}},
	{"ORIGIN missing", with(attrPath + attrPref + attrTargets), nothing, map[string]uint64{wire.DropAttributeMissing: 4}},
	{"AGGREGATOR with wrong length", with(attrsGood + "c0 07 05 0000000000"), all, map[string]uint64{wire.DropAttributeDiscarded: 1}},
	{"unknown transitive attribute", with(attrsGood + "c0 fe 03 010203"), all, nil},
	{"everything twice", with(attrsGood + attrsGood), all, map[string]uint64{wire.DropAttributeDuplicate: 4}},
	{"a loop", with(attrOrigin + "40 02 06 02 01 0000fde8" + attrPref + attrTargets), nothing, map[string]uint64{wire.DropASLoop: 4}},
	{"our own routes reflected", with(attrsGood + "80 09 04 0a000005"), nothing, map[string]uint64{wire.DropOriginatorLoop: 4}},
	{"a family that nobody negotiated", func(t testing.TB, g []evpn.Route) []byte {
		return update(t, attrsGood+"80 0e 0e 0001 01 04 0a630001 00 20c0000201")
	}, nothing, map[string]uint64{wire.DropFamily: 1}},
	{"a family that does not exist", func(t testing.TB, g []evpn.Route) []byte {
		return update(t, attrsGood+"80 0e 08 beef 2a ff ffffffff")
	}, nothing, map[string]uint64{wire.DropFamily: 1}},
	{"IPv4 routes behind good ones", func(t testing.TB, g []evpn.Route) []byte {
		body := append(update(t, attrsGood, nlri(g...))[wire.HeaderLen:], raw(t, "20c0000201 18c00002 ff")...)
		return wire.Message(wire.TypeUpdate, body)
	}, all, map[string]uint64{wire.DropFamily: 3}},
	{"label 0", func(t testing.TB, g []evpn.Route) []byte {
		zero := append([]evpn.Route(nil), g...)
		for i := range zero {
			zero[i].Label = 0
		}
		return update(t, attrsGood, nlri(zero...)) // well-formed: the core says what is wrong with it
	}, all, nil},
	{"a group MAC among good ones", among("02 21 00010a6300010002 00000000000000000000 00000000 30 01005e000001 00 000064"), all, nil},
	{"exactly 4096 octets of routes", func(t testing.TB, g []evpn.Route) []byte {
		const filler = 109 // routes
		more := nlri(g...)
		for n := range uint32(filler) {
			more += nlri(speakertest.MACRoute(vtepA, 200, n, nil))
		}
		room := wire.MaxMessage - len(update(t, attrsGood, more)) - 3
		msg := update(t, attrsGood+"c0 fd"+hex.EncodeToString([]byte{byte(room)})+strings.Repeat("00", room), more)
		require.Len(t, msg, wire.MaxMessage)
		return msg
	}, all, nil},
	{"an attribute of 3,600 octets", func(t testing.TB, g []evpn.Route) []byte {
		room := wire.MaxMessage - 200 - len(update(t, attrsGood, nlri(g...))) - 4
		pad := "d0 fd" + hex.EncodeToString([]byte{byte(room >> 8), byte(room)}) + strings.Repeat("00", room)
		msg := update(t, attrsGood+pad, nlri(g...))
		return msg
	}, all, nil},
}

func bothModes(t *testing.T, f func(t *testing.T, transit bool)) {
	t.Run("leaf", func(t *testing.T) { f(t, false) })
	t.Run("transit", func(t *testing.T) { f(t, true) })
}

// TestMalformedUpdates sends all attackUpdates in one session: it stays, no good route is lost,
// every drop is counted by its reason, and what an error withdraws is withdrawn everywhere.
func TestMalformedUpdates(t *testing.T) {
	bothModes(t, func(t *testing.T, transit bool) {
		a := newArena(t, transit)
		p := a.attack(t)
		var good []evpn.RouteKey
		for _, c := range attackUpdates {
			t.Run(c.name, func(t *testing.T) {
				routes := []evpn.Route{a.route(), a.route(), a.route(), a.route()}
				p.Announce(t, routes...) // an error must withdraw what was there
				for _, r := range routes {
					a.await(t, r.Key)
				}
				before := a.status(t, peerA).Drops
				p.Send(t, c.msg(t, routes))
				good = append(good, a.fence(t, p))
				for i, r := range routes {
					switch {
					case c.keep[i]: // by the attack itself: LOCAL_PREF tells
						a.awaitPref(t, 101, r.Key)
						good = append(good, r.Key)
					case c.drops[wire.DropFamily] == 1: // not touched
						a.awaitPref(t, 100, r.Key)
						good = append(good, r.Key)
					default:
						a.absent(t, r.Key)
					}
				}
				after := a.status(t, peerA).Drops
				for reason, n := range c.drops {
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
	p.Send(t, update(t, attrOrigin+attrPath+attrPref+"c0 10 28 030c000000000008 0002fde800000064 0600010000000007 0608010000000000 067f000000000000"+
		"c0 16 09 98 06 000064 0a630001 c0 28 03 05 00ff c0 fe 01 07", nlri(r)))
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
		assert.True(t, bytes.Contains(last, raw(t, "067f000000000000")), "unknown communities")
		assert.True(t, bytes.Contains(last, raw(t, "c0 28 03 05 00ff")), "a prefix SID")
		assert.True(t, bytes.Contains(last, raw(t, "e0 fe 01 07")), "an unknown attribute, partial")
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
	attrs := attrOrigin + "40 02 10 02 02 00000001 00000002 01 01 00000003" + attrPref + "80 04 04 00000009 c0 08 04 ffffff01 c0 20 0c 000000010000000200000003" + communities + pmsi
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
		p.Send(t, update(t, attrs, odd))
		a.fence(t, p)
		p.Send(t, update(t, attrs+"c0 fe 00", odd))
		a.fence(t, p)
		assert.Len(t, a.Routes(peerA), 7+2*(round+1), "types 2, 3 and 5, and the fences")
		routes, others := seen()
		assert.Equal(t, 6+2*(round+1), routes, "all but the mapped one, which GoBGP would take for the other")
		assert.GreaterOrEqual(t, others, 4*(1+3*round), "types 1 and 4")
		v := append(raw(t, "0019 46"), raw(t, odd)...)
		p.Send(t, update(t, "90 0f"+hex.EncodeToString([]byte{byte(len(v) >> 8), byte(len(v))})+hex.EncodeToString(v)))
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

// attackStream is what ends the session, and how.
type attackStream struct {
	name string
	send func(t testing.TB, p *speakertest.Peer)
	code uint8 // of the NOTIFICATION; 0 = the adversary closes
	sub  uint8
}

func sends(parts ...string) func(testing.TB, *speakertest.Peer) {
	return func(t testing.TB, p *speakertest.Peer) { p.Send(t, raw(t, parts...)) }
}

var marker = strings.Repeat("ff", 16)

var attackStreams = []attackStream{
	{"garbage", sends(strings.Repeat("deadbeef", 100)), wire.CodeHeader, wire.SubConnectionNotSynchronized},
	{"header length 18", sends(marker, "0012 04"), wire.CodeHeader, wire.SubBadMessageLength},
	{"header length 65535", sends(marker, "ffff 02"), wire.CodeHeader, wire.SubBadMessageLength},
	{"header length 0", sends(marker, "0000 02"), wire.CodeHeader, wire.SubBadMessageLength},
	{"message type 77", sends(marker, "0013 4d"), wire.CodeHeader, wire.SubBadMessageType},
	{"KEEPALIVE of 20 octets", sends(marker, "0014 04 00"), wire.CodeHeader, wire.SubBadMessageLength},
	{"ROUTE-REFRESH of 22 octets", sends(marker, "0016 05 001900"), wire.CodeRouteRefresh, wire.SubInvalidMessageLength},
	{"a second OPEN", func(t testing.TB, p *speakertest.Peer) { p.Send(t, ibgp(idA).Open()) }, wire.CodeFSM, 3},
	{"attributes longer than the message", sends(marker, "0017 02 0000 ffff"), wire.CodeUpdate, wire.SubMalformedAttributeList},
	{"withdrawn routes longer than the message", sends(marker, "0017 02 ffff 0000"), wire.CodeUpdate, wire.SubMalformedAttributeList},
	{"next hop of 5 octets", func(t testing.TB, p *speakertest.Peer) {
		p.Send(t, update(t, attrsGood+"80 0e 0a 0019 46 05 0a63000100 00"))
	}, wire.CodeUpdate, wire.SubOptionalAttribute},
	{"MP_REACH_NLRI twice", func(t testing.TB, p *speakertest.Peer) {
		mp := "80 0e 09 0019 46 04 0a630001 00"
		p.Send(t, update(t, attrsGood+mp+mp))
	}, wire.CodeUpdate, wire.SubMalformedAttributeList},
	{"MP_REACH_NLRI as a transitive attribute", func(t testing.TB, p *speakertest.Peer) {
		p.Send(t, update(t, attrsGood+"c0 0e 09 0019 46 04 0a630001 00"))
	}, wire.CodeUpdate, wire.SubAttributeFlags},
	{"an unknown well-known attribute", func(t testing.TB, p *speakertest.Peer) {
		p.Send(t, update(t, attrsGood+"40 fe 00"))
	}, wire.CodeUpdate, wire.SubUnrecognizedWellKnown},
	{"half a message", func(t testing.TB, p *speakertest.Peer) { p.Send(t, wire.EndOfRIB()[:20]); p.Close() }, 0, 0},
	{"half a header", func(t testing.TB, p *speakertest.Peer) { p.Send(t, wire.EndOfRIB()[:7]); p.Close() }, 0, 0},
	{"a NOTIFICATION of nonsense", func(t testing.TB, p *speakertest.Peer) { p.Send(t, wire.Notification(99, 99, make([]byte, 1000))) }, 0, 0},
}

// TestMalformedStreams: where RFC 4271 and RFC 7606 leave only a reset, the session ends with the right
// NOTIFICATION, takes its routes along, and comes back; nobody else notices.
func TestMalformedStreams(t *testing.T) {
	bothModes(t, func(t *testing.T, transit bool) {
		a := newArena(t, transit)
		for i, c := range attackStreams {
			t.Run(c.name, func(t *testing.T) {
				p := a.attack(t)
				key := a.fence(t, p)
				c.send(t, p)
				if c.code != 0 {
					n := p.AwaitNotification(t)
					assert.Equal(t, wire.ErrorText(c.code, c.sub), wire.ErrorText(n.Code, n.Subcode))
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
	open := ibgp(idA).Open()
	for name, c := range map[string]struct {
		send []byte
		code uint8
		sub  uint8
	}{
		"garbage":           {raw(t, strings.Repeat("00", 64)), wire.CodeHeader, wire.SubConnectionNotSynchronized},
		"UPDATE first":      {wire.EndOfRIB(), wire.CodeFSM, 1},
		"version 3":         {append(append([]byte(nil), open[:19]...), append([]byte{3}, open[20:]...)...), wire.CodeOpen, wire.SubUnsupportedVersion},
		"broken parameters": {wire.Message(wire.TypeOpen, raw(t, "04 fde8 00b4 0a000009 04 02 ff 41 04")), wire.CodeOpen, 0},
		"wrong AS":          {speakertest.Options{ASN: 65001, RouterID: idA}.Open(), wire.CodeOpen, wire.SubBadPeerAS},
		"no EVPN":           {speakertest.Options{ASN: 65000, RouterID: idA, NoEVPN: true}.Open(), wire.CodeOpen, wire.SubUnsupportedCapability},
	} {
		t.Run(name, func(t *testing.T) {
			p := speakertest.Dial(t, peerA, a.At, ibgp(idA))
			p.Send(t, c.send)
			for {
				typ, body := p.Read(t)
				if typ != wire.TypeNotification {
					require.EqualValues(t, wire.TypeOpen, typ)
					continue
				}
				n := wire.ParseNotification(body)
				assert.Equal(t, wire.ErrorText(c.code, c.sub), wire.ErrorText(n.Code, n.Subcode))
				return
			}
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
			for _, b := range among(short3, laterTypes)(t, routes) {
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
		a.Await(t, "NeighborDown", func(ev []evpn.Event) bool { return ev[len(ev)-1] == evpn.NeighborDown{Neighbor: peerA} })
		base := runtime.NumGoroutine()
		for i := range 200 {
			p := speakertest.Dial(t, peerA, a.At, ibgp(idA))
			var say []byte
			switch open := ibgp(idA).Open(); i % 4 {
			case 0: // nothing at all
			case 1:
				say = append(open, raw(t, "00112233445566778899")...)
			case 2:
				say = open[:i%25]
			case 3:
				say = slices.Concat(open, wire.Keepalive(), update(t, attrsGood, nlri(a.route()), short3), raw(t, marker, "0012 02"))
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
