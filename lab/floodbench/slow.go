package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"

	"github.com/vtepbgp/vtepbgp/flood"
	"github.com/vtepbgp/vtepbgp/flood/socket"
	"github.com/vtepbgp/vtepbgp/lab/figures"
)

const (
	slowLength, slowSize = 1000, 1400
	slowRate             = 20 // frames a second
	slowFrames           = slots - 1
)

var slowWire = measurement{
	name: "slow", title: "copies lost on a slow wire",
	how: "The way out takes 500 Mbit/s and queues 300 KB (tc tbf). 20 frames a second of 1400 bytes for 1,000 VTEPs are 46 % of that, but each frame is a burst of 1.46 MB. " +
		"Every frame is marked: each of its copies has to come exactly once.",
	run: measureSlow,
}

type slow struct {
	Method  string            `json:"method"`
	Engine  string            `json:"engine"` // and why
	Due     uint64            `json:"copies_due"`
	Lost    uint64            `json:"copies_lost"`
	Missed  uint64            `json:"marked_copies_missed"`
	Double  uint64            `json:"marked_copies_doubled"`
	Dropped map[string]uint64 `json:"dropped,omitempty"` // as the engine counts
}

func measureSlow(ctx context.Context, b *bench) (r result, err error) {
	g := grid{header: []string{"method", "copies due", "lost", "", "missed, of marked", "doubled"}}
	var data []slow
	for _, name := range b.some(flood.Auto, socket.Name, headEndReplication, plainLoop) {
		s, err := b.slow(ctx, name)
		if err != nil {
			return r, fmt.Errorf("%s: %w", name, err)
		}
		data = append(data, s)
		share := fmt.Sprintf("%.1f %%", 100*float64(s.Lost)/float64(s.Due))
		label := name
		if name == flood.Auto {
			chosen, _, _ := strings.Cut(s.Engine, ":")
			label = fmt.Sprintf("%s (%s)", name, chosen)
			r.checks = append(r.checks, none("copies lost by the engine that auto picks", float64(s.Lost+s.Missed)), none("copies doubled by it", float64(s.Double)))
		}
		g.add(label, figures.Thousands(int(s.Due)), figures.Thousands(int(s.Lost)), share, strconv.Itoa(int(s.Missed)), strconv.Itoa(int(s.Double)))
		b.progress("  %s: %d of %d lost (%s), %d doubled; dropped %v", label, s.Lost, s.Due, share, s.Double, s.Dropped)
	}
	r.tables, r.data = []grid{g}, data
	return r, nil
}

func (b *bench) slow(ctx context.Context, name string) (s slow, err error) {
	m, err := newMethod(name, "")
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	if err := m.stand.replicator.Do(func() error {
		out, err := exec.Command("tc", "qdisc", "replace", "dev", "r1", "root", "tbf", "rate", "500mbit", "burst", "32kb", "limit", "300000").CombinedOutput()
		if err != nil {
			return fmt.Errorf("make the wire slow: %w: %s", err, out)
		}
		return nil
	}); err != nil {
		return s, err
	}
	if err := m.list(slowLength); err != nil {
		return s, err
	}
	m.source.resize(slowSize)
	before, err := m.settle()
	if err != nil {
		return s, err
	}
	for range b.rounds {
		if err := m.counter.forget(); err != nil {
			return s, err
		}
		sent, err := m.source.send(ctx, pace{rate: slowRate, frames: slowFrames, marked: func(i int) int { return i + 1 }})
		if err != nil {
			return s, err
		}
		if _, err := m.settle(); err != nil {
			return s, err
		}
		missed, doubled, err := m.counter.notOnce(sent, slowLength, 0)
		if err != nil {
			return s, err
		}
		s.Missed, s.Double, s.Due = s.Missed+missed, s.Double+doubled, s.Due+uint64(sent*slowLength)
	}
	after, err := m.settle()
	if err != nil {
		return s, err
	}
	s.Method, s.Lost = name, s.Due-min(s.Due, after-before)
	if p, ok := m.replicator.(*process); ok {
		a, err := p.ask(request{VTEPs: slowLength})
		if err != nil {
			return s, err
		}
		s.Engine, s.Dropped = a.Engine, a.Dropped
	}
	return s, nil
}
