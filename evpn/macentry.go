package evpn

import "unique"

// owner says who has a MAC.
type owner uint8

const (
	nobody    owner = iota
	ownLocal        // a host of ours; we announce it
	ownRemote       // the best route; we install it
	ownStatic       // the operator's static_mac; we install that
	ownProxy        // a host behind a VTEP of the segment; we announce and install it
	ownOver         // remote or behind such a VTEP, but there is no place under max_macs
	ownerKinds
)

// macEntry is one (VNI, MAC): who claims it, who has it, and what was emitted. There
// can be a hundred thousand, so it is small: what few MACs need sits behind a pointer.
type macEntry struct {
	mac      MAC
	owner    owner
	touched  bool
	vni      *instance
	head     *path // remote claims
	best     *path // the winner while owner is ownRemote
	local    *localMAC
	heard    *heardMAC
	static   *staticMAC
	ips      *ipEntry // local bindings
	log      *moveLog
	row      *vtep     // emitted kernel row: where to
	own      *ownAttrs // emitted route of ours
	sticky   bool      // of the emitted row
	dirty    bool
	admitted bool
	waiting  bool
	conflict bool // was noted
}

// staticMAC is a MAC that the configuration pins to a VTEP.
type staticMAC struct {
	*StaticMAC
	via *vtep
}

// localMAC is what the kernel reports of a MAC on an access port.
type localMAC struct {
	port     unique.Handle[string]
	sequence uint32
	sticky   bool
	gateway  bool // our anycast gateway
	active   bool // announced; false while the VNI is down or the MAC is held back
}

func (l *localMAC) mobility() Mobility { return Mobility{Sequence: l.sequence, Sticky: l.sticky} }

func (v *instance) macEntry(mac MAC) *macEntry {
	m := v.macs[mac]
	if m == nil {
		m = &macEntry{vni: v, mac: mac}
		v.macs[mac] = m
		v.counts[nobody]++
	}
	return m
}

// unused reports that nothing is known and nothing emitted any more.
func (m *macEntry) unused() bool {
	return m.head == nil && m.local == nil && m.heard == nil && m.static == nil && m.ips == nil && m.log == nil &&
		m.row == nil && m.own == nil && !m.touched
}

func (c *Core) localMACLearned(ev LocalMACLearned) {
	v := c.configured(ev.VNI)
	if v == nil || ev.MAC.IsZero() || ev.MAC.IsGroup() {
		return
	}
	m := v.macEntry(ev.MAC)
	port := unique.Make(ev.Port)
	sticky := ev.Sticky && !ev.Gateway
	switch l := m.local; {
	case l == nil:
		m.local = &localMAC{port: port, sticky: sticky, gateway: ev.Gateway}
	case l.sticky != sticky || l.gateway != ev.Gateway:
		*l = localMAC{port: port, sticky: sticky, gateway: ev.Gateway} // a new claim
	default:
		l.port = port
		if l.active {
			return // a move between our ports is no churn
		}
	}
	c.touchMAC(m)
}

func (c *Core) localMACGone(ev LocalMACGone) {
	v := c.configured(ev.VNI)
	if v == nil {
		return
	}
	if m := v.macs[ev.MAC]; m != nil && m.local != nil {
		m.local = nil
		if m.owner == ownLocal {
			m.setOwner(nobody) // a route that takes over now is no move
			for e := m.ips; e != nil; e = e.nextOfMAC {
				e.leave()
			}
		}
		c.touchMAC(m)
	}
}

func (c *Core) touchMAC(m *macEntry) {
	if !m.touched {
		m.touched = true
		c.touchedMACs = append(c.touchedMACs, m)
	}
}

func (c *Core) markMAC(m *macEntry) {
	if !m.dirty {
		m.dirty = true
		m.vni.dirtyMACs = append(m.vni.dirtyMACs, m)
		c.markVNI(m.vni)
	}
}

// settleMAC decides anew who has m.
func (c *Core) settleMAC(m *macEntry) {
	m.touched = false
	c.contest(m)
	was, wasBest := m.owner, m.best
	now, best := m.judge()
	if now.needsPlace() && !c.admit(m) {
		now, best = ownOver, nil
	}
	if !now.needsPlace() && now != ownOver && (m.admitted || m.waiting) {
		c.dismiss(m)
	}
	m.setOwner(now)
	m.best = best
	c.noteMove(m, was, wasBest)
	c.markMAC(m)
	for e := m.ips; e != nil; e = e.nextOfMAC {
		c.touchIP(e)
	}
	if was != now {
		c.touchRemoteIPs(m)
		if m.static != nil || was == ownStatic {
			c.touchStaticIPs(m)
		}
	}
}

// touchRemoteIPs has the IPs settled that routes give m: they are rows only while m is one.
func (c *Core) touchRemoteIPs(m *macEntry) {
	for p := m.head; p != nil; p = p.next {
		if p.namesIP() {
			c.touchIP(m.vni.ips[p.Key.IP])
		}
	}
}

// installed reports that m has a row.
func (m *macEntry) installed() bool {
	_, ok := m.wantRow(m.owner, m.best)
	return ok
}

// needsPlace reports a MAC that counts under max_macs.
func (o owner) needsPlace() bool { return o == ownRemote || o == ownProxy }

func (m *macEntry) setOwner(o owner) {
	m.vni.counts[m.owner]--
	m.vni.counts[o]++
	m.owner = o
}

// touchStaticIPs has the configured IPs of m settled: they follow it.
func (c *Core) touchStaticIPs(m *macEntry) {
	for _, s := range m.vni.cfg.StaticMACs {
		if e := m.vni.ips[s.IP]; s.MAC == m.mac && e != nil {
			c.touchIP(e)
		}
	}
}

// judge says who has m from what the tables hold now, and changes nothing. The
// answer for a remote MAC is ownRemote whether or not there is a place for it.
func (m *macEntry) judge() (owner, *path) {
	switch {
	case !m.vni.up:
		return nobody, nil
	case m.static != nil:
		return ownStatic, nil
	case m.local != nil && m.local.active:
		return ownLocal, nil
	case m.heard != nil && m.heard.active:
		return ownProxy, nil
	}
	if best := m.elect(); best != nil {
		return ownRemote, best
	}
	return nobody, nil
}

// elect gives the best remote claim. A frozen MAC hears only the VTEP it is frozen to.
func (m *macEntry) elect() *path {
	frozen := m.frozen()
	var best *path
	for p := m.head; p != nil; p = p.next {
		if p.via.lost || p.outdated() || (frozen && p.set.attrs.NextHop != m.log.frozenTo) {
			continue
		}
		if best == nil || p.compare(best) < 0 {
			best = p
		}
	}
	return best
}

// seat is judge, with what max_macs says: whether there is a place was decided before.
func (m *macEntry) seat() (owner, *path) {
	who, best := m.judge()
	if who.needsPlace() && m.vni.cfg.MaxMACs > 0 && !m.admitted {
		return ownOver, nil
	}
	return who, best
}

// wantRow gives the kernel row for an owner.
func (m *macEntry) wantRow(o owner, best *path) (RowValue, bool) {
	switch o {
	case ownRemote:
		return RowValue{VTEP: best.set.attrs.NextHop, Sticky: best.set.attrs.Mobility.Sticky}, true
	case ownStatic:
		if m.static.via.lost {
			return RowValue{}, false
		}
		// Pinned by the operator, so traffic must not move it either.
		return RowValue{VTEP: m.static.VTEP, Sticky: true}, true
	case ownProxy:
		if m.heard.at.via.lost {
			return RowValue{}, false
		}
		return RowValue{VTEP: m.heard.at.addr}, true
	default:
		return RowValue{}, false
	}
}

// via is the VTEP of the row that follows from owner and best; nil when there is none.
func (m *macEntry) via() *vtep {
	switch m.owner {
	case ownRemote:
		return m.best.via
	case ownStatic:
		return m.static.via
	case ownProxy:
		return m.heard.at.via
	default:
		return nil
	}
}
