package evpn

import (
	"container/heap"
	"time"
)

// alarm wants to be called at a time: once for each time that it was armed for, unless it
// is due at another by then.
type alarm interface {
	due() time.Time // zero = not at all
	ring(c *Core)
}

// timer calls an alarm. An alarm has one valid timer, the one for when it is due; older
// ones fire into nothing.
type timer struct {
	at time.Time
	of alarm
}

func (t timer) dead() bool { return !t.of.due().Equal(t.at) }

type timerHeap []timer

func (h timerHeap) Len() int           { return len(h) }
func (h timerHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h timerHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *timerHeap) Push(x any)        { *h = append(*h, x.(timer)) }
func (h *timerHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = timer{}
	*h = old[:len(old)-1]
	return last
}

// startTimer has a called when it is due.
func (c *Core) startTimer(a alarm) {
	if at := a.due(); !at.IsZero() {
		heap.Push(&c.timers, timer{at: at, of: a})
	}
}

// nextTimer is when the first timer is due; zero when there is none.
func (c *Core) nextTimer() time.Time {
	for len(c.timers) > 0 {
		if t := c.timers[0]; !t.dead() {
			return t.at
		}
		heap.Pop(&c.timers)
	}
	return time.Time{}
}

func (c *Core) fireTimers() {
	for len(c.timers) > 0 && !c.timers[0].at.After(c.now) {
		if t := heap.Pop(&c.timers).(timer); !t.dead() {
			t.of.ring(c)
		}
	}
}
