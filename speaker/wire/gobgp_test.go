package wire_test

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/osrg/gobgp/v3/pkg/packet/bgp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/speaker/wire"
)

// gobgpParse decodes a body as GoBGP's server does (pkg/server/fsm.go: recvMessageWithError), and
// turns a panic into a value.
//
//nolint:staticcheck // the panic is a finding, not the error of the call
func gobgpParse(body []byte, external bool) (msg *bgp.BGPMessage, err error, panicked any) {
	defer func() { panicked = recover() }()
	exact := make([]byte, len(body)) // no spare capacity, as what the server reads
	copy(exact, body)
	body = exact
	h := &bgp.BGPHeader{Type: bgp.BGP_MSG_UPDATE, Len: uint16(wire.HeaderLen + len(body))}
	msg, err = bgp.ParseBGPBody(h, body, &bgp.MarshallingOption{})
	if err != nil {
		return nil, err, nil
	}
	families := map[bgp.RouteFamily]bgp.BGPAddPathMode{bgp.RF_EVPN: bgp.BGP_ADD_PATH_NONE}
	if ok, err := bgp.ValidateUpdateMsg(msg.Body.(*bgp.BGPUpdate), families, external, false, true); !ok {
		return nil, fmt.Errorf("validate: %w", err), nil
	}
	// A reflector writes what it read, and prints it when someone looks.
	for _, a := range msg.Body.(*bgp.BGPUpdate).PathAttributes {
		if _, err := a.Serialize(); err != nil {
			return nil, err, nil
		}
		_ = a.String()
	}
	return msg, nil, nil
}

// forwards are the bodies that GoBGP would get.
func forwards(up wire.Update) [][]byte {
	if up.Forward == nil {
		return nil
	}
	return append([][]byte{up.Forward}, up.ForwardMore...)
}

// gobgpAccepts fails unless GoBGP takes all forwarded bodies without panic or error.
func gobgpAccepts(t testing.TB, up wire.Update) {
	t.Helper()
	gobgpAcceptsFrom(t, up, false)
}

// gobgpAcceptsFrom is gobgpAccepts for a peer of either kind.
func gobgpAcceptsFrom(t testing.TB, up wire.Update, external bool) {
	t.Helper()
	for _, body := range forwards(up) {
		require.LessOrEqual(t, len(body), wire.MaxMessage-wire.HeaderLen)
		_, err, panicked := gobgpParse(body, external)
		require.Nil(t, panicked, "GoBGP panics on %x", body)
		require.NoError(t, err, "GoBGP refuses %x", body)
	}
}

// gobgpKills are the EVPN NLRI that panic GoBGP v3.37.0.
var gobgpKills = map[string]string{
	"type 3 of 13 octets with IP length 32": "03 0d 00010a6300010002 00000000 20",
	"type 2 of 20 octets":                   "02 14 00010a6300010002 00000000000000000000 0000",
	"type 3 of 2 octets":                    "03 02 0001",
}

// updateWith is an UPDATE with these NLRI and FRR's attributes, the NLRI last.
func updateWith(t testing.TB, nlri ...string) []byte {
	t.Helper()
	return update(append(octets(t, frrCommon, frrComm), reach(t, nlri...)...))
}

// reach is MP_REACH_NLRI with these NLRI.
func reach(t testing.TB, nlri ...string) []byte {
	t.Helper()
	v := append(octets(t, "0019 46 04 0a630001 00"), octets(t, nlri...)...)
	return append([]byte{0x90, 14, byte(len(v) >> 8), byte(len(v))}, v...)
}

// unreach is MP_UNREACH_NLRI with these NLRI.
func unreach(t testing.TB, nlri ...string) []byte {
	t.Helper()
	v := append(octets(t, "0019 46"), octets(t, nlri...)...)
	return append([]byte{0x90, 15, byte(len(v) >> 8), byte(len(v))}, v...)
}

// update is the message with these path attributes.
func update(attrs []byte) []byte {
	body := binary.BigEndian.AppendUint16([]byte{0, 0}, uint16(len(attrs)))
	return wire.Message(wire.TypeUpdate, append(body, attrs...))
}

// TestGoBGPPanics documents why the guard exists. Should it fail after an upgrade of
// GoBGP, that is good news.
func TestGoBGPPanics(t *testing.T) {
	for name, nlri := range gobgpKills {
		t.Run(name, func(t *testing.T) {
			_, _, panicked := gobgpParse(updateWith(t, nlri)[wire.HeaderLen:], false)
			assert.NotNil(t, panicked)
		})
	}
}

// TestGoBGPGivesUp: one unknown route type or community costs GoBGP the whole UPDATE.
func TestGoBGPGivesUp(t *testing.T) {
	good := "02 21 00010a6300010002 00000000000000000000 00000000 30 02aa00000001 00 000064"
	for name, body := range map[string][]byte{
		"route type 6":    updateWith(t, good, "06 01 00"),
		"community 06/08": update(octets(t, frrType2, frrCommon, "c0 10 08 0608010000000000")),
	} {
		t.Run(name, func(t *testing.T) {
			_, err, panicked := gobgpParse(body[wire.HeaderLen:], false)
			assert.Nil(t, panicked)
			assert.Error(t, err)
		})
	}
}

// TestCommunitiesForGoBGP walks all types and subtypes: GoBGP takes what is forwarded; where its tools
// are served it sees all that it parses; and all of them come out behind it.
func TestCommunitiesForGoBGP(t *testing.T) {
	s := session()
	s.Transit, s.Visible = true, true
	for i := range 1 << 16 {
		c := []byte{byte(i >> 8), byte(i), 1, 2, 3, 4, 5, 6}
		up := parse(t, s, update(append(octets(t, frrType2, frrCommon, "c0 10 08"), c...)))
		require.Len(t, up.Announced, 1, "%x", c)
		ext, err := bgp.ParseExtended(append([]byte(nil), c...))
		parses := err == nil
		if parses {
			b, err := ext.Serialize()
			parses = err == nil && len(b) == 8
		}
		gobgpAccepts(t, up)
		if parses && i&0xff > 0x0f {
			continue // to be quick
		}
		_, visible := attributes(t, wire.Message(wire.TypeUpdate, up.Forward))[16]
		require.Equal(t, parses, visible, "%x", c)
		require.Equal(t, "\xc0"+string(c), attributes(t, throughGoBGP(t, up.Forward, false))[16])
	}
}

// throughGoBGP is what a peer of ours gets of a forwarded body: read and written by GoBGP, and restored.
func throughGoBGP(t testing.TB, body []byte, external bool) []byte {
	t.Helper()
	msg, err, panicked := gobgpParse(body, false)
	require.Nil(t, panicked)
	require.NoError(t, err)
	msg.Header.Len = 0
	out, err := msg.Serialize()
	require.NoError(t, err)
	return wire.AppendRestored(nil, out, external)
}

func forwardedNextHops(msg *bgp.BGPMessage) (out []string) {
	for _, a := range msg.Body.(*bgp.BGPUpdate).PathAttributes {
		if r, ok := a.(*bgp.PathAttributeMpReachNLRI); ok {
			out = append(out, r.Nexthop.String())
		}
	}
	return out
}
