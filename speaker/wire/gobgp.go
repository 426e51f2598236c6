package wire

import (
	"encoding/binary"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// This file is what we know of GoBGP v3.37.0's decoder (pkg/packet/bgp). Tests hold each
// of it against the decoder itself.

// gobgpKeepsRoute says whether GoBGP v3.37.0 keeps a well-formed route as it is.
func gobgpKeepsRoute(r *evpn.Route) bool {
	nh := r.Attrs.NextHop
	switch {
	case !gobgpTellsApart(&r.Key), !gobgpParsesESI(r.ESI[:]):
		return false
	case nh.IsUnspecified(), nh.IsMulticast(), nh.IsLoopback(), nh.IsLinkLocalUnicast():
		// It puts its own address in place of an unspecified one (internal/pkg/table/path.go:
		// UpdatePathAttrs); the others are no VTEP either.
		return false
	default:
		return true
	}
}

// gobgpTellsApart says whether GoBGP has a key of its own for k. It knows routes by their text
// (internal/pkg/table/table.go: tableKey), in which an IPv4 address and the same mapped in
// IPv6 look alike; of a type-5 with the latter it also writes 4 octets where the length says 16.
func gobgpTellsApart(k *evpn.RouteKey) bool {
	return gobgpParsesRD(k.RD[:]) && !k.IP.Is4In6()
}

// gobgpParsesRD: of an RD of another type than RFC 4364 §4.2 names, GoBGP forgets the
// value, and routes would fall together.
func gobgpParsesRD(rd []byte) bool { return binary.BigEndian.Uint16(rd) <= 2 }

// gobgpParsesESI: the last octet of ESI types 1, 2, 4 and 5 is 0 (RFC 7432 §5), or
// GoBGP gives up on the UPDATE.
func gobgpParsesESI(esi []byte) bool {
	switch esi[0] {
	case 1, 2, 4, 5:
		return esi[9] == 0
	default:
		return true
	}
}

// gobgpParsesCommunity says whether GoBGP v3.37.0 takes an extended community of this type for what
// it is; for others it withdraws the whole UPDATE (pkg/packet/bgp: ParseExtended;
// a test walks all 65,536).
func gobgpParsesCommunity(typ, subtype byte) bool {
	switch typ {
	case 0x06: // EVPN: mobility, ESI label, ES-import, router's MAC, layer 2 attributes
		return subtype <= 0x04
	case 0x0c: // mobile user plane: direct segment
		return subtype == 0x00
	case 0x80, 0x81, 0x82: // flow specification: redirect to IPv6 wants 20 octets
		return subtype != 0x0b
	default:
		return true
	}
}
