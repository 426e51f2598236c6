package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Options of [Topology.Up]. The zero value works.
type Options struct {
	// Binary is the vtepbgp that nodes with our image run; "" is the running program.
	Binary string
	// StateDir is where running labs are kept track of; "" is [DefaultStateDir].
	StateDir string
	// Progress gets one line per step; nil is silence.
	Progress io.Writer
}

// settle is how long a node's process must live for its start to count as good. A
// daemon with a bad configuration ends far sooner.
const settle = 300 * time.Millisecond

// parallel bounds the work on nodes at the same time: it is netlink and exec, not CPU.
const parallel = 8

// Up brings the lab up: processes, then links, then exec lines, as containerlab does.
// When it fails, or ctx ends before it is done, everything it made is gone again and
// the error says what the failing process wrote. It needs root.
func (t *Topology) Up(ctx context.Context, o Options) (*Lab, error) {
	if err := needRoot("lab up"); err != nil {
		return nil, err
	}
	u := &bringUp{t: t, dir: labDir(o.StateDir, t.Name), progress: o.Progress}
	if err := u.prepare(o); err != nil {
		return nil, fmt.Errorf("lab %s: %w", t.Name, err)
	}
	unlock, err := lock(o.StateDir, t.Name)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := u.claim(); err != nil {
		return nil, fmt.Errorf("lab %s: %w", t.Name, err)
	}
	l := &Lab{dir: u.dir, stateDir: o.StateDir, state: u.state}
	u.lab = l
	if err := u.run(ctx); err != nil {
		u.say("lab %s failed: taking it down", t.Name)
		if derr := l.tearDown(); derr != nil {
			err = errors.Join(err, fmt.Errorf("clean up: %w", derr))
		}
		return nil, fmt.Errorf("lab %s: %w", t.Name, err)
	}
	return l, nil
}

type bringUp struct {
	t        *Topology
	dir      string
	state    *state
	lab      *Lab
	holders  map[string]*holder
	mu       sync.Mutex // progress
	progress io.Writer
}

func (u *bringUp) say(format string, args ...any) {
	if u.progress == nil {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	fmt.Fprintf(u.progress, format+"\n", args...)
}

// prepare checks what can be checked before anything exists.
func (u *bringUp) prepare(o Options) error {
	if _, err := exec.LookPath("ip"); err != nil {
		return errors.New("the ip command is needed: apt-get install iproute2")
	}
	binary := o.Binary
	var err error
	if binary == "" {
		binary, err = os.Executable()
	} else {
		binary, err = filepath.Abs(binary)
	}
	if err != nil {
		return fmt.Errorf("find the vtepbgp binary: %w", err)
	}
	u.state = &state{Name: u.t.Name, Prefix: u.t.Prefix, File: u.t.File, Created: time.Now().UTC()}
	if u.state.Owner, err = identify(os.Getpid()); err != nil {
		return fmt.Errorf("identify this process: %w", err)
	}
	var errs []error
	for _, n := range u.t.Nodes {
		ns := nodeState{Name: n.Name, Image: n.Image, Role: n.Role, Namespace: u.t.LongName(n.Name),
			Env: environment(n)}
		switch n.Role {
		case RoleVTEPBGP:
			if st, err := os.Stat(binary); err != nil {
				errs = append(errs, fmt.Errorf("node %s: find the vtepbgp binary: %w", n.Name, err))
			} else if st.IsDir() || st.Mode()&0o111 == 0 {
				errs = append(errs, fmt.Errorf("node %s: %s is no program", n.Name, binary))
			}
			u.state.Binary = binary
		case RoleFRR:
			if err := frrInstalled(); err != nil {
				errs = append(errs, fmt.Errorf("node %s (image %s): %w", n.Name, n.Image, err))
			}
		case RoleHost: // the host's own tools
		}
		if ns.Argv = mainOf(n); ns.Argv != nil {
			ns.Log = filepath.Join(u.dir, n.Name+".log")
		}
		for _, l := range u.t.Links {
			for _, e := range []Endpoint{l.A, l.B} {
				if e.Node == n.Name {
					ns.Links = append(ns.Links, e.Interface)
				}
			}
		}
		u.state.Nodes = append(u.state.Nodes, ns)
	}
	return errors.Join(errs...)
}

func environment(n Node) []string {
	env := map[string]string{"PATH": nodePath, "HOME": "/root", "HOSTNAME": n.Hostname}
	if t := os.Getenv("TERM"); t != "" {
		env["TERM"] = t
	}
	for k, v := range n.Env {
		env[k] = v
	}
	out := make([]string, 0, len(env))
	for k, v := range env {
		out = append(out, k+"="+v)
	}
	slices.Sort(out)
	return out
}

// claim makes the lab's folder, which says to everyone that the lab exists.
func (u *bringUp) claim() error {
	if s, err := readState(u.dir); err == nil {
		if s.Ready {
			return fmt.Errorf("it is up already since %s, from %s (take it down first: vtepbgp lab down %s)",
				s.Created.Format(time.DateTime), s.File, s.File)
		}
		return fmt.Errorf("remains of an interrupted start are there (clear them: vtepbgp lab down %s)", s.File)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var taken []string
	for _, n := range u.state.Nodes {
		if nameTaken(n.Namespace) {
			taken = append(taken, n.Namespace)
		}
	}
	if taken != nil {
		return fmt.Errorf("network namespaces of these names exist already and are not ours: %s", strings.Join(taken, ", "))
	}
	if err := os.MkdirAll(filepath.Join(u.dir, "root"), 0o755); err != nil {
		return fmt.Errorf("make lab state folder: %w", err)
	}
	return u.state.save(u.dir)
}

func (u *bringUp) run(ctx context.Context) error {
	u.say("lab %s: %d nodes, %d links", u.t.Name, len(u.t.Nodes), len(u.t.Links))
	if err := u.makeHolders(ctx); err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	mains := make([]*running, len(u.t.Nodes))
	for i, n := range u.t.Nodes {
		g.Go(func() error {
			m, err := u.startNode(gctx, n)
			if err != nil {
				return fmt.Errorf("node %s (line %d): %w", n.Name, n.Line, err)
			}
			mains[i] = m
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for _, l := range u.t.Links {
		if err := connect(u.t.Name, l, u.holders[l.A.Node].process, u.holders[l.B.Node].process); err != nil {
			return fmt.Errorf("line %d: %w", l.Line, err)
		}
	}
	if len(u.t.Links) > 0 {
		u.say("links are up")
	}
	g, gctx = errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for _, n := range u.t.Nodes {
		g.Go(func() error {
			if err := u.execLines(gctx, n); err != nil {
				return fmt.Errorf("node %s (line %d): %w", n.Name, n.Line, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := u.settled(ctx, mains); err != nil {
		return err
	}
	u.state.Ready = true
	if err := u.lab.saveLocked(); err != nil {
		return err
	}
	u.say("lab %s is up", u.t.Name)
	return nil
}

// makeHolders records every holder before it is let go on.
func (u *bringUp) makeHolders(ctx context.Context) error {
	u.holders = map[string]*holder{}
	for _, n := range u.t.Nodes {
		h, err := startHolder(u.t.LongName(n.Name))
		if err != nil {
			return fmt.Errorf("node %s: %w", n.Name, err)
		}
		u.holders[n.Name] = h
		u.state.node(n.Name).Holder = h.process
		if err := u.lab.saveLocked(); err != nil {
			h.in.Close()
			<-h.gone
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

func (u *bringUp) startNode(ctx context.Context, n Node) (*running, error) {
	h := u.holders[n.Name]
	if err := attachName(u.t.LongName(n.Name), h.PID); err != nil {
		return nil, err
	}
	plan := rootfs{scratch: filepath.Join(u.dir, "root"), hostname: n.Hostname, role: n.Role, binds: n.Binds}
	if n.Role == RoleVTEPBGP {
		plan.binary = u.state.Binary
	}
	if err := inside(h.process, setupSpaces, plan.build); err != nil {
		return nil, err
	}
	if err := h.release(ctx); err != nil {
		return nil, err
	}
	if err := loopbackUp(h.process); err != nil {
		return nil, err
	}
	if err := setSysctls(h.process, n.Sysctls); err != nil {
		return nil, err
	}
	u.lab.mu.Lock()
	ns := *u.state.node(n.Name)
	u.lab.mu.Unlock()
	if len(ns.Argv) == 0 {
		u.say("node %s: plain host", n.Name)
		return nil, nil
	}
	main, run, err := startMain(ctx, &ns)
	if err != nil {
		return nil, err
	}
	u.lab.mu.Lock()
	u.state.node(n.Name).Main = main
	err = u.state.save(u.dir)
	u.lab.mu.Unlock()
	if err != nil {
		return nil, err
	}
	u.say("node %s: %s runs, pid %d", n.Name, n.Role, main.PID)
	return run, nil
}

func setSysctls(h process, values map[string]string) error {
	if len(values) == 0 {
		return nil
	}
	return inside(h, setupSpaces, func() error {
		for k, v := range values {
			// Dots separate unless the key is written with slashes (sysctl.d(5)).
			file := k
			if !strings.Contains(k, "/") {
				file = strings.ReplaceAll(k, ".", "/")
			}
			if err := os.WriteFile(filepath.Join("/proc/sys", file), []byte(v), 0); err != nil {
				return fmt.Errorf("set sysctl %s: %w", k, err)
			}
		}
		return nil
	})
}

// execLines runs the lines in order. Containerlab only logs a line that fails; here
// the start fails, since a lab with half its addresses is of no use.
func (u *bringUp) execLines(ctx context.Context, n Node) error {
	for _, argv := range n.Exec {
		var out strings.Builder
		code, err := u.lab.Exec(ctx, n.Name, argv, Stdio{Out: &out, Err: &out})
		if err != nil {
			return fmt.Errorf("exec %q: %w", strings.Join(argv, " "), err)
		}
		if code != 0 {
			return fmt.Errorf("exec %q ended with code %d: %s", strings.Join(argv, " "), code, strings.TrimSpace(out.String()))
		}
	}
	return nil
}

// settled fails when a node's process has ended already.
func (u *bringUp) settled(ctx context.Context, mains []*running) error {
	timer := time.NewTimer(settle)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	var errs []error
	for i, m := range mains {
		if m == nil {
			continue
		}
		select {
		case <-m.done:
			n := u.state.node(u.t.Nodes[i].Name)
			errs = append(errs, fmt.Errorf("node %s (line %d): its process ended (%s); it wrote:\n%s",
				n.Name, u.t.Nodes[i].Line, m.result(), tail(n.Log)))
		default:
		}
	}
	return errors.Join(errs...)
}

// tail is the end of a log, for an error message.
func tail(file string) string {
	const lines = 20
	text, err := os.ReadFile(file)
	if err != nil {
		return "  (no log: " + err.Error() + ")"
	}
	all := strings.Split(strings.TrimSpace(string(text)), "\n")
	if len(all) > lines {
		all = all[len(all)-lines:]
	}
	return "  " + strings.Join(all, "\n  ")
}
