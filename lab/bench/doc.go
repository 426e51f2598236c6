// Command bench measures vtepbgp beside FRR on one machine, in one run.
//
//	go run ./lab/bench                     # everything; writes docs/performance.md with -write
//	go run ./lab/bench -only learn,vnis    # some measurements
//	go run ./lab/bench -quick              # small numbers, a few minutes: does it still work?
//
// Both systems get the same topology of network namespaces, the same feeder and
// the same observer, and take turns. What is fed and observed belongs to neither:
//
//   - routes come from, and are counted by, a scripted BGP peer in this process
//     that plays the route reflector (it packs 100 NLRI an UPDATE, as FRR does,
//     and starts sending the moment the session is up, as FRR does not);
//   - local MACs are written by raw netlink in batches of 200, or are real frames;
//   - rows are observed through a netlink socket whose filter lets one row in
//     sixteen through, read every millisecond, and confirmed by one full dump.
//
// Namespaces are anonymous: they vanish with the last of their processes. What a
// killed run left is ended by the next. It needs root, and FRR for the comparison.
package main
