package snoop

import "golang.org/x/net/bpf"

// snapLength is what is copied of a packet at most; all that we read fits an
// Ethernet frame of ordinary size.
const snapLength = 2048

const packetOutgoing = 4 // PACKET_OUTGOING, linux/if_packet.h

// filter passes ARP, neighbour solicitations and advertisements, and what DHCPv4
// servers say to clients. It runs in the kernel for every packet of the port, so
// that TCP over IPv4 leaves it after four instructions and the return.
func filter() []bpf.Instruction { return append(classify(), untaggedAndIncoming()...) }

// classify judges by the octets of the packet. What it drops ends there, the rest
// runs on to the instruction behind it.
func classify() []bpf.Instruction {
	const (
		other = 9  // no IPv4
		drop  = 16 // the return
		pass  = drop + 1
	)
	// A jump skips the instructions between itself and its goal.
	to := func(from, goal int) uint8 { return uint8(goal - from - 1) }
	return []bpf.Instruction{
		0: bpf.LoadAbsolute{Off: 12, Size: 2},
		1: bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: etherIPv4, SkipTrue: to(1, other)},
		2: bpf.LoadAbsolute{Off: sizeEthernet + 9, Size: 1}, // protocol
		3: bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: protoUDP, SkipTrue: to(3, drop)},
		4: bpf.LoadAbsolute{Off: sizeEthernet + 6, Size: 2}, // more fragments, offset
		5: bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x3fff, SkipTrue: to(5, drop)},
		6: bpf.LoadMemShift{Off: sizeEthernet}, // X is the length of the IPv4 header
		7: bpf.LoadIndirect{Off: sizeEthernet, Size: 4},
		8: bpf.JumpIf{Cond: bpf.JumpEqual, Val: portServer<<16 | portClient, SkipTrue: to(8, pass), SkipFalse: to(8, drop)},

		9:  bpf.JumpIf{Cond: bpf.JumpEqual, Val: etherARP, SkipTrue: to(9, pass)},
		10: bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: etherIPv6, SkipTrue: to(10, drop)},
		11: bpf.LoadAbsolute{Off: sizeEthernet + 6, Size: 1}, // next header
		12: bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: protoICMP6, SkipTrue: to(12, drop)},
		13: bpf.LoadAbsolute{Off: sizeEthernet + sizeIPv6, Size: 1}, // type
		14: bpf.JumpIf{Cond: bpf.JumpEqual, Val: icmpNS, SkipTrue: to(14, pass)},
		15: bpf.JumpIf{Cond: bpf.JumpEqual, Val: icmpNA, SkipTrue: to(15, pass)},
		16: bpf.RetConstant{Val: 0},
	}
}

// untaggedAndIncoming drops what has a VLAN tag, which the kernel keeps beside the
// packet, and what leaves by the port, for kernels before 4.20 that do not know
// PACKET_IGNORE_OUTGOING.
func untaggedAndIncoming() []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtVLANTagPresent},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0, SkipTrue: 3},
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: packetOutgoing, SkipTrue: 1},
		bpf.RetConstant{Val: snapLength},
		bpf.RetConstant{Val: 0},
	}
}
