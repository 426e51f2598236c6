package evpn

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// RD is a route distinguisher in its eight wire octets (RFC 4364 §4.2):
// type 0 is ASN(2):number(4), type 1 is IPv4:number(2), type 2 is ASN(4):number(2).
type RD [8]byte

// RDFromRouterID gives the type-1 RD routerID:n that RFC 7432 §7.9 recommends.
// It panics when routerID is not IPv4: a router ID is four octets by definition.
func RDFromRouterID(routerID netip.Addr, n uint16) RD {
	if !routerID.Is4() {
		panic(fmt.Sprintf("evpn: router ID %s is not IPv4", routerID))
	}
	rd := RD{1: 1}
	a := routerID.As4()
	copy(rd[2:], a[:])
	binary.BigEndian.PutUint16(rd[6:], n)
	return rd
}

// ParseRD reads "10.0.0.1:5", "65000:100" or "4200000000:7".
func ParseRD(s string) (RD, error) {
	var rd RD
	admin, number, ok := strings.Cut(s, ":")
	n, err := strconv.ParseUint(number, 10, 32)
	if !ok || err != nil {
		return RD{}, rdError(s)
	}
	if a, err := netip.ParseAddr(admin); err == nil && a.Is4() && n <= 0xffff {
		return RDFromRouterID(a, uint16(n)), nil
	}
	asn, err := strconv.ParseUint(admin, 10, 32)
	switch {
	case err != nil:
		return RD{}, rdError(s)
	case asn <= 0xffff:
		binary.BigEndian.PutUint16(rd[2:], uint16(asn))
		binary.BigEndian.PutUint32(rd[4:], uint32(n))
	case n <= 0xffff:
		rd[1] = 2
		binary.BigEndian.PutUint32(rd[2:], uint32(asn))
		binary.BigEndian.PutUint16(rd[6:], uint16(n))
	default:
		return RD{}, rdError(s)
	}
	return rd, nil
}

func rdError(s string) error {
	return fmt.Errorf("parse route distinguisher %q: want IPV4:N (N up to 65535), ASN:N, or a 4-octet ASN:N (N up to 65535)", s)
}

// Compare orders by wire octets.
func (rd RD) Compare(o RD) int { return bytes.Compare(rd[:], o[:]) }

func (rd RD) String() string {
	switch binary.BigEndian.Uint16(rd[:]) {
	case 0:
		return fmt.Sprintf("%d:%d", binary.BigEndian.Uint16(rd[2:]), binary.BigEndian.Uint32(rd[4:]))
	case 1:
		return fmt.Sprintf("%s:%d", netip.AddrFrom4([4]byte(rd[2:6])), binary.BigEndian.Uint16(rd[6:]))
	case 2:
		return fmt.Sprintf("%d:%d", binary.BigEndian.Uint32(rd[2:]), binary.BigEndian.Uint16(rd[6:]))
	default:
		return fmt.Sprintf("0x%x", rd[:])
	}
}

// MarshalText gives the text form.
func (rd RD) MarshalText() ([]byte, error) { return []byte(rd.String()), nil }

// UnmarshalText is [ParseRD].
func (rd *RD) UnmarshalText(b []byte) (err error) {
	*rd, err = ParseRD(string(b))
	return err
}
