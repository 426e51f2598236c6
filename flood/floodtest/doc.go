// Package floodtest holds what every [flood.Engine] must do, as one suite that runs in
// network namespaces: same packets in, same packets out.
//
//	func TestContract(t *testing.T) {
//		floodtest.Run(t, func(t testing.TB, o flood.Options) flood.Engine { … })
//	}
//
// The stage is a relay between a segment, from where the suite sends byte by byte, and
// a wire beyond which the VTEPs are:
//
//	 segment            relay                 VTEPs
//	┌───────┐        ┌──────────┐          ┌──────────┐
//	│    s0 ├────────┤ u0    u1 ├──────────┤ v1       │ 10.9.0.0/16 behind 10.0.2.2
//	└───────┘        └──────────┘          └──────────┘
//
// Copies are counted where they leave, on u1 behind its queue: a veth drops what its peer
// is too slow for (net.core.netdev_max_backlog), which says nothing about an engine. Every
// packet carries a number, and every (VTEP, number) is asked for exactly once.
//
// It needs root, and skips without, unless VTEPBGP_LAB_REQUIRED=1 asks it to fail.
package floodtest
