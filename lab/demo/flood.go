package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/lab"
	"github.com/vtepbgp/vtepbgp/lab/once"
)

// floodActs are the topologies in which somebody copies for somebody else.
func floodActs(folder string) []act {
	return []act{
		{filepath.Join(folder, "relays.clab.yml"), "legacy1 and legacy2 know a multicast group and run no daemon, vtep1 (vtepbgp) and vtep2 (FRR) know no group;\n" +
			"relay1 and relay2 stand between them.", (*demo).segment},
		{filepath.Join(folder, "service.clab.yml"), "leaf1 and leaf2 know one address, that of node1, and run no daemon.", (*demo).service},
		{filepath.Join(folder, "assisted.clab.yml"), "leaf1 and leaf2 send each broadcast frame once, to node1 or node2, which copy it (RFC 9574).", (*demo).assisted},
	}
}

// meter counts frames at all hosts.
func (d *demo) meter() (*once.Meter, error) {
	var stations []once.Station
	for _, h := range d.hosts {
		stations = append(stations, once.Station{Name: h.node, Device: "eth1", Within: func(f func() error) error { return d.lab.Within(h.node, f) }})
	}
	return once.Open(stations)
}

const (
	frames = 300
	every  = 5 * time.Millisecond
)

// exactlyOnce counts numbered frames.
func (d *demo) exactlyOnce() error {
	d.heading("%d numbered frames from each host: broadcast, multicast, unknown unicast", frames)
	m, err := d.meter()
	if err != nil {
		return err
	}
	defer m.Close()
	r := m.Send(frames, every)
	d.arrivals(r)
	return r.Err()
}

// arrivals prints who heard how many of whom.
func (d *demo) arrivals(r once.Report) {
	for _, f := range r.Flows {
		if f.From == f.To {
			continue
		}
		fmt.Fprintf(d.out, "%-4s heard %3d of %3d from %-4s lost %d, doubled %d\n", f.To, f.Sent-len(f.Lost), f.Sent, f.From, len(f.Lost), len(f.Doubled))
	}
	fmt.Fprintln(d.out, r)
}

// wire shows the packets that one broadcast frame, an ARP request for nobody, makes on the links of the router.
func (d *demo) wire(ctx context.Context, from host, about string) error {
	d.heading("router: what one broadcast frame of %s becomes (tcpdump -i any -Q in udp port 4789): %s", from.node, about)
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var seen strings.Builder
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() {
		_, err := d.lab.Exec(ctx, "router", []string{"timeout", "2", "tcpdump", "-n", "-l", "-t", "-i", "any", "-Q", "in", "udp port 4789"},
			lab.Stdio{Out: &seen, Err: &signalOn{text: "listening on", c: ready}})
		done <- err
	}()
	select {
	case <-ready:
	case err := <-done:
		return errors.Join(errors.New("tcpdump ended before it listened"), err)
	}
	absent := from.address[:strings.LastIndex(from.address, ".")] + ".99"
	if _, err := d.lab.Exec(ctx, from.node, []string{"ping", "-c", "1", "-W", "0.5", "-w", "1", absent}, lab.Stdio{}); err != nil {
		return err
	}
	err := <-done
	// Two lines a packet: outer, inner. The request may be repeated, and bridges see again what a link has.
	lines, shown := strings.Split(seen.String(), "\n"), map[string]bool{}
	for i := 0; i+1 < len(lines); i++ {
		if strings.HasPrefix(lines[i], "eth") && strings.Contains(lines[i+1], "who-has "+absent+" ") && !shown[lines[i]] {
			shown[lines[i]] = true
			fmt.Fprintf(d.out, "  %s: %s\n", strings.TrimSpace(lines[i]), strings.TrimSpace(lines[i+1]))
		}
	}
	if len(shown) == 0 {
		return errors.Join(errors.New("tcpdump saw nothing of it"), err)
	}
	return err
}

// indented prints lines a little to the right.
type indented struct{ d *demo }

func (w *indented) Write(b []byte) (int, error) {
	_, err := fmt.Fprintf(w.d.out, "  %s\n", strings.ReplaceAll(strings.TrimSuffix(string(b), "\n"), "\n", "\n  "))
	return len(b), err
}

// signalOn closes c when it has read a text.
type signalOn struct {
	text, seen string
	c          chan struct{}
}

func (w *signalOn) Write(b []byte) (int, error) {
	before := strings.Contains(w.seen, w.text)
	w.seen += string(b)
	if !before && strings.Contains(w.seen, w.text) {
		close(w.c)
	}
	return len(b), nil
}

func (d *demo) commands(ctx context.Context, list ...[]string) error {
	for _, c := range list {
		if err := d.command(ctx, c[0], c[1], strings.Fields(c[2])...); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) segment(ctx context.Context) error {
	if err := d.exactlyOnce(); err != nil {
		return err
	}
	if err := d.wire(ctx, d.hosts[0], "one to the group, and a copy by the elected relay to each VTEP elsewhere"); err != nil {
		return err
	}
	if err := d.commands(ctx,
		[]string{"relay1", "who gets copies, and who was elected", "vtepbgp flood show"},
		[]string{"relay1", "VTEPs, those heard on the segment among them", "vtepbgp vtep show"},
		[]string{"relay1", "MACs, those of legacy hosts announced by proxy", "vtepbgp mac show"},
		[]string{"vtep1", "the hosts behind legacy1 and legacy2, by their own addresses", "vtepbgp mac show"},
		[]string{"vtep2", "FRR's kernel has the same", "bridge fdb show dev vxlan100"},
		[]string{"legacy1", "and a kernel that learns from data has learned the true VTEPs", "bridge fdb show dev vxlan100"},
	); err != nil {
		return err
	}
	return d.takeover(ctx)
}

// takeover kills the elected relay under load.
func (d *demo) takeover(ctx context.Context) error {
	d.heading("relay1 hangs (kill -STOP): relay2 takes over when BFD says so; frames are counted (monitor of relay2)")
	watch, end := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		_, _ = d.lab.Exec(watch, "relay2", []string{"vtepbgp", "monitor"}, lab.Stdio{Out: &indented{d: d}})
	}()
	m, err := d.meter()
	if err == nil {
		defer m.Close()
		m.Start(every)
		err = d.pause(ctx, 500*time.Millisecond)
	}
	if err == nil {
		err = d.lab.Signal("relay1", unix.SIGSTOP)
	}
	err = errors.Join(err, d.pause(ctx, 2500*time.Millisecond))
	end()
	<-watched
	if err != nil {
		return err
	}
	r := m.Stop()
	d.arrivals(r)
	if n := r.Doubled(); n > 0 {
		return fmt.Errorf("%d frames were doubled", n)
	}
	if err := d.commands(ctx, []string{"relay2", "it copies now", "vtepbgp flood show"}); err != nil {
		return err
	}
	return d.lab.Signal("relay1", unix.SIGCONT)
}

func (d *demo) pause(ctx context.Context, span time.Duration) error {
	t := time.NewTimer(span)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

func (d *demo) service(ctx context.Context) error {
	if err := d.exactlyOnce(); err != nil {
		return err
	}
	if err := d.wire(ctx, d.hosts[0], "one to the service address, and a copy by node1 to each VTEP but leaf1"); err != nil {
		return err
	}
	return d.commands(ctx,
		[]string{"leaf1", "the old leaf's only destination, and what it has learned", "bridge fdb show dev vxlan100"},
		[]string{"node1", "who gets copies; leaves that were heard have the source data", "vtepbgp flood show"},
		[]string{"vtep1", "leaves are VTEPs like others here", "vtepbgp flood show"},
	)
}

func (d *demo) assisted(ctx context.Context) error {
	if err := d.exactlyOnce(); err != nil {
		return err
	}
	if err := d.commands(ctx,
		[]string{"leaf1", "the replicator that was chosen", "vtepbgp flood show"},
		[]string{"leaf1", "so the kernel's list has one row", "bridge fdb show dev vxlan100"},
		[]string{"node1", "a replicator's list", "vtepbgp flood show"},
		[]string{"vtep1", "FRR, which knows nothing of it, copies to every VTEP and to no replicator", "bridge fdb show dev vxlan100"},
	); err != nil {
		return err
	}
	for _, node := range []string{"node1", "node2"} {
		if err := d.lab.Signal(node, unix.SIGSTOP); err != nil {
			return err
		}
	}
	d.heading("both replicators hang: the leaves copy for themselves when BFD says so")
	if err := d.pause(ctx, 2*time.Second); err != nil {
		return err
	}
	if err := d.commands(ctx, []string{"leaf1", "every VTEP", "bridge fdb show dev vxlan100"}); err != nil {
		return err
	}
	for _, node := range []string{"node1", "node2"} {
		if err := d.lab.Signal(node, unix.SIGCONT); err != nil {
			return err
		}
	}
	return nil
}
