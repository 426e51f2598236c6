package wire

import (
	"net/netip"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// pmsiTunnel reads the PMSI tunnel attribute (RFC 6514 §5). A malformed one withdraws the
// routes, and so does a tunnel identifier that is no address where its type says that it is one: whom
// would such a route have us send to? Of other types the identifier is not looked at. "No
// tunnel" has none, but FRR 8.4 as a reflector writes the next hop there, as it does for all types.
func (p *attrParser) pmsiTunnel(v []byte) {
	if len(v) < 5 {
		p.fault(DropAttributeLength, "PMSI tunnel of %d octets", len(v))
		return
	}
	t := &evpn.PMSITunnel{Flags: v[0], Type: v[1], Label: uint24(v[2:])}
	id, ok := v[5:], true
	if t.Type == evpn.PMSIIngressReplication || t.Type == evpn.PMSIAssistedReplication {
		t.Endpoint, ok = netip.AddrFromSlice(id) // RFC 9574 §4: the AR-IP, written as for type 6
		t.Endpoint = t.Endpoint.Unmap()          // as of next hops: no packet has a mapped address
	}
	if !ok {
		p.fault(DropAttributeLength, "PMSI tunnel of type %d with an identifier of %d octets", t.Type, len(id))
		return
	}
	p.a.PMSI, p.pmsi = t, v
}

// appendPMSI writes the attribute of our own routes: the types that name a VTEP, and "no tunnel".
func (k PeerKind) appendPMSI(b []byte, t *evpn.PMSITunnel) []byte {
	typ, endpoint := t.Type, t.Endpoint.AsSlice()
	if typ == evpn.PMSIAssistedReplication && !k.RFC9574 {
		typ = evpn.PMSINoTunnel
	}
	v := appendLabel([]byte{t.Flags, typ}, t.Label)
	if typ != evpn.PMSINoTunnel {
		v = append(v, endpoint...)
	}
	return appendAttr(b, optTransitive, attrPMSI, v)
}
