// Command demo shows vtepbgp at work: it brings containerlab/demo.clab.yml up, waits
// until the hosts reach each other over VXLAN, demands pings without loss, prints the
// tables that say why it works, and takes everything down again. With -flood it does so with the
// topologies in which others copy broadcast frames, and counts them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/vtepbgp/vtepbgp/lab"
)

func main() {
	binary := flag.String("binary", "bin/vtepbgp", "the vtepbgp that the nodes run")
	file := flag.String("topology", "containerlab/demo.clab.yml", "the topology to show")
	count := flag.Int("count", 20, "pings between each pair of hosts")
	keep := flag.Bool("keep", false, "leave the lab running at the end")
	flood := flag.Bool("flood", false, "show the topologies of the flooding module instead, from the folder of -topology")
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	acts := []act{{file: *file, show: (*demo).tables}}
	if *flood {
		acts = floodActs(filepath.Dir(*file))
	}
	for _, a := range acts {
		d := demo{out: os.Stdout, binary: *binary, act: a, count: *count, keep: *keep}
		if err := d.run(ctx); err != nil {
			fmt.Fprintln(os.Stderr, "demo:", err)
			cancel()
			os.Exit(1)
		}
	}
}

// act is a topology, and what there is to see once its hosts reach each other.
type act struct {
	file  string
	about string
	show  func(*demo, context.Context) error
}

type demo struct {
	act
	out    io.Writer
	binary string
	count  int
	keep   bool

	lab   *lab.Lab
	hosts []host
}

type host struct{ node, address string }

// convergence bounds the wait for the first complete round of pings.
const convergence = 60 * time.Second

func (d *demo) run(ctx context.Context) (err error) {
	top, err := lab.Load(d.file)
	if err != nil {
		return err
	}
	begin := time.Now()
	d.heading("lab up %s", d.file)
	if d.about != "" {
		fmt.Fprintln(d.out, d.about)
	}
	if d.lab, err = top.Up(ctx, lab.Options{Binary: d.binary, Progress: d.out}); err != nil {
		return err
	}
	defer func() {
		if !d.keep {
			err = errors.Join(err, d.down())
		}
	}()
	if err := d.findHosts(); err != nil {
		return err
	}
	if err := d.converge(ctx, begin); err != nil {
		return errors.Join(err, d.logs())
	}
	if err := d.pings(ctx); err != nil {
		return errors.Join(err, d.logs())
	}
	if err := d.show(d, ctx); err != nil {
		return errors.Join(err, d.logs())
	}
	if d.keep {
		d.heading("the lab keeps running")
		fmt.Fprintf(d.out, "look around:  vtepbgp lab exec %s vtep1 -- vtepbgp mac show\nend it:       vtepbgp lab down %s\n", d.file, d.file)
	}
	return nil
}

func (d *demo) heading(format string, args ...any) {
	fmt.Fprintf(d.out, "\n== "+format+"\n", args...)
}

// hostName tells hosts from switches, routers and VTEPs without a daemon, which are plain nodes too.
var hostName = regexp.MustCompile(`^h[0-9]`)

// findHosts takes the hosts with an address.
func (d *demo) findHosts() error {
	nodes, err := d.lab.Nodes()
	if err != nil {
		return err
	}
	for _, n := range nodes {
		if n.Role != lab.RoleHost || !hostName.MatchString(n.Name) {
			continue
		}
		for _, i := range n.Addresses {
			for _, a := range i.Addresses {
				if a.Addr().Is4() {
					d.hosts = append(d.hosts, host{n.Name, a.Addr().String()})
				}
			}
		}
	}
	if len(d.hosts) < 2 {
		return fmt.Errorf("%s has fewer than two hosts with an address", d.file)
	}
	return nil
}

// converge pings from the first host to all others until each answers once.
func (d *demo) converge(ctx context.Context, begin time.Time) error {
	d.heading("waiting until every host answers")
	ctx, cancel := context.WithTimeout(ctx, convergence)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	last := -1
	for {
		silent, err := d.round(ctx, 1, nil)
		if err != nil {
			return fmt.Errorf("wait for convergence: %w", err)
		}
		pairs := len(d.hosts) * (len(d.hosts) - 1)
		if ok := pairs - len(silent); ok != last {
			fmt.Fprintf(d.out, "%5.1f s  %d of %d pairs answer\n", time.Since(begin).Seconds(), ok, pairs)
			last = ok
		}
		if len(silent) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no convergence within %s: silent are %s", convergence, strings.Join(silent, ", "))
		case <-tick.C:
		}
	}
}

func (d *demo) pings(ctx context.Context) error {
	d.heading("%d pings between each two hosts, both ways", d.count)
	summary := make(map[string]string)
	bad, err := d.round(ctx, d.count, summary)
	if err != nil {
		return err
	}
	for _, from := range d.hosts {
		fmt.Fprintf(d.out, "%-4s", from.node)
		for _, to := range d.hosts {
			if from != to {
				fmt.Fprintf(d.out, "  %s %s", to.node, summary[from.node+" to "+to.node])
			}
		}
		fmt.Fprintln(d.out)
	}
	if len(bad) > 0 {
		return fmt.Errorf("packets were lost: %s", strings.Join(bad, ", "))
	}
	pairs := len(d.hosts) * (len(d.hosts) - 1)
	fmt.Fprintf(d.out, "%d packets sent, %d answered, none lost\n", pairs*d.count, pairs*d.count)
	return nil
}

// round pings between all pairs and lists those with any loss.
func (d *demo) round(ctx context.Context, count int, summary map[string]string) (bad []string, err error) {
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		errs []error
	)
	for _, from := range d.hosts {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for _, to := range d.hosts {
				if from == to {
					continue
				}
				pair := from.node + " to " + to.node
				var out strings.Builder
				code, err := d.lab.Exec(ctx, from.node, []string{"ping", "-n", "-q", "-c", fmt.Sprint(count), "-i", "0.02", "-W", "1", to.address}, lab.Stdio{Out: &out, Err: &out})
				mu.Lock()
				switch {
				case err != nil:
					errs = append(errs, err)
				case code != 0 || !strings.Contains(out.String(), " 0% packet loss"):
					bad = append(bad, pair)
				}
				if summary != nil {
					summary[pair] = average(out.String())
				}
				mu.Unlock()
				if err != nil {
					return
				}
			}
		}()
	}
	wg.Wait()
	slices.Sort(bad)
	return bad, errors.Join(errs...)
}

// average reads ping's last line: rtt min/avg/max/mdev = 0.1/0.2/0.3/0.0 ms.
func average(out string) string {
	_, after, ok := strings.Cut(out, "min/avg/max/mdev = ")
	parts := strings.Split(after, "/")
	if !ok || len(parts) < 2 {
		return "LOST"
	}
	return parts[1] + "ms"
}

func (d *demo) tables(ctx context.Context) error {
	nodes, err := d.lab.Nodes()
	if err != nil {
		return err
	}
	vtep, reflector, host := "", "", ""
	for _, n := range nodes {
		switch {
		case n.Role == lab.RoleHost && len(n.Addresses) > 0 && len(n.Addresses[0].Addresses) > 0:
			host = n.Addresses[0].Addresses[0].Addr().String() // the last one is behind another VTEP
		case n.Role != lab.RoleVTEPBGP:
		case strings.HasPrefix(n.Name, "rr"):
			reflector = n.Name
		case vtep == "":
			vtep = n.Name
		}
	}
	show := [][]string{
		{vtep, "BGP sessions", "neighbor", "show"},
		{vtep, "VNIs", "vni", "show"},
		{vtep, "MAC addresses, local and learned by BGP", "mac", "show"},
		{vtep, "VTEPs learned by BGP", "vtep", "show"},
		{vtep, "who gets broadcast frames", "flood", "show"},
		{vtep, "EVPN routes", "route", "show"},
		{vtep, "why a host is reached", "explain", host},
		{vtep, "the kernel against what it should hold", "drift"},
		{vtep, "the daemon", "status"},
		{reflector, "BGP sessions of the route reflector", "neighbor", "show"},
	}
	for _, s := range show {
		if s[0] == "" {
			continue
		}
		if err := d.command(ctx, s[0], s[1], append([]string{"vtepbgp"}, s[2:]...)...); err != nil {
			return err
		}
	}
	return nil
}

// command shows what a command in a node prints.
func (d *demo) command(ctx context.Context, node, about string, argv ...string) error {
	d.heading("%s: %s (%s)", node, about, strings.Join(argv, " "))
	code, err := d.lab.Exec(ctx, node, argv, lab.Stdio{Out: d.out, Err: d.out})
	if err != nil {
		return err
	}
	if code != 0 {
		return fmt.Errorf("%s on %s ended with code %d", strings.Join(argv, " "), node, code)
	}
	return nil
}

func (d *demo) logs() error {
	nodes, err := d.lab.Nodes()
	if err != nil {
		return err
	}
	for _, n := range nodes {
		if n.Log == "" {
			continue
		}
		d.heading("log of %s (%s)", n.Name, n.State)
		text, err := os.ReadFile(n.Log)
		if err != nil {
			return err
		}
		fmt.Fprintf(d.out, "%s", text)
	}
	return nil
}

// down does not listen to interrupts: whatever happens, nothing may stay.
func (d *demo) down() error {
	d.heading("lab down")
	nodes, err := d.lab.Nodes()
	if err != nil {
		return err
	}
	if err := d.lab.Down(context.Background()); err != nil {
		return err
	}
	var left []string
	for _, n := range nodes {
		if _, err := os.Stat(filepath.Join("/run/netns", n.Namespace)); err == nil {
			left = append(left, "namespace "+n.Namespace)
		}
		// A dead process stays in /proc until its parent collects it, without files.
		if _, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", n.HolderPID)); n.HolderPID != 0 && err == nil {
			left = append(left, fmt.Sprintf("process %d", n.HolderPID))
		}
	}
	if _, err := os.Stat(filepath.Join(lab.DefaultStateDir, d.lab.Name())); err == nil {
		left = append(left, filepath.Join(lab.DefaultStateDir, d.lab.Name()))
	}
	if left != nil {
		return fmt.Errorf("left behind: %s", strings.Join(left, ", "))
	}
	fmt.Fprintf(d.out, "nothing is left: no process, no namespace, no interface, no file\n")
	return nil
}
