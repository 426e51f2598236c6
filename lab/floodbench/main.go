package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/vtepbgp/vtepbgp/flood"
	"github.com/vtepbgp/vtepbgp/lab/figures"
)

func main() {
	if is, err := launched(); is {
		if err != nil {
			fmt.Fprintln(os.Stderr, "floodbench:", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch err := run(ctx, os.Args[1:], os.Stdout); {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		stop()
		fmt.Fprintln(os.Stderr, "floodbench:", err)
		os.Exit(1)
	}
}

// bench is a run of this program.
type bench struct {
	settings
	lengths  []int
	sizes    []int
	rounds   int
	methods  []string // to measure
	profiles string
	small    bool
	progress func(format string, args ...any)
}

// measurement is one thing measured.
type measurement struct {
	name, title, how string
	run              func(ctx context.Context, b *bench) (result, error)
}

var measurements = []measurement{rates, slowWire, latency, changes, install}

// result is what a measurement gave.
type result struct {
	tables []grid
	checks []check
	data   any // for JSON
}

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	began := time.Now()
	b := &bench{
		settings: settings{probe: 150 * time.Millisecond, saturated: 600 * time.Millisecond, steady: time.Second},
		lengths:  []int{2, 16, 64, 256, 1000}, sizes: []int{64, 1400},
		progress: func(format string, args ...any) {
			fmt.Fprintf(out, "%s %s\n", time.Now().Format("15:04:05"), fmt.Sprintf(format, args...))
		},
	}
	f := flag.NewFlagSet("floodbench", flag.ContinueOnError)
	f.SetOutput(out)
	only := f.String("only", "", "measure only these, by name, comma-separated (-list shows the names)")
	list := f.Bool("list", false, "list the measurements and end")
	quick := f.Bool("quick", false, "small numbers, one round: does it all still work?")
	file := f.String("json", "", "write the figures to this file as JSON (- is standard output)")
	document := f.String("write", "", "replace the sections of these measurements in this file (Markdown)")
	which := f.String("methods", strings.Join(everyMethod, ","), "measure only these methods, comma-separated; "+flood.Auto+" is the engine that it picks on a slow wire")
	f.IntVar(&b.rounds, "n", 3, "rounds of each measurement")
	f.StringVar(&b.profiles, "profiles", "", "write processor profiles of the methods that run in user space into this directory")
	f.Func("lengths", "list lengths, comma-separated (default 2,16,64,256,1000)", numbers(&b.lengths))
	f.Func("sizes", "sizes of inner frames, comma-separated (default 64,1400)", numbers(&b.sizes))
	if err := f.Parse(args); err != nil {
		return err
	}
	if *quick {
		b.small, b.rounds, b.lengths, b.sizes = true, 1, []int{2, 64}, []int{64}
		b.settings = settings{probe: 30 * time.Millisecond, saturated: 60 * time.Millisecond, steady: 100 * time.Millisecond}
	}
	for name := range strings.SplitSeq(*which, ",") {
		if !slices.Contains(everyMethod, name) {
			return fmt.Errorf("choose method %q: want some of %s", name, strings.Join(everyMethod, ", "))
		}
		b.methods = append(b.methods, name)
	}
	chosen, err := choose(*only)
	if err != nil {
		return err
	}
	if *list {
		for _, m := range chosen {
			fmt.Fprintf(out, "%-10s %s\n", m.name, m.title)
		}
		return nil
	}
	if os.Geteuid() != 0 {
		return errors.New("measure: needs root, for network namespaces")
	}
	if runtime.NumCPU() < 2 {
		return errors.New("measure: needs two processors, one for the generator and one for what is measured")
	}
	if err := pinAll(ours); err != nil {
		return err
	}
	machine, err := borrow(!b.small)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, machine.restore()) }()
	results := make([]result, len(chosen))
	for i, m := range chosen {
		b.progress("%s: %s", m.name, m.title)
		if results[i], err = m.run(ctx, b); err != nil {
			return fmt.Errorf("measure %s: %w", m.name, err)
		}
		fmt.Fprintf(out, "\n%s\n", results[i].text())
	}
	b.progress("done in %.0f s", time.Since(began).Seconds())
	if *file != "" {
		if err := writeJSON(*file, out, chosen, results, b); err != nil {
			return err
		}
	}
	if *document != "" {
		return writeDocument(*document, chosen, results, b)
	}
	return nil
}

// some are those of methods which were chosen.
func (b *bench) some(methods ...string) (chosen []string) {
	for _, name := range methods {
		if slices.Contains(b.methods, name) {
			chosen = append(chosen, name)
		}
	}
	return chosen
}

func numbers(to *[]int) func(string) error {
	return func(text string) error {
		*to = nil
		for word := range strings.SplitSeq(text, ",") {
			var n int
			if _, err := fmt.Sscanf(word, "%d", &n); err != nil || n < 1 || n >= places {
				return fmt.Errorf("%q is not a number from 1 to %d", word, places-1)
			}
			*to = append(*to, n)
		}
		return nil
	}
}

func choose(only string) ([]measurement, error) {
	if only == "" {
		return measurements, nil
	}
	var chosen []measurement
	for name := range strings.SplitSeq(only, ",") {
		i := slices.IndexFunc(measurements, func(m measurement) bool { return m.name == name })
		if i < 0 {
			return nil, fmt.Errorf("choose measurement %q: there is none of that name (-list shows them)", name)
		}
		chosen = append(chosen, measurements[i])
	}
	return chosen, nil
}

func writeJSON(file string, out io.Writer, chosen []measurement, results []result, b *bench) error {
	all := map[string]any{
		"date": time.Now().Format(time.RFC3339), "kernel": figures.KernelRelease(), "processor": figures.Processor(), "go": figures.GoVersion(), "rounds": b.rounds,
	}
	for i, m := range chosen {
		all[m.name] = results[i].data
	}
	text, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return fmt.Errorf("write figures: %w", err)
	}
	text = append(text, '\n')
	if file == "-" {
		_, err = out.Write(text)
		return err
	}
	if err := os.WriteFile(file, text, 0o644); err != nil {
		return fmt.Errorf("write figures: %w", err)
	}
	return nil
}

func writeDocument(file string, chosen []measurement, results []result, b *bench) error {
	old, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("read old report: %w", err)
	}
	text := string(old)
	for i, m := range chosen {
		text = figures.Put(text, m.section(), results[i].markdown(m, b.rounds))
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("make directory of the report: %w", err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}
