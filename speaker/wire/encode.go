package wire

import (
	"encoding/binary"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// PeerKind is what the encoding of our own routes depends on.
type PeerKind struct {
	IBGP        bool
	FourOctetAS bool
	LocalASN    uint32
	// RFC9574 writes the route of a replicator as that RFC has it, in place of the form that FRR
	// survives: see replication.go.
	RFC9574    bool
	MaxMessage int // 0 = MaxMessage; MaxExtendedMessage when both sides announced it
}

func (k PeerKind) max() int {
	if k.MaxMessage == 0 {
		return MaxMessage
	}
	return k.MaxMessage
}

// group is the routes that travel under the same attributes.
type group struct {
	nextHop []byte
	attrs   []byte // all but MP_REACH_NLRI
	routes  []int  // indices
}

// groupKey finds the group of a route without encoding its attributes again.
type groupKey struct {
	attrs *evpn.Attrs
	typ   evpn.RouteType
}

// AppendUpdates appends to dst the UPDATE messages, headers included, that announce routes of our
// own. Routes with equal attributes share messages; order within them is kept.
func AppendUpdates(dst [][]byte, routes []evpn.Route, k PeerKind) [][]byte {
	var (
		groups  []*group
		byKey   = map[groupKey]*group{}
		byBytes = map[string]*group{}
		lastKey groupKey
		last    *group
		scratch []byte
	)
	for i := range routes {
		r := &routes[i]
		if r.Attrs == nil {
			continue
		}
		key := groupKey{r.Attrs, r.Key.Type}
		if last == nil || key != lastKey {
			g, ok := byKey[key]
			if !ok {
				nh := r.Attrs.NextHop.AsSlice()
				scratch = append(append(scratch[:0], byte(len(nh))), nh...)
				scratch = k.appendAttrs(scratch, r.Attrs, r.Key.Type)
				if g, ok = byBytes[string(scratch)]; !ok {
					own := clone(scratch)
					g = &group{nextHop: own[1 : 1+len(nh)], attrs: own[1+len(nh):]}
					byBytes[string(scratch)] = g
					groups = append(groups, g)
				}
				byKey[key] = g
			}
			lastKey, last = key, g
		}
		last.routes = append(last.routes, i)
	}
	for _, g := range groups {
		fixed := HeaderLen + 4 + 4 + 5 + len(g.nextHop) + len(g.attrs)
		dst = appendPacked(dst, routes, g.routes, k.max()-fixed, func(nlri []byte) []byte {
			b := make([]byte, 0, fixed+len(nlri))
			b = append(appendHeader(b, TypeUpdate, 0), 0, 0, 0, 0)
			// MP_REACH_NLRI first: RFC 7606 §5.1.
			b = appendAttrHeader(b, optIntransitive, attrMPReach, 5+len(g.nextHop)+len(nlri))
			b = append(append(b, 0, AFIL2VPN, SAFIEVPN, byte(len(g.nextHop))), g.nextHop...)
			b = append(append(b, 0), nlri...)
			return finishUpdate(append(b, g.attrs...))
		})
	}
	return dst
}

// AppendWithdraws appends to dst the UPDATE messages that withdraw keys. ESI and label are 0, as FRR
// writes them: they are no part of the key (RFC 7432 §7.2).
func AppendWithdraws(dst [][]byte, keys []evpn.RouteKey, k PeerKind) [][]byte {
	routes := make([]evpn.Route, len(keys))
	order := make([]int, len(keys))
	for i := range keys {
		routes[i].Key, order[i] = keys[i], i
	}
	fixed := HeaderLen + 4 + 4 + 3
	return appendPacked(dst, routes, order, k.max()-fixed, func(nlri []byte) []byte {
		b := make([]byte, 0, fixed+len(nlri))
		b = append(appendHeader(b, TypeUpdate, 0), 0, 0, 0, 0)
		b = appendAttrHeader(b, optIntransitive, attrMPUnreach, 3+len(nlri))
		return finishUpdate(append(append(b, 0, AFIL2VPN, SAFIEVPN), nlri...))
	})
}

// appendPacked fills messages with the NLRI of the routes named by order, up to room octets each.
func appendPacked(dst [][]byte, routes []evpn.Route, order []int, room int, message func(nlri []byte) []byte) [][]byte {
	nlri := make([]byte, 0, room+64)
	for _, i := range order {
		before := len(nlri)
		nlri = appendNLRI(nlri, &routes[i])
		if len(nlri) > room && before > 0 {
			dst = append(dst, message(nlri[:before]))
			nlri = append(nlri[:0], nlri[before:]...)
		}
	}
	if len(nlri) > 0 {
		dst = append(dst, message(nlri))
	}
	return dst
}

// finishUpdate fills in the lengths of a message that withdraws no IPv4 routes.
func finishUpdate(b []byte) []byte {
	binary.BigEndian.PutUint16(b[16:], uint16(len(b)))
	binary.BigEndian.PutUint16(b[HeaderLen+2:], uint16(len(b)-HeaderLen-4))
	return b
}

// appendAttrs writes the attributes of our own routes of one type, in ascending order of type code.
func (k PeerKind) appendAttrs(b []byte, a *evpn.Attrs, typ evpn.RouteType) []byte {
	b = appendAttr(b, wellKnown, attrOrigin, []byte{a.Origin})
	path, as4 := k.asPaths()
	b = appendAttr(b, wellKnown, attrASPath, path)
	if a.MED != 0 {
		b = appendAttr(b, optIntransitive, attrMED, binary.BigEndian.AppendUint32(nil, a.MED))
	}
	if k.IBGP {
		pref := a.LocalPref
		if pref == 0 {
			pref = 100
		}
		b = appendAttr(b, wellKnown, attrLocalPref, binary.BigEndian.AppendUint32(nil, pref))
	}
	var comms []byte
	if a.LLGRStale {
		comms = binary.BigEndian.AppendUint32(comms, commLLGRStale)
	}
	if a.NoLLGR {
		comms = binary.BigEndian.AppendUint32(comms, commNoLLGR)
	}
	if comms != nil {
		b = appendAttr(b, optTransitive, attrCommunities, comms)
	}
	b = appendAttr(b, optTransitive, attrExtCommunities, appendCommunities(nil, a, typ))
	if as4 != nil {
		b = appendAttr(b, optTransitive, attrAS4Path, as4)
	}
	if typ == evpn.IMETRoute && a.PMSI != nil {
		b = k.appendPMSI(b, a.PMSI)
	}
	return b
}

// asPaths gives AS_PATH, and AS4_PATH where AS_PATH cannot tell our ASN (RFC 6793 §4.2.2).
func (k PeerKind) asPaths() (path, as4 []byte) {
	if k.IBGP {
		return nil, nil
	}
	four := binary.BigEndian.AppendUint32([]byte{segSequence, 1}, k.LocalASN)
	switch {
	case k.FourOctetAS:
		return four, nil
	case k.LocalASN <= 0xffff:
		return binary.BigEndian.AppendUint16([]byte{segSequence, 1}, uint16(k.LocalASN)), nil
	default:
		return binary.BigEndian.AppendUint16([]byte{segSequence, 1}, asTrans), four
	}
}

// appendCommunities writes the extended communities: encapsulation and route targets as FRR orders them,
// then, on a type-3, the claim of a relay and the part in assisted replication; on a type-2, our own decision on mobility, sequence 0 included
// (GoBGP peers would otherwise make one up), default gateway, and the router flag.
func appendCommunities(b []byte, a *evpn.Attrs, typ evpn.RouteType) []byte {
	for _, e := range a.Encaps {
		b = append(b, 0x03, 0x0c, 0, 0, 0, 0, byte(e>>8), byte(e))
	}
	for _, rt := range a.RouteTargets {
		b = append(b, rt[:]...)
	}
	switch typ {
	case evpn.IMETRoute:
		return appendReplication(appendClaim(b, a), a.PMSI)
	case evpn.MACIPRoute:
	default:
		return b
	}
	flags := byte(0)
	if a.Mobility.Sticky {
		flags = mobilitySticky
	}
	b = binary.BigEndian.AppendUint32(append(b, 0x06, 0x00, flags, 0), a.Mobility.Sequence)
	if a.DefaultGateway {
		b = append(b, 0x03, 0x0d, 0, 0, 0, 0, 0, 0)
	}
	if a.Router {
		b = append(b, 0x06, 0x08, arpNDRouter, 0, 0, 0, 0, 0)
	}
	return b
}
