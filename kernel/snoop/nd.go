package snoop

import (
	"encoding/binary"
	"net/netip"
)

const (
	sizeIPv6   = 40
	protoICMP6 = 58
	sizeND     = 24 // of NS and NA without options

	icmpNS = 135
	icmpNA = 136

	optionSource = 1 // source link-layer address
	optionTarget = 2 // target link-layer address

	flagRouter    = 0x80
	flagSolicited = 0x40
	flagOverride  = 0x20
)

var solicitedNode = netip.MustParsePrefix("ff02::1:ff00:0/104")

// parseND applies the checks of RFC 4861 §7.1.1 and §7.1.2. A packet with extension
// headers is none of ours: a fragment must be ignored (RFC 6980 §5), and no host
// sends others.
func (p *Packet) parseND(b []byte) Reason {
	if len(b) < sizeIPv6 || b[0]>>4 != 6 {
		return Malformed
	}
	if b[6] != protoICMP6 {
		return Irrelevant
	}
	length := int(binary.BigEndian.Uint16(b[4:]))
	if length == 0 || sizeIPv6+length > len(b) {
		return Malformed
	}
	body := b[sizeIPv6 : sizeIPv6+length]
	if body[0] != icmpNS && body[0] != icmpNA {
		return Irrelevant
	}
	p.Sender = netip.AddrFrom16([16]byte(b[8:24]))
	dest := netip.AddrFrom16([16]byte(b[24:40]))
	if length < sizeND || b[7] != 255 || body[1] != 0 || checksumICMP6(b[8:40], body) != 0 {
		return Malformed
	}
	p.Target = netip.AddrFrom16([16]byte(body[8:24]))
	if p.Target.IsMulticast() {
		return Malformed
	}
	link, ok := p.linkOptions(body[sizeND:])
	if !ok {
		return Malformed
	}
	p.MAC = p.Source
	unspecified := p.Sender.IsUnspecified()
	if body[0] == icmpNS {
		p.Kind, p.IP = NS, p.Sender
		if unspecified {
			p.Kind, p.IP = NSProbe, p.Target
			if link.source || !solicitedNode.Contains(dest) {
				return Malformed
			}
		}
		if !link.sourceIsFrame {
			return WrongSender
		}
	} else {
		p.Kind, p.IP = NAUnsolicited, p.Target
		p.Router, p.Override = body[4]&flagRouter != 0, body[4]&flagOverride != 0
		if body[4]&flagSolicited != 0 {
			p.Kind = NA
			if dest.IsMulticast() {
				return Malformed
			}
		}
		if unspecified {
			return Malformed
		}
		if !link.targetIsFrame {
			return WrongSender
		}
	}
	if !HostIP(p.IP) || (!unspecified && !HostIP(p.Sender)) {
		return BadIP
	}
	return ""
}

// linkOptions is what the link-layer address options say. An absent one, which an
// answer to a unicast solicitation may leave out (RFC 4861 §7.2.4), stands for the
// frame's source.
type linkOptions struct {
	source                       bool // there is a source option
	sourceIsFrame, targetIsFrame bool
}

func (p *Packet) linkOptions(b []byte) (o linkOptions, ok bool) {
	o.sourceIsFrame, o.targetIsFrame = true, true
	for len(b) > 0 {
		if len(b) < 8 || b[1] == 0 || len(b) < int(b[1])*8 {
			return o, false
		}
		same := b[1] == 1 && [6]byte(b[2:8]) == p.Source
		switch b[0] {
		case optionSource:
			o.source, o.sourceIsFrame = true, o.sourceIsFrame && same
		case optionTarget:
			o.targetIsFrame = o.targetIsFrame && same
		}
		b = b[int(b[1])*8:]
	}
	return o, true
}

// checksumICMP6 sums pseudo header and message (RFC 4443 §2.3). It is 0 for a
// message with a right checksum, else the checksum for one whose field is zero. No
// driver leaves it to hardware: ICMPv6 is not among the protocols that are offloaded.
func checksumICMP6(addresses, message []byte) uint16 {
	sum := uint32(len(message)) + protoICMP6
	for _, b := range [][]byte{addresses, message} {
		for ; len(b) >= 2; b = b[2:] {
			sum += uint32(binary.BigEndian.Uint16(b))
		}
		if len(b) == 1 {
			sum += uint32(b[0]) << 8
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
