package main

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"
)

// quantile gives the q-quantile by the nearest rank.
func quantile(v []float64, q float64) float64 {
	if len(v) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(v))
	return s[max(0, min(len(s)-1, int(math.Ceil(q*float64(len(s))))-1))]
}

// median is the middle, or the mean of the two in the middle.
func median(v []float64) float64 {
	if len(v) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(v))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

func (m metric) of(s samples) float64 {
	switch {
	case m.quantile > 0:
		return quantile(s[m.key], m.quantile)
	case m.zero && len(s[m.key]) > 0:
		return slices.Max(s[m.key]) // one loss in one run is a loss
	default:
		return median(s[m.key])
	}
}

// number writes three significant digits, more for big ones.
func number(v float64) string {
	switch {
	case math.IsNaN(v):
		return "–"
	case v == 0:
		return "0"
	case math.Abs(v) >= 1000:
		return thousands(int(math.Round(v)))
	case math.Abs(v) >= 100 || v == math.Trunc(v):
		return strconv.FormatFloat(v, 'f', 0, 64)
	case math.Abs(v) >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	default:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
}

func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// cell is the value with its spread: "1,402 ms [1,390..1,433]".
func (m metric) cell(s samples) string {
	v := s[m.key]
	if len(v) == 0 {
		return "–"
	}
	text := number(m.of(s))
	if m.unit != "" {
		text += " " + m.unit
	}
	if lo, hi := number(slices.Min(v)), number(slices.Max(v)); lo != hi && len(v) > 1 {
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
		want, ok = "≤ "+strings.TrimSpace(number(m.max)+" "+m.unit), v <= m.max
	case m.maxRatio > 0:
		want, ok = "≤ "+number(m.maxRatio)+" ×", v <= m.maxRatio*f
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
			parts = append(parts, strings.TrimSpace(fmt.Sprintf("%s %s %s", x.key, number(v[len(v)-1]), x.unit)))
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

// notes marks the hand-written end of the document, which a new run keeps.
const notes = "## Notes"

// markdown is the whole document.
func markdown(results []result, z sizes, systems []system, old string) string {
	var b strings.Builder
	b.WriteString("# Performance beside FRR\n\nWritten by `make bench` (`go run ./lab/bench -write docs/performance.md`); only the notes at the end are by hand.\n\n")
	fmt.Fprintf(&b, "Measured on %s: Linux %s, %s, %s", time.Now().Format("2006-01-02"), kernelRelease(), processor(), goVersion())
	for _, s := range systems {
		fmt.Fprintf(&b, ", %s %s", s.name(), s.version())
	}
	b.WriteString(`.

Both systems run in one go, by turns, in the same network namespaces, fed and observed by the same program, which counts
towards neither. FRR is Debian's bgpd and zebra with Debian's options (netlink buffer 90 MB); the only timer changed is
`)
	b.WriteString("`timers connect 1`. A cell is the median [smallest..largest] of the runs, a loss the largest of them; the ratio is vtepbgp / FRR.\nAbsolute values move with the machine; the ratio is what counts.\n")
	fmt.Fprintf(&b, "Sizes: %s routes, %d latency rounds a run, %s MACs of the VTEP that dies, %s VNIs, soaks over %s MACs.\n",
		thousands(z.routes), z.rounds, thousands(z.death), thousands(z.vnis), thousands(z.soakMACs))
	b.WriteString(sections(results, z, old))
	if i := strings.Index(old, notes); i >= 0 {
		b.WriteString("\n" + old[i:])
	}
	return b.String()
}

// sections gives the results, one section each. What this run did not measure
// keeps its section of the old document.
func sections(results []result, z sizes, old string) string {
	var b strings.Builder
	for _, m := range measurements(z) {
		if i := slices.IndexFunc(results, func(r result) bool { return r.name == m.name }); i >= 0 {
			b.WriteString(results[i].section())
		} else if text := oldSection(old, m.name); text != "" {
			b.WriteString("\n" + text)
		}
	}
	return b.String()
}

func (r result) section() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n## %s (`%s`, n = %d)\n\n%s\n\n", capital(r.title), r.name, r.runs, r.how)
	b.WriteString("| | FRR | vtepbgp | ratio | target | |\n|---|---|---|---|---|---|\n")
	for _, row := range r.rows() {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
	}
	return b.String()
}

// oldSection finds the section of a measurement in an older report.
func oldSection(old, name string) string {
	for _, part := range strings.Split(old, "\n## ") {
		head, _, _ := strings.Cut(part, "\n")
		if strings.Contains(head, "(`"+name+"`,") {
			return "## " + strings.TrimRight(part, "\n") + "\n"
		}
	}
	return ""
}

func capital(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
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

func kernelRelease() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "unknown"
	}
	release, _, _ := strings.Cut(unix.ByteSliceToString(u.Release[:]), "-")
	return release
}
