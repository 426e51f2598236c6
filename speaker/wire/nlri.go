package wire

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// nextNLRI takes one EVPN NLRI off b by its type and length octets (RFC 7432 §7).
func nextNLRI(b []byte) (typ byte, value, rest []byte, ok bool) {
	if len(b) < 2 || len(b) < 2+int(b[1]) {
		return 0, nil, nil, false
	}
	n := 2 + int(b[1])
	return b[0], b[2:n], b[n:], true
}

// countNLRI counts the NLRI that the framing of b shows.
func countNLRI(b []byte) (n int) {
	for {
		_, _, rest, ok := nextNLRI(b)
		if !ok {
			return n
		}
		b = rest
		n++
	}
}

// Lengths of the fixed parts.
const (
	lenRD      = 8
	lenAD      = 25 // type 1, RFC 7432 §7.1
	lenMACIP   = 30 // type 2 without IP and labels, RFC 7432 §7.2
	lenIMET    = 13 // type 3 without IP, RFC 7432 §7.3
	lenES      = 19 // type 4 without IP, RFC 7432 §7.4
	lenPrefix4 = 34 // type 5, RFC 9136 §3.1
	lenPrefix6 = 58
	lenLabel   = 3
	macBits    = 48
	typeAD     = 1
	typeES     = 4
)

// parseRoute reads one NLRI of type 2, 3 or 5 into r (key, ESI, labels). With keyOnly, which is for
// withdrawals, a type-2 may lack its labels: they are no part of the key.
// When keyed is true despite an error, r.Key was located beyond doubt.
func parseRoute(typ byte, v []byte, r *evpn.Route, keyOnly bool) (keyed bool, err error) {
	switch evpn.RouteType(typ) {
	case evpn.MACIPRoute:
		return parseMACIP(v, r, keyOnly)
	case evpn.IMETRoute:
		return false, parseIMET(v, r)
	default:
		return false, parsePrefix(v, r)
	}
}

func parseMACIP(v []byte, r *evpn.Route, keyOnly bool) (keyed bool, err error) {
	if len(v) < lenMACIP {
		return false, fmt.Errorf("type 2 of %d octets", len(v))
	}
	if v[22] != macBits {
		return false, fmt.Errorf("type 2 with MAC length %d", v[22])
	}
	ip, n, ok := address(v[29], v[30:])
	if !ok && v[29] != 0 {
		return false, fmt.Errorf("type 2 of %d octets with IP length %d", len(v), v[29])
	}
	r.Key = evpn.RouteKey{Type: evpn.MACIPRoute, RD: evpn.RD(v[:8]), Tag: binary.BigEndian.Uint32(v[18:]), MAC: evpn.MAC(v[23:29]), IP: ip}
	r.ESI = evpn.ESI(v[8:18])
	r.Label, r.Label2 = 0, 0
	labels := v[lenMACIP+n:]
	switch {
	case len(labels) == lenLabel:
		r.Label = uint24(labels)
	case len(labels) == 2*lenLabel:
		r.Label, r.Label2 = uint24(labels), uint24(labels[lenLabel:])
	case len(labels) == 0 && keyOnly:
	default:
		return true, fmt.Errorf("type 2 with %d octets of labels", len(labels))
	}
	return true, nil
}

func parseIMET(v []byte, r *evpn.Route) error {
	if len(v) < lenIMET {
		return fmt.Errorf("type 3 of %d octets", len(v))
	}
	ip, n, ok := address(v[12], v[lenIMET:])
	if !ok || len(v) != lenIMET+n {
		return fmt.Errorf("type 3 of %d octets with IP length %d", len(v), v[12])
	}
	*r = evpn.Route{Key: evpn.RouteKey{Type: evpn.IMETRoute, RD: evpn.RD(v[:8]), Tag: binary.BigEndian.Uint32(v[8:]), IP: ip}}
	return nil
}

func parsePrefix(v []byte, r *evpn.Route) error {
	if len(v) != lenPrefix4 && len(v) != lenPrefix6 {
		return fmt.Errorf("type 5 of %d octets", len(v))
	}
	var ip netip.Addr
	if len(v) == lenPrefix4 {
		ip = netip.AddrFrom4([4]byte(v[23:27]))
	} else {
		ip = netip.AddrFrom16([16]byte(v[23:39]))
	}
	if int(v[22]) > ip.BitLen() {
		return fmt.Errorf("type 5 of %d octets with prefix length %d", len(v), v[22])
	}
	*r = evpn.Route{
		Key:   evpn.RouteKey{Type: evpn.IPPrefixRoute, PrefixLen: v[22], RD: evpn.RD(v[:8]), Tag: binary.BigEndian.Uint32(v[18:]), IP: ip},
		ESI:   evpn.ESI(v[8:18]),
		Label: uint24(v[len(v)-lenLabel:]),
	}
	return nil
}

// checkOther checks types 1 and 4, which we only pass on, and gives RD and address.
func checkOther(typ byte, v []byte) (key evpn.RouteKey, err error) {
	switch typ {
	case typeAD:
		if len(v) != lenAD {
			return key, fmt.Errorf("type 1 of %d octets", len(v))
		}
	case typeES:
		if len(v) < lenES {
			return key, fmt.Errorf("type 4 of %d octets", len(v))
		}
		ip, n, ok := address(v[18], v[lenES:])
		if !ok || len(v) != lenES+n {
			return key, fmt.Errorf("type 4 of %d octets with IP length %d", len(v), v[18])
		}
		key.IP = ip
	}
	key.Type, key.RD = evpn.RouteType(typ), evpn.RD(v[:lenRD])
	return key, nil
}

// address reads an address of bits length from the front of b: 32 or 128, no other.
func address(bits byte, b []byte) (ip netip.Addr, n int, ok bool) {
	switch {
	case bits == 32 && len(b) >= 4:
		return netip.AddrFrom4([4]byte(b[:4])), 4, true
	case bits == 128 && len(b) >= 16:
		return netip.AddrFrom16([16]byte(b[:16])), 16, true
	default:
		return netip.Addr{}, 0, false
	}
}

// appendNLRI writes the NLRI of r, which is of type 2, 3 or 5. A withdrawal is a route with a key alone:
// ESI and label 0, as FRR writes it.
func appendNLRI(b []byte, r *evpn.Route) []byte {
	k := &r.Key
	ip := k.IP.AsSlice()
	switch k.Type {
	case evpn.MACIPRoute:
		n := lenMACIP + len(ip) + lenLabel
		if r.Label2 != 0 {
			n += lenLabel
		}
		b = append(append(append(b, byte(k.Type), byte(n)), k.RD[:]...), r.ESI[:]...)
		b = append(append(binary.BigEndian.AppendUint32(b, k.Tag), macBits), k.MAC[:]...)
		b = appendLabel(append(append(b, byte(len(ip)*8)), ip...), r.Label)
		if r.Label2 != 0 {
			b = appendLabel(b, r.Label2)
		}
	case evpn.IMETRoute:
		b = append(append(b, byte(k.Type), byte(lenIMET+len(ip))), k.RD[:]...)
		b = append(append(binary.BigEndian.AppendUint32(b, k.Tag), byte(len(ip)*8)), ip...)
	case evpn.IPPrefixRoute:
		b = append(append(append(b, byte(k.Type), byte(26+2*len(ip))), k.RD[:]...), r.ESI[:]...)
		b = append(append(binary.BigEndian.AppendUint32(b, k.Tag), k.PrefixLen), ip...)
		b = append(b, make([]byte, len(ip))...) // gateway: none
		b = appendLabel(b, r.Label)
	}
	return b
}

func appendLabel(b []byte, l uint32) []byte { return append(b, byte(l>>16), byte(l>>8), byte(l)) }
