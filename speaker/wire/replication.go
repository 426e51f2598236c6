package wire

import "github.com/vtepbgp/vtepbgp/evpn"

// RFC 9574 has the part that a VTEP takes in assisted replication in the flags of the PMSI tunnel
// attribute, and a tunnel type 0x0A for the route of a replicator. FRR (seen with 8.4.4; bgp_attr_pmsi_tunnel is the
// same in later ones) answers that type with a NOTIFICATION on iBGP, Partial flag or not, whenever
// the session is up again; and as a reflector it writes flags of 0.
//
// So the part also travels in an extended community of ours, beside those of claims:
//
//	0    1    2      3
//	8a   02   flags  0 0 0 0 0
//
// with the flags of the PMSI attribute that RFC 9574 §4 calls T. And the route of a replicator says
// "no tunnel", which nobody floods to, unless the neighbour is known to want tunnel type 0x0A:
// its next hop is the address to send to, as RFC 9574 §4 has it too.

// replication reads the community. T does not outlast it where the PMSI attribute has kept one.
func (p *attrParser) replication(c []byte) { p.arType |= c[2] & evpn.PMSIFlagsMaskAR }

// assist gives the PMSI attribute what the community says, once both are read.
func (p *attrParser) assist() {
	t := p.a.PMSI
	if t == nil || p.arType == 0 {
		return
	}
	if t.Flags&evpn.PMSIFlagsMaskAR == 0 {
		t.Flags |= p.arType
	}
	if t.Type == evpn.PMSINoTunnel && p.arType == evpn.PMSIFlagsReplicatorAR {
		t.Type, t.Endpoint = evpn.PMSIAssistedReplication, p.a.NextHop
	}
}

func appendReplication(b []byte, t *evpn.PMSITunnel) []byte {
	if t == nil || t.Flags&evpn.PMSIFlagsMaskAR == 0 {
		return b
	}
	return append(b, ecReplication>>8, ecReplication&0xff, t.Flags&evpn.PMSIFlagsMaskAR, 0, 0, 0, 0, 0)
}
