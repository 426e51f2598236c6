package daemon

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestPrunePolicy(t *testing.T) {
	a, b := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	start := time.Unix(1e9, 0)
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }

	t.Run("every neighbour was established and the picture is full", func(t *testing.T) {
		p := newPrunePolicy([]netip.Addr{a, b}, false, 0, start)
		assert.False(t, p.due(true, at(1)))
		p.established(a)
		assert.False(t, p.due(true, at(1)), "b is missing")
		p.established(b)
		assert.False(t, p.due(false, at(1)), "End-of-RIB is missing")
		assert.True(t, p.due(true, at(1)))
		assert.False(t, p.due(true, at(2)), "once")
	})
	t.Run("a neighbour never comes", func(t *testing.T) {
		p := newPrunePolicy([]netip.Addr{a}, false, 0, start)
		assert.False(t, p.due(false, at(119)))
		assert.True(t, p.due(false, at(120)))
	})
	t.Run("graceful restart time bounds the wait", func(t *testing.T) {
		p := newPrunePolicy([]netip.Addr{a}, false, 30*time.Second, start)
		assert.False(t, p.due(false, at(29)))
		assert.True(t, p.due(false, at(30)))
		assert.Equal(t, at(120), newPrunePolicy(nil, true, time.Hour, start).deadline)
	})
	t.Run("only neighbours that dial us: the timer decides", func(t *testing.T) {
		p := newPrunePolicy(nil, true, 0, start)
		assert.False(t, p.due(true, at(1)), "one of several may be complete")
		assert.True(t, p.due(true, at(120)))
	})
}
