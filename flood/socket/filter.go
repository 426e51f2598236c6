package socket

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/flood"
)

// exactAddresses is how many addresses the filter compares one by one; beyond, it
// passes all groups. What it passes too much, Decide drops as not listening.
const exactAddresses = 64

const (
	ipv4TOS, ipv4Protocol, ipv4Destination = 14 + 1, 14 + 9, 14 + 16
	ipv6Class, ipv6Next, ipv6Destination   = 14, 14 + 6, 14 + 24
	everything                             = 1 << 18
)

// filter passes UDP to one of the addresses, fragments of it, and nothing else: not
// data traffic between VTEPs, not what carries a VLAN tag, not what a switch flooded
// to us that is for another host's MAC, not what we ourselves deliver to a group, nor what this host
// sends to a service address, which another one has.
func filter(addresses []netip.Addr) []bpf.Instruction {
	var v4, v6 []netip.Addr
	for _, a := range addresses {
		if a.Is4() {
			v4 = append(v4, a)
		} else {
			v6 = append(v6, a)
		}
	}
	drop, pass := bpf.RetConstant{Val: 0}, bpf.RetConstant{Val: everything}
	p := []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtVLANTagPresent},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipTrue: 1},
		drop,
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.PACKET_OTHERHOST, SkipTrue: 1},
		drop,
		bpf.LoadAbsolute{Off: 12, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_IP, SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_IPV6, SkipTrue: 2},
		drop,
	}
	four := []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.PACKET_OUTGOING, SkipTrue: 8},
		bpf.LoadAbsolute{Off: ipv4TOS, Size: 1},
		bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: flood.Mark, SkipTrue: 1},
		drop,
		bpf.LoadAbsolute{Off: ipv4Destination, Size: 1},
		bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0xf0},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0xe0, SkipTrue: 1},
		drop,
		bpf.LoadAbsolute{Off: ipv4Protocol, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_UDP, SkipTrue: 1},
		drop,
		bpf.LoadAbsolute{Off: ipv4Destination, Size: 4},
	}
	for _, a := range some(v4) {
		b := a.As4()
		four = append(four, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: binary.BigEndian.Uint32(b[:]), SkipTrue: 1}, pass)
	}
	if len(v4) > exactAddresses {
		four = append(four, bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0xf0000000}, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0xe0000000, SkipTrue: 1}, pass)
	}
	four = append(four, drop)
	six := []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.PACKET_OUTGOING, SkipTrue: 8},
		bpf.LoadAbsolute{Off: ipv6Class, Size: 2},
		bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0x0fff},
		bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 6},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: flood.Mark, SkipTrue: 1},
		drop,
		bpf.LoadAbsolute{Off: ipv6Destination, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0xff, SkipTrue: 1},
		drop,
		bpf.LoadAbsolute{Off: ipv6Next, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_UDP, SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_FRAGMENT, SkipTrue: 1},
		drop,
	}
	for _, a := range some(v6) {
		b := a.As16()
		for word := uint32(0); word < 4; word++ {
			six = append(six, bpf.LoadAbsolute{Off: ipv6Destination + 4*word, Size: 4},
				bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: binary.BigEndian.Uint32(b[4*word:]), SkipTrue: uint8(7 - 2*word)})
		}
		six = append(six, pass)
	}
	if len(v6) > exactAddresses {
		six = append(six, bpf.LoadAbsolute{Off: ipv6Destination, Size: 1}, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0xff, SkipTrue: 1}, pass)
	}
	six = append(six, drop)
	p = append(p, bpf.Jump{Skip: 1}, bpf.Jump{Skip: uint32(len(four))})
	return append(append(p, four...), six...)
}

// some are the addresses to compare: all, or when they are too many those that are
// no groups, of which a host has few.
func some(addresses []netip.Addr) []netip.Addr {
	if len(addresses) <= exactAddresses {
		return addresses
	}
	var unicast []netip.Addr
	for _, a := range addresses {
		if !a.IsMulticast() {
			unicast = append(unicast, a)
		}
	}
	return unicast
}
