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
		p.took(1, 5*time.Millisecond, 30*time.Microsecond)
	}
	assert.Zero(t, p.rest(), "idle")
	for range 100 {
		p.took(64, 0, 2*time.Millisecond)
	}
	assert.Equal(t, time.Millisecond, p.rest(), "no time to be idle")
	p.took(64, 0, time.Second)
	assert.Equal(t, longestRest, p.rest())
	for range 10 {
		p.took(64, 2*time.Millisecond, 2*time.Millisecond)
	}
	assert.Zero(t, p.rest(), "idle for half of the time")
}
