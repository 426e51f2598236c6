package wire

import (
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// The claim of a relay is an extended community of ours, in the range for experimental use that is
// transitive (RFC 7153 §5.1), so that reflectors of any make pass it on:
//
//	0    1    2              6     7     8
//	8a   01   group          state flags
//	8a   03   bits hash                        one for each prefix of the segment
//
// Bit 0 of flags is [evpn.RelayClaim.Deliver], bit 2 [evpn.RelayClaim.Outlives]. Bit 1 says again that the PMSI tunnel
// is "no tunnel": FRR 8.4 as a reflector takes a route in which nothing but that type has changed for the one that it
// has, and tells nobody. Bit 1 and the others are not looked at, and the others sent as 0.
const (
	claimDeliver  = 0x01
	claimNoTunnel = 0x02
	claimOutlives = 0x04
)

// claim reads one. It never costs a route: whoever sends it hears the segment and copies its own
// frames, whatever else it says. So a state that we do not know is the one that says no more than that,
// since to copy for such a VTEP would double its frames. Group 0 is no claim. One is meant; of several
// the highest counts, in whatever order a reflector sorted them.
func (p *attrParser) claim(c []byte) {
	got := evpn.RelayClaim{
		Group: binary.BigEndian.Uint32(c[2:]), State: evpn.RelayState(c[6]), Deliver: c[7]&claimDeliver != 0, Outlives: c[7]&claimOutlives != 0,
	}
	if got.Group == 0 {
		return
	}
	if got.State > evpn.RelayedFor {
		got.State, got.Deliver, got.Outlives = evpn.RelaysItself, false, false
	}
	if compareClaims(got, p.a.Claim) > 0 {
		p.a.Claim = got
	}
}

func compareClaims(a, b evpn.RelayClaim) int {
	return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.State, b.State), cmp.Compare(claimFlags(a), claimFlags(b)))
}

// segmentPrefix reads one; they are kept in order and once, as they are meant.
func (p *attrParser) segmentPrefix(c []byte) {
	s := evpn.SegmentPrefix(c[2:8])
	if i, found := slices.BinarySearchFunc(p.a.Segment, s, evpn.SegmentPrefix.Compare); !found {
		p.a.Segment = slices.Insert(p.a.Segment, i, s)
	}
}

func claimFlags(c evpn.RelayClaim) (flags byte) {
	if c.Deliver {
		flags |= claimDeliver
	}
	if c.Outlives {
		flags |= claimOutlives
	}
	return flags
}

func appendClaim(b []byte, a *evpn.Attrs) []byte {
	c, t := a.Claim, a.PMSI
	if c.Group == 0 {
		return b
	}
	flags := claimFlags(c)
	if t != nil && t.Type == evpn.PMSINoTunnel {
		flags |= claimNoTunnel
	}
	b = binary.BigEndian.AppendUint32(append(b, ecRelayClaim>>8, ecRelayClaim&0xff), c.Group)
	b = append(b, byte(c.State), flags)
	for _, s := range a.Segment {
		b = append(append(b, ecSegment>>8, ecSegment&0xff), s[:]...)
	}
	return b
}
