// Package daemon wires a running vtepbgp: configuration, kernel, core, speaker and
// control interface.
//
// One goroutine, the loop, owns the [evpn.Core]. Everything else reaches the core
// through it:
//
//	kernel ──events─▶ queue ┐          ┌─▶ speaker.Apply   own routes
//	speaker ─events─▶ queue ┼▶  loop  ─┼─▶ kernel.Apply    rows
//	flooding ─heard─▶ queue ┘    ▲     ├─▶ flooding.Apply  lists of packets to copy
//	                             │     └─▶ notes           log, metrics
//	                             └ calls: show requests, reload, prune
//
// The queues are bounded. A source whose queue is full waits, which for the
// speaker means that TCP slows the peer down; the loop itself never waits for a
// source, so no circle can form. Newer facts about a local object replace older
// ones that still wait. There is no debounce: an idle loop acts at once, and only
// what has queued up meanwhile is taken together.
//
// What happens on the loop can be followed from outside: a tap sees each event before
// the core takes it and the changes that follow, and hands them to a bounded feed that
// one reader empties. A monitor that is too slow loses some and is told how many; a
// recording that is too slow ends, because a gap would tell another story. Nothing
// reaches the core but by loop.tell, so that no tap misses it.
//
// # Start and stop
//
// Start: configuration, locks and state directory, devices, control socket, loop, first
// dump of the kernel, then the speaker, once every local MAC and every VTEP that we spoke
// for has been handed to it, so that all of them go out before our End-of-RIB. Stop is the
// reverse. A part that ends with an error ends the process in order.
//
// # Rows found at start
//
// Rows that an earlier run left in the kernel stay until every configured
// neighbour that we dial was established once and all that were established have
// sent End-of-RIB, or until the graceful restart time, at most [maxPruneDelay], has
// passed since the speaker started. What nobody has confirmed by then is swept. What an
// earlier run left copying packets copies on as long, but not longer than ten seconds
// after the first full picture.
//
// # What is copied for others
//
// Another relay may take over when the neighbours give us up. So the flooding module
// copies for others under a lease, which is renewed by way of the loop and is as long as
// the neighbours take to find us dead.
//
// # Concurrency
//
// [Run] blocks until its context ends or a part fails, and owns every goroutine it
// starts.
package daemon
