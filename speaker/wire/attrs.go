package wire

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// Path attribute types (IANA, BGP Path Attributes).
const (
	attrOrigin         = 1
	attrASPath         = 2
	attrNextHop        = 3
	attrMED            = 4
	attrLocalPref      = 5
	attrAtomic         = 6
	attrAggregator     = 7
	attrCommunities    = 8
	attrOriginatorID   = 9
	attrClusterList    = 10
	attrMPReach        = 14
	attrMPUnreach      = 15
	attrExtCommunities = 16
	attrAS4Path        = 17
	attrAS4Aggregator  = 18
	attrPMSI           = 22
	attrTunnelEncap    = 23
	attrIPv6ExtComm    = 25
	attrAIGP           = 26
	attrLinkState      = 29
	attrLargeComm      = 32
	attrPrefixSID      = 40
	attrCarried        = 255 // reserved for development (RFC 2042): see carry.go
)

// Attribute flags (RFC 4271 §4.3).
const (
	flagOptional   = 0x80
	flagTransitive = 0x40
	flagPartial    = 0x20
	flagExtended   = 0x10

	wellKnown       = flagTransitive
	optTransitive   = flagOptional | flagTransitive
	optIntransitive = flagOptional
)

// knownFlags gives the Optional and Transitive bits that a known type must have.
func knownFlags(typ byte) (flags byte, known bool) {
	switch typ {
	case attrOrigin, attrASPath, attrNextHop, attrLocalPref, attrAtomic:
		return wellKnown, true
	case attrMED, attrOriginatorID, attrClusterList, attrMPReach, attrMPUnreach, attrAIGP, attrLinkState:
		return optIntransitive, true
	case attrAggregator, attrCommunities, attrExtCommunities, attrAS4Path, attrAS4Aggregator, attrPMSI,
		attrTunnelEncap, attrIPv6ExtComm, attrLargeComm, attrPrefixSID:
		return optTransitive, true
	default:
		return 0, false
	}
}

// attr is one path attribute as it came. It aliases the message.
type attr struct {
	flags, typ byte
	raw, value []byte
}

// nextAttr takes one attribute off b; ok is false when its header or value runs past b.
func nextAttr(b []byte) (a attr, rest []byte, ok bool) {
	if len(b) < 3 {
		return attr{}, nil, false
	}
	h, n := 3, int(b[2])
	if b[0]&flagExtended != 0 {
		if len(b) < 4 {
			return attr{typ: b[1]}, nil, false
		}
		h, n = 4, int(binary.BigEndian.Uint16(b[2:]))
	}
	if len(b) < h+n {
		return attr{typ: b[1]}, nil, false
	}
	return attr{flags: b[0], typ: b[1], raw: b[:h+n], value: b[h : h+n]}, b[h+n:], true
}

// attrSet is what the attributes of an UPDATE, without NLRI, amount to. It is
// kept and shared by UPDATEs whose attributes are the same octets.
type attrSet struct {
	attrs    *evpn.Attrs
	withdraw string // reason to treat the UPDATE as withdraw; a loop too
	detail   string
	isError  bool // withdraw is an attribute error, not a loop
	drops    []Drop
	forward  []byte // the attributes for GoBGP, without MP_REACH_NLRI
}

// attrParser reads the attributes of one UPDATE into an attrSet.
type attrParser struct {
	s   *Session
	set attrSet
	a   evpn.Attrs
	has [256 / 64]uint64

	asPath, as4Path   []byte // as they came
	aggregator, agg4  []byte
	extComms, comms   []byte // as they came; those that GoBGP parses
	keptUnknown       []byte // optional transitive attributes that GoBGP does not know, either
	carried           []byte // attributes that pass through GoBGP unseen
	med, pref, origID []byte
	clusters          []byte
	communities       []byte
	large             []byte
	pmsi              []byte
	arType            byte // of the community: see replication.go
	atomic            bool
}

// parseAttrs reads the attributes in key, as [Session.splitAttrs] laid them out: first
// the next hop's length (0xff when there is no MP_REACH_NLRI of EVPN) and octets, then the other
// attributes as they came. The error is a session reset.
func (s *Session) parseAttrs(key []byte) (*attrSet, error) {
	if s.internedTransit != s.Transit { // forward forms are there in transit mode only
		s.interned, s.internedTransit = nil, s.Transit
	}
	if set, ok := s.interned[string(key)]; ok {
		return set, nil
	}
	p := attrParser{s: s, a: evpn.Attrs{LocalPref: 100}}
	nh, rest := key[0], key[1:]
	reach := nh != noNextHop
	if reach {
		p.a.NextHop = nextHop(rest[:nh])
		rest = rest[nh:]
	}
	for len(rest) > 0 {
		var a attr
		a, rest, _ = nextAttr(rest) // splitAttrs let only whole ones in
		if err := p.attribute(a); err != nil {
			return nil, err
		}
	}
	p.finish(reach)
	set, attrs := p.set, p.a // copies: p refers to the message
	set.attrs = &attrs
	if s.interned == nil || len(s.interned) >= maxInterned {
		s.interned = make(map[string]*attrSet)
	}
	s.interned[string(key)] = &set
	return &set, nil
}

// nextHop gives the address of a next hop field of 4, 16 or 32 octets; of global and link-local
// address (RFC 2545 §3) the global one counts, as a VTEP is never link-local.
func nextHop(b []byte) netip.Addr {
	if len(b) == 4 {
		return netip.AddrFrom4([4]byte(b))
	}
	return netip.AddrFrom16([16]byte(b[:16])).Unmap()
}

func (p *attrParser) fault(reason, format string, a ...any) {
	if p.set.withdraw == "" {
		p.set.withdraw, p.set.isError, p.set.detail = reason, true, fmt.Sprintf(format, a...)
	}
}

func (p *attrParser) drop(reason, format string, a ...any) {
	for i := range p.set.drops {
		if p.set.drops[i].Reason == reason {
			p.set.drops[i].Count++
			return
		}
	}
	p.set.drops = append(p.set.drops, Drop{reason, 1, fmt.Sprintf(format, a...)})
}

// attribute takes one attribute. The error is a session reset.
func (p *attrParser) attribute(a attr) error {
	if p.has[a.typ>>6]&(1<<(a.typ&63)) != 0 {
		p.drop(DropAttributeDuplicate, "type %d", a.typ) // RFC 7606 §3 (g)
		return nil
	}
	p.has[a.typ>>6] |= 1 << (a.typ & 63)
	want, known := knownFlags(a.typ)
	if !known {
		return p.unknown(a)
	}
	if a.flags&(flagOptional|flagTransitive) != want {
		switch a.typ {
		case attrAtomic, attrAggregator, attrAS4Path, attrAS4Aggregator, attrAIGP, attrLinkState, attrTunnelEncap, attrPrefixSID:
			p.drop(DropAttributeDiscarded, "type %d with flags %#02x", a.typ, a.flags) // RFC 7606 §3 (f)
		default:
			p.fault(DropAttributeFlags, "type %d with flags %#02x", a.typ, a.flags) // RFC 7606 §3 (c)
		}
		return nil
	}
	p.value(a)
	return nil
}

// unknown is RFC 4271 §5: well-known attributes must be known, optional
// transitive ones are passed on, marked partial, others are quietly left out.
func (p *attrParser) unknown(a attr) error {
	switch {
	case a.flags&flagOptional == 0:
		return updateError(SubUnrecognizedWellKnown, clone(a.raw), "attribute type %d claims to be well-known", a.typ)
	case a.typ == attrCarried: // nobody's yet: ours on the way through GoBGP
		p.drop(DropAttributeDiscarded, "type %d", a.typ)
	case a.flags&flagTransitive != 0 && p.s.Transit:
		p.keptUnknown = appendAttr(p.keptUnknown, optTransitive|flagPartial, a.typ, a.value)
	}
	return nil
}

func (p *attrParser) value(a attr) {
	v := a.value
	switch a.typ {
	case attrOrigin: // RFC 7606 §7.1
		if p.length(a, 1) {
			if v[0] > 2 {
				p.fault(DropAttributeValue, "ORIGIN %d", v[0])
			}
			p.a.Origin = v[0]
		}
	case attrASPath:
		p.asPath = v
	case attrNextHop: // RFC 7606 §7.3; its value is ignored for MP routes (RFC 4760 §3)
		p.length(a, 4)
	case attrMED: // RFC 7606 §7.4
		if p.length(a, 4) {
			p.a.MED, p.med = binary.BigEndian.Uint32(v), v
		}
	case attrLocalPref: // RFC 7606 §7.5
		if p.internalOnly(a) && p.length(a, 4) {
			p.a.LocalPref, p.pref = binary.BigEndian.Uint32(v), v
		}
	case attrAtomic: // RFC 7606 §7.6
		if p.atomic = len(v) == 0; !p.atomic {
			p.drop(DropAttributeDiscarded, "ATOMIC_AGGREGATE of %d octets", len(v))
		}
	case attrAggregator: // RFC 7606 §7.7
		if want := p.asSize() + 4; len(v) == want {
			p.aggregator = v
		} else {
			p.drop(DropAttributeDiscarded, "AGGREGATOR of %d octets", len(v))
		}
	case attrCommunities: // RFC 7606 §7.8
		if p.multiple(a, 4) {
			p.llgr(v)
		}
	case attrOriginatorID: // RFC 7606 §7.9
		if p.internalOnly(a) && p.length(a, 4) {
			p.a.OriginatorID, p.origID = netip.AddrFrom4([4]byte(v)), v
		}
	case attrClusterList: // RFC 7606 §7.10
		if p.internalOnly(a) && p.multiple(a, 4) {
			p.clusters = v
		}
	case attrExtCommunities: // RFC 7606 §7.14
		if p.multiple(a, 8) {
			p.extCommunities(v)
		}
	case attrAS4Path:
		p.as4Path = v
	case attrAS4Aggregator:
		p.agg4 = v
	case attrPMSI:
		p.pmsiTunnel(v)
	case attrLargeComm: // RFC 8092 §6
		if p.multiple(a, 12) {
			p.large = v
		}
	case attrIPv6ExtComm: // RFC 7606 §7.15
		if p.multiple(a, 20) {
			p.foreign(a)
		}
	case attrTunnelEncap, attrPrefixSID:
		p.foreign(a)
	case attrAIGP, attrLinkState:
		// Optional and not transitive, of no use to EVPN: as unknown (RFC 4271 §5).
	}
}

// foreign passes on a transitive attribute that means nothing to us.
func (p *attrParser) foreign(a attr) {
	if p.s.Transit {
		p.carried = appendAttr(p.carried, optTransitive|a.flags&flagPartial, a.typ, a.value)
	}
}

func (p *attrParser) length(a attr, want int) bool {
	if len(a.value) != want {
		p.fault(DropAttributeLength, "type %d of %d octets, want %d", a.typ, len(a.value), want)
		return false
	}
	return true
}

func (p *attrParser) multiple(a attr, of int) bool {
	if len(a.value) == 0 || len(a.value)%of != 0 {
		p.fault(DropAttributeLength, "type %d of %d octets, want a multiple of %d", a.typ, len(a.value), of)
		return false
	}
	return true
}

// internalOnly discards what an external peer has no business to send.
func (p *attrParser) internalOnly(a attr) bool {
	if !p.s.IBGP {
		p.drop(DropAttributeDiscarded, "type %d from an external peer", a.typ)
	}
	return p.s.IBGP
}

func (p *attrParser) asSize() int {
	if p.s.FourOctetAS {
		return 4
	}
	return 2
}

func (p *attrParser) present(typ byte) bool { return p.has[typ>>6]&(1<<(typ&63)) != 0 }

func uint24(b []byte) uint32 { return uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2]) }

func clone(b []byte) []byte { return append([]byte(nil), b...) }

// finish checks what depends on several attributes and writes the forward form.
func (p *attrParser) finish(reach bool) {
	p.assist()
	if reach {
		for _, typ := range [...]byte{attrOrigin, attrASPath} { // RFC 7606 §3 (d)
			if !p.present(typ) {
				p.fault(DropAttributeMissing, "type %d", typ)
			}
		}
	}
	path, err := p.path()
	if err != nil {
		p.fault(DropAttributeValue, "AS_PATH: %v", err) // RFC 7606 §7.2
	}
	p.a.ASPathLen = path.length
	switch {
	case p.set.withdraw != "":
	case path.contains(p.s.LocalASN): // RFC 4271 §9.1.2
		p.set.withdraw, p.set.detail = DropASLoop, fmt.Sprint(p.s.LocalASN)
	case p.origID != nil && p.a.OriginatorID == p.s.LocalRouterID: // RFC 4456 §8
		p.set.withdraw, p.set.detail = DropOriginatorLoop, p.a.OriginatorID.String()
	case p.clusterLoop():
		p.set.withdraw, p.set.detail = DropClusterLoop, p.clusterID().String()
	}
	if p.s.Transit && p.set.withdraw == "" {
		p.set.forward = p.appendForward(nil, path)
	}
}

func (p *attrParser) clusterID() netip.Addr {
	if p.s.ClusterID.IsValid() {
		return p.s.ClusterID
	}
	return p.s.LocalRouterID
}

func (p *attrParser) clusterLoop() bool {
	for c := p.clusters; len(c) >= 4; c = c[4:] {
		if netip.AddrFrom4([4]byte(c[:4])) == p.clusterID() {
			return true
		}
	}
	return false
}
