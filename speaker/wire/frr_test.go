package wire_test

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/speaker/wire"
)

// octets reads hexadecimal with blanks.
func octets(t testing.TB, parts ...string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(strings.Join(parts, "")), ""))
	require.NoError(t, err)
	return b
}

// What FRR 8.4.4 puts on the wire, recorded between two of its speakers.
const (
	frrHeader  = "ffffffffffffffffffffffffffffffff 0069 02 0000 0052"
	frrType2   = "90 0e 002c 0019 46 04 0a630001 00 02 21 00010a6300010002 00000000000000000000 00000000 30 02aa00000001 00 000064"
	frrCommon  = "40 01 01 00  50 02 0000  40 05 04 00000064"
	frrComm    = "c0 10 10 030c000000000008 0002fde800000064"
	frrHeader3 = "ffffffffffffffffffffffffffffffff 0065 02 0000 004e"
	frrType3   = "90 0e 001c 0019 46 04 0a630001 00  03 11 00010a6300010002 00000000 20 0a630001"
	frrPMSI    = "c0 16 09 00 06 000064 0a630001"
)

func session() *wire.Session {
	return &wire.Session{FourOctetAS: true, EVPN: true, IBGP: true, LocalASN: 65000, LocalRouterID: netip.MustParseAddr("10.99.0.9")}
}

func parse(t testing.TB, s *wire.Session, msg []byte) wire.Update {
	t.Helper()
	require.Greater(t, len(msg), wire.HeaderLen)
	up, err := wire.ParseUpdate(msg[wire.HeaderLen:], s)
	require.NoError(t, err)
	return up
}

func frrAttrs() *evpn.Attrs {
	rt, _ := evpn.AutoRouteTarget(65000, 100)
	return &evpn.Attrs{
		NextHop: netip.MustParseAddr("10.99.0.1"), RouteTargets: []evpn.RouteTarget{rt}, Encaps: []uint16{evpn.EncapVXLAN}, LocalPref: 100,
	}
}

func frrRD() evpn.RD { return evpn.RDFromRouterID(netip.MustParseAddr("10.99.0.1"), 2) }

func mac(n byte) evpn.MAC { return evpn.MAC{2, 0xaa, 0, 0, 0, n} }

func TestParseWhatFRRWrites(t *testing.T) {
	withPMSI := frrAttrs()
	withPMSI.PMSI = &evpn.PMSITunnel{Type: evpn.PMSIIngressReplication, Label: 100, Endpoint: netip.MustParseAddr("10.99.0.1")}
	for name, c := range map[string]struct {
		msg  []byte
		want evpn.Route
	}{
		"type 2": {
			octets(t, frrHeader, frrType2, frrCommon, frrComm),
			evpn.Route{Key: evpn.RouteKey{Type: evpn.MACIPRoute, RD: frrRD(), MAC: mac(1)}, Label: 100, Attrs: frrAttrs()},
		},
		"type 3": {
			octets(t, frrHeader3, frrType3, frrCommon, frrComm, frrPMSI),
			evpn.Route{Key: evpn.RouteKey{Type: evpn.IMETRoute, RD: frrRD(), IP: netip.MustParseAddr("10.99.0.1")}, Attrs: withPMSI},
		},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, wire.Update{Announced: []evpn.Route{c.want}}, parse(t, session(), c.msg))
		})
	}
}
