package speaker

import (
	"errors"
	"fmt"
	"time"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/speaker/wire"
)

// Reasons of drops that the guard itself counts; the others are wire's.
const (
	dropRefreshFamily = "route refresh for a family not negotiated"
)

// inbound carries the peer's messages to the core and to GoBGP.
func (s *session) inbound() error {
	if err := s.toGoBGP(s.theirOpen().Message()); err != nil {
		return err
	}
	if err := s.innerW.Flush(); err != nil {
		return gobgpError(err)
	}
	var buf []byte
	lastInner := time.Now()
	for {
		if s.outerR.Buffered() == 0 {
			if err := s.innerW.Flush(); err != nil {
				return gobgpError(err)
			}
		}
		typ, msg, err := wire.ReadMessage(s.outerR, buf, wire.MaxMessage)
		if err != nil {
			if closedByPeer(err) {
				s.lapse()
			}
			return readError(err)
		}
		buf = msg
		s.n.count.messagesIn.Add(1)
		body := msg[wire.HeaderLen:]
		forwarded := false
		switch typ {
		case wire.TypeKeepalive:
			forwarded, err = true, s.toGoBGP(msg)
			if err == nil && !s.established.Load() {
				if err = s.innerW.Flush(); err == nil {
					s.establish()
				}
			}
		case wire.TypeUpdate:
			forwarded, err = s.update(body)
		case wire.TypeNotification:
			s.end(down{text: "peer sent NOTIFICATION: " + wire.ParseNotification(body).String(), notified: true})
			return nil
		case wire.TypeRouteRefresh:
			forwarded, err = s.refresh(body)
		case wire.TypeOpen:
			err = s.unexpected(typ)
		}
		if err != nil {
			return err
		}
		// GoBGP runs the hold timer: what it does not get to see must still feed it.
		if now := time.Now(); forwarded {
			lastInner = now
		} else if now.Sub(lastInner) >= time.Second {
			lastInner = now
			if err := s.toGoBGP(wire.Keepalive()); err != nil {
				return err
			}
			if err := s.innerW.Flush(); err != nil {
				return gobgpError(err)
			}
		}
	}
}

// unexpected is RFC 6608: the finite state machine error names the state.
func (s *session) unexpected(typ byte) error {
	sub := uint8(2) // OpenConfirm
	if s.established.Load() {
		sub = 3
	}
	return &wire.Error{Code: wire.CodeFSM, Subcode: sub, Detail: fmt.Sprintf("unexpected message type %d", typ)}
}

func (s *session) toGoBGP(msg []byte) error {
	if _, err := s.innerW.Write(msg); err != nil {
		return gobgpError(err)
	}
	return nil
}

func gobgpError(err error) error { return fmt.Errorf("pass to gobgp: %w", err) }

// update takes one UPDATE apart; it reports whether GoBGP got something.
func (s *session) update(body []byte) (forwarded bool, err error) {
	if !s.established.Load() {
		return false, s.unexpected(wire.TypeUpdate)
	}
	s.n.count.updatesIn.Add(1)
	transit := s.n.s.transit.Load()
	s.wire.Transit = transit
	u, err := wire.ParseUpdate(body, &s.wire)
	if err != nil {
		return false, err
	}
	for _, d := range u.Drops {
		s.n.count.drops.add(s.n.log, d.Reason, d.Count, d.Detail)
	}
	ev := evpn.RoutesReceived{Neighbor: s.n.addr, Announced: u.Announced, Withdrawn: u.Withdrawn}
	s.noteLapsing(&ev)
	total := s.account(&ev, transit)
	if len(ev.Announced)+len(ev.Withdrawn) > 0 {
		s.n.s.emit(ev)
	}
	if limit := s.n.maxPrefixes(); limit > 0 && total > limit {
		s.overLimit(total, limit)
		return false, nil
	}
	if u.EndOfRIB {
		s.n.s.emit(evpn.EndOfRIB{Neighbor: s.n.addr})
		s.n.endOfRIB()
		return true, s.toGoBGP(wire.EndOfRIB())
	}
	if u.Forward == nil {
		return false, nil
	}
	err = s.toGoBGP(wire.Message(wire.TypeUpdate, u.Forward))
	for _, more := range u.ForwardMore {
		if err == nil {
			err = s.toGoBGP(wire.Message(wire.TypeUpdate, more))
		}
	}
	return true, err
}

// account notes the routes of ev, sheds those nobody needs, and gives the number of routes the
// peer now has with us.
func (s *session) account(ev *evpn.RoutesReceived, transit bool) int {
	imports := s.n.s.imports.Load()
	s.mu.Lock()
	defer s.mu.Unlock()
	withdrawn := ev.Withdrawn[:0]
	for _, k := range ev.Withdrawn {
		if s.in.withdrawn(k) {
			withdrawn = append(withdrawn, k)
		}
	}
	announced := ev.Announced[:0]
	for i := range ev.Announced {
		if s.in.announced(&ev.Announced[i], imports, transit) {
			announced = append(announced, ev.Announced[i])
		}
	}
	ev.Announced, ev.Withdrawn = announced, withdrawn
	return len(s.in.routes)
}

// overLimit ends the session by RFC 4486 §4 and keeps the neighbour down.
func (s *session) overLimit(total, limit int) {
	text := fmt.Sprintf("sent NOTIFICATION: %s: %d routes, the limit is %d; down for %s or until reset",
		wire.ErrorText(wire.CodeCease, wire.SubMaxPrefixes), total, limit, holdDown)
	data := []byte{0, wire.AFIL2VPN, wire.SAFIEVPN, byte(limit >> 24), byte(limit >> 16), byte(limit >> 8), byte(limit)}
	s.endWith(wire.Notification(wire.CodeCease, wire.SubMaxPrefixes, data), down{text: text, notified: true, hold: true})
}

// refresh answers a ROUTE-REFRESH (RFC 2918) with our own routes; GoBGP answers with those it passes on.
func (s *session) refresh(body []byte) (forwarded bool, err error) {
	if !s.established.Load() {
		return false, s.unexpected(wire.TypeRouteRefresh)
	}
	family, subtype, err := wire.ParseRouteRefresh(body)
	switch {
	case err != nil:
		return false, err
	case family != wire.EVPN:
		s.n.count.drops.add(s.n.log, dropRefreshFamily, 1, family.String())
		return false, nil
	case subtype != 0:
		// Begin and end of an enhanced refresh that we did not negotiate: RFC 7313 §5 ignores them.
		return false, nil
	}
	s.out.rewind()
	if !s.n.s.transit.Load() {
		return false, nil
	}
	return true, s.toGoBGP(wire.RouteRefresh())
}

// askRefresh asks the peer for all its routes again, when it can.
func (s *session) askRefresh() error {
	if !s.peer.RouteRefresh {
		return errors.New("peer did not announce route refresh")
	}
	return s.write(wire.RouteRefresh(), 1)
}
