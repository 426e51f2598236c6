package speaker_test

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/speaker/speakertest"
)

// TestChurnLeavesNothing: MACs that come and go leave no memory behind on a reflector. GoBGP v3.37.0
// never shrinks its index of MACs by route target (about 400 octets for each it ever saw); it
// stays empty because the targets travel through it unseen.
func TestChurnLeavesNothing(t *testing.T) {
	a := newArena(t, true)
	p := a.attack(t)
	attrs := speakertest.Attrs(vtepA, 100)
	const n = 10000
	round := func(k int) uint64 {
		routes := make([]evpn.Route, n)
		keys := make([]evpn.RouteKey, n)
		for i := range routes {
			routes[i] = speakertest.MACRoute(vtepA, 100, uint32(k*n+i), attrs)
			keys[i] = routes[i].Key
		}
		p.Announce(t, routes...)
		a.client.Await(t, "the routes", func(h *speakertest.Heard) bool { return len(h.Routes) == n })
		p.Withdraw(t, keys...)
		a.client.Await(t, "the withdrawals", func(h *speakertest.Heard) bool { return len(h.Routes) == 0 })
		a.client.See(func(h *speakertest.Heard) { h.Raw, h.Order = nil, nil })
		a.Forget()
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	first := round(0)
	round(1)
	last := round(2)
	assert.Less(t, last, first+2<<20, "heap after the first and the third %d MACs", n)
}
