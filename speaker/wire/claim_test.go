package wire_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/speaker/wire"
)

// TestFloodingRoutes holds the type-3 routes of all flood modes to their octets, written and
// read, and passed on by GoBGP in either way.
func TestFloodingRoutes(t *testing.T) {
	const (
		proxied = "90 0e 001c 0019 46 04 0a630007 00  03 11 00010a6300010002 00000000 20 0a630007"
		service = "90 0e 001c 0019 46 04 0a6300fe 00  03 11 00010a6300010002 00000000 20 0a6300fe"
		six     = "90 0e 0034 0019 46 10 20010db8000000000000000000000007 00  03 1d 00010a6300010002 00000000 80 20010db8000000000000000000000007"
		withVNI = "030c000000000008 0002fde800000064"
	)
	for name, c := range map[string]struct {
		vtep         string
		pmsi         evpn.PMSITunnel
		claim        evpn.RelayClaim
		reach, comms string
		wantPMSI     string
		rfc9574      bool
	}{
		"leaf":                {"10.99.0.1", evpn.PMSITunnel{Flags: evpn.PMSIFlagsLeafAR, Type: evpn.PMSIIngressReplication}, evpn.RelayClaim{}, frrType3, "c0 10 18" + withVNI + "8a02 10 0000000000", "c0 16 09 10 06 000064 0a630001", false},
		"replicator":          {"10.99.0.254", evpn.PMSITunnel{Flags: evpn.PMSIFlagsReplicatorAR, Type: evpn.PMSIAssistedReplication}, evpn.RelayClaim{}, service, "c0 10 18" + withVNI + "8a02 08 0000000000", "c0 16 05 08 00 000064", false},
		"… of RFC 9574":       {"10.99.0.254", evpn.PMSITunnel{Flags: evpn.PMSIFlagsReplicatorAR, Type: evpn.PMSIAssistedReplication}, evpn.RelayClaim{}, service, "c0 10 18" + withVNI + "8a02 08 0000000000", "c0 16 09 08 0a 000064 0a6300fe", true},
		"replicator, IPv6":    {"2001:db8::7", evpn.PMSITunnel{Flags: evpn.PMSIFlagsReplicatorAR, Type: evpn.PMSIAssistedReplication}, evpn.RelayClaim{}, six, "c0 10 18" + withVNI + "8a02 08 0000000000", "c0 16 05 08 00 000064", false},
		"… of RFC 9574, IPv6": {"2001:db8::7", evpn.PMSITunnel{Flags: evpn.PMSIFlagsReplicatorAR, Type: evpn.PMSIAssistedReplication}, evpn.RelayClaim{}, six, "c0 10 18" + withVNI + "8a02 08 0000000000", "c0 16 15 08 0a 000064 20010db8000000000000000000000007", true},
		"proxy":               {"10.99.0.7", evpn.PMSITunnel{Type: evpn.PMSIIngressReplication}, evpn.RelayClaim{}, proxied, "c0 10 10" + withVNI, "c0 16 09 00 06 000064 0a630007", false},
		"proxy, IPv6":         {"2001:db8::7", evpn.PMSITunnel{Type: evpn.PMSIIngressReplication}, evpn.RelayClaim{}, six, "c0 10 10" + withVNI, "c0 16 15 00 06 000064 20010db8000000000000000000000007", false},
		"copies for itself":   {"10.99.0.1", evpn.PMSITunnel{Type: evpn.PMSIIngressReplication}, evpn.RelayClaim{Group: 0x1234abcd}, frrType3, "c0 10 18" + withVNI + "8a01 1234abcd 00 00", frrPMSI, false},
		"relay, ready":        {"10.99.0.1", evpn.PMSITunnel{Type: evpn.PMSIIngressReplication}, evpn.RelayClaim{Group: 1, State: evpn.RelayReady}, frrType3, "c0 10 18" + withVNI + "8a01 00000001 01 00", frrPMSI, false},
		"relay that answers":  {"10.99.0.1", evpn.PMSITunnel{}, evpn.RelayClaim{Group: 1, State: evpn.RelayActive, Deliver: true}, frrType3, "c0 10 18" + withVNI + "8a01 00000001 02 03", "c0 16 05 00 00 000064", false},
		"… and lasts":         {"10.99.0.1", evpn.PMSITunnel{}, evpn.RelayClaim{Group: 1, State: evpn.RelayActive, Outlives: true}, frrType3, "c0 10 18" + withVNI + "8a01 00000001 02 06", "c0 16 05 00 00 000064", false},
	} {
		t.Run(name, func(t *testing.T) {
			a := frrAttrs()
			a.NextHop = netip.MustParseAddr(c.vtep)
			a.PMSI, a.Claim = new(c.pmsi), c.claim
			a.PMSI.Label = 100
			if c.pmsi.Type != evpn.PMSINoTunnel {
				a.PMSI.Endpoint = a.NextHop
			}
			r := evpn.Route{Key: evpn.RouteKey{Type: evpn.IMETRoute, RD: frrRD(), IP: a.NextHop}, Attrs: a}
			want := update(octets(t, c.reach, frrCommon, c.comms, c.wantPMSI))

			kind := ibgp()
			kind.RFC9574 = c.rfc9574
			got := one(t, wire.AppendUpdates(nil, []evpn.Route{r}, kind))
			require.Equal(t, attributes(t, want), attributes(t, got))
			for _, visible := range []bool{false, true} {
				s := session()
				s.Transit, s.Visible = true, visible
				up := parse(t, s, got)
				require.Empty(t, up.Drops)
				assert.Equal(t, []evpn.Route{r}, up.Announced)
				gobgpAccepts(t, up)
				assert.Equal(t, attributes(t, want), attributes(t, throughGoBGP(t, up.Forward, false)), "reflected")
				assert.Contains(t, attributes(t, throughGoBGP(t, up.Forward, true))[16], attributes(t, want)[16], "towards an external peer")
			}
		})
	}
}

// TestClaimDecoding: a claim that says more than we know, or nothing, harms no route.
func TestClaimDecoding(t *testing.T) {
	for name, c := range map[string]struct {
		comms string
		want  evpn.RelayClaim
	}{
		"none":                     {"0608010000000000", evpn.RelayClaim{}},
		"group 0":                  {"8a01 00000000 02 01", evpn.RelayClaim{}},
		"spoken for":               {"8a01 00000007 03 00", evpn.RelayClaim{Group: 7, State: evpn.RelayedFor}},
		"a state of the future":    {"8a01 00000007 04 05", evpn.RelayClaim{Group: 7}},
		"state 255":                {"8a01 00000007 ff ff", evpn.RelayClaim{Group: 7}},
		"flags of the future":      {"8a01 00000007 01 fa", evpn.RelayClaim{Group: 7, State: evpn.RelayReady}},
		"… and Deliver":            {"8a01 00000007 01 fb", evpn.RelayClaim{Group: 7, State: evpn.RelayReady, Deliver: true}},
		"… and Outlives":           {"8a01 00000007 01 fe", evpn.RelayClaim{Group: 7, State: evpn.RelayReady, Outlives: true}},
		"twice the same":           {"8a01 00000007 01 00 8a01 00000007 01 00", evpn.RelayClaim{Group: 7, State: evpn.RelayReady}},
		"two states":               {"8a01 00000007 02 00 8a01 00000007 01 01", evpn.RelayClaim{Group: 7, State: evpn.RelayActive}},
		"… the other way round":    {"8a01 00000007 01 01 8a01 00000007 02 00", evpn.RelayClaim{Group: 7, State: evpn.RelayActive}},
		"two groups":               {"8a01 00000007 02 00 8a01 00000009 00 00", evpn.RelayClaim{Group: 9}},
		"… the other way round ":   {"8a01 00000009 00 00 8a01 00000007 02 00", evpn.RelayClaim{Group: 9}},
		"with and without Deliver": {"8a01 00000007 02 01 8a01 00000007 02 00", evpn.RelayClaim{Group: 7, State: evpn.RelayActive, Deliver: true}},
		"not transitive: not ours": {"ca01 00000007 02 01", evpn.RelayClaim{}},
		"another subtype":          {"8a02 00000007 02 01", evpn.RelayClaim{}},
	} {
		t.Run(name, func(t *testing.T) {
			comms := octets(t, "0002fde800000064", c.comms)
			v := append([]byte{0xc0, 16, byte(len(comms))}, comms...)
			s := session()
			s.Transit = true
			up := parse(t, s, update(append(append(octets(t, origin, emptyAS, pref, frrPMSI), v...), reach(t, nlri3)...)))
			require.Empty(t, up.Drops)
			require.Len(t, up.Announced, 1)
			assert.Equal(t, c.want, up.Announced[0].Attrs.Claim)
			gobgpAccepts(t, up)
			assert.Equal(t, "\xc0"+string(comms), attributes(t, throughGoBGP(t, up.Forward, false))[16], "passed on as it came")
		})
	}
}

// TestSegmentOfAClaim: the prefixes of a segment go with the claim, and come in one order whatever a reflector
// made of it.
func TestSegmentOfAClaim(t *testing.T) {
	first, second := evpn.NewSegmentPrefix(netip.MustParsePrefix("10.0.1.0/24")), evpn.NewSegmentPrefix(netip.MustParsePrefix("2001:db8::/64"))
	a := frrAttrs()
	a.PMSI = &evpn.PMSITunnel{Type: evpn.PMSIIngressReplication, Label: 100, Endpoint: a.NextHop}
	a.Claim, a.Segment = evpn.RelayClaim{Group: 7, State: evpn.RelayReady}, []evpn.SegmentPrefix{first, second}
	r := evpn.Route{Key: evpn.RouteKey{Type: evpn.IMETRoute, RD: frrRD(), IP: a.NextHop}, Attrs: a}
	assert.Equal(t, []evpn.Route{r}, parse(t, session(), one(t, wire.AppendUpdates(nil, []evpn.Route{r}, ibgp()))).Announced)

	comms := octets(t, "0002fde800000064", "8a03", fmt.Sprintf("%x", second[:]), "8a01 00000007 01 00", "8a03", fmt.Sprintf("%x", first[:]), "8a03", fmt.Sprintf("%x", second[:]))
	v := append([]byte{0xc0, 16, byte(len(comms))}, comms...)
	up := parse(t, session(), update(append(append(octets(t, origin, emptyAS, pref, frrPMSI), v...), reach(t, nlri3)...)))
	require.Empty(t, up.Drops)
	require.Len(t, up.Announced, 1)
	assert.Equal(t, a.Claim, up.Announced[0].Attrs.Claim)
	assert.Equal(t, a.Segment, up.Announced[0].Attrs.Segment)
}

// TestReplicationDecoding: what the community says stands in for flags and a tunnel type that were
// lost on the way, and changes nothing that was not.
func TestReplicationDecoding(t *testing.T) {
	vtep := netip.MustParseAddr("10.99.0.1")
	for name, c := range map[string]struct {
		comms, pmsi string
		want        *evpn.PMSITunnel
	}{
		"replicator, through FRR": {"8a02 08 0000000000", "c0 16 09 00 00 000064 0a630001", &evpn.PMSITunnel{Flags: 0x08, Type: 0x0a, Label: 100, Endpoint: vtep}},
		"leaf, through FRR":       {"8a02 10 0000000000", "c0 16 09 00 06 000064 0a630001", &evpn.PMSITunnel{Flags: 0x10, Type: 6, Label: 100, Endpoint: vtep}},
		"no tunnel":               {"", "c0 16 09 00 00 000064 0a630001", &evpn.PMSITunnel{Label: 100}},
		"no tunnel, but a flag":   {"", "c0 16 05 08 00 000064", &evpn.PMSITunnel{Flags: 0x08, Label: 100}},
		"a leaf without a tunnel": {"8a02 10 0000000000", "c0 16 05 00 00 000064", &evpn.PMSITunnel{Flags: 0x10, Label: 100}},
		"of RFC 9574 alone":       {"", "c0 16 09 08 0a 000064 0a6300fe", &evpn.PMSITunnel{Flags: 0x08, Type: 0x0a, Label: 100, Endpoint: netip.MustParseAddr("10.99.0.254")}},
		"both":                    {"8a02 08 0000000000", "c0 16 09 08 0a 000064 0a6300fe", &evpn.PMSITunnel{Flags: 0x08, Type: 0x0a, Label: 100, Endpoint: netip.MustParseAddr("10.99.0.254")}},
		"they differ":             {"8a02 08 0000000000", "c0 16 09 10 06 000064 0a630001", &evpn.PMSITunnel{Flags: 0x10, Type: 6, Label: 100, Endpoint: vtep}},
		"bits of the future":      {"8a02 ef ffffffffff", "c0 16 09 00 06 000064 0a630001", &evpn.PMSITunnel{Flags: 0x08, Type: 6, Label: 100, Endpoint: vtep}},
		"an IPv4 address mapped":  {"", "c0 16 15 00 06 000064 00000000000000000000ffff0a630001", &evpn.PMSITunnel{Type: 6, Label: 100, Endpoint: vtep}},
		"no PMSI attribute":       {"8a02 08 0000000000", "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			comms := octets(t, "0002fde800000064", c.comms)
			v := append([]byte{0xc0, 16, byte(len(comms))}, comms...)
			up := parse(t, session(), update(append(append(octets(t, origin, emptyAS, pref, c.pmsi), v...), reach(t, nlri3)...)))
			require.Empty(t, up.Drops)
			require.Len(t, up.Announced, 1)
			assert.Equal(t, c.want, up.Announced[0].Attrs.PMSI)
		})
	}
}
