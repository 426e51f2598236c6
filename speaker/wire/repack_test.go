package wire_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/speaker/wire"
)

// Whatever is joined, the receiver ends with the same routes, after the same steps, in messages of legal size.
func TestRepackerKeepsMeaningAndOrder(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		kind := wire.PeerKind{IBGP: true, FourOctetAS: true, LocalASN: 65000}
		attrs := make([]*evpn.Attrs, 3)
		for i := range attrs {
			attrs[i] = &evpn.Attrs{NextHop: netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}), Encaps: []uint16{8},
				RouteTargets: []evpn.RouteTarget{{0, 2, 0, 1, 0, 0, 0, byte(i)}}}
		}
		var in [][]byte
		for range 400 {
			key := evpn.RouteKey{Type: evpn.MACIPRoute, RD: evpn.RD{0, 1, 10, 0, 0, 1, 0, 1}, MAC: evpn.MAC{2, 0, 0, 0, 0, byte(rnd.IntN(50))}}
			switch rnd.IntN(20) {
			case 0, 1, 2:
				in = wire.AppendWithdraws(in, []evpn.RouteKey{key}, kind)
			case 3:
				in = append(in, wire.Keepalive())
			default:
				// Mostly runs of equal attributes, as GoBGP sends them.
				a := attrs[len(in)/100%3]
				if rnd.IntN(10) == 0 {
					a = attrs[rnd.IntN(3)]
				}
				in = wire.AppendUpdates(in, []evpn.Route{{Key: key, Label: 100, Attrs: a}}, kind)
			}
		}
		var r wire.Repacker
		var out []byte
		count := 0
		for _, m := range in {
			r.Add(m)
			if rnd.IntN(100) == 0 {
				b, n := r.Take()
				out, count = append(out, b...), count+n
			}
		}
		b, n := r.Take()
		out, count = append(out, b...), count+n
		got := split(t, out)
		require.Len(t, got, count)
		assert.Less(t, len(got), len(in))
		assert.Equal(t, steps(t, in), steps(t, got), "seed %d", seed)
	}
}

func split(t *testing.T, b []byte) [][]byte {
	t.Helper()
	var messages [][]byte
	r := bufio.NewReader(bytes.NewReader(b))
	for {
		_, m, err := wire.ReadMessage(r, nil, wire.MaxMessage)
		if err != nil {
			require.Equal(t, "EOF", err.Error())
			return messages
		}
		messages = append(messages, m)
	}
}

// steps is what a receiver does, one line a route.
func steps(t *testing.T, messages [][]byte) []string {
	t.Helper()
	var s []string
	ses := &wire.Session{FourOctetAS: true, EVPN: true, IBGP: true}
	for _, m := range messages {
		if m[18] != wire.TypeUpdate {
			s = append(s, "other")
			continue
		}
		u, err := wire.ParseUpdate(m[wire.HeaderLen:], ses)
		require.NoError(t, err)
		require.Empty(t, u.Drops)
		for _, k := range u.Withdrawn {
			s = append(s, "- "+k.String())
		}
		for _, r := range u.Announced {
			s = append(s, "+ "+r.Key.String()+" "+r.Attrs.NextHop.String()+" "+r.Attrs.RouteTargets[0].String())
		}
	}
	return s
}

func TestRepackerFillsMessages(t *testing.T) {
	var r wire.Repacker
	kind := wire.PeerKind{IBGP: true, FourOctetAS: true}
	a := &evpn.Attrs{NextHop: netip.AddrFrom4([4]byte{10, 0, 0, 1})}
	for i := range uint32(1000) {
		k := evpn.RouteKey{Type: evpn.MACIPRoute}
		binary.BigEndian.PutUint32(k.MAC[2:], i)
		r.Add(wire.AppendUpdates(nil, []evpn.Route{{Key: k, Attrs: a}}, kind)[0])
	}
	b, n := r.Take()
	assert.Less(t, n, 12)
	assert.Len(t, split(t, b), n)
	b, n = r.Take()
	assert.Empty(t, b)
	assert.Zero(t, n)
}

// What is not an UPDATE of EVPN routes alone passes as it is.
func TestRepackerLeavesOthersAlone(t *testing.T) {
	for _, body := range [][]byte{
		{0, 0, 0, 0}, {0, 1, 0, 0, 0}, {0, 0, 0, 9, 1}, {0, 0, 0, 3, 0x80, 15, 9},
		{0, 0, 0, 6, 0x80, 15, 3, 0, 25, 70}, {0, 0, 0, 3, 0x90, 14, 0}, {0, 0, 0, 7, 0x80, 14, 4, 0, 25, 70, 9},
	} {
		var r wire.Repacker
		m := wire.Message(wire.TypeUpdate, body)
		r.Add(m)
		r.Add(m)
		got, n := r.Take()
		assert.Equal(t, 2, n)
		assert.Equal(t, append(append([]byte(nil), m...), m...), got)
	}
}
