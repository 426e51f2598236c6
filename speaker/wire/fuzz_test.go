package wire_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/netip"
	"testing"
	"time"

	"github.com/osrg/gobgp/v3/pkg/packet/bgp"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/speaker/wire"
)

// sessions of all kinds, by the bits of n.
func sessionOf(n byte) *wire.Session {
	s := session()
	s.Transit, s.IBGP, s.FourOctetAS, s.EVPN, s.Visible = n&1 != 0, n&2 == 0, n&4 == 0, n&8 == 0, n&16 != 0
	return s
}

// FuzzParseUpdate: whatever comes, no panic, nothing aliased, the same answer twice, and what
// is forwarded GoBGP takes, and means by it what we say.
func FuzzParseUpdate(f *testing.F) {
	add := func(msg []byte) {
		for kind := range byte(8) {
			f.Add(kind, msg[wire.HeaderLen:])
		}
	}
	add(octets(f, frrHeader, frrType2, frrCommon, frrComm))
	add(octets(f, frrHeader3, frrType3, frrCommon, frrComm, frrPMSI))
	add(wire.EndOfRIB())
	add(update(unreach(f, nlri2a, nlri3, nlri1)))
	add(update(append(append(octets(f, goodAttr), reach(f, nlri1, nlri2a, nlri4, nlri3, "06 00")...), unreach(f, nlri2b)...)))
	add(update(append(octets(f, origin, "40 02 0a 02 02 00000001 00000002", pref, "80 09 04 01020304 80 0a 04 01010101 c0 20 0c 000000010000000200000003 c0 80 01 00",
		"c0 10 18 0600010000000005 0608010000000000 8006000000000000"), reach(f, "05 22 00010a6300010002 00000000000000000000 00000000 18 0a000000 00000000 000064")...)))
	add(update(append(octets(f, origin, "40 02 06 02 02 0001 5ba0 c0 11 06 02 01 00010000 c0 07 06 5ba0 01020304", rt), reach(f, nlri2a)...)))
	add(update(octets(f, frrType3, frrCommon, "c0 10 18 030c000000000008 0002fde800000064 8a01 1234abcd 02 01", "c0 16 09 08 0a 000064 0a6300fe")))
	add(update(octets(f, frrType3, frrCommon, "c0 10 20 0002fde800000064 8a01 00000000 ff ff 8a01 00000007 03 80 8a01 00000007 01 00", "c0 16 05 10 00 000064")))
	add(update(octets(f, frrType3, frrCommon, "c0 10 10 8a02 08 0000000000 8a02 ff ffffffffff", "c0 16 09 00 00 000064 0a630001")))
	for _, n := range gobgpKills {
		add(updateWith(f, nlri2a, n))
	}
	f.Fuzz(func(t *testing.T, kind byte, body []byte) {
		s := sessionOf(kind)
		in := bytes.Clone(body)
		up, err := wire.ParseUpdate(in, s)
		for i := range in {
			in[i] ^= 0xa5
		}
		again, err2 := wire.ParseUpdate(bytes.Clone(body), s) // with the session's cache warm
		fresh, err3 := wire.ParseUpdate(bytes.Clone(body), sessionOf(kind))
		require.Equal(t, err, err2)
		require.Equal(t, err, err3)
		require.Equal(t, up, again)
		require.Equal(t, up, fresh)
		if err != nil {
			var e *wire.Error
			require.True(t, errors.As(err, &e))
			require.EqualValues(t, wire.CodeUpdate, e.Code)
			return
		}
		require.True(t, s.Transit || up.Forward == nil)
		if up.Forward == nil {
			return
		}
		gobgpAcceptsFrom(t, up, !s.IBGP)
		checkForward(t, up)
	})
}

// checkForward: GoBGP is told nothing that the core is not told, and the other
// way round but for what was counted.
func checkForward(t *testing.T, up wire.Update) {
	s := session()
	s.LocalASN, s.LocalRouterID, s.Transit = 0, s.LocalRouterID.Next(), true
	said := map[evpn.RouteKey]bool{}
	for _, r := range up.Announced {
		said[r.Key] = true
	}
	for _, k := range up.Withdrawn {
		said[k] = true
	}
	announced := 0
	for _, body := range forwards(up) {
		re, err := wire.ParseUpdate(throughGoBGP(t, body, false)[wire.HeaderLen:], s)
		require.NoError(t, err)
		require.Equal(t, up.EndOfRIB, re.EndOfRIB)
		require.Empty(t, re.Drops, "the forward form is clean")
		announced += len(re.Announced)
		for _, r := range re.Announced {
			require.True(t, said[r.Key])
			if len(up.Announced) > 0 {
				require.Equal(t, withoutInternal(up.Announced[0].Attrs), withoutInternal(r.Attrs))
			}
		}
		for _, k := range re.Withdrawn {
			require.True(t, said[k])
		}
	}
	skipped := 0
	for _, d := range up.Drops {
		if d.Reason == wire.DropNotForwarded {
			skipped += d.Count
		}
	}
	require.LessOrEqual(t, len(up.Announced), announced+skipped)
}

// withoutInternal leaves out what depends on the kind of session, and the mapped form of next hops.
func withoutInternal(a *evpn.Attrs) evpn.Attrs {
	b := *a
	b.LocalPref, b.OriginatorID = 0, netip.Addr{}
	return b
}

func FuzzParseOpen(f *testing.F) {
	f.Add(octets(f, openFRR))
	f.Add(octets(f, openExtended))
	f.Add(octets(f, "04 fde8 00b4 0a630001 00"))
	f.Add(octets(f, "04 fde8 00b4 0a630001 08 02 06 49 04 02 4142 00"))
	f.Fuzz(func(t *testing.T, body []byte) {
		in := bytes.Clone(body)
		o, err := wire.ParseOpen(in)
		again, err2 := wire.ParseOpen(bytes.Clone(body))
		for i := range in {
			in[i] ^= 0xa5
		}
		require.Equal(t, err, err2)
		require.Equal(t, o, again)
		if err != nil {
			return
		}
		for _, name := range o.CapabilityNames() {
			require.NotEmpty(t, name)
		}
		clean := o.Message()
		m, err := bgp.ParseBGPMessage(clean)
		require.NoError(t, err, "GoBGP refuses %x", clean)
		_, err = m.Body.Serialize()
		require.NoError(t, err)
		re, err := wire.ParseOpen(clean[wire.HeaderLen:])
		require.NoError(t, err)
		if o.FourOctetAS { // the first one counts when not all fit
			require.True(t, re.FourOctetAS)
		}
		require.Equal(t, o.RouterID, re.RouterID)
		require.Equal(t, o.HoldTime, re.HoldTime)
		long := wire.LongLived{EVPN: true, Time: time.Hour}
		require.Equal(t, &long, o.With(long.Capability()).LongLived)
	})
}

func FuzzReadMessage(f *testing.F) {
	f.Add(append(wire.Keepalive(), wire.EndOfRIB()...), 19)
	f.Add(wire.RouteRefresh(), 3)
	f.Add(octets(f, "ffffffffffffffffffffffffffffffff 0012 04"), 1)
	f.Add(octets(f, "ffffffffffffffffffffffffffffffff ffff 02"), 1)
	f.Fuzz(func(t *testing.T, in []byte, chunk int) {
		r := bufio.NewReaderSize(&chunked{bytes.Clone(in), max(1, chunk&0xff)}, 16)
		var buf []byte
		read := 0
		for {
			typ, msg, err := wire.ReadMessage(r, buf, wire.MaxMessage)
			if err != nil {
				var e *wire.Error
				require.True(t, errors.As(err, &e) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF), "%v", err)
				return
			}
			require.Equal(t, in[read:read+len(msg)], msg)
			require.Equal(t, msg[18], typ)
			read += len(msg)
			buf = msg
		}
	})
}

// chunked gives n octets a read, as a slow peer does.
type chunked struct {
	b []byte
	n int
}

func (c *chunked) Read(p []byte) (int, error) {
	if len(c.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.b[:min(c.n, len(c.b))])
	c.b = c.b[n:]
	return n, nil
}
