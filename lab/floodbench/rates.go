package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/vtepbgp/vtepbgp/flood"
	"github.com/vtepbgp/vtepbgp/flood/ebpf"
	"github.com/vtepbgp/vtepbgp/flood/socket"
	"github.com/vtepbgp/vtepbgp/lab/figures"
)

var rates = measurement{
	name: "rate", title: "copies a second, per core",
	how: "Thousand copies a second while 1.3 times the capacity is offered, and in brackets thousand copies per CPU-second at 0.7 times " +
		"the capacity; medians of the rounds, in which the methods take turns. All but the generator runs on one processor: receiving, copying, " +
		"sending, and receiving at the sink. The kernel's head-end replication is a bridge and a VXLAN device with N all-zero rows, fed with inner frames. " +
		"No VXLAN device of the host wants the others' frames, as on a service node; where one does, the kernel takes each apart besides copying, about 0.4 µs " +
		"a frame here: that counts for 2 VTEPs (ebpf 963 [725] then, measured apart), and no more for 64. " +
		"The plain loop is one Go `WriteTo` per copy. vxsnd was not run: its column is the plain loop's times the ratio between vxsnd (of vxfld c6aac3f, " +
		"ported to Python 3) and such a loop, as measured once on a machine of this kind.",
	run: measureRates,
}

// methods, in the order of their columns.
var methods = []string{ebpf.Name, socket.Name, headEndReplication, plainLoop}

var everyMethod = append([]string{flood.Auto}, methods...)

// vxsnd is what vxfld's own replicator made beside a plain loop, in thousand copies a
// second saturated and per CPU-second at 0.7 times capacity (vxfld c6aac3f on Python 3.11;
// Linux 6.18, one core, the method of this bench).
var vxsnd = map[int]map[int]struct{ saturated, perCPU, loopSaturated, loopPerCPU float64 }{
	64: {
		2: {12, 27, 224, 128}, 16: {129, 124, 147, 209}, 64: {237, 225, 252, 314}, 256: {267, 268, 293, 321}, 1000: {265, 264, 292, 318},
	},
	1400: {
		2: {20, 23, 225, 115}, 16: {123, 122, 149, 203}, 64: {214, 212, 239, 302}, 256: {251, 245, 280, 326}, 1000: {252, 247, 269, 290},
	},
}

// rateRow is a line of the table.
type rateRow struct {
	Size    int                   `json:"inner_bytes"`
	Length  int                   `json:"vteps"`
	Methods map[string][]capacity `json:"methods"` // by round
}

func measureRates(ctx context.Context, b *bench) (r result, err error) {
	var all []*method
	defer func() {
		for _, m := range all {
			err = errors.Join(err, m.close())
		}
	}()
	for _, name := range b.some(methods...) {
		m, err := newMethod(name, b.profiles)
		if err != nil {
			return r, err
		}
		all = append(all, m)
	}
	var rows []rateRow
	for _, size := range b.sizes {
		for _, n := range b.lengths {
			row := rateRow{Size: size, Length: n, Methods: map[string][]capacity{}}
			for round := range b.rounds {
				for _, m := range all {
					var guess float64
					if before := row.Methods[m.name]; len(before) > 0 {
						guess = before[len(before)-1].Saturated
					}
					c, err := measureRate(ctx, m, n, size, guess, b.settings)
					if err != nil {
						return r, fmt.Errorf("%s with %d VTEPs and %d bytes: %w", m.name, n, size, err)
					}
					row.Methods[m.name] = append(row.Methods[m.name], c)
					b.progress("  %d bytes, %d VTEPs, round %d, %s: %s copies/s (%.0f %% foreign), %s per CPU-s, %d of %d lost, %d doubled",
						size, n, round+1, m.name, figures.Number(c.Saturated), 100*c.Foreign, figures.Number(c.PerCPU), c.Lost, c.Due, c.Doubled)
				}
			}
			rows = append(rows, row)
		}
	}
	return rateResult(rows), nil
}

func (r *rateRow) median(method string, of func(capacity) float64) float64 {
	var all []float64
	for _, c := range r.Methods[method] {
		all = append(all, of(c))
	}
	return figures.Median(all)
}

func (r *rateRow) saturated(method string) float64 {
	return r.median(method, func(c capacity) float64 { return c.Saturated })
}

func (r *rateRow) perCPU(method string) float64 {
	return r.median(method, func(c capacity) float64 { return c.PerCPU })
}

// lost is the worst round: one loss is a loss. Copies too many count as well.
func (r *rateRow) lost(method string) (lost int64, wrong uint64, offered uint64) {
	for _, c := range r.Methods[method] {
		lost = max(lost, c.Lost, -c.Lost)
		wrong = max(wrong, c.Missed+c.Doubled)
		offered = max(offered, c.Due)
	}
	return lost, wrong, offered
}

func rateResult(rows []rateRow) (r result) {
	r.data = rows
	worst := struct{ headEnd, vxsnd, socket float64 }{1e9, 1e9, 1e9}
	var lost float64
	for start := 0; start < len(rows); {
		size := rows[start].Size
		g := grid{
			title:  fmt.Sprintf("Inner frames of %d bytes: thousand copies/s saturated [per CPU-second at 0.7]", size),
			header: []string{"VTEPs", "ebpf", "socket", "head-end", "plain loop", "vxsnd (computed)", "best/head-end", "best/vxsnd", "socket/head-end"},
		}
		l := grid{
			title:  fmt.Sprintf("Inner frames of %d bytes: copies lost at 0.7 of capacity, of those due (marked copies that did not come exactly once)", size),
			header: []string{"VTEPs", "ebpf", "socket", "head-end", "plain loop"},
		}
		for ; start < len(rows) && rows[start].Size == size; start++ {
			row := &rows[start]
			cells, losses := []string{strconv.Itoa(row.Length)}, []string{strconv.Itoa(row.Length)}
			for _, m := range methods {
				cells = append(cells, rateCell(row.saturated(m), row.perCPU(m)))
				n, wrong, offered := row.lost(m)
				losses = append(losses, fmt.Sprintf("%d of %s (%d)", n, figures.Thousands(int(offered)), wrong))
				if m == ebpf.Name || m == socket.Name {
					lost = max(lost, float64(n)+float64(wrong))
				}
			}
			best := max(row.perCPU(ebpf.Name), row.perCPU(socket.Name))
			toHeadEnd, toSocket := best/row.perCPU(headEndReplication), row.saturated(socket.Name)/row.saturated(headEndReplication)
			worst.headEnd = min(worst.headEnd, toHeadEnd)
			if row.Length >= 16 {
				worst.socket = min(worst.socket, toSocket)
			}
			computed, toVxsnd := "–", "–"
			if v, ok := vxsnd[size][row.Length]; ok {
				perCPU := row.perCPU(plainLoop) * v.perCPU / v.loopPerCPU
				computed = rateCell(row.saturated(plainLoop)*v.saturated/v.loopSaturated, perCPU)
				toVxsnd = figures.Number(best/perCPU) + " ×"
				worst.vxsnd = min(worst.vxsnd, best/perCPU)
			}
			g.add(append(cells, computed, figures.Number(toHeadEnd)+" ×", toVxsnd, figures.Number(toSocket)+" ×")...)
			l.add(losses...)
		}
		r.tables = append(r.tables, g, l)
	}
	r.checks = []check{
		none("copies of the engines lost, or wrong, at 0.7 of capacity", lost),
		atLeast("best engine beside head-end replication, per CPU-second, least of all rows", worst.headEnd, 1.9),
		atLeast("best engine beside vxsnd (computed), per CPU-second, least of all rows", worst.vxsnd, 5),
		atLeast("socket engine beside head-end replication, saturated, 16 VTEPs and more, least of all rows", worst.socket, 1.3),
	}
	return r
}

func rateCell(saturated, perCPU float64) string {
	if math.IsNaN(saturated) {
		return "–"
	}
	return fmt.Sprintf("%s [%s]", figures.Thousands(int(saturated/1000+0.5)), figures.Thousands(int(perCPU/1000+0.5)))
}
