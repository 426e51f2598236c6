package evpn

import (
	"net/netip"
	"slices"
	"time"
)

// Explanation is all that is known of one MAC, or one IP, of a VNI, and why it is as
// it is. It is data: what to say of it in words is for those who print it.
type Explanation struct {
	VNI        VNI
	RD         RD // of our routes of the VNI
	Up         bool
	DownReason string // of the VNI

	MAC    MAC        // asked for, or of the host that has the IP; zero when nobody has
	IP     netip.Addr // asked for; zero when a MAC was
	Origin Origin     // who has it; empty = nobody
	VTEP   netip.Addr // where, when remote or static

	Local      *LocalFact // what the kernel reports here
	Heard      netip.Addr // the VTEP of the segment that sends its frames; zero = none does
	Static     *StaticMAC // what the configuration says
	Freeze     *Freeze    // duplicate detection holds it
	Moves      []time.Time
	Limit      MACLimit    // max_macs of the VNI
	Candidates []Candidate // every route that names it, best first
	Own        []Route     // routes of ours for it
	Rows       []Row       // kernel rows for it that follow from all this
}

// LocalFact is a host on an access port.
type LocalFact struct {
	MAC      MAC
	Port     string // empty when only an IP binding is known
	Sequence uint32
	Sticky   bool
	Gateway  bool
	// Announced says that the claim stands. One that does not waits for the VNI, or is
	// held back by a static entry or a freeze.
	Announced bool
	IPs       []LocalIP // sorted
}

// LocalIP is an IP of a local host.
type LocalIP struct {
	IP        netip.Addr
	Source    string // of [LocalIPLearned]
	Router    bool
	Announced bool
}

// Freeze is a MAC or IP that moved too often (RFC 7432 §15.1).
type Freeze struct {
	At    time.Time
	VTEP  netip.Addr // frozen to; zero = as local
	Until time.Time  // zero = until cleared by hand
}

// MACLimit is the state of max_macs in a VNI.
type MACLimit struct {
	Max  int // 0 = none
	Used int
	Over bool // this MAC found no place
}

// Candidate is one route that names what was asked for.
type Candidate struct {
	RouteInfo
	Verdict           Verdict
	Reachable         bool   // the next hop, as far as the underlay knows
	UnreachableReason string // of the underlay
}

// Explain says all about a MAC of a VNI. False when the VNI is not configured, or
// nothing at all is known of the MAC. It looks at every route that was received.
func (c *Core) Explain(vni VNI, mac MAC) (Explanation, bool) {
	v := c.configured(vni)
	if v == nil {
		return Explanation{}, false
	}
	x := v.explanation()
	x.MAC = mac
	m := v.macs[mac]
	if m != nil {
		c.explainMAC(&x, m)
	}
	x.Candidates = c.candidates(v, func(k RouteKey) bool { return k.MAC == mac }, c.verdict)
	known := m != nil || len(x.Candidates) > 0
	return x, known
}

// ExplainIP does the same for an IP.
func (c *Core) ExplainIP(vni VNI, ip netip.Addr) (Explanation, bool) {
	v := c.configured(vni)
	ip, ok := hostIP(ip)
	if v == nil || !ok {
		return Explanation{}, false
	}
	x := v.explanation()
	x.IP = ip
	e := v.ips[ip]
	if e != nil {
		c.explainIP(&x, e)
	}
	x.Candidates = c.candidates(v, func(k RouteKey) bool { return k.IP == ip }, c.verdictOnIP)
	return x, e != nil || len(x.Candidates) > 0
}

func (v *instance) explanation() Explanation {
	return Explanation{
		VNI: v.vni, RD: v.cfg.RD, Up: v.up, DownReason: v.downReason,
		Limit: MACLimit{Max: v.cfg.MaxMACs, Used: v.admitted},
	}
}

func (c *Core) explainMAC(x *Explanation, m *macEntry) {
	v := m.vni
	x.Local = m.localFact()
	if m.heard != nil {
		x.Heard = m.heard.at.addr
	}
	if m.static != nil {
		x.Static = m.static.StaticMAC
	}
	if m.log != nil {
		x.Moves, x.Freeze = slices.Clone(m.log.moves), m.log.freeze()
	}
	x.Limit.Over = m.owner == ownOver
	if o := c.wantMAC(m, false); o != nil {
		x.Own = append(x.Own, v.ownRoute(macKey(o, m.mac), o))
	}
	for e := m.ips; e != nil; e = e.nextOfMAC {
		if o := c.wantIP(e, e.owner, false); o != nil {
			x.Own = append(x.Own, v.ownRoute(e.key(o, m.mac), o))
		}
	}
	sortRoutes(x.Own)
	x.Origin = m.owner.origin()
	if m.owner == ownStatic {
		x.VTEP = m.static.VTEP // also while no row is wanted, because it is unreachable
	}
	if val, ok := m.wantRow(m.owner, m.best); ok {
		x.VTEP = val.VTEP
		x.Rows = append(x.Rows, Row{RowKey: RowKey{Kind: MACRow, VNI: v.vni, MAC: m.mac}, RowValue: val})
	}
	x.Rows = append(x.Rows, c.neighborRows(m)...)
}

// neighborRows lists the neighbour rows that say m.
func (c *Core) neighborRows(m *macEntry) []Row {
	seen := map[*ipEntry]bool{}
	var rows []Row
	see := func(e *ipEntry) {
		if e == nil || seen[e] {
			return
		}
		seen[e] = true
		if val, ok := e.wantRow(c.judgeIP(e)); ok && val.MAC == m.mac {
			rows = append(rows, Row{RowKey: RowKey{Kind: NeighborRow, VNI: m.vni.vni, IP: e.ip}, RowValue: val})
		}
	}
	for p := m.head; p != nil; p = p.next {
		if p.namesIP() {
			see(m.vni.ips[p.Key.IP])
		}
	}
	if m.static != nil {
		for _, s := range m.vni.cfg.StaticMACs {
			if s.MAC == m.mac {
				see(m.vni.ips[s.IP])
			}
		}
	}
	slices.SortFunc(rows, func(a, b Row) int { return a.Compare(b.RowKey) })
	return rows
}

func (c *Core) explainIP(x *Explanation, e *ipEntry) {
	v := e.vni
	if e.log != nil {
		x.Moves, x.Freeze = slices.Clone(e.log.moves), e.log.freeze()
	}
	if e.bound != nil {
		x.Local = e.bound.localFact()
		if x.Local == nil {
			x.Local = &LocalFact{MAC: e.bound.mac}
		}
		x.Local.IPs = []LocalIP{e.localIP()}
	}
	if e.static != nil {
		s := *e.static.static.StaticMAC
		s.IP = e.ip
		x.Static = &s
		if e.static.owner == ownStatic { // whether or not its VTEP can be reached
			x.MAC, x.Origin, x.VTEP = e.static.mac, OriginStatic, s.VTEP
		}
	}
	if o := c.wantIP(e, e.owner, false); o != nil {
		x.MAC, x.Origin = e.bound.mac, OriginLocal
		x.Own = append(x.Own, v.ownRoute(e.key(o, e.bound.mac), o))
	}
	if val, ok := e.wantRow(c.judgeIP(e)); ok {
		x.MAC = val.MAC
		m := v.macs[val.MAC]
		x.Origin = m.owner.origin()
		if to, ok := m.wantRow(m.owner, m.best); ok {
			x.VTEP = to.VTEP
		}
		x.Rows = append(x.Rows, Row{RowKey: RowKey{Kind: NeighborRow, VNI: v.vni, IP: e.ip}, RowValue: val})
	}
}

func (m *macEntry) localFact() *LocalFact {
	l := m.local
	if l == nil {
		return nil
	}
	f := &LocalFact{MAC: m.mac, Port: l.port.Value(), Sequence: l.sequence, Sticky: l.sticky, Gateway: l.gateway, Announced: m.owner == ownLocal}
	for e := m.ips; e != nil; e = e.nextOfMAC {
		f.IPs = append(f.IPs, e.localIP())
	}
	slices.SortFunc(f.IPs, func(a, b LocalIP) int { return a.IP.Compare(b.IP) })
	return f
}

func (e *ipEntry) localIP() LocalIP {
	return LocalIP{IP: e.ip, Source: e.source.Value(), Router: e.router, Announced: e.announced()}
}

func (l *moveLog) freeze() *Freeze {
	if l.frozenAt.IsZero() {
		return nil
	}
	return &Freeze{At: l.frozenAt, VTEP: l.frozenTo, Until: l.next}
}

func (o owner) origin() Origin {
	switch o {
	case ownLocal:
		return OriginLocal
	case ownRemote:
		return OriginRemote
	case ownStatic:
		return OriginStatic
	case ownProxy:
		return OriginProxy
	default:
		return ""
	}
}

// candidates lists the type-2 routes whose key is wanted and that concern v: they are
// imported there, or their label says that they were meant for it.
func (c *Core) candidates(v *instance, wanted func(RouteKey) bool, verdict func(*path) Verdict) []Candidate {
	var paths []*path
	for _, nb := range c.neighbors {
		for k, p := range nb.paths {
			if k.Type == MACIPRoute && wanted(k) && (p.VNI() == v.vni || slices.Contains(p.set.imports, v)) {
				paths = append(paths, p)
			}
		}
	}
	// What counts comes first, in the order of the election.
	slices.SortFunc(paths, func(a, b *path) int {
		if d := cmpBool(!a.linked, !b.linked); d != 0 {
			return d
		}
		if d := cmpBool(a.linked && a.via.lost, b.linked && b.via.lost); d != 0 {
			return d
		}
		if d := cmpBool(a.outdated(), b.outdated()); d != 0 {
			return d
		}
		return a.compare(b)
	})
	list := make([]Candidate, 0, len(paths))
	for _, p := range paths {
		x := Candidate{RouteInfo: p.info(), Verdict: verdict(p), Reachable: true}
		if t := c.vteps[p.endpoint()]; t != nil {
			x.Reachable, x.UnreachableReason = !t.unreachable, t.reason
		}
		list = append(list, x)
	}
	return list
}
