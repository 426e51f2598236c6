package kernel_test

import (
	"context"
	"io"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/kernel"
	"github.com/vtepbgp/vtepbgp/kernel/kerneltest"
)

const manyMACs = 100_000

func manyChanges(vtep string) []evpn.RowChange {
	to := netip.MustParseAddr(vtep)
	changes := make([]evpn.RowChange, manyMACs)
	for i := range changes {
		changes[i].Row = evpn.Row{
			RowKey:   evpn.RowKey{Kind: evpn.MACRow, VNI: 100, MAC: evpn.MAC{4, 0, 0, byte(i >> 16), byte(i >> 8), byte(i)}},
			RowValue: evpn.RowValue{VTEP: to},
		}
	}
	return changes
}

func running(t testing.TB, f kerneltest.Factory) *kernel.Kernel {
	w := f(t)
	here := netip.MustParseAddr("10.0.0.1")
	w.AddPort(t, "eth0", 1600)
	w.SetAddress(t, "eth0", here, true)
	log := logrus.New()
	log.SetOutput(io.Discard)
	k := kernel.New(w.Backend(t, 0), logrus.NewEntry(log))
	require.NoError(t, k.Configure(kernel.Config{VTEP: here, VNIs: []kernel.VNI{{VNI: 100, Manage: true}}}))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx, func(evpn.Event) {}) }()
	t.Cleanup(func() { cancel(); <-done })
	<-k.Synced()
	return k
}

func waitWritten(t testing.TB, k *kernel.Kernel, sets, events uint64) {
	require.Eventually(t, func() bool {
		s := k.Stats()
		return s.Pending == 0 && s.Writes["set"].OK >= sets && s.Events >= events
	}, time.Minute, 200*time.Microsecond)
}

// 100,000 remote MACs are 200,000 kernel rows.
func benchmarkInstall(b *testing.B, f kerneltest.Factory) {
	k := running(b, f)
	changes := [][]evpn.RowChange{manyChanges("10.0.0.2"), manyChanges("10.0.0.3")}
	b.ResetTimer()
	for i := range b.N {
		sets := k.Stats().Writes["set"].OK
		k.Apply(changes[i%2])
		waitWritten(b, k, sets+manyMACs, 0)
	}
	b.ReportMetric(float64(b.N)*manyMACs/b.Elapsed().Seconds(), "MACs/s")
	s := k.Stats()
	b.ReportMetric(float64(s.Repairs), "repairs")
	b.ReportMetric(float64(s.Lost), "overruns")
}

func BenchmarkInstallFake(b *testing.B)  { benchmarkInstall(b, kerneltest.NewFakeWorld) }
func BenchmarkInstallLinux(b *testing.B) { benchmarkInstall(b, kerneltest.NewRealWorld) }

// One frame of a new host until the event is in the sink.
func BenchmarkLearnLinux(b *testing.B) {
	w := kerneltest.NewRealWorld(b)
	here := netip.MustParseAddr("10.0.0.1")
	w.AddPort(b, "eth0", 1600)
	w.AddPort(b, "p1", 1500)
	w.SetAddress(b, "eth0", here, true)
	log := logrus.New()
	log.SetOutput(io.Discard)
	k := kernel.New(w.Backend(b, 0), logrus.NewEntry(log))
	require.NoError(b, k.Configure(kernel.Config{VTEP: here, VNIs: []kernel.VNI{{VNI: 100, Manage: true, Ports: []string{"p1"}}}}))
	ctx, cancel := context.WithCancel(context.Background())
	type arrival struct {
		mac evpn.MAC
		at  time.Time
	}
	learned, done := make(chan arrival, 64), make(chan error, 1)
	go func() {
		done <- k.Run(ctx, func(ev evpn.Event) {
			if l, ok := ev.(evpn.LocalMACLearned); ok {
				learned <- arrival{l.MAC, time.Now()}
			}
		})
	}()
	b.Cleanup(func() { cancel(); <-done })
	<-k.Synced()
	host := func(i int) evpn.MAC { return evpn.MAC{6, 1, 0, byte(i >> 16), byte(i >> 8), byte(i)} }
	for forwarding := false; !forwarding; {
		w.Frame(b, "p1", host(0))
		select {
		case <-learned:
			forwarding = true
		case <-time.After(10 * time.Millisecond):
		}
	}
	// Opening and closing a packet socket takes longer than all else, so the clock
	// is read here and in the sink.
	latency := make([]time.Duration, 0, b.N)
	for i := range b.N {
		began := time.Now()
		w.Frame(b, "p1", host(i+1))
		var a arrival
		for a.mac != host(i+1) {
			a = <-learned
		}
		latency = append(latency, a.at.Sub(began))
	}
	slices.Sort(latency)
	b.ReportMetric(float64(latency[len(latency)/2].Microseconds()), "µs-p50")
	b.ReportMetric(float64(latency[len(latency)*99/100].Microseconds()), "µs-p99")
}

// forgetful takes every row and keeps none, so that what is measured is ours.
type forgetful struct{ *kerneltest.Fake }

func (forgetful) Write([]kernel.NeighborOp, func(int, error)) error { return nil }

type forgetfulWorld struct{ kerneltest.FakeWorld }

func (w forgetfulWorld) Backend(testing.TB, int) kernel.Backend { return forgetful{w.Fake} }

// 100,000 remote MACs (200,000 kernel rows) cost less than 25 MB of live heap.
func TestMemory(t *testing.T) {
	k := running(t, func(testing.TB) kerneltest.World {
		return forgetfulWorld{kerneltest.FakeWorld{Fake: kerneltest.NewFake()}}
	})
	before := liveHeap()
	k.Apply(manyChanges("10.0.0.2"))
	waitWritten(t, k, manyMACs, 0)
	k.Apply(manyChanges("10.0.0.3"))
	waitWritten(t, k, 2*manyMACs, 0)
	used := liveHeap() - before
	t.Logf("%d bytes a MAC", used/manyMACs)
	assert.Less(t, used, int64(25<<20))
	assert.Greater(t, used, int64(manyMACs*16), "the table is there at all")
	runtime.KeepAlive(k)
}

func liveHeap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A comparison of 100,000 MACs, that is 200,000 rows, with a kernel that has them all.
func benchmarkDrift(b *testing.B, f kerneltest.Factory) {
	k := running(b, f)
	k.Apply(manyChanges("10.0.0.2"))
	waitWritten(b, k, manyMACs, 0)
	b.ReportAllocs()
	for b.Loop() {
		d, err := k.Drift(b.Context(), 0)
		require.NoError(b, err)
		require.Empty(b, d)
	}
}

func BenchmarkDriftFake(b *testing.B)  { benchmarkDrift(b, kerneltest.NewFakeWorld) }
func BenchmarkDriftLinux(b *testing.B) { benchmarkDrift(b, kerneltest.NewRealWorld) }

// The rows of one MAC among 100,000, as explain asks for them.
func BenchmarkInspectLinux(b *testing.B) {
	k := running(b, kerneltest.NewRealWorld)
	k.Apply(manyChanges("10.0.0.2"))
	waitWritten(b, k, manyMACs, 0)
	for b.Loop() {
		d, err := k.Inspect(b.Context(), 100, []evpn.MAC{{4, 0, 0, 0, 1, 1}}, nil)
		require.NoError(b, err)
		require.Len(b, d, 2)
	}
}
