package wire_test

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/osrg/gobgp/v3/pkg/packet/bgp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/speaker/wire"
)

// gobgpSees lists the NLRI that GoBGP reads from a forwarded body, withdrawals after a minus sign.
func gobgpSees(t testing.TB, body []byte) []string {
	t.Helper()
	if body == nil {
		return nil
	}
	msg, err, panicked := gobgpParse(body, false)
	require.Nil(t, panicked)
	require.NoError(t, err)
	var out []string
	for _, a := range msg.Body.(*bgp.BGPUpdate).PathAttributes {
		switch a := a.(type) {
		case *bgp.PathAttributeMpReachNLRI:
			for _, n := range a.Value {
				out = append(out, n.String())
			}
		case *bgp.PathAttributeMpUnreachNLRI:
			for _, n := range a.Value {
				out = append(out, "-"+n.String())
			}
		}
	}
	return out
}

// TestForwardedRoutes: a route that GoBGP would bend stays here, and what it replaces is withdrawn there.
func TestForwardedRoutes(t *testing.T) {
	type2, other := type2Text(1), type2Text(2)
	type5 := "05 3a 00010a6300010002 00000000000000000000 00000000 80 00000000000000000000ffff0a000001 00000000000000000000000000000000 000064"
	withNextHop := func(nh string, n ...string) []byte {
		v := octets(t, append([]string{"0019 46", nh, "00"}, n...)...)
		return append([]byte{0x90, 14, byte(len(v) >> 8), byte(len(v))}, v...)
	}
	for name, c := range map[string]struct {
		nlri []byte
		core int // routes announced to the core
		want []string
	}{
		"good":                          {reach(t, nlri2a, nlri2b), 2, []string{type2, other}},
		"RD of an unknown type":         {reach(t, strings.Replace(nlri2a, "0001", "0009", 1), nlri2b), 2, []string{other}},
		"ESI whose last octet is not 0": {reach(t, strings.Replace(nlri2a, "00000000000000000000", "01000000000000000001", 1), nlri2b), 2, []string{"-" + type2, other}},
		"ESI of an operator":            {reach(t, strings.Replace(nlri2a, "00000000000000000000", "00000000000000000001", 1)), 1, []string{type2}},
		"next hop 0.0.0.0":              {withNextHop("04 00000000", nlri2a), 1, []string{"-" + type2}},
		"next hop ::":                   {withNextHop("10"+strings.Repeat("00", 16), nlri2a), 1, []string{"-" + type2}},
		"next hop 127.0.0.1":            {withNextHop("04 7f000001", nlri2a), 1, []string{"-" + type2}},
		"next hop 224.0.0.1":            {withNextHop("04 e0000001", nlri2a), 1, []string{"-" + type2}},
		// GoBGP takes these for the same with an IPv4 address: not even a withdrawal may get there.
		"type 5, IPv4 mapped in IPv6": {reach(t, type5, nlri2a), 2, []string{type2}},
		"type 2, IPv4 mapped in IPv6": {reach(t, "02 31 00010a6300010002 00000000000000000000 00000000 30 02aa00000001 80 00000000000000000000ffff0a000001 000064", nlri2a), 2, []string{type2}},
		"type 4, IPv4 mapped in IPv6": {reach(t, "04 23 00010a6300010002 00112233445566778899 80 00000000000000000000ffff0a000001", nlri2a), 1, []string{type2}},
		"withdrawn and announced":     {append(unreach(t, nlri2a, nlri2b), reach(t, nlri2a)...), 1, []string{"-" + other, type2}},
		"withdrawn, announced badly":  {append(unreach(t, nlri2a), withNextHop("04 00000000", nlri2a)...), 1, []string{"-" + type2, "-" + type2}},
		"type 1 with an unknown RD":   {reach(t, strings.Replace(nlri1, "0001", "0009", 1), nlri2a), 1, []string{type2}},
		"type 4 with a bad ESI":       {reach(t, strings.Replace(nlri4, "0011", "0111", 1), nlri2a), 1, []string{type2}},
		"a loop becomes a withdrawal": {append(octets(t, "80 09 04 0a630009"), reach(t, nlri2a)...), 0, []string{"-" + type2}},
		"labels missing":              {reach(t, "02 1e 00010a6300010002 00000000000000000000 00000000 30 02aa00000001 00", nlri2b), 1, []string{"-" + type2, other}},
	} {
		t.Run(name, func(t *testing.T) {
			s := session()
			s.Transit = true
			up := parse(t, s, update(append(octets(t, goodAttr), c.nlri...)))
			assert.Len(t, up.Announced, c.core)
			assert.Equal(t, c.want, gobgpSees(t, up.Forward))
			checkForward(t, up)
		})
	}
}

// TestForwardProperty composes UPDATEs of good parts, bad parts and noise, in any order: GoBGP takes
// what is forwarded, and no good route is missing from it.
func TestForwardProperty(t *testing.T) {
	goodAttrs := []string{origin, emptyAS, pref, rt,
		"80 04 04 00000007", "c0 08 04 fde80001", "80 09 04 01020304", "80 0a 04 01010101", "c0 16 09 00 06 000064 0a630001", "c0 20 0c 000000010000000200000003"}
	noise := []string{"c0 80 02 abcd", "e0 81 00", "80 82 01 00", "40 06 00", "c0 07 08 00000001 01010101", "c0 07 05 0000000000", "80 1a 0b 01 000b 0000000000000001",
		"c0 17 08 0008 0004 08 02 12b5", "c0 28 03 05 00ff", "c0 11 06 02 01 00000001", "c0 12 08 00000001 01010101", "c0 19 14 00 02 20010db8000000000000000000000001 0007"}
	badAttrs := []string{"40 01 01 07", "c0 02 00", "40 02 03 02 01 00", "80 04 01 00", "c0 10 03 000000", "c0 16 06 00 06 000064 0a", "c0 08 00", "80 0a 03 000000"}
	junk := []string{nlri1, nlri4, nlri3, "06 00", "0b 03 000000", "00 00", gobgpKills["type 2 of 20 octets"], gobgpKills["type 3 of 2 octets"],
		gobgpKills["type 3 of 13 octets with IP length 32"], "01 01 00", "04 13" + strings.Repeat("00", 19), "05 01 00"}
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 7))
		var nlri strings.Builder
		good := map[string]bool{}
		for i := range 1 + r.IntN(8) {
			switch r.IntN(3) {
			case 0:
				nlri.WriteString(junk[r.IntN(len(junk))])
			case 1: // noise in a known type
				v := make([]byte, r.IntN(60))
				for j := range v {
					v[j] = byte(r.Uint32()) & byte(r.Uint32()) //nolint:staticcheck // two draws: mostly zero bits
				}
				fmt.Fprintf(&nlri, "%02x%02x%x", r.IntN(7), len(v), v)
			default:
				m := mac(byte(i))
				nlri.WriteString(strings.Replace(nlri2a, "02aa00000001", hex.EncodeToString(m[:]), 1))
				good["[type:macadv][rd:10.99.0.1:2][etag:0][mac:"+m.String()+"][ip:<nil>]"] = true
			}
		}
		attrs := append([]string(nil), goodAttrs[:4+r.IntN(len(goodAttrs)-3)]...)
		for range r.IntN(4) {
			attrs = append(attrs, noise[r.IntN(len(noise))])
		}
		bad := r.IntN(4) == 0
		if bad { // first, so that it is not the duplicate
			attrs = append([]string{badAttrs[r.IntN(len(badAttrs))]}, attrs...)
		}
		s := session()
		s.Transit = true
		msg := update(append(octets(t, attrs...), reach(t, nlri.String())...))
		up, err := wire.ParseUpdate(msg[wire.HeaderLen:], s)
		require.NoError(t, err, "seed %d", seed)
		if bad {
			require.Empty(t, up.Announced, "seed %d", seed)
		}
		if up.Forward != nil {
			checkForward(t, up)
		}
		seen := gobgpSees(t, up.Forward)
		for n := range good {
			if bad {
				n = "-" + n
			}
			require.Contains(t, seen, n, "seed %d: %x", seed, msg)
		}
	}
}
