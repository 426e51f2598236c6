package floodtest

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/flood"
)

// RunLeft asks what has to be asked of a kind of engine that copies without a process: one
// that was killed, hangs or has left goes on copying, but not for others for long, and who
// follows takes its place.
func RunLeft(t *testing.T, kind flood.Kind) {
	cases := []struct {
		name string
		run  func(t *testing.T, kind flood.Kind, f family)
	}{
		{"killed", testKilled},
		{"left", testLeft},
		{"hangs", testHangs},
		{"killed without a lease that outlives it", testLeaseDies},
		{"killed for good", testDies},
		{"left for good", testGoesForGood},
		{"killed with a full queue", testKilledBusy},
		{"swept", testSwept},
	}
	for _, f := range families() {
		t.Run(f.name, func(t *testing.T) {
			for _, c := range cases {
				t.Run(c.name, func(t *testing.T) { c.run(t, kind, f) })
			}
		})
	}
}

func factory(kind flood.Kind) Factory {
	return func(t testing.TB, o flood.Options) flood.Engine {
		e, err := kind.Open(o)
		require.NoError(t, err)
		return e
	}
}

// copiesOn sends packets that nobody counts, and asks for each exactly once.
func (s *stage) copiesOn(out *tap, n, vteps int) {
	s.t.Helper()
	var packets []*Packet
	for range n {
		p := s.packet(200, Full)
		packets = append(packets, p)
		s.hose.send(s.t, p)
	}
	out.expect(s.t, s.family.list(vteps), packets...)
}

// follow has an engine follow while packets flow, and asks for each exactly once.
func (s *stage) follow(out *tap, kind flood.Kind, table *flood.Table, vteps int) flood.Engine {
	s.t.Helper()
	var packets []*Packet
	var sending sync.WaitGroup
	stop := make(chan struct{})
	sending.Go(func() {
		ticker := time.NewTicker(500 * time.Microsecond)
		defer ticker.Stop()
		for {
			select {
			case <-stop:
				return
			case <-ticker.C:
			}
			p := s.packet(200, Full)
			packets = append(packets, p)
			s.hose.send(s.t, p)
		}
	})
	e := factory(kind)(s.t, s.options())
	s.t.Cleanup(func() {
		if err := e.Close(); err != nil {
			require.ErrorIs(s.t, err, os.ErrClosed)
		}
	})
	require.NoError(s.t, e.Start())
	require.NoError(s.t, e.Apply(table))
	s.await(e, "it copies", func(c flood.Counters) bool { return c.Total.Relayed >= 20 })
	close(stop)
	sending.Wait()
	out.expect(s.t, s.family.list(vteps), packets...)
	s.t.Logf("%d packets, of which %d were copied by the engine that follows", len(packets), e.Counters().Total.Relayed)
	return e
}

func testKilled(t *testing.T, kind flood.Kind, f family) {
	s := newStage(t, f)
	out := newTap(t, s.relay, "u1")
	table := f.table(f.onGroup(f.list(16)...))
	p := s.serve(kind, table, flood.Lease{})
	s.copiesOn(out, 20, 16)
	p.kill()
	s.copiesOn(out, 20, 16)
	e := s.follow(out, kind, table, 16)
	require.NoError(t, e.Close())
	s.nothingIsCopied(out)
	assert.NotContains(t, s.relayQdiscs(), "clsact")
}

func testLeft(t *testing.T, kind flood.Kind, f family) {
	s := newStage(t, f)
	out := newTap(t, s.relay, "u1")
	table := f.table(f.onGroup(f.list(16)...))
	p := s.serve(kind, table, flood.Lease{})
	s.copiesOn(out, 20, 16)
	p.leave()
	s.copiesOn(out, 20, 16)
	e := s.follow(out, kind, table, 16)
	require.NoError(t, e.Leave())
	s.copiesOn(out, 20, 16)
	// Who closes without ever having had a table leaves nothing either.
	e = factory(kind)(t, s.options())
	require.NoError(t, e.Start())
	s.copiesOn(out, 20, 16)
	require.NoError(t, e.Close())
	s.nothingIsCopied(out)
	assert.NotContains(t, s.relayQdiscs(), "clsact")
}

// testHangs: a process that stands still is as good as dead for those it copied for.
func testHangs(t *testing.T, kind flood.Kind, f family) {
	s := newStage(t, f)
	out := newTap(t, s.relay, "u1")
	leased := f.onGroup(f.list(4)...)
	leased.Leased = true
	table := f.table(leased, f.onService(f.list(4)...))
	p := s.serve(kind, table, flood.Lease{For: 3 * time.Second, Outlives: time.Hour})
	s.copiesOn(out, 5, 4)
	p.signal(syscall.SIGSTOP)
	mine := newHose(t, s.relay, "u0")
	for i := uint16(0); ; i++ {
		require.Less(t, i, uint16(1000), "the lease does not end")
		// Others' first: when they are no longer copied, what follows comes alone.
		others, own, service := s.packet(64, Full), s.own(64), s.toService(64, Full)
		for _, p := range []*Packet{others, own, service} {
			p.SourcePort = 50000 + i
		}
		s.hose.send(t, others)
		mine.send(t, own)
		s.hose.send(t, service)
		var copies []leaving
		eventually(t, func() (string, bool) {
			copies = append(copies, out.take(t)...)
			n := 0
			for _, c := range copies {
				if c.from == f.relay || c.from == f.far {
					n++
				}
			}
			return fmt.Sprintf("%d copies of our own and to the service", n), n == 8
		})
		if len(copies) == 8 {
			check(t, copies, f.list(4), []*Packet{own, service})
			break
		}
		check(t, copies, f.list(4), []*Packet{others, own, service})
		<-time.After(100 * time.Millisecond)
	}
	p.kill()
	e := s.start(factory(kind), table)
	require.NoError(t, e.Renew(flood.Lease{For: time.Hour}))
	s.copiesOn(out, 5, 4)
}

// testLeaseDies: a lease that does not outlive its process ends in the moment in which that is killed, whatever
// is left of it. Our own frames are copied on.
func testLeaseDies(t *testing.T, kind flood.Kind, f family) {
	s := newStage(t, f)
	out := newTap(t, s.relay, "u1")
	leased := f.onGroup(f.list(4)...)
	leased.Leased = true
	table := f.table(leased)
	p := s.serve(kind, table, flood.Lease{For: time.Hour})
	s.copiesOn(out, 5, 4)
	p.kill()
	s.hose.send(t, s.packet(64, Full))
	own := s.own(64)
	newHose(t, s.relay, "u0").send(t, own)
	out.expect(t, f.list(4), own)
	e := s.start(factory(kind), table)
	require.NoError(t, e.Renew(flood.Lease{For: time.Hour}))
	s.copiesOn(out, 5, 4)
}

// everything is a table with a group, for whose others there is a lease, and a service
// address, and sends a packet for each that is to be copied.
func (s *stage) everything() (*flood.Table, func() []*Packet) {
	leased := s.family.onGroup(s.family.list(4)...)
	leased.Leased = true
	mine := newHose(s.t, s.relay, "u0")
	return s.family.table(leased, s.family.onService(s.family.list(4)...)), func() []*Packet {
		others, own, service := s.packet(64, Full), s.own(64), s.toService(64, Full)
		s.hose.send(s.t, others)
		mine.send(s.t, own)
		s.hose.send(s.t, service)
		return []*Packet{others, own, service}
	}
}

// testDies: without a lease that outlives the process everything ends with it, at once.
func testDies(t *testing.T, kind flood.Kind, f family) {
	s := newStage(t, f)
	out := newTap(t, s.relay, "u1")
	table, send := s.everything()
	short, long := flood.Lease{For: time.Hour}, flood.Lease{For: time.Hour, Outlives: time.Hour}
	p := s.serveAs(kind, served{Table: *table, Lease: long, Keep: short})
	out.expect(t, f.list(4), send()...)
	p.kill()
	for range 5 {
		send()
	}
	s.nothingIsCopied(out)
	p = s.serveAs(kind, served{Table: *table, Lease: long, Keep: long})
	out.expect(t, f.list(4), send()...)
	p.kill()
	out.expect(t, f.list(4), send()...)
	hung := flood.Lease{For: 500 * time.Millisecond, Outlives: time.Hour} // neighbours see sooner that it hangs than they forget it
	p = s.serveAs(kind, served{Table: *table, Lease: hung, Keep: hung})
	p.kill()
	<-time.After(2 * hung.For)
	out.expect(t, f.list(4), send()...)
	e := s.start(factory(kind), table)
	require.NoError(t, e.Renew(short))
	out.expect(t, f.list(4), send()...)
}

// testGoesForGood: where nobody follows, others take over some day, and what was left ends.
func testGoesForGood(t *testing.T, kind flood.Kind, f family) {
	s := newStage(t, f)
	out := newTap(t, s.relay, "u1")
	table, send := s.everything()
	p := s.serveAs(kind, served{Table: *table, Lease: flood.Lease{For: time.Hour, Outlives: time.Hour}, Keep: flood.Lease{For: time.Hour, Outlives: 3 * time.Second}})
	out.expect(t, f.list(4), send()...)
	p.leave()
	begin := time.Now()
	last := begin
	eventually(t, func() (string, bool) {
		send()
		<-time.After(50 * time.Millisecond)
		if len(out.take(t)) > 0 {
			last = time.Now()
		}
		return "it copies on", time.Since(last) > time.Second // copies may be late on a busy machine
	})
	assert.Greater(t, last.Sub(begin), time.Second)
	send()
	s.nothingIsCopied(out)
}

// testKilledBusy: a process that was killed while it sent the rest of a burst does not keep
// what it has left from copying.
func testKilledBusy(t *testing.T, kind flood.Kind, f family) {
	s := newStage(t, f)
	tc(t, s.relay, "qdisc", "replace", "dev", "u1", "root", "tbf", "rate", "500mbit", "burst", "32k", "limit", "300k")
	out := newTap(t, s.relay, "u1")
	to := f.list(1000)
	table := f.table(f.onGroup(to...))
	process := s.serve(kind, table, flood.Lease{})
	process.signal(syscall.SIGSTOP)
	for range 3 {
		s.hose.send(t, s.packet(1400, Full))
	}
	process.kill()
	for port := range uint16(3) {
		s.idle("u1")
		p := s.packet(64, Full)
		p.SourcePort = 61000 + port
		s.hose.send(t, p)
		out.expectFlow(t, p.SourcePort, to, p)
	}
	e := s.start(factory(kind), table)
	s.idle("u1")
	p := s.packet(1400, Full)
	p.SourcePort = 62000
	s.send(e, p)
	out.expectFlow(t, p.SourcePort, to, p)
}

// idle waits until nothing waits in the egress queue of a device.
func (s *stage) idle(dev string) {
	s.t.Helper()
	eventually(s.t, func() (string, bool) {
		shown := tc(s.t, s.relay, "-s", "qdisc", "show", "dev", dev)
		return shown, strings.Contains(shown, "backlog 0b 0p")
	})
}

func testSwept(t *testing.T, kind flood.Kind, f family) {
	s := newStage(t, f)
	out := newTap(t, s.relay, "u1")
	s.serve(kind, f.table(f.onGroup(f.list(4)...)), flood.Lease{}).kill()
	s.copiesOn(out, 5, 4)
	require.NoError(t, kind.Sweep(s.options(), func(name string) bool { return name != "u0" }))
	s.copiesOn(out, 5, 4)
	require.NoError(t, kind.Sweep(s.options(), func(name string) bool { return name == "u0" }))
	s.nothingIsCopied(out)
	assert.NotContains(t, s.relayQdiscs(), "clsact")
}

// nothingIsCopied sends a packet, and one through the stack behind it: when that has come
// out, the other one would have.
func (s *stage) nothingIsCopied(out *tap) {
	s.t.Helper()
	s.relay.IP(s.t, "route", "replace", s.family.far.Next().String(), "via", s.family.gateway.String())
	enableForwarding(s.t, s.relay)
	p := s.packet(64, Full)
	s.hose.send(s.t, p)
	forwarded := s.toService(64, Full)
	forwarded.Source, forwarded.To = s.family.leaf, s.family.far.Next()
	s.hose.send(s.t, forwarded)
	eventually(s.t, func() (string, bool) { return "the stack forwards", out.seen() > 0 })
	all := out.take(s.t)
	require.Len(s.t, all, 1)
	require.Equal(s.t, forwarded.To, all[0].to)
}

func (s *stage) relayQdiscs() string { return tc(s.t, s.relay, "qdisc", "show") }

func enableForwarding(t testing.TB, ns interface{ Do(func() error) error }) {
	require.NoError(t, ns.Do(func() error {
		return errors.Join(os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0),
			os.WriteFile("/proc/sys/net/ipv6/conf/all/forwarding", []byte("1"), 0))
	}))
}
