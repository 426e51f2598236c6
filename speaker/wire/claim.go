package wire

import (
	"cmp"
	"encoding/binary"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// The claim of a relay is an extended community of ours, in the range for experimental use that is
// transitive (RFC 7153 §5.1), so that reflectors of any make pass it on:
//
//	0    1    2              6     7     8
//	8a   01   segment        state flags
//
// Bit 0 of flags is [evpn.RelayClaim.Deliver]. Bit 1 says again that the PMSI tunnel is "no tunnel": FRR 8.4 as a
// reflector takes a route in which nothing but that type has changed for the one that it has, and tells
// nobody. Bit 1 and the others are not looked at, and the others sent as 0.
const (
	claimDeliver  = 0x01
	claimNoTunnel = 0x02
)

// claim reads one. It never costs a route: whoever sends it hears the segment and copies its own
// frames, whatever else it says. So a state that we do not know is the one that says no more than that,
// since to copy for such a VTEP would double its frames. Segment 0 is no claim. One is meant; of several
// the highest counts, in whatever order a reflector sorted them.
func (p *attrParser) claim(c []byte) {
	got := evpn.RelayClaim{Segment: binary.BigEndian.Uint32(c[2:]), State: evpn.RelayState(c[6]), Deliver: c[7]&claimDeliver != 0}
	if got.Segment == 0 {
		return
	}
	if got.State > evpn.RelayActive {
		got.State, got.Deliver = evpn.RelaysItself, false
	}
	if compareClaims(got, p.a.Claim) > 0 {
		p.a.Claim = got
	}
}

func compareClaims(a, b evpn.RelayClaim) int {
	return cmp.Or(cmp.Compare(a.Segment, b.Segment), cmp.Compare(a.State, b.State), cmp.Compare(claimFlags(a), claimFlags(b)))
}

func claimFlags(c evpn.RelayClaim) byte {
	if c.Deliver {
		return claimDeliver
	}
	return 0
}

func appendClaim(b []byte, c evpn.RelayClaim, t *evpn.PMSITunnel) []byte {
	if c.Segment == 0 {
		return b
	}
	flags := claimFlags(c)
	if t != nil && t.Type == evpn.PMSINoTunnel {
		flags |= claimNoTunnel
	}
	b = binary.BigEndian.AppendUint32(append(b, ecRelayClaim>>8, ecRelayClaim&0xff), c.Segment)
	return append(b, byte(c.State), flags)
}
