package evpn_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// TestQuietSurvivesSnapshot: a core made of a snapshot waits as long for a neighbour without
// End-of-RIB as the one that it was made of.
func TestQuietSurvivesSnapshot(t *testing.T) {
	c := evpn.New(evpn.Config{VTEP: vtep1})
	at := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
	c.Handle(evpn.NeighborUp{Neighbor: rr}, at(0))
	c.Handle(evpn.RoutesReceived{Neighbor: rr}, at(3))
	r := restore(c, at(4))
	for _, x := range []*evpn.Core{c, r} {
		x.Drain(at(7))
		assert.False(t, x.Synced())
		x.Drain(at(8))
		assert.True(t, x.Synced())
	}
}
