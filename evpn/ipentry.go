package evpn

import (
	"net/netip"
	"unique"
)

// ipEntry is one (VNI, IP): the local host that has it, and the routes that say
// which remote MAC has it.
//
// Between a local binding and a route that gives the IP to another MAC, the higher
// sequence decides, as for a MAC (RFC 9721 §6): each side's claim carries the sequence
// of its MAC, and a new claim raises that above what it takes over. So all VTEPs come
// to the same answer from the routes alone, and a binding that the kernel has not
// noticed to be old does no harm. Implemented of RFC 9721:
//
//   - §5.1 inheritance: MAC/IP routes carry the sequence of their MAC;
//   - §6.1, §6.2 local learning: see claimIPs and nextSequence;
//   - §6.3 remote updates: a higher one takes the local MAC or binding down;
//   - §8.1, §8.2 duplicates: an IP that changes sides too often is frozen.
//
// Not: §6.4, §6.5 synchronisation between the VTEPs of an Ethernet segment, and the
// probing of §6.3, which is the snooper's.
type ipEntry struct {
	vni  *instance
	ip   netip.Addr
	head *path // remote claims

	bound     *macEntry // local binding; announced while that MAC is and no route is better
	nextOfMAC *ipEntry  // chain of the bindings of one MAC
	prevOfMAC *ipEntry
	static    *macEntry // static_mac with this IP
	log       *moveLog
	own       *ownAttrs // emitted route of ours
	source    unique.Handle[string]

	ownMAC MAC    // of the emitted route
	rowMAC MAC    // of the emitted neighbour row: valid while hasRow
	holder MAC    // who has it, when owner is not nobody
	floor  uint32 // of the claim: above the local MAC that had the IP before

	owner     owner
	claim     bool // the binding is new, and its MAC has not been raised for it
	router    bool // of the local binding
	hasRow    bool
	rowRouter bool
	touched   bool
	dirty     bool
}

func (v *instance) ipEntry(ip netip.Addr) *ipEntry {
	e := v.ips[ip]
	if e == nil {
		e = &ipEntry{vni: v, ip: ip}
		v.ips[ip] = e
	}
	return e
}

func (e *ipEntry) unused() bool {
	return e.head == nil && e.bound == nil && e.static == nil && e.log == nil && e.own == nil && !e.hasRow && !e.touched
}

// hostIP gives the plain form of an address that a host can have.
func hostIP(ip netip.Addr) (netip.Addr, bool) {
	ip = ip.Unmap().WithZone("")
	return ip, ip.IsValid() && !ip.IsUnspecified() && !ip.IsMulticast() && !ip.IsLoopback()
}

func (c *Core) localIPLearned(ev LocalIPLearned) {
	v := c.configured(ev.VNI)
	ip, ok := hostIP(ev.IP)
	if v == nil || !ok || ev.MAC.IsZero() || ev.MAC.IsGroup() {
		return
	}
	m, e := v.macEntry(ev.MAC), v.ipEntry(ip)
	e.source = unique.Make(ev.Source)
	if e.bound != m {
		var floor uint32
		if was := e.bound; was != nil {
			floor = e.floor
			if l := was.local; l != nil && l.active && !l.gateway {
				floor = max(floor, above(l.sequence))
			}
			c.touchMAC(was)
		}
		e.unbind()
		e.bind(m)
		e.claim, e.floor = true, floor
	} else if e.owner == ownRemote {
		// It was lost to a route, and the host speaks again. That the binding had ended
		// meanwhile is lost when a queue merges what it holds of one address.
		e.claim = true
	}
	e.router = ev.Router
	c.touchIP(e)
	c.touchMAC(m)
}

func (c *Core) localIPGone(ev LocalIPGone) {
	v := c.configured(ev.VNI)
	if v == nil {
		return
	}
	ip, _ := hostIP(ev.IP)
	// A binding that went over to another MAC meanwhile has not ended.
	if e := v.ips[ip]; e != nil && e.bound != nil && e.bound.mac == ev.MAC {
		c.touchMAC(e.bound)
		e.leave()
		e.unbind()
		c.touchIP(e)
	}
}

// leave says that the local host is gone: a route that takes over now is no move.
func (e *ipEntry) leave() {
	if e.owner == ownLocal {
		e.owner = nobody
	}
}

func (e *ipEntry) bind(m *macEntry) {
	e.bound = m
	e.nextOfMAC = m.ips
	if m.ips != nil {
		m.ips.prevOfMAC = e
	}
	m.ips = e
}

func (e *ipEntry) unbind() {
	if e.bound == nil {
		return
	}
	if e.prevOfMAC != nil {
		e.prevOfMAC.nextOfMAC = e.nextOfMAC
	} else {
		e.bound.ips = e.nextOfMAC
	}
	if e.nextOfMAC != nil {
		e.nextOfMAC.prevOfMAC = e.prevOfMAC
	}
	e.bound, e.nextOfMAC, e.prevOfMAC = nil, nil, nil
	e.claim, e.floor = false, 0
}

func (c *Core) touchIP(e *ipEntry) {
	if !e.touched {
		e.touched = true
		c.touchedIPs = append(c.touchedIPs, e)
	}
}

// settleIP decides anew who has e.
func (c *Core) settleIP(e *ipEntry) {
	e.touched = false
	if !e.vni.up {
		c.forgetMoves(e)
	}
	was, holder := e.owner, e.holder
	now, best := c.judgeIP(e)
	e.owner = now
	switch now {
	case ownLocal:
		e.holder = e.bound.mac
	case ownStatic:
		e.holder = e.static.mac
	case ownRemote:
		e.holder = best.mac.mac
	default:
		e.holder = MAC{}
	}
	c.noteIPMove(e, was, holder, best)
	if !e.dirty {
		e.dirty = true
		e.vni.dirtyIPs = append(e.vni.dirtyIPs, e)
		c.markVNI(e.vni)
	}
}

// judgeIP says who has e from what the tables hold now, and changes nothing: a local
// host, then the configuration, then the best route, provided that its MAC is
// installed. A row for a MAC that is not would make the bridge answer for a host that
// it cannot reach.
func (c *Core) judgeIP(e *ipEntry) (owner, *path) {
	if !e.vni.up {
		return nobody, nil
	}
	best := e.elect()
	switch {
	case e.bound != nil && e.bound.owner == ownLocal && !c.losesIP(e, best):
		return ownLocal, nil
	case e.static != nil:
		if e.static.owner == ownStatic && e.static.installed() {
			return ownStatic, nil
		}
	case best != nil && best.mac.installed():
		return ownRemote, best
	}
	return nobody, nil
}

// losesIP reports whether the local host that has e must leave it to the best route.
func (c *Core) losesIP(e *ipEntry, best *path) bool {
	if e.frozen() {
		return e.log.frozenTo.IsValid()
	}
	// A route for the same MAC is for the contest of the MAC to judge.
	return best != nil && best.mac != e.bound && best.mac.owner == ownRemote && c.beats(best, e.bound.local)
}

// nextSequence is what a new binding needs: one above every route that gives the IP to
// another MAC, and above the local MAC that had it.
func (e *ipEntry) nextSequence() uint32 {
	next := e.floor
	for p := e.head; p != nil; p = p.ipNext {
		if p.mac != e.bound && !p.outdated() {
			next = max(next, above(p.set.attrs.Mobility.Sequence))
		}
	}
	return next
}

// noteIPMove sees whether settling gave the IP to another MAC. Moves of a MAC with its
// IPs are noted as such, and gateways do not move.
func (c *Core) noteIPMove(e *ipEntry, was owner, holder MAC, best *path) {
	moved := func(o owner) bool { return o == ownLocal || o == ownRemote }
	if !moved(was) || !moved(e.owner) || holder == e.holder {
		return
	}
	if was == ownRemote && !e.named(holder) {
		return // the routes that gave it to holder have ended
	}
	n := Note{Kind: NoteIPMoved, VNI: e.vni.vni, MAC: e.holder, IP: e.ip, Detail: "from " + holder.String()}
	if e.owner == ownRemote {
		if best.set.attrs.DefaultGateway {
			return
		}
		n.VTEP = best.set.attrs.NextHop
	} else if e.bound.local.gateway {
		return
	}
	c.notes = append(c.notes, n)
	if was != e.owner {
		c.countMove(e, n.VTEP)
	}
}

// named reports whether some route gives the IP to mac.
func (e *ipEntry) named(mac MAC) bool {
	for p := e.head; p != nil; p = p.ipNext {
		if p.Key.MAC == mac {
			return true
		}
	}
	return false
}

// elect gives the best remote claim to the IP.
func (e *ipEntry) elect() *path {
	var best *path
	for p := e.head; p != nil; p = p.ipNext {
		if p.via.lost || p.outdated() {
			continue
		}
		if best == nil || p.compare(best) < 0 {
			best = p
		}
	}
	return best
}

// announced reports whether a local host has the IP.
func (e *ipEntry) announced() bool { return e.owner == ownLocal }

// wantRow gives the neighbour row for an owner.
func (e *ipEntry) wantRow(o owner, best *path) (RowValue, bool) {
	if !e.vni.cfg.Suppression {
		return RowValue{}, false
	}
	switch o {
	case ownStatic:
		return RowValue{MAC: e.static.mac}, true
	case ownRemote:
		return RowValue{MAC: best.mac.mac, Router: best.set.attrs.Router}, true
	default:
		return RowValue{}, false
	}
}
