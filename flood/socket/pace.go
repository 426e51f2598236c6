package socket

import (
	"time"

	"golang.org/x/sys/unix"
)

const (
	// Packets read at once. Only those of one flow can travel as one, so the more flows
	// there are the more packets it takes for runs. But no more than can be sent in a
	// while: so old may a verdict be.
	leastDepth, mostDepth = 64, 2048
	depthPatience         = 250 * time.Millisecond

	// How long packets may be left to gather, and how often that is thought over.
	leastRest, longestRest = 64 * time.Microsecond, 10 * time.Millisecond
	restFor                = 5 * time.Millisecond
)

// pace is how the engine reads: how much at once, and whether it lets packets gather before,
// as a network card does that coalesces interrupts. An engine that takes each packet as soon as it
// is there sends it for the price of a run, and takes the processor from who brings the next.
type pace struct {
	each         time.Duration // that a packet took lately, with all its copies
	worked, idle time.Duration // since the rest was thought over: reading and sending, resting and waiting
	nap          time.Duration
	full         bool // more packets waited than were read
}

// depth is how many packets to read at once.
func (p *pace) depth() int {
	if p.each == 0 {
		return leastDepth
	}
	return int(min(max(depthPatience/p.each, leastDepth), mostDepth))
}

// rest is how long to let packets gather before they are read: not at all unless there is load,
// and not when enough of them wait already.
func (p *pace) rest() time.Duration {
	if p.full {
		return 0
	}
	return p.nap
}

// took notes that n packets took a time to read and send, after an idle time. The rest gets longer while
// that is nearly all the time, for long runs are less work, and shorter again when it is not.
func (p *pace) took(n int, idle, worked time.Duration) {
	p.full = n == p.depth()
	each := max(worked/time.Duration(n), 1)
	if p.each > 0 {
		each = max((3*p.each+each)/4, 1)
	}
	p.each = each
	p.worked, p.idle = p.worked+worked, p.idle+idle
	switch {
	case idle > restFor:
		p.nap = 0
	case p.worked+p.idle < restFor:
		return
	case p.worked > 15*p.idle:
		p.nap = min(max(2*p.nap, leastRest), longestRest)
	case p.worked < 4*p.idle:
		if p.nap /= 2; p.nap < leastRest {
			p.nap = 0
		}
	}
	p.worked, p.idle = 0, 0
}

// gather lets a time pass. The Go runtime's timers are no more exact and wake a thread
// that is not this one.
func gather(d time.Duration) {
	t := unix.NsecToTimespec(int64(d))
	_, _ = unix.Ppoll(nil, &t, nil) // interrupted: then it was shorter
}
