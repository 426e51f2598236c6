// Package ebpf is the engine that copies in the kernel: a program at tc clones a packet
// for every VTEP, and none of them visits user space.
//
//	packet ─▶ flood.bpf.c ─▶ clones to the egress queues
//	               │ the rest
//	               ▼
//	          perf buffer ─▶ handover.go ─▶ socket.Sender, which can wait
//
// # What the program does itself
//
// It parses and judges as package flood does, with maps that are made from the same
// table. All that a network's packets are judged by hangs off one entry of a map of maps,
// so replacing that entry replaces the list, the limits and the addresses at once.
//
// # The rest
//
// A program cannot wait. What it cannot finish it hands over, with the number of the
// first VTEP that got no copy and the generation of the list that the number is of:
//
//   - an egress queue took no more. Until all that was handed over has been sent, packets go
//     to user space at once, so that nobody overtakes;
//   - VTEPs behind a next hop that is not resolved, or behind a device without Ethernet
//     headers: the kernel's own stack resolves and encapsulates;
//   - IP options, and packets of several networks that offloads merged into one.
//
// # Ways
//
// The program needs the device and both MACs for each VTEP. follow.go looks routes and
// neighbours up, follows their changes, and keeps the neighbours alive, as the kernel does
// not see that they are in use.
//
// # Attaching
//
// The program hangs at tcx of the underlay, or where that cannot be in its clsact qdisc ([attacher]), without
// a link that would go with the process: after a crash, or [Engine.Leave], it goes on copying with the lists
// that it has, for others until its lease ends. The next engine finds it by its name, however it is attached,
// and takes its place when it has its first table; where none follows, [Sweep] removes it. What somebody else
// detaches is attached again.
package ebpf
