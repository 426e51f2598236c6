package flood

import (
	"encoding/binary"
	"net/netip"

	"github.com/vtepbgp/vtepbgp/evpn"
)

const (
	// TTL is that of every copy.
	TTL = 64
	// Mark is the DSCP of every copy; see the package comment.
	Mark = 0b000111
	// Port is the VXLAN port unless a network has another one (RFC 7348 §5).
	Port = 4789

	sizeEthernet = 14
	sizeIPv4     = 20
	sizeIPv6     = 40
	sizeUDP      = 8
	sizeVXLAN    = 8

	etherIPv4 = 0x0800
	etherIPv6 = 0x86dd

	protoUDP      = 17
	protoFragment = 44 // IPv6 fragment header

	flagVNI = 0x08 // RFC 7348 §5: the I flag, alone
)

// Packet is a VXLAN packet, taken apart. It refers to the bytes it was parsed from.
type Packet struct {
	Source, Destination netip.Addr
	SourcePort, Port    uint16
	TTL, DSCP           uint8
	VNI                 evpn.VNI
	Checksummed         bool   // a UDP checksum was there, or was to be
	Sum                 uint16 // ones' complement sum of Payload, where Checksummed
	Payload             []byte // of UDP: the VXLAN header and the frame
}

// Inner is the frame that the packet carries.
func (p *Packet) Inner() []byte { return p.Payload[sizeVXLAN:] }

// InnerSource is the source address of the frame.
func (p *Packet) InnerSource() evpn.MAC { return evpn.MAC(p.Payload[sizeVXLAN+6 : sizeVXLAN+12]) }

// Trust says which of a packet's checksums need no check.
type Trust struct {
	// Partial: the UDP checksum field holds the sum of the pseudo header only, to be
	// completed by a device (CHECKSUM_PARTIAL): the packet never was on a wire.
	Partial bool
	// Checked: the UDP checksum, if there is one, was checked, or there will be one.
	Checked bool
}

// ParseEthernet parses a packet that begins with its Ethernet header, which must not
// have a VLAN tag: a tagged packet belongs to another underlay.
func ParseEthernet(b []byte, trust Trust) (Packet, Reason) {
	if len(b) < sizeEthernet {
		return Packet{}, Truncated
	}
	switch typ := binary.BigEndian.Uint16(b[12:]); {
	case typ == etherIPv4 && len(b) > sizeEthernet && b[sizeEthernet]>>4 != 4,
		typ == etherIPv6 && len(b) > sizeEthernet && b[sizeEthernet]>>4 != 6:
		return Packet{}, BadIPHeader
	case typ != etherIPv4 && typ != etherIPv6:
		return Packet{}, NotIP
	}
	return Parse(b[sizeEthernet:], trust)
}

// Parse takes an outer packet apart that begins with its IP header. Bytes after the end
// that IP gives are padding and left out (RFC 894).
func Parse(b []byte, trust Trust) (Packet, Reason) {
	if len(b) == 0 {
		return Packet{}, Truncated
	}
	switch b[0] >> 4 {
	case 4:
		return parseIPv4(b, trust)
	case 6:
		return parseIPv6(b, trust)
	}
	return Packet{}, NotIP
}

func parseIPv4(b []byte, trust Trust) (p Packet, r Reason) {
	if len(b) < sizeIPv4 {
		return p, Truncated
	}
	header, total := int(b[0]&0x0f)*4, int(binary.BigEndian.Uint16(b[2:]))
	switch {
	case header < sizeIPv4 || total < header:
		return p, BadIPHeader
	case len(b) < total:
		return p, Truncated
	case fold(sum(b[:header], 0)) != 0xffff:
		return p, BadIPChecksum
	case binary.BigEndian.Uint16(b[6:])&0x3fff != 0: // more fragments, offset
		return p, Fragment
	case b[8] == 0:
		return p, BadTTL
	case b[9] != protoUDP:
		return p, NotUDP
	}
	p.Source, p.Destination = netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:]))
	p.TTL, p.DSCP = b[8], b[1]>>2
	return parseUDP(p, b[header:total], trust, pseudo(b[12:20], total-header))
}

func parseIPv6(b []byte, trust Trust) (p Packet, r Reason) {
	if len(b) < sizeIPv6 {
		return p, Truncated
	}
	length := int(binary.BigEndian.Uint16(b[4:]))
	switch {
	case length == 0: // a jumbogram (RFC 2675), or nothing in it
		return p, BadIPHeader
	case len(b) < sizeIPv6+length:
		return p, Truncated
	case b[6] == protoFragment:
		return p, Fragment
	case b[7] == 0:
		return p, BadTTL
	case b[6] != protoUDP:
		return p, NotUDP
	}
	p.Source, p.Destination = netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:]))
	p.TTL, p.DSCP = b[7], (b[0]<<4|b[1]>>4)>>2
	return parseUDP(p, b[sizeIPv6:sizeIPv6+length], trust, pseudo(b[8:40], length))
}

func parseUDP(p Packet, b []byte, trust Trust, pseudo uint64) (Packet, Reason) {
	if len(b) < sizeUDP {
		return p, Truncated
	}
	// More bytes in IP than in UDP would be lost in a copy (RFC 9868 options have no place
	// in VXLAN); fewer were cut off.
	if length := int(binary.BigEndian.Uint16(b[4:])); length < sizeUDP || length != len(b) {
		return p, BadUDPLength
	}
	p.SourcePort, p.Port = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	p.Checksummed, p.Payload = trust.Partial || b[6]|b[7] != 0, b[sizeUDP:]
	if r := p.readVXLAN(); r != Kept {
		return p, r
	}
	if p.Checksummed && !trust.Partial && !trust.Checked && fold(sum(b[:sizeUDP], pseudo)+uint64(p.Sum)) != 0xffff {
		return p, BadUDPChecksum
	}
	return p, Kept
}

func (p *Packet) readVXLAN() Reason {
	if len(p.Payload) < sizeVXLAN+sizeEthernet {
		return NoVXLAN
	}
	// RFC 7348 has receivers ignore reserved bits; extensions (VXLAN-GPE, GBP) that
	// use them mean something else by the rest, so the kernel drops them, as we do.
	v := p.Payload
	if v[0] != flagVNI || v[1]|v[2]|v[3]|v[7] != 0 {
		return BadFlags
	}
	p.VNI = evpn.VNI(binary.BigEndian.Uint32(v[4:]) >> 8)
	if p.Checksummed {
		p.Sum = fold(sum(v, 0))
	}
	return Kept
}

// Segment is the packet whose payload is p's from start to end: one of those that
// offloads had merged into p.
func (p Packet) Segment(start, end int) (Packet, Reason) {
	p.Payload = p.Payload[start:end]
	r := p.readVXLAN()
	return p, r
}
