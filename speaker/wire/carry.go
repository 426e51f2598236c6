package wire

import (
	"encoding/binary"
)

// GoBGP v3.37.0 does more with some attributes than a reflector should. It refuses extended communities
// that it does not know, keeps one flag of the PMSI tunnel (RFC 9574 has more), writes back other octets than it read
// of some prefix SIDs; and for every type-2 it looks at all others with the same MAC and
// route target, which makes 20,000 addresses of one router a standstill
// (internal/pkg/table/table_manager.go: handleMacMobility), in an index that never
// shrinks. None of it is of use here: the core elects.
//
// So those attributes travel through GoBGP inside one that it does not know and therefore passes on as it is
// (RFC 4271 §5), and are put back on the way out.

// carriedType says which are the attributes that travel unseen.
func carriedType(typ byte) bool {
	switch typ {
	case attrExtCommunities, attrPMSI, attrTunnelEncap, attrIPv6ExtComm, attrPrefixSID:
		return true
	default:
		return false
	}
}

// AppendRestored appends msg, a whole message of GoBGP, to dst, with the attributes that were
// hidden from GoBGP put back. Towards an external peer non-transitive extended
// communities stay behind (RFC 4360 §6). Messages without hidden attributes are appended as they are.
func AppendRestored(dst, msg []byte, external bool) []byte {
	if len(msg) < HeaderLen || msg[18] != TypeUpdate {
		return append(dst, msg...)
	}
	p, err := splitUpdate(msg[HeaderLen:])
	if err != nil {
		return append(dst, msg...)
	}
	carried, ok := findAttr(p.attrs, attrCarried)
	if !ok {
		return append(dst, msg...)
	}
	start := len(dst)
	dst = append(dst, msg[:HeaderLen+2+len(p.withdrawn)+2]...)
	attrs := len(dst)
	for rest := p.attrs; len(rest) > 0; {
		var a attr
		if a, rest, ok = nextAttr(rest); ok && a.typ != attrCarried && !carriedType(a.typ) {
			dst = append(dst, a.raw...)
		}
	}
	for rest := carried; len(rest) > 0; {
		var a attr
		if a, rest, ok = nextAttr(rest); !ok {
			break
		}
		if external && a.typ == attrExtCommunities {
			dst = appendTransitive(dst, a.value)
		} else {
			dst = append(dst, a.raw...)
		}
	}
	binary.BigEndian.PutUint16(dst[attrs-2:], uint16(len(dst)-attrs))
	dst = append(dst, p.nlri...)
	binary.BigEndian.PutUint16(dst[start+16:], uint16(len(dst)-start))
	return dst
}

// findAttr gives the value of the first attribute of a type; ok is false when there is none, or when
// b is no list of whole attributes.
func findAttr(b []byte, typ byte) (value []byte, ok bool) {
	for len(b) > 0 {
		a, rest, whole := nextAttr(b)
		if !whole {
			return nil, false
		}
		if a.typ == typ && !ok {
			value, ok = a.value, true
		}
		b = rest
	}
	return value, ok
}

// appendTransitive writes the communities of v whose type has the transitive bit (0x40) clear, which
// means transitive (RFC 4360 §2); nothing when there are none.
func appendTransitive(dst, v []byte) []byte {
	kept := make([]byte, 0, len(v))
	for ; len(v) >= 8; v = v[8:] {
		if v[0]&0x40 == 0 {
			kept = append(kept, v[:8]...)
		}
	}
	if len(kept) == 0 {
		return dst
	}
	return appendAttr(dst, optTransitive, attrExtCommunities, kept)
}
