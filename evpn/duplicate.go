package evpn

import (
	"net/netip"
	"time"
)

// Duplicate detection (RFC 7432 §15.1 for a MAC; RFC 9721 §8 for an IP that two MACs
// claim in turn). What moves too often stays where it is: frozen as local it is
// announced with the sequence that it has and hears of no route; frozen as remote it
// hears only that VTEP, and a local claim is held back.

// mover is a MAC or an IP, whose moves are counted.
type mover interface {
	history() **moveLog
	subject() Note // names it
	touch(c *Core)
}

// moveLog is the history of a mover that moved lately.
type moveLog struct {
	of       mover
	moves    []time.Time // inside the window when last looked at
	next     time.Time   // when its timer is due
	frozenAt time.Time   // zero while not frozen
	frozenTo netip.Addr  // remote VTEP, or zero for local
	sequence uint32      // of a MAC frozen as local
}

func (l *moveLog) frozen() bool { return l != nil && !l.frozenAt.IsZero() }

func (m *macEntry) frozen() bool       { return m.log.frozen() }
func (m *macEntry) history() **moveLog { return &m.log }
func (m *macEntry) subject() Note      { return Note{VNI: m.vni.vni, MAC: m.mac} }
func (m *macEntry) touch(c *Core)      { c.touchMAC(m) }

func (e *ipEntry) frozen() bool       { return e.log.frozen() }
func (e *ipEntry) history() **moveLog { return &e.log }
func (e *ipEntry) subject() Note      { return Note{VNI: e.vni.vni, MAC: e.holder, IP: e.ip} }
func (e *ipEntry) touch(c *Core) {
	c.touchIP(e)
	if e.bound != nil {
		c.touchMAC(e.bound) // its claim may have waited
	}
}

// countMove counts a move to a remote VTEP, or to here when that is zero.
func (c *Core) countMove(of mover, to netip.Addr) {
	d, slot := c.cfg.Duplicate, of.history()
	if d.Moves <= 0 || (*slot).frozen() {
		return
	}
	if *slot == nil {
		*slot = &moveLog{of: of}
	}
	l := *slot
	l.prune(c.now.Add(-d.Window))
	l.moves = append(l.moves, c.now)
	if len(l.moves) < d.Moves {
		c.arm(l, l.moves[0].Add(d.Window))
		return
	}
	l.frozenAt, l.frozenTo = c.now, to
	n := of.subject()
	n.Kind, n.VTEP, n.Detail = NoteDuplicate, to, "frozen as local"
	if n.IP.IsValid() {
		n.Kind = NoteIPDuplicate
	}
	if to.IsValid() {
		n.Detail = "frozen as remote"
	} else if m, ok := of.(*macEntry); ok {
		l.sequence = m.local.sequence
	}
	c.notes = append(c.notes, n)
	c.armThaw(l)
}

func (l *moveLog) prune(oldest time.Time) {
	i := 0
	for i < len(l.moves) && !l.moves[i].After(oldest) {
		i++
	}
	l.moves = append(l.moves[:0], l.moves[i:]...)
}

// count is the number of moves that an operator is shown.
func (l *moveLog) count(oldest time.Time) (n int) {
	for _, t := range l.moves {
		if l.frozen() || t.After(oldest) {
			n++
		}
	}
	return n
}

func (c *Core) armThaw(l *moveLog) {
	if d := c.cfg.Duplicate.Recovery; d > 0 {
		c.arm(l, l.frozenAt.Add(d))
	} else {
		l.next = time.Time{}
	}
}

// thaw ends a freeze: the mover is open to every claim again.
func (c *Core) thaw(of mover, reason Reason, detail string) {
	c.noteThaw(of, reason, detail)
	*of.history() = nil
	of.touch(c)
}

// forgetMoves ends the history of what is settled at this moment, because its VNI is
// down or because it does not move.
func (c *Core) forgetMoves(of mover) {
	l := of.history()
	if (*l).frozen() {
		reason := VNIDown
		if m, ok := of.(*macEntry); ok && m.vni.up {
			reason = GatewayIsLocal
		}
		c.noteThaw(of, reason, "")
	}
	*l = nil
}

func (c *Core) noteThaw(of mover, reason Reason, detail string) {
	n := of.subject()
	n.Kind, n.Reason, n.Detail = NoteDuplicateCleared, reason, detail
	if n.IP.IsValid() {
		n.Kind = NoteIPDuplicateOver
	}
	c.notes = append(c.notes, n)
}

func (c *Core) duplicateCleared(ev DuplicateCleared) {
	v := c.configured(ev.VNI)
	if v == nil {
		return
	}
	if ev.MAC.IsZero() {
		for _, m := range v.macs {
			if m.frozen() {
				c.clearMoves(m)
			}
		}
		for _, e := range v.ips {
			if e.frozen() {
				c.clearMoves(e)
			}
		}
		return
	}
	m := v.macs[ev.MAC]
	if m == nil {
		return
	}
	c.clearMoves(m)
	for e := m.ips; e != nil; e = e.nextOfMAC {
		c.clearMoves(e)
	}
	for p := m.head; p != nil; p = p.next {
		if p.namesIP() {
			c.clearMoves(v.ips[p.Key.IP])
		}
	}
}

func (c *Core) clearMoves(of mover) {
	switch l := of.history(); {
	case *l == nil:
	case (*l).frozen():
		c.thaw(of, "", "cleared by hand")
	default:
		*l = nil
		of.touch(c)
	}
}

// due and ring make a log an [alarm]. One that was replaced has no say.
func (l *moveLog) due() time.Time {
	if *l.of.history() != l {
		return time.Time{}
	}
	return l.next
}

func (l *moveLog) ring(c *Core) {
	if l.frozen() {
		c.thaw(l.of, "", "recovery time over")
		return
	}
	l.prune(c.now.Add(-c.cfg.Duplicate.Window))
	if len(l.moves) == 0 {
		*l.of.history() = nil
		l.of.touch(c)
		return
	}
	c.arm(l, l.moves[0].Add(c.cfg.Duplicate.Window))
}

func (c *Core) arm(l *moveLog, at time.Time) {
	if l.next.Equal(at) {
		return
	}
	l.next = at
	c.startTimer(l)
}

// rearmAll sets the timers anew after the settings of the detection changed.
func (c *Core) rearmAll() {
	for _, v := range c.vnis {
		for _, m := range v.macs {
			c.rearm(m.log)
		}
		for _, e := range v.ips {
			c.rearm(e.log)
		}
	}
	c.fireTimers()
}

func (c *Core) rearm(l *moveLog) {
	switch {
	case l == nil:
	case l.frozen() && c.cfg.Duplicate.Moves <= 0:
		c.thaw(l.of, "", "detection turned off")
	case l.frozen():
		c.armThaw(l)
	default:
		c.arm(l, c.now) // look at it at once
	}
}
