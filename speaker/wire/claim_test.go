package wire_test

import (
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
	}{
		"leaf":               {"10.99.0.1", evpn.PMSITunnel{Flags: evpn.PMSIFlagsLeafAR, Type: evpn.PMSIIngressReplication}, evpn.RelayClaim{}, frrType3, "c0 10 10" + withVNI, "c0 16 09 10 06 000064 0a630001"},
		"replicator":         {"10.99.0.254", evpn.PMSITunnel{Flags: evpn.PMSIFlagsReplicatorAR, Type: evpn.PMSIAssistedReplication}, evpn.RelayClaim{}, service, "c0 10 10" + withVNI, "c0 16 09 08 0a 000064 0a6300fe"},
		"proxy":              {"10.99.0.7", evpn.PMSITunnel{Type: evpn.PMSIIngressReplication}, evpn.RelayClaim{}, proxied, "c0 10 10" + withVNI, "c0 16 09 00 06 000064 0a630007"},
		"proxy, IPv6":        {"2001:db8::7", evpn.PMSITunnel{Type: evpn.PMSIIngressReplication}, evpn.RelayClaim{}, six, "c0 10 10" + withVNI, "c0 16 15 00 06 000064 20010db8000000000000000000000007"},
		"replicator, IPv6":   {"2001:db8::7", evpn.PMSITunnel{Flags: evpn.PMSIFlagsReplicatorAR, Type: evpn.PMSIAssistedReplication}, evpn.RelayClaim{}, six, "c0 10 10" + withVNI, "c0 16 15 08 0a 000064 20010db8000000000000000000000007"},
		"copies for itself":  {"10.99.0.1", evpn.PMSITunnel{Type: evpn.PMSIIngressReplication}, evpn.RelayClaim{Segment: 0x1234abcd}, frrType3, "c0 10 18" + withVNI + "8a01 1234abcd 00 00", frrPMSI},
		"relay, ready":       {"10.99.0.1", evpn.PMSITunnel{Type: evpn.PMSIIngressReplication}, evpn.RelayClaim{Segment: 1, State: evpn.RelayReady}, frrType3, "c0 10 18" + withVNI + "8a01 00000001 01 00", frrPMSI},
		"relay that answers": {"10.99.0.1", evpn.PMSITunnel{}, evpn.RelayClaim{Segment: 1, State: evpn.RelayActive, Deliver: true}, frrType3, "c0 10 18" + withVNI + "8a01 00000001 02 01", "c0 16 05 00 00 000064"},
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

			got := one(t, wire.AppendUpdates(nil, []evpn.Route{r}, ibgp()))
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
		"segment 0":                {"8a01 00000000 02 01", evpn.RelayClaim{}},
		"a state of the future":    {"8a01 00000007 03 01", evpn.RelayClaim{Segment: 7}},
		"state 255":                {"8a01 00000007 ff ff", evpn.RelayClaim{Segment: 7}},
		"flags of the future":      {"8a01 00000007 01 fe", evpn.RelayClaim{Segment: 7, State: evpn.RelayReady}},
		"… and Deliver":            {"8a01 00000007 01 ff", evpn.RelayClaim{Segment: 7, State: evpn.RelayReady, Deliver: true}},
		"twice the same":           {"8a01 00000007 01 00 8a01 00000007 01 00", evpn.RelayClaim{Segment: 7, State: evpn.RelayReady}},
		"two states":               {"8a01 00000007 02 00 8a01 00000007 01 01", evpn.RelayClaim{Segment: 7, State: evpn.RelayActive}},
		"… the other way round":    {"8a01 00000007 01 01 8a01 00000007 02 00", evpn.RelayClaim{Segment: 7, State: evpn.RelayActive}},
		"two segments":             {"8a01 00000007 02 00 8a01 00000009 00 00", evpn.RelayClaim{Segment: 9}},
		"… the other way round ":   {"8a01 00000009 00 00 8a01 00000007 02 00", evpn.RelayClaim{Segment: 9}},
		"with and without Deliver": {"8a01 00000007 02 01 8a01 00000007 02 00", evpn.RelayClaim{Segment: 7, State: evpn.RelayActive, Deliver: true}},
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
