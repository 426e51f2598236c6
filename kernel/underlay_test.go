package kernel_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/kernel"
	"github.com/vtepbgp/vtepbgp/kernel/kerneltest"
)

const manyVTEPs = 1000

// manyWays are VTEPs of 10.1.0.0/16.
func manyWays() (changes []evpn.NextHopChange) {
	for i := range manyVTEPs {
		changes = append(changes, evpn.NextHopChange{VTEP: netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})})
	}
	return changes
}

func tracking(t *testing.T) (*kerneltest.Fake, *kernel.Kernel) {
	f := fakeHost()
	k := run(t, f, func(evpn.Event) {})
	<-k.Synced()
	f.SetRoute(kerneltest.Route{To: netip.MustParsePrefix("10.1.0.0/16"), Device: "eth0"})
	eventually(t, func() bool {
		f.SetRoute(kerneltest.Route{To: netip.MustParsePrefix("172.16.0.0/24"), Device: "eth0"})
		return k.Stats().Underlay.Events > 0
	}, "changes are heard of")
	k.Track(manyWays())
	eventually(t, func() bool { return reachable(k) == manyVTEPs }, "all are reachable")
	return f, k
}

func reachable(k *kernel.Kernel) (n int) {
	for _, w := range k.Underlay() {
		if w.Reachable {
			n++
		}
	}
	return n
}

// A routing table in motion costs lookups only of the VTEPs that it concerns.
func TestRouteChangesElsewhereCostNoLookups(t *testing.T) {
	f, k := tracking(t)
	before := f.Lookups()
	events := k.Stats().Underlay.Events
	for i := range 10_000 {
		f.SetRoute(kerneltest.Route{To: netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16, byte(i), 0}), 24), Device: "eth0"})
	}
	target := netip.MustParsePrefix("10.1.0.7/32")
	f.SetRoute(kerneltest.Route{To: target, Kind: "blackhole"})
	eventually(t, func() bool { return reachable(k) == manyVTEPs-1 }, "the one that is concerned")
	assert.GreaterOrEqual(t, k.Stats().Underlay.Events, events+10_001)
	assert.LessOrEqual(t, f.Lookups()-before, 3, "one VTEP, looked up again as its first answer comes in")
	assert.Equal(t, 1, k.Stats().Underlay.Unreachable)
}

// A default route that flaps concerns all VTEPs; they are looked up at a bounded rate.
func TestLookupsAreLimited(t *testing.T) {
	f, k := tracking(t)
	before, began := f.Lookups(), time.Now()
	all := netip.MustParsePrefix("10.1.0.0/16")
	for range 2000 {
		f.SetRoute(kerneltest.Route{To: all, Kind: "unreachable"})
		f.SetRoute(kerneltest.Route{To: all, Device: "eth0", MTU: 1400})
	}
	f.SetRoute(kerneltest.Route{To: all, Kind: "unreachable"})
	eventually(t, func() bool { return reachable(k) == 0 }, "the last word holds")
	const perSecond = 50 // a pass every 20 ms at the very most
	assert.LessOrEqual(t, float64(f.Lookups()-before), manyVTEPs*(2+perSecond*time.Since(began).Seconds()))
}

// While the kernel refuses to answer, what is known stays; then it is asked again.
func TestRefusedLookupsAreRepeated(t *testing.T) {
	f, k := tracking(t)
	events := k.Stats().Underlay.Events
	f.FailRoutes(unix.ENOBUFS)
	f.SetRoute(kerneltest.Route{To: netip.MustParsePrefix("10.1.0.0/24"), Kind: "prohibit"})
	f.SetRoute(kerneltest.Route{To: netip.MustParsePrefix("10.1.1.0/24"), Kind: "prohibit"})
	eventually(t, func() bool { return k.Stats().Underlay.Events >= events+2 }, "changes are known")
	assert.Equal(t, manyVTEPs, reachable(k))
	f.FailRoutes(nil)
	eventually(t, func() bool { return reachable(k) == manyVTEPs-512 }, "asked again")
}

func TestClosedRouteSubscriptionIsReopened(t *testing.T) {
	f, k := tracking(t)
	f.CloseSubscriptions()
	f.RemoveRoute(netip.MustParsePrefix("10.1.0.0/16"))
	eventually(t, func() bool { return reachable(k) == 0 }, "what happened meanwhile is found")
}

// BenchmarkLookups asks the real kernel about 1,000 VTEPs.
func BenchmarkLookups(b *testing.B) {
	w := kerneltest.NewRealWorld(b)
	w.AddPort(b, "eth0", 1600)
	w.SetAddress(b, "eth0", netip.MustParseAddr("10.0.0.1"), true)
	w.SetRoute(b, kerneltest.Route{To: netip.MustParsePrefix("10.1.0.0/16"), Device: "eth0"})
	backend := w.Backend(b, 0)
	q := kernel.RouteQuery{Source: netip.MustParseAddr("10.0.0.1"), Port: 4789}
	for _, c := range manyWays() {
		q.To = append(q.To, c.VTEP)
	}
	for b.Loop() {
		for i := 0; i < len(q.To); i += 250 {
			part := q
			part.To = q.To[i : i+250]
			routes, err := backend.Routes(part)
			require.NoError(b, err)
			for _, r := range routes {
				if r.Err != nil || r.Type != unix.RTN_UNICAST {
					b.Fatal(fmt.Sprint(r))
				}
			}
		}
	}
}
