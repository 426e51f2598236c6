package floodtest

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/flood"
)

// Benchmark offers an engine as many packets as it takes, of one flow, and reports the
// copies it makes of them in a second, on a wire that takes packets one by one, and on one
// with a card that takes them merged. An operation is a packet. CPU is that of the whole
// process, the sender of the packets included.
func Benchmark(b *testing.B, open Factory) {
	for offloads, wire := range []string{"plain", "offloads"} {
		for _, size := range []int{64, 1400} {
			for _, n := range []int{2, 16, 64, 256, 1000} {
				b.Run(fmt.Sprintf("%s/%d bytes/%d VTEPs", wire, size, n), func(b *testing.B) {
					benchmark(b, open, uint32(offloads), size, n)
				})
			}
		}
	}
}

func benchmark(b *testing.B, open Factory, offloads uint32, size, n int) {
	f := families()[0]
	s := newStage(b, f)
	setOffloads(b, s.relay, "u1", offloads)
	// Somebody else's address: beyond the wire packets are to cost as little as can be.
	s.relay.IP(b, "neigh", "replace", f.gateway.String(), "lladdr", "02:00:00:00:00:99", "dev", "u1", "nud", "permanent")
	e := s.start(open, f.table(f.onGroup(f.list(n)...)))
	packet := append(make([]byte, vnetLength), s.packet(size, Full).Bytes()...)
	const inFlight = 512 // less than net.core.netdev_max_backlog
	sent, heard := uint64(0), uint64(0)
	wait := func(most uint64) {
		for sent-heard > most {
			_, _ = unix.Poll(nil, 1) // asking costs what is measured
			heard = e.Counters().Total.Packets
		}
	}
	before := cpuTime(b)
	for b.Loop() {
		s.hose.write(b, packet)
		if sent++; sent-heard >= inFlight {
			wait(inFlight / 2)
		}
	}
	wait(0)
	s.await(e, "all are copied", func(c flood.Counters) bool { return c.Total.Relayed == sent })
	copies := float64(e.Counters().Total.Copies)
	b.ReportMetric(copies/b.Elapsed().Seconds(), "copies/s")
	b.ReportMetric(copies/(cpuTime(b)-before), "copies/cpu-s")
	require.Zero(b, e.Counters().Total.Dropped[flood.Overrun])
}

// cpuTime is what the process has used, in seconds.
func cpuTime(b *testing.B) float64 {
	var u unix.Rusage
	require.NoError(b, unix.Getrusage(unix.RUSAGE_SELF, &u))
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}
