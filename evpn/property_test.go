package evpn_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/evpn/journal"
)

// Seeds are fixed, so that a failure repeats. Properties that print the whole core after
// every event get by with fewer.
const (
	manySeeds = 200
	someSeeds = 20
)

// gen makes random events over a small world, so that they meet often.
type gen struct{ *rand.Rand }

func newGen(seed uint64) gen { return gen{rand.New(rand.NewPCG(seed, 7432))} }

func (g gen) chance(percent int) bool { return g.IntN(100) < percent }
func (g gen) vni() evpn.VNI           { return evpn.VNI(100 * (1 + g.IntN(3))) }
func (g gen) mac() evpn.MAC           { return evpn.MAC{2, 0, 0, 0, 0, byte(1 + g.IntN(6))} }
func (g gen) ip() addr                { return addrAt(mustAddr("192.0.2.1"), g.IntN(4)) }
func (g gen) vtep() addr              { return addrAt(vtep1, g.IntN(5)) }
func (g gen) neighbor() addr          { return addrAt(mustAddr("10.0.0.252"), g.IntN(3)) }

func (g gen) key() evpn.RouteKey {
	v := g.vtep()
	k := evpn.RouteKey{Type: evpn.MACIPRoute, RD: evpn.RDFromRouterID(v, uint16(g.IntN(2))), MAC: g.mac()}
	switch g.IntN(6) {
	case 0:
		k.Type, k.MAC, k.IP = evpn.IMETRoute, evpn.MAC{}, v
	case 1, 2:
		k.IP = g.ip()
	}
	return k
}

func (g gen) route(vni evpn.VNI) evpn.Route {
	rt, _ := evpn.AutoRouteTarget(uint32(65000+g.IntN(2)), vni)
	r := evpn.Route{Key: g.key(), Label: uint32(vni)}
	r.Attrs = &evpn.Attrs{
		NextHop: g.vtep(), RouteTargets: []evpn.RouteTarget{rt}, Encaps: []uint16{evpn.EncapVXLAN},
		Mobility:  evpn.Mobility{Sequence: uint32(g.IntN(4)), Sticky: g.chance(5)},
		LocalPref: uint32(100 + g.IntN(2)), MED: uint32(g.IntN(2)), Router: g.chance(20),
		LLGRStale: g.chance(5), NoLLGR: g.chance(10), DefaultGateway: g.chance(5),
	}
	if g.chance(5) {
		r.Attrs.Encaps = nil
	}
	if g.chance(5) {
		r.Label++
	}
	if g.chance(20) {
		r.ESI[9] = byte(g.IntN(3))
	}
	if r.Key.Type == evpn.IMETRoute {
		r.Attrs.PMSI = &evpn.PMSITunnel{Type: evpn.PMSIIngressReplication, Label: r.Label, Endpoint: r.Attrs.NextHop}
		if g.chance(30) { // of a replicator
			r.Attrs.PMSI.Type, r.Attrs.PMSI.Flags = evpn.PMSIAssistedReplication, evpn.PMSIFlagsReplicatorAR
		} else if g.chance(50) { // of a member of a segment
			s := g.segment()
			r.Attrs.Claim = evpn.RelayClaim{Group: s.GroupID(), State: evpn.RelayState(g.IntN(4)), Deliver: g.chance(30), Outlives: g.chance(50)}
			for _, p := range s.Prefixes {
				r.Attrs.Segment = append(r.Attrs.Segment, evpn.NewSegmentPrefix(p))
			}
			if g.chance(30) {
				r.Attrs.PMSI.Type, r.Attrs.PMSI.Endpoint = evpn.PMSINoTunnel, addr{}
			}
		}
		r.Label = 0
	}
	return r
}

var floodModes = []evpn.FloodMode{
	evpn.FloodIngress, evpn.FloodIngress, evpn.FloodMulticast, evpn.FloodAssisted, evpn.FloodAssisted,
	evpn.FloodReplicator, evpn.FloodOff,
}

func (g gen) segment() evpn.SegmentConfig {
	return evpn.SegmentConfig{
		Group: addrAt(mustAddr("239.1.1.1"), g.IntN(2)), ProxyVTEPs: g.chance(60), ProxyMACs: g.chance(60),
		Prefixes: []netip.Prefix{netip.PrefixFrom(addrAt(vtep1, g.IntN(4)), 30).Masked()},
		Delivery: []evpn.SegmentDelivery{"", evpn.DeliverUnicast, evpn.DeliverMulticast}[g.IntN(3)],
	}
}

func (g gen) config() evpn.Config {
	cfg := evpn.Config{VTEP: addrAt(vtep1, g.IntN(2)), NeighborLimits: map[addr]int{}}
	for _, vni := range []evpn.VNI{100, 200, 300} {
		if g.chance(15) {
			continue
		}
		v := vniConfig(vni, vtep1)
		v.Suppression = g.chance(80)
		if v.Flooding = floodModes[g.IntN(len(floodModes))]; v.Flooding == evpn.FloodMulticast {
			v.Segment = g.segment()
		}
		if g.chance(30) {
			v.MaxMACs = 1 + g.IntN(4)
		}
		if g.chance(30) {
			v.Import = append(v.Import, evpn.ImportTarget{AnyAdmin: true, Number: uint32(g.vni())})
		}
		if g.chance(20) {
			v.RD = evpn.RDFromRouterID(vtep1, uint16(g.vni()))
		}
		for g.chance(30) {
			v.StaticVTEPs = append(v.StaticVTEPs, g.vtep())
			v.StaticMACs = append(v.StaticMACs, evpn.StaticMAC{MAC: g.mac(), VTEP: g.vtep(), IP: g.ip()})
		}
		cfg.VNIs = append(cfg.VNIs, v)
	}
	// No two VNIs share an RD: the configuration refuses that.
	seen := map[evpn.RD]bool{}
	for i := range cfg.VNIs {
		for seen[cfg.VNIs[i].RD] {
			cfg.VNIs[i].RD[7]++
		}
		seen[cfg.VNIs[i].RD] = true
	}
	if g.chance(50) {
		cfg.Unreachable = evpn.UnreachableRemove
	}
	if g.chance(60) {
		cfg.Service, cfg.LearnFromData = g.vtep(), g.chance(60)
		cfg.Resume = g.chance(20)
	}
	if g.chance(30) {
		cfg.NeighborLimits[g.neighbor()] = 1 + g.IntN(10)
	}
	if g.chance(70) {
		cfg.Duplicate = evpn.DuplicateConfig{Moves: 3, Window: 30 * time.Second, Recovery: time.Duration(g.IntN(60)) * time.Second}
	}
	return cfg
}

func (g gen) event() evpn.Event {
	switch g.IntN(32) {
	case 27, 28, 29:
		return evpn.MACHeard{VNI: g.vni(), MAC: g.mac(), VTEP: g.vtep(), Age: time.Duration(g.IntN(1000)) * time.Millisecond}
	case 30:
		return evpn.MACSilent{VNI: g.vni(), MAC: g.mac(), VTEP: g.vtep()}
	case 31:
		return evpn.VTEPHeard{VNI: g.vni(), VTEP: g.vtep()}
	case 16:
		return evpn.VTEPHeard{VNI: g.vni(), VTEP: g.vtep()}
	case 17:
		return evpn.VTEPSilent{VNI: g.vni(), VTEP: g.vtep()}
	case 0:
		return evpn.VNIState{VNI: g.vni(), Up: g.chance(75)}
	case 1, 2, 3, 4:
		return evpn.LocalMACLearned{VNI: g.vni(), MAC: g.mac(), Port: "veth1", Sticky: g.chance(10), Gateway: g.chance(5)}
	case 5, 6:
		return evpn.LocalMACGone{VNI: g.vni(), MAC: g.mac()}
	case 7, 8:
		return evpn.LocalIPLearned{VNI: g.vni(), IP: g.ip(), MAC: g.mac(), Router: g.chance(20)}
	case 9:
		return evpn.LocalIPGone{VNI: g.vni(), IP: g.ip(), MAC: g.mac()}
	case 10:
		return evpn.NeighborUp{Neighbor: g.neighbor(), EndOfRIB: g.chance(80), KeptForwarding: g.chance(60), KeptLongLived: g.chance(60)}
	case 11:
		return evpn.NeighborDown{
			Neighbor: g.neighbor(), Graceful: g.chance(60), StaleTime: time.Duration(g.IntN(2)) * 20 * time.Second,
			LongLived: time.Duration(g.IntN(2)) * 40 * time.Second,
		}
	case 12:
		return evpn.EndOfRIB{Neighbor: g.neighbor()}
	case 13:
		if g.chance(30) {
			return evpn.NeighborRemoved{Neighbor: g.neighbor()}
		}
		return evpn.DuplicateCleared{VNI: g.vni(), MAC: g.mac()}
	case 14:
		if g.chance(50) {
			return evpn.ConfigReplaced{Config: g.config()}
		}
		return evpn.Tick{}
	case 15:
		return evpn.NextHopState{VTEP: g.vtep(), Reachable: g.chance(50), Reason: "no route", Own: g.chance(30)}
	default:
		ev := evpn.RoutesReceived{Neighbor: g.neighbor()}
		seen := map[evpn.RouteKey]bool{}
		for range g.IntN(4) {
			if r := g.route(g.vni()); !seen[r.Key] {
				seen[r.Key] = true
				ev.Announced = append(ev.Announced, r)
			}
		}
		for range g.IntN(3) {
			ev.Withdrawn = append(ev.Withdrawn, g.key())
		}
		return ev
	}
}

func eachSeed(t *testing.T, seeds uint64, run func(t *testing.T, g gen)) {
	for seed := uint64(1); seed <= seeds; seed++ {
		if !t.Run(fmt.Sprintf("seed%d", seed), func(t *testing.T) { run(t, newGen(seed)) }) {
			return
		}
	}
}

func allUp(c *evpn.Core) {
	for _, vni := range []evpn.VNI{100, 200, 300} {
		c.Handle(evpn.VNIState{VNI: vni, Up: true}, start)
	}
}

// dump is all that can be seen of a core.
func dump(c *evpn.Core) string {
	out := fmt.Sprintln(c.VNIs(), c.VTEPs(), c.Flood(0), c.Synced(), c.NextWake())
	for _, r := range c.Desired().Routes {
		out += "own " + journal.RouteText(r) + "\n"
	}
	out += fmt.Sprintln(c.Desired().NextHops)
	for _, r := range c.Desired().Rows {
		out += "row " + journal.RowText(r) + "\n"
	}
	for _, e := range c.Desired().Lists {
		out += journal.ListText(e) + "\n"
	}
	for _, r := range c.Desired().Relays {
		out += journal.RelayText(r) + "\n"
	}
	c.Routes(func(i evpn.RouteInfo) bool {
		out += "route " + journal.RouteInfoText(i) + "\n"
		return true
	})
	c.MACs(0, func(i evpn.MACInfo) bool {
		out += "mac " + journal.MACInfoText(i) + "\n"
		return true
	})
	return out
}

// TestChangesAddUp: whatever happens and whenever one drains, the sum of the changes is
// the desired state; a core that is never drained in between comes to the same; and
// equal input gives equal output.
func TestChangesAddUp(t *testing.T) {
	eachSeed(t, manySeeds, func(t *testing.T, g gen) {
		cfg := g.config()
		often, never, twin := evpn.New(cfg), evpn.New(cfg), evpn.New(cfg)
		sum := newLedger()
		now := start
		for range 150 {
			ev := g.event()
			now = now.Add(time.Duration(g.IntN(4000)) * time.Millisecond)
			for _, c := range []*evpn.Core{often, never, twin} {
				c.Handle(ev, now)
			}
			if g.chance(60) {
				ch := often.Drain(now)
				require.Equal(t, ch, twin.Drain(now))
				sum.apply(t, ch)
				require.Equal(t, often.Desired(), sum.desired())
				require.Empty(t, often.Drain(now), "nothing is drained twice")
			}
		}
		sum.apply(t, often.Drain(now))
		require.Equal(t, dump(often), dump(never))
		once := newLedger()
		once.apply(t, never.Drain(now))
		require.Equal(t, often.Desired(), once.desired())
		require.Equal(t, sum, once)
		require.Equal(t, often.Desired().Rows, rowByRow(often))
	})
}

// rowByRow reads the intended rows in pieces.
func rowByRow(c *evpn.Core) (rows []evpn.Row) {
	c.RowKeys(0, func(k evpn.RowKey) bool {
		if val, ok := c.Row(k); ok {
			rows = append(rows, evpn.Row{RowKey: k, RowValue: val})
		}
		return true
	})
	slices.SortFunc(rows, func(a, b evpn.Row) int { return a.Compare(b.RowKey) })
	return rows
}

// TestOrderDoesNotMatter: the same announcements in any order, split over UPDATEs in any
// way, make the same state. Limits are left out: see limit.go.
func TestOrderDoesNotMatter(t *testing.T) {
	eachSeed(t, manySeeds, func(t *testing.T, g gen) {
		cfg := g.config()
		cfg.NeighborLimits, cfg.Duplicate = nil, evpn.DuplicateConfig{}
		for i := range cfg.VNIs {
			cfg.VNIs[i].MaxMACs = 0
		}
		locals := make([]evpn.Event, g.IntN(5))
		for i := range locals {
			locals[i] = evpn.LocalMACLearned{VNI: g.vni(), MAC: g.mac(), Port: "veth1", Sticky: g.chance(20), Gateway: g.chance(10)}
			if g.chance(40) {
				locals[i] = evpn.LocalIPLearned{VNI: g.vni(), IP: g.ip(), MAC: g.mac()}
			}
		}
		type sent struct {
			nb addr
			r  evpn.Route
		}
		byKey := map[string]bool{}
		var routes []sent
		for range 60 {
			s := sent{g.neighbor(), g.route(g.vni())}
			if id := s.nb.String() + s.r.Key.String(); !byKey[id] {
				byKey[id] = true
				routes = append(routes, s)
			}
		}
		play := func() string {
			c := evpn.New(cfg)
			allUp(c)
			for _, ev := range locals {
				c.Handle(ev, start)
			}
			g.Shuffle(len(routes), func(i, j int) { routes[i], routes[j] = routes[j], routes[i] })
			for _, s := range routes {
				c.Handle(evpn.RoutesReceived{Neighbor: s.nb, Announced: []evpn.Route{s.r}}, start)
				if g.chance(20) {
					c.Drain(start)
				}
			}
			return dump(c)
		}
		require.Equal(t, play(), play())
	})
}

// TestRepetitionIsHarmless: an event that comes twice in a row does no more than once.
func TestRepetitionIsHarmless(t *testing.T) {
	eachSeed(t, someSeeds, func(t *testing.T, g gen) {
		c := evpn.New(g.config())
		allUp(c)
		now := start
		for range 150 {
			ev := g.event()
			switch e := ev.(type) {
			case evpn.NeighborDown, evpn.NeighborUp:
				continue // a second restart is another event: RFC 4724 §4.2
			case evpn.LocalMACLearned:
				continue // a claim made again after it was lost is a new claim
			case evpn.RoutesReceived:
				e.Withdrawn = nil // withdraw and announce of one key in one UPDATE is a flap
				ev = e
			}
			now = now.Add(time.Second)
			c.Handle(ev, now)
			c.Drain(now)
			before := dump(c)
			c.Handle(ev, now)
			assert.Empty(t, c.Drain(now), "%T %+v", ev, ev)
			require.Equal(t, before, dump(c))
		}
	})
}

// TestAddThenWithdraw: when all routes and local facts are gone again, nothing is left.
func TestAddThenWithdraw(t *testing.T) {
	eachSeed(t, manySeeds, func(t *testing.T, g gen) {
		cfg := g.config()
		c := evpn.New(cfg)
		allUp(c)
		sum := newLedger()
		sum.apply(t, c.Drain(start))
		now := start.Add(time.Minute) // what waits for time to pass is over
		c.Handle(evpn.Tick{}, now)
		sum.apply(t, c.Drain(now))
		before := dump(c)
		var undo []evpn.Event
		for range 80 {
			switch ev := g.event().(type) {
			case evpn.RoutesReceived:
				c.Handle(ev, start)
				for _, r := range ev.Announced {
					undo = append(undo, evpn.RoutesReceived{Neighbor: ev.Neighbor, Withdrawn: []evpn.RouteKey{r.Key}})
				}
			case evpn.LocalMACLearned:
				c.Handle(ev, start)
				undo = append(undo, evpn.LocalMACGone{VNI: ev.VNI, MAC: ev.MAC})
			case evpn.LocalIPLearned:
				c.Handle(ev, start)
				undo = append(undo, evpn.LocalIPGone{VNI: ev.VNI, IP: ev.IP, MAC: ev.MAC})
			}
		}
		sum.apply(t, c.Drain(start))
		g.Shuffle(len(undo), func(i, j int) { undo[i], undo[j] = undo[j], undo[i] })
		for _, ev := range undo {
			c.Handle(ev, start)
		}
		// Move history outlives its MAC by the window, a freeze by the recovery time.
		c.Handle(evpn.DuplicateCleared{VNI: 100}, start)
		c.Handle(evpn.DuplicateCleared{VNI: 200}, start)
		c.Handle(evpn.DuplicateCleared{VNI: 300}, start)
		end := start.Add(time.Hour)
		c.Handle(evpn.Tick{}, end)
		sum.apply(t, c.Drain(end))
		require.Equal(t, before, dump(c))
		require.Equal(t, c.Desired(), sum.desired())
	})
}

// TestNothingLeavesItsVNI: what happens in one VNI changes no row, route or MAC of another.
func TestNothingLeavesItsVNI(t *testing.T) {
	eachSeed(t, manySeeds, func(t *testing.T, g gen) {
		cfg := evpn.Config{VTEP: vtep1}
		for _, vni := range []evpn.VNI{100, 200, 300} {
			cfg.VNIs = append(cfg.VNIs, vniConfig(vni, vtep1))
			// All import all, so that only the label keeps them apart.
			for _, n := range []uint32{100, 200, 300} {
				v := &cfg.VNIs[len(cfg.VNIs)-1]
				v.Import = append(v.Import, evpn.ImportTarget{AnyAdmin: true, Number: n})
			}
		}
		c := evpn.New(cfg)
		allUp(c)
		c.Drain(start)
		rds := map[evpn.RD]evpn.VNI{}
		for _, v := range cfg.VNIs {
			rds[v.RD] = v.VNI
		}
		for range 100 {
			vni := g.vni()
			ev := evpn.RoutesReceived{Neighbor: g.neighbor(), Announced: []evpn.Route{g.route(vni)}}
			r := &ev.Announced[0]
			r.Label = uint32(vni)
			r.Key.RD[7] = byte(vni) // one VNI, one RD
			if r.Attrs.PMSI != nil {
				r.Attrs.PMSI.Label, r.Label = uint32(vni), 0
			}
			c.Handle(ev, start)
			if g.chance(30) {
				c.Handle(evpn.LocalMACLearned{VNI: vni, MAC: g.mac()}, start)
			}
			ch := c.Drain(start)
			for _, row := range ch.Rows {
				require.Equal(t, vni, row.VNI)
			}
			for _, own := range ch.Announce {
				require.Equal(t, vni, own.VNI())
			}
			for _, k := range ch.Withdraw {
				require.Equal(t, vni, rds[k.RD])
			}
		}
	})
}

// TestLimitsHold: there are never more than allowed, and never fewer while any waits.
func TestLimitsHold(t *testing.T) {
	eachSeed(t, manySeeds, func(t *testing.T, g gen) {
		cfg := g.config()
		for i := range cfg.VNIs {
			cfg.VNIs[i].MaxMACs = 2
		}
		nb := g.neighbor()
		cfg.NeighborLimits = map[addr]int{nb: 5}
		c := evpn.New(cfg)
		allUp(c)
		for range 150 {
			ev := g.event()
			if _, ok := ev.(evpn.ConfigReplaced); ok {
				continue
			}
			c.Handle(ev, start)
			placed, macsWait, routesWait := map[evpn.VNI]int{}, map[evpn.VNI]bool{}, false
			c.MACs(0, func(i evpn.MACInfo) bool {
				if (i.Origin == evpn.OriginRemote || i.Origin == evpn.OriginProxy) && !i.Duplicate {
					placed[i.VNI]++
				}
				return true
			})
			c.Routes(func(i evpn.RouteInfo) bool {
				if i.Reason == evpn.OverMACLimit {
					macsWait[i.VNI()] = true
				}
				if i.Reason == evpn.OverNeighborLimit {
					require.Equal(t, nb, i.Neighbor)
					routesWait = true
				}
				return true
			})
			for vni, n := range placed {
				require.LessOrEqual(t, n, 2, vni)
			}
			for vni := range macsWait {
				require.Equal(t, 2, placed[vni], vni)
			}
			require.LessOrEqual(t, c.AcceptedRoutes(nb), 5)
			if routesWait {
				require.Equal(t, 5, c.AcceptedRoutes(nb))
			}
		}
	})
}
