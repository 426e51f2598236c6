// Package speaker holds the BGP sessions: the embedded GoBGP server and the
// session guard between every socket and it.
//
//	peer ⇄ guard ⇄ 127.66.x.y ⇄ GoBGP
//
// GoBGP owns the state machine, OPEN negotiation, keepalives, the hold timer and
// reflection between neighbours. It listens on one loopback port only; each
// neighbour is a passive neighbour there, with a loopback address that stands for it.
// The guard owns the outer sockets (source address, TCP MD5, GTSM, listening, dialling)
// and every UPDATE: it decodes them once, strictly, and gives the routes to the
// core; GoBGP v3.37.0 only ever sees messages that the guard wrote anew, because its decoder
// panics on some inputs and drops good routes on others.
//
// # Leaf and transit
//
// GoBGP needs the routes only to pass them on: when a neighbour is a
// route-reflector client, when an eBGP neighbour is one of several, or when GoBGP's own API is
// served. Otherwise (leaf mode) UPDATEs end at the guard, GoBGP holds no second copy,
// and routes that no VNI imports are shed after a sample.
//
// # Order of events
//
// Per neighbour, in the order in which they happened: NeighborUp, then its RoutesReceived and
// EndOfRIB, then NeighborDown; NeighborRemoved last. A sink that blocks holds
// back the neighbour's TCP socket; it must return once the context of Run is done.
//
// # Own routes
//
// [Speaker.Apply] keeps one table for all neighbours. A session sends it packed
// when it is established, then End-of-RIB, then changes as they come. What is applied before
// Run is therefore out before the first End-of-RIB.
package speaker
