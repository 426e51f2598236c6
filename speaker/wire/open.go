package wire

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// Open is an OPEN message (RFC 4271 §4.2).
type Open struct {
	Version  uint8
	ASN      uint32 // of the 4-octet capability when there is one
	HoldTime time.Duration
	RouterID netip.Addr

	EVPN                 bool // the family is announced
	FourOctetAS          bool
	ExtendedMessage      bool
	RouteRefresh         bool
	EnhancedRouteRefresh bool
	GracefulRestart      *GracefulRestart // nil = not announced
	LongLived            *LongLived       // nil = not announced
	Capabilities         []Capability     // as they came, malformed ones too

	asn2 uint16
}

const (
	openFixed      = 10 // octets of the body before the optional parameters
	optCapability  = 2  // RFC 5492 §4
	optExtended    = 255
	bgpVersion     = 4
	minHoldTime    = 3 * time.Second
	maxSimpleParam = 253 // GoBGP v3.37.0 refuses longer ones
)

// ParseOpen reads the body of an OPEN and applies RFC 4271 §6.2 as far as it needs no
// configuration. The error is an *[Error].
//
// A capability whose value has an impossible length counts as not announced: it
// stays in Capabilities to be shown, and [Open.Message] leaves it out.
func ParseOpen(body []byte) (Open, error) {
	if len(body) < openFixed {
		n := HeaderLen + len(body)
		return Open{}, headerError(SubBadMessageLength, []byte{byte(n >> 8), byte(n)}, "OPEN of %d octets", n)
	}
	o := Open{
		Version:  body[0],
		asn2:     binary.BigEndian.Uint16(body[1:]),
		HoldTime: time.Duration(binary.BigEndian.Uint16(body[3:])) * time.Second,
		RouterID: netip.AddrFrom4([4]byte(body[5:9])),
	}
	o.ASN = uint32(o.asn2)
	if o.Version != bgpVersion {
		return Open{}, openError(SubUnsupportedVersion, []byte{0, bgpVersion}, "version %d", o.Version)
	}
	if err := eachParameter(body, o.parameter); err != nil {
		return Open{}, err
	}
	switch {
	case o.HoldTime != 0 && o.HoldTime < minHoldTime:
		return Open{}, openError(SubUnacceptableHoldTime, nil, "hold time %v", o.HoldTime)
	case o.RouterID.IsUnspecified(): // RFC 6286 §2.1
		return Open{}, openError(SubBadIdentifier, nil, "BGP identifier %v", o.RouterID)
	case o.ASN == 0: // RFC 7607 §2
		return Open{}, openError(SubBadPeerAS, nil, "AS 0")
	}
	return o, nil
}

// eachParameter walks the optional parameters, in the form of RFC 4271 or the extended one of
// RFC 9072 §2. f gets each value in place.
func eachParameter(body []byte, f func(typ byte, value []byte) *Error) error {
	rest, header, n := body[openFixed:], 2, int(body[9])
	if n != 0 && len(rest) >= 3 && rest[0] == optExtended {
		header, n, rest = 3, int(binary.BigEndian.Uint16(rest[1:])), rest[3:]
	}
	if len(rest) != n {
		return openError(0, nil, "%d octets of optional parameters, %d announced", len(rest), n)
	}
	for len(rest) > 0 {
		if len(rest) < header {
			return openError(0, nil, "optional parameter runs past the end")
		}
		typ, n := rest[0], int(rest[1])
		if header == 3 {
			n = int(binary.BigEndian.Uint16(rest[1:]))
		}
		if len(rest) < header+n {
			return openError(0, nil, "optional parameter %d runs past the end", typ)
		}
		if err := f(typ, rest[header:header+n]); err != nil {
			return err
		}
		rest = rest[header+n:]
	}
	return nil
}

func (o *Open) parameter(typ byte, v []byte) *Error {
	if typ != optCapability {
		return openError(SubUnsupportedOptParameter, nil, "optional parameter %d", typ)
	}
	return eachCapability(v, func(code byte, value []byte) {
		c := Capability{Code: code, Value: clone(value)}
		o.Capabilities = append(o.Capabilities, c)
		if c.wellFormed() {
			o.capability(c)
		}
	})
}

func eachCapability(v []byte, f func(code byte, value []byte)) *Error {
	for len(v) > 0 {
		if len(v) < 2 || len(v) < 2+int(v[1]) {
			return openError(0, nil, "capability runs past its parameter")
		}
		n := 2 + int(v[1])
		f(v[0], v[2:n])
		v = v[n:]
	}
	return nil
}

func (o *Open) capability(c Capability) {
	switch c.Code {
	case CapMultiProtocol:
		o.EVPN = o.EVPN || c.family() == EVPN
	case CapFourOctetAS:
		o.FourOctetAS, o.ASN = true, binary.BigEndian.Uint32(c.Value)
	case CapExtendedMessage:
		o.ExtendedMessage = true
	case CapRouteRefresh:
		o.RouteRefresh = true
	case CapEnhancedRouteRefresh:
		o.EnhancedRouteRefresh = true
	case CapGracefulRestart:
		// RFC 4724 §3: of several, the last one counts.
		g := c.gracefulRestart()
		o.GracefulRestart = &g
	case CapLongLivedGR:
		l := c.longLived()
		o.LongLived = &l
	}
}

// With gives o with c in place of its capabilities of the same code, or added.
func (o Open) With(c Capability) Open {
	kept := make([]Capability, 0, len(o.Capabilities)+1)
	for _, k := range o.Capabilities {
		if k.Code != c.Code {
			kept = append(kept, k)
		}
	}
	o.Capabilities = append(kept, c)
	o.capability(c)
	return o
}

// CapabilityNames lists what was announced, for people, in wire order without repetition.
func (o Open) CapabilityNames() []string {
	names := make([]string, 0, len(o.Capabilities))
	seen := map[string]bool{}
	for _, c := range o.Capabilities {
		if s := c.String(); !seen[s] {
			seen[s] = true
			names = append(names, s)
		}
	}
	return names
}

// Message writes the OPEN anew, header included, for GoBGP: well-formed capabilities only, each in a
// parameter of its own, in the form of RFC 4271. When they do not all fit, those that GoBGP
// acts on come first.
func (o Open) Message() []byte {
	b := appendHeader(nil, TypeOpen, 0)
	b = append(b, o.Version, byte(o.asn2>>8), byte(o.asn2))
	b = binary.BigEndian.AppendUint16(b, uint16(o.HoldTime/time.Second))
	id := o.RouterID.As4()
	b = append(append(b, id[:]...), 0)
	params := len(b)
	for _, needed := range [...]bool{true, false} {
		for _, c := range o.Capabilities {
			n := len(c.Value)
			if c.needed() != needed || !c.wellFormed() || 2+n > maxSimpleParam || len(b)-params+4+n > 255 {
				continue
			}
			b = append(b, optCapability, byte(2+n), c.Code, byte(n))
			b = append(b, c.Value...)
		}
	}
	b[params-1] = byte(len(b) - params)
	binary.BigEndian.PutUint16(b[16:], uint16(len(b)))
	return b
}

func (c Capability) needed() bool {
	switch c.Code {
	case CapMultiProtocol:
		return c.wellFormed() && c.family() == EVPN
	case CapFourOctetAS, CapRouteRefresh, CapGracefulRestart, CapLongLivedGR:
		return true
	default:
		return false
	}
}
