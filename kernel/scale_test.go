package kernel_test

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/kernel"
	"github.com/vtepbgp/vtepbgp/kernel/kerneltest"
)

// Local MACs that appear faster than they can be read are all known in the end,
// whatever the size of the event buffer. VTEPBGP_LOCAL_MACS sets how many.
func TestNoLocalMACIsLost(t *testing.T) {
	count := 50_000
	if s := os.Getenv("VTEPBGP_LOCAL_MACS"); s != "" {
		var err error
		count, err = strconv.Atoi(s)
		require.NoError(t, err)
	}
	for _, buffer := range []int{0, 208 << 10} { // ours, and Linux's default
		t.Run(fmt.Sprintf("buffer %d", buffer), func(t *testing.T) {
			w := kerneltest.NewRealWorld(t)
			w.AddPort(t, "eth0", 1600)
			w.AddPort(t, "p1", 1500)
			here := netip.MustParseAddr("10.0.0.1")
			w.SetAddress(t, "eth0", here, true)
			log := logrus.New()
			log.SetOutput(io.Discard)
			k := kernel.New(w.Backend(t, buffer), logrus.NewEntry(log))
			require.NoError(t, k.Configure(kernel.Config{VTEP: here, VNIs: []kernel.VNI{{VNI: 100, Manage: true, Ports: []string{"p1"}}}}))
			var learned, gone atomic.Int64
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error, 1)
			go func() {
				done <- k.Run(ctx, func(ev evpn.Event) {
					switch ev.(type) {
					case evpn.LocalMACLearned:
						learned.Add(1)
					case evpn.LocalMACGone:
						gone.Add(1)
					}
				})
			}()
			t.Cleanup(func() { cancel(); assert.NoError(t, <-done) })
			<-k.Synced()

			raw := w.Backend(t, 0)
			links, err := raw.Links()
			require.NoError(t, err)
			var port int32
			for _, l := range links {
				if l.Name == "p1" {
					port = l.Index
				}
			}
			write := func(verb kernel.Verb) {
				ops := make([]kernel.NeighborOp, count)
				for i := range ops {
					ops[i] = kernel.NeighborOp{Verb: verb, Neighbor: kernel.Neighbor{
						Family: unix.AF_BRIDGE, Index: port, Flags: unix.NTF_MASTER, State: unix.NUD_NOARP,
						MAC: evpn.MAC{6, 0, 0, byte(i >> 16), byte(i >> 8), byte(i)},
					}}
				}
				require.NoError(t, raw.Write(ops, func(_ int, err error) { require.NoError(t, err) }))
			}
			began := time.Now()
			write(kernel.Replace)
			written := time.Since(began)
			require.Eventually(t, func() bool { return learned.Load() == int64(count) }, time.Minute, time.Millisecond)
			s := k.Stats()
			t.Logf("%d MACs: written in %v, all reported after %v, %d overruns, %d reads", count, written, time.Since(began), s.Lost, s.Resyncs["lost"])
			assert.Equal(t, count, k.Status()[0].LocalMACs)
			assert.Zero(t, gone.Load())
			write(kernel.Delete)
			require.Eventually(t, func() bool { return gone.Load() == int64(count) }, time.Minute, time.Millisecond)
			assert.Zero(t, k.Status()[0].LocalMACs)
			assert.EqualValues(t, count, learned.Load())
		})
	}
}

// A thousand VNIs are created in a few looks at the links, not a thousand.
func BenchmarkCreateVNIs(b *testing.B) {
	const vnis = 200
	for range b.N {
		b.StopTimer()
		w := kerneltest.NewRealWorld(b)
		w.AddPort(b, "eth0", 1600)
		here := netip.MustParseAddr("10.0.0.1")
		w.SetAddress(b, "eth0", here, true)
		cfg := kernel.Config{VTEP: here}
		for i := range vnis {
			cfg.VNIs = append(cfg.VNIs, kernel.VNI{VNI: evpn.VNI(1000 + i), Manage: true})
		}
		log := logrus.New()
		log.SetOutput(io.Discard)
		k := kernel.New(w.Backend(b, 0), logrus.NewEntry(log))
		b.StartTimer()
		require.NoError(b, k.Configure(cfg))
		again := time.Now()
		require.NoError(b, k.Configure(cfg))
		b.ReportMetric(float64(time.Since(again).Microseconds()), "µs/look")
	}
}
