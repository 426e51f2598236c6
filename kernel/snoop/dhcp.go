package snoop

import (
	"encoding/binary"
	"net/netip"
)

const (
	sizeIPv4 = 20
	sizeUDP  = 8
	protoUDP = 17

	portServer = 67
	portClient = 68

	bootReply   = 2
	sizeBOOTP   = 236        // fixed part (RFC 951)
	magicCookie = 0x63825363 // RFC 2131 §3

	optionPad         = 0
	optionEnd         = 255
	optionMessageType = 53
	messageAck        = 5
)

// parseDHCP finds acknowledgements of a lease on their way to the client. The UDP
// checksum is not looked at: between local containers it is often not filled in yet,
// and nothing is believed of an acknowledgement but that asking is worth while.
func (p *Packet) parseDHCP(b []byte) Reason {
	if len(b) < sizeIPv4 || b[0]>>4 != 4 {
		return Malformed
	}
	if b[9] != protoUDP {
		return Irrelevant
	}
	header, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
	fragment := binary.BigEndian.Uint16(b[6:]) & 0x3fff // offset, and more to come
	if header < sizeIPv4 || total > len(b) || total < header+sizeUDP || fragment != 0 {
		return Malformed
	}
	server := netip.AddrFrom4([4]byte(b[12:16]))
	b = b[header:total]
	if binary.BigEndian.Uint16(b) != portServer || binary.BigEndian.Uint16(b[2:]) != portClient {
		return Irrelevant
	}
	b = b[sizeUDP:]
	if len(b) < sizeBOOTP+4 || b[1] != 1 || b[2] != 6 || binary.BigEndian.Uint32(b[sizeBOOTP:]) != magicCookie {
		return Malformed
	}
	if b[0] != bootReply || messageType(b[sizeBOOTP+4:]) != messageAck {
		return Irrelevant
	}
	p.Kind = DHCPAck
	p.Sender, p.Target = server, netip.AddrFrom4([4]byte(b[16:20]))
	p.IP = p.Target
	copy(p.MAC[:], b[28:34])
	switch {
	case p.Target.IsUnspecified():
		return Irrelevant // the answer to a DHCPINFORM gives no address
	case p.MAC.IsZero() || p.MAC.IsGroup():
		return BadMAC
	case !HostIP(p.IP):
		return BadIP
	}
	return ""
}

// messageType is option 53 (RFC 2132 §9.6); 0 when there is none.
func messageType(b []byte) byte {
	for len(b) > 0 && b[0] != optionEnd {
		if b[0] == optionPad {
			b = b[1:]
			continue
		}
		if len(b) < 2 || len(b) < 2+int(b[1]) {
			return 0
		}
		if b[0] == optionMessageType && b[1] == 1 {
			return b[2]
		}
		b = b[2+int(b[1]):]
	}
	return 0
}
