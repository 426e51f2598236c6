package speakertest

import (
	"encoding/binary"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/speaker/wire"
)

// Hex reads hexadecimal; spaces do not count.
func Hex(t testing.TB, parts ...string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(strings.Join(parts, ""), " ", ""))
	require.NoError(t, err)
	return b
}

// Attributes in hexadecimal.
const (
	AttrOrigin  = "40 01 01 00 "
	AttrPath    = "40 02 00 "
	AttrPref    = "40 05 04 00000065 " // 101, where well-behaved announcements have 100
	AttrTargets = "c0 10 10 030c000000000008 0002fde800000064 "
	AttrsGood   = AttrOrigin + AttrPath + AttrPref + AttrTargets
)

// NLRI writes type-2 NLRI in hexadecimal.
func NLRI(routes ...evpn.Route) string {
	var s strings.Builder
	for _, r := range routes {
		s.WriteString("0221" + hex.EncodeToString(r.Key.RD[:]) + "00000000000000000000" + "00000000" + "30" + hex.EncodeToString(r.Key.MAC[:]) + "00" +
			hex.EncodeToString([]byte{byte(r.Label >> 16), byte(r.Label >> 8), byte(r.Label)}))
	}
	return s.String()
}

// Update puts attributes and, at the end, where overruns hurt most, MP_REACH_NLRI into a message.
func Update(t testing.TB, attrs string, nlri ...string) []byte {
	t.Helper()
	b := Hex(t, attrs)
	if n := Hex(t, nlri...); len(n) > 0 {
		v := append(Hex(t, "0019 46 04 0a630001 00"), n...)
		b = append(append(b, 0x90, 14, byte(len(v)>>8), byte(len(v))), v...)
	}
	return wire.Message(wire.TypeUpdate, append(binary.BigEndian.AppendUint16([]byte{0, 0}, uint16(len(b))), b...))
}
