package main

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/vtepbgp/vtepbgp/lab/figures"
)

func (m metric) of(s samples) float64 {
	switch {
	case m.quantile > 0:
		return figures.Quantile(s[m.key], m.quantile)
	case m.zero && len(s[m.key]) > 0:
		return slices.Max(s[m.key]) // one loss in one run is a loss
	default:
		return figures.Median(s[m.key])
	}
}

// cell is the value with its spread: "1,402 ms [1,390..1,433]".
func (m metric) cell(s samples) string {
	v := s[m.key]
	if len(v) == 0 {
		return "–"
	}
	text := figures.Number(m.of(s))
	if m.unit != "" {
		text += " " + m.unit
	}
	if lo, hi := figures.Number(slices.Min(v)), figures.Number(slices.Max(v)); lo != hi && len(v) > 1 {
		text += fmt.Sprintf(" [%s..%s]", lo, hi)
	}
	return text
}

// target says what was wanted and whether it is so.
func (m metric) target(ours, theirs samples) (want, verdict string) {
	v, f := m.of(ours), m.of(theirs)
	var ok bool
	switch {
	case m.zero:
		want, ok = "0", v == 0
	case m.max > 0:
		want, ok = "≤ "+strings.TrimSpace(figures.Number(m.max)+" "+m.unit), v <= m.max
	case m.maxRatio > 0:
		want, ok = "≤ "+figures.Number(m.maxRatio)+" ×", v <= m.maxRatio*f
		if math.IsNaN(f) && !math.IsNaN(v) {
			return want, "no comparison"
		}
	default:
		return "", ""
	}
	if math.IsNaN(v) {
		return want, "not measured"
	}
	if ok {
		return want, "reached"
	}
	return want, "missed"
}

func (m metric) ratio(ours, theirs samples) string {
	v, f := m.of(ours), m.of(theirs)
	if math.IsNaN(v) || math.IsNaN(f) || f == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", v/f)
}

// brief is what the progress line shows of the last run.
func (m measurement) brief(s samples) string {
	var parts []string
	for _, x := range m.metrics {
		if v := s[x.key]; len(v) > 0 && x.quantile != 0.99 {
			parts = append(parts, strings.TrimSpace(fmt.Sprintf("%s %s %s", x.key, figures.Number(v[len(v)-1]), x.unit)))
		}
	}
	return strings.Join(parts, ", ")
}

// result is a finished measurement.
type result struct {
	measurement
	runs    int
	samples map[string]samples
}

var columns = []string{"", "FRR", "vtepbgp", "ratio", "target", ""}

func (r result) rows() (rows [][]string) {
	theirs, ours := r.samples["FRR"], r.samples["vtepbgp"]
	for _, m := range r.metrics {
		want, verdict := m.target(ours, theirs)
		rows = append(rows, []string{m.label, m.cell(theirs), m.cell(ours), m.ratio(ours, theirs), want, verdict})
	}
	return rows
}

// table is the aligned form for the terminal.
func table(results []result) string {
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, r := range results {
		fmt.Fprintf(w, "%s: %s (n=%d)\n", r.name, r.title, r.runs)
		for _, row := range append([][]string{columns}, r.rows()...) {
			fmt.Fprintf(w, "  %s\n", strings.Join(row, "\t"))
		}
		fmt.Fprintln(w)
	}
	_ = w.Flush()
	return b.String()
}

// markdown is the whole document.
func markdown(results []result, z sizes, systems []system, old string) string {
	var b strings.Builder
	b.WriteString("# Performance beside FRR\n\nWritten by `make bench` (`go run ./lab/bench -write docs/performance.md`); only the notes at the end are by hand.\n\n")
	fmt.Fprintf(&b, "Measured on %s: Linux %s, %s, %s", time.Now().Format("2006-01-02"), figures.KernelRelease(), figures.Processor(), figures.GoVersion())
	for _, s := range systems {
		fmt.Fprintf(&b, ", %s %s", s.name(), s.version())
	}
	b.WriteString(`.

Both systems run in one go, by turns, in the same network namespaces, fed and observed by the same program, which counts
towards neither. FRR is Debian's bgpd and zebra with Debian's options (netlink buffer 90 MB); the only timer changed is
`)
	b.WriteString("`timers connect 1`. A cell is the median [smallest..largest] of the runs, a loss the largest of them; the ratio is vtepbgp / FRR.\nAbsolute values move with the machine; the ratio is what counts.\n")
	fmt.Fprintf(&b, "Sizes: %s routes, %d latency rounds a run, %s MACs of the VTEP that dies, %s VNIs, soaks over %s MACs.\n",
		figures.Thousands(z.routes), z.rounds, figures.Thousands(z.death), figures.Thousands(z.vnis), figures.Thousands(z.soakMACs))
	b.WriteString(sections(results, z, old))
	b.WriteString(figures.Notes(old))
	return b.String()
}

// sections gives the results, one section each. What this run did not measure
// keeps its section of the old document, and so do those of other programs.
func sections(results []result, z sizes, old string) string {
	var b strings.Builder
	var names []string
	for _, m := range measurements(z) {
		names = append(names, m.name)
		if i := slices.IndexFunc(results, func(r result) bool { return r.name == m.name }); i >= 0 {
			b.WriteString(results[i].section())
		} else if text := figures.Section(old, m.name); text != "" {
			b.WriteString("\n" + text)
		}
	}
	b.WriteString(figures.Others(old, names))
	return b.String()
}

func (r result) section() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n## %s (`%s`, n = %d)\n\n%s\n\n", figures.Capital(r.title), r.name, r.runs, r.how)
	b.WriteString("| | FRR | vtepbgp | ratio | target | |\n|---|---|---|---|---|---|\n")
	for _, row := range r.rows() {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
	}
	return b.String()
}

func writeDocument(path string, results []result, z sizes, systems []system) error {
	old, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("read old report: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("make directory of the report: %w", err)
	}
	if err := os.WriteFile(path, []byte(markdown(results, z, systems, string(old))), 0o644); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}
