package speaker

import (
	"errors"
	"io"
	"maps"
	"slices"
	"syscall"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/speaker/wire"
)

// What a route says may be true only as long as the process lives that announced it: see [evpn.Route.Lapsed].
// When that process ends, graceful restart keeps its routes all the same, and BGP has no word by which those
// behind us could hear that they are stale. So we say for the peer what is left of them, to the core and to those
// whom we reflect to, as if it had been its last UPDATE.

// noteLapsing keeps the routes of ev that the peer itself announced, and that lapse with its process.
func (s *session) noteLapsing(ev *evpn.RoutesReceived) {
	for _, k := range ev.Withdrawn {
		delete(s.lapsing, k)
	}
	for _, r := range ev.Announced {
		if _, lapses := r.Lapsed(); lapses && s.originated(r.Attrs) {
			s.lapsing[r.Key] = r
		} else {
			delete(s.lapsing, r.Key)
		}
	}
}

// originated reports a route that the peer did not only pass on: no reflector set the ORIGINATOR_ID (RFC 4456 §8), and
// no other AS is in its path.
func (s *session) originated(a *evpn.Attrs) bool {
	if s.wire.IBGP {
		return !a.OriginatorID.IsValid() && a.ASPathLen == 0
	}
	return a.ASPathLen <= 1
}

// closedByPeer reports an end of the connection that the peer's kernel made: its process has ended. A way that is lost
// has no such end.
func closedByPeer(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET)
}

// lapse says what is left of the peer's routes now that it has gone, and will be kept.
func (s *session) lapse() {
	if !s.established.Load() || !s.graceful() {
		return
	}
	var announce []evpn.Route
	var withdraw []evpn.RouteKey
	for _, r := range slices.SortedFunc(maps.Values(s.lapsing), func(a, b evpn.Route) int { return a.Key.Compare(b.Key) }) {
		if left, _ := r.Lapsed(); left.Attrs != nil {
			announce = append(announce, left)
		} else {
			withdraw = append(withdraw, r.Key)
		}
	}
	kind := wire.PeerKind{IBGP: s.wire.IBGP, FourOctetAS: s.wire.FourOctetAS, LocalASN: s.peer.ASN}
	for _, msg := range wire.AppendUpdates(wire.AppendWithdraws(nil, withdraw, kind), announce, kind) {
		if _, err := s.update(msg[wire.HeaderLen:]); err != nil {
			s.n.log.WithError(err).Error("what is left of a neighbour's routes could not be said")
			return
		}
	}
	if err := s.innerW.Flush(); err != nil {
		s.n.log.WithError(err).Error("what is left of a neighbour's routes could not be passed on")
	}
}
