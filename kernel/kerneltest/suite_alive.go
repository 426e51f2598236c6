package kerneltest

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/kernel"
)

func (r *rig) alive(ip netip.Addr) bool {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	yes, err := r.k.Alive(ctx, ip)
	require.NoError(r.t, err)
	return yes
}

func alive(t *testing.T, f Factory) {
	r := start(t, underlay(t, f), oneVNI(), 0)
	assert.False(t, r.alive(vtepB), "no route")
	assert.True(t, r.alive(vtepHere), "this host")
	r.SetRoute(t, Route{To: connected, Device: "eth0"})
	r.SetHost(t, "eth0", vtepB, macB, true)
	assert.True(t, r.alive(vtepB), "asked for the first time")
	assert.False(t, r.alive(vtepC), "nobody there")
	assert.True(t, r.alive(vtepB), "known, and asked again")
	r.SetHost(t, "eth0", vtepB, macB, false)
	assert.False(t, r.alive(vtepB), "a MAC that was known a moment ago is no answer")
	r.SetHost(t, "eth0", vtepB, macC, true)
	assert.True(t, r.alive(vtepB), "back with another MAC")
	r.SetHost(t, "eth0", vtepB, macA, true)
	assert.True(t, r.alive(vtepB), "at another MAC than the one that is known")

	// Elsewhere the way is all that is known.
	far := netip.MustParseAddr("10.9.0.1")
	r.SetRoute(t, Route{To: netip.MustParsePrefix("10.9.0.0/24"), Device: "eth0", Gateway: vtepB})
	assert.True(t, r.alive(far))
	r.SetCarrier(t, "eth0", false)
	r.track(far)
	r.wantWays(kernel.VTEPState{VTEP: far, Reason: "eth0 has no carrier", Device: "eth0", Gateway: vtepB, MTU: 1600})
	assert.False(t, r.alive(far))

	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := r.k.Alive(ctx, vtepC)
	require.ErrorIs(t, err, context.Canceled)
}

func aliveIPv6(t *testing.T, f Factory) {
	w := underlay(t, f)
	here, there, nobody := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2"), netip.MustParseAddr("2001:db8::3")
	w.SetAddress(t, "eth0", here, true)
	w.SetAddress(t, "eth0", netip.MustParseAddr("fe80::1"), true) // that solicitations come from
	w.SetRoute(t, Route{To: netip.MustParsePrefix("2001:db8::/64"), Device: "eth0"})
	cfg := oneVNI()
	cfg.VTEP = here
	r := start(t, w, cfg, 0)
	r.SetHost(t, "eth0", there, macB, true)
	assert.True(t, r.alive(there))
	assert.True(t, r.alive(there))
	assert.False(t, r.alive(nobody))
	r.SetHost(t, "eth0", there, macB, false)
	assert.False(t, r.alive(there))
}

// All are asked together: none waits for those who do not answer.
func manyAlive(t *testing.T, f Factory) {
	r := start(t, underlay(t, f), oneVNI(), 0)
	r.SetRoute(t, Route{To: netip.MustParsePrefix("10.1.0.0/16"), Device: "eth0"})
	const many = 200
	began := time.Now()
	var wg sync.WaitGroup
	for i := range many {
		ip := netip.AddrFrom4([4]byte{10, 1, 0, byte(i)})
		if i%2 == 0 {
			r.SetHost(t, "eth0", ip, evpn.MAC{2, 0, 0, 0, 1, byte(i)}, true)
		}
		for range 2 { // two who ask for the same share the answer
			wg.Go(func() {
				yes, err := r.k.Alive(context.Background(), ip)
				assert.NoError(t, err)
				assert.Equal(t, i%2 == 0, yes, "%s", ip)
			})
		}
	}
	wg.Wait()
	assert.Less(t, time.Since(began), 60*time.Second, "one after the other would take minutes")
}
