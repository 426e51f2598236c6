package wire

import (
	"net/netip"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// pmsiTunnel reads the PMSI tunnel attribute (RFC 6514 §5). A malformed one withdraws the
// routes, and so does a tunnel identifier of a length that its type cannot have: whom would such a
// route have us send to? Of types that we do not use the identifier is not looked at:
// they are for the core to judge.
func (p *attrParser) pmsiTunnel(v []byte) {
	if len(v) < 5 {
		p.fault(DropAttributeLength, "PMSI tunnel of %d octets", len(v))
		return
	}
	t := &evpn.PMSITunnel{Flags: v[0], Type: v[1], Label: uint24(v[2:])}
	id, ok := v[5:], true
	switch t.Type {
	case evpn.PMSINoTunnel:
		ok = len(id) == 0
	case evpn.PMSIIngressReplication, evpn.PMSIAssistedReplication: // RFC 9574 §4: the AR-IP, written as for type 6
		t.Endpoint, ok = netip.AddrFromSlice(id)
	}
	if !ok {
		p.fault(DropAttributeLength, "PMSI tunnel of type %d with an identifier of %d octets", t.Type, len(id))
		return
	}
	p.a.PMSI, p.pmsi = t, v
}

// appendPMSI writes the attribute of our own routes: the types that name a VTEP, and "no tunnel".
func appendPMSI(b []byte, t *evpn.PMSITunnel) []byte {
	v := appendLabel([]byte{t.Flags, t.Type}, t.Label)
	if t.Type != evpn.PMSINoTunnel {
		v = append(v, t.Endpoint.AsSlice()...)
	}
	return appendAttr(b, optTransitive, attrPMSI, v)
}
