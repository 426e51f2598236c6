// Package snoop hears ARP, neighbour discovery and DHCPv4 on the access ports of
// bridges, and says which host has which IP address. A bridge without an address of
// its own learns none (its kernel has no reason to), and most have none.
//
// It has three parts that do not know each other; package kernel joins them.
//
//   - [Parse] reads a frame, strictly, and the builders ([ARPRequestFrame], [NSFrame],
//     …) make frames. Both are pure.
//   - [Wire] is where frames come from and go to; [Taps] is the one of Linux: a packet
//     socket for each port, with a filter in the kernel that passes nothing else, so
//     that data traffic is not copied.
//   - [Table] decides who has what: limits, ageing, proofs. It is pure as well: what
//     it is told comes with the time, what it wants done is handed out.
//
// # What is believed
//
// The sender of ARP and ND must be the source of its frame, and the bridge must
// have learned that MAC on the very port. VXLAN ports are not listened to. What only
// announces that an address will be used (duplicate address detection, RFC 4862; a
// DHCP acknowledgement, which says it about somebody else) is a claim: its owner is
// asked for the address a little later, and the answer makes the binding. So a
// solicitation that a defender answers, and a forged acknowledgement, bind nothing.
// Router advertisements, router solicitations and redirects tell nothing here.
//
// [Table] is not safe for concurrent use; [Taps] is.
package snoop
