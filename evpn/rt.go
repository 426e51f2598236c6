package evpn

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// RouteTarget is a route-target extended community in its eight wire octets
// (RFC 4360 §4, RFC 5668): type 0x00 is ASN(2):number(4), 0x01 is IPv4:number(2),
// 0x02 is ASN(4):number(2); the subtype is always 0x02.
type RouteTarget [8]byte

const routeTargetSubtype = 0x02

// AutoRouteTarget gives ASN:VNI. A 4-octet ASN leaves two octets for the number,
// so VNIs above 65535 have no such target and ok is false.
func AutoRouteTarget(asn uint32, vni VNI) (rt RouteTarget, ok bool) {
	if asn > 0xffff && vni > 0xffff {
		return RouteTarget{}, false
	}
	return routeTargetASN(asn, uint32(vni)), true
}

// RFC8365RouteTarget gives the auto-derived target of RFC 8365 §5.1.2.1:
// ASN(2) : A=0, type=1 (VXLAN), domain=0, service id = VNI. It exists for
// 2-octet ASNs only.
func RFC8365RouteTarget(asn uint32, vni VNI) (rt RouteTarget, ok bool) {
	if asn > 0xffff {
		return RouteTarget{}, false
	}
	return routeTargetASN(asn, 0x10000000|uint32(vni)), true
}

func routeTargetASN(asn, n uint32) RouteTarget {
	rt := RouteTarget{1: routeTargetSubtype}
	if asn <= 0xffff {
		binary.BigEndian.PutUint16(rt[2:], uint16(asn))
		binary.BigEndian.PutUint32(rt[4:], n)
		return rt
	}
	rt[0] = 0x02
	binary.BigEndian.PutUint32(rt[2:], asn)
	binary.BigEndian.PutUint16(rt[6:], uint16(n))
	return rt
}

// ParseRouteTarget reads "65000:100", "10.0.0.1:100" or "4200000000:100".
func ParseRouteTarget(s string) (RouteTarget, error) {
	admin, number, ok := strings.Cut(s, ":")
	n, err := strconv.ParseUint(number, 10, 32)
	if !ok || err != nil {
		return RouteTarget{}, routeTargetError(s)
	}
	if a, err := netip.ParseAddr(admin); err == nil && a.Is4() && n <= 0xffff {
		rt := RouteTarget{0: 0x01, 1: routeTargetSubtype}
		o := a.As4()
		copy(rt[2:], o[:])
		binary.BigEndian.PutUint16(rt[6:], uint16(n))
		return rt, nil
	}
	asn, err := strconv.ParseUint(admin, 10, 32)
	if err != nil || (asn > 0xffff && n > 0xffff) {
		return RouteTarget{}, routeTargetError(s)
	}
	return routeTargetASN(uint32(asn), uint32(n)), nil
}

func routeTargetError(s string) error {
	return fmt.Errorf("parse route target %q: want ASN:N, IPV4:N (N up to 65535), or a 4-octet ASN:N (N up to 65535)", s)
}

// Number is the local administrator field: the part after the colon.
func (rt RouteTarget) Number() uint32 {
	if rt[0]&0x3f == 0 {
		return binary.BigEndian.Uint32(rt[4:])
	}
	return uint32(binary.BigEndian.Uint16(rt[6:]))
}

// Compare orders by wire octets.
func (rt RouteTarget) Compare(o RouteTarget) int { return bytes.Compare(rt[:], o[:]) }

func (rt RouteTarget) String() string {
	switch rt[0] & 0x3f {
	case 0x01:
		return fmt.Sprintf("%s:%d", netip.AddrFrom4([4]byte(rt[2:6])), rt.Number())
	case 0x02:
		return fmt.Sprintf("%d:%d", binary.BigEndian.Uint32(rt[2:]), rt.Number())
	default:
		return fmt.Sprintf("%d:%d", binary.BigEndian.Uint16(rt[2:]), rt.Number())
	}
}

// MarshalText gives the text form.
func (rt RouteTarget) MarshalText() ([]byte, error) { return []byte(rt.String()), nil }

// UnmarshalText is [ParseRouteTarget].
func (rt *RouteTarget) UnmarshalText(b []byte) (err error) {
	*rt, err = ParseRouteTarget(string(b))
	return err
}

// ImportTarget says which route targets a VNI imports: one exact target, or,
// when AnyAdmin is set, every target whose number is Number whoever administers
// it ("*:100"). It is comparable.
type ImportTarget struct {
	Exact    RouteTarget
	AnyAdmin bool
	Number   uint32
}

// ParseImportTarget reads a route target or "*:N".
func ParseImportTarget(s string) (ImportTarget, error) {
	number, wild := strings.CutPrefix(s, "*:")
	if !wild {
		rt, err := ParseRouteTarget(s)
		return ImportTarget{Exact: rt}, err
	}
	n, err := strconv.ParseUint(number, 10, 32)
	if err != nil {
		return ImportTarget{}, fmt.Errorf("parse import target %q: want *:N with N up to 4294967295", s)
	}
	return ImportTarget{AnyAdmin: true, Number: uint32(n)}, nil
}

// Matches reports whether a route that carries rt is imported.
func (t ImportTarget) Matches(rt RouteTarget) bool {
	if t.AnyAdmin {
		return rt.Number() == t.Number
	}
	return rt == t.Exact
}

func (t ImportTarget) String() string {
	if t.AnyAdmin {
		return fmt.Sprintf("*:%d", t.Number)
	}
	return t.Exact.String()
}

// MarshalText gives the text form.
func (t ImportTarget) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText is [ParseImportTarget].
func (t *ImportTarget) UnmarshalText(b []byte) (err error) {
	*t, err = ParseImportTarget(string(b))
	return err
}

// ImportSet is the union of the import targets of all VNIs, made for asking often
// whether a route is of interest at all. The zero value imports nothing.
type ImportSet struct {
	exact   map[RouteTarget]struct{}
	numbers map[uint32]struct{}
}

// Imports collects the import targets of all VNIs of c.
func (c Config) Imports() ImportSet {
	s := ImportSet{exact: map[RouteTarget]struct{}{}, numbers: map[uint32]struct{}{}}
	for _, v := range c.VNIs {
		for _, t := range v.Import {
			if t.AnyAdmin {
				s.numbers[t.Number] = struct{}{}
			} else {
				s.exact[t.Exact] = struct{}{}
			}
		}
	}
	return s
}

// MatchesAny reports whether one of rts is imported.
func (s ImportSet) MatchesAny(rts []RouteTarget) bool {
	for _, rt := range rts {
		if _, ok := s.exact[rt]; ok {
			return true
		}
		if _, ok := s.numbers[rt.Number()]; ok {
			return true
		}
	}
	return false
}

// Contains reports whether s imports all that o imports; when it does not, going
// from s to o needs a route refresh.
func (s ImportSet) Contains(o ImportSet) bool {
	for rt := range o.exact {
		if _, ok := s.exact[rt]; !ok {
			return false
		}
	}
	for n := range o.numbers {
		if _, ok := s.numbers[n]; !ok {
			return false
		}
	}
	return true
}
