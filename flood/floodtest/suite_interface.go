package floodtest

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/flood"
	"github.com/vtepbgp/vtepbgp/kernel/kerneltest"
)

// testRenamed: an interface is the one that has the name. One that was given another is let
// go, and heard again when it has its name back.
func testRenamed(t *testing.T, open Factory, f family) {
	s := newStage(t, f)
	out := newTap(t, s.relay, "u1")
	to := f.list(4)
	e := s.start(open, f.table(f.onGroup(to...)))
	p := s.packet(64, Full)
	s.send(e, p)
	out.expect(t, to, p)
	s.rename("u0", "x0")
	eventually(t, func() (string, bool) {
		groups := s.relay.IP(t, "maddr", "show", "dev", "x0")
		return groups, !strings.Contains(groups, f.group.String())
	})
	heard := e.Counters().Total.Packets
	for range 5 {
		s.hose.send(t, s.packet(64, Full))
	}
	s.rename("x0", "u0")
	s.address(s.relay, "u0", f.host(f.relay))
	assert.Equal(t, heard, e.Counters().Total.Packets, "what came by another name")
	s.comesBack(out, to)
	s.await(e, "it is counted", func(c flood.Counters) bool { return c.Repairs > 0 })
}

func (s *stage) rename(from, to string) {
	// Before Linux 6.2 only what is down takes another name.
	s.relay.IP(s.t, "link", "set", from, "down")
	s.relay.IP(s.t, "addr", "flush", "dev", from)
	s.relay.IP(s.t, "link", "set", from, "name", to)
	s.relay.IP(s.t, "link", "set", to, "up")
	ready(s.t, s.relay, to)
}

// testAddress: the host gets other addresses, on the segment and on the way to the VTEPs.
func testAddress(t *testing.T, open Factory, f family) {
	s := newStage(t, f)
	out := newTap(t, s.relay, "u1")
	to := f.list(4)
	network := f.onGroup(to...)
	e := s.start(open, f.table(network))
	mine := s.own(64)
	s.sendOwn(e, mine)
	out.expect(t, to, mine)
	for dev, address := range map[string]string{"u0": f.host(f.relay.Next()), "u1": f.host(f.near.Next())} {
		s.relay.IP(t, "addr", "flush", "dev", dev)
		s.address(s.relay, dev, address)
	}
	s.relay.IP(t, "route", "replace", f.vteps.String(), "via", f.gateway.String())
	s.relay.IP(t, "neigh", "replace", f.gateway.String(), "lladdr", hardware(t, s.beyond, "v1").String(), "dev", "u1", "nud", "permanent")
	table := f.table(network)
	table.Own[0], table.Own[1] = f.relay.Next(), f.near.Next()
	require.NoError(t, e.Apply(table))
	s.comesBack(out, to)
	mine = s.own(64)
	mine.Source, mine.SourcePort = f.relay.Next(), 62000
	s.sendOwn(e, mine)
	out.expectFlow(t, mine.SourcePort, to, mine)
	s.refuses(e, flood.Relayed, s.own(64)) // it is nobody's that we know
}

// testSeveral: engines on two interfaces of a host do not disturb each other, though they
// hear the same group and share the way to the VTEPs.
func testSeveral(t *testing.T, open Factory, f family) {
	s := newStage(t, f)
	second := kerneltest.NewNamespace(t)
	s.connect(second, "s9", s.relay, "u9")
	out := newTap(t, s.relay, "u1")
	all := f.list(8)
	here, there := f.onGroup(all[:4]...), f.onGroup(all[4:]...)
	here.Leased, there.Leased = true, true
	a := s.start(open, f.table(here))
	b := launch(t, open, options(t, s.relay, "u9"), f.table(there))
	require.NoError(t, a.Renew(flood.Lease{For: time.Hour}))
	require.NoError(t, b.Renew(flood.Lease{For: time.Hour}))
	hose := newHose(t, second, "s9")
	sendThere := func(p *Packet) {
		heard := b.Counters().Total.Packets
		hose.send(t, p)
		s.await(b, "it is heard", func(c flood.Counters) bool { return c.Total.Packets == heard+1 })
	}
	for range 3 {
		p, q := s.packet(64, Full), s.packet(64, Full)
		s.send(a, p)
		out.expect(t, all[:4], p)
		sendThere(q)
		out.expect(t, all[4:], q)
	}
	assert.EqualValues(t, 3, a.Counters().Total.Packets)
	require.NoError(t, a.Renew(flood.Lease{}))
	s.refuses(a, flood.NotElected, s.packet(64, Full))
	p := s.packet(64, Full)
	sendThere(p)
	out.expect(t, all[4:], p)
	there.VNI = evpn.VNI(vni + 5)
	require.NoError(t, b.Apply(f.table(there)))
	require.NoError(t, a.Renew(flood.Lease{For: time.Hour}))
	p = s.packet(64, Full)
	s.send(a, p)
	out.expect(t, all[:4], p)
	require.NoError(t, a.Close())
	p = s.packet(64, Full)
	p.VNI = uint32(there.VNI)
	sendThere(p)
	out.expect(t, all[4:], p)
}
