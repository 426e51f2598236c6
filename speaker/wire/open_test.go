package wire_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/osrg/gobgp/v3/pkg/packet/bgp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/speaker/wire"
)

const (
	// The capabilities that FRR 8.4.4 announces, each in a parameter of its own.
	openFRR = "04 fde8 00b4 0a630001 48" +
		"02 06 01 04 0019 00 46  02 02 80 00  02 02 02 00  02 02 46 00  02 06 41 04 0000fde8  02 02 06 00  02 06 45 04 0019 46 01" +
		"02 0d 49 0b 09 6c6561662d312d6161 00  02 04 40 02 0078  02 09 47 07 0019 46 80 000000"
	// The same family in the form of RFC 9072.
	openExtended = "04 5ba0 00b4 0a630001 ff ff 0015  02 0006 01 04 0019 00 46  02 0006 41 04 fa56ea00  02 0000  "
	openGR       = "04 fde8 00b4 0a630001 0e 02 0c 40 0a 0078 0001 01 80 0019 46 00"
)

func TestParseOpen(t *testing.T) {
	o, err := wire.ParseOpen(octets(t, openFRR))
	require.NoError(t, err)
	assert.Equal(t, netip.MustParseAddr("10.99.0.1"), o.RouterID)
	assert.EqualValues(t, 65000, o.ASN)
	assert.Equal(t, 180*time.Second, o.HoldTime)
	assert.True(t, o.EVPN && o.FourOctetAS && o.ExtendedMessage && o.RouteRefresh && o.EnhancedRouteRefresh)
	assert.Equal(t, &wire.GracefulRestart{Time: 120 * time.Second}, o.GracefulRestart, "FRR helps others only")
	assert.Equal(t, &wire.LongLived{EVPN: true, Forwarding: true}, o.LongLived)
	assert.Equal(t, []string{"multiprotocol(l2vpn-evpn)", "route-refresh-old", "route-refresh", "enhanced-route-refresh", "4-octet-as", "extended-message",
		"add-path", "fqdn(leaf-1-aa)", "graceful-restart", "long-lived-graceful-restart"}, o.CapabilityNames())

	o, err = wire.ParseOpen(octets(t, openExtended))
	require.NoError(t, err)
	assert.True(t, o.EVPN)
	assert.EqualValues(t, 4200000000, o.ASN)
}

func TestParseOpenErrors(t *testing.T) {
	for name, c := range map[string]struct{ body, want string }{
		"nine octets":                     {"04 fde8 00b4 0a630001", "message header error: bad message length"},
		"version 3":                       {"03 fde8 00b4 0a630001 00", "OPEN message error: unsupported version number"},
		"hold time 2":                     {"04 fde8 0002 0a630001 00", "OPEN message error: unacceptable hold time"},
		"identifier 0":                    {"04 fde8 00b4 00000000 00", "OPEN message error: bad BGP identifier"},
		"AS 0":                            {"04 0000 00b4 0a630001 00", "OPEN message error: bad peer AS"},
		"AS 0 in four octets":             {"04 fde8 00b4 0a630001 08 02 06 41 04 00000000", "OPEN message error: bad peer AS"},
		"parameters shorter than said":    {"04 fde8 00b4 0a630001 08 02 06 41 04", "OPEN message error"},
		"parameters longer than said":     {"04 fde8 00b4 0a630001 00 02 00", "OPEN message error"},
		"parameter runs past the end":     {"04 fde8 00b4 0a630001 03 02 06 41", "OPEN message error"},
		"half a parameter header":         {"04 fde8 00b4 0a630001 01 02", "OPEN message error"},
		"parameter 1":                     {"04 fde8 00b4 0a630001 02 01 00", "OPEN message error: unsupported optional parameter"},
		"capability past its parameter":   {"04 fde8 00b4 0a630001 04 02 02 41 04", "OPEN message error"},
		"half a capability":               {"04 fde8 00b4 0a630001 03 02 01 41", "OPEN message error"},
		"extended, parameter past end":    {"04 fde8 00b4 0a630001 ff ff 0003 02 0001", "OPEN message error"},
		"extended, length past the end":   {"04 fde8 00b4 0a630001 ff ff 0009 02 0000", "OPEN message error"},
		"extended, header past the end":   {"04 fde8 00b4 0a630001 ff ff 0002 02 00", "OPEN message error"},
		"extended, marker without length": {"04 fde8 00b4 0a630001 02 ff ff", "OPEN message error"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := wire.ParseOpen(octets(t, c.body))
			var e *wire.Error
			require.ErrorAs(t, err, &e)
			assert.Equal(t, c.want, wire.ErrorText(e.Code, e.Subcode))
		})
	}
}

// TestMalformedCapability counts as not announced, and does not reach GoBGP.
func TestMalformedCapability(t *testing.T) {
	for name, c := range map[string]string{
		"multiprotocol":               "01 03 0019 00",
		"4-octet-as":                  "41 02 0000",
		"graceful-restart":            "40 01 00",
		"fqdn":                        "49 02 09 00",
		"add-path":                    "45 03 0019 46",
		"software-version":            "4b 01 09",
		"long-lived-graceful-restart": "47 06 0019 46 00 0000",
	} {
		t.Run(name, func(t *testing.T) {
			v := octets(t, c)
			body := append(octets(t, "04 fde8 00b4 0a630001"), byte(len(v)+2), 2, byte(len(v)))
			o, err := wire.ParseOpen(append(body, v...))
			require.NoError(t, err)
			assert.False(t, o.EVPN || o.FourOctetAS || o.GracefulRestart != nil || o.LongLived != nil)
			assert.Equal(t, []string{name + "(malformed)"}, o.CapabilityNames())
			assert.Len(t, o.Message(), wire.HeaderLen+10)
		})
	}
}

// TestOpenForGoBGP: the OPEN written anew says the same, in a form that GoBGP reads.
func TestOpenForGoBGP(t *testing.T) {
	for name, body := range map[string]string{"FRR": openFRR, "extended": openExtended} {
		t.Run(name, func(t *testing.T) {
			o, err := wire.ParseOpen(octets(t, body))
			require.NoError(t, err)
			msg := o.Message()
			re, err := wire.ParseOpen(msg[wire.HeaderLen:])
			require.NoError(t, err)
			assert.Equal(t, o.CapabilityNames()[0], re.CapabilityNames()[0])
			assert.ElementsMatch(t, o.CapabilityNames(), re.CapabilityNames())
			assert.Equal(t, []any{o.ASN, o.HoldTime, o.RouterID, o.GracefulRestart}, []any{re.ASN, re.HoldTime, re.RouterID, re.GracefulRestart})
			m, err := bgp.ParseBGPMessage(msg)
			require.NoError(t, err)
			caps := 0
			for _, p := range m.Body.(*bgp.BGPOpen).OptParams {
				caps += len(p.(*bgp.OptionParameterCapability).Capability)
			}
			assert.Len(t, o.Capabilities, caps)
		})
	}
	t.Run("too many to fit", func(t *testing.T) {
		// 40 unknown capabilities of 20 octets before the one that counts.
		v := octets(t, strings.Repeat("c8 14"+strings.Repeat("00", 20), 40), "01 04 0019 00 46")
		params := append([]byte{2, byte(len(v) >> 8), byte(len(v))}, v...)
		body := append(octets(t, "04 fde8 00b4 0a630001 ff ff"), byte(len(params)>>8), byte(len(params)))
		o, err := wire.ParseOpen(append(body, params...))
		require.NoError(t, err)
		re, err := wire.ParseOpen(o.Message()[wire.HeaderLen:])
		require.NoError(t, err)
		assert.True(t, re.EVPN)
	})
}

// TestRestartCapabilities: what is written is what was meant, in the place of what was there.
func TestRestartCapabilities(t *testing.T) {
	o, err := wire.ParseOpen(octets(t, openGR))
	require.NoError(t, err)
	for _, g := range []wire.GracefulRestart{
		{Time: 120 * time.Second, EVPN: true},
		{Time: 4095 * time.Second, EVPN: true, Restarting: true, Forwarding: true},
		{Notification: true},
	} {
		w := o.With(g.Capability())
		assert.Equal(t, &g, w.GracefulRestart)
		assert.Len(t, w.Capabilities, len(o.Capabilities))
		re, err := wire.ParseOpen(w.Message()[wire.HeaderLen:])
		require.NoError(t, err)
		assert.Equal(t, &g, re.GracefulRestart)
	}
	for _, l := range []wire.LongLived{{}, {EVPN: true, Forwarding: true}, {EVPN: true, Time: (1<<24 - 1) * time.Second}} {
		w := o.With(l.Capability())
		assert.Len(t, w.Capabilities, len(o.Capabilities)+1)
		re, err := wire.ParseOpen(w.Message()[wire.HeaderLen:])
		require.NoError(t, err)
		assert.Equal(t, &l, re.LongLived)
		_, err = bgp.ParseBGPMessage(w.Message())
		require.NoError(t, err)
	}
	o, err = wire.ParseOpen(octets(t, "04 fde8 00b4 0a630001 12 02 10 47 0e 0001 01 80 000001 0019 46 80 00003c"))
	require.NoError(t, err)
	assert.Equal(t, &wire.LongLived{EVPN: true, Forwarding: true, Time: time.Minute}, o.LongLived)
}

func TestReadMessageErrors(t *testing.T) {
	marker := strings.Repeat("ff", 16)
	for name, c := range map[string]struct {
		in   string
		max  int
		want string
		data string
	}{
		"marker":                 {strings.Repeat("ff", 15) + "fe 0013 04", wire.MaxMessage, "message header error: connection not synchronized", ""},
		"length 18":              {marker + "0012 04", wire.MaxMessage, "message header error: bad message length", "0012"},
		"length 65535":           {marker + "ffff 02", wire.MaxMessage, "message header error: bad message length", "ffff"},
		"length 4097":            {marker + "1001 02", wire.MaxMessage, "message header error: bad message length", "1001"},
		"type 0":                 {marker + "0013 00", wire.MaxMessage, "message header error: bad message type", "00"},
		"type 6":                 {marker + "0013 06", wire.MaxMessage, "message header error: bad message type", "06"},
		"OPEN of 28":             {marker + "001c 01", wire.MaxMessage, "message header error: bad message length", "001c"},
		"OPEN of 4097, extended": {marker + "1001 01", wire.MaxExtendedMessage, "message header error: bad message length", "1001"},
		"UPDATE of 22":           {marker + "0016 02", wire.MaxMessage, "message header error: bad message length", "0016"},
		"NOTIFICATION of 20":     {marker + "0014 03", wire.MaxMessage, "message header error: bad message length", "0014"},
		"KEEPALIVE of 20":        {marker + "0014 04 00", wire.MaxMessage, "message header error: bad message length", "0014"},
		"ROUTE-REFRESH of 22":    {marker + "0016 05", wire.MaxMessage, "ROUTE-REFRESH message error: invalid message length", marker + "0016 05"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := wire.ReadMessage(bufio.NewReader(bytes.NewReader(octets(t, c.in))), nil, c.max)
			var e *wire.Error
			require.ErrorAs(t, err, &e)
			assert.Equal(t, c.want, wire.ErrorText(e.Code, e.Subcode))
			assert.Equal(t, wire.Notification(e.Code, e.Subcode, octets(t, c.data)), e.Notification())
		})
	}
}

// TestReadMessages reads messages of every length in slow pieces, and tells the ends of a stream apart.
func TestReadMessages(t *testing.T) {
	big := wire.Message(wire.TypeUpdate, make([]byte, wire.MaxMessage-wire.HeaderLen))
	huge := wire.Message(wire.TypeUpdate, make([]byte, wire.MaxExtendedMessage-wire.HeaderLen))
	in := bytes.Join([][]byte{wire.Keepalive(), big, wire.EndOfRIB(), huge, wire.RouteRefresh()}, nil)
	r := bufio.NewReader(&chunked{in, 7})
	var buf []byte
	for _, want := range [][]byte{wire.Keepalive(), big, wire.EndOfRIB(), huge, wire.RouteRefresh()} {
		typ, msg, err := wire.ReadMessage(r, buf, wire.MaxExtendedMessage)
		require.NoError(t, err)
		assert.Equal(t, want[18], typ)
		assert.True(t, bytes.Equal(want, msg))
		buf = msg
	}
	_, _, err := wire.ReadMessage(r, buf, wire.MaxMessage)
	assert.Equal(t, io.EOF, err)
	for _, n := range []int{1, 18, 19, 22} {
		_, _, err := wire.ReadMessage(bufio.NewReader(bytes.NewReader(wire.EndOfRIB()[:n])), nil, wire.MaxMessage)
		assert.True(t, errors.Is(err, io.ErrUnexpectedEOF), "after %d octets: %v", n, err)
	}
}

func TestNotificationText(t *testing.T) {
	for want, body := range map[string]string{
		"cease: administrative shutdown: \"upgrade at 03:00\"":          "06 02 10 75706772616465206174203033 3a3030",
		"cease: administrative reset":                                   "06 04 00",
		"cease: administrative shutdown":                                "06 02 ff 41",
		"cease: hard reset: cease: peer de-configured":                  "06 09 06 03",
		"cease: maximum number of prefixes reached":                     "06 01 0019 46 00000064",
		"hold timer expired":                                            "04 00",
		"finite state machine error: unexpected message in OpenConfirm": "05 02",
		"OPEN message error: bad peer AS":                               "02 02 fde9",
		"UPDATE message error: subcode 77":                              "03 4d",
		"ROUTE-REFRESH message error: invalid message length":           "07 01",
		"error code 9 subcode 1":                                        "09 01",
		"error code 0 subcode 0":                                        "",
		"cease: connection collision resolution":                        "06 07",
		"cease: administrative shutdown: \"\\x1b[2J\"":                  "06 02 04 1b5b324a",
	} {
		t.Run(want, func(t *testing.T) {
			assert.Equal(t, want, wire.ParseNotification(octets(t, body)).String())
		})
	}
}

func TestShutdownText(t *testing.T) {
	assert.Equal(t, []byte("\x02ok"), wire.ShutdownText("ok"))
	long := wire.ShutdownText(strings.Repeat("x", 254) + "ü")
	assert.Len(t, long, 255, "a character is not cut in two")
	assert.EqualValues(t, 254, long[0])
	assert.Contains(t, wire.ParseNotification(wire.Notification(wire.CodeCease, wire.SubShutdown, long)[wire.HeaderLen:]).String(), "xxx")
}

func TestParseRouteRefresh(t *testing.T) {
	f, sub, err := wire.ParseRouteRefresh(wire.RouteRefresh()[wire.HeaderLen:])
	require.NoError(t, err)
	assert.Equal(t, wire.EVPN, f)
	assert.Zero(t, sub)
	_, _, err = wire.ParseRouteRefresh([]byte{0, 25, 0, 70, 1})
	assert.Error(t, err)
}
