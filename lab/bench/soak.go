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
	return measurement{
		name: "soak", title: "route changes over a fixed set of MACs: growth of memory",
		how: "The scripted reflector announces all MACs from one VTEP, again from a second one with a higher sequence, and withdraws both, over and over. RSS is read at rest after a tenth of the changes and at the end; the live heap is what the Go runtime reports (FRR has no such figure). FRR does a tenth of the changes.",
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
		vteps: 1, repeat: 1, run: soak,
	}
}

func soak(ctx context.Context, e *env, sys system, out samples) error {
	v := e.vteps[0]
	r, s, err := e.startAtPeer(ctx, sys, options{metrics: true})
	if err != nil {
		return err
	}
	defer s.close()
	first := routes{count: e.soakMACs, vni: benchVNI, nextHop: remoteVTEP}
	second := routes{count: e.soakMACs, vni: benchVNI, nextHop: netip.MustParseAddr("10.99.0.78"), sequence: 1}
	round := first.appendAnnounce(nil)
	round = second.appendAnnounce(round)
	round = first.appendWithdraw(round)
	round = second.appendWithdraw(round)
	total := e.soak
	if sys.name() != "vtepbgp" {
		total /= 10
	}
	perRound := 4 * e.soakMACs
	rounds := max(total/perRound, 10)
	if err := s.send(appendEndOfRIB(nil)); err != nil {
		return fmt.Errorf("send End-of-RIB: %w", err)
	}
	rest := func(rounds int) (rss, heap float64, err error) {
		for range rounds {
			if err := ctx.Err(); err != nil {
				return 0, 0, err
			}
			if err := s.send(round); err != nil {
				return 0, 0, errors.Join(fmt.Errorf("send changes: %w", err), r.alive())
			}
		}
		// What comes after the changes shows that they are done: a row of its own.
		mark := routes{group: 1, count: 1, vni: benchVNI, nextHop: remoteVTEP}
		if err := s.send(mark.appendAnnounce(nil)); err != nil {
			return 0, 0, fmt.Errorf("send mark: %w", err)
		}
		if err := v.waitTable(ctx, 20*time.Minute, "the last route alone", func(macs, _ int) bool { return macs == 1 }); err != nil {
			return 0, 0, err
		}
		if err := s.send(mark.appendWithdraw(nil)); err != nil {
			return 0, 0, fmt.Errorf("send mark: %w", err)
		}
		if err := v.waitTable(ctx, time.Minute, "an empty table", func(macs, _ int) bool { return macs == 0 }); err != nil {
			return 0, 0, err
		}
		if err := r.settle(ctx); err != nil {
			return 0, 0, err
		}
		if sys.name() == "vtepbgp" {
			if heap, err = liveHeap(ctx, v); err != nil {
				return 0, 0, err
			}
		}
		return mb(r.memory("VmRSS")), heap, r.alive()
	}
	begin, before := time.Now(), r.cpu()
	rss0, heap0, err := rest(rounds / 10)
	if err != nil {
		return err
	}
	rss1, heap1, err := rest(rounds - rounds/10)
	if err != nil {
		return err
	}
	changes := float64(rounds*perRound) / 1e6
	later := float64((rounds-rounds/10)*perRound) / 1e6
	out.add("changes", changes)
	out.add("rate", changes*1000/time.Since(begin).Seconds())
	out.add("cpu", seconds(r.cpu()-before)/changes)
	out.add("rss0", rss0)
	out.add("rss1", rss1)
	out.add("growth", (rss1-rss0)/later)
	if sys.name() == "vtepbgp" {
		out.add("heap0", heap0)
		out.add("heap1", heap1)
		out.add("heapgrowth", (heap1-heap0)/later)
	}
	return nil
}

// liveHeap reads what the daemon's metrics say of the Go heap, the smallest of some
// readings: what lies between two collections is not live.
func liveHeap(ctx context.Context, v *vtep) (float64, error) {
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(_ context.Context, network, address string) (c net.Conn, err error) {
			err = v.do(func() error { c, err = net.DialTimeout(network, address, 5*time.Second); return err })
			return c, err
		},
	}}
	least := 0.0
	for i := range 20 {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+metricsAddress+"/metrics", nil)
		if err != nil {
			return 0, fmt.Errorf("read metrics: %w", err)
		}
		resp, err := client.Do(req)
		if err != nil {
			return 0, fmt.Errorf("read metrics: %w", err)
		}
		lines := bufio.NewScanner(resp.Body)
		for lines.Scan() {
			if value, ok := bytes.CutPrefix(lines.Bytes(), []byte("go_memstats_heap_alloc_bytes ")); ok {
				n, err := strconv.ParseFloat(string(value), 64)
				if err == nil && (i == 0 || n/1e6 < least) {
					least = n / 1e6
				}
			}
		}
		_ = resp.Body.Close()
	}
	return least, nil
}
