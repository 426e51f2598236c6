package main

import (
	"context"
	"net/netip"
	"time"
)

func allVNIs(z sizes) []int {
	ids := make([]int, z.vnis)
	for i := range ids {
		ids[i] = benchVNI + i
	}
	return ids
}

// listedVTEP is one of those on every flood list: nobody lives there.
func listedVTEP(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 99, 0, byte(101 + i)}) }

func manyLists() measurement {
	m := measurement{
		name: "lists", title: "type-3 routes of many VNIs: session up → all flood lists in the kernel",
		how: "A scripted route reflector sends the type-3 routes of 100 VTEPs for every VNI, each an UPDATE of its own because label and target differ, to a VTEP that has just started. " +
			"The first rows are with the kernel's head-end replication; the others with each engine of ours besides: a replicator, which has the same rows.",
		vteps: 1, vnis: allVNIs, run: func(ctx context.Context, e *env, sys system, out samples) error {
			if sys.name() == "FRR" {
				return receiveLists(ctx, e, sys, "", out)
			}
			for i, engine := range listEngines {
				if i > 0 {
					e.stopAll()
					if err := e.vteps[0].reset(); err != nil {
						return err
					}
				}
				if err := receiveLists(ctx, e, sys, engine, out); err != nil {
					return err
				}
			}
			return nil
		},
	}
	for _, engine := range listEngines {
		with := ""
		if engine != "" {
			with = ", " + engine
		}
		m.metrics = append(m.metrics,
			metric{key: engine + "all", label: "session up → all rows" + with, unit: "ms"},
			metric{key: engine + "cpu", label: "CPU of all processes" + with, unit: "s"},
			metric{key: engine + "peak", label: "peak RSS of all processes" + with, unit: "MB"},
			metric{key: engine + "rss", label: "RSS at rest" + with, unit: "MB"})
	}
	return m
}

// listEngines are what copies: the kernel, and our engines.
var listEngines = []string{"", "ebpf", "socket"}

func receiveLists(ctx context.Context, e *env, sys system, engine string, out samples) error {
	var table []byte
	for _, vni := range e.vteps[0].vnis {
		for i := range e.listed {
			table = appendFlood(table, listedVTEP(i), vni)
		}
	}
	table = appendEndOfRIB(table)
	o, err := newFloodObserver(e.vteps[0])
	if err != nil {
		return err
	}
	defer o.close()
	r, s, err := e.startAtPeer(ctx, sys, options{engine: engine})
	if err != nil {
		return err
	}
	defer s.close()
	last, err := arrival(ctx, r, s, table, func() (time.Time, error) { return o.waitFloodRows(ctx, e.vnis*e.listed, tableTimeout) })
	if err != nil {
		return err
	}
	out.add(engine+"all", ms(last.Sub(s.established)))
	out.add(engine+"cpu", seconds(r.cpu()))
	out.add(engine+"peak", mb(r.memory("VmHWM")))
	out.add(engine+"rss", mb(r.memory("VmRSS")))
	return r.alive()
}
