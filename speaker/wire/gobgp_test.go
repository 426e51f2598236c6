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

// gobgpAccepts fails unless GoBGP takes a forwarded body without panic or error.
func gobgpAccepts(t testing.TB, body []byte) {
	t.Helper()
	gobgpAcceptsFrom(t, body, false)
}

// gobgpAcceptsFrom is gobgpAccepts for a peer of either kind.
func gobgpAcceptsFrom(t testing.TB, body []byte, external bool) {
	t.Helper()
	if body == nil {
		return
	}
	_, err, panicked := gobgpParse(body, external)
	require.Nil(t, panicked, "GoBGP panics on %x", body)
	require.NoError(t, err, "GoBGP refuses %x", body)
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

// TestCommunitiesForGoBGP walks all types and subtypes: what is forwarded GoBGP parses, writes back in
// eight octets, and no more is stripped than must be.
func TestCommunitiesForGoBGP(t *testing.T) {
	s := session()
	s.Transit = true
	for i := range 1 << 16 {
		c := []byte{byte(i >> 8), byte(i), 1, 2, 3, 4, 5, 6}
		up := parse(t, s, update(append(octets(t, frrType2, frrCommon, "c0 10 08"), c...)))
		require.Len(t, up.Announced, 1, "%x", c)
		require.NotNil(t, up.Forward, "%x", c)
		ext, err := bgp.ParseExtended(append([]byte(nil), c...))
		parses := err == nil
		if parses {
			b, err := ext.Serialize()
			parses = err == nil && len(b) == 8
		}
		gobgpAccepts(t, up.Forward)
		stripped := len(up.Drops) > 0
		require.Equal(t, parses, !stripped, "%x: stripped %v, GoBGP: %v", c, stripped, err)
	}
}

func forwardedNextHops(msg *bgp.BGPMessage) (out []string) {
	for _, a := range msg.Body.(*bgp.BGPUpdate).PathAttributes {
		if r, ok := a.(*bgp.PathAttributeMpReachNLRI); ok {
			out = append(out, r.Nexthop.String())
		}
	}
	return out
}
