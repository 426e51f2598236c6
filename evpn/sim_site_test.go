package evpn_test

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/evpn/journal"
)

func mustAddr(s string) addr { return netip.MustParseAddr(s) }

func addrAt(a addr, n int) addr {
	for range n {
		a = a.Next()
	}
	return a
}

// simPanic makes a broken promise of the core end the seed loudly.
type simPanic struct{}

func (simPanic) Errorf(format string, args ...any) {
	panic("simulation: " + fmt.Sprintf(format, args...))
}

// site is one VTEP: a core, the daemon around it, its kernel, its sessions.
type site struct {
	w        *world
	addr     addr
	routerID addr
	cfg      evpn.Config
	away     map[evpn.VNI]evpn.VNIConfig // configured away for a while
	core     *evpn.Core
	sum      *ledger
	kernel   *simKernel
	links    []*link // one to each reflector
	outlives bool    // what copies for it goes on without the daemon
	dead     bool    // the daemon has ended: it closed its sessions
}

// link is the session of a site with a reflector.
type link struct {
	s       *site
	r       *reflector
	session int // its number; 0 = down
	last    int
	out, in time.Time // when it last delivered: it keeps order
}

func newSite(w *world, cfg evpn.Config) *site {
	s := &site{w: w, addr: cfg.VTEP, routerID: cfg.VTEP, cfg: cfg, away: map[evpn.VNI]evpn.VNIConfig{}}
	s.kernel = &simKernel{s: s, up: map[evpn.VNI]bool{}, local: map[simMAC]bool{}, ips: map[simIP]evpn.MAC{}, rows: map[evpn.RowKey]evpn.Row{}, cut: map[*site]bool{}, heard: map[simHeard]bool{}}
	for _, vni := range simVNIs {
		s.kernel.up[vni] = true
	}
	for _, r := range w.rrs {
		s.links = append(s.links, &link{s: s, r: r})
	}
	return s
}

// boot starts the daemon: nothing known, the kernel as it was left.
func (s *site) boot() {
	s.core, s.sum = evpn.New(s.cfg), newLedger()
	s.kernel.gen++
	s.kernel.report()
}

// reload hands over the configuration, and the kernel reports anew what it has for it.
func (s *site) reload() {
	cfg := s.cfg
	cfg.VNIs = slices.Clone(cfg.VNIs)
	s.handle(evpn.ConfigReplaced{Config: cfg})
	s.kernel.report()
}

func (s *site) unconfigure(vni evpn.VNI) {
	i := slices.IndexFunc(s.cfg.VNIs, func(v evpn.VNIConfig) bool { return v.VNI == vni })
	if i < 0 || len(s.cfg.VNIs) == 1 {
		return
	}
	s.away[vni] = s.cfg.VNIs[i]
	s.cfg.VNIs = slices.Delete(slices.Clone(s.cfg.VNIs), i, i+1)
	s.reload()
}

func (s *site) reconfigure(vni evpn.VNI) {
	if v, ok := s.away[vni]; ok {
		delete(s.away, vni)
		s.cfg.VNIs = append(slices.Clone(s.cfg.VNIs), v)
		s.reload()
	}
}

// replaceCore goes on with what a snapshot of the core makes.
func (s *site) replaceCore() {
	s.drain()
	c := restore(s.core, s.w.now)
	sum := newLedger()
	sum.apply(simPanic{}, c.Drain(s.w.now))
	assert.Equal(simPanic{}, s.sum.desired(), sum.desired(), "a snapshot makes something else")
	s.core, s.sum = c, sum
}

// prune removes the rows that nobody asked for.
func (s *site) prune() {
	for k := range s.kernel.rows {
		if _, ok := s.sum.rows[k]; !ok {
			delete(s.kernel.rows, k)
		}
	}
}

func (s *site) handle(ev evpn.Event) {
	s.core.Handle(ev, s.w.now)
	if !s.w.chance(30) {
		s.drain()
		return
	}
	core := s.core // let some events share a drain
	s.w.after(time.Millisecond, func() {
		if s.core == core {
			s.drain()
		}
	})
}

func (s *site) drain() {
	ch := s.core.Drain(s.w.now)
	if ch.Empty() {
		return
	}
	s.sum.apply(simPanic{}, ch)
	s.checkAlways(ch)
	if len(ch.Announce)+len(ch.Withdraw) > 0 {
		for _, l := range s.links {
			l.send(func() { l.r.receive(l, ch.Announce, ch.Withdraw) })
		}
	}
	if len(ch.Rows) > 0 {
		s.kernel.write(ch.Rows)
	}
	for _, h := range ch.NextHops {
		if !h.Remove {
			s.kernel.tellReachable(h.VTEP)
		}
	}
}

// checkAlways holds the core to what is true at any time: a gateway neither moves nor has
// a number, and nothing leads to where by policy nothing may.
func (s *site) checkAlways(ch evpn.Changes) {
	for _, n := range ch.Notes {
		if n.MAC == simGatewayMAC && n.Kind != evpn.NoteRouteIgnored {
			simPanic{}.Errorf("%s: %s", s.addr, journal.NoteText(n))
		}
	}
	for _, r := range ch.Announce {
		a := r.Attrs
		if (r.Key.MAC == simGatewayMAC) != a.DefaultGateway || (a.DefaultGateway && a.Mobility != evpn.Mobility{}) {
			simPanic{}.Errorf("%s announces %s", s.addr, journal.RouteText(r))
		}
	}
	vteps := s.core.VTEPs()
	s.checkFlooding(vteps)
	for _, t := range vteps {
		if s.cfg.Unreachable == evpn.UnreachableRemove && !t.Reachable && (t.MACs > 0 || len(t.VNIs) > 0) {
			simPanic{}.Errorf("%s still uses %v", s.addr, t)
		}
	}
}

func (s *site) connectAll() {
	for _, l := range s.links {
		l.connect()
	}
}

func (s *site) disconnectAll(grace bool) {
	for _, l := range s.links {
		l.disconnect(grace)
	}
}

// send has deliver done at the other end, unless the session ends before.
func (l *link) send(deliver func()) {
	session := l.session
	if session == 0 {
		return
	}
	l.out = l.s.w.later(l.out)
	l.s.w.after(l.out.Sub(l.s.w.now), func() {
		if l.session == session {
			deliver()
		}
	})
}

func (l *link) connect() {
	if l.session != 0 {
		return
	}
	s := l.s
	s.drain()
	l.last++
	l.session = l.last
	s.core.Handle(evpn.NeighborUp{Neighbor: l.r.addr, EndOfRIB: true, KeptForwarding: s.w.chance(90), KeptLongLived: s.w.chance(80)}, s.w.now)
	routes := s.sum.desired().Routes
	l.send(func() { l.r.receive(l, routes, nil) })
	l.send(func() { l.r.endOfRIB(l) })
	l.r.connected(l)
}

func (l *link) disconnect(grace bool) {
	if l.session == 0 {
		if !grace { // known to be dead only now
			l.r.disconnected(l, false)
			l.s.handle(evpn.NeighborDown{Neighbor: l.r.addr})
		}
		return
	}
	l.session = 0
	l.r.disconnected(l, grace)
	l.s.handle(evpn.NeighborDown{Neighbor: l.r.addr, Graceful: grace, StaleTime: 20 * time.Second, LongLived: l.s.w.long})
}

// later gives the next time at which a link that keeps order may deliver.
func (w *world) later(last time.Time) time.Time {
	t := w.now.Add(time.Duration(1+w.rng.IntN(400)) * time.Millisecond)
	if t.Before(last) {
		return last
	}
	return t
}

// reflector passes routes on, and, as FRR does, back to where they came from. A speaker drops
// those, because they have its router ID (RFC 4456 §8), but a core copes with them too. Not
// with those by which it speaks for others, which no next hop tells from somebody else's.
type reflector struct {
	w     *world
	addr  addr
	table map[evpn.RouteKey]simRoute
}

type simRoute struct {
	evpn.Route
	from  *link
	stale bool
}

func (r *reflector) echoes(from, to *link) bool { return from.s != to.s || !r.w.modes }

func (r *reflector) receive(from *link, announce []evpn.Route, withdraw []evpn.RouteKey) {
	for _, k := range withdraw {
		delete(r.table, k)
	}
	for _, a := range announce {
		r.table[a.Key] = simRoute{Route: a, from: from}
	}
	r.broadcast(from, announce, withdraw)
}

func (r *reflector) broadcast(from *link, announce []evpn.Route, withdraw []evpn.RouteKey) {
	for _, s := range r.w.sites {
		for _, l := range s.links {
			if l.r == r && r.echoes(from, l) {
				l.deliver(evpn.RoutesReceived{Neighbor: r.addr, Announced: announce, Withdrawn: withdraw})
			}
		}
	}
}

// deliver brings an event from the reflector to the site.
func (l *link) deliver(ev evpn.Event) {
	session := l.session
	if session == 0 {
		return
	}
	l.in = l.s.w.later(l.in)
	l.s.w.after(l.in.Sub(l.s.w.now), func() {
		if l.session == session {
			l.s.handle(ev)
		}
	})
}

func (r *reflector) keys() []evpn.RouteKey {
	return slices.SortedFunc(maps.Keys(r.table), evpn.RouteKey.Compare)
}

func (r *reflector) connected(l *link) {
	for _, k := range r.keys() {
		if e := r.table[k]; r.echoes(e.from, l) {
			l.deliver(evpn.RoutesReceived{Neighbor: r.addr, Announced: []evpn.Route{e.Route}})
		}
	}
	l.deliver(evpn.EndOfRIB{Neighbor: r.addr})
}

func (r *reflector) disconnected(l *link, grace bool) {
	for _, k := range r.keys() {
		if e := r.table[k]; e.from == l {
			if grace && !e.stale {
				e.stale = true
				r.table[k] = e
				if l.s.dead {
					r.lapse(k, e)
				}
				continue
			}
			delete(r.table, k)
			r.broadcast(l, nil, []evpn.RouteKey{k})
		}
	}
	if grace {
		last := l.last
		r.w.after(20*time.Second, func() {
			if l.last == last { // never came back
				r.expire(l)
			}
		})
		r.w.after(20*time.Second+r.w.long, func() {
			if l.last == last {
				r.endOfRIB(l)
			}
		})
	}
}

// lapse passes on what becomes of a claim when the process behind it has ended, as a speaker does.
func (r *reflector) lapse(k evpn.RouteKey, e simRoute) {
	next, changed := e.Lapsed()
	switch {
	case !changed:
	case next.Attrs == nil:
		delete(r.table, k)
		r.broadcast(e.from, nil, []evpn.RouteKey{k})
	default:
		e.Route = next
		r.table[k] = e
		r.broadcast(e.from, []evpn.Route{next}, nil)
	}
}

// expire passes on that stale routes of l are long-lived stale now.
func (r *reflector) expire(l *link) {
	for _, k := range r.keys() {
		if e := r.table[k]; e.from == l && e.stale {
			attrs := *e.Attrs
			attrs.LLGRStale = true
			e.Attrs = &attrs
			r.table[k] = e
			r.broadcast(l, []evpn.Route{e.Route}, nil)
		}
	}
}

func (r *reflector) endOfRIB(l *link) {
	for _, k := range r.keys() {
		if e := r.table[k]; e.from == l && e.stale {
			delete(r.table, k)
			r.broadcast(l, nil, []evpn.RouteKey{k})
		}
	}
}

var _ assert.TestingT = simPanic{}

func when(cond bool, w string) string {
	if cond {
		return w
	}
	return ""
}
