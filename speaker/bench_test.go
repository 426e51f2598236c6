package speaker_test

import (
	"io"
	"net"
	"net/netip"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/speaker"
	"github.com/vtepbgp/vtepbgp/speaker/speakertest"
	"github.com/vtepbgp/vtepbgp/speaker/wire"
)

const benchRoutes = 100_000

// quiet runs a speaker whose sink only counts.
func quiet(tb testing.TB, cfg speaker.Config, sink func(evpn.Event)) (*speaker.Speaker, netip.AddrPort) {
	tb.Helper()
	log := logrus.New()
	log.SetOutput(io.Discard)
	cfg.ListenPort = speakertest.FreePort(tb, us)
	s, err := speaker.New(cfg, logrus.NewEntry(log))
	require.NoError(tb, err)
	ended := make(chan error, 1)
	go func() { ended <- s.Run(tb.Context(), sink) }()
	<-s.Ready()
	tb.Cleanup(func() { require.NoError(tb, <-ended) })
	return s, netip.AddrPortFrom(us, uint16(cfg.ListenPort))
}

func await(tb testing.TB, ok func() bool) {
	tb.Helper()
	require.Eventually(tb, ok, speakertest.Wait, time.Millisecond)
}

func cpu() time.Duration {
	var r unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// BenchmarkReceive measures 100,000 type-2 routes from a packed sender, leaf mode: time and CPU of the
// whole process, the raw sender included, until the sink has them.
func BenchmarkReceive(b *testing.B) {
	for _, c := range []struct {
		name string
		set  bool
	}{{"imported", false}, {"shed", true}} {
		b.Run(c.name, func(b *testing.B) {
			var got atomic.Int64
			cfg := passive(speaker.Neighbor{Address: peerA})
			s, at := quiet(b, cfg, func(ev evpn.Event) {
				if r, ok := ev.(evpn.RoutesReceived); ok {
					got.Add(int64(len(r.Announced)))
				}
			})
			if c.set {
				s.SetImports(imports(b, "*:9"))
			}
			var messages []byte
			for _, m := range wire.AppendUpdates(nil, macs(idA, 100, benchRoutes), wire.PeerKind{IBGP: true, FourOctetAS: true, LocalASN: 65000}) {
				messages = append(messages, m...)
			}
			runtime.GC()
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				got.Store(0)
				p := speakertest.Dial(b, peerA, at, ibgp(idA)).Handshake(b)
				before := cpu()
				began := time.Now()
				p.Send(b, messages)
				await(b, func() bool { return s.Neighbors()[0].RoutesReceived == benchRoutes })
				b.ReportMetric(float64(time.Since(began).Milliseconds()), "ms/session")
				b.ReportMetric(float64((cpu() - before).Milliseconds()), "cpu-ms/session")
				p.Close()
				await(b, func() bool { return s.Neighbors()[0].State == "active" })
			}
		})
	}
}

// BenchmarkSend measures 100,000 own routes added at once until the peer has read them all.
func BenchmarkSend(b *testing.B) {
	cfg := passive(speaker.Neighbor{Address: peerA})
	s, at := quiet(b, cfg, func(evpn.Event) {})
	routes := macs(ourID, 100, benchRoutes)
	want := 0
	for _, m := range wire.AppendUpdates(nil, routes, wire.PeerKind{IBGP: true, FourOctetAS: true}) {
		want += len(m)
	}
	p := speakertest.Dial(b, peerA, at, ibgp(idA))
	p.Open(b)
	p.Send(b, wire.Keepalive())
	p.Read(b)
	await(b, func() bool { return s.Neighbors()[0].State == "established" })
	b.ResetTimer()
	for range b.N {
		before, began := cpu(), time.Now()
		s.Apply(routes, nil)
		n, err := io.CopyN(io.Discard, p.Conn.(*net.TCPConn), int64(want))
		require.NoError(b, err)
		b.ReportMetric(float64(n)/(1<<20), "MB")
		b.ReportMetric(float64(time.Since(began).Milliseconds()), "ms/100k")
		b.ReportMetric(float64((cpu() - before).Milliseconds()), "cpu-ms/100k")
	}
}

// BenchmarkReflect measures 100,000 routes from one client through GoBGP to another.
func BenchmarkReflect(b *testing.B) {
	cfg := passive(speaker.Neighbor{Address: peerA, RouteReflectorClient: true}, speaker.Neighbor{Address: peerB, RouteReflectorClient: true})
	_, at := quiet(b, cfg, func(evpn.Event) {})
	var messages []byte
	for _, m := range wire.AppendUpdates(nil, macs(idA, 100, benchRoutes), wire.PeerKind{IBGP: true, FourOctetAS: true, LocalASN: 65000}) {
		messages = append(messages, m...)
	}
	client := speakertest.Dial(b, peerB, at, ibgp(idB)).Handshake(b)
	client.Await(b, "End-of-RIB", endOfRIB)
	for range b.N {
		before, began := cpu(), time.Now()
		p := speakertest.Dial(b, peerA, at, ibgp(idA)).Handshake(b)
		p.Send(b, messages)
		hears(b, client, benchRoutes)
		b.ReportMetric(float64(time.Since(began).Milliseconds()), "ms/100k")
		b.ReportMetric(float64((cpu() - before).Milliseconds()), "cpu-ms/100k")
		p.Close()
		hears(b, client, 0)
	}
}

// hears waits until p has n routes.
func hears(tb testing.TB, p *speakertest.Peer, n int) {
	tb.Helper()
	require.Eventually(tb, func() (ok bool) {
		p.See(func(h *speakertest.Heard) { ok = len(h.Routes) == n })
		return ok
	}, time.Minute, time.Millisecond)
}
