// Package kernel is the netlink adapter: it alone reads and writes links,
// forwarding rows (FDB) and neighbours of the host.
//
// It holds intent and reality side by side. The core tells it what rows there
// should be ([Kernel.Apply]); the kernel tells it what rows there are (a dump,
// then events); what differs is written in batches. Events only say what to look
// at again: a lost event is repaired by a full re-read.
//
//	b, err := kernel.NewNetlink(kernel.NetlinkOptions{})
//	k := kernel.New(b, log)
//	err = k.Configure(cfg)          // create or adopt devices
//	go k.Run(ctx, sink)             // local MACs, local IPs, VNI state → core
//	k.Apply(changes)                // rows ← core; never blocks on the kernel
//	k.AllowPrune()                  // now sweep rows that nobody asked for
//
// # How rows look
//
// The conventions are FRR's (zebra/rt_netlink.c, FRR 8.4 as observed), so that
// people and tools read them alike:
//
//   - flood row: zero MAC, NTF_SELF, NUD_NOARP|NUD_PERMANENT, appended, one per VTEP;
//   - flood row towards a multicast group: the same with the link that it leaves by
//     (NDA_IFINDEX), on a device made without a group; a device that has the group itself
//     has the row already, and keeps it;
//   - remote MAC: one message with NTF_MASTER|NTF_SELF|NTF_EXT_LEARNED and
//     NUD_REACHABLE makes two rows, one in the bridge, one in the VXLAN device;
//   - sticky remote MAC: NTF_STICKY instead of NTF_EXT_LEARNED, NUD_REACHABLE|NUD_NOARP;
//   - remote IP: neighbour of the bridge, NUD_NOARP, NTF_EXT_LEARNED, protocol
//     [Protocol]. The FDB does not keep a protocol (Linux 6.18), so none is sent there.
//
// # What is ours
//
// On the VXLAN device of a configured VNI: zero-MAC rows (but for the device's own
// default remote) and rows with extern_learn or sticky; on its bridge: rows of the
// VXLAN port with the same marks, and neighbours with our protocol. Addresses with our
// mark: the protocol, or a metric where Linux keeps no protocol of addresses. Nothing
// else is ever deleted; rows that the data path learned or that an operator pinned as
// permanent stay. Links are deleted only when they carry our mark in their alias
// ([AliasPrefix]) and their VNI has left the configuration.
//
// # What is local
//
// Rows of bridge ports other than the VXLAN device are local MACs, except permanent
// ones (the port's own) and extern_learn ones that were not ours before (some other
// control plane). A local row over a remote MAC of ours is a move, not damage: it is
// reported and left alone until [Kernel.Apply] speaks about that MAC again.
//
// # Addresses of ours
//
// A service address is on lo, with a scope of host (IPv4) or deprecated (IPv6); a group
// is joined by an address that joins (IFA_F_MCAUTOJOIN), for IPv4 as the far side of a
// point-to-point address, for IPv6 without the local route that comes with it. Neither is
// ever a source that Linux chooses, nor anything that this package takes for an address
// of the host. They follow from the configuration alone, are put back when somebody
// removes them, outlive the process, and go with [Kernel.Flush]. docs/adr/0010 says why
// they look so.
//
// # Who is there
//
// [Kernel.Segment] gives the prefixes on a link, [Kernel.Alive] asks a VTEP whether it
// is there. Both are for the flooding module.
//
// # Drift
//
// [Kernel.Drift] reads rows and links anew and compares them with intent, by code that
// shares nothing with the mirror that events keep: it finds what the incremental
// machinery lost. Drift is what [Kernel.Repair] would change; what belongs to others
// is told as foreign. [Kernel.Inspect] gives the rows of single MACs and addresses.
//
// # Concurrency
//
// All methods of [Kernel] are safe for concurrent use. One goroutine (Run) owns the
// event socket and writes rows; a second hands events to the sink, which may block.
package kernel
