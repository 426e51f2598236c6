// Command floodbench measures who copies BUM frames how fast: the engines of package flood
// beside the kernel's own head-end replication and a plain loop, in one run.
//
//	go run ./lab/floodbench                    # everything; -write docs/performance.md keeps it
//	go run ./lab/floodbench -only rate         # some measurements (-list shows them)
//	go run ./lab/floodbench -quick             # small numbers: does it still work?
//
// Every method has a stand of its own, three namespaces in a row:
//
//	generator g0 ──veth── r0 replicator r1 ──veth── s0 sink
//
// The generator is on processor 0. All else is on processor 1: r0 receives in a kernel thread
// (threaded NAPI) that is bound there, the replicator runs there, and what it sends is
// received by the sink there, since a veth pair receives where it is sent. A rate is therefore
// what one core does, wire included, and only the generator is free.
//
// The sink is a program at tcx which counts by destination and throws away, so nothing is
// counted twice or between two readings. Some frames are marked: for those it counts every
// destination by itself, and each of them has to be counted exactly once.
//
// A veth pair has no transmit queue but the receiver's backlog, whose limit
// (net.core.netdev_max_backlog) belongs to no namespace. It is raised while this runs, and all of it
// goes before other programs, ksoftirqd included (not with -quick): what those take would look like a
// slower replicator. A process of its own restores both, also when this one is killed.
//
// Needs root, two processors and Linux 6.6 (tcx; the engines need less).
package main
