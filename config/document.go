package config

import (
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// document knows on which line of a file each key path stands. Viper does not
// keep that, so the text is scanned a second time for positions only. It also
// keeps keys as they were spelled: viper lower-cases them, TOML does not.
type document struct {
	file  string
	lines map[string]int
	keys  []position // in order of appearance, header and leaf keys alike
}

// position is one key as it stands in the file.
type position struct {
	table string // path of the table that holds the key, with indexes
	name  string
	line  int
}

// scanDocument reads text that is known to be well-formed TOML.
func scanDocument(file string, text []byte) *document {
	d := &document{file: file, lines: map[string]int{}}
	var p unstable.Parser
	p.Reset(text)
	s := scanner{document: d, parser: &p, counts: map[string]int{}}
	for p.NextExpression() {
		s.expression(p.Expression())
	}
	return d
}

// line is where key stands, or else the nearest table around it; 0 when nothing
// of it is in the file.
func (d *document) line(key string) int {
	for key != "" {
		if l, ok := d.lines[key]; ok {
			return l
		}
		key = key[:max(strings.LastIndexAny(key, ".["), 0)]
	}
	return 0
}

type scanner struct {
	*document
	parser *unstable.Parser
	table  string         // path of the current table
	counts map[string]int // elements seen of each array of tables
}

func (s *scanner) expression(n *unstable.Node) {
	if n.Kind == unstable.KeyValue {
		s.keyValue(s.table, n)
		return
	}
	if array := n.Kind == unstable.ArrayTable; array || n.Kind == unstable.Table {
		s.table = s.header(n, array)
	}
}

// header resolves [a.b] and [[a.b]]: a component that is an array of tables
// stands for its latest element.
func (s *scanner) header(n *unstable.Node, array bool) string {
	path := ""
	it := n.Key()
	for it.Next() {
		name, line := string(it.Node().Data), s.nodeLine(it.Node())
		parent := path
		path = join(path, name)
		s.note(parent, path, name, line)
		if array && it.IsLast() {
			s.counts[path]++
		}
		if c := s.counts[path]; c > 0 {
			path += "[" + strconv.Itoa(c-1) + "]"
			if _, ok := s.lines[path]; !ok {
				s.lines[path] = line
			}
		}
	}
	return path
}

func (s *scanner) keyValue(table string, n *unstable.Node) {
	path, line := table, 0
	it := n.Key()
	for it.Next() {
		parent, name := path, string(it.Node().Data)
		path = join(path, name)
		line = s.nodeLine(it.Node())
		s.note(parent, path, name, line)
	}
	s.value(path, n.Value(), line)
}

func (s *scanner) value(path string, n *unstable.Node, line int) {
	if n.Kind == unstable.InlineTable {
		it := n.Children()
		for it.Next() {
			s.keyValue(path, it.Node())
		}
		return
	}
	if n.Kind != unstable.Array {
		return
	}
	i := 0
	it := n.Children()
	for it.Next() {
		if it.Node().Kind == unstable.Comment {
			continue
		}
		elem := path + "[" + strconv.Itoa(i) + "]"
		if l := s.nodeLine(it.Node()); l > 0 {
			line = l
		}
		s.lines[elem] = line
		s.value(elem, it.Node(), line)
		i++
	}
}

func (s *scanner) note(parent, path, name string, line int) {
	if _, ok := s.lines[path]; !ok {
		s.lines[path] = line
	}
	s.keys = append(s.keys, position{table: parent, name: name, line: line})
}

// nodeLine is 0 for nodes whose place the parser does not keep.
func (s *scanner) nodeLine(n *unstable.Node) int {
	if n.Raw.Length == 0 {
		return 0
	}
	return s.parser.Shape(n.Raw).Start.Line
}

func join(path, name string) string {
	if strings.ContainsFunc(name, notBare) || name == "" {
		name = strconv.Quote(name)
	}
	if path == "" {
		return name
	}
	return path + "." + name
}

// notBare reports a character that needs quotes in a TOML key.
func notBare(r rune) bool {
	return r != '_' && r != '-' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
}
