package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// sizes are the numbers of a run; -quick makes them small.
type sizes struct {
	routes   int // type-2 routes of the table tests
	locals   []int
	rounds   int // latency rounds a run
	death    int // MACs of the VTEP that dies
	vnis     int
	listed   int // VTEPs on the flood list of each
	soak     int // route changes
	soakMACs int
	idleMACs int
	idle     time.Duration
	stream   time.Duration // how long a TCP stream lasts
	down     time.Duration // how long a killed daemon stays away
}

// samples holds what the runs of one system gave, by metric key.
type samples map[string][]float64

func (s samples) add(key string, v ...float64) { s[key] = append(s[key], v...) }

func ms(d time.Duration) float64      { return float64(d) / float64(time.Millisecond) }
func seconds(d time.Duration) float64 { return d.Seconds() }
func mb(n int64) float64              { return float64(n) / 1e6 }

// cost records processor time and peak memory of a whole system.
func (s samples) cost(cpu time.Duration, r *running) {
	s.add("cpu", seconds(cpu))
	s.add("rss", mb(r.memory("VmHWM")))
}

// metric is one line of the report.
type metric struct {
	key, label, unit string
	quantile         float64 // 0 = median; of all samples together
	maxRatio         float64 // target: vtepbgp/FRR, 0 = none
	max              float64 // target: absolute, 0 = none
	zero             bool    // target: exactly 0
}

// measurement is one thing measured on both systems in turn.
type measurement struct {
	name, title, how string
	metrics          []metric
	vteps            int
	vnis             func(z sizes) []int // nil = just VNI 100
	repeat           int                 // 0 = as -n says
	run              func(ctx context.Context, e *env, sys system, out samples) error
}

// env is what one run works with: the topology and a directory of its own.
type env struct {
	sizes
	*topology
	peer *peer
	dir  string
	n    int // run number, part of directory names
	live []*running
}

// start runs sys as VTEP v. All that is started is stopped by the end of the run.
func (e *env) start(sys system, v *vtep, o options) (*running, error) {
	e.n++
	dir := filepath.Join(e.dir, fmt.Sprintf("%s-%s-%d", sys.name(), v.Name, e.n))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make directory of a run: %w", err)
	}
	return e.startIn(sys, v, o, dir)
}

func (e *env) startIn(sys system, v *vtep, o options, dir string) (*running, error) {
	r, err := sys.start(v, dir, o)
	if err == nil {
		e.live = append(e.live, r)
	}
	return r, err
}

// stopAll ends what runs.
func (e *env) stopAll() {
	for _, r := range e.live {
		r.stop(syscall.SIGKILL)
	}
	e.live = nil
}

// startAtPeer runs sys as VTEP a behind the scripted reflector and waits for the session.
func (e *env) startAtPeer(ctx context.Context, sys system, o options) (*running, *session, error) {
	o.neighbors = []netip.Addr{peerAddress}
	r, err := e.start(sys, e.vteps[0], o)
	if err != nil {
		return nil, nil, err
	}
	s, err := e.peer.session(ctx, 30*time.Second)
	if err != nil {
		return nil, nil, errors.Join(err, r.alive())
	}
	return r, s, nil
}

// startMesh runs sys on all VTEPs with direct sessions and waits for the flood lists.
func (e *env) startMesh(ctx context.Context, sys system, o options) ([]*running, error) {
	var rs []*running
	for _, v := range e.vteps {
		o := o
		for _, other := range e.vteps {
			if other != v {
				o.neighbors = append(o.neighbors, other.address)
			}
		}
		r, err := e.start(sys, v, o)
		if err != nil {
			return nil, err
		}
		rs = append(rs, r)
	}
	for i, v := range e.vteps {
		if err := v.waitFlood(ctx, len(e.vteps)-1, 30*time.Second); err != nil {
			return nil, errors.Join(err, rs[i].alive())
		}
	}
	return rs, nil
}

// waitFlood polls until the first VNI's flood list has want rows.
func (v *vtep) waitFlood(ctx context.Context, want int, timeout time.Duration) error {
	return v.waitTable(ctx, timeout, fmt.Sprintf("%d flood rows", want), func(_, flood int) bool { return flood == want })
}

func (v *vtep) waitTable(ctx context.Context, timeout time.Duration, what string, ok func(macs, flood int) bool) error {
	deadline := time.Now().Add(timeout)
	for {
		macs, flood, err := v.countRows()
		switch {
		case err != nil:
			return err
		case ok(macs, flood):
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("wait for %s in %s (there are %d MACs and %d flood rows): %w", what, v.Name, macs, flood, errTimeout)
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
}

// measure runs one measurement on all systems in turn, n times.
func measure(ctx context.Context, m measurement, systems []system, z sizes, n int, dir string, progress func(string)) (map[string]samples, error) {
	vnis := []int{benchVNI}
	if m.vnis != nil {
		vnis = m.vnis(z)
	}
	progress(fmt.Sprintf("%s: %s", m.name, m.title))
	topo, err := newTopology(m.vteps, vnis)
	if err != nil {
		return nil, err
	}
	defer topo.close()
	e := &env{sizes: z, topology: topo, dir: dir}
	if e.peer, err = newPeer(topo.peer); err != nil {
		return nil, err
	}
	defer e.peer.close()
	defer e.stopAll()
	all := map[string]samples{}
	for _, sys := range systems {
		all[sys.name()] = samples{}
	}
	if m.repeat > 0 {
		n = min(n, m.repeat)
	}
	for i := range n {
		for _, sys := range systems {
			began := time.Now()
			err := m.run(ctx, e, sys, all[sys.name()])
			e.stopAll()
			if err != nil {
				return nil, fmt.Errorf("measure %s of %s: %w", m.name, sys.name(), err)
			}
			for _, v := range topo.vteps {
				if err := v.reset(); err != nil {
					return nil, err
				}
			}
			progress(fmt.Sprintf("  run %d of %d, %s: %s (%.1f s)", i+1, n, sys.name(), m.brief(all[sys.name()]), time.Since(began).Seconds()))
		}
	}
	return all, nil
}
