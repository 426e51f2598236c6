package speaker

import (
	"bytes"
	"fmt"
	"time"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/speaker/wire"
)

const (
	// sendBatch is how many own routes are packed at once: enough to fill messages, few enough that a
	// keepalive does not wait.
	sendBatch = 4096
	// sendPause is how long changes are collected after a send. A single change leaves at once.
	sendPause = 2 * time.Millisecond
)

// outbound carries GoBGP's messages to the peer.
func (s *session) outbound() error {
	var (
		buf, restored  []byte
		pack           wire.Repacker
		greeted, ended bool
		passed         = wire.Session{FourOctetAS: s.peer.FourOctetAS, EVPN: true, IBGP: s.wire.IBGP}
		lastFlush      time.Time
	)
	flush := func() error {
		if b, n := pack.Take(); n > 0 {
			lastFlush = time.Now()
			return s.write(b, n)
		}
		return nil
	}
	for {
		if pack.Size() >= writeBuffer || (pack.Size() > 0 && !s.moreFromGoBGP(lastFlush)) {
			if err := flush(); err != nil {
				return err
			}
		}
		typ, msg, err := wire.ReadMessage(s.innerR, buf, wire.MaxMessage)
		if err != nil {
			select {
			case <-s.done:
				return nil
			default:
				return fmt.Errorf("gobgp closed the session: %w", err)
			}
		}
		buf = msg
		switch typ {
		case wire.TypeNotification:
			n := wire.ParseNotification(msg[wire.HeaderLen:])
			s.endWith(bytes.Clone(msg), down{text: "sent NOTIFICATION: " + n.String(), notified: true})
			return nil
		case wire.TypeUpdate:
			if isEndOfRIB(msg) {
				if err := flush(); err != nil {
					return err
				}
				if !ended {
					ended = true
					close(s.gobgpEOR)
				}
				continue
			}
			s.n.count.updatesOut.Add(1)
			s.notePassedOn(msg[wire.HeaderLen:], &passed)
			restored = wire.AppendRestored(restored[:0], msg, !s.wire.IBGP)
			pack.Add(restored)
		default:
			pack.Add(msg)
			if err := flush(); err != nil {
				return err
			}
			if typ == wire.TypeKeepalive && !greeted {
				greeted = true
				close(s.greeted)
			}
		}
	}
}

// moreFromGoBGP reports whether another message is there. In a burst it waits a little for one, so
// that messages can be joined; a route that comes alone is not held up.
func (s *session) moreFromGoBGP(lastFlush time.Time) bool {
	if s.innerR.Buffered() > 0 {
		return true
	}
	if time.Since(lastFlush) > 2*sendPause {
		return false
	}
	_ = s.inner.SetReadDeadline(time.Now().Add(sendPause))
	_, err := s.innerR.Peek(1)
	_ = s.inner.SetReadDeadline(time.Time{})
	return err == nil
}

// notePassedOn counts the routes that GoBGP has the peer know. A set of hashes, because GoBGP repeats
// and withdraws more than it announced.
func (s *session) notePassedOn(body []byte, as *wire.Session) {
	u, err := wire.ParseUpdate(body, as)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range u.Withdrawn {
		delete(s.passedOn, s.in.hash(k))
	}
	for i := range u.Announced {
		s.passedOn[s.in.hash(u.Announced[i].Key)] = struct{}{}
	}
}

// isEndOfRIB knows GoBGP's End-of-RIB: an MP_UNREACH_NLRI for EVPN that lists nothing,
// with or without the extended length flag.
func isEndOfRIB(msg []byte) bool {
	b := msg[wire.HeaderLen:]
	if len(b) < 10 || len(b) > 11 || b[0]|b[1] != 0 || b[5] != 15 {
		return false
	}
	return bytes.HasSuffix(b, []byte{3, 0, wire.AFIL2VPN, wire.SAFIEVPN})
}

// sendOwn sends our own routes, End-of-RIB, and then every change.
func (s *session) sendOwn() error {
	defer s.out.close()
	kind := wire.PeerKind{IBGP: s.wire.IBGP, FourOctetAS: s.wire.FourOctetAS, LocalASN: s.cfg.ASN, RFC9574: s.nc.RFC9574}
	var (
		announce []evpn.Route
		withdraw []evpn.RouteKey
		messages [][]byte
		buf      []byte
	)
	for {
		var more bool
		announce, withdraw, more = s.out.next(announce[:0], withdraw[:0], sendBatch)
		messages = wire.AppendWithdraws(messages[:0], withdraw, kind)
		messages = wire.AppendUpdates(messages, announce, kind)
		s.n.count.updatesOut.Add(uint64(len(messages)))
		for len(messages) > 0 {
			n := 0
			for buf = buf[:0]; n < len(messages) && (n == 0 || len(buf)+len(messages[n]) <= writeBuffer); n++ {
				buf = append(buf, messages[n]...)
			}
			if err := s.write(buf, n); err != nil {
				return err
			}
			messages = messages[n:]
		}
		if !s.eorSent.Load() {
			s.sent.Add(int64(len(announce)))
		}
		if more {
			continue
		}
		if !s.eorSent.Load() && s.mayEndRIB() {
			if err := s.write(wire.EndOfRIB(), 1); err != nil {
				return err
			}
			s.eorSent.Store(true)
		}
		if ok := s.awaitChange(); !ok {
			return nil
		}
	}
}

// mayEndRIB reports whether all that our End-of-RIB speaks for is out: our own routes are, and what
// GoBGP passes on when it does. GoBGP marks the end only where graceful restart is negotiated.
func (s *session) mayEndRIB() bool {
	if !s.n.s.transit.Load() || s.cfg.GracefulRestartTime == 0 || s.peer.GracefulRestart == nil {
		return true
	}
	select {
	case <-s.gobgpEOR:
	default:
		return false
	}
	select {
	case <-s.n.s.selected:
		return true
	default:
		return false
	}
}

// awaitChange waits until there is something to send; false when the session ends.
func (s *session) awaitChange() bool {
	var gobgpEOR, selected <-chan struct{}
	if !s.eorSent.Load() {
		select {
		case <-s.gobgpEOR:
			selected = s.n.s.selected
		default:
			gobgpEOR = s.gobgpEOR
		}
	}
	select {
	case <-s.done:
		return false
	case <-gobgpEOR:
	case <-selected:
	case <-s.out.wake:
		if last := time.Since(s.lastSend); last < sendPause {
			t := time.NewTimer(sendPause - last)
			defer t.Stop()
			select {
			case <-s.done:
				return false
			case <-t.C:
			}
		}
		s.lastSend = time.Now()
	}
	return true
}
