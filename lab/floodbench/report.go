package main

import (
	"bytes"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/vtepbgp/vtepbgp/lab/figures"
)

// grid is a table to show.
type grid struct {
	title  string
	header []string
	rows   [][]string
}

func (g *grid) add(cells ...string) { g.rows = append(g.rows, cells) }

// check is a target and what became of it.
type check struct {
	What   string `json:"what"`
	Target string `json:"target"`
	Got    string `json:"got"`
	OK     bool   `json:"reached"`
}

func atLeast(what string, got, target float64) check {
	return check{what, "≥ " + figures.Number(target) + " ×", figures.Number(got) + " ×", got >= target}
}

func atMost(what string, got, target float64, unit string) check {
	return check{what, "≤ " + figures.Number(target) + " " + unit, figures.Number(got) + " " + unit, got <= target}
}

func none(what string, got float64) check { return check{what, "0", figures.Number(got), got == 0} }

func (c check) verdict() string {
	if c.OK {
		return "reached"
	}
	return "missed"
}

func (r result) grids() []grid {
	all := r.tables
	if len(r.checks) > 0 {
		g := grid{header: []string{"target", "", "measured", ""}}
		for _, c := range r.checks {
			g.add(c.What, c.Target, c.Got, c.verdict())
		}
		all = append(all, g)
	}
	return all
}

// text is for a terminal.
func (r result) text() string {
	var b bytes.Buffer
	for _, g := range r.grids() {
		if g.title != "" {
			fmt.Fprintf(&b, "%s\n", g.title)
		}
		w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		for _, row := range append([][]string{g.header}, g.rows...) {
			fmt.Fprintf(w, "  %s\n", strings.Join(row, "\t"))
		}
		_ = w.Flush()
		fmt.Fprintln(&b)
	}
	return b.String()
}

// section is the name of a measurement in the document, where others have theirs.
func (m measurement) section() string { return "flood-" + m.name }

// markdown is the section of a measurement.
func (r result) markdown(m measurement, rounds int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "## Flooding: %s (`%s`, n = %d)\n\n%s\n\nMeasured by `make bench-flood` on %s: Linux %s, %s, %s.\n",
		m.title, m.section(), rounds, m.how, time.Now().Format("2006-01-02"), figures.KernelRelease(), figures.Processor(), figures.GoVersion())
	for _, g := range r.grids() {
		b.WriteString("\n")
		if g.title != "" {
			fmt.Fprintf(&b, "%s\n\n", g.title)
		}
		fmt.Fprintf(&b, "| %s |\n|%s\n", strings.Join(g.header, " | "), strings.Repeat("---|", len(g.header)))
		for _, row := range g.rows {
			fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
		}
	}
	return b.String()
}
