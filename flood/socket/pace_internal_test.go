package socket

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestDepthFollowsWhatSendingTakes(t *testing.T) {
	t.Parallel()
	var p pace
	assert.Equal(t, leastDepth, p.depth(), "nothing is known")
	p.took(1, 0, 30*time.Microsecond)
	assert.Equal(t, mostDepth, p.depth(), "a short list")
	for range 20 {
		p.took(64, 0, 64*time.Millisecond)
	}
	assert.InDelta(t, 250, p.depth(), 10, "what can be sent in time")
	for range 20 {
		p.took(64, 0, time.Minute)
	}
	assert.Equal(t, leastDepth, p.depth(), "a slow wire")
}

func TestPacketsGatherUnderLoadOnly(t *testing.T) {
	t.Parallel()
	var p pace
	assert.Zero(t, p.rest(), "nothing is known")
	for range 100 {
		p.took(1, 200*time.Microsecond, 30*time.Microsecond)
	}
	assert.Zero(t, p.rest(), "idle")
	p = pace{}
	for range 5 {
		p.took(20, 100*time.Microsecond, 10*time.Millisecond)
	}
	assert.Equal(t, 16*leastRest, p.rest(), "longer as long as there is hardly time to be idle")
	for range 10 {
		p.took(20, time.Millisecond, 10*time.Millisecond)
	}
	assert.Equal(t, 16*leastRest, p.rest(), "what was enough stays")
	for range 100 {
		p.took(20, 100*time.Microsecond, 10*time.Millisecond)
	}
	assert.Equal(t, longestRest, p.rest())
	p.took(20, 6*time.Millisecond, 10*time.Microsecond)
	assert.Zero(t, p.rest(), "the load is over")
}

func TestLoadThatFallsHalvesTheRest(t *testing.T) {
	t.Parallel()
	p := pace{nap: 4 * leastRest}
	for range 3 {
		assert.NotZero(t, p.rest())
		p.took(20, 4*time.Millisecond, time.Millisecond)
	}
	assert.Zero(t, p.rest())
}

func TestWhatWaitsAlreadyNeedNotGather(t *testing.T) {
	t.Parallel()
	p := pace{nap: longestRest}
	p.took(p.depth(), 0, time.Millisecond)
	assert.Zero(t, p.rest())
	p.took(1, 0, time.Millisecond)
	assert.Equal(t, longestRest, p.rest())
}
