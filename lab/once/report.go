package once

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Report is what became of all frames of a run.
type Report struct{ Flows []Flow }

// Flow is what one station heard of another, or of itself: then nothing can be lost, and
// what came back is doubled.
type Flow struct {
	From, To string
	Sent     int
	Lost     []Frame
	Doubled  []Frame
	// Outage is the longest time without a frame that arrived, as the sender saw it: from the
	// last one before a gap to the first one behind it. Until is when it ended, since the start.
	Outage, Until time.Duration
}

// Frame is one that did not arrive exactly once.
type Frame struct {
	Seq   int
	Sent  time.Duration // since the start
	Extra int           // copies after the first
}

// Between keeps the flows that have both ends among the stations.
func (r Report) Between(stations ...string) Report {
	in := map[string]bool{}
	for _, s := range stations {
		in[s] = true
	}
	var out Report
	for _, f := range r.Flows {
		if in[f.From] && in[f.To] {
			out.Flows = append(out.Flows, f)
		}
	}
	return out
}

// Sent is how many arrivals there should have been.
func (r Report) Sent() (n int) {
	for _, f := range r.Flows {
		if f.From != f.To {
			n += f.Sent
		}
	}
	return n
}

// Lost is how many of them there were not.
func (r Report) Lost() (n int) {
	for _, f := range r.Flows {
		n += len(f.Lost)
	}
	return n
}

// Doubled is how many arrivals there were beyond them.
func (r Report) Doubled() (n int) {
	for _, f := range r.Flows {
		for _, d := range f.Doubled {
			n += d.Extra
		}
	}
	return n
}

// Twice is the longest time, of all flows, from the first doubled frame to the last.
func (r Report) Twice() (d time.Duration) {
	for _, f := range r.Flows {
		if n := len(f.Doubled); n > 0 {
			d = max(d, f.Doubled[n-1].Sent-f.Doubled[0].Sent)
		}
	}
	return d
}

// Outage is the longest of all flows.
func (r Report) Outage() (d time.Duration) {
	for _, f := range r.Flows {
		d = max(d, f.Outage)
	}
	return d
}

// Err names every flow that was not exactly once, with its first frames.
func (r Report) Err() error {
	var errs []error
	for _, f := range r.Flows {
		if len(f.Lost) > 0 {
			errs = append(errs, fmt.Errorf("%s to %s: lost %d of %d: %s", f.From, f.To, len(f.Lost), f.Sent, first(f.Lost)))
		}
		if len(f.Doubled) > 0 {
			errs = append(errs, fmt.Errorf("%s to %s: doubled %d of %d: %s", f.From, f.To, len(f.Doubled), f.Sent, first(f.Doubled)))
		}
	}
	return errors.Join(errs...)
}

// String is one line.
func (r Report) String() string {
	s := fmt.Sprintf("%d arrivals due, %d lost, %d doubled", r.Sent(), r.Lost(), r.Doubled())
	if r.Lost() > 0 {
		s += fmt.Sprintf(", longest outage %s", r.Outage().Round(time.Millisecond))
	}
	return s
}

func first(frames []Frame) string {
	const shown = 4
	var parts []string
	for i, f := range frames {
		if i == shown {
			parts = append(parts, fmt.Sprintf("… #%d at %s", frames[len(frames)-1].Seq, frames[len(frames)-1].Sent.Round(time.Millisecond)))
			break
		}
		p := fmt.Sprintf("#%d (%s) at %s", f.Seq, kindOf(f.Seq), f.Sent.Round(time.Millisecond))
		if f.Extra > 1 {
			p += fmt.Sprintf(" %d times", f.Extra+1)
		}
		parts = append(parts, p)
	}
	return strings.Join(parts, ", ")
}
