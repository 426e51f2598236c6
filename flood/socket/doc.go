// Package socket is the engine that needs nothing but sockets.
//
// # Hearing
//
// A packet socket on the underlay hears every frame with a filter in the kernel that
// passes only what is sent to a group or service address of the table. It is bound to no
// UDP port: 4789 is the kernel's, and a second socket there would keep VXLAN devices
// from coming up (EADDRINUSE, seen on Linux 6.18). Frames of this host's own VXLAN device
// are heard as well, as the socket takes all protocols (ETH_P_ALL). PACKET_VNET_HDR
// tells of checksums that no device has completed yet, and of merged frames, which are
// taken apart.
//
// # Sending
//
// One packet: a raw socket with our own IP and UDP header, a copy for each VTEP, many in
// one sendmmsg. That is the only plain socket that keeps source address and port.
//
// Packets of one flow that waited together (a run): a UDP socket bound to the original
// source address (IP_TRANSPARENT) and port, and UDP_SEGMENT: one trip through the stack
// for each VTEP takes up to 64 packets. Runs form exactly under load: when
// reading and sending are nearly all that the engine does, it lets packets gather before it reads
// again, from 64 µs up to 10 ms. Until then nothing waits.
//
// The send buffer is smaller than an egress queue, so a slow wire makes the engine wait
// rather than lose; what arrives meanwhile waits in the large receive buffer, and what
// that cannot hold is counted ([flood.Overrun]).
//
// Next hops that do not answer hold packets as well, for seconds, on the account of the
// socket. One that makes no progress is left to them, another takes its place, and the
// kernel is asked who does not answer: from then on VTEPs behind such a hop are served by
// a socket that does not wait ([flood.Unresolved]).
package socket
