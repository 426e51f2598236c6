package speaker_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/speaker"
	"github.com/vtepbgp/vtepbgp/speaker/speakertest"
)

var (
	us    = netip.MustParseAddr("127.0.1.1")
	peerA = netip.MustParseAddr("127.0.1.2")
	peerB = netip.MustParseAddr("127.0.1.3")
	ourID = netip.MustParseAddr("10.0.0.5")
	idA   = netip.MustParseAddr("10.0.0.9")
	idB   = netip.MustParseAddr("10.0.0.3")
)

func ibgp(id netip.Addr) speakertest.Options {
	return speakertest.Options{ASN: 65000, RouterID: id}
}

// passive is a speaker that listens on a free port for the given neighbours.
func passive(n ...speaker.Neighbor) speaker.Config {
	for i := range n {
		n[i].Passive = true
		if n[i].ASN == 0 {
			n[i].ASN = 65000
		}
	}
	return speaker.Config{ASN: 65000, RouterID: ourID, ListenPort: -1, ListenAddresses: []netip.Addr{us}, Neighbors: n}
}

func TestActiveNeighbor(t *testing.T) {
	l := speakertest.Listen(t, peerA)
	s := speakertest.Prepare(t, speaker.Config{
		ASN: 65000, RouterID: ourID,
		Neighbors: []speaker.Neighbor{{Address: peerA, ASN: 65000, Port: l.Port(), VTEPSource: us}},
	})
	own := []evpn.Route{speakertest.MACRoute(ourID, 100, 1, nil), speakertest.MACRoute(ourID, 100, 2, nil)}
	s.Apply(own, nil)
	began := time.Now()
	s.Run(t)
	p := l.Accept(t, ibgp(idA)).Handshake(t)
	p.Await(t, "End-of-RIB", func(h *speakertest.Heard) bool { return h.EndOfRIB == 1 })
	assert.Less(t, time.Since(began), 5*time.Second, "a session that is dialled comes up at once: GoBGP by itself takes six seconds")
	p.See(func(h *speakertest.Heard) {
		assert.Equal(t, []string{"route", "eor"}, h.Order, "own routes go before End-of-RIB")
		require.Len(t, h.Routes, 2)
		got := h.Routes[own[0].Key]
		assert.Equal(t, ourID, got.Attrs.NextHop)
		assert.EqualValues(t, 100, got.Attrs.LocalPref)
		assert.Zero(t, got.Attrs.ASPathLen)
	})

	theirs := speakertest.MACRoute(idA, 100, 7, nil)
	p.Announce(t, theirs)
	s.Await(t, "the route", func([]evpn.Event) bool { return len(s.Routes(peerA)) == 1 })
	events := s.Events()
	assert.Equal(t, evpn.NeighborUp{Neighbor: peerA, RouterID: idA, ASN: 65000, IBGP: true}, events[0])
	p.Withdraw(t, theirs.Key)
	s.Await(t, "the withdrawal", func([]evpn.Event) bool { return len(s.Routes(peerA)) == 0 })

	s.Apply(nil, []evpn.RouteKey{own[0].Key})
	p.Await(t, "our withdrawal", func(h *speakertest.Heard) bool { return len(h.Routes) == 1 })

	p.Close()
	s.Await(t, "NeighborDown", lastIs(evpn.NeighborDown{Neighbor: peerA}))
	began = time.Now()
	p = l.Accept(t, ibgp(idA)).Handshake(t)
	p.Await(t, "End-of-RIB", func(h *speakertest.Heard) bool { return h.EndOfRIB == 1 && len(h.Routes) == 1 })
	assert.Less(t, time.Since(began), 4500*time.Millisecond, "a lost session comes back at once: GoBGP by itself idles five seconds")
	st := s.AwaitState(t, peerA, "established")
	assert.EqualValues(t, 1, st.Flaps)
	assert.Equal(t, 1, st.RoutesAdvertised)
}
