package evpn

import "net/netip"

// ipEntry is one (VNI, IP): the local host that has it, and the routes that say
// which remote MAC has it.
type ipEntry struct {
	vni  *instance
	ip   netip.Addr
	head *path // remote claims

	bound     *macEntry // local binding; announced while that MAC is
	nextOfMAC *ipEntry  // chain of the bindings of one MAC
	prevOfMAC *ipEntry
	static    *macEntry // static_mac with this IP

	own    *ownAttrs // emitted route of ours
	ownMAC MAC
	row    RowValue // emitted neighbour row: valid while hasRow

	router  bool // of the local binding
	hasRow  bool
	touched bool
	dirty   bool
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
	return e.head == nil && e.bound == nil && e.static == nil && e.own == nil && !e.hasRow && !e.touched
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
	if e.bound != m {
		if e.bound != nil {
			c.touchMAC(e.bound)
		}
		e.unbind()
		e.bind(m)
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
		e.unbind()
		c.touchIP(e)
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
}

func (c *Core) touchIP(e *ipEntry) {
	if !e.touched {
		e.touched = true
		c.touchedIPs = append(c.touchedIPs, e)
	}
}

func (c *Core) settleIP(e *ipEntry) {
	e.touched = false
	if !e.dirty {
		e.dirty = true
		e.vni.dirtyIPs = append(e.vni.dirtyIPs, e)
		c.markVNI(e.vni)
	}
}

// elect gives the best remote claim to the IP.
func (e *ipEntry) elect() *path {
	var best *path
	for p := e.head; p != nil; p = p.ipNext {
		if p.outdated() {
			continue
		}
		if best == nil || p.compare(best) < 0 {
			best = p
		}
	}
	return best
}

// announced reports whether a local host has the IP.
func (e *ipEntry) announced() bool { return e.bound != nil && e.bound.owner == ownLocal }

// wantRow gives the neighbour row: a local host wins, then the configuration, then
// the best route, provided that its MAC is installed. An entry for a MAC that is not
// would make the bridge answer for a host that it cannot reach.
func (e *ipEntry) wantRow() (RowValue, bool) {
	v := e.vni
	if !v.up || !v.cfg.Suppression || e.announced() {
		return RowValue{}, false
	}
	if e.static != nil {
		return RowValue{MAC: e.static.mac}, e.static.owner == ownStatic
	}
	best := e.elect()
	if best == nil || (best.mac.owner != ownRemote && best.mac.owner != ownStatic) {
		return RowValue{}, false
	}
	return RowValue{MAC: best.mac.mac, Router: best.set.attrs.Router}, true
}
