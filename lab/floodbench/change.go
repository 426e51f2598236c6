package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/vtepbgp/vtepbgp/flood/ebpf"
	"github.com/vtepbgp/vtepbgp/flood/socket"
	"github.com/vtepbgp/vtepbgp/lab/figures"
)

const (
	changeLength, changePlace = 1000, 500
	changeEvery               = 20 * time.Millisecond
)

var changes = measurement{
	name: "change", title: "a list that changes under load",
	how: "One of 1,000 VTEPs leaves the list and joins it again, every 20 ms, while frames come at half the capacity. The other 999 have to get every frame exactly once: " +
		"all their copies are counted by destination, and those of marked frames one by one.",
	run: measureChanges,
}

type changed struct {
	Method  string `json:"method"`
	Frames  int    `json:"frames"`
	Changes int    `json:"changes"`
	Wrong   int    `json:"vteps_wrong"` // of the 999, those with a copy more or less than there were frames
	Missed  uint64 `json:"marked_copies_missed"`
	Doubled uint64 `json:"marked_copies_doubled"`
}

func measureChanges(ctx context.Context, b *bench) (r result, err error) {
	g := grid{header: []string{"engine", "frames", "changes", "VTEPs with copies too few or too many", "missed, of marked", "doubled, of marked"}}
	var data []changed
	for _, name := range b.some(ebpf.Name, socket.Name) {
		c, err := b.change(ctx, name)
		if err != nil {
			return r, fmt.Errorf("%s: %w", name, err)
		}
		data = append(data, c)
		g.add(name, figures.Thousands(c.Frames), figures.Thousands(c.Changes), strconv.Itoa(c.Wrong), strconv.Itoa(int(c.Missed)), strconv.Itoa(int(c.Doubled)))
		b.progress("  %s: %d frames, %d changes, %d VTEPs wrong, %d missed, %d doubled", name, c.Frames, c.Changes, c.Wrong, c.Missed, c.Doubled)
		r.checks = append(r.checks, none(name+": VTEPs that stay, with copies lost or doubled", float64(c.Wrong)+float64(c.Missed+c.Doubled)))
	}
	r.tables, r.data = []grid{g}, data
	return r, nil
}

func (b *bench) change(ctx context.Context, name string) (c changed, err error) {
	c.Method = name
	m, err := newMethod(name, "")
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	p := m.replicator.(*process)
	if err := m.list(changeLength); err != nil {
		return c, err
	}
	m.source.resize(64)
	full, err := m.search(ctx, changeLength, b.probe)
	if err != nil {
		return c, err
	}
	for range b.rounds {
		if err := b.changeOnce(ctx, m, p, full/2/changeLength, &c); err != nil {
			return c, err
		}
	}
	return c, nil
}

func (b *bench) changeOnce(ctx context.Context, m *method, p *process, rate float64, c *changed) error {
	if err := m.counter.forget(); err != nil {
		return err
	}
	before, err := m.counter.read()
	if err != nil {
		return err
	}
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- p.flip(stop, &c.Changes) }()
	frames := max(2*slots, int(rate*b.steady.Seconds()))
	every, marked := frames/slots, 0
	sent, err := m.source.send(ctx, pace{rate: rate, frames: frames, marked: marks(every, slots-1, &marked)})
	if err != nil {
		close(stop)
		return errors.Join(err, <-done)
	}
	_, err = m.settle()
	close(stop)
	if err = errors.Join(err, <-done); err != nil {
		return err
	}
	after, err := m.counter.read()
	if err != nil {
		return err
	}
	for place := 1; place <= changeLength; place++ {
		if got := after[place] - before[place]; place != changePlace && got != uint64(sent) {
			c.Wrong++
		}
	}
	c.Frames += sent
	missed, doubled, err := m.counter.notOnce(marked, changeLength, changePlace)
	c.Missed, c.Doubled = c.Missed+missed, c.Doubled+doubled
	return err
}

// flip changes the list until stop closes, and leaves it whole.
func (p *process) flip(stop <-chan struct{}, changes *int) error {
	ticker := time.NewTicker(changeEvery)
	defer ticker.Stop()
	for without := true; ; without = !without {
		r := request{VTEPs: changeLength}
		if without {
			r.Without, r.Of = changePlace, 1
		}
		if _, err := p.ask(r); err != nil {
			return err
		}
		*changes++
		select {
		case <-stop:
			return p.list(changeLength)
		case <-ticker.C:
		}
	}
}
