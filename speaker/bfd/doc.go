// Package bfd watches neighbours by Bidirectional Forwarding Detection: asynchronous
// sessions over one hop (RFC 5881, UDP 3784) or several (RFC 5883, UDP 4784), IPv4 and IPv6.
//
// [Machine] is one session as RFC 5880 §6.8 has it: packets and times in, packets and state
// changes out, without socket, clock or goroutine. [Watcher] gives machines their
// sockets and their time.
//
// # What is not there, on purpose
//
// Echo and demand mode of our own (a peer's demand mode is honoured), authentication, and independence
// of the control plane: the sessions live in the process that speaks BGP and die with it, so the
// C bit is never set (RFC 5882 §4.3).
//
// # Timing
//
// All sockets and timers belong to one goroutine on a thread of its own, which gets
// real-time priority where the process may ask for it. A late thread must not
// take its own lateness for a dead neighbour: what waits in the sockets is read before a
// detection time is judged, and a packet counts from when the kernel received it.
//
// # Trust
//
// A single-hop packet must arrive with TTL 255 (RFC 5881 §5), so it comes from the link. Over several hops there
// is no such proof without authentication: who can forge the neighbour's address can end the
// session by a packet that claims a restart (RFC 5883 §5). An address filter for UDP port 4784
// belongs on the border.
package bfd
