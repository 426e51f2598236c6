package snoop

import (
	"encoding/binary"
	"net/netip"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// Station is one end of a frame to be built.
type Station struct {
	MAC evpn.MAC
	IP  netip.Addr
}

// BroadcastMAC reaches everybody.
var BroadcastMAC = evpn.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// ARPRequestFrame asks to for the MAC of target. With a from.IP of 0.0.0.0 it is a
// probe, which leaves no trace in anybody's cache (RFC 5227 §2.1.1).
func ARPRequestFrame(to evpn.MAC, from Station, target netip.Addr) []byte {
	return arpFrame(to, arpRequest, from, Station{IP: target})
}

// ARPReplyFrame tells to that from.MAC has from.IP.
func ARPReplyFrame(from, to Station) []byte { return arpFrame(to.MAC, arpReply, from, to) }

func arpFrame(dest evpn.MAC, op uint16, from, to Station) []byte {
	b := ethernet(dest, from.MAC, etherARP)
	b = append(b, arpPrefix...)
	b = binary.BigEndian.AppendUint16(b, op)
	for _, s := range []Station{from, to} {
		ip := [4]byte{}
		if s.IP.Is4() {
			ip = s.IP.As4()
		}
		b = append(append(b, s.MAC[:]...), ip[:]...)
	}
	return b
}

// NSFrame asks to, by unicast, for the MAC of to.IP (RFC 4861 §7.3.3: a probe).
func NSFrame(from, to Station) []byte {
	b := append(make([]byte, 0, sizeND+8), icmpNS, 0, 0, 0, 0, 0, 0, 0)
	b = append(b, to.IP.AsSlice()...)
	b = append(append(b, optionSource, 1), from.MAC[:]...)
	return icmp6Frame(from, to, b)
}

// Flags are those of a neighbour advertisement.
type Flags struct{ Router, Solicited, Override bool }

// NAFrame tells to that from.MAC has target.
func NAFrame(from, to Station, target netip.Addr, f Flags) []byte {
	var flags byte
	for _, s := range []struct {
		on  bool
		bit byte
	}{{f.Router, flagRouter}, {f.Solicited, flagSolicited}, {f.Override, flagOverride}} {
		if s.on {
			flags |= s.bit
		}
	}
	b := append(make([]byte, 0, sizeND+8), icmpNA, 0, 0, 0, flags, 0, 0, 0)
	b = append(b, target.AsSlice()...)
	b = append(append(b, optionTarget, 1), from.MAC[:]...)
	return icmp6Frame(from, to, b)
}

func icmp6Frame(from, to Station, message []byte) []byte {
	b := ethernet(to.MAC, from.MAC, etherIPv6)
	b = append(b, 0x60, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(len(message)))
	b = append(b, protoICMP6, 255)
	source, dest := from.IP.As16(), to.IP.As16()
	b = append(append(b, source[:]...), dest[:]...)
	sum := checksumICMP6(b[sizeEthernet+8:], message)
	b = append(b, message...)
	binary.BigEndian.PutUint16(b[sizeEthernet+sizeIPv6+2:], sum)
	return b
}

func ethernet(dest, source evpn.MAC, protocol uint16) []byte {
	b := make([]byte, 0, 128)
	b = append(append(b, dest[:]...), source[:]...)
	return binary.BigEndian.AppendUint16(b, protocol)
}

// LinkLocal is the address that a link with this MAC would give itself (RFC 4291
// appendix A). Probes of IPv6 come from it: a bridge has no address of its own to
// use, and a probe from :: would be answered to all nodes (RFC 4861 §7.2.4).
func LinkLocal(mac evpn.MAC) netip.Addr {
	return netip.AddrFrom16([16]byte{
		0: 0xfe, 1: 0x80,
		8: mac[0] ^ 2, 9: mac[1], 10: mac[2], 11: 0xff, 12: 0xfe, 13: mac[3], 14: mac[4], 15: mac[5],
	})
}
