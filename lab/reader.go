package lab

import (
	"fmt"

	"gopkg.in/yaml.v3"
)

// reader walks the YAML tree rather than decoding into structs, because every
// complaint is to name a line, and a key we do not know must not be skipped.
type reader struct {
	file, dir string
	problems  []Problem
}

func (r *reader) addf(n *yaml.Node, key, format string, args ...any) {
	line := 1
	if n != nil && n.Line > 0 {
		line = n.Line
	}
	r.problems = append(r.problems, Problem{File: r.file, Line: line, Key: key, Text: fmt.Sprintf(format, args...)})
}

type entry struct {
	key   string
	at    *yaml.Node // the key itself
	value *yaml.Node
}

// mapping lists the entries of a map in file order. An absent or empty value is no entries.
func (r *reader) mapping(n *yaml.Node, key string) []entry {
	n = deref(n)
	if n == nil || isNull(n) {
		return nil
	}
	if n.Kind != yaml.MappingNode {
		r.addf(n, key, "expected a map, found %s", kindName(n))
		return nil
	}
	var out []entry
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.Value == "<<" {
			r.addf(k, join(key, "<<"), "merge keys are not supported: use topology.defaults or topology.kinds")
			continue
		}
		if line, dup := seen[k.Value]; dup {
			r.addf(k, join(key, k.Value), "defined twice, first on line %d", line)
			continue
		}
		seen[k.Value] = k.Line
		out = append(out, entry{k.Value, k, deref(v)})
	}
	return out
}

func (r *reader) list(n *yaml.Node, key string) []*yaml.Node {
	if n == nil || isNull(n) {
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		r.addf(n, key, "expected a list, found %s", kindName(n))
		return nil
	}
	out := make([]*yaml.Node, len(n.Content))
	for i, c := range n.Content {
		out[i] = deref(c)
	}
	return out
}

func (r *reader) scalar(n *yaml.Node, key string) (string, bool) {
	if n == nil || n.Kind != yaml.ScalarNode || isNull(n) {
		r.addf(n, key, "expected a value, found %s", kindName(n))
		return "", false
	}
	return n.Value, true
}

func deref(n *yaml.Node) *yaml.Node {
	for n != nil && n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

func kindName(n *yaml.Node) string {
	switch {
	case n == nil || isNull(n):
		return "nothing"
	case n.Kind == yaml.MappingNode:
		return "a map"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	default:
		return fmt.Sprintf("%q", n.Value)
	}
}

func join(key, sub string) string {
	if key == "" {
		return sub
	}
	return key + "." + sub
}
