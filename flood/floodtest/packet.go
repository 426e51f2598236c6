package floodtest

import (
	"encoding/binary"
	"net"
	"net/netip"
)

// Packet is an outer packet to send. The suite writes it by itself, not with the code
// that is under test.
type Packet struct {
	DstMAC, SrcMAC net.HardwareAddr
	Source, To     netip.Addr
	SourcePort     uint16
	Port           uint16
	VNI            uint32
	TTL, TOS       uint8
	Checksum       Checksum
	Flags          uint32 // first word of the VXLAN header
	Inner          []byte
	// Mangle changes the IP packet when it is complete but for its checksums.
	Mangle func(ip, udp []byte)
	// MangleLate changes it afterwards.
	MangleLate func(ip, udp []byte)
	Trim       int // bytes to leave out at the end
}

// Checksum is what the UDP checksum field of a packet holds.
type Checksum uint8

// Kinds of checksums.
const (
	Zero    Checksum = iota // none
	Full                    // as on a wire
	Partial                 // of the pseudo header, for a device to complete
)

// String is the kind as subtests are called.
func (c Checksum) String() string { return [...]string{"zero", "full", "partial"}[c] }

const (
	ethernetLength = 14
	udpLength      = 8
	vxlanLength    = 8
)

// InnerFrame is a frame of a size that carries a number; every byte depends on it.
func InnerFrame(number uint32, size int) []byte {
	b := make([]byte, size)
	copy(b, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0, 0, 0, 0, 0x01, 0x88, 0xb5})
	binary.BigEndian.PutUint32(b[14:], number)
	x := number*2654435761 + uint32(size)
	for i := 18; i < size; i++ {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}

func numberOf(inner []byte) (uint32, bool) {
	if len(inner) < 18 {
		return 0, false
	}
	return binary.BigEndian.Uint32(inner[14:]), true
}

func (p *Packet) ipLength() int {
	if p.To.Is4() {
		return 20
	}
	return 40
}

// Bytes is the frame, with its Ethernet header.
func (p *Packet) Bytes() []byte {
	ipLength := p.ipLength()
	n := udpLength + vxlanLength + len(p.Inner)
	b := make([]byte, ethernetLength+ipLength+n)
	copy(b, p.DstMAC)
	copy(b[6:], p.SrcMAC)
	ip := b[ethernetLength:]
	udp := ip[ipLength:]
	if p.To.Is4() {
		binary.BigEndian.PutUint16(b[12:], 0x0800)
		ip[0], ip[1], ip[8], ip[9] = 0x45, p.TOS, p.TTL, 17
		binary.BigEndian.PutUint16(ip[2:], uint16(ipLength+n))
		copy(ip[12:], p.Source.AsSlice())
		copy(ip[16:], p.To.AsSlice())
	} else {
		binary.BigEndian.PutUint16(b[12:], 0x86dd)
		ip[0], ip[1], ip[6], ip[7] = 0x60|p.TOS>>4, p.TOS<<4, 17, p.TTL
		binary.BigEndian.PutUint16(ip[4:], uint16(n))
		copy(ip[8:], p.Source.AsSlice())
		copy(ip[24:], p.To.AsSlice())
	}
	binary.BigEndian.PutUint16(udp, p.SourcePort)
	binary.BigEndian.PutUint16(udp[2:], p.Port)
	binary.BigEndian.PutUint16(udp[4:], uint16(n))
	binary.BigEndian.PutUint32(udp[8:], p.Flags)
	binary.BigEndian.PutUint32(udp[12:], p.VNI<<8)
	copy(udp[16:], p.Inner)
	if p.Mangle != nil {
		p.Mangle(ip, udp)
	}
	if p.To.Is4() {
		binary.BigEndian.PutUint16(ip[10:], ^onesSum(ip[:20]))
	}
	switch p.Checksum {
	case Full:
		sum := ^onesSum(p.pseudo(len(udp)), udp)
		if sum == 0 {
			sum = 0xffff
		}
		binary.BigEndian.PutUint16(udp[6:], sum)
	case Partial:
		binary.BigEndian.PutUint16(udp[6:], onesSum(p.pseudo(len(udp))))
	case Zero:
	}
	if p.MangleLate != nil {
		p.MangleLate(ip, udp)
	}
	return b[:len(b)-p.Trim]
}

// payload is that of UDP.
func (p *Packet) payload() []byte { return p.Bytes()[ethernetLength+p.ipLength()+udpLength:] }

func (p *Packet) pseudo(length int) []byte {
	b := append(p.Source.AsSlice(), p.To.AsSlice()...)
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, uint32(length)), 17)
}

// onesSum is RFC 1071, the slow way.
func onesSum(parts ...[]byte) uint16 {
	var s uint32
	for _, b := range parts {
		for i := range b {
			if i%2 == 0 {
				s += uint32(b[i]) << 8
			} else {
				s += uint32(b[i])
			}
		}
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}
