package main

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// maxWidth is what a table fits in. Values too wide for it, such as many long
// IPv6 addresses, go to a second line below their row.
const maxWidth = 100

// Text of these kinds is coloured on a terminal.
type style string

const (
	plain  style = ""
	good   style = "\x1b[32m"
	bad    style = "\x1b[31m"
	warned style = "\x1b[33m"
	faint  style = "\x1b[2m"
)

const resetStyle = "\x1b[0m"

// column is one column of a table.
type column struct {
	name  string
	kind  columnKind
	right bool // align right, for numbers
}

type columnKind uint8

const (
	fixed  columnKind = iota // always in the row
	moving                   // moves to the second line when the row gets too wide
	remark                   // free text: in the row when all rows have room, else below
)

// table is what a show command prints.
type table struct {
	columns []column
	rows    [][]cell
}

type cell struct {
	text  string
	style style
}

func newTable(columns ...column) *table { return &table{columns: columns} }

// row adds a row of cells or of values printed as they are; "" and invalid
// addresses become "-".
func (t *table) row(values ...any) {
	cells := make([]cell, len(values))
	for i, v := range values {
		c, ok := v.(cell)
		if !ok {
			c = cell{text: show(v)}
		}
		c.text = printable(c.text)
		if c.text == "" && t.columns[i].kind != remark {
			c.text = "-"
		}
		cells[i] = c
	}
	t.rows = append(t.rows, cells)
}

// show prints a value; the zero netip types print "invalid …" by themselves.
func show(v any) string {
	if a, ok := v.(interface{ IsValid() bool }); ok && !a.IsValid() {
		return ""
	}
	return fmt.Sprint(v)
}

// printable replaces control characters: text of neighbours and files must not
// steer the reader's terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f || (r >= 0x80 && r < 0xa0) || r == utf8.RuneError {
			return '?'
		}
		return r
	}, s)
}

const gap = "  "

// write prints the table.
func (t *table) write(w io.Writer, colour bool) error {
	widths, inline := t.layout()
	var b strings.Builder
	header := make([]cell, len(t.columns))
	for i, c := range t.columns {
		header[i] = cell{text: c.name, style: faint}
	}
	t.line(&b, header, widths, inline, colour)
	for _, row := range t.rows {
		t.line(&b, row, widths, inline, colour)
		t.below(&b, row, inline)
		if b.Len() > 1<<16 {
			if _, err := io.WriteString(w, b.String()); err != nil {
				return err
			}
			b.Reset()
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// layout says how wide columns are and which of them stand in the row.
func (t *table) layout() (widths []int, inline []bool) {
	widths, inline = make([]int, len(t.columns)), make([]bool, len(t.columns))
	total := -len(gap)
	for i, c := range t.columns {
		widths[i], inline[i] = utf8.RuneCountInString(c.name), true
		used := false
		for _, row := range t.rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i].text))
			used = used || row[i].text != ""
		}
		if c.kind == remark && !used {
			inline[i] = false
			continue
		}
		total += widths[i] + len(gap)
	}
	for _, kind := range []columnKind{remark, moving} {
		for i := len(t.columns) - 1; i >= 0 && total > maxWidth; i-- {
			if inline[i] && t.columns[i].kind == kind {
				inline[i] = false
				total -= widths[i] + len(gap)
			}
		}
	}
	return widths, inline
}

func (t *table) line(b *strings.Builder, row []cell, widths []int, inline []bool, colour bool) {
	var line strings.Builder
	for i, c := range row {
		if !inline[i] {
			continue
		}
		pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c.text))
		text := c.text
		if colour && c.style != plain && text != "" {
			text = string(c.style) + text + resetStyle
		}
		if t.columns[i].right {
			line.WriteString(pad + text + gap)
		} else {
			line.WriteString(text + pad + gap)
		}
	}
	b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
}

// below prints what did not fit into the row, each value under its name.
func (t *table) below(b *strings.Builder, row []cell, inline []bool) {
	const indent = "    "
	line := ""
	flush := func() {
		if line != "" {
			b.WriteString(indent + line + "\n")
		}
		line = ""
	}
	for i, c := range row {
		if inline[i] || strings.TrimSpace(c.text) == "" || (c.text == "-" && t.columns[i].kind == moving) {
			continue
		}
		words := strings.Fields(c.text)
		words[0] = strings.ToLower(t.columns[i].name) + ": " + words[0] // a name stands with its value
		for j, word := range words {
			separator := " "
			if j == 0 {
				separator = gap
			}
			for { // a word longer than a line is cut, not lost
				room := maxWidth - len(indent)
				if line == "" && utf8.RuneCountInString(word) > room {
					runes := []rune(word)
					line, word = string(runes[:room]), string(runes[room:])
					flush()
					continue
				}
				if line == "" {
					line = word
				} else if utf8.RuneCountInString(line)+len(separator)+utf8.RuneCountInString(word) <= room {
					line += separator + word
				} else {
					flush()
					continue
				}
				break
			}
		}
	}
	flush()
}

// pairs prints names and values one below the other.
type pairs struct {
	names  []string
	values []cell
}

func (p *pairs) add(name string, v any) {
	c, ok := v.(cell)
	if !ok {
		c = cell{text: show(v)}
	}
	if c.text = printable(c.text); c.text == "" {
		c.text = "-"
	}
	p.names = append(p.names, name)
	p.values = append(p.values, c)
}

func (p *pairs) write(w io.Writer, colour bool) error {
	width := 0
	for _, n := range p.names {
		width = max(width, utf8.RuneCountInString(n))
	}
	var b strings.Builder
	for i, n := range p.names {
		v := p.values[i]
		for j, line := range wrap(v.text, maxWidth-width-len(gap)) {
			if j > 0 {
				n = ""
			}
			if colour && v.style != plain {
				line = string(v.style) + line + resetStyle
			}
			fmt.Fprintf(&b, "%-*s%s%s\n", width, n, gap, line)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// wrap breaks s into lines of at most width characters, between words where it can.
func wrap(s string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(s) {
		for utf8.RuneCountInString(word) > width {
			if line != "" {
				lines = append(lines, line)
			}
			runes := []rune(word)
			lines, line, word = append(lines, string(runes[:width])), "", string(runes[width:])
		}
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) <= width:
			line += " " + word
		default:
			lines = append(lines, line)
			line = word
		}
	}
	return append(lines, line)
}
