// Package evpn decides what a VTEP should be: which EVPN routes to originate,
// which rows the kernel should hold, and why a received route is not used.
//
// It touches nothing. Events go in, changes come out, time is an argument:
//
//	core := evpn.New(cfg)
//	core.Handle(evpn.VNIState{VNI: 100, Up: true}, now)
//	core.Handle(evpn.RoutesReceived{Neighbor: rr, Announced: routes}, now)
//	changes := core.Drain(now) // routes to announce, rows to write, notes to log
//
// There is no I/O, goroutine, clock, lock or log in here, so a Core is not safe
// for concurrent use: one goroutine owns it. It is incremental (a change costs
// what it touches, never the size of the table) and deterministic (equal input
// gives equal output, in one canonical order). [Core.Desired] lists the whole
// intended state for resync, for the drift report and for tests.
//
// The rules come from RFC 7432 (EVPN; §7 routes, §10.1 default gateways, §15 MAC
// mobility), RFC 9721 (mobility of IPs; see ipentry.go for what of it), RFC 8365
// (VXLAN encapsulation; §5.1.2.1 route-target derivation), RFC 9012 (encapsulation
// community), RFC 6514 §5 (PMSI tunnel attribute), RFC 4724 and RFC 9494 (stale and
// long-lived stale routes).
//
// [Core.Snapshot] gives events that make an equal core, [Core.Explain] why a MAC is
// where it is.
package evpn
