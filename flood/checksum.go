package flood

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
)

// sum adds b to a ones' complement sum (RFC 1071), eight bytes at a time: the carry of
// each addition goes back in at the bottom, which keeps the sum modulo 2^16-1.
func sum(b []byte, start uint64) uint64 {
	var carry uint64
	s := start
	for len(b) >= 32 {
		s, carry = bits.Add64(s, binary.BigEndian.Uint64(b), 0)
		s, carry = bits.Add64(s, binary.BigEndian.Uint64(b[8:]), carry)
		s, carry = bits.Add64(s, binary.BigEndian.Uint64(b[16:]), carry)
		s, carry = bits.Add64(s, binary.BigEndian.Uint64(b[24:]), carry)
		s, carry = bits.Add64(s, carry, 0)
		s += carry
		b = b[32:]
	}
	// What is left is at most 31 bytes: their 16-bit words cannot overflow the folded sum.
	s = uint64(fold(s))
	for len(b) >= 2 {
		s += uint64(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		s += uint64(b[0]) << 8
	}
	return s
}

func fold(s uint64) uint16 {
	s = s>>32 + s&0xffffffff
	s = s>>32 + s&0xffffffff
	s = s>>16 + s&0xffff
	s = s>>16 + s&0xffff
	return uint16(s>>16 + s&0xffff)
}

// pseudo is the sum of the pseudo header: both addresses, the protocol, and a length
// (RFC 768, RFC 8200 §8.1).
func pseudo(addresses []byte, length int) uint64 {
	return sum(addresses, 0) + protoUDP + uint64(length)
}

// UDPChecksum is the checksum of a datagram whose payload has a ones' complement sum
// and a length. It is never zero, which would mean that there is none (RFC 768).
func UDPChecksum(from, to netip.Addr, fromPort, toPort uint16, payloadSum uint16, payloadLength int) uint16 {
	length := sizeUDP + payloadLength
	var s uint64
	if from.Is4() {
		a, b := from.As4(), to.As4()
		s = sum(a[:], sum(b[:], 0))
	} else {
		a, b := from.As16(), to.As16()
		s = sum(a[:], sum(b[:], 0))
	}
	s += protoUDP + 2*uint64(length) + uint64(fromPort) + uint64(toPort) + uint64(payloadSum)
	if c := ^fold(s); c != 0 {
		return c
	}
	return 0xffff
}
