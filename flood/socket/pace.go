package socket

import (
	"time"

	"golang.org/x/sys/unix"
)

const (
	// Packets read at once. Only those of one flow can travel as one, so the more flows
	// there are the more packets it takes for runs. But no more than can be sent in a
	// while: so old may a verdict be.
	leastDepth, mostDepth = 64, 1024
	depthPatience         = 250 * time.Millisecond

	// longestRest is how long packets may be left to gather.
	longestRest = 10 * time.Millisecond
)

// pace is how the engine reads: how much at once, and whether it lets packets gather.
type pace struct {
	each         time.Duration // that a packet took lately, with all its copies
	worked, idle time.Duration // lately
	last         time.Duration // that the last packets took
}

// depth is how many packets to read at once.
func (p *pace) depth() int {
	if p.each == 0 {
		return leastDepth
	}
	return int(min(max(depthPatience/p.each, leastDepth), mostDepth))
}

// rest is how long to let packets gather when none waits. An engine that is hardly ever
// idle would read the next one alone, as soon as it is there, and send it for the price of a
// run. One that is idle rests not at all, so this costs no time unless there is load.
func (p *pace) rest() time.Duration {
	if p.idle >= p.worked/3 {
		return 0
	}
	return min(p.last/2, longestRest)
}

// took notes that n packets took a time to send, after an idle time.
func (p *pace) took(n int, idle, worked time.Duration) {
	each := max(worked/time.Duration(n), 1)
	if p.each > 0 {
		each = max((3*p.each+each)/4, 1)
	}
	p.each, p.last = each, worked
	if p.worked+p.idle > 4*longestRest {
		p.worked, p.idle = p.worked/2, p.idle/2
	}
	p.worked, p.idle = p.worked+worked, p.idle+idle
}

// gather lets a time pass. The Go runtime's timers are no more exact and wake a thread
// that is not this one.
func gather(d time.Duration) {
	t := unix.NsecToTimespec(int64(d))
	_, _ = unix.Ppoll(nil, &t, nil) // interrupted: then it was shorter
}
