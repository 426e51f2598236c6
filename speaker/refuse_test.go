package speaker_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/vtepbgp/vtepbgp/speaker"
	"github.com/vtepbgp/vtepbgp/speaker/speakertest"
	"github.com/vtepbgp/vtepbgp/speaker/wire"
)

func TestBadOpens(t *testing.T) {
	corrupt := ibgp(idA).Open()
	corrupt[3] = 0
	for _, c := range []struct {
		name          string
		send          []byte
		code, subcode uint8
		text          string
	}{
		{"wrong ASN", speakertest.Options{ASN: 65009, RouterID: idA}.Open(), wire.CodeOpen, wire.SubBadPeerAS, "65009"},
		{"our own router ID", ibgp(ourID).Open(), wire.CodeOpen, wire.SubBadIdentifier, "router ID"},
		{"router ID 0", ibgp(netip.IPv4Unspecified()).Open(), wire.CodeOpen, wire.SubBadIdentifier, "identifier"},
		{"no EVPN", speakertest.Options{ASN: 65000, RouterID: idA, NoEVPN: true}.Open(), wire.CodeOpen, wire.SubUnsupportedCapability, "EVPN"},
		{"hold time 1", speakertest.Options{ASN: 65000, RouterID: idA, HoldTime: 1e9}.Open(), wire.CodeOpen, wire.SubUnacceptableHoldTime, "hold time"},
		{"broken marker", corrupt, wire.CodeHeader, wire.SubConnectionNotSynchronized, "marker"},
		{"KEEPALIVE first", wire.Keepalive(), wire.CodeFSM, 1, "before OPEN"},
		{"cut options", wire.Message(wire.TypeOpen, []byte{4, 0xfd, 0xe8, 0, 90, 10, 0, 0, 9, 20, 2, 30, 1}), wire.CodeOpen, 0, "optional"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := speakertest.Start(t, passive(speaker.Neighbor{Address: peerA}))
			p := speakertest.Dial(t, peerA, s.At, ibgp(idA))
			p.Read(t) // their OPEN
			p.Send(t, c.send)
			p.Collect()
			n := p.AwaitNotification(t)
			assert.Equal(t, []uint8{c.code, c.subcode}, []uint8{n.Code, n.Subcode})
			s.AwaitError(t, peerA, c.text)
			// and the next one is as welcome as ever
			speakertest.Dial(t, peerA, s.At, ibgp(idA)).Handshake(t)
			s.AwaitState(t, peerA, "established")
		})
	}
}

func TestMessagesThatResetTheSession(t *testing.T) {
	long := wire.Message(wire.TypeUpdate, make([]byte, 4100-wire.HeaderLen))
	for _, c := range []struct {
		name          string
		send          []byte
		code, subcode uint8
	}{
		{"unknown message type", wire.Message(9, nil), wire.CodeHeader, wire.SubBadMessageType},
		{"too long", long, wire.CodeHeader, wire.SubBadMessageLength},
		{"second OPEN", ibgp(idA).Open(), wire.CodeFSM, 3},
		{"lengths that contradict", wire.Message(wire.TypeUpdate, []byte{0, 9, 0, 0}), wire.CodeUpdate, wire.SubMalformedAttributeList},
		{"no BGP at all", []byte("GET / HTTP/1.1\r\nHost: here\r\n\r\n"), wire.CodeHeader, wire.SubConnectionNotSynchronized},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := speakertest.Start(t, passive(speaker.Neighbor{Address: peerA}))
			p := speakertest.Dial(t, peerA, s.At, ibgp(idA)).Handshake(t)
			p.Await(t, "End-of-RIB", endOfRIB)
			p.Send(t, c.send)
			n := p.AwaitNotification(t)
			assert.Equal(t, []uint8{c.code, c.subcode}, []uint8{n.Code, n.Subcode})
			s.AwaitError(t, peerA, "sent NOTIFICATION")
			s.AwaitState(t, peerA, "active")
			speakertest.Dial(t, peerA, s.At, ibgp(idA)).Handshake(t)
			s.AwaitState(t, peerA, "established")
		})
	}
}

func TestUpdateBeforeKeepalive(t *testing.T) {
	s := speakertest.Start(t, passive(speaker.Neighbor{Address: peerA}))
	p := speakertest.Dial(t, peerA, s.At, ibgp(idA))
	p.Open(t)
	p.Collect()
	p.Announce(t, speakertest.MACRoute(idA, 100, 1, nil))
	n := p.AwaitNotification(t)
	assert.Equal(t, []uint8{wire.CodeFSM, 2}, []uint8{n.Code, n.Subcode})
	assert.Empty(t, s.Events())
}

// ADD-PATH, other families and unknown capabilities in the peer's OPEN lead to nothing.
func TestForeignCapabilities(t *testing.T) {
	opt := ibgp(idA)
	opt.Extra = []wire.Capability{
		{Code: wire.CapAddPath, Value: []byte{0, 25, 70, 3}},
		{Code: wire.CapMultiProtocol, Value: []byte{0, 1, 0, 1}},
		{Code: wire.CapExtendedMessage},
		{Code: wire.CapFQDN, Value: []byte{200, 1}},
		{Code: 200, Value: []byte("what")},
	}
	cfg := passive(speaker.Neighbor{Address: peerA, RouteReflectorClient: true}, speaker.Neighbor{Address: peerB, RouteReflectorClient: true})
	s := speakertest.Start(t, cfg)
	a := speakertest.Dial(t, peerA, s.At, opt).Handshake(t)
	b := speakertest.Dial(t, peerB, s.At, ibgp(idB)).Handshake(t)
	r := speakertest.MACRoute(idA, 100, 7, nil)
	a.Announce(t, r)
	b.Await(t, "the route", hasRoute(r.Key))
	names := []string{}
	for _, c := range a.Theirs.Capabilities {
		names = append(names, c.String())
	}
	assert.ElementsMatch(t, []string{"route-refresh", "multiprotocol(l2vpn-evpn)", "4-octet-as"}, names, "we announce what is true")
}
