package snoop

import (
	"bytes"
	"encoding/binary"
	"net/netip"
)

const (
	sizeARP = 28 // of Ethernet and IPv4 (RFC 826)

	arpRequest = 1
	arpReply   = 2
)

// arpPrefix is hardware type Ethernet, protocol IPv4, and their lengths.
var arpPrefix = []byte{0, 1, 8, 0, 6, 4}

func (p *Packet) parseARP(b []byte) Reason {
	if len(b) < sizeARP || !bytes.HasPrefix(b, arpPrefix) {
		return Malformed
	}
	op := binary.BigEndian.Uint16(b[6:])
	copy(p.MAC[:], b[8:])
	p.Sender = netip.AddrFrom4([4]byte(b[14:18]))
	p.Target = netip.AddrFrom4([4]byte(b[24:28]))
	p.IP = p.Sender
	switch {
	case op == arpRequest && p.Sender.IsUnspecified():
		p.Kind, p.IP = ARPProbe, p.Target
	case (op == arpRequest || op == arpReply) && p.Sender == p.Target:
		p.Kind = ARPGratuitous
	case op == arpRequest:
		p.Kind = ARPRequest
	case op == arpReply:
		p.Kind = ARPReply
	default:
		return Irrelevant // RARP and others
	}
	switch {
	case p.MAC != p.Source:
		return WrongSender
	case !HostIP(p.IP):
		return BadIP
	}
	return ""
}
