package speakertest

import (
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/speaker/wire"
)

// VTEP is the next hop of the routes in attacks.
var VTEP = netip.MustParseAddr("10.99.0.1")

// Outcome is what becomes of the four good routes of an [UpdateAttack].
type Outcome int

// Outcomes.
const (
	Kept      Outcome = iota // announced by it, with LOCAL_PREF 101
	Useless                  // announced by it, but no VTEP can use them
	Withdrawn                // treated as withdrawn (RFC 7606 §2)
	Untouched                // not in it: as they were
)

// UpdateAttack is an UPDATE that must not end the session.
type UpdateAttack struct {
	Name    string
	Message func(t testing.TB, good []evpn.Route) []byte // of four good routes
	Outcome Outcome
	Drops   map[string]uint64 // by reason
}

func among(extra ...string) func(testing.TB, []evpn.Route) []byte {
	return func(t testing.TB, g []evpn.Route) []byte {
		return Update(t, AttrsGood, NLRI(g[0], g[1]), strings.Join(extra, ""), NLRI(g[2], g[3]))
	}
}

func atTheEnd(extra string) func(testing.TB, []evpn.Route) []byte {
	return func(t testing.TB, g []evpn.Route) []byte { return Update(t, AttrsGood, NLRI(g...), extra) }
}

func with(attrs string) func(testing.TB, []evpn.Route) []byte {
	return func(t testing.TB, g []evpn.Route) []byte { return Update(t, attrs, NLRI(g...)) }
}

// NLRI in hexadecimal.
const (
	ShortIMET  = "03 0d 00010a6300010002 00000000 20 "
	ShortMAC   = "02 14 00010a6300010002 00000000000000000000 0000 "
	TinyIMET   = "03 02 0001 "
	LaterTypes = "06 02 0000 07 00 08 01 ff 09 00 0a 03 000000 0b 00 "
)

// Fillers are the good routes that "exactly 4096 octets of routes" announces beside its four.
func Fillers() []evpn.Route {
	routes := make([]evpn.Route, 109)
	for i := range routes {
		routes[i] = MACRoute(VTEP, 100, 1<<24+uint32(i), nil)
	}
	return routes
}

// UpdateAttacks are what a peer may send without losing its session (RFC 7606).
var UpdateAttacks = []UpdateAttack{
	{"short type 3 that panics GoBGP, among good ones", among(ShortIMET), Kept, map[string]uint64{wire.DropNLRI: 1}},
	{"short type 3 that panics GoBGP, at the end", atTheEnd(ShortIMET), Kept, map[string]uint64{wire.DropNLRI: 1}},
	{"short type 2 that panics GoBGP, among good ones", among(ShortMAC), Kept, map[string]uint64{wire.DropNLRI: 1}},
	{"short type 2 that panics GoBGP, at the end", atTheEnd(ShortMAC), Kept, map[string]uint64{wire.DropNLRI: 1}},
	{"type 3 of two octets, among good ones", among(TinyIMET), Kept, map[string]uint64{wire.DropNLRI: 1}},
	{"type 3 of two octets, at the end", atTheEnd(TinyIMET), Kept, map[string]uint64{wire.DropNLRI: 1}},
	{"all three", among(ShortIMET, ShortMAC, TinyIMET), Kept, map[string]uint64{wire.DropNLRI: 3}},
	{"route types 6 to 11 among good ones", among(LaterTypes), Kept, map[string]uint64{wire.DropRouteType: 6}},
	{"NLRI that runs past the end", atTheEnd("02 ff 00"), Kept, map[string]uint64{wire.DropNLRIFraming: 1}},
	{"MAC length 47", among("02 21 00010a6300010002 00000000000000000000 00000000 2f 02aa00000001 00 000064"), Kept, map[string]uint64{wire.DropNLRI: 1}},
	{"IP length 64", among("02 29 00010a6300010002 00000000000000000000 00000000 30 02aa00000001 40 c0a86401c0a86401 000064"), Kept, map[string]uint64{wire.DropNLRI: 1}},
	{"unknown EVPN communities", with(AttrOrigin + AttrPath + AttrPref + "c0 10 30 030c000000000008 0002fde800000064 0604000000000000 0606000000000000 0608010000000000 067f000000000000"), Kept, nil},
	{"ORIGIN with wrong flags", with("c0 01 01 00" + AttrPath + AttrPref + AttrTargets), Withdrawn, map[string]uint64{wire.DropAttributeFlags: 4}},
	{"MED with wrong length", with(AttrsGood + "80 04 03 000000"), Withdrawn, map[string]uint64{wire.DropAttributeLength: 4}},
	{"communities with wrong length", with(AttrOrigin + AttrPath + AttrPref + "c0 10 09 0002fde80000006400"), Withdrawn, map[string]uint64{wire.DropAttributeLength: 4}},
	{"AS_PATH that overruns", with(AttrOrigin + "40 02 04 02 09 0001" + AttrPref + AttrTargets), Withdrawn, map[string]uint64{wire.DropAttributeValue: 4}},
	{"ORIGIN missing", with(AttrPath + AttrPref + AttrTargets), Withdrawn, map[string]uint64{wire.DropAttributeMissing: 4}},
	{"AGGREGATOR with wrong length", with(AttrsGood + "c0 07 05 0000000000"), Kept, map[string]uint64{wire.DropAttributeDiscarded: 1}},
	{"unknown transitive attribute", with(AttrsGood + "c0 fe 03 010203"), Kept, nil},
	{"everything twice", with(AttrsGood + AttrsGood), Kept, map[string]uint64{wire.DropAttributeDuplicate: 4}},
	{"a loop", with(AttrOrigin + "40 02 06 02 01 0000fde8" + AttrPref + AttrTargets), Withdrawn, map[string]uint64{wire.DropASLoop: 4}},
	{"our own routes reflected", with(AttrsGood + "80 09 04 0a000005"), Withdrawn, map[string]uint64{wire.DropOriginatorLoop: 4}},
	{"a family that nobody negotiated", func(t testing.TB, g []evpn.Route) []byte {
		return Update(t, AttrsGood+"80 0e 0e 0001 01 04 0a630001 00 20c0000201")
	}, Untouched, map[string]uint64{wire.DropFamily: 1}},
	{"a family that does not exist", func(t testing.TB, g []evpn.Route) []byte {
		return Update(t, AttrsGood+"80 0e 08 beef 2a ff ffffffff")
	}, Untouched, map[string]uint64{wire.DropFamily: 1}},
	{"IPv4 routes behind good ones", func(t testing.TB, g []evpn.Route) []byte {
		body := append(Update(t, AttrsGood, NLRI(g...))[wire.HeaderLen:], Hex(t, "20c0000201 18c00002 ff")...)
		return wire.Message(wire.TypeUpdate, body)
	}, Kept, map[string]uint64{wire.DropFamily: 3}},
	{"label 0", func(t testing.TB, g []evpn.Route) []byte {
		zero := append([]evpn.Route(nil), g...)
		for i := range zero {
			zero[i].Label = 0
		}
		return Update(t, AttrsGood, NLRI(zero...)) // well-formed: the core says what is wrong with it
	}, Useless, nil},
	{"a group MAC among good ones", among("02 21 00010a6300010002 00000000000000000000 00000000 30 01005e000001 00 000064"), Kept, nil},
	{"exactly 4096 octets of routes", func(t testing.TB, g []evpn.Route) []byte {
		more := NLRI(g...) + NLRI(Fillers()...)
		room := wire.MaxMessage - len(Update(t, AttrsGood, more)) - 3
		msg := Update(t, AttrsGood+"c0 fd"+hex.EncodeToString([]byte{byte(room)})+strings.Repeat("00", room), more)
		require.Len(t, msg, wire.MaxMessage)
		return msg
	}, Kept, nil},
	{"an attribute of 3,600 octets", func(t testing.TB, g []evpn.Route) []byte {
		room := wire.MaxMessage - 200 - len(Update(t, AttrsGood, NLRI(g...))) - 4
		pad := "d0 fd" + hex.EncodeToString([]byte{byte(room >> 8), byte(room)}) + strings.Repeat("00", room)
		msg := Update(t, AttrsGood+pad, NLRI(g...))
		return msg
	}, Kept, nil},
}

// StreamAttack ends the session.
type StreamAttack struct {
	Name      string
	Send      func(t testing.TB, p *Peer)
	Code, Sub uint8 // of the NOTIFICATION; 0 = the adversary closes
}

func sends(parts ...string) func(testing.TB, *Peer) {
	return func(t testing.TB, p *Peer) { p.Send(t, Hex(t, parts...)) }
}

// Marker is that of a message header, in hexadecimal.
var Marker = strings.Repeat("ff", 16)

// StreamAttacks are what leaves only a reset (RFC 4271 §6, RFC 7606 §3). All are for a session that is up.
var StreamAttacks = []StreamAttack{
	{"garbage", sends(strings.Repeat("deadbeef", 100)), wire.CodeHeader, wire.SubConnectionNotSynchronized},
	{"header length 18", sends(Marker, "0012 04"), wire.CodeHeader, wire.SubBadMessageLength},
	{"header length 65535", sends(Marker, "ffff 02"), wire.CodeHeader, wire.SubBadMessageLength},
	{"header length 0", sends(Marker, "0000 02"), wire.CodeHeader, wire.SubBadMessageLength},
	{"message type 77", sends(Marker, "0013 4d"), wire.CodeHeader, wire.SubBadMessageType},
	{"KEEPALIVE of 20 octets", sends(Marker, "0014 04 00"), wire.CodeHeader, wire.SubBadMessageLength},
	{"ROUTE-REFRESH of 22 octets", sends(Marker, "0016 05 001900"), wire.CodeRouteRefresh, wire.SubInvalidMessageLength},
	{"a second OPEN", func(t testing.TB, p *Peer) { p.Send(t, p.opt.Open()) }, wire.CodeFSM, 3},
	{"attributes longer than the message", sends(Marker, "0017 02 0000 ffff"), wire.CodeUpdate, wire.SubMalformedAttributeList},
	{"withdrawn routes longer than the message", sends(Marker, "0017 02 ffff 0000"), wire.CodeUpdate, wire.SubMalformedAttributeList},
	{"next hop of 5 octets", func(t testing.TB, p *Peer) {
		p.Send(t, Update(t, AttrsGood+"80 0e 0a 0019 46 05 0a63000100 00"))
	}, wire.CodeUpdate, wire.SubOptionalAttribute},
	{"MP_REACH_NLRI twice", func(t testing.TB, p *Peer) {
		mp := "80 0e 09 0019 46 04 0a630001 00"
		p.Send(t, Update(t, AttrsGood+mp+mp))
	}, wire.CodeUpdate, wire.SubMalformedAttributeList},
	{"MP_REACH_NLRI as a transitive attribute", func(t testing.TB, p *Peer) {
		p.Send(t, Update(t, AttrsGood+"c0 0e 09 0019 46 04 0a630001 00"))
	}, wire.CodeUpdate, wire.SubAttributeFlags},
	{"an unknown well-known attribute", func(t testing.TB, p *Peer) {
		p.Send(t, Update(t, AttrsGood+"40 fe 00"))
	}, wire.CodeUpdate, wire.SubUnrecognizedWellKnown},
	{"half a message", func(t testing.TB, p *Peer) { p.Send(t, wire.EndOfRIB()[:20]); p.Close() }, 0, 0},
	{"half a header", func(t testing.TB, p *Peer) { p.Send(t, wire.EndOfRIB()[:7]); p.Close() }, 0, 0},
	{"a NOTIFICATION of nonsense", func(t testing.TB, p *Peer) { p.Send(t, wire.Notification(99, 99, make([]byte, 1000))) }, 0, 0},
}

// OpenAttack is what comes in place of, or right behind, an OPEN.
type OpenAttack struct {
	Name      string
	Octets    func(t testing.TB, o Options) []byte
	Code, Sub uint8 // of the NOTIFICATION
}

func opens(change func(*Options)) func(testing.TB, Options) []byte {
	return func(_ testing.TB, o Options) []byte { change(&o); return o.Open() }
}

// OpenAttacks are for a new connection.
var OpenAttacks = []OpenAttack{
	{"garbage", func(t testing.TB, _ Options) []byte { return Hex(t, strings.Repeat("00", 64)) }, wire.CodeHeader, wire.SubConnectionNotSynchronized},
	{"garbage behind a valid OPEN", func(t testing.TB, o Options) []byte {
		return append(o.Open(), Hex(t, strings.Repeat("deadbeef", 100))...)
	}, wire.CodeHeader, wire.SubConnectionNotSynchronized},
	{"UPDATE first", func(testing.TB, Options) []byte { return wire.EndOfRIB() }, wire.CodeFSM, 1},
	{"version 3", func(_ testing.TB, o Options) []byte {
		open := o.Open()
		return slices.Concat(open[:19], []byte{3}, open[20:])
	}, wire.CodeOpen, wire.SubUnsupportedVersion},
	{"broken parameters", func(t testing.TB, _ Options) []byte {
		return wire.Message(wire.TypeOpen, Hex(t, "04 fde8 00b4 0a000009 04 02 ff 41 04"))
	}, wire.CodeOpen, 0},
	{"wrong AS", opens(func(o *Options) { o.ASN++ }), wire.CodeOpen, wire.SubBadPeerAS},
	{"no EVPN", opens(func(o *Options) { o.NoEVPN = true }), wire.CodeOpen, wire.SubUnsupportedCapability},
}

// Run sends the octets on a fresh connection and returns the NOTIFICATION that ends it.
func (a OpenAttack) Run(t testing.TB, p *Peer) wire.NotificationMessage {
	t.Helper()
	p.Send(t, a.Octets(t, p.opt))
	for {
		typ, body := p.Read(t)
		if typ == wire.TypeNotification {
			return wire.ParseNotification(body)
		}
		require.Contains(t, []byte{wire.TypeOpen, wire.TypeKeepalive}, typ)
	}
}
