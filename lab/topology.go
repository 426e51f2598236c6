package lab

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Topology is a containerlab topology file, checked and with the values of its
// defaults, kinds and groups already merged into the nodes.
type Topology struct {
	Name   string // of the lab
	Prefix string // first part of the long names; containerlab's default is "clab"
	File   string // absolute path it was read from
	Nodes  []Node // sorted by name
	Links  []Link // in the order of the file
}

// Node is one machine of the lab.
type Node struct {
	Name     string
	Hostname string
	Image    string
	Role     Role
	Cmd      []string          // split into words; nil = what the role runs by itself
	Env      map[string]string // never nil
	Sysctls  map[string]string // never nil
	Exec     [][]string        // split into words; run in order once links are there
	Binds    []Bind
	Line     int // where the file defines it
}

// Bind puts a file or folder of the machine into a node.
type Bind struct {
	Host     string // absolute
	Node     string // absolute path inside the node
	ReadOnly bool
}

// Link is a veth pair between two nodes.
type Link struct {
	A, B Endpoint
	MTU  int
	Line int
}

// Endpoint is an interface of a node.
type Endpoint struct{ Node, Interface string }

// String is containerlab's notation, node:interface.
func (e Endpoint) String() string { return e.Node + ":" + e.Interface }

// DefaultMTU is containerlab's MTU of links that do not set one.
const DefaultMTU = 9500

// Role is what a node runs. The image's name decides, since no image is ever pulled.
type Role string

// The roles.
const (
	RoleVTEPBGP Role = "vtepbgp" // our daemon, with the node's /etc/vtepbgp/vtepbgp.toml
	RoleFRR     Role = "frr"     // the machine's FRR, with the node's /etc/frr
	RoleHost    Role = "linux"   // cmd, if any, with the machine's tools
)

// roleOf follows the last part of an image reference: registry/path/name:tag.
func roleOf(image string) Role {
	name := path.Base(image)
	name, _, _ = strings.Cut(name, "@")
	name, _, _ = strings.Cut(name, ":")
	switch {
	case name == "vtepbgp":
		return RoleVTEPBGP
	case strings.Contains(name, "frr"):
		return RoleFRR
	default:
		return RoleHost
	}
}

// Load reads a topology file. All problems are reported at once, each with file,
// line and key; errors.Is(err, fs.ErrNotExist) tells a missing file.
func Load(file string) (*Topology, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read topology: %w", err)
	}
	return Parse(file, text)
}

// Parse is [Load] for text that the caller holds. Binds are relative to the folder of file.
func Parse(file string, text []byte) (*Topology, error) {
	abs, err := filepath.Abs(file)
	if err != nil {
		return nil, fmt.Errorf("find folder of %s: %w", file, err)
	}
	r := &reader{file: file, dir: filepath.Dir(abs)}
	t := r.topology(text)
	if len(r.problems) > 0 {
		slices.SortStableFunc(r.problems, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
		errs := make([]error, len(r.problems))
		for i, p := range r.problems {
			errs[i] = p
		}
		return nil, errors.Join(errs...)
	}
	t.File = abs
	return t, nil
}

// Problem is something in a topology file that this package cannot run.
type Problem struct {
	File string
	Line int
	Key  string // path of the key, such as topology.nodes.vtep1.image
	Text string
}

func (p Problem) Error() string {
	if p.Key == "" {
		return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Text)
	}
	return fmt.Sprintf("%s:%d: %s: %s", p.File, p.Line, p.Key, p.Text)
}

// Node returns the node of that name, or nil.
func (t *Topology) Node(name string) *Node {
	for i := range t.Nodes {
		if t.Nodes[i].Name == name {
			return &t.Nodes[i]
		}
	}
	return nil
}

// LongName is the name containerlab gives the container of a node, and we its
// network namespace: <prefix>-<lab>-<node>. An empty prefix leaves the node's
// name alone; "__lab-name" leaves out the prefix only.
func (t *Topology) LongName(node string) string { return longName(t.Prefix, t.Name, node) }

func longName(prefix, lab, node string) string {
	switch prefix {
	case "":
		return node
	case "__lab-name":
		return lab + "-" + node
	default:
		return prefix + "-" + lab + "-" + node
	}
}
