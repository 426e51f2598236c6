package config

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	File    string // as the operator named it; "-" is standard input
	Line    int    // 0 = unknown
	Key     string // path such as vni[2].import_rt[0]; empty when it concerns the file
	Message string // what is wrong and what would be right
}

func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		b.WriteString(":" + strconv.Itoa(p.Line))
	}
	b.WriteString(": ")
	if p.Key != "" {
		b.WriteString(p.Key + ": ")
	}
	b.WriteString(p.Message)
	return b.String()
}

// Problems are all problems of a configuration, sorted by file and line. It is
// the error of [Load].
type Problems []Problem

// Error gives one problem a line.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// report collects problems while a configuration is read.
type report struct {
	problems Problems
	seen     map[seenKey]bool
}

type seenKey struct {
	file, key string
}

func newReport() *report { return &report{seen: map[seenKey]bool{}} }

func (r *report) add(p Problem) {
	r.problems = append(r.problems, p)
	r.seen[seenKey{p.File, p.Key}] = true
}

// has reports whether key of file is already known to be wrong, so that one
// mistake does not show up twice.
func (r *report) has(file, key string) bool { return r.seen[seenKey{file, key}] }

func (r *report) err() error {
	if len(r.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(r.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Key, b.Key), cmp.Compare(a.Message, b.Message))
	})
	return slices.Compact(r.problems)
}

// scope is a table of a file: what its keys are called and where they stand.
type scope struct {
	doc    *document
	path   string // "" at the top
	report *report
}

func (s *scope) setScope(o scope) { *s = o }

func (s scope) key(name string) string {
	if s.path == "" {
		return name
	}
	return s.path + "." + name
}

func (s scope) keyAt(name string, i int) string {
	return s.key(name) + "[" + strconv.Itoa(i) + "]"
}

// problem reports key, which is a full path made by [scope.key].
func (s scope) problem(key, format string, args ...any) {
	s.report.add(Problem{File: s.doc.file, Line: s.doc.line(key), Key: key, Message: fmt.Sprintf(format, args...)})
}

// missing reports a key that has to be there, unless it is there and wrong.
func (s scope) missing(name, want string) {
	key := s.key(name)
	if !s.report.has(s.doc.file, key) {
		s.problem(key, "missing: %s", want)
	}
}

// at says where a key stands, for messages about a second one like it.
func (s scope) at(key string) string {
	if line := s.doc.line(key); line > 0 {
		return fmt.Sprintf("%s:%d", s.doc.file, line)
	}
	return s.doc.file
}
