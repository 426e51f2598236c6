package main

import (
	"context"
	"fmt"
	"time"
)

// capacity is what a rate measurement gave for one method, list length and size.
type capacity struct {
	// At 1.3 times capacity, or at all that the generator can: copies a second, and the share
	// of the processor that other programs had.
	Saturated float64 `json:"saturated_copies_per_second"`
	Foreign   float64 `json:"saturated_foreign_share"`
	// At 0.7 times capacity: copies a CPU-second, copies due, and how many fewer came.
	PerCPU float64 `json:"copies_per_cpu_second"`
	Due    uint64  `json:"copies_due"`
	Lost   int64   `json:"copies_lost"`
	// Copies of marked frames that did not come, and that came again or to nobody's place.
	Missed  uint64 `json:"marked_copies_missed"`
	Doubled uint64 `json:"marked_copies_doubled"`
}

// settings are how long the parts take.
type settings struct {
	probe, saturated, steady time.Duration
}

// measureRate finds the capacity near a guess (copies a second; 0: none) and measures at
// 1.3 and at 0.7 times of it.
func measureRate(ctx context.Context, m *method, n, size int, guess float64, z settings) (c capacity, err error) {
	if err := m.list(n); err != nil {
		return c, err
	}
	m.source.resize(size)
	if guess == 0 {
		if guess, err = m.search(ctx, n, z.probe); err != nil {
			return c, err
		}
	}
	got, err := m.throughput(ctx, n, 1.3*guess, z.saturated)
	for tries := 0; err == nil && tries < 5 && (!got.saturated(n) || got.copies > 1.1*guess); tries++ {
		// It can more than was thought, or more of it the more it is asked for.
		if guess = max(got.copies, guess); !got.saturated(n) {
			guess *= 1.3
		}
		got, err = m.throughput(ctx, n, 1.3*guess, z.saturated)
	}
	if err != nil {
		return c, err
	}
	c.Saturated, c.Foreign = got.copies, got.foreign
	err = m.steady(ctx, &c, n, 0.7*got.copies/float64(n), z.steady)
	return c, err
}

// search doubles what it offers until that is more than comes back, and more does not help:
// who wakes up for each packet can do less than who finds the next one waiting. Next to
// nothing says that others had the processor, so it looks for longer.
func (m *method) search(ctx context.Context, n int, window time.Duration) (float64, error) {
	most := 0.0
	for offered := 100_000.0; ; offered *= 2 {
		got, err := m.throughput(ctx, n, offered, window)
		if err != nil {
			return 0, err
		}
		switch {
		case got.copies < 10_000 && window > 10*time.Second:
			return 0, fmt.Errorf("find the capacity of %s: next to nothing comes through", m.name)
		case got.copies < 10_000:
			window *= 2
			offered /= 2
			continue
		case got.saturated(n) && got.copies < 1.1*most:
			return max(most, got.copies), nil
		}
		most = max(most, got.copies)
	}
}

// through is what came through in a window.
type through struct {
	wanted, offered float64 // copies a second: that the generator was to ask for, and did
	copies          float64 // a second
	foreign         float64 // share of the processor that other programs had
}

// most is what the generator can ask for on any machine, in frames a second. If it asked
// for less than it was to, others had its processor.
const most = 400_000

// saturated says that more was asked for than came, or that the generator cannot ask for
// more.
func (t through) saturated(n int) bool {
	return t.copies < 0.9*t.offered || t.offered < 0.9*t.wanted && t.wanted/float64(n) > most
}

// throughput is what arrives while so many copies a second are asked for. The first third
// of the time is not counted.
func (m *method) throughput(ctx context.Context, n int, wanted float64, window time.Duration) (t through, err error) {
	var first, last reading
	read := func(to *reading) func(time.Duration) error {
		return func(time.Duration) (err error) {
			*to, err = m.look()
			return err
		}
	}
	_, err = m.source.send(ctx, pace{rate: wanted / float64(n), length: window + window/2, at: []moment{
		{window / 2, read(&first)}, {window + window/2 - 1, read(&last)},
	}})
	if err != nil {
		return t, err
	}
	if _, err := m.settle(); err != nil {
		return t, err
	}
	passed := last.at.Sub(first.at)
	t.wanted, t.offered = wanted, float64(n)*float64(last.sent-first.sent)/passed.Seconds()
	t.copies = float64(last.copies-first.copies) / passed.Seconds()
	t.foreign = max(0, (last.busy-first.busy-(last.spent-first.spent)).Seconds()/passed.Seconds())
	return t, nil
}

// reading is all clocks and counters at a moment.
type reading struct {
	at          time.Time
	sent        uint64 // frames
	copies      uint64
	spent, busy time.Duration // of the processor: by the method, and by all
}

func (m *method) look() (r reading, err error) {
	if r.copies, err = m.counter.total(); err != nil {
		return r, err
	}
	if r.spent, err = m.spent(); err != nil {
		return r, err
	}
	r.sent = m.source.sent
	r.busy, err = busy(theirs)
	r.at = time.Now()
	return r, err
}

// steady offers frames at a rate, and counts exactly.
func (m *method) steady(ctx context.Context, c *capacity, n int, rate float64, length time.Duration) error {
	if err := m.counter.forget(); err != nil {
		return err
	}
	before, err := m.settle()
	if err != nil {
		return err
	}
	cpu, err := m.spent()
	if err != nil {
		return err
	}
	frames := max(2*slots, int(rate*length.Seconds()))
	every := frames / slots
	marked := 0
	sent, err := m.source.send(ctx, pace{rate: rate, frames: frames, marked: marks(every, slots-1, &marked)})
	if err != nil {
		return err
	}
	after, err := m.settle()
	if err != nil {
		return err
	}
	used, err := m.spent()
	if err != nil {
		return err
	}
	c.Due = uint64(sent) * uint64(n)
	c.Lost = int64(c.Due) - int64(after-before)
	c.PerCPU = float64(after-before) / (used - cpu).Seconds()
	c.Missed, c.Doubled, err = m.counter.notOnce(marked, n, 0)
	return err
}
