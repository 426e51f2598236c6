package evpn_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// TestSimulationSegments plays fabrics with multicast segments: VTEPs without EVPN that only know a
// group, members of their segment with one, two or three relays among them, and VTEPs elsewhere
// that copy for themselves, have a replicator do it, or are one. Daemons restart and are
// upgraded, hosts die, sessions break with and without grace, VTEPs begin and end to speak
// EVPN, and a few hosts go from VTEP to VTEP. Whenever the world is at rest, a frame of each VTEP
// reaches each other one exactly once, by way of the rows, lists and relays that the cores
// asked for, and every row of a MAC leads to where it is.
func TestSimulationSegments(t *testing.T) {
	play := func(seed uint64) error {
		w := newSegmentWorld(seed)
		defer func() {
			if r := recover(); r != nil {
				panic(fmt.Sprintf("seed %d: %v", seed, r))
			}
		}()
		for range 2 + w.rng.IntN(4) {
			for range 1 + w.rng.IntN(12) {
				w.disturb()
				w.pass(time.Duration(w.rng.IntN(3000)) * time.Millisecond)
			}
			if err := w.rest(); err != nil {
				return err
			}
		}
		return nil
	}
	if *simSeed != 0 {
		require.NoError(t, play(*simSeed))
		return
	}
	for seed := uint64(1); seed <= uint64(*simSeeds)/3; seed++ { // they are larger than the others
		if err := play(seed); err != nil {
			t.Fatalf("seed %d (go test ./evpn -run TestSimulationSegments -seed %d): %v", seed, seed, err)
		}
	}
}

// TestSimulationRelayDies: the process of a relay ends, and what copied ends with it, while neighbours keep its
// routes. Another one takes over, although all that was said stands, and goes on when the first one is back.
func TestSimulationRelayDies(t *testing.T) {
	played := 0
	for seed := uint64(1); seed <= uint64(*simSeeds)/3; seed++ {
		w := newSegmentWorld(seed)
		require.NoError(t, w.rest(), "seed %d", seed)
		for _, g := range w.segments {
			relays, active := g.relays()
			mixed := func(n *node) bool { // who is away says nothing to another way to deliver
				return n.site.cfg.VNIs[0].Segment.Delivery != relays[0].site.cfg.VNIs[0].Segment.Delivery
			}
			if len(active) != 1 || len(relays) == 1 || active[0].site.outlives || slices.ContainsFunc(relays, mixed) {
				continue
			}
			played++
			a := active[0]
			a.end(true)
			w.pass(2 * time.Second)
			_, now := g.relays()
			require.Len(t, now, 1, "seed %d", seed)
			for _, from := range w.nodes {
				if from != a {
					require.NoError(t, w.compareFrom(from), "seed %d, while it is away", seed)
				}
			}
			a.begin(true)
			w.pass(10 * time.Second)
			_, back := g.relays()
			require.Equal(t, now, back, "seed %d", seed)
			for _, from := range w.nodes {
				require.NoError(t, w.compareFrom(from), "seed %d, when it is back", seed)
			}
		}
	}
	require.Greater(t, played, *simSeeds/30)
}

// relays lists the daemons that would copy for the segment, and those of them that do.
func (g *simSegment) relays() (all, active []*node) {
	for _, n := range g.nodes {
		if n.daemon && n.relays() {
			all = append(all, n)
			if n.site.sum.relays[segmentVNI].Segment {
				active = append(active, n)
			}
		}
	}
	return all, active
}

const segmentVNI evpn.VNI = 100

// segmentWorld is a world in which BUM frames are of interest.
type segmentWorld struct {
	*world
	segments []*simSegment
	nodes    []*node
	movers   []*mover
}

// mover is a host that goes from VTEP to VTEP.
type mover struct {
	host
	on    *node
	spoke time.Time
}

// simSegment is an underlay segment on which a group is heard.
type simSegment struct {
	group    addr
	prefix   netip.Prefix
	delivery evpn.SegmentDelivery
	nodes    []*node
}

// node is a VTEP: a kernel, and a daemon or none.
type node struct {
	w       *segmentWorld
	addr    addr
	segment *simSegment
	site    *site // nil for one that will never have a daemon
	daemon  bool  // it runs
	off     bool  // the host is off
	heard   map[addr]time.Time
	macs    map[heardAt]time.Time
}

type heardAt struct {
	mac  evpn.MAC
	vtep addr
}

func newSegmentWorld(seed uint64) *segmentWorld {
	w := &segmentWorld{world: &world{rng: rand.New(rand.NewPCG(seed, 7348)), now: start}}
	for i := range 1 + w.rng.IntN(2) {
		w.rrs = append(w.rrs, &reflector{w: w.world, addr: addrAt(mustAddr("10.0.0.253"), i), table: map[evpn.RouteKey]simRoute{}})
	}
	group := mustAddr("239.1.1.1")
	for i := range 1 + w.rng.IntN(2) {
		g := &simSegment{group: group, prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, byte(i), 0}), 24)}
		if w.chance(50) {
			group = group.Next()
		}
		if w.chance(50) {
			g.delivery = evpn.DeliverMulticast
		}
		w.segments = append(w.segments, g)
		next := g.prefix.Addr()
		add := func() *node {
			next = next.Next()
			n := w.addNode(next)
			n.segment = g
			g.nodes = append(g.nodes, n)
			return n
		}
		for range 1 + w.rng.IntN(3) { // hosts that run nothing, yet
			n := add()
			if w.chance(50) {
				n.speak(n.segmentConfig(false))
				n.daemon = false
			}
		}
		for range 1 + w.rng.IntN(3) { // relays
			n := add()
			n.speak(n.segmentConfig(true))
		}
		for range w.rng.IntN(3) { // members
			n := add()
			n.speak(n.segmentConfig(false))
		}
	}
	next := mustAddr("10.2.0.0")
	service := mustAddr("10.255.0.100")
	modes := []evpn.FloodMode{evpn.FloodIngress, evpn.FloodIngress, evpn.FloodAssisted, evpn.FloodReplicator}
	for range 2 + w.rng.IntN(4) {
		next = next.Next()
		n := w.addNode(next)
		cfg := evpn.Config{VTEP: n.addr, VNIs: []evpn.VNIConfig{vniConfig(segmentVNI, n.addr)}}
		if cfg.VNIs[0].Flooding = modes[w.rng.IntN(len(modes))]; cfg.VNIs[0].Flooding == evpn.FloodReplicator {
			if cfg.Service = service; w.chance(50) { // else shared with the next
				service = service.Next()
			}
		}
		n.speak(cfg)
	}
	for i := range 3 {
		m := &mover{host: host{vni: segmentVNI, mac: evpn.MAC{2, 0, 0, 0, 0, byte(i + 1)}}}
		w.movers, w.hosts = append(w.movers, m), append(w.hosts, &m.host)
	}
	for _, n := range w.nodes {
		if n.daemon {
			n.site.boot()
			n.site.connectAll()
		}
	}
	for _, m := range w.movers {
		m.on = w.nodes[w.rng.IntN(len(w.nodes))]
		m.speak()
	}
	return w
}

// speak is a frame of m.
func (m *mover) speak() {
	if m.on.off {
		return
	}
	m.spoke = m.on.w.now
	for _, n := range m.on.w.nodes { // without a daemon, devices learn from frames
		if n != m.on && n.site != nil && !n.daemon {
			delete(n.site.kernel.local, simMAC{m.vni, m.mac})
		}
	}
	if m.on.site != nil {
		m.on.site.kernel.hear(&m.host)
	}
}

func (w *segmentWorld) addNode(a addr) *node {
	n := &node{w: w, addr: a, heard: map[addr]time.Time{}, macs: map[heardAt]time.Time{}}
	w.nodes = append(w.nodes, n)
	return n
}

// speak gives n a daemon.
func (n *node) speak(cfg evpn.Config) {
	n.site, n.daemon = newSite(n.w.world, cfg), true
	n.site.outlives = n.w.chance(50)
	n.w.sites = append(n.w.sites, n.site)
	n.site.boot()
	n.site.core.Handle(evpn.EngineState{Outlives: n.site.outlives}, n.w.now)
}

func (n *node) segmentConfig(relay bool) evpn.Config {
	v := vniConfig(segmentVNI, n.addr)
	v.Flooding = evpn.FloodMulticast
	v.Segment = evpn.SegmentConfig{
		Group: n.segment.group, Prefixes: n.segment.list(n.w), ProxyVTEPs: relay, ProxyMACs: relay,
		Delivery: n.segment.delivery,
	}
	cfg := evpn.Config{VTEP: n.addr, VNIs: []evpn.VNIConfig{v}}
	if n.w.chance(15) { // not all are configured alike
		cfg.VNIs[0].Segment.Delivery = evpn.DeliverUnicast
	}
	if relay && cfg.VNIs[0].Segment.Delivery == evpn.DeliverMulticast {
		b := n.addr.As4()
		cfg.Service = netip.AddrFrom4([4]byte{10, 255, b[2] + 1, b[3]})
	}
	return cfg
}

// list is the prefixes of the segment in the words of one operator. Others may find others for the same VTEPs.
func (g *simSegment) list(w *segmentWorld) []netip.Prefix {
	if w.chance(60) {
		return []netip.Prefix{g.prefix}
	}
	base := g.prefix.Addr()
	b := base.As4()
	more := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 77, b[2], 0}), 24) // where nobody is
	halves := []netip.Prefix{netip.PrefixFrom(base, 29), netip.PrefixFrom(addrAt(base, 8), 29)}
	return [][]netip.Prefix{
		{g.prefix, more},
		{netip.PrefixFrom(base, 28)},
		{netip.PrefixFrom(base, 28), more},
		halves,
	}[w.rng.IntN(4)]
}

// competes reports a claim of a relay of the segment that n is on.
func (n *node) competes(r evpn.Route) bool {
	return r.Attrs.Claim.Group == n.site.cfg.VNIs[0].Segment.GroupID() && n.segment.prefix.Contains(r.Attrs.NextHop)
}

func (n *node) relays() bool {
	return n.site != nil && n.site.cfg.VNIs[0].Segment.ProxyVTEPs
}

// begin starts the daemon of n; resume: it follows one that ran until a moment ago.
func (n *node) begin(resume bool) {
	part := n.site.sum.relays[segmentVNI]
	n.daemon, n.site.dead = true, false
	n.site.cfg.Resume = resume
	n.site.core, n.site.sum = evpn.New(n.site.cfg), newLedger()
	n.site.core.Handle(evpn.EngineState{Outlives: n.site.outlives}, n.w.now)
	if resume && part.Own {
		active := part.Segment && (n.site.outlives || !part.Standby) // else another one has taken over
		n.site.core.Handle(evpn.RelayRestored{VNI: segmentVNI, Own: true, Active: active, Met: true}, n.w.now)
	}
	n.heard, n.macs = map[addr]time.Time{}, map[heardAt]time.Time{}
	n.site.kernel.gen++
	n.site.kernel.report()
	n.w.after(time.Duration(n.w.rng.IntN(1000))*time.Millisecond, func() {
		if n.daemon {
			n.site.connectAll()
		}
	})
}

// end stops the daemon.
func (n *node) end(grace bool) {
	n.daemon, n.site.dead = false, true
	n.site.disconnectAll(grace)
}

// pass lets time pass, in which those who listen tell whom they heard.
func (w *segmentWorld) pass(d time.Duration) {
	for end := w.now.Add(d); w.now.Before(end); {
		w.run(min(500*time.Millisecond, end.Sub(w.now)))
		for _, n := range w.nodes {
			n.listen()
		}
		w.checkRelays()
	}
}

// listen has a relay tell of the VTEPs that it heard on its group.
func (n *node) listen() {
	if !n.daemon || n.off || !n.relays() {
		return
	}
	for _, o := range n.segment.nodes {
		if o != n && !o.off {
			n.heard[o.addr] = n.w.now
			n.site.handle(evpn.VTEPHeard{VNI: segmentVNI, VTEP: o.addr})
		} else if at, ok := n.heard[o.addr]; ok && n.w.now.Sub(at) > 5*time.Second {
			delete(n.heard, o.addr)
			n.site.handle(evpn.VTEPSilent{VNI: segmentVNI, VTEP: o.addr})
		}
	}
	for _, m := range n.w.movers {
		age := n.w.now.Sub(m.spoke)
		if m.on != n && m.on.segment == n.segment && !m.on.off && age <= time.Second {
			n.macs[heardAt{m.mac, m.on.addr}] = m.spoke
			n.site.handle(evpn.MACHeard{VNI: segmentVNI, MAC: m.mac, VTEP: m.on.addr, Age: age})
		}
	}
	for k, at := range n.macs {
		if n.w.now.Sub(at) > 20*time.Second {
			delete(n.macs, k)
			n.site.handle(evpn.MACSilent{VNI: segmentVNI, MAC: k.mac, VTEP: k.vtep})
		}
	}
}

// checkRelays: nobody copies for a segment who knows of a better one that does.
func (w *segmentWorld) checkRelays() {
	for _, n := range w.nodes {
		if !n.daemon || !n.relays() || !n.site.sum.relays[segmentVNI].Segment {
			continue
		}
		n.site.core.Routes(func(i evpn.RouteInfo) bool {
			c := i.Attrs.Claim
			if i.Neighbor.IsValid() && i.Best && c.State == evpn.RelayActive && n.competes(i.Route) &&
				!i.LongLivedStale && i.Attrs.NextHop.Less(n.addr) && !n.dirty() {
				panic(fmt.Sprintf("%s copies and knows that %s does", n.addr, i.Attrs.NextHop))
			}
			return true
		})
	}
}

// dirty reports that changes wait to be drained.
func (n *node) dirty() bool {
	d := n.site.core.Desired()
	return fmt.Sprint(d.Relays) != fmt.Sprint(n.site.sum.desired().Relays)
}

func (w *segmentWorld) pick(want func(*node) bool) *node {
	var fit []*node
	for _, n := range w.nodes {
		if want(n) {
			fit = append(fit, n)
		}
	}
	if len(fit) == 0 {
		return nil
	}
	return fit[w.rng.IntN(len(fit))]
}

// disturb does one thing to the world.
func (w *segmentWorld) disturb() {
	running := w.pick(func(n *node) bool { return n.daemon && !n.off })
	if running == nil {
		return
	}
	soon := func(most int, do func()) { w.after(time.Duration(w.rng.IntN(most))*time.Millisecond, do) }
	m := w.movers[w.rng.IntN(len(w.movers))]
	switch n := running; w.rng.IntN(17) {
	case 11, 12: // a host moves
		m.on = w.nodes[w.rng.IntN(len(w.nodes))]
		if w.chance(80) {
			m.speak()
		}
	case 13, 14:
		m.speak()
	case 0, 1: // a session breaks
		l := n.site.links[w.rng.IntN(len(n.site.links))]
		l.disconnect(w.chance(50))
		soon(8000, func() {
			if n.daemon {
				l.connect()
			}
		})
	case 2: // a node is cut off
		n.site.disconnectAll(w.chance(30))
		soon(15000, func() {
			if n.daemon {
				n.site.connectAll()
			}
		})
	case 3: // a daemon is upgraded
		n.end(true)
		n.begin(true)
	case 4: // a daemon restarts for good
		n.end(w.chance(30))
		n.begin(false)
	case 5, 6: // a host dies, and comes back
		n.off = true
		n.end(w.chance(30))
		soon(20000, func() {
			n.off = false
			n.begin(false)
		})
	case 7: // a VNI flaps
		n.site.kernel.setVNI(segmentVNI, false)
		soon(5000, func() { n.site.kernel.setVNI(segmentVNI, true) })
	case 8: // a VTEP begins to speak EVPN, or ends
		if o := w.pick(func(n *node) bool { return n.site != nil && n.segment != nil && !n.relays() && !n.off }); o == nil {
			return
		} else if o.daemon {
			o.end(w.chance(30))
		} else {
			o.begin(false)
		}
	case 9: // one without daemon falls silent, or is back
		if o := w.pick(func(n *node) bool { return !n.daemon && n.site == nil }); o != nil {
			o.off = !o.off
		}
	case 10: // the core is what its snapshot makes
		n.site.replaceCore()
	case 15: // another engine
		n.site.outlives = !n.site.outlives
		n.site.handle(evpn.EngineState{Outlives: n.site.outlives})
	case 16: // the prefixes are put in other words
		if n.segment != nil {
			n.site.cfg.VNIs = slices.Clone(n.site.cfg.VNIs)
			n.site.cfg.VNIs[0].Segment.Prefixes = n.segment.list(w)
			n.site.reload()
		}
	}
}

// rest ends all disturbance and has every VTEP send a frame.
func (w *segmentWorld) rest() error {
	w.pass(90 * time.Second)
	var err error
	talk := func(d time.Duration) {
		for end := w.now.Add(d); w.now.Before(end); {
			for _, m := range w.movers {
				m.speak()
			}
			w.pass(5 * time.Second)
		}
	}
	for range 6 {
		for _, n := range w.nodes {
			if n.daemon {
				n.site.connectAll()
				n.site.kernel.resync()
				n.site.prune()
			}
		}
		talk(10 * time.Second)
		if err = w.compare(); err == nil {
			break
		}
	}
	if err != nil {
		return err
	}
	talk(30 * time.Second)
	return w.compare()
}
