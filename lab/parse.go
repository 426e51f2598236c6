package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// Names are file names, parts of namespace names and host names at once; this is
// the stricter half of containerlab's own pattern.
var nameForm = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]*$`)

var (
	topKeys      = []string{"name", "prefix", "topology"}
	topologyKeys = []string{"defaults", "groups", "kinds", "links", "nodes"}
	nodeKeys     = []string{"binds", "cap-add", "cmd", "env", "exec", "group", "hostname", "image", "image-pull-policy",
		"kind", "labels", "network-mode", "privileged", "sysctls"}
	linkKeys = []string{"endpoints", "mtu"}
)

func (r *reader) unsupported(e entry, parent string, known []string) {
	r.addf(e.at, join(parent, e.key), "not supported by vtepbgp lab (supported here: %s)", strings.Join(known, ", "))
}

func (r *reader) topology(text []byte) *Topology {
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		r.yamlError(err)
		return nil
	}
	if len(doc.Content) == 0 {
		r.addf(nil, "", "the file is empty: a topology needs name and topology")
		return nil
	}
	root := doc.Content[0]
	t := &Topology{Prefix: "clab"}
	var body *yaml.Node
	for _, e := range r.mapping(root, "") {
		switch e.key {
		case "name":
			if v, ok := r.scalar(e.value, e.key); ok {
				t.Name = v
				if !nameForm.MatchString(v) {
					r.addf(e.value, e.key, "%q is no lab name: letters, digits, dots, dashes and underscores", v)
				}
			}
		case "prefix":
			if v, ok := r.scalar(e.value, e.key); ok {
				t.Prefix = v
				if v != "" && v != "__lab-name" && !nameForm.MatchString(v) {
					r.addf(e.value, e.key, "%q is no prefix: letters, digits, dots, dashes and underscores", v)
				}
			}
		case "topology":
			body = e.value
		default:
			r.unsupported(e, "", topKeys)
		}
	}
	if t.Name == "" {
		r.addf(root, "name", "missing: the lab needs a name")
	}
	if body == nil || isNull(body) {
		r.addf(root, "topology", "missing: no nodes")
		return t
	}
	r.body(t, body)
	return t
}

var yamlLine = regexp.MustCompile(`^yaml: line (\d+): (.*)$`)

func (r *reader) yamlError(err error) {
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		line, _ := strconv.Atoi(m[1])
		r.addf(&yaml.Node{Line: line}, "", "not YAML: %s", m[2])
		return
	}
	r.addf(nil, "", "not YAML: %s", strings.TrimPrefix(err.Error(), "yaml: "))
}

func (r *reader) body(t *Topology, body *yaml.Node) {
	var defaults rawNode
	kinds, groups := map[string]rawNode{}, map[string]rawNode{}
	var nodes []entry
	var links *yaml.Node
	for _, e := range r.mapping(body, "topology") {
		key := join("topology", e.key)
		switch e.key {
		case "defaults":
			defaults = r.rawNode(e.value, key)
		case "kinds", "groups":
			into := map[string]map[string]rawNode{"kinds": kinds, "groups": groups}[e.key]
			for _, k := range r.mapping(e.value, key) {
				into[k.key] = r.rawNode(k.value, join(key, k.key))
			}
		case "nodes":
			nodes = r.mapping(e.value, key)
		case "links":
			links = e.value
		default:
			r.unsupported(e, "topology", topologyKeys)
		}
	}
	if len(nodes) == 0 {
		r.addf(body, "topology.nodes", "missing: a lab needs at least one node")
	}
	for _, e := range nodes {
		key := join("topology.nodes", e.key)
		if !nameForm.MatchString(e.key) {
			r.addf(e.at, key, "%q is no node name: letters, digits, dots, dashes and underscores", e.key)
			continue
		}
		own := r.rawNode(e.value, key)
		t.Nodes = append(t.Nodes, r.node(e, key, own, defaults, kinds, groups))
	}
	slices.SortFunc(t.Nodes, func(a, b Node) int { return strings.Compare(a.Name, b.Name) })
	r.links(t, links)
}

// rawNode is one block of node keys, before blocks are merged.
type rawNode struct {
	scalars map[string]string
	at      map[string]*yaml.Node
	env     map[string]string
	sysctls map[string]string
	exec    []*yaml.Node
	binds   []*yaml.Node
}

func (r *reader) rawNode(n *yaml.Node, key string) rawNode {
	raw := rawNode{scalars: map[string]string{}, at: map[string]*yaml.Node{}}
	for _, e := range r.mapping(n, key) {
		k := join(key, e.key)
		switch e.key {
		case "kind", "image", "cmd", "group", "hostname", "network-mode":
			if v, ok := r.scalar(e.value, k); ok {
				raw.scalars[e.key], raw.at[e.key] = v, e.value
			}
		case "env":
			raw.env = r.strings(e.value, k)
		case "sysctls":
			raw.sysctls = r.strings(e.value, k)
		case "exec":
			raw.exec = r.list(e.value, k)
		case "binds":
			raw.binds = r.list(e.value, k)
		case "labels", "image-pull-policy", "cap-add", "privileged":
			// They say nothing that matters here: nodes run as root with all
			// capabilities over their own namespaces, and no image is pulled.
		default:
			r.unsupported(e, key, nodeKeys)
		}
	}
	if k := raw.scalars["kind"]; k != "" && k != "linux" {
		r.addf(raw.at["kind"], join(key, "kind"),
			"%q is not supported by vtepbgp lab (supported: linux; for a switch use a linux node whose exec lines make a bridge)", k)
	}
	if m := raw.scalars["network-mode"]; m != "" && m != "none" {
		r.addf(raw.at["network-mode"], join(key, "network-mode"),
			"%q is not supported by vtepbgp lab (supported: none; nodes never have a management interface here)", m)
	}
	return raw
}

func (r *reader) strings(n *yaml.Node, key string) map[string]string {
	out := map[string]string{}
	for _, e := range r.mapping(n, key) {
		if v, ok := r.scalar(e.value, join(key, e.key)); ok {
			out[e.key] = v
		}
	}
	return out
}

// node merges the blocks as containerlab does: the nearest scalar wins (node, group,
// kind, defaults), maps are laid over each other, lists are joined, defaults first.
func (r *reader) node(e entry, key string, own, defaults rawNode, kinds, groups map[string]rawNode) Node {
	group := own.scalars["group"]
	chain := []rawNode{defaults}
	kind := ""
	for _, b := range []rawNode{own, groups[group], defaults} {
		if kind = b.scalars["kind"]; kind != "" {
			break
		}
	}
	if kind == "" {
		r.addf(e.at, join(key, "kind"), "missing: say kind: linux here or in topology.defaults")
	}
	if k, ok := kinds[kind]; ok {
		chain = append(chain, k)
	}
	if g, ok := groups[group]; ok {
		chain = append(chain, g)
	}
	chain = append(chain, own)

	out := Node{Name: e.key, Hostname: e.key, Env: map[string]string{}, Sysctls: map[string]string{}, Line: e.at.Line}
	for _, b := range chain {
		if v := b.scalars["image"]; v != "" {
			out.Image = v
		}
		if v := b.scalars["hostname"]; v != "" {
			out.Hostname = v
		}
		if v := b.scalars["cmd"]; v != "" {
			out.Cmd = r.words(b.at["cmd"], join(key, "cmd"))
		}
		maps.Copy(out.Env, b.env)
		maps.Copy(out.Sysctls, b.sysctls)
		for i, n := range b.exec {
			if w := r.words(n, fmt.Sprintf("%s.exec[%d]", key, i)); w != nil {
				out.Exec = append(out.Exec, w)
			}
		}
		for i, n := range b.binds {
			if bind, ok := r.bind(n, fmt.Sprintf("%s.binds[%d]", key, i)); ok {
				out.Binds = append(out.Binds, bind)
			}
		}
	}
	if out.Image == "" {
		r.addf(e.at, join(key, "image"), "missing: the image's name says what the node runs")
	}
	out.Role = roleOf(out.Image)
	if out.Role == RoleFRR && out.Cmd != nil {
		r.addf(e.at, join(key, "cmd"), "not supported with an FRR image: FRR's own start script runs")
	}
	return out
}

func (r *reader) words(n *yaml.Node, key string) []string {
	line, ok := r.scalar(n, key)
	if !ok {
		return nil
	}
	w, err := words(line)
	switch {
	case err != nil:
		r.addf(n, key, "cannot split %q into words: %v", line, err)
	case len(w) == 0:
		r.addf(n, key, "empty command")
	default:
		return w
	}
	return nil
}

func (r *reader) bind(n *yaml.Node, key string) (Bind, bool) {
	text, ok := r.scalar(n, key)
	if !ok {
		return Bind{}, false
	}
	parts := strings.Split(text, ":")
	b := Bind{}
	switch {
	case len(parts) == 3 && parts[2] == "ro":
		b.ReadOnly = true
	case len(parts) == 3 && parts[2] == "rw":
	case len(parts) == 3:
		r.addf(n, key, "option %q is not supported by vtepbgp lab (supported: ro, rw)", parts[2])
		return b, false
	case len(parts) != 2:
		r.addf(n, key, "%q is no bind: write host:node or host:node:ro", text)
		return b, false
	}
	b.Host, b.Node = parts[0], parts[1]
	if b.Host == "" || !path.IsAbs(b.Node) || path.Clean(b.Node) == "/" {
		r.addf(n, key, "%q is no bind: write host:/absolute/path/in/the/node, with :ro for read-only", text)
		return b, false
	}
	b.Node = path.Clean(b.Node)
	if !filepath.IsAbs(b.Host) {
		b.Host = filepath.Join(r.dir, b.Host)
	}
	b.Host = filepath.Clean(b.Host)
	if _, err := os.Stat(b.Host); errors.Is(err, fs.ErrNotExist) {
		r.addf(n, key, "%s does not exist", b.Host)
		return b, false
	} else if err != nil {
		r.addf(n, key, "cannot read %s: %v", b.Host, err)
		return b, false
	}
	return b, true
}
