package wire

import (
	"encoding/binary"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// FilterUpdate leaves out of the body of an UPDATE that GoBGP wrote the EVPN routes for which drop is true:
// our own, which the guard has sent itself. send is false when nothing is
// left to send. The result is body itself when nothing was left out. An UPDATE that this package cannot read
// passes unchanged: it comes from our side.
func FilterUpdate(body []byte, drop func(evpn.RouteKey) bool) (out []byte, send bool) {
	p, err := splitUpdate(body)
	if err != nil {
		return body, true
	}
	var attrs []byte
	routes, left, changed := 0, 0, false
	for rest := p.attrs; len(rest) > 0; {
		a, r, ok := nextAttr(rest)
		if !ok {
			return body, true
		}
		rest = r
		off := nlriOffset(a)
		if off == 0 {
			attrs = append(attrs, a.raw...)
			continue
		}
		kept, n, m := filterNLRI(a.value[off:], drop)
		routes, left = routes+n, left+m
		if n == m {
			attrs = append(attrs, a.raw...)
			continue
		}
		changed = true
		if m > 0 {
			attrs = appendAttr(attrs, optIntransitive, a.typ, append(clone(a.value[:off]), kept...))
		}
	}
	switch {
	case !changed:
		return body, true
	case left == 0 && len(p.withdrawn) == 0 && len(p.nlri) == 0:
		return nil, false
	}
	out = append(make([]byte, 0, len(body)), body[:2+len(p.withdrawn)]...)
	out = binary.BigEndian.AppendUint16(out, uint16(len(attrs)))
	return append(append(out, attrs...), p.nlri...), true
}

// nlriOffset is where the EVPN NLRI begin in the value of a; 0 when it holds none.
func nlriOffset(a attr) int {
	v := a.value
	if len(v) < 3 || binary.BigEndian.Uint16(v) != AFIL2VPN || v[2] != SAFIEVPN {
		return 0
	}
	switch {
	case a.typ == attrMPUnreach:
		return 3
	case a.typ == attrMPReach && len(v) >= 5+int(v[min(3, len(v)-1)]):
		return 5 + int(v[3])
	default:
		return 0
	}
}

// filterNLRI gives the NLRI that stay, and how many there were and are.
func filterNLRI(b []byte, drop func(evpn.RouteKey) bool) (kept []byte, n, left int) {
	for len(b) > 0 {
		typ, v, rest, ok := nextNLRI(b)
		if !ok {
			return append(kept, b...), n, left
		}
		raw := b[:2+len(v)]
		b = rest
		n++
		var r evpn.Route
		if handled(typ) {
			if keyed, err := parseRoute(typ, v, &r, true); (keyed || err == nil) && drop(r.Key) {
				continue
			}
		}
		left++
		kept = append(kept, raw...)
	}
	return kept, n, left
}
