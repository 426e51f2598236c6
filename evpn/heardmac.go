package evpn

import (
	"net/netip"
	"time"
)

// A host behind a VTEP that runs no EVPN is announced by every relay of the segment, with
// that VTEP as next hop, and each relay has a row for it. Of the claims to one MAC:
//
//   - what we learned last among our ports and the group counts, because both are ours;
//   - between what we heard and a route, RFC 7432 §15 decides as for a local MAC, with
//     the VTEP's address in place of ours;
//   - routes with the same next hop, those of the other relays, say the same. All take up the
//     highest sequence among them, so that it is the same when one of them ends;
//   - static_mac, sticky claims (§15.2) and anycast gateways (§10.1) are never taken over.
//
// A claim that was lost stands up again only when the MAC is heard later than that: who
// listens tells of it up to a second after the frame, and a host that moved away meanwhile
// must not be claimed back.
type heardMAC struct {
	mac      *macEntry
	at       *floodEntry // VTEP behind which it was heard
	since    time.Time   // when that was last, or when the claim was lost
	sequence uint32
	floor    uint32 // of the sequence: above our own claim to the MAC as a local one
	active   bool   // we announce it
	lost     bool   // a better claim took it

	was        netip.Addr // VTEP as of the last settling
	next, prev *heardMAC  // chain of the VTEP
}

func (c *Core) macHeard(ev MACHeard) {
	v := c.configured(ev.VNI)
	if v == nil || ev.MAC.IsZero() || ev.MAC.IsGroup() {
		return
	}
	f := v.floods[ev.VTEP]
	if f == nil || !f.heard {
		return // there were too many VTEPs
	}
	m := v.macEntry(ev.MAC)
	at := c.now.Add(-ev.Age)
	switch h := m.heard; {
	case m.frozen() && m.log.frozenTo != ev.VTEP:
		return
	case h == nil:
		m.heard = &heardMAC{mac: m, since: at}
		m.heard.moveTo(f)
	case !at.After(h.since):
		return
	case h.at == f && !h.lost:
		h.since = at
		return
	default:
		h.since, h.lost = at, false
		if h.at != f {
			h.active = false // a new claim
			h.moveTo(f)
		}
	}
	c.touchMAC(m)
	if l := m.local; l != nil && l.active && !l.sticky && !l.gateway && c.announcesMACs(f) {
		m.heard.floor = above(l.sequence)
		m.local = nil
	}
}

func (c *Core) macSilent(ev MACSilent) {
	v := c.configured(ev.VNI)
	if v == nil {
		return
	}
	if m := v.macs[ev.MAC]; m != nil && m.heard != nil && m.heard.at.addr == ev.VTEP {
		c.forgetHeard(m)
	}
}

// forgetHeard ends what was heard of m.
func (c *Core) forgetHeard(m *macEntry) {
	m.heard.leave()
	m.heard = nil
	if m.owner == ownProxy {
		m.setOwner(nobody) // a route that takes over now is no move
	}
	c.touchMAC(m)
}

// moveTo hangs h to another VTEP, leave takes it off.
func (h *heardMAC) moveTo(f *floodEntry) {
	if h.at != nil {
		h.leave()
	}
	h.at, h.next = f, f.macs
	if f.macs != nil {
		f.macs.prev = h
	}
	f.macs = h
}

func (h *heardMAC) leave() {
	if h.prev != nil {
		h.prev.next = h.next
	} else {
		h.at.macs = h.next
	}
	if h.next != nil {
		h.next.prev = h.prev
	}
	h.at, h.next, h.prev = nil, nil, nil
}

// lose says that a better claim has the MAC from now on.
func (h *heardMAC) lose(now time.Time) {
	if !h.lost {
		h.active, h.lost, h.since = false, true, now
	}
}

// announcesMACs reports that we announce the hosts behind f.
func (c *Core) announcesMACs(f *floodEntry) bool {
	return f.vni.cfg.Segment.ProxyMACs && c.speaksFor(f)
}

// contestHeard lets what was heard claim the MAC, or yield to a better claim.
func (c *Core) contestHeard(m *macEntry) {
	h, l := m.heard, m.local
	switch {
	case !m.vni.up:
		h.active, h.lost = false, false // coming back is a new claim
		return
	case l != nil && l.active:
		h.lose(c.now)
		return
	case m.static != nil || m.isGateway() || !c.announcesMACs(h.at):
		h.active = false
		return
	case m.frozen():
		if m.log.frozenTo != h.at.addr {
			h.active = false
		} else if !h.active {
			h.active, h.sequence = true, h.nextSequence()
		}
		return
	}
	best := m.elect()
	if best != nil && best.leastPreferred() {
		best = nil // whatever we hear ourselves is better
	}
	switch {
	case best != nil && best.set.attrs.Mobility.Sticky:
		h.lose(c.now)
		c.noteConflict(m, NoteStickyConflict, best.set.attrs.NextHop, "sticky at a remote VTEP, heard on the segment")
	case h.lost:
	case !h.active:
		h.active, h.sequence = true, h.nextSequence()
	case best != nil && best.outranks(h.sequence, h.at.addr):
		h.lose(c.now)
	default:
		h.sequence = max(h.sequence, h.agreed())
	}
	if h.active {
		h.floor = 0
	}
}

// isGateway reports a MAC that others announce as their anycast gateway.
func (m *macEntry) isGateway() bool {
	for p := m.head; p != nil; p = p.next {
		if p.set.attrs.DefaultGateway && !p.outdated() {
			return true
		}
	}
	return false
}

// nextSequence is what a new claim needs to be heard: one above every claim for another
// VTEP, and what the other relays say for this one.
func (h *heardMAC) nextSequence() uint32 {
	next := max(h.floor, h.agreed())
	for p := h.mac.head; p != nil; p = p.next {
		if a := p.set.attrs; a.NextHop != h.at.addr && !p.outdated() {
			next = max(next, above(a.Mobility.Sequence))
		}
	}
	return next
}

// agreed is the highest sequence that routes have for the MAC at this VTEP.
func (h *heardMAC) agreed() (sequence uint32) {
	for p := h.mac.head; p != nil; p = p.next {
		if a := p.set.attrs; a.NextHop == h.at.addr && !p.outdated() {
			sequence = max(sequence, a.Mobility.Sequence)
		}
	}
	return sequence
}

// outranks reports that p is a better claim than one for another VTEP (RFC 7432 §15).
func (p *path) outranks(sequence uint32, vtep netip.Addr) bool {
	a := p.set.attrs
	if a.Mobility.Sequence != sequence {
		return a.NextHop != vtep && a.Mobility.Sequence > sequence
	}
	return a.NextHop.Less(vtep)
}
