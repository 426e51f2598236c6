// Package flood copies broadcast, unknown-unicast and multicast (BUM) frames for
// VTEPs that cannot do it themselves: a VXLAN packet that was sent to a multicast
// group or to a service address is sent on, unicast, to every VTEP of its network.
//
// Deciding is pure and apart from moving packets:
//
//	table ── Compile ──▶ Decider ◀── Parse ◀── packet
//	                        │
//	                 Verdict: a Reason to drop it, or the VTEPs to copy it to
//
// [Parse] reads an outer packet strictly, [Decider] says who gets a copy; neither does
// I/O, reads a clock or starts a goroutine. An [Engine] has the sockets or programs that
// hear and send. Whatever engine: same packets in, same packets out, which
// flood/floodtest proves in network namespaces.
//
//	engine, choice, err := flood.Choose("auto", engines, options)
//	err = engine.Start()
//	err = engine.Apply(table)   // whole; a VTEP in both tables misses nothing, gets nothing twice
//	engine.Counters()           // by network and reason
//	err = engine.Close()
//
// # What a copy looks like
//
// The outer source address and UDP port are those of the packet that was heard, so that
// VTEPs which learn from data learn the true one. The UDP payload, VXLAN header
// included, is the same byte for byte. TTL is [TTL]. A UDP checksum that was there is
// there again; a zero one may be zero or right (an engine that lets the kernel segment
// cannot have it zero). The DSCP is [Mark].
//
// # No copy is ever copied
//
// Copies keep their source, so it cannot tell them from originals. What does:
//
//   - The list: a copy never goes to an address at which we, or a replicator that we
//     know of, listen for frames to copy ([Table.Services]), nor to ourselves.
//   - The place: on a group, only VTEPs of the segment and our own address are
//     originals; what comes from elsewhere has been carried there ([SourceOutside]).
//   - The mark: copies carry DSCP [Mark], and a packet with it is dropped
//     ([Relayed]). It ends the loops which the lists cannot know of: two replicators
//     that were given as VTEPs to each other by hand, two segments joined by mistake.
//
// A service address that delivers to a group ([Network.Deliver]) is the one place where
// copies are accepted. What it sends is marked as well and goes to a group, from where
// no relay copies it: its source is outside, and it has the mark.
//
// The mark is the last of the three because routers may clear a DSCP. It is a
// code point for local use (RFC 2474 §6, pool 2) that Linux and IP precedence treat like the
// default one; VXLAN endpoints ignore it.
//
// # For whom
//
// What this host sends to a group is copied by itself ([Network.Own]), what others send by the relay
// that was elected, and by that only as long as its lease goes ([Engine.Renew]). VTEPs that
// copy their own frames are left to it ([Network.Itself]). Once neighbours no longer know
// of this host, others copy its frames as well, so that ends too ([Engine.Keep]).
package flood
