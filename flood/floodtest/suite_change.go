package floodtest

import (
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/flood"
	"github.com/vtepbgp/vtepbgp/kernel/kerneltest"
)

// testListsChange: while packets flow, one VTEP of a hundred comes and goes. Those that
// stay get every packet once; it gets none twice.
func testListsChange(t *testing.T, open Factory, f family) {
	s := newStage(t, f)
	out := newTap(t, s.relay, "u1")
	all := f.list(101)
	stay, guest := slices.Concat(all[:50], all[51:]), all[50]
	e := s.start(open, f.table(f.onGroup(all...)))
	var changing sync.WaitGroup
	stop := make(chan struct{})
	changing.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			list := all
			if i%2 == 0 {
				list = stay
			}
			assert.NoError(t, e.Apply(f.table(f.onGroup(list...))))
		}
	})
	var packets []*Packet
	for range 500 {
		packets = append(packets, s.packet(64, Full))
	}
	s.send(e, packets...)
	close(stop)
	changing.Wait()
	s.await(e, "all are copied", func(c flood.Counters) bool { return c.Total.Relayed == 500 })
	// How many are the guest's nobody knows, so those of the others are awaited.
	var copies []leaving
	toGuest := map[uint32]int{}
	eventually(t, func() (string, bool) {
		for _, l := range out.take(t) {
			if l.to == guest {
				toGuest[l.number]++
			} else {
				copies = append(copies, l)
			}
		}
		return fmt.Sprintf("%d copies of %d", len(copies), 500*len(stay)), len(copies) >= 500*len(stay)
	})
	for n, times := range toGuest {
		assert.Equal(t, 1, times, "number %d to the guest", n)
	}
	check(t, copies, stay, packets)
}

// testDownUp: an interface that was down is heard again, without a word from anybody.
func testDownUp(t *testing.T, open Factory, f family) {
	s := newStage(t, f)
	out := newTap(t, s.relay, "u1")
	to := f.list(4)
	e := s.start(open, f.table(f.onGroup(to...)))
	p := s.packet(64, Full)
	s.send(e, p)
	out.expect(t, to, p)
	s.relay.IP(t, "link", "set", "u0", "down")
	s.relay.IP(t, "link", "set", "u0", "up")
	s.comesBack(out, to)
	s.await(e, "it is counted", func(c flood.Counters) bool { return c.Repairs == 1 })
}

// testReplaced: another interface of the same name takes the place of one that is deleted.
func testReplaced(t *testing.T, open Factory, f family) {
	s := newStage(t, f)
	out := newTap(t, s.relay, "u1")
	to := f.list(4)
	e := s.start(open, f.table(f.onGroup(to...)))
	p := s.packet(64, Full)
	s.send(e, p)
	out.expect(t, to, p)
	s.relay.IP(t, "link", "del", "u0")
	s.connect(s.segment, "s0", s.relay, "u0")
	s.address(s.relay, "u0", f.host(f.relay))
	s.openHose()
	s.comesBack(out, to)
	s.await(e, "it is counted", func(c flood.Counters) bool { return c.Repairs > 0 })
}

// comesBack sends until packets are copied again, then asks for one exactly once.
func (s *stage) comesBack(out *tap, to []netip.Addr) {
	s.t.Helper()
	eventually(s.t, func() (string, bool) {
		s.hose.send(s.t, s.packet(64, Full))
		return "nothing is copied", out.seen() > 0
	})
	p := s.packet(64, Full)
	p.SourcePort = 61000 // told apart from those that are still under way
	s.hose.send(s.t, p)
	out.expectFlow(s.t, p.SourcePort, to, p)
}

// testSlowWire: a burst far larger than the egress queue, at half of what the wire can
// carry. The engine must wait for it: nothing is lost.
func testSlowWire(t *testing.T, open Factory, f family) {
	s := newStage(t, f)
	tc(t, s.relay, "qdisc", "replace", "dev", "u1", "root", "tbf", "rate", "500mbit", "burst", "32k", "limit", "300k")
	out := newTap(t, s.relay, "u1")
	to := f.list(1000)
	e := s.start(open, f.table(f.onGroup(to...)))
	var packets []*Packet
	ticker := time.NewTicker(time.Second / 20)
	defer ticker.Stop()
	for range 20 {
		p := s.packet(1400, Full)
		packets = append(packets, p)
		s.hose.send(t, p)
		<-ticker.C
	}
	out.expect(t, to, packets...)
	require.Zero(t, e.Counters().Total.Dropped[flood.EgressFull])
}

func tc(t testing.TB, ns *kerneltest.Namespace, args ...string) string {
	t.Helper()
	var out []byte
	err := ns.Do(func() (err error) {
		out, err = exec.Command("tc", args...).CombinedOutput()
		return err
	})
	require.NoError(t, err, "tc %v: %s", args, out)
	return string(out)
}
