package speaker

import (
	"hash/maphash"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// shedSample is how many routes that no VNI imports still reach the core, so that
// `route show` can say why they are not used.
const shedSample = 1000

// What became of a received route.
const (
	routeKept    uint8 = iota // given to the core, imported by some VNI
	routeSampled              // given to the core although nobody imports it
	routeShed                 // only counted
)

// received is what one session remembers of the routes it got: a hash of each key,
// so that counts stay right over repetition and withdrawal. It keeps no route.
type received struct {
	seed    maphash.Seed
	routes  map[uint64]uint8
	sampled int
	shed    int
}

func newReceived() *received {
	return &received{seed: maphash.MakeSeed(), routes: map[uint64]uint8{}}
}

func (r *received) hash(k evpn.RouteKey) uint64 { return maphash.Comparable(r.seed, k) }

// announced notes a route and reports whether the core gets it. all is for transit mode and for the time
// before the import set is known: nothing is shed.
func (r *received) announced(route *evpn.Route, imports *evpn.ImportSet, all bool) bool {
	h := r.hash(route.Key)
	was, known := r.routes[h]
	if known && was == routeSampled {
		r.sampled--
	}
	if known && was == routeShed {
		r.shed--
	}
	is := routeKept
	switch {
	case all || imports == nil || imports.MatchesAny(route.Attrs.RouteTargets):
	case known && was == routeKept:
		// The core has it: it must learn that its targets changed.
	case r.sampled < shedSample || (known && was == routeSampled):
		is = routeSampled
		r.sampled++
	default:
		is = routeShed
		r.shed++
	}
	if !known || was != is {
		r.routes[h] = is
	}
	return is != routeShed
}

// withdrawn forgets a route and reports whether the core gets the withdrawal.
func (r *received) withdrawn(k evpn.RouteKey) bool {
	h := r.hash(k)
	was, known := r.routes[h]
	if !known {
		// Perhaps stale from the session before a graceful restart: the core knows.
		return true
	}
	delete(r.routes, h)
	switch was {
	case routeSampled:
		r.sampled--
	case routeShed:
		r.shed--
		return false
	}
	return true
}
