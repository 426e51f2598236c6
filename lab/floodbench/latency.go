package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"github.com/vtepbgp/vtepbgp/flood/socket"
	"github.com/vtepbgp/vtepbgp/lab/figures"

	engine "github.com/vtepbgp/vtepbgp/flood/ebpf"
)

const latencyLength, latencySize = 16, 64

var latency = measurement{
	name: "latency", title: "latency added to a relayed frame",
	how: "From the frame's arrival at r0 (tcx ingress) to that of its first copy at the sink, for a list of 16 VTEPs and inner frames of 64 bytes: 200 frames a second " +
		"(idle), and marked frames among those of half the capacity. All rounds together.",
	run: measureLatency,
}

// latencies are in microseconds.
type latencies struct {
	Method  string  `json:"method"`
	Offered float64 `json:"half_capacity_copies_per_second"`
	Idle    delays  `json:"idle"`
	Half    delays  `json:"half_capacity"`
}

type delays struct {
	all     []float64
	Count   int     `json:"frames"`
	P50     float64 `json:"p50_us"`
	P99     float64 `json:"p99_us"`
	Longest float64 `json:"longest_us"`
}

func (d *delays) add(v []float64) {
	d.all = append(d.all, v...)
	d.Count, d.P50, d.P99, d.Longest = len(d.all), figures.Quantile(d.all, 0.5), figures.Quantile(d.all, 0.99), figures.Quantile(d.all, 1)
}

func measureLatency(ctx context.Context, b *bench) (r result, err error) {
	g := grid{header: []string{"method", "idle p50", "idle p99", "half capacity p50", "half capacity p99"}}
	var data []*latencies
	for _, name := range b.some(methods...) {
		l := &latencies{Method: name}
		if err := b.latency(ctx, name, l); err != nil {
			return r, fmt.Errorf("%s: %w", name, err)
		}
		data = append(data, l)
		g.add(name, micro(l.Idle.P50), micro(l.Idle.P99), micro(l.Half.P50), micro(l.Half.P99))
		b.progress("  %s: idle %s / %s, half capacity %s / %s", name, micro(l.Idle.P50), micro(l.Idle.P99), micro(l.Half.P50), micro(l.Half.P99))
		switch name {
		case engine.Name:
			r.checks = append(r.checks, atMost("ebpf, idle, p50", l.Idle.P50, 20, "µs"), atMost("ebpf, idle, p99", l.Idle.P99, 60, "µs"))
		case socket.Name:
			r.checks = append(r.checks, atMost("socket, idle, p50", l.Idle.P50, 80, "µs"), atMost("socket, idle, p99", l.Idle.P99, 300, "µs"))
		}
	}
	r.tables, r.data = []grid{g}, data
	return r, nil
}

func micro(v float64) string { return figures.Number(v) + " µs" }

func (b *bench) latency(ctx context.Context, name string, l *latencies) (err error) {
	m, err := newMethod(name, "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	c, err := newClock(m.stand)
	if err != nil {
		return err
	}
	defer c.close()
	for range b.rounds {
		// The capacity first: it warms everything up as well.
		if err := m.list(latencyLength); err != nil {
			return err
		}
		m.source.resize(latencySize)
		full, err := m.search(ctx, latencyLength, b.probe)
		if err != nil {
			return err
		}
		idle, err := c.measure(ctx, m, 200, b.steady)
		if err != nil {
			return err
		}
		l.Offered = full / 2
		half, err := c.measure(ctx, m, l.Offered/latencyLength, b.steady)
		if err != nil {
			return err
		}
		l.Idle.add(idle)
		l.Half.add(half)
	}
	return nil
}

// clock notes when marked frames arrive at r0.
type clock struct {
	arrived *ebpf.Map
	link    link.Link
}

func newClock(s *stand) (*clock, error) {
	arrived, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: stamps})
	if err != nil {
		return nil, fmt.Errorf("make map of the clock: %w", err)
	}
	mark := s.source.before() + 14 + 4
	code := join(
		look(int32(mark+2)), number(asm.R8, int16(mark)),
		asm.Instructions{asm.JEq.Imm(asm.R8, 0, "pass")},
		lookup(arrived, asm.R8, "pass"),
		asm.Instructions{
			asm.Mov.Reg(asm.R7, asm.R0), asm.FnKtimeGetNs.Call(), asm.StoreMem(asm.R7, 0, asm.R0, asm.DWord),
			asm.Mov.Imm(asm.R0, next).WithSymbol("pass"), asm.Return(),
		},
	)
	l, err := attach(s.replicator, "r0", code)
	if err != nil {
		return nil, errors.Join(err, arrived.Close())
	}
	return &clock{arrived, l}, nil
}

func (c *clock) close() {
	_ = c.link.Close()
	_ = c.arrived.Close()
}

// measure sends frames at a rate, marks up to stamps of them, and gives how long each
// was under way, in microseconds.
func (c *clock) measure(ctx context.Context, m *method, rate float64, length time.Duration) ([]float64, error) {
	if err := errors.Join(m.counter.forget(), clearArray[uint64](c.arrived)); err != nil {
		return nil, err
	}
	frames := max(20, int(rate*length.Seconds()))
	every := (frames + stamps - 2) / (stamps - 1)
	marked := 0
	if _, err := m.source.send(ctx, pace{rate: rate, frames: frames, marked: marks(every, stamps-1, &marked)}); err != nil {
		return nil, err
	}
	if _, err := m.settle(); err != nil {
		return nil, err
	}
	from, err := readArray[uint64](c.arrived)
	if err != nil {
		return nil, err
	}
	to, err := readArray[uint64](m.counter.first)
	if err != nil {
		return nil, err
	}
	var all []float64
	for mark := 1; mark <= marked; mark++ {
		if from[mark] == 0 || to[mark] == 0 {
			continue // lost: a replicator may be overrun for a moment, on a machine that others use
		}
		all = append(all, float64(to[mark]-from[mark])/1000)
	}
	if len(all) < marked*9/10 {
		return nil, fmt.Errorf("only %d of %d marked frames came through", len(all), marked)
	}
	return all, nil
}
