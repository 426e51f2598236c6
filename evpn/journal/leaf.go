package journal

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"time"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// leaf is a type that stands in a recording as one string.
type leaf struct {
	write func(b []byte, p any) []byte // p points to the value
	parse func(s string, p any) error
}

// leaves have no character in their text that JSON escapes, but for the zone of an
// address.
var leaves = map[reflect.Type]leaf{
	reflect.TypeFor[netip.Addr](): leafOf(
		func(b []byte, a *netip.Addr) []byte {
			if a.Zone() != "" {
				q := quoted(nil, a.String())
				return append(b, q[1:len(q)-1]...)
			}
			return a.AppendTo(b)
		},
		parseAddr),
	reflect.TypeFor[evpn.MAC](): leafOf(
		func(b []byte, m *evpn.MAC) []byte {
			b, _ = m.AppendText(b) // never fails
			return b
		},
		evpn.ParseMAC),
	reflect.TypeFor[evpn.RD](): leafOf(
		func(b []byte, rd *evpn.RD) []byte { return appendOctets(b, *rd, plainRD(*rd)) },
		func(s string) (evpn.RD, error) { return parseOctets(s, evpn.ParseRD) }),
	reflect.TypeFor[evpn.RouteTarget](): leafOf(
		func(b []byte, rt *evpn.RouteTarget) []byte { return appendOctets(b, *rt, plainRT(*rt)) },
		func(s string) (evpn.RouteTarget, error) { return parseOctets(s, evpn.ParseRouteTarget) }),
	reflect.TypeFor[evpn.ImportTarget](): leafOf(
		func(b []byte, t *evpn.ImportTarget) []byte {
			if t.AnyAdmin {
				return append(b, t.String()...)
			}
			return appendOctets(b, t.Exact, plainRT(t.Exact))
		},
		func(s string) (t evpn.ImportTarget, err error) {
			if strings.HasPrefix(s, "*:") {
				return evpn.ParseImportTarget(s)
			}
			t.Exact, err = parseOctets(s, evpn.ParseRouteTarget)
			return t, err
		}),
	reflect.TypeFor[netip.Prefix](): leafOf(
		func(b []byte, p *netip.Prefix) []byte {
			if !p.IsValid() {
				return b
			}
			return p.AppendTo(b)
		},
		parsePrefix),
	reflect.TypeFor[evpn.SegmentPrefix](): leafOf(
		func(b []byte, s *evpn.SegmentPrefix) []byte { return append(b, s.String()...) },
		evpn.ParseSegmentPrefix),
	reflect.TypeFor[evpn.ESI](): leafOf(
		func(b []byte, e *evpn.ESI) []byte { return append(b, e.String()...) },
		parseESI),
	reflect.TypeFor[time.Time](): leafOf(
		func(b []byte, t *time.Time) []byte { return t.UTC().AppendFormat(b, time.RFC3339Nano) },
		parseTime),
	reflect.TypeFor[time.Duration](): leafOf(
		func(b []byte, d *time.Duration) []byte { return append(b, d.String()...) },
		time.ParseDuration),
}

func leafOf[T any](write func([]byte, *T) []byte, parse func(string) (T, error)) leaf {
	return leaf{
		write: func(b []byte, p any) []byte { return write(b, p.(*T)) },
		parse: func(s string, p any) error {
			v, err := parse(s)
			if err == nil {
				*p.(*T) = v
			}
			return err
		},
	}
}

func (l leaf) codec() codec {
	return codec{
		write: func(e *encoder, v reflect.Value) {
			e.buf = append(e.buf, '"')
			e.buf = l.write(e.buf, v.Addr().Interface())
			e.buf = append(e.buf, '"')
		},
		read: func(_ *decoder, raw []byte, v reflect.Value) error {
			s, err := text(raw)
			if err != nil {
				return err
			}
			return l.parse(s, v.Addr().Interface())
		},
	}
}

// The text of a route distinguisher or target leaves its type to be guessed from the
// numbers. What would be guessed wrong is written in octets: it came from a neighbour,
// and keys that differ must not become one.
func plainRD(rd evpn.RD) bool { return rd[0] == 0 && plainType(rd) }

func plainRT(rt evpn.RouteTarget) bool {
	return rt[1] == 2 && plainType([8]byte{1: rt[0], 2: rt[2], 3: rt[3]})
}

func plainType(b [8]byte) bool {
	switch b[1] {
	case 0, 1:
		return true
	case 2: // a 4-octet ASN that needs four octets
		return b[2] != 0 || b[3] != 0
	default:
		return false
	}
}

func appendOctets[T interface {
	~[8]byte
	String() string
}](b []byte, v T, plain bool) []byte {
	if plain {
		return append(b, v.String()...)
	}
	o := [8]byte(v)
	return hex.AppendEncode(append(b, "0x"...), o[:])
}

func parseOctets[T ~[8]byte](s string, parse func(string) (T, error)) (T, error) {
	digits, octets := strings.CutPrefix(s, "0x")
	if !octets {
		return parse(s)
	}
	var o [8]byte
	b, err := hex.DecodeString(digits)
	if err != nil || copy(o[:], b) != len(o) || len(b) != len(o) {
		return T{}, fmt.Errorf("parse %q: want 0x and 16 hexadecimal digits", s)
	}
	return T(o), nil
}

func parseAddr(s string) (netip.Addr, error) {
	if s == "" {
		return netip.Addr{}, nil // as an element of a list
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return a, fmt.Errorf("parse address %q: want an IPv4 or IPv6 address", s)
	}
	return a, nil
}

func parsePrefix(s string) (netip.Prefix, error) {
	if s == "" {
		return netip.Prefix{}, nil // as an element of a list
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, fmt.Errorf("parse prefix %q: want such as 10.0.0.0/24", s)
	}
	return p, nil
}

func parseESI(s string) (e evpn.ESI, err error) {
	b, err := hex.DecodeString(strings.ReplaceAll(s, ":", ""))
	if err != nil || len(b) != len(e) || evpn.ESI(b).String() != s {
		return e, fmt.Errorf("parse Ethernet segment %q: want ten hexadecimal octets such as 00:11:22:33:44:55:66:77:88:99", s)
	}
	return evpn.ESI(b), nil
}

var errNoTime = errors.New("want a time such as 2026-01-02T15:04:05.123456789Z")

func parseTime(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return t, fmt.Errorf("parse time %q: %w", s, errNoTime)
	}
	return t.UTC(), nil
}
