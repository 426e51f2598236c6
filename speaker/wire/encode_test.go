package wire_test

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/speaker/wire"
)

// attributes gives the attributes of an UPDATE by type, as flags without the extended length bit, which
// FRR sets more often than it must, and value.
func attributes(t testing.TB, msg []byte) map[byte]string {
	t.Helper()
	require.Equal(t, len(msg), int(binary.BigEndian.Uint16(msg[16:])), "length in the header")
	body := msg[wire.HeaderLen:]
	require.Zero(t, binary.BigEndian.Uint16(body), "withdrawn routes")
	require.Equal(t, len(body)-4, int(binary.BigEndian.Uint16(body[2:])), "length of the attributes")
	out := map[byte]string{}
	for b := body[4:]; len(b) > 0; {
		h, n := 3, int(b[2])
		if b[0]&0x10 != 0 {
			h, n = 4, int(binary.BigEndian.Uint16(b[2:]))
		}
		out[b[1]] = string([]byte{b[0] &^ 0x10}) + string(b[h:h+n])
		b = b[h+n:]
	}
	return out
}

func ibgp() wire.PeerKind { return wire.PeerKind{IBGP: true, FourOctetAS: true, LocalASN: 65000} }

func one(t testing.TB, msgs [][]byte) []byte {
	t.Helper()
	require.Len(t, msgs, 1)
	return msgs[0]
}

// TestWriteAsFRR compares octet by octet with FRR, but for the mobility community
// that FRR leaves out while the sequence is 0.
func TestWriteAsFRR(t *testing.T) {
	withPMSI := frrAttrs()
	withPMSI.PMSI = &evpn.PMSITunnel{Type: evpn.PMSIIngressReplication, Label: 100, Endpoint: netip.MustParseAddr("10.99.0.1")}
	mobility := "0600000000000000"
	type2 := evpn.Route{Key: evpn.RouteKey{Type: evpn.MACIPRoute, RD: frrRD(), MAC: mac(1)}, Label: 100, Attrs: frrAttrs()}
	type2IP := type2
	type2IP.Key.IP = netip.MustParseAddr("192.168.100.1")
	type3 := evpn.Route{Key: evpn.RouteKey{Type: evpn.IMETRoute, RD: frrRD(), IP: netip.MustParseAddr("10.99.0.1")}, Attrs: withPMSI}

	for name, c := range map[string]struct {
		route evpn.Route
		want  []byte
	}{
		"type 2": {type2, octets(t, "ffffffffffffffffffffffffffffffff 0071 02 0000 005a", frrType2, frrCommon, "c0 10 18 030c000000000008 0002fde800000064", mobility)},
		"type 2 with IP": {type2IP, octets(t, "ffffffffffffffffffffffffffffffff 0075 02 0000 005e",
			"90 0e 0030 0019 46 04 0a630001 00 02 25 00010a6300010002 00000000000000000000 00000000 30 02aa00000001 20 c0a86401 000064",
			frrCommon, "c0 10 18 030c000000000008 0002fde800000064", mobility)},
		"type 3": {type3, octets(t, frrHeader3, frrType3, frrCommon, frrComm, frrPMSI)},
	} {
		t.Run(name, func(t *testing.T) {
			got := one(t, wire.AppendUpdates(nil, []evpn.Route{c.route}, ibgp()))
			assert.Equal(t, attributes(t, c.want), attributes(t, got))
			assert.EqualValues(t, 14, got[wire.HeaderLen+5], "MP_REACH_NLRI comes first (RFC 7606 §5.1)")
		})
	}
}

func TestWriteWithdrawAsFRR(t *testing.T) {
	got := one(t, wire.AppendWithdraws(nil, []evpn.RouteKey{{Type: evpn.MACIPRoute, RD: frrRD(), MAC: mac(1)}}, ibgp()))
	want := octets(t, "ffffffffffffffffffffffffffffffff 0040 02 0000 0029",
		"80 0f 26 0019 46 02 21 00010a6300010002 00000000000000000000 00000000 30 02aa00000001 00 000000")
	assert.Equal(t, want, got)
}

func TestMessagesThatNeverChange(t *testing.T) {
	marker := "ffffffffffffffffffffffffffffffff"
	assert.Equal(t, octets(t, marker, "001d 02 0000 0006 80 0f 03 0019 46"), wire.EndOfRIB(), "as FRR writes it")
	assert.Equal(t, octets(t, marker, "0013 04"), wire.Keepalive())
	assert.Equal(t, octets(t, marker, "0017 05 0019 00 46"), wire.RouteRefresh())
	assert.Equal(t, octets(t, marker, "0017 03 06 02 0131"), wire.Notification(wire.CodeCease, wire.SubShutdown, wire.ShutdownText("1")))
}

func TestASPathOfOurOwnRoutes(t *testing.T) {
	r := []evpn.Route{{Key: evpn.RouteKey{Type: evpn.IMETRoute, RD: frrRD(), IP: netip.MustParseAddr("10.99.0.1")}, Attrs: frrAttrs()}}
	for name, c := range map[string]struct {
		kind      wire.PeerKind
		path, as4 string
	}{
		"iBGP":                       {wire.PeerKind{IBGP: true, FourOctetAS: true, LocalASN: 65000}, "\x40", ""},
		"eBGP":                       {wire.PeerKind{FourOctetAS: true, LocalASN: 65000}, "\x40\x02\x01\x00\x00\xfd\xe8", ""},
		"eBGP, two octets":           {wire.PeerKind{LocalASN: 65000}, "\x40\x02\x01\xfd\xe8", ""},
		"eBGP, two octets, four ASN": {wire.PeerKind{LocalASN: 4200000000}, "\x40\x02\x01\x5b\xa0", "\xc0\x02\x01\xfa\x56\xea\x00"},
	} {
		t.Run(name, func(t *testing.T) {
			a := attributes(t, one(t, wire.AppendUpdates(nil, r, c.kind)))
			assert.Equal(t, c.path, a[2])
			assert.Equal(t, c.as4, a[17])
			assert.Equal(t, c.kind.IBGP, a[5] != "", "LOCAL_PREF goes to internal peers only")
		})
	}
}

// randomRoutes gives routes of our own as the core makes them: few attribute values, some
// of them equal but not the same pointer.
func randomRoutes(r *rand.Rand, n int) []evpn.Route {
	addrs := []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("2001:db8::1")}
	var pool []*evpn.Attrs
	for i := range 6 {
		rt, _ := evpn.AutoRouteTarget(65000, evpn.VNI(1+i%3))
		a := &evpn.Attrs{NextHop: addrs[i%2], RouteTargets: []evpn.RouteTarget{rt}, Encaps: []uint16{evpn.EncapVXLAN}, LocalPref: 100,
			Mobility: evpn.Mobility{Sequence: uint32(i / 4), Sticky: i == 5}, DefaultGateway: i == 4, Router: i == 2}
		pool = append(pool, a, new(*a))
	}
	routes := make([]evpn.Route, 0, n)
	for i := range n {
		a := pool[r.IntN(len(pool))]
		k := evpn.RouteKey{RD: evpn.RDFromRouterID(addrs[0], uint16(r.IntN(5))), Tag: uint32(r.IntN(2))}
		if r.IntN(8) == 0 {
			k.Type, k.IP = evpn.IMETRoute, netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
			b := *a
			b.PMSI = &evpn.PMSITunnel{Type: evpn.PMSIIngressReplication, Label: 7, Endpoint: a.NextHop}
			switch r.IntN(4) {
			case 0: // a VTEP that we speak for
				b.NextHop = k.IP
				b.PMSI.Endpoint = k.IP
			case 1: // a replicator, under an address that others have too
				b.NextHop = netip.MustParseAddr("192.0.2.1")
				b.PMSI = &evpn.PMSITunnel{Type: evpn.PMSIAssistedReplication, Flags: evpn.PMSIFlagsReplicatorAR, Label: 7, Endpoint: b.NextHop}
			case 2: // a relay whose segment hears the group
				b.PMSI = &evpn.PMSITunnel{Label: 7}
				b.Claim = evpn.RelayClaim{Group: 1 + r.Uint32N(3), State: evpn.RelayState(r.IntN(4)), Deliver: r.IntN(2) == 0, Outlives: r.IntN(2) == 0}
				b.Segment = []evpn.SegmentPrefix{evpn.NewSegmentPrefix(netip.PrefixFrom(a.NextHop, 8+r.IntN(3)))}
			}
			b.Mobility, b.DefaultGateway, b.Router = evpn.Mobility{}, false, false
			routes = append(routes, evpn.Route{Key: k, Attrs: &b})
			continue
		}
		k.Type, k.MAC = evpn.MACIPRoute, evpn.MAC{2, 0, byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)}
		switch r.IntN(3) {
		case 0:
			k.IP = netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})
		case 1:
			k.IP = netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: byte(i)})
		}
		route := evpn.Route{Key: k, Label: uint32(r.IntN(1 << 24)), Attrs: a}
		if r.IntN(4) == 0 {
			route.Label2 = 1 + uint32(r.IntN(1000))
		}
		routes = append(routes, route)
	}
	return routes
}

// TestRoundTrip: what is written comes back, whole and once, in messages no longer than allowed.
func TestRoundTrip(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		routes := randomRoutes(r, 1+r.IntN(600))
		kind := ibgp()
		kind.RFC9574 = seed%3 == 0
		kind.MaxMessage = []int{0, 200, wire.MaxExtendedMessage}[r.IntN(3)]
		limit := kind.MaxMessage
		if limit == 0 {
			limit = wire.MaxMessage
		}
		s := session()
		s.Transit = seed%2 == 0
		var got []evpn.Route
		for _, msg := range wire.AppendUpdates(nil, routes, kind) {
			require.LessOrEqual(t, len(msg), limit, "seed %d", seed)
			up := parse(t, s, msg)
			require.Empty(t, up.Drops, "seed %d", seed)
			got = append(got, up.Announced...)
			if s.Transit {
				gobgpAccepts(t, up)
			}
		}
		byKey := func(a, b evpn.Route) int { return a.Key.Compare(b.Key) }
		slices.SortFunc(got, byKey)
		want := slices.SortedFunc(slices.Values(routes), byKey)
		require.Equal(t, want, got, "seed %d", seed)

		var keys, withdrawn []evpn.RouteKey
		for i := range routes {
			keys = append(keys, routes[i].Key)
		}
		for _, msg := range wire.AppendWithdraws(nil, keys, kind) {
			require.LessOrEqual(t, len(msg), limit, "seed %d", seed)
			withdrawn = append(withdrawn, parse(t, s, msg).Withdrawn...)
		}
		require.Equal(t, keys, withdrawn, "seed %d", seed)
	}
}

// TestPacking: routes that share attributes, by pointer or by value, fill messages to the limit.
func TestPacking(t *testing.T) {
	const n = 10000
	routes := make([]evpn.Route, n)
	attrs := [2]*evpn.Attrs{frrAttrs(), frrAttrs()}
	for i := range routes {
		routes[i] = evpn.Route{Key: evpn.RouteKey{Type: evpn.MACIPRoute, RD: frrRD(), MAC: evpn.MAC{2, 0, 0, 0, byte(i >> 8), byte(i)}}, Label: 100, Attrs: attrs[i%2]}
	}
	msgs := wire.AppendUpdates(nil, routes, ibgp())
	perMessage := (wire.MaxMessage - wire.HeaderLen - 4 - 4 - 9 - 41) / 35
	assert.Len(t, msgs, (n+perMessage-1)/perMessage)
	for _, m := range msgs[:len(msgs)-1] {
		assert.Greater(t, len(m), wire.MaxMessage-35)
	}
}

func BenchmarkAppendUpdates100k(b *testing.B) {
	routes := make([]evpn.Route, 100000)
	attrs := frrAttrs()
	for i := range routes {
		routes[i] = evpn.Route{Key: evpn.RouteKey{Type: evpn.MACIPRoute, RD: frrRD(), MAC: evpn.MAC{2, 0, 0, byte(i >> 16), byte(i >> 8), byte(i)}}, Label: 100, Attrs: attrs}
	}
	b.ReportAllocs()
	for b.Loop() {
		wire.AppendUpdates(nil, routes, ibgp())
	}
}

// BenchmarkParse100k reads 100,000 type-2 in UPDATEs of 100 routes, as FRR packs them.
func BenchmarkParse100k(b *testing.B) {
	for name, transit := range map[string]bool{"leaf": false, "transit": true} {
		b.Run(name, func(b *testing.B) {
			var msgs [][]byte
			attrs := frrAttrs()
			for i := range 1000 {
				routes := make([]evpn.Route, 100)
				for j := range routes {
					routes[j] = evpn.Route{Key: evpn.RouteKey{Type: evpn.MACIPRoute, RD: frrRD(), MAC: evpn.MAC{2, 0, 0, byte(i >> 8), byte(i), byte(j)}}, Label: 100, Attrs: attrs}
				}
				msgs = wire.AppendUpdates(msgs, routes, ibgp())
			}
			b.ReportAllocs()
			for b.Loop() {
				s := session()
				s.Transit = transit
				n := 0
				for _, m := range msgs {
					up, err := wire.ParseUpdate(m[wire.HeaderLen:], s)
					require.NoError(b, err)
					n += len(up.Announced)
				}
				require.Equal(b, 100000, n)
			}
		})
	}
}
