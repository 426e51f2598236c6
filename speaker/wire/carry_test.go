package wire_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/speaker/wire"
)

// TestForeignAttributes: what means nothing to us is passed on, as it came (RFC 4271 §5).
func TestForeignAttributes(t *testing.T) {
	for name, c := range map[string]struct {
		attr   string
		passed bool
	}{
		"tunnel encapsulation":     {"c0 17 08 0008 0004 08 02 12b5", true},
		"… nonsense":               {"e0 17 05 0008 0004 08", true},
		"IPv6 route target":        {"c0 19 14 00 02 20010db8000000000000000000000001 0007", true},
		"prefix SID":               {"c0 28 03 05 00ff", true},
		"PMSI with flags":          {"c0 16 09 98 06 000064 0a630001", true},
		"unknown, made partial":    {"c0 80 02 abcd", true},
		"unknown, 300 octets":      {"d0 80 012c" + strings.Repeat("00", 300), true},
		"unknown, not transitive":  {"80 80 02 abcd", false},
		"AIGP":                     {"80 1a 0b 01 000b 0000000000000001", false},
		"the one we carry them in": {"c0 ff 03 c00800", false},
	} {
		t.Run(name, func(t *testing.T) {
			for _, visible := range []bool{false, true} {
				s := session()
				s.Transit, s.Visible = true, visible
				v := octets(t, c.attr)
				up := parse(t, s, update(append(append(octets(t, goodAttr), v...), reach(t, nlri2a)...)))
				require.Len(t, up.Announced, 1)
				gobgpAccepts(t, up)
				want := append([]byte(nil), v...)
				if v[1] == 0x80 {
					want[0] |= 0x20
				}
				out := throughGoBGP(t, up.Forward, false)
				assert.Equal(t, c.passed, bytes.Contains(out, want))
				assert.Equal(t, 1, bytes.Count(out, octets(t, rt)), "route targets")
				assert.NotContains(t, attributes(t, out), byte(255))
				re := parse(t, session(), out)
				assert.Equal(t, up.Announced, re.Announced)
			}
		})
	}
}

// TestRestoreTowardsExternal: non-transitive communities end at the AS border (RFC 4360 §6).
func TestRestoreTowardsExternal(t *testing.T) {
	s := session()
	s.Transit = true
	up := parse(t, s, update(append(octets(t, origin, emptyAS, pref, "c0 10 10 4300000000000001 0002fde800000064"), reach(t, nlri2a)...)))
	assert.Equal(t, "\xc0"+string(octets(t, "4300000000000001 0002fde800000064")), attributes(t, throughGoBGP(t, up.Forward, false))[16])
	assert.Equal(t, "\xc0"+string(octets(t, "0002fde800000064")), attributes(t, throughGoBGP(t, up.Forward, true))[16])
	plain := update(octets(t, goodAttr))
	assert.Equal(t, plain, wire.AppendRestored(nil, plain, true), "nothing hidden, nothing changed")
}

// TestForwardSplits: what grows past a message on the way to GoBGP goes in several.
func TestForwardSplits(t *testing.T) {
	s := session()
	s.Transit, s.Visible = true, true
	routes := make([]evpn.Route, 200)
	for i := range routes {
		routes[i] = evpn.Route{Key: evpn.RouteKey{Type: evpn.MACIPRoute, RD: frrRD(), MAC: mac(byte(i))}, Label: 100, Attrs: frrAttrs()}
	}
	full := wire.AppendUpdates(nil, routes, ibgp())[0]
	up := parse(t, s, full)
	assert.Len(t, up.ForwardMore, 1)
	gobgpAccepts(t, up)
	n := 0
	for _, b := range forwards(up) {
		n += len(gobgpSees(t, b))
	}
	assert.Equal(t, len(up.Announced), n)

	t.Run("no room for attributes", func(t *testing.T) {
		huge := octets(t, goodAttr, "d0 80 0f60", strings.Repeat("00", 0xf60))
		up := parse(t, s, update(append(huge, reach(t, nlri2a, nlri2b)...)))
		assert.Len(t, up.Announced, 2)
		require.Len(t, up.Drops, 1)
		assert.Equal(t, wire.DropNotForwarded, up.Drops[0].Reason)
		assert.Equal(t, 2, up.Drops[0].Count)
		assert.Equal(t, []string{"-" + type2Text(1), "-" + type2Text(2)}, gobgpSees(t, up.Forward))
	})
}

func type2Text(n byte) string {
	return "[type:macadv][rd:10.99.0.1:2][etag:0][mac:" + mac(n).String() + "][ip:<nil>]"
}
