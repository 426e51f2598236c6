package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vtepbgp/vtepbgp/flood/ebpf"
	"github.com/vtepbgp/vtepbgp/flood/socket"
	"github.com/vtepbgp/vtepbgp/lab/figures"
)

var install = measurement{
	name: "install", title: "1,000 VNIs with 100 VTEPs each",
	how: "Time of `Engine.Apply`: for the whole table, for the same with one VTEP less in one list, and with one less in all lists; medians. Memory is what the process has resident after a collection " +
		"beyond what it had with one VNI and one VTEP, and what eBPF maps are accounted for.",
	run: measureInstall,
}

type installed struct {
	Method  string    `json:"method"`
	Whole   []float64 `json:"whole_table_ms"`
	OneList []float64 `json:"one_list_changed_ms"`
	AllOnes []float64 `json:"all_lists_changed_ms"`
	Memory  []float64 `json:"process_mb"`
	Maps    []float64 `json:"maps_mb"`
}

func measureInstall(ctx context.Context, b *bench) (r result, err error) {
	networks := 1000
	if b.small {
		networks = 50
	}
	g := grid{header: []string{"engine", "whole table", "one list changed", "all lists changed", "memory of the process", "memory of maps"}}
	var data []installed
	for _, name := range b.some(ebpf.Name, socket.Name) {
		i := installed{Method: name}
		for range b.rounds {
			if err := i.round(networks); err != nil {
				return r, fmt.Errorf("%s: %w", name, err)
			}
			if err := ctx.Err(); err != nil {
				return r, err
			}
		}
		data = append(data, i)
		ms := func(v []float64) string { return figures.Number(figures.Median(v)) + " ms" }
		mb := func(v []float64) string { return figures.Number(figures.Median(v)) + " MB" }
		g.add(name, ms(i.Whole), ms(i.OneList), ms(i.AllOnes), mb(i.Memory), mb(i.Maps))
		b.progress("  %s, %d VNIs: whole %s, one list %s, all lists %s; memory %s and %s in maps",
			name, networks, ms(i.Whole), ms(i.OneList), ms(i.AllOnes), mb(i.Memory), mb(i.Maps))
	}
	r.tables, r.data = []grid{g}, data
	return r, nil
}

func (i *installed) round(networks int) (err error) {
	m, err := newMethod(i.Method, "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	p := m.replicator.(*process)
	empty, err := p.ask(request{VTEPs: 1, Measure: true})
	if err != nil {
		return err
	}
	const length = 100
	whole, err := p.ask(request{VTEPs: length, Networks: networks, Measure: true})
	if err != nil {
		return err
	}
	one, err := p.ask(request{VTEPs: length, Networks: networks, Without: 50, Of: 1})
	if err != nil {
		return err
	}
	every, err := p.ask(request{VTEPs: length, Networks: networks, Without: 51, Of: networks})
	if err != nil {
		return err
	}
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	i.Whole, i.OneList, i.AllOnes = append(i.Whole, ms(whole.Took)), append(i.OneList, ms(one.Took)), append(i.AllOnes, ms(every.Took))
	i.Memory, i.Maps = append(i.Memory, float64(whole.Memory-empty.Memory)/1e6), append(i.Maps, float64(whole.Maps-empty.Maps)/1e6)
	return nil
}
