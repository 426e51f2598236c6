package evpn

import (
	"container/heap"
	"math"
	"net/netip"
	"time"
)

// MAC mobility (RFC 7432 §15). Of one (VNI, MAC):
//
//	            learned: sequence = max(remote) + 1
//	   +--------+ ------------------------------------> +-------+
//	   | remote |                                       | local |
//	   +--------+ <------------------------------------ +-------+
//	            better route: higher sequence, or equal
//	            and lower VTEP address; the local fact ends
//
// A sticky claim never yields to one that is not (§15.2). Five such moves in 180
// seconds freeze the MAC where it is (§15.1).

// contest lets the local fact claim the MAC, or yield to a better route.
func (c *Core) contest(m *macEntry) {
	l := m.local
	switch {
	case !m.vni.up:
		// Others take over meanwhile; coming back is a new claim.
		if l != nil {
			l.active, l.sequence = false, 0
		}
		if m.frozen() {
			c.notes = append(c.notes, Note{Kind: NoteDuplicateCleared, VNI: m.vni.vni, MAC: m.mac, Reason: VNIDown})
		}
		m.log = nil
		m.conflict = false
		return
	case l == nil:
		m.conflict = false
		return
	case m.static != nil:
		l.active, l.sequence = false, 0
		c.noteConflict(m, m.static.VTEP, "static_mac of the configuration")
		return
	case m.frozen():
		return
	}
	best := m.elect()
	if best == nil {
		m.conflict = false
	}
	switch remoteSticky := best != nil && best.set.attrs.Mobility.Sticky; {
	case remoteSticky && !l.sticky:
		m.local = nil
		c.noteConflict(m, best.set.attrs.NextHop, "sticky at a remote VTEP, seen on a local port")
	case remoteSticky:
		l.active = true
		c.noteConflict(m, best.set.attrs.NextHop, "sticky here and at a remote VTEP")
	case !l.active:
		l.active = true
		l.sequence = 0
		if best != nil && !l.sticky {
			l.sequence = best.set.attrs.Mobility.Sequence // the highest: see compare
			if l.sequence < math.MaxUint32 {
				l.sequence++
			}
		}
	case best != nil && c.yields(l, best):
		m.local = nil
	}
}

// yields reports whether an announced local MAC gives way to a route.
func (c *Core) yields(l *localMAC, best *path) bool {
	a := best.set.attrs
	if l.sticky || a.Mobility.Sequence < l.sequence {
		return false
	}
	return a.Mobility.Sequence > l.sequence || a.NextHop.Less(c.cfg.VTEP)
}

func (c *Core) noteConflict(m *macEntry, vtep netip.Addr, detail string) {
	if m.conflict {
		return
	}
	m.conflict = true
	c.notes = append(c.notes, Note{Kind: NoteStickyConflict, VNI: m.vni.vni, MAC: m.mac, VTEP: vtep, Detail: detail})
}

// moveLog is the history of a MAC that moved lately.
type moveLog struct {
	moves    []time.Time // inside the window when last looked at
	next     time.Time   // when its timer is due
	frozenAt time.Time   // zero while not frozen
	frozenTo netip.Addr  // remote VTEP, or zero for local
}

func (m *macEntry) frozen() bool { return m.log != nil && !m.log.frozenAt.IsZero() }

// noteMove sees whether settling moved the MAC. Only moves from or to this VTEP
// count for duplicate detection: RFC 7432 §15.1 gives the task to the VTEP that
// learns the MAC locally, and a third one that froze too would stay at the wrong
// place after the two have settled.
func (c *Core) noteMove(m *macEntry, was owner, wasBest *path) {
	n := Note{Kind: NoteMACMoved, VNI: m.vni.vni, MAC: m.mac}
	switch {
	case was == ownLocal && m.owner == ownRemote:
		n.VTEP, n.Detail = m.best.set.attrs.NextHop, "from local to a remote VTEP"
	case was == ownRemote && m.owner == ownLocal:
		n.VTEP, n.Detail = wasBest.set.attrs.NextHop, "from a remote VTEP to local"
	case was == ownRemote && m.owner == ownRemote:
		from, to := wasBest.set.attrs.NextHop, m.best.set.attrs.NextHop
		// RFC 7432 §15: another VTEP of the same Ethernet segment is no move.
		if from == to || (!m.best.ESI.IsZero() && m.best.ESI == wasBest.ESI) {
			return
		}
		n.VTEP, n.Detail = to, "from "+from.String()
		c.notes = append(c.notes, n)
		return
	default:
		return
	}
	c.notes = append(c.notes, n)
	c.countMove(m)
}

func (c *Core) countMove(m *macEntry) {
	d := c.cfg.Duplicate
	if d.Moves <= 0 || m.frozen() {
		return
	}
	if m.log == nil {
		m.log = &moveLog{}
	}
	m.log.prune(c.now.Add(-d.Window))
	m.log.moves = append(m.log.moves, c.now)
	if len(m.log.moves) < d.Moves {
		c.arm(m, m.log.moves[0].Add(d.Window))
		return
	}
	m.log.frozenAt = c.now
	n := Note{Kind: NoteDuplicate, VNI: m.vni.vni, MAC: m.mac, Detail: "frozen as local"}
	if m.owner == ownRemote {
		m.log.frozenTo = m.best.set.attrs.NextHop
		n.VTEP, n.Detail = m.log.frozenTo, "frozen as remote"
	}
	c.notes = append(c.notes, n)
	c.armThaw(m)
}

func (l *moveLog) prune(oldest time.Time) {
	i := 0
	for i < len(l.moves) && !l.moves[i].After(oldest) {
		i++
	}
	l.moves = append(l.moves[:0], l.moves[i:]...)
}

func (c *Core) armThaw(m *macEntry) {
	if d := c.cfg.Duplicate.Recovery; d > 0 {
		c.arm(m, m.log.frozenAt.Add(d))
	} else {
		m.log.next = time.Time{}
	}
}

// thaw ends a freeze: the MAC is open to every claim again.
func (c *Core) thaw(m *macEntry, detail string) {
	m.log = nil
	c.notes = append(c.notes, Note{Kind: NoteDuplicateCleared, VNI: m.vni.vni, MAC: m.mac, Detail: detail})
	c.touchMAC(m)
}

func (c *Core) duplicateCleared(ev DuplicateCleared) {
	v := c.configured(ev.VNI)
	if v == nil {
		return
	}
	if !ev.MAC.IsZero() {
		if m := v.macs[ev.MAC]; m != nil && m.log != nil {
			c.clearMoves(m)
		}
		return
	}
	for _, m := range v.macs {
		if m.frozen() {
			c.clearMoves(m)
		}
	}
}

func (c *Core) clearMoves(m *macEntry) {
	if m.frozen() {
		c.thaw(m, "cleared by hand")
		return
	}
	m.log = nil
	c.touchMAC(m)
}

// timer is due at a time for the move log of one MAC. A log has one valid timer,
// the one for its next; older ones fire into nothing.
type timer struct {
	at  time.Time
	mac *macEntry
	log *moveLog
}

type timerHeap []timer

func (h timerHeap) Len() int           { return len(h) }
func (h timerHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h timerHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *timerHeap) Push(x any)        { *h = append(*h, x.(timer)) }
func (h *timerHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = timer{}
	*h = old[:len(old)-1]
	return last
}

func (c *Core) arm(m *macEntry, at time.Time) {
	if m.log.next.Equal(at) {
		return
	}
	m.log.next = at
	heap.Push(&c.timers, timer{at: at, mac: m, log: m.log})
}

func (c *Core) fireTimers() {
	for len(c.timers) > 0 && !c.timers[0].at.After(c.now) {
		t := heap.Pop(&c.timers).(timer)
		m, log := t.mac, t.log
		if m.log != log || !log.next.Equal(t.at) {
			continue
		}
		if m.frozen() {
			c.thaw(m, "recovery time over")
			continue
		}
		log.prune(c.now.Add(-c.cfg.Duplicate.Window))
		if len(log.moves) == 0 {
			m.log = nil
			c.touchMAC(m)
			continue
		}
		c.arm(m, log.moves[0].Add(c.cfg.Duplicate.Window))
	}
}

// rearmAll sets the timers anew after the settings of the detection changed.
func (c *Core) rearmAll() {
	for _, v := range c.vnis {
		for _, m := range v.macs {
			switch {
			case m.log == nil:
			case m.frozen() && c.cfg.Duplicate.Moves <= 0:
				c.thaw(m, "detection turned off")
			case m.frozen():
				c.armThaw(m)
			default:
				c.arm(m, c.now) // look at it at once
			}
		}
	}
	c.fireTimers()
}
