package evpn

import (
	"cmp"
	"net/netip"
	"slices"
)

// Desired lists the whole intended state. Who has a MAC is elected anew from the
// tables and not read from what the increments left, so that comparing it with the
// sum of all changes is a check.
func (c *Core) Desired() Desired {
	var d Desired
	for _, v := range c.sortedVNIs() {
		c.desiredFloods(v, &d)
		for _, m := range v.sortedMACs() {
			c.desiredMAC(v, m, &d)
		}
		for _, e := range v.sortedIPs() {
			who, best := c.judgeIP(e)
			if o := c.wantIP(e, who, false); o != nil {
				d.Routes = append(d.Routes, v.ownRoute(e.key(o, e.bound.mac), o))
			}
			if val, ok := e.wantRow(who, best); ok {
				d.Rows = append(d.Rows, Row{RowKey: RowKey{Kind: NeighborRow, VNI: v.vni, IP: e.ip}, RowValue: val})
			}
		}
	}
	sortRoutes(d.Routes)
	d.NextHops = c.desiredNextHops()
	return d
}

func (c *Core) desiredMAC(v *instance, m *macEntry, d *Desired) {
	if o := c.wantMAC(m, false); o != nil {
		d.Routes = append(d.Routes, v.ownRoute(macKey(o, m.mac), o))
	}
	if val, ok := m.desiredRow(); ok {
		d.Rows = append(d.Rows, Row{RowKey: RowKey{Kind: MACRow, VNI: v.vni, MAC: m.mac}, RowValue: val})
	}
}

// desiredRow decides anew what row m should have.
func (m *macEntry) desiredRow() (RowValue, bool) {
	return m.wantRow(m.seat())
}

func (v *instance) sortedMACs() []*macEntry {
	return sortedValues(v.macs, func(a, b *macEntry) int { return a.mac.Compare(b.mac) })
}

func (v *instance) sortedIPs() []*ipEntry {
	return sortedValues(v.ips, func(a, b *ipEntry) int { return a.ip.Compare(b.ip) })
}

func sortedValues[K comparable, V any](m map[K]V, compare func(a, b V) int) []V {
	vs := make([]V, 0, len(m))
	for _, x := range m {
		vs = append(vs, x)
	}
	slices.SortFunc(vs, compare)
	return vs
}

// Routes lists received routes and our own, in canonical order (key, neighbour),
// calling yield for each until it returns false.
func (c *Core) Routes(yield func(RouteInfo) bool) {
	var paths []*path
	for _, nb := range c.neighbors {
		for _, p := range nb.paths {
			paths = append(paths, p)
		}
	}
	slices.SortFunc(paths, func(a, b *path) int {
		return cmp.Or(a.Key.Compare(b.Key), a.nb.addr.Compare(b.nb.addr))
	})
	own := c.Desired().Routes
	for _, p := range paths {
		for len(own) > 0 && own[0].Key.Compare(p.Key) <= 0 {
			if !yield(ownInfo(own[0])) {
				return
			}
			own = own[1:]
		}
		if !yield(p.info()) {
			return
		}
	}
	for _, r := range own {
		if !yield(ownInfo(r)) {
			return
		}
	}
}

func ownInfo(r Route) RouteInfo {
	return RouteInfo{Route: r, VNIs: []VNI{r.VNI()}, Best: true}
}

func (p *path) info() RouteInfo {
	i := RouteInfo{Route: p.route(), Neighbor: p.nb.addr, Stale: p.stale, LongLivedStale: p.leastPreferred(), Reason: p.reason()}
	for _, v := range p.set.imports {
		i.VNIs = append(i.VNIs, v.vni)
	}
	i.Best = i.Reason == ""
	return i
}

// reason says why p is not used, as things stand.
func (p *path) reason() Reason {
	switch {
	case p.fault != fit:
		return p.fault.reason()
	case !p.linked:
		return OverNeighborLimit
	case !p.vni.up:
		return VNIDown
	case p.via.own:
		return OwnNextHop
	case p.via.lost:
		return NextHopUnreachable
	case p.Key.Type == IMETRoute:
		return p.floodReason()
	}
	m := p.mac
	switch {
	case m.owner == ownLocal && m.frozen(), m.frozen() && p.set.attrs.NextHop != m.log.frozenTo:
		return DuplicateFrozen
	case m.owner == ownLocal && m.local.gateway:
		return GatewayIsLocal
	case m.owner == ownLocal:
		return LosesToLocal
	case m.owner == ownStatic:
		return LosesToStatic
	case m.owner == ownProxy && !p.namesIP():
		return LosesToHeard
	case m.owner == ownOver:
		return OverMACLimit
	case p == m.best:
		return ""
	case p.namesIP():
		return p.reasonForIP()
	default:
		return LosesElection
	}
}

// floodReason says why a type-3 that is fit for use is not used.
func (p *path) floodReason() Reason {
	f := p.vni.floods[p.set.endpoint]
	switch {
	case p.vni.cfg.Flooding == FloodOff:
		return FloodingOff
	case p.set.tunnel == PMSIAssistedReplication:
		return p.replicatorReason()
	case p.set.tunnel == PMSINoTunnel && p.vni.hears() && p.claims():
		return p.losesTo(best(f.silent)) // it has a say in the election
	case p.set.tunnel == PMSINoTunnel:
		return WantsNoCopies
	case f.services != nil:
		return ReplicatorListens
	}
	return p.losesTo(best(f.head))
}

// reasonForIP judges a MAC+IP route that is not the one its MAC row follows. It is
// used all the same when it tells the IP of that MAC, as do all but the first of the
// routes of a host with several addresses.
func (p *path) reasonForIP() Reason {
	e := p.vni.ips[p.Key.IP]
	if e.announced() {
		return LosesToLocal
	}
	if e.static != nil {
		return LosesToStatic
	}
	return p.losesTo(e.elect())
}

func (p *path) losesTo(best *path) Reason {
	if p == best {
		return ""
	}
	return LosesElection
}

// best gives the best of a chain of type-3 routes, for display: one is as good as another.
func best(chain *path) *path {
	best := chain
	for p := chain; p != nil; p = p.next {
		if p.compare(best) < 0 {
			best = p
		}
	}
	return best
}

// MACs lists the MACs of one VNI (0 = all) in canonical order.
func (c *Core) MACs(vni VNI, yield func(MACInfo) bool) {
	for _, v := range c.sortedVNIs() {
		if vni != 0 && v.vni != vni {
			continue
		}
		for _, m := range v.sortedMACs() {
			if i, ok := c.macInfo(m); ok && !yield(i) {
				return
			}
		}
	}
}

func (c *Core) macInfo(m *macEntry) (MACInfo, bool) {
	i := MACInfo{VNI: m.vni.vni, MAC: m.mac}
	switch m.owner {
	case ownLocal:
		i.Origin, i.Port = OriginLocal, m.local.port.Value()
		i.Sequence, i.Sticky, i.Gateway = m.local.sequence, m.local.sticky, m.local.gateway
		for e := m.ips; e != nil; e = e.nextOfMAC {
			if e.announced() { // else another MAC has it
				i.IPs = append(i.IPs, e.ip)
			}
		}
	case ownRemote:
		a := m.best.set.attrs
		i.Origin, i.VTEP, i.Stale = OriginRemote, a.NextHop, m.best.stale
		i.Gateway, i.Unreachable = a.DefaultGateway, m.best.via.unreachable
		i.Sequence, i.Sticky, i.LongLivedStale = a.Mobility.Sequence, a.Mobility.Sticky, m.best.leastPreferred()
		for p := m.head; p != nil; p = p.next {
			if p.namesIP() && p.set.attrs.NextHop == a.NextHop && m.vni.ips[p.Key.IP].holder == m.mac {
				i.IPs = append(i.IPs, p.Key.IP)
			}
		}
	case ownProxy:
		i.Origin, i.VTEP, i.Sequence = OriginProxy, m.heard.at.addr, m.heard.sequence
		i.Unreachable = m.heard.at.via.unreachable
	case ownStatic:
		i.Origin, i.VTEP, i.Sticky = OriginStatic, m.static.VTEP, true
		i.Unreachable = m.static.via.unreachable
		for _, s := range m.vni.cfg.StaticMACs {
			if s.MAC == m.mac && s.IP.IsValid() {
				i.IPs = append(i.IPs, s.IP)
			}
		}
	default:
		if !m.frozen() {
			return i, false
		}
		i.Origin, i.VTEP = OriginRemote, m.log.frozenTo
		if !i.VTEP.IsValid() {
			i.Origin = OriginLocal
		}
	}
	slices.SortFunc(i.IPs, netip.Addr.Compare)
	i.IPs = slices.Compact(i.IPs)
	for _, ip := range i.IPs {
		if e := m.vni.ips[ip]; e != nil && e.frozen() {
			i.DuplicateIPs = append(i.DuplicateIPs, ip)
		}
	}
	if m.log != nil {
		i.Duplicate, i.Frozen = m.frozen(), m.log.frozenAt
		i.Moves = m.log.count(c.now.Add(-c.cfg.Duplicate.Window))
	}
	return i, true
}

// VNIs lists the configured VNIs in order.
func (c *Core) VNIs() []VNIInfo {
	var is []VNIInfo
	for _, v := range c.sortedVNIs() {
		is = append(is, c.vniInfo(v))
	}
	return is
}

func (c *Core) vniInfo(v *instance) VNIInfo {
	i := VNIInfo{
		VNIConfig: v.cfg, Up: v.up, DownReason: v.downReason,
		LocalMACs: v.counts[ownLocal], RemoteMACs: v.counts[ownRemote] + v.counts[ownStatic] + v.counts[ownProxy],
		Relay: c.wantRelay(v), Strangers: v.strangers(), Contraries: v.contraries(),
	}
	for _, f := range v.floods {
		if f.services == nil && c.judgeFlood(f, v.chosen).role != "" {
			i.VTEPs++
		}
	}
	return i
}

// VTEPs lists the remote VTEPs in order of address.
func (c *Core) VTEPs() []VTEPInfo {
	found := map[netip.Addr]*VTEPInfo{}
	info := func(a netip.Addr) *VTEPInfo {
		i := found[a]
		if i == nil {
			i = &VTEPInfo{Address: a, Reachable: true}
			if t := c.vteps[a]; t != nil {
				i.Reachable, i.Reason = !t.unreachable, t.reason
			}
			found[a] = i
		}
		return i
	}
	see := func(a netip.Addr, vni VNI) *VTEPInfo {
		i := info(a)
		if n := len(i.VNIs); n == 0 || i.VNIs[n-1] != vni {
			i.VNIs = append(i.VNIs, vni)
		}
		return i
	}
	for _, v := range c.sortedVNIs() {
		for _, f := range v.floods {
			if c.judgeFlood(f, v.chosen).role != "" {
				see(f.addr, v.vni)
			}
		}
		for _, m := range v.macs {
			if val, ok := m.wantRow(m.owner, m.best); ok {
				see(val.VTEP, v.vni).MACs++
			}
		}
	}
	for a, t := range c.vteps {
		if t.unreachable { // shown also where its rows are gone for that
			info(a)
		}
	}
	list := make([]VTEPInfo, 0, len(found))
	for _, i := range sortedValues(found, func(a, b *VTEPInfo) int { return a.Address.Compare(b.Address) }) {
		list = append(list, *i)
	}
	return list
}
