package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	if is, err := launched(); is {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch err := run(ctx, os.Args[1:], os.Stdout); {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		stop()
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// full are the sizes that docs/performance.md is made with.
var full = sizes{
	routes: 100_000, locals: []int{100_000, 500_000}, rounds: 60, death: 10_000, vnis: 1000, listed: 100,
	soak: 10_000_000, soakMACs: 10_000, idleMACs: 10_000, idle: 30 * time.Second, stream: 3 * time.Second, down: 2 * time.Second,
}

// quick are the sizes of a smoke test.
var quick = sizes{
	routes: 10_000, locals: []int{10_000}, rounds: 10, death: 1000, vnis: 50, listed: 10,
	soak: 400_000, soakMACs: 1000, idleMACs: 1000, idle: 3 * time.Second, stream: 300 * time.Millisecond, down: 500 * time.Millisecond,
}

func measurements(z sizes) []measurement {
	list := []measurement{receiving(), foreign()}
	for i, n := range z.locals {
		if i == 0 {
			list = append(list, originating("originate", n, false, 0), originating("overrun", n, true, 0))
		} else {
			list = append(list, originating("originate"+fmt.Sprint(n/1000)+"k", n, false, 0))
		}
	}
	// The many VNIs come last: the kernel takes a minute to remove their devices and
	// holds up all other work on links meanwhile.
	return append(list, reacting(), dying(), restarting(), idling(), listening(), soaking(), soakingOwn(), soakingTransit(), manyVNIs(), manyLists())
}

func run(ctx context.Context, args []string, out io.Writer) error {
	z := full
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(out)
	only := f.String("only", "", "measure only these, by name, comma-separated (-list shows the names)")
	list := f.Bool("list", false, "list the measurements and end")
	n := f.Int("n", 3, "runs of each measurement and system")
	fast := f.Bool("quick", false, "small numbers, one run: does it all still work?")
	count := f.Int("routes", 0, "size of the big tables (0 = 100,000)")
	changes := f.Int("soak", 0, "route changes of the soak (0 = 10,000,000)")
	vnis := f.Int("vnis", 0, "VNIs of the many-VNI tests (0 = 1,000)")
	report := f.String("write", "", "write the report to this file (Markdown)")
	binary := f.String("binary", "", "measure this vtepbgp instead of the one that this tree builds")
	which := f.String("systems", "FRR,vtepbgp", "systems to measure")
	keep := f.Bool("keep", false, "keep the directory with configurations and logs")
	if err := f.Parse(args); err != nil {
		return err
	}
	if *fast {
		z = quick
		*n = 1
	}
	if *count > 0 {
		z.routes, z.locals = *count, append([]int{*count}, z.locals[1:]...)
	}
	if *changes > 0 {
		z.soak = *changes
	}
	if *vnis > 0 {
		z.vnis = *vnis
	}
	chosen, err := choose(measurements(z), *only)
	if err != nil {
		return err
	}
	if *list {
		for _, m := range chosen {
			fmt.Fprintf(out, "%-14s %s\n", m.name, m.title)
		}
		return nil
	}
	if os.Geteuid() != 0 {
		return errors.New("measure: needs root, for network namespaces")
	}
	if err := sweepDebris(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", fmt.Sprintf("%s%d-", dirPrefix, os.Getpid()))
	if err != nil {
		return fmt.Errorf("make working directory: %w", err)
	}
	if *keep {
		fmt.Fprintln(out, "working directory:", dir)
	} else {
		defer os.RemoveAll(dir)
	}
	if err := os.Chmod(dir, 0o755); err != nil { // FRR's daemons run as user frr
		return fmt.Errorf("open working directory: %w", err)
	}
	systems, err := find(strings.Split(*which, ","), *binary, dir)
	if err != nil {
		return err
	}
	progress := func(s string) { fmt.Fprintf(out, "%s %s\n", time.Now().Format("15:04:05"), s) }
	var results []result
	for _, m := range chosen {
		s, err := measure(ctx, m, systems, z, *n, dir, progress)
		if err != nil {
			return err
		}
		runs := *n
		if m.repeat > 0 {
			runs = min(runs, m.repeat)
		}
		results = append(results, result{m, runs, s})
	}
	fmt.Fprintf(out, "\n%s", table(results))
	if *report != "" {
		return writeDocument(*report, results, z, systems)
	}
	return nil
}

func choose(all []measurement, only string) ([]measurement, error) {
	if only == "" {
		return all, nil
	}
	var chosen []measurement
	for name := range strings.SplitSeq(only, ",") {
		i := slices.IndexFunc(all, func(m measurement) bool { return m.name == name })
		if i < 0 {
			return nil, fmt.Errorf("choose measurement %q: there is none of that name (-list shows them)", name)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

func find(names []string, binary, dir string) (systems []system, err error) {
	for _, name := range names {
		var s system
		switch name {
		case "FRR":
			s, err = findFRR()
		case "vtepbgp":
			s, err = buildVTEPBGP(binary, dir)
		default:
			err = fmt.Errorf("choose system %q: want FRR or vtepbgp", name)
		}
		if err != nil {
			return nil, err
		}
		systems = append(systems, s)
	}
	return systems, nil
}
