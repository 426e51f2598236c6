package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"
)

func soaking() measurement {
	m := soak("soak", "route changes over a fixed set of MACs: growth of memory", 1, options{}, (*soaker).received)
	m.how = "The scripted reflector announces all MACs from one VTEP, again from a second one with a higher sequence, and withdraws both, over and over. RSS is read at rest after a tenth of the changes and at the end; the live heap is what the Go runtime reports (FRR has no such figure). FRR does a tenth of the changes."
	return m
}

func soakingOwn() measurement {
	m := soak("soakown", "local MACs that come and go: growth of memory", 10, options{}, (*soaker).own)
	m.how = "As `soak`, but the changes are local MACs, added and deleted all at once by raw netlink; the reflector waits for each."
	return m
}

func soakingTransit() measurement {
	m := soak("soaktransit", "route changes at a reflector: growth of memory", 10, options{reflect: true}, (*soaker).paced)
	m.how = "As `soak`, but the scripted peer is a route-reflector client, so that vtepbgp's embedded GoBGP holds the routes too. After every tenth of a million changes the peer waits until the system is quiet: GoBGP queues without bound what it has no time for, and that is no growth."
	return m
}

func soak(name, title string, part int, o options, change func(*soaker, int) error) measurement {
	return measurement{
		name: name, title: title, vteps: 1, repeat: 1,
		metrics: []metric{
			{key: "changes", label: "route changes", unit: "M"},
			{key: "rate", label: "changes a second", unit: "k"},
			{key: "rss0", label: "RSS after the first tenth", unit: "MB"},
			{key: "rss1", label: "RSS at the end", unit: "MB"},
			{key: "growth", label: "RSS growth per million changes", unit: "MB"},
			{key: "heap0", label: "live heap after the first tenth", unit: "MB"},
			{key: "heap1", label: "live heap at the end", unit: "MB"},
			{key: "heapgrowth", label: "live heap growth per million changes", unit: "MB"},
			{key: "cpu", label: "CPU per million changes", unit: "s"},
		},
		run: func(ctx context.Context, e *env, sys system, out samples) error {
			o.metrics = true
			r, s, err := e.startAtPeer(ctx, sys, o)
			if err != nil {
				return err
			}
			defer s.close()
			if err := s.send(appendEndOfRIB(nil)); err != nil {
				return fmt.Errorf("send End-of-RIB: %w", err)
			}
			if err := s.waitFlood(1, 30*time.Second); err != nil {
				return err
			}
			k := &soaker{ctx: ctx, v: e.vteps[0], r: r, s: s, macs: e.soakMACs, live: sys.name() == "vtepbgp"}
			total := e.soak / part
			if !k.live {
				total /= 10
			}
			return k.run(total, func(rounds int) error { return change(k, rounds) }, out)
		},
	}
}

// soaker changes routes in rounds and reads memory at rest.
type soaker struct {
	ctx      context.Context
	v        *vtep
	r        *running
	s        *session
	macs     int
	live     bool // the system tells its live heap
	perRound int
	round    []byte
}

func (k *soaker) run(total int, change func(rounds int) error, out samples) error {
	if err := change(0); err != nil { // sets perRound
		return err
	}
	rounds := max(total/k.perRound, 10)
	begin, before := time.Now(), k.r.cpu()
	if err := change(rounds / 10); err != nil {
		return err
	}
	rss0, heap0, err := k.rest()
	if err != nil {
		return err
	}
	if err := change(rounds - rounds/10); err != nil {
		return err
	}
	took := time.Since(begin)
	rss1, heap1, err := k.rest()
	if err != nil {
		return err
	}
	changes := float64(rounds*k.perRound) / 1e6
	later := float64((rounds-rounds/10)*k.perRound) / 1e6
	out.add("changes", changes)
	out.add("rate", changes*1000/took.Seconds())
	out.add("cpu", seconds(k.r.cpu()-before)/changes)
	out.add("rss0", rss0)
	out.add("rss1", rss1)
	out.add("growth", (rss1-rss0)/later)
	if k.live {
		out.add("heap0", heap0)
		out.add("heap1", heap1)
		out.add("heapgrowth", (heap1-heap0)/later)
	}
	return nil
}

func (k *soaker) rest() (rss, heap float64, err error) {
	if err := k.r.settle(k.ctx); err != nil {
		return 0, 0, err
	}
	if k.live {
		if heap, err = liveHeap(k.ctx, k.v); err != nil {
			return 0, 0, err
		}
	}
	return mb(k.r.memory("VmRSS")), heap, k.r.alive()
}

// received has the reflector send rounds and waits until they are done.
func (k *soaker) received(rounds int) error {
	if k.round == nil {
		first := routes{count: k.macs, vni: benchVNI, nextHop: remoteVTEP}
		second := routes{count: k.macs, vni: benchVNI, nextHop: netip.MustParseAddr("10.99.0.78"), sequence: 1}
		k.round = second.appendAnnounce(first.appendAnnounce(nil))
		k.round = second.appendWithdraw(first.appendWithdraw(k.round))
		k.perRound = 4 * k.macs
	}
	for range rounds {
		if err := k.ctx.Err(); err != nil {
			return err
		}
		if err := k.s.send(k.round); err != nil {
			return errors.Join(fmt.Errorf("send changes: %w", err), k.r.alive())
		}
	}
	// What comes after the changes shows that they are done: a row of its own.
	mark := routes{group: 1, count: 1, vni: benchVNI, nextHop: remoteVTEP}
	if err := k.s.send(mark.appendAnnounce(nil)); err != nil {
		return fmt.Errorf("send mark: %w", err)
	}
	if err := k.v.waitTable(k.ctx, 20*time.Minute, "the last route alone", func(macs, _ int) bool { return macs == 1 }); err != nil {
		return err
	}
	if err := k.s.send(mark.appendWithdraw(nil)); err != nil {
		return fmt.Errorf("send mark: %w", err)
	}
	return k.v.waitTable(k.ctx, time.Minute, "an empty table", func(macs, _ int) bool { return macs == 0 })
}

// paced is received in portions that are worked off in between.
func (k *soaker) paced(rounds int) error {
	if rounds == 0 {
		return k.received(0)
	}
	for portion := max(1, 100_000/k.perRound); rounds > 0; rounds -= portion {
		if err := k.received(min(portion, rounds)); err != nil {
			return err
		}
		if err := k.r.settle(k.ctx); err != nil {
			return err
		}
	}
	return nil
}

// own adds and deletes local MACs, each time waiting for the reflector to know.
func (k *soaker) own(rounds int) error {
	k.perRound = 2 * k.macs
	for range rounds {
		for _, add := range []bool{true, false} {
			if err := k.ctx.Err(); err != nil {
				return err
			}
			if err := k.v.changeLocalMACs(0, 0, k.macs, add); err != nil {
				return err
			}
			want := 0
			if add {
				want = k.macs
			}
			if _, _, err := k.s.waitMACs(want, time.Minute); err != nil {
				return errors.Join(err, k.r.alive())
			}
		}
	}
	return nil
}

// liveHeap reads the Go heap in use until it has shrunk between readings and grows
// again: what a collection left is live. The readings themselves bring one about.
func liveHeap(ctx context.Context, v *vtep) (float64, error) {
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(_ context.Context, network, address string) (c net.Conn, err error) {
			err = v.Do(func() error { c, err = net.DialTimeout(network, address, 5*time.Second); return err })
			return c, err
		},
	}}
	const most = 2000
	last, shrinking := 0.0, false
	for range most {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+metricsAddress+"/metrics", nil)
		if err != nil {
			return 0, fmt.Errorf("read metrics: %w", err)
		}
		resp, err := client.Do(req)
		if err != nil {
			return 0, fmt.Errorf("read metrics: %w", err)
		}
		now := 0.0
		lines := bufio.NewScanner(resp.Body)
		for lines.Scan() {
			if value, ok := bytes.CutPrefix(lines.Bytes(), []byte("go_memstats_heap_alloc_bytes ")); ok {
				if now, err = strconv.ParseFloat(string(value), 64); err != nil {
					return 0, fmt.Errorf("read metrics: %w", err)
				}
			}
		}
		_ = resp.Body.Close()
		switch {
		case now < last:
			shrinking = true // memory is swept bit by bit after a collection
		case shrinking:
			return last / 1e6, nil
		}
		last = now
	}
	return 0, errors.New("read metrics: the heap was never collected")
}
