package evpn

import (
	"math"
	"net/netip"
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
// seconds freeze the MAC where it is (§15.1): see duplicate.go. An anycast gateway
// takes no part: every VTEP has it, none moves (§10.1).
//
// The MAC/IP routes of a MAC carry its sequence (RFC 9721 §5.1), so there is one
// number for all of them, and a claim to an IP that had another MAC raises it: see
// claimIPs.

// contest lets what we see ourselves claim the MAC, or yield to a better route.
func (c *Core) contest(m *macEntry) {
	c.contestLocal(m)
	if m.heard != nil {
		c.contestHeard(m)
	}
}

func (c *Core) contestLocal(m *macEntry) {
	l := m.local
	switch {
	case !m.vni.up:
		// Others take over meanwhile; coming back is a new claim.
		if l != nil {
			l.active, l.sequence = false, 0
		}
		c.forgetMoves(m)
		m.conflict = false
		return
	case l == nil:
		if m.conflict { // it lasts as long as what refused the local claim
			best := m.elect()
			m.conflict = best != nil && !best.leastPreferred() && best.set.attrs.Mobility.Sticky
		}
		return
	case m.static != nil:
		l.active, l.sequence = false, 0
		c.noteConflict(m, NoteStickyConflict, m.static.VTEP, "static_mac of the configuration")
		return
	case l.gateway:
		c.contestGateway(m)
		return
	case m.frozen():
		if !l.active && !m.log.frozenTo.IsValid() {
			// Its port flapped. It is frozen as it was: the number must not rise.
			l.active, l.sequence = true, m.log.sequence
		}
		return
	}
	best := m.elect()
	if best != nil && best.leastPreferred() {
		best = nil // whatever we see ourselves is better
	}
	remoteSticky := best != nil && best.set.attrs.Mobility.Sticky
	m.conflict = m.conflict && remoteSticky
	switch {
	case remoteSticky && !l.sticky:
		m.local = nil
		c.noteConflict(m, NoteStickyConflict, best.set.attrs.NextHop, "sticky at a remote VTEP, seen on a local port")
	case remoteSticky:
		l.active = true
		c.noteConflict(m, NoteStickyConflict, best.set.attrs.NextHop, "sticky here and at a remote VTEP")
	case !l.active:
		l.active = true
		l.sequence = 0
		if !l.sticky {
			l.sequence = m.nextSequence()
		}
	case best != nil && c.beats(best, l):
		m.local = nil
	}
	c.claimIPs(m)
}

// contestGateway lets our own anycast gateway stand against everybody: its routes have
// sequence 0 and no claim of others takes it down (RFC 7432 §10.1). Others that announce
// it as a gateway are welcome; one that announces it as a host's is a conflict.
func (c *Core) contestGateway(m *macEntry) {
	m.local.active, m.local.sequence = true, 0
	c.forgetMoves(m)
	var worst *path
	for p := m.head; p != nil; p = p.next {
		if !p.set.attrs.DefaultGateway && !p.outdated() && (worst == nil || p.compare(worst) < 0) {
			worst = p
		}
	}
	if worst == nil {
		m.conflict = false
		return
	}
	c.noteConflict(m, NoteGatewayConflict, worst.set.attrs.NextHop, "our anycast gateway, announced by a remote VTEP as a host")
}

// beats reports whether a route takes the MAC or IP of an announced local MAC.
func (c *Core) beats(p *path, l *localMAC) bool {
	a := p.set.attrs
	switch {
	case l.gateway || l.sticky || p.leastPreferred():
		return false
	case a.Mobility.Sticky:
		return true
	case a.Mobility.Sequence != l.sequence:
		return a.Mobility.Sequence > l.sequence
	default:
		return a.NextHop.Less(c.cfg.VTEP)
	}
}

// nextSequence is what a new claim needs to be heard: one above every remote claim,
// also of those that do not count here but may elsewhere.
func (m *macEntry) nextSequence() (next uint32) {
	if h := m.heard; h != nil && h.active {
		next = above(h.sequence)
	}
	for p := m.head; p != nil; p = p.next {
		if !p.outdated() {
			next = max(next, above(p.set.attrs.Mobility.Sequence))
		}
	}
	return next
}

func above(sequence uint32) uint32 {
	if sequence == math.MaxUint32 {
		return sequence
	}
	return sequence + 1
}

// claimIPs raises the sequence of an announced MAC for the IPs that it newly has
// (RFC 9721 §6.1): above those of the other MACs that had them, remote or local, so
// that whoever holds a route for the old pair prefers the new one.
func (c *Core) claimIPs(m *macEntry) {
	l := m.local
	if l == nil || !l.active {
		return
	}
	for e := m.ips; e != nil; e = e.nextOfMAC {
		if !e.claim || e.frozen() {
			continue
		}
		e.claim = false
		if !l.sticky && !l.gateway {
			l.sequence = max(l.sequence, e.nextSequence())
		}
	}
}

func (c *Core) noteConflict(m *macEntry, kind NoteKind, vtep netip.Addr, detail string) {
	if m.conflict {
		return
	}
	m.conflict = true
	c.notes = append(c.notes, Note{Kind: kind, VNI: m.vni.vni, MAC: m.mac, VTEP: vtep, Detail: detail})
}

// noteMove sees whether settling moved the MAC. Only moves from or to this VTEP
// count for duplicate detection: RFC 7432 §15.1 gives the task to the VTEP that
// learns the MAC locally, and a third one that froze too would stay at the wrong
// place after the two have settled.
func (c *Core) noteMove(m *macEntry, was owner, wasBest *path) {
	from, moved := m.place(was, wasBest, false)
	to, moves := m.place(m.owner, m.best, true)
	if m.heard != nil {
		m.heard.was = m.heard.at.addr
	}
	if !moved || !moves || from == to {
		return
	}
	n := Note{Kind: NoteMACMoved, VNI: m.vni.vni, MAC: m.mac, VTEP: to}
	switch {
	case was == ownRemote && m.owner == ownRemote:
		// RFC 7432 §15: another VTEP of the same Ethernet segment is no move. Nor is
		// another VTEP of the same anycast gateway.
		if (!m.best.ESI.IsZero() && m.best.ESI == wasBest.ESI) ||
			(wasBest.set.attrs.DefaultGateway && m.best.set.attrs.DefaultGateway) {
			return
		}
		n.Detail = "from " + from.String()
		c.notes = append(c.notes, n)
		return
	case m.owner == ownLocal && m.local.gateway, wasBest != nil && wasBest.set.attrs.DefaultGateway:
		return // it did not come from there
	case m.owner == ownLocal:
		n.VTEP, n.Detail = from, "from "+was.where()+" to local"
	case was == ownLocal:
		n.Detail = "from local to " + m.owner.where()
	default:
		n.Detail = "from " + from.String()
	}
	c.notes = append(c.notes, n)
	c.countMove(m, to)
}

// place is the VTEP at which an owner has m, zero for our own ports; false when nobody has
// it. now tells a MAC that was heard as it is from one as it was.
func (m *macEntry) place(o owner, best *path, now bool) (at netip.Addr, ok bool) {
	switch {
	case o == ownLocal:
		return netip.Addr{}, true
	case o == ownRemote:
		return best.set.attrs.NextHop, true
	case o == ownProxy && now:
		return m.heard.at.addr, true
	case o == ownProxy:
		return m.heard.was, true
	}
	return netip.Addr{}, false
}

func (o owner) where() string {
	if o == ownProxy {
		return "a VTEP of the segment"
	}
	return "a remote VTEP"
}
