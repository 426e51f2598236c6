package once

import (
	"sync"
	"time"
)

// ledger counts who heard what. Times are since the start of the run.
type ledger struct {
	names []string

	mu    sync.Mutex
	sent  [][]time.Duration // by sender and number
	heard [][][]uint16      // by sender, number and receiver
	last  time.Duration     // when anything was heard
}

func newLedger(names []string) *ledger {
	return &ledger{names: names, sent: make([][]time.Duration, len(names)), heard: make([][][]uint16, len(names))}
}

// send notes the next frame of a station and gives its number.
func (l *ledger) send(station int, at time.Duration) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent[station] = append(l.sent[station], at)
	l.heard[station] = append(l.heard[station], make([]uint16, len(l.names)))
	return len(l.sent[station]) - 1
}

func (l *ledger) hear(receiver, station, seq int, at time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if station >= len(l.names) || seq >= len(l.heard[station]) {
		return
	}
	l.heard[station][seq][receiver]++
	l.last = at
}

// complete says that every frame has come everywhere; quiet, for how long nothing has come.
func (l *ledger) complete(now time.Duration) (all bool, quiet time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for s, frames := range l.heard {
		for _, at := range frames {
			for r, n := range at {
				if n == 0 && r != s {
					return false, now - l.last
				}
			}
		}
	}
	return true, now - l.last
}

func (l *ledger) report(every time.Duration) Report {
	l.mu.Lock()
	defer l.mu.Unlock()
	var report Report
	for s := range l.names {
		for r := range l.names {
			f := Flow{From: l.names[s], To: l.names[r], Sent: len(l.sent[s])}
			l.fill(&f, s, r, every)
			report.Flows = append(report.Flows, f)
		}
	}
	return report
}

func (l *ledger) fill(f *Flow, s, r int, every time.Duration) {
	last, gap := time.Duration(0), false // when the last frame that arrived was sent
	outage := func(end time.Duration) {
		if end-last > f.Outage {
			f.Outage, f.Until = end-last, end
		}
	}
	for seq, at := range l.heard[s] {
		n, when := int(at[r]), l.sent[s][seq]
		if s == r {
			n++ // its own tap does not hear what it sends: one that it hears came back
		}
		if seq == 0 {
			last = when
		}
		if n > 1 {
			f.Doubled = append(f.Doubled, Frame{seq, when, n - 1})
		}
		if n == 0 {
			f.Lost = append(f.Lost, Frame{seq, when, 0})
			gap = true
			outage(when + every) // to the end, if nothing follows
			continue
		}
		if gap {
			outage(when)
		}
		last, gap = when, false
	}
}
