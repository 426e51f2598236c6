package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// ErrNotRunning tells that no lab of that name is up.
var ErrNotRunning = errors.New("lab is not running")

// Lab is a lab that is up. Get one from [Topology.Up] or [Open].
type Lab struct {
	dir      string
	stateDir string

	mu    sync.Mutex // guards state and its file
	state *state
}

// Open finds a running lab by name, whichever process brought it up. stateDir ""
// is [DefaultStateDir]. The error is [ErrNotRunning] when there is none.
func Open(name, stateDir string) (*Lab, error) {
	if !nameForm.MatchString(name) {
		return nil, fmt.Errorf("open lab: %q is no lab name", name)
	}
	dir := labDir(stateDir, name)
	s, err := readState(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open lab %s: %w", name, ErrNotRunning)
	}
	if err != nil {
		return nil, fmt.Errorf("open lab %s: %w", name, err)
	}
	return &Lab{dir: dir, stateDir: stateDir, state: s}, nil
}

// Name is the lab's name.
func (l *Lab) Name() string { return l.state.Name }

// File is the topology file the lab was made from.
func (l *Lab) File() string { return l.state.File }

// Created is when up began.
func (l *Lab) Created() time.Time { return l.state.Created }

// Binary is the vtepbgp that the lab's nodes run; "" when none does.
func (l *Lab) Binary() string { return l.state.Binary }

// NodeStatus is what `lab show` prints about a node.
type NodeStatus struct {
	Name      string      `json:"name"`
	Image     string      `json:"image"`
	Role      Role        `json:"role"`
	State     string      `json:"state"`      // running | stopped (its process ended) | gone (the node itself ended)
	PID       int         `json:"pid"`        // of the node's process, as the machine counts; 0 = none
	HolderPID int         `json:"holder_pid"` // first process of the node; its namespaces are the node's
	Namespace string      `json:"namespace"`  // for ip netns exec
	Addresses []Interface `json:"interfaces"` // without loopback addresses 127.0.0.1 and ::1
	Log       string      `json:"log"`        // what the node's process wrote; "" when it has none
}

// Interface is an interface of a node with the addresses it carries.
type Interface struct {
	Name      string         `json:"name"`
	Up        bool           `json:"up"`
	Addresses []netip.Prefix `json:"addresses"` // sorted; link-local left out
}

// Nodes lists the nodes, sorted by name.
func (l *Lab) Nodes() ([]NodeStatus, error) {
	l.mu.Lock()
	nodes := append([]nodeState(nil), l.state.Nodes...)
	l.mu.Unlock()
	out := make([]NodeStatus, 0, len(nodes))
	for _, n := range nodes {
		s := NodeStatus{Name: n.Name, Image: n.Image, Role: n.Role, Namespace: n.Namespace,
			HolderPID: n.Holder.PID, Log: n.Log, State: "running", Addresses: []Interface{}}
		switch {
		case !n.Holder.alive():
			s.State, s.HolderPID = "gone", 0
		case len(n.Argv) > 0 && !n.Main.alive():
			s.State = "stopped"
		case len(n.Argv) > 0:
			s.PID = n.Main.PID
		}
		if s.State != "gone" {
			ifs, err := interfaces(n.Holder.PID)
			if err != nil {
				return nil, fmt.Errorf("list interfaces of %s: %w", n.Name, err)
			}
			s.Addresses = ifs
		}
		out = append(out, s)
	}
	return out, nil
}

// Signal sends a signal to the process of a node. A process that ended stays
// ended until [Lab.Start]; nothing restarts it.
func (l *Lab) Signal(node string, sig unix.Signal) error {
	n, err := l.node(node)
	if err != nil {
		return err
	}
	if len(n.Argv) == 0 {
		return fmt.Errorf("signal %s: the node runs no process", node)
	}
	if err := n.Main.signal(sig); err != nil {
		return fmt.Errorf("signal %s: %w", node, err)
	}
	return nil
}

// Start starts the process of a node again after it ended, with the same
// arguments; its log goes on in the same file.
func (l *Lab) Start(ctx context.Context, node string) error {
	n, err := l.node(node)
	if err != nil {
		return err
	}
	if len(n.Argv) == 0 {
		return fmt.Errorf("start %s: the node runs no process", node)
	}
	if n.Main.alive() {
		return fmt.Errorf("start %s: it is running, pid %d", node, n.Main.PID)
	}
	main, _, err := startMain(ctx, &n)
	if err != nil {
		return fmt.Errorf("start %s: %w", node, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state.node(node).Main = main
	return l.state.save(l.dir)
}

func (l *Lab) node(name string) (nodeState, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.state.node(name)
	if n == nil {
		return nodeState{}, fmt.Errorf("lab %s has no node %q (nodes: %s)", l.state.Name, name, l.names())
	}
	return *n, nil
}

func (l *Lab) names() string {
	out := ""
	for i, n := range l.state.Nodes {
		if i > 0 {
			out += ", "
		}
		out += n.Name
	}
	return out
}

func needRoot(what string) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("%s needs root (it makes network and mount namespaces): run it with sudo", what)
	}
	return nil
}

func (l *Lab) saveLocked() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state.save(l.dir)
}
