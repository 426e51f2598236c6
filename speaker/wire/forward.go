package wire

import (
	"encoding/binary"
	"fmt"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// forward assembles the UPDATE for GoBGP from the checked parts.
func (s *Session) forward(p *parts, set *attrSet, u *Update) {
	if len(s.reach) > 0 && len(s.unreach) > 0 {
		s.announceWins(u)
	}
	if len(s.reach) > 0 && len(set.forward) > maxForwardAttrs {
		u.drop(DropNotForwarded, countNLRI(s.reach), fmt.Sprintf("%d octets of attributes leave no room", len(set.forward)))
		s.reach = s.reach[:0]
		for i := range u.Announced { // what they replace must not stay
			s.forwardWithdraw(u.Announced[i].Key)
		}
	}
	if len(s.reach) == 0 && len(s.unreach) == 0 {
		return
	}
	if n := 4 + 7 + len(s.unreach) + 9 + 16 + len(s.reach) + len(set.forward); n <= MaxMessage-HeaderLen {
		u.Forward = forwardBody(s.unreach, s.reach, set)
		return
	}
	bodies := splitForward(nil, s.unreach, 7, func(n []byte) []byte { return forwardBody(n, nil, set) })
	bodies = splitForward(bodies, s.reach, 9+16+len(set.forward), func(n []byte) []byte { return forwardBody(nil, n, set) })
	if len(bodies) > 0 {
		u.Forward, u.ForwardMore = bodies[0], bodies[1:]
	}
}

// forwardBody writes one body.
func forwardBody(unreach, reach []byte, set *attrSet) []byte {
	b := make([]byte, 4, 4+7+len(unreach)+9+16+len(reach)+len(set.forward))
	if len(unreach) > 0 {
		b = appendAttrHeader(b, optIntransitive, attrMPUnreach, 3+len(unreach))
		b = append(append(b, 0, AFIL2VPN, SAFIEVPN), unreach...)
	}
	if len(reach) > 0 {
		nh := set.attrs.NextHop.AsSlice()
		b = appendAttrHeader(b, optIntransitive, attrMPReach, 5+len(nh)+len(reach))
		b = append(append(b, 0, AFIL2VPN, SAFIEVPN, byte(len(nh))), nh...)
		b = append(append(b, 0), reach...)
		b = append(b, set.forward...)
	}
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)-4))
	return b
}

// maxForwardAttrs leaves room for one NLRI of a type we forward (60 octets), and for what a reflector adds:
// ORIGINATOR_ID, CLUSTER_LIST, LOCAL_PREF, its AS.
const maxForwardAttrs = MaxMessage - HeaderLen - 4 - 9 - 16 - 60 - 64

// splitForward cuts NLRI into bodies that, with extra octets beside them, fit a message.
func splitForward(bodies [][]byte, nlri []byte, extra int, body func([]byte) []byte) [][]byte {
	room := MaxMessage - HeaderLen - 4 - extra
	for begin := nlri; len(begin) > 0; {
		n := 0
		for {
			_, v, rest, ok := nextNLRI(begin[n:])
			if !ok || (n > 0 && n+2+len(v) > room) {
				break
			}
			n = len(begin) - len(rest)
		}
		bodies = append(bodies, body(begin[:n]))
		begin = begin[n:]
	}
	return bodies
}

// announceWins takes from the withdrawals what the same UPDATE announces (RFC 4271 §4.3): GoBGP
// would apply them last. What is announced but not forwarded stays withdrawn.
func (s *Session) announceWins(u *Update) {
	announced := make(map[evpn.RouteKey]bool, len(u.Announced))
	for i := range u.Announced {
		if gobgpKeepsRoute(&u.Announced[i]) {
			announced[u.Announced[i].Key] = true
		}
	}
	s.unreach = withoutNLRI(s.unreach, func(k evpn.RouteKey) bool { return announced[k] })
}

// withoutNLRI gives the NLRI of b, whose framing is right, for whose key drop is false.
func withoutNLRI(b []byte, drop func(evpn.RouteKey) bool) (kept []byte) {
	for len(b) > 0 {
		typ, v, rest, ok := nextNLRI(b)
		if !ok {
			break
		}
		raw := b[:2+len(v)]
		b = rest
		var r evpn.Route
		if handled(typ) {
			if _, err := parseRoute(typ, v, &r, true); err == nil && drop(r.Key) {
				continue
			}
		}
		kept = append(kept, raw...)
	}
	return kept
}

func (s *Session) forwardWithdraw(k evpn.RouteKey) {
	if s.Transit && gobgpTellsApart(&k) {
		s.unreach = appendNLRI(s.unreach, &evpn.Route{Key: k})
	}
}

// appendForward writes the attributes in ascending order of type, without MP_REACH_NLRI. AS numbers have
// four octets: GoBGP takes either, and tries four first.
func (p *attrParser) appendForward(b []byte, path asPath) []byte {
	b = appendAttr(b, wellKnown, attrOrigin, []byte{p.a.Origin})
	b = appendAttr(b, wellKnown, attrASPath, path.octets)
	if p.med != nil {
		b = appendAttr(b, optIntransitive, attrMED, p.med)
	}
	if p.pref != nil {
		b = appendAttr(b, wellKnown, attrLocalPref, p.pref)
	}
	if p.atomic {
		b = appendAttr(b, wellKnown, attrAtomic, nil)
	}
	if p.aggregator != nil {
		b = appendAttr(b, optTransitive, attrAggregator, p.aggregator4())
	}
	for _, a := range [...]struct {
		typ, flags byte
		v          []byte
	}{
		{attrCommunities, optTransitive, p.communities},
		{attrOriginatorID, optIntransitive, p.origID},
		{attrClusterList, optIntransitive, p.clusters},
		{attrExtCommunities, optTransitive, p.comms},
		{attrPMSI, optTransitive, p.visible(p.pmsi)},
		{attrLargeComm, optTransitive, p.large},
	} {
		if len(a.v) > 0 {
			b = appendAttr(b, a.flags, a.typ, a.v)
		}
	}
	b = append(b, p.keptUnknown...)
	for _, a := range [...]struct {
		typ byte
		v   []byte
	}{{attrExtCommunities, p.extComms}, {attrPMSI, p.pmsi}} {
		if len(a.v) > 0 {
			p.carried = appendAttr(p.carried, optTransitive, a.typ, a.v)
		}
	}
	if len(p.carried) > 0 {
		b = appendAttr(b, optTransitive, attrCarried, p.carried)
	}
	return b
}

func (p *attrParser) visible(v []byte) []byte {
	if !p.s.Visible {
		return nil
	}
	return v
}

// aggregator4 is AGGREGATOR with a 4-octet number, from AS4_AGGREGATOR when
// the former only says AS_TRANS (RFC 6793 §4.2.3).
func (p *attrParser) aggregator4() []byte {
	if p.s.FourOctetAS {
		return p.aggregator
	}
	if binary.BigEndian.Uint16(p.aggregator) == asTrans && len(p.agg4) == 8 {
		return p.agg4
	}
	return append([]byte{0, 0}, p.aggregator...)
}

func appendAttr(b []byte, flags, typ byte, v []byte) []byte {
	return append(appendAttrHeader(b, flags, typ, len(v)), v...)
}

func appendAttrHeader(b []byte, flags, typ byte, n int) []byte {
	if n > 255 {
		return append(b, flags|flagExtended, typ, byte(n>>8), byte(n))
	}
	return append(b, flags, typ, byte(n))
}
