package wire

import (
	"encoding/binary"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// forward assembles the UPDATE for GoBGP from the checked parts.
func (s *Session) forward(p *parts, set *attrSet, u *Update) {
	if len(s.reach) > 0 && len(s.unreach) > 0 {
		s.announceWins(u)
	}
	if len(s.reach) == 0 && len(s.unreach) == 0 {
		return
	}
	b := make([]byte, 4, 4+len(set.forward)+len(s.reach)+len(s.unreach)+64)
	if len(s.unreach) > 0 {
		b = appendAttrHeader(b, optIntransitive, attrMPUnreach, 3+len(s.unreach))
		b = append(append(b, 0, AFIL2VPN, SAFIEVPN), s.unreach...)
	}
	if len(s.reach) > 0 {
		nh := set.attrs.NextHop.AsSlice()
		b = appendAttrHeader(b, optIntransitive, attrMPReach, 5+len(nh)+len(s.reach))
		b = append(append(b, 0, AFIL2VPN, SAFIEVPN, byte(len(nh))), nh...)
		b = append(append(b, 0), s.reach...)
		b = append(b, set.forward...)
	}
	if len(b) > MaxExtendedMessage-HeaderLen {
		u.drop(DropNotForwarded, countNLRI(s.reach)+countNLRI(s.unreach), "UPDATE grew past 65535 octets")
		return
	}
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)-4))
	u.Forward = b
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
	s.unreach, _, _ = filterNLRI(s.unreach, func(k evpn.RouteKey) bool { return announced[k] })
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
		{attrPMSI, optTransitive, p.pmsi},
		{attrLargeComm, optTransitive, p.large},
	} {
		if len(a.v) > 0 {
			b = appendAttr(b, a.flags, a.typ, a.v)
		}
	}
	return append(b, p.keptUnknown...)
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
