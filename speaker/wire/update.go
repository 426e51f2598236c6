package wire

import (
	"encoding/binary"
	"fmt"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// noNextHop marks an attribute key without MP_REACH_NLRI of EVPN.
const noNextHop = 0xff

// parts are the pieces of one UPDATE. They alias the message.
type parts struct {
	withdrawn, attrs, nlri []byte // of IPv4 unicast: the RFC 4271 fields

	reach, unreach       []byte // EVPN NLRI
	hasReach, hasUnreach bool
	otherReach           bool // MP_REACH_NLRI of a family that was not negotiated, or IPv4 NLRI
	onlyUnreach          bool // no attribute but MP_UNREACH_NLRI
	overrun              bool // the attributes contradict their total length
	overrunType          byte
}

// ParseUpdate reads the body of an UPDATE, which is what follows the header. The error
// is an *[Error] and ends the session; anything less is told in [Update.Drops].
func ParseUpdate(body []byte, s *Session) (Update, error) {
	var u Update
	p, err := splitUpdate(body)
	if err != nil {
		return u, err
	}
	if len(p.attrs) == 0 && len(p.withdrawn) == 0 && len(p.nlri) == 0 {
		return u, nil // End-of-RIB of IPv4 unicast (RFC 4724 §2): not ours
	}
	if err := s.splitAttrs(&p, &u); err != nil {
		return Update{}, err
	}
	if p.hasUnreach && p.onlyUnreach && len(p.unreach) == 0 && !p.overrun && len(p.withdrawn) == 0 && len(p.nlri) == 0 {
		u.EndOfRIB = true
		if s.Transit {
			u.Forward = EndOfRIB()[HeaderLen:]
		}
		return u, nil
	}
	set, err := s.parseAttrs(s.key)
	if err != nil {
		return Update{}, err
	}
	if p.overrun && !set.isError { // RFC 7606 §4
		c := *set
		c.withdraw, c.isError, c.detail = DropAttributeLength, true, fmt.Sprintf("type %d runs past the attributes", p.overrunType)
		set = &c
	}
	if set.isError && countNLRI(p.reach) == 0 && !p.otherReach {
		// RFC 7606 §5.2: routes may hide where nobody found them.
		return Update{}, updateError(SubMalformedAttributeList, nil, "%s: %s, and no reachable route", set.withdraw, set.detail)
	}
	for _, d := range set.drops {
		u.drop(d.Reason, d.Count, d.Detail)
	}
	s.routes(&p, set, &u)
	if s.Transit {
		s.forward(&p, set, &u)
	}
	return u, nil
}

// splitUpdate cuts body at its two length fields. That they fit is what a session
// stands on (RFC 4271 §6.3, kept by RFC 7606 §3 b).
func splitUpdate(body []byte) (p parts, err error) {
	if len(body) < 4 {
		return p, updateError(SubMalformedAttributeList, nil, "body of %d octets", len(body))
	}
	w := int(binary.BigEndian.Uint16(body))
	if len(body) < 4+w {
		return p, updateError(SubMalformedAttributeList, nil, "withdrawn routes of %d octets in %d", w, len(body))
	}
	a := int(binary.BigEndian.Uint16(body[2+w:]))
	if len(body) < 4+w+a {
		return p, updateError(SubMalformedAttributeList, nil, "path attributes of %d octets in %d", a, len(body))
	}
	p.withdrawn, p.attrs, p.nlri = body[2:2+w], body[4+w:4+w+a], body[4+w+a:]
	return p, nil
}

// splitAttrs takes MP_REACH_NLRI and MP_UNREACH_NLRI out of the attributes, and leaves next hop
// and the others in s.key. The error is a session reset.
func (s *Session) splitAttrs(p *parts, u *Update) error {
	s.key = append(s.key[:0], noNextHop)
	if n := countPrefixes(p.withdrawn) + countPrefixes(p.nlri); n > 0 {
		u.drop(DropFamily, n, "IPv4 unicast")
		p.otherReach = len(p.nlri) > 0
	}
	p.onlyUnreach = true
	var seen [2]bool
	var reach attr
	for rest := p.attrs; len(rest) > 0; {
		a, r, ok := nextAttr(rest)
		if !ok {
			p.overrun, p.overrunType = true, a.typ
			break
		}
		rest = r
		if a.typ != attrMPReach && a.typ != attrMPUnreach {
			p.onlyUnreach = false
			s.key = append(s.key, a.raw...)
			continue
		}
		if seen[a.typ-attrMPReach] { // RFC 7606 §3 (g)
			return updateError(SubMalformedAttributeList, nil, "attribute type %d twice", a.typ)
		}
		seen[a.typ-attrMPReach] = true
		if a.flags&(flagOptional|flagTransitive) != optIntransitive { // RFC 7606 §5.3
			return updateError(SubAttributeFlags, clone(a.raw), "attribute type %d with flags %#02x", a.typ, a.flags)
		}
		if a.typ == attrMPReach {
			p.onlyUnreach, reach = false, a
		} else if err := s.unreachNLRI(a, p, u); err != nil {
			return err
		}
	}
	if seen[0] {
		return s.reachNLRI(reach, p, u)
	}
	return nil
}

func (s *Session) family(v []byte) (string, bool) {
	f := Family{binary.BigEndian.Uint16(v), v[2]}
	return fmt.Sprintf("AFI %d SAFI %d", f.AFI, f.SAFI), f == EVPN && s.EVPN
}

func (s *Session) unreachNLRI(a attr, p *parts, u *Update) error {
	if len(a.value) < 3 { // RFC 7606 §5.3
		return updateError(SubOptionalAttribute, clone(a.raw), "MP_UNREACH_NLRI of %d octets", len(a.value))
	}
	if f, ok := s.family(a.value); !ok {
		p.onlyUnreach = false
		if len(a.value) > 3 { // End-of-RIB of another family is nobody's loss
			u.drop(DropFamily, 1, f)
		}
		return nil
	}
	p.hasUnreach, p.unreach = true, a.value[3:]
	return nil
}

func (s *Session) reachNLRI(a attr, p *parts, u *Update) error {
	v := a.value
	if len(v) < 5 { // RFC 7606 §5.3
		return updateError(SubOptionalAttribute, clone(a.raw), "MP_REACH_NLRI of %d octets", len(v))
	}
	if f, ok := s.family(v); !ok {
		p.otherReach = true
		u.drop(DropFamily, 1, f)
		return nil
	}
	// RFC 7606 §7.11: the NLRI cannot be located behind a next hop of wrong length.
	nh := int(v[3])
	if (nh != 4 && nh != 16 && nh != 32) || len(v) < 5+nh {
		return updateError(SubOptionalAttribute, clone(a.raw), "next hop of %d octets in MP_REACH_NLRI of %d", nh, len(v))
	}
	others := len(s.key) - 1
	s.key = append(s.key, v[4:4+nh]...) // room; then move the others behind the next hop
	copy(s.key[1+nh:], s.key[1:1+others])
	s.key[0] = byte(nh)
	copy(s.key[1:], v[4:4+nh])
	p.hasReach, p.reach = true, v[5+nh:]
	return nil
}

// countPrefixes counts IPv4 prefixes, as far as they can be told.
func countPrefixes(b []byte) (n int) {
	for len(b) > 0 {
		n++
		l := 1 + (int(b[0])+7)/8
		if l > len(b) {
			break
		}
		b = b[l:]
	}
	return n
}

// routes reads the EVPN NLRI into u, and collects in s.reach and s.unreach those
// that GoBGP may see.
func (s *Session) routes(p *parts, set *attrSet, u *Update) {
	s.reach, s.unreach = s.reach[:0], s.unreach[:0]
	if p.hasUnreach {
		s.withdraw(p.unreach, u)
	}
	if !p.hasReach {
		return
	}
	if set.withdraw != "" {
		before := len(u.Withdrawn) + u.Others
		s.withdraw(p.reach, u)
		u.drop(set.withdraw, max(1, len(u.Withdrawn)+u.Others-before), set.detail)
		return
	}
	s.announce(p.reach, set, u)
}

func (s *Session) announce(b []byte, set *attrSet, u *Update) {
	u.Announced = make([]evpn.Route, 0, countNLRI(b))
	for len(b) > 0 {
		typ, v, rest, ok := nextNLRI(b)
		if !ok {
			u.drop(DropNLRIFraming, 1, fmt.Sprintf("%d octets are left over", len(b)))
			return
		}
		raw := b[:2+len(v)]
		b = rest
		if !handled(typ) {
			s.other(typ, v, raw, &s.reach, u)
			continue
		}
		u.Announced = append(u.Announced, evpn.Route{})
		r := &u.Announced[len(u.Announced)-1]
		keyed, err := parseRoute(typ, v, r, false)
		if err != nil {
			u.drop(DropNLRI, 1, err.Error())
			if keyed { // what it replaces must not stay
				u.Withdrawn = append(u.Withdrawn, r.Key)
				s.forwardWithdraw(r.Key)
			}
			u.Announced = u.Announced[:len(u.Announced)-1]
			continue
		}
		r.Attrs = set.attrs
		if !s.Transit {
			continue
		}
		if gobgpKeepsRoute(r) {
			s.reach = append(s.reach, raw...)
		} else {
			u.drop(DropNotForwarded, 1, r.Key.String())
			s.forwardWithdraw(r.Key) // what it replaces must not stay
		}
	}
}

func (s *Session) withdraw(b []byte, u *Update) {
	if n := countNLRI(b); n > 0 && u.Withdrawn == nil {
		u.Withdrawn = make([]evpn.RouteKey, 0, n)
	}
	var r evpn.Route
	for len(b) > 0 {
		typ, v, rest, ok := nextNLRI(b)
		if !ok {
			u.drop(DropNLRIFraming, 1, fmt.Sprintf("%d octets are left over", len(b)))
			return
		}
		raw := b[:2+len(v)]
		b = rest
		if !handled(typ) {
			s.other(typ, v, raw, &s.unreach, u)
			continue
		}
		keyed, err := parseRoute(typ, v, &r, true)
		if err != nil {
			u.drop(DropNLRI, 1, err.Error())
			if !keyed {
				continue
			}
		}
		u.Withdrawn = append(u.Withdrawn, r.Key)
		s.forwardWithdraw(r.Key)
	}
}

func handled(typ byte) bool {
	switch evpn.RouteType(typ) {
	case evpn.MACIPRoute, evpn.IMETRoute, evpn.IPPrefixRoute:
		return true
	default:
		return false
	}
}

// other tolerates the route types that the core does not know (RFC 7606 §5.4).
func (s *Session) other(typ byte, v, raw []byte, forward *[]byte, u *Update) {
	if typ != typeAD && typ != typeES {
		u.Others++
		u.drop(DropRouteType, 1, fmt.Sprintf("type %d", typ))
		return
	}
	key, err := checkOther(typ, v)
	if err != nil {
		u.drop(DropNLRI, 1, err.Error())
		return
	}
	u.Others++
	if !s.Transit {
		return
	}
	if gobgpTellsApart(&key) && gobgpParsesESI(v[lenRD:]) {
		*forward = append(*forward, raw...)
	} else {
		u.drop(DropNotForwarded, 1, fmt.Sprintf("type %d", typ))
	}
}
