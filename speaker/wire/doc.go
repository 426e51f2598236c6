// Package wire is the BGP codec of the session guard: framing, OPEN,
// NOTIFICATION, and UPDATE for the one family we speak, EVPN (AFI 25, SAFI 70).
//
// It is pure: bytes in, values out, no I/O but reading a message from a reader,
// no log, no clock. Nothing it returns aliases what it was given, and nothing it
// is given can make it panic. A [Session] belongs to one goroutine.
//
//	up, err := wire.ParseUpdate(body, session) // err: end the session with this NOTIFICATION
//	sink(evpn.RoutesReceived{Announced: up.Announced, Withdrawn: up.Withdrawn})
//	if up.Forward != nil { gobgp.Write(wire.Message(wire.TypeUpdate, up.Forward)) }
//
// # What an error leads to
//
// RFC 7606 orders the outcomes; when several apply, the strongest counts (§3 h):
//
//	attribute discard   the attribute is left out, the routes stay
//	route skip          one NLRI is left out, the others stay
//	treat-as-withdraw   the routes of the UPDATE are withdrawn
//	session reset       [ParseUpdate] returns an *[Error]
//
// Route skip is ours. RFC 7606 §5.4 has a speaker discard routes of a type it
// does not know; we treat an NLRI of a known type with an impossible inner length
// in the same way, because the type and length octets of RFC 7432 §7 say where the next
// NLRI begins whatever this one holds. Where the framing itself breaks (an NLRI that runs
// past its attribute), the routes before it were located beyond doubt: they stay,
// the rest is dropped and counted. RFC 7606 §3 (j) would allow ending the session
// there; that would cost every good route of the peer, again and again.
//
// A session is reset only where RFC 7606 leaves no other way: lengths of the
// message that contradict each other, MP_REACH_NLRI or MP_UNREACH_NLRI twice, with
// wrong flags or too short (§3 g, §5.3), a next hop of impossible length in front of the NLRI
// (§7.11), a well-known attribute that is none (RFC 4271 §6.3), and an attribute error
// in an UPDATE in which no reachable route was found (§5.2).
//
// # Rules by attribute
//
//	ORIGIN, AS_PATH, NEXT_HOP, MED     treat-as-withdraw        RFC 7606 §7.1-§7.4, RFC 7607 (AS 0)
//	LOCAL_PREF, ORIGINATOR_ID,
//	CLUSTER_LIST                       eBGP: discard, else
//	                                   treat-as-withdraw        §7.5, §7.9, §7.10
//	ATOMIC_AGGREGATE, AGGREGATOR       discard                  §7.6, §7.7
//	(extended, large) communities      treat-as-withdraw        §7.8, §7.14, §7.15, RFC 8092 §6
//	AS4_PATH, AS4_AGGREGATOR, AIGP     discard                  RFC 6793 §6, RFC 7311 §3.3
//	PMSI_TUNNEL                        treat-as-withdraw        RFC 6514 §5
//	any, Optional or Transitive wrong  treat-as-withdraw        RFC 7606 §3 (c)
//	any, twice                         the first counts         §3 (g)
//	unknown, optional                  transitive: kept, partial; else ignored   RFC 4271 §5
//
// # Forwarding
//
// [Update.Forward] is an UPDATE that GoBGP v3.37.0 is known to parse. It is written anew
// from parts that were checked, never copied from the peer as a whole: that decoder
// panics on short EVPN NLRI, and gives up on a whole UPDATE for one route type or EVPN extended
// community it does not know (its behaviour is held by tests here). Extended
// communities, the PMSI tunnel and other attributes that it would bend travel through it unseen and
// untouched, and [AppendRestored] puts them back on the way out.
package wire
