package evpn_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// replicatorRoute is the Replicator-AR route of a replicator that listens at a.
func replicatorRoute(vni evpn.VNI, a addr) evpn.Route {
	rt, _ := evpn.AutoRouteTarget(65000, vni)
	return evpn.Route{
		Key: evpn.RouteKey{Type: evpn.IMETRoute, RD: evpn.RDFromRouterID(a, uint16(vni)), IP: a},
		Attrs: &evpn.Attrs{
			NextHop: a, RouteTargets: []evpn.RouteTarget{rt}, Encaps: []uint16{evpn.EncapVXLAN}, LocalPref: 100,
			PMSI: &evpn.PMSITunnel{
				Flags: evpn.PMSIFlagsReplicatorAR, Type: evpn.PMSIAssistedReplication, Label: uint32(vni), Endpoint: a,
			},
		},
	}
}

// leafOf gives a synced leaf of vnis VNIs that knows the replicators.
func leafOf(vnis int, replicators []addr) *evpn.Core {
	cfg := evpn.Config{VTEP: vtep1}
	for n := 1; n <= vnis; n++ {
		v := vniConfig(evpn.VNI(n), vtep1)
		v.Flooding = evpn.FloodAssisted
		cfg.VNIs = append(cfg.VNIs, v)
	}
	c := evpn.New(cfg)
	for _, v := range cfg.VNIs {
		c.Handle(evpn.VNIState{VNI: v.VNI, Up: true}, start)
		for _, a := range replicators {
			c.Handle(evpn.RoutesReceived{Neighbor: rr, Announced: []evpn.Route{replicatorRoute(v.VNI, a)}}, start)
		}
	}
	c.Handle(evpn.EndOfRIB{Neighbor: rr}, start)
	return c
}

func chosen(c *evpn.Core) map[evpn.VNI]addr {
	by := map[evpn.VNI]addr{}
	for _, r := range c.Desired().Rows {
		by[r.VNI] = r.IP
	}
	return by
}

// TestReplicatorsShareLeaves: VNIs spread evenly over the replicators, and the loss of one
// moves those alone that it had, to all of the others.
func TestReplicatorsShareLeaves(t *testing.T) {
	const vnis = 1000
	var replicators []addr
	for n := range 4 {
		replicators = append(replicators, addrAt(mustAddr("10.9.0.1"), n))
	}
	c := leafOf(vnis, replicators)
	before := chosen(c)
	require.Len(t, before, vnis)
	share := map[addr]int{}
	for _, a := range before {
		share[a]++
	}
	for _, a := range replicators {
		assert.InEpsilon(t, vnis/4, share[a], 0.25, "share of %s", a)
	}
	lost := replicators[2]
	for n := range vnis {
		k := replicatorRoute(evpn.VNI(n+1), lost).Key
		c.Handle(evpn.RoutesReceived{Neighbor: rr, Withdrawn: []evpn.RouteKey{k}}, start)
	}
	heirs := map[addr]int{}
	for vni, a := range chosen(c) {
		if before[vni] != lost {
			require.Equal(t, before[vni], a, "VNI %s had a replicator that is still there", vni)
			continue
		}
		heirs[a]++
	}
	assert.Len(t, heirs, 3, "all of the others")
	for a, n := range heirs {
		assert.InEpsilon(t, share[lost]/3, n, 0.4, "what %s took over", a)
	}
}

// TestChoiceDoesNotDependOnOrder: leaves that came to know replicators in another order,
// or lost some on the way, choose the same.
func TestChoiceDoesNotDependOnOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(9574, 1))
	replicators := []addr{mustAddr("10.9.0.1"), mustAddr("10.9.0.2"), mustAddr("10.9.0.3")}
	want := chosen(leafOf(50, replicators))
	for range 10 {
		shuffled := append([]addr{mustAddr("10.9.0.4")}, replicators...)
		rng.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		c := leafOf(50, shuffled)
		for n := range 50 {
			k := replicatorRoute(evpn.VNI(n+1), mustAddr("10.9.0.4")).Key
			c.Handle(evpn.RoutesReceived{Neighbor: rr, Withdrawn: []evpn.RouteKey{k}}, start)
		}
		require.Equal(t, want, chosen(c))
	}
}

// TestReplicatorWakes: the core asks to be woken for a replicator that has to wait, and
// for nothing once it is used or gone.
func TestReplicatorWakes(t *testing.T) {
	c := leafOf(1, nil)
	r := replicatorRoute(1, mustAddr("10.9.0.1"))
	c.Handle(evpn.RoutesReceived{Neighbor: rr, Announced: []evpn.Route{r}}, start)
	assert.Equal(t, start.Add(3*time.Second), c.NextWake())
	assert.Empty(t, c.Drain(start).Rows)
	c.Handle(evpn.Tick{}, c.NextWake())
	assert.Zero(t, c.NextWake())
	assert.Len(t, c.Drain(start.Add(3*time.Second)).Rows, 1)

	c.Handle(evpn.RoutesReceived{Neighbor: rr, Withdrawn: []evpn.RouteKey{r.Key}}, start)
	c.Handle(evpn.RoutesReceived{Neighbor: rr, Announced: []evpn.Route{r}}, start)
	assert.NotZero(t, c.NextWake())
	c.Handle(evpn.RoutesReceived{Neighbor: rr, Withdrawn: []evpn.RouteKey{r.Key}}, start)
	assert.Zero(t, c.NextWake())
}
