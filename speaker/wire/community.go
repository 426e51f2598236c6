package wire

import (
	"encoding/binary"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// Communities of RFC 9494 §3.2 and §3.3.
const (
	commLLGRStale = 0xffff0006
	commNoLLGR    = 0xffff0007
)

// llgr reads the communities that matter to EVPN. v is a multiple of 4 octets.
func (p *attrParser) llgr(v []byte) {
	p.communities = v
	for c := v; len(c) >= 4; c = c[4:] {
		switch binary.BigEndian.Uint32(c) {
		case commLLGRStale:
			p.a.LLGRStale = true
		case commNoLLGR:
			p.a.NoLLGR = true
		}
	}
}

// Extended communities that we read or write: type and subtype octets.
const (
	ecEncapsulation  = 0x030c // RFC 9012 §4.1
	ecDefaultGateway = 0x030d // RFC 7432 §7.8
	ecMobility       = 0x0600 // RFC 7432 §7.7
	ecARPND          = 0x0608 // RFC 9047 §2
	ecRelayClaim     = 0x8a01 // ours: see claim.go
	ecReplication    = 0x8a02 // ours: see replication.go
	ecSegment        = 0x8a03 // ours: see claim.go

	mobilitySticky = 0x01
	arpNDRouter    = 0x01
)

// extCommunities reads the communities that matter to EVPN. v is a multiple of 8 octets.
func (p *attrParser) extCommunities(v []byte) {
	p.extComms = v
	n := 0
	for c := v; len(c) >= 8; c = c[8:] {
		if isRouteTarget(c) {
			n++
		}
	}
	if n > 0 {
		p.a.RouteTargets = make([]evpn.RouteTarget, 0, n)
	}
	mobility := false
	for c := v; len(c) >= 8; c = c[8:] {
		switch binary.BigEndian.Uint16(c) {
		case ecEncapsulation:
			p.a.Encaps = append(p.a.Encaps, binary.BigEndian.Uint16(c[6:]))
		case ecDefaultGateway:
			p.a.DefaultGateway = true
		case ecMobility:
			// One is meant; of several the highest counts, in whatever order they come.
			if seq := binary.BigEndian.Uint32(c[4:]); !mobility || seq > p.a.Mobility.Sequence {
				p.a.Mobility.Sequence = seq
			}
			p.a.Mobility.Sticky = p.a.Mobility.Sticky || c[2]&mobilitySticky != 0
			mobility = true
		case ecRelayClaim:
			p.claim(c)
		case ecSegment:
			p.segmentPrefix(c)
		case ecReplication:
			p.replication(c)
		case ecARPND:
			p.a.Router = p.a.Router || c[2]&arpNDRouter != 0
		default:
			if isRouteTarget(c) {
				p.a.RouteTargets = append(p.a.RouteTargets, evpn.RouteTarget(c[:8]))
			}
		}
		if !p.s.Transit || !p.s.Visible {
			continue
		}
		if gobgpParsesCommunity(c[0], c[1]) {
			p.comms = append(p.comms, c[:8]...)
		}
	}
}

func isRouteTarget(c []byte) bool { return c[0] <= 0x02 && c[1] == 0x02 }
