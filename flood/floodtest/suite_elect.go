package floodtest

import (
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/flood"
)

// own is a packet as this host's VXLAN device sends it to the group; it leaves by a hose
// on u0 of the relay.
func (s *stage) own(size int) *Packet {
	p := s.packet(size, Full)
	p.SrcMAC, p.Source = s.mac, s.family.relay
	return p
}

// sendOwn sends packets out of u0, and waits until the engine has heard of them.
func (s *stage) sendOwn(e flood.Engine, packets ...*Packet) {
	s.t.Helper()
	h := newHose(s.t, s.relay, "u0")
	heard := e.Counters().Total.Packets + uint64(len(packets))
	for _, p := range packets {
		h.send(s.t, p)
	}
	s.await(e, "the engine hears what this host sends", func(c flood.Counters) bool { return c.Total.Packets >= heard })
}

// refuses sends a packet that is not to be copied for a reason.
func (s *stage) refuses(e flood.Engine, reason flood.Reason, p *Packet) {
	s.t.Helper()
	before := e.Counters().Total.Dropped[reason]
	if p.Source == s.family.relay {
		s.sendOwn(e, p)
	} else {
		s.send(e, p)
	}
	s.await(e, "it is refused: "+reason.String(), func(c flood.Counters) bool { return c.Total.Dropped[reason] == before+1 })
}

// testElection: whose frames are copied is said for our own and for those of others. Who
// is not copied is heard all the same.
func testElection(t *testing.T, open Factory, f family) {
	s := newStage(t, f)
	out := newTap(t, s.relay, "u1")
	to := f.list(4)
	claimant := f.leaf.Next()
	network := f.onGroup(to...)
	network.Others, network.HearVTEPs, network.Itself = false, true, []netip.Addr{claimant}
	e := s.start(open, f.table(network))
	fromClaimant := func() *Packet {
		p := s.packet(64, Full)
		p.Source = claimant
		return p
	}
	mine := s.own(200)
	s.sendOwn(e, mine)
	out.expect(t, to, mine)
	s.refuses(e, flood.NotElected, s.packet(64, Full))
	s.refuses(e, flood.CopiedBySender, fromClaimant())
	eventually(t, func() (string, bool) {
		var heard []netip.Addr
		for _, h := range e.Heard(within) {
			heard = append(heard, h.VTEP)
		}
		slices.SortFunc(heard, netip.Addr.Compare)
		return "heard: " + join(heard), slices.Equal(heard, []netip.Addr{f.leaf, claimant})
	})

	network.Own, network.Others = false, true
	require.NoError(t, e.Apply(f.table(network)))
	s.refuses(e, flood.NotElected, s.own(64))
	s.refuses(e, flood.CopiedBySender, fromClaimant())
	p := s.packet(64, Full)
	s.send(e, p)
	out.expect(t, to, p)

	network.Itself = nil
	require.NoError(t, e.Apply(f.table(network)))
	p = fromClaimant()
	s.send(e, p)
	out.expect(t, to, p)
}

func join(addresses []netip.Addr) (text string) {
	for _, a := range addresses {
		text += a.String() + " "
	}
	return text
}

// testLease: what others send is copied while the lease goes, over tables; our own frames
// and those of other networks need none.
func testLease(t *testing.T, open Factory, f family) {
	s := newStage(t, f)
	out := newTap(t, s.relay, "u1")
	to := f.list(4)
	leased, other := f.onGroup(to...), f.onGroup(to...)
	leased.Leased, other.VNI = true, vni+5
	e := s.start(open, f.table(leased, other))
	s.refuses(e, flood.NotElected, s.packet(64, Full))
	free := s.packet(64, Full)
	free.VNI = vni + 5
	mine := s.own(64)
	s.send(e, free)
	s.sendOwn(e, mine)
	out.expect(t, to, free, mine)

	require.NoError(t, e.Renew(flood.Lease{For: time.Hour}))
	p := s.packet(64, Full)
	s.send(e, p)
	out.expect(t, to, p)
	leased.Rate = 1 << 20
	require.NoError(t, e.Apply(f.table(leased, other)))
	p = s.packet(64, Full)
	s.send(e, p)
	out.expect(t, to, p)

	require.NoError(t, e.Renew(flood.Lease{For: 20 * time.Millisecond}))
	refused := e.Counters().Total.Dropped[flood.NotElected]
	eventually(t, func() (string, bool) {
		s.hose.send(t, s.packet(64, Full))
		return "the lease does not run out", e.Counters().Total.Dropped[flood.NotElected] > refused
	})
	mine = s.own(64)
	mine.SourcePort = 61000 // told apart from what was copied until it had run out
	s.sendOwn(e, mine)
	out.expectFlow(t, mine.SourcePort, to, mine)
	require.NoError(t, e.Renew(flood.Lease{For: time.Hour}))
	p = s.packet(64, Full)
	p.SourcePort = 61001
	s.send(e, p)
	out.expectFlow(t, p.SourcePort, to, p)
}

// testKept: nothing is copied without a lease on everything, once there has been one.
func testKept(t *testing.T, open Factory, f family) {
	s := newStage(t, f)
	out := newTap(t, s.relay, "u1")
	to := f.list(4)
	table := f.table(f.onGroup(to...), f.onService(to...))
	e := s.start(open, table)
	for _, outlives := range []time.Duration{time.Hour, 0} {
		require.NoError(t, e.Keep(flood.Lease{Outlives: outlives}))
		s.refuses(e, flood.NotElected, s.packet(64, Full))
		s.refuses(e, flood.NotElected, s.own(64))
		s.refuses(e, flood.NotElected, s.toService(64, Full))
		require.NoError(t, e.Apply(table)) // which is no reason to go on
		s.refuses(e, flood.NotElected, s.own(64))
		require.NoError(t, e.Keep(flood.Lease{For: time.Hour, Outlives: outlives}))
		others, own, service := s.packet(64, Full), s.own(64), s.toService(64, Full)
		s.send(e, others)
		s.sendOwn(e, own)
		s.send(e, service)
		out.expect(t, to, others, own, service)
	}
	require.NoError(t, e.Close())
	require.ErrorIs(t, e.Keep(flood.Lease{For: time.Hour}), os.ErrClosed)
	require.ErrorIs(t, e.Renew(flood.Lease{For: time.Hour}), os.ErrClosed)
}
