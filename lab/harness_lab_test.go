//go:build lab

package lab_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/lab"
)

// missing skips a test for a reason, or fails it where labs must run.
func missing(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("VTEPBGP_LAB_REQUIRED") == "1" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		missing(t, "needs root for network namespaces")
	}
}

func needProgram(t testing.TB, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		missing(t, "needs %s: %v", name, err)
	}
}

func needFRR(t testing.TB) {
	t.Helper()
	if _, err := os.Stat("/usr/lib/frr/bgpd"); err != nil {
		missing(t, "needs FRR: %v", err)
	}
}

var build struct {
	once sync.Once
	file string
	err  error
}

// binary is the vtepbgp under test: $VTEPBGP_BINARY, or built once per run.
func binary(t testing.TB) string {
	t.Helper()
	if f := os.Getenv("VTEPBGP_BINARY"); f != "" {
		abs, err := filepath.Abs(f)
		require.NoError(t, err)
		return abs
	}
	build.once.Do(func() {
		build.file = filepath.Join(buildDir, "vtepbgp")
		cmd := exec.Command("go", "build", "-o", build.file, "../cmd/vtepbgp")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			build.err = fmt.Errorf("build vtepbgp: %w: %s", err, out)
		}
	})
	require.NoError(t, build.err)
	return build.file
}

var buildDir string

func TestMain(m *testing.M) {
	if os.Getenv("VTEPBGP_LAB_CHILD") != "" {
		os.Exit(childMain())
	}
	var err error
	if buildDir, err = os.MkdirTemp("", "vtepbgp-lab-test-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(buildDir)
	os.Exit(code)
}

var counter atomic.Int64

// uniqueName keeps labs of one run, of parallel runs and of the user apart.
func uniqueName(base string) string {
	return fmt.Sprintf("%s-%d-%d", base, os.Getpid(), counter.Add(1))
}

var nameLine = regexp.MustCompile(`(?m)^name: *(\S+)$`)

// load reads a topology file under a name of our own.
func load(t testing.TB, file string) *lab.Topology {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	return parseAs(t, file, string(text))
}

func parseAs(t testing.TB, file, text string) *lab.Topology {
	t.Helper()
	m := nameLine.FindStringSubmatch(text)
	require.NotNil(t, m, "no name in %s", file)
	text = strings.Replace(text, m[0], "name: "+uniqueName(m[1]), 1)
	top, err := lab.Parse(file, []byte(text))
	require.NoError(t, err)
	return top
}

// folder writes files into a fresh folder and gives the path of its topology.
func folder(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		file := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
	}
	return filepath.Join(dir, "t.clab.yml")
}

// running is a lab of a test, with helpers that fail the test.
type running struct {
	*lab.Lab
	t   testing.TB
	top *lab.Topology
}

// up starts a lab, shows its logs when the test fails, and takes it down at the end.
func up(t testing.TB, top *lab.Topology, bin string) *running {
	t.Helper()
	needRoot(t)
	for _, n := range top.Nodes {
		if n.Role == lab.RoleFRR {
			needFRR(t)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	l, err := top.Up(ctx, lab.Options{Binary: bin, StateDir: t.TempDir()})
	require.NoError(t, err)
	r := &running{l, t, top}
	before := backlogLosses(t)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the machine lost %d packets between all its namespaces meanwhile", backlogLosses(t)-before)
			r.logs()
		}
		assert.NoError(t, l.Down(context.Background()))
	})
	return r
}

// views are what a failed test shows of its nodes.
var views = map[lab.Role][][]string{
	lab.RoleVTEPBGP: {{"vtepbgp", "neighbor", "show"}, {"vtepbgp", "vni", "show"}, {"vtepbgp", "route", "show"}, {"vtepbgp", "flood", "show"},
		{"vtepbgp", "mac", "show"}, {"bridge", "-s", "fdb", "show"}},
	lab.RoleFRR: {{"vtysh", "-c", "show bgp summary", "-c", "show evpn vni", "-c", "show bgp l2vpn evpn route", "-c", "show running-config"},
		{"ip", "-br", "link"}},
}

func (r *running) logs() {
	nodes, err := r.Nodes()
	if err != nil {
		r.t.Logf("nodes: %v", err)
		return
	}
	for _, n := range nodes {
		if n.Log == "" {
			continue
		}
		text, err := os.ReadFile(n.Log)
		if err != nil {
			r.t.Logf("log of %s: %v", n.Name, err)
			continue
		}
		if len(text) > 6000 {
			text = append([]byte("…"), text[len(text)-6000:]...)
		}
		r.t.Logf("%s (%s, %s):\n%s", n.Name, n.Role, n.State, text)
		for _, argv := range views[n.Role] {
			out, err := r.try(n.Name, argv...)
			if len(out) > 6000 {
				out = out[:6000] + "…"
			}
			r.t.Logf("%s: %s: %v\n%s", n.Name, strings.Join(argv, " "), err, out)
		}
	}
}

// node is what a node is now.
func (r *running) node(name string) lab.NodeStatus {
	r.t.Helper()
	nodes, err := r.Nodes()
	require.NoError(r.t, err)
	for _, n := range nodes {
		if n.Name == name {
			return n
		}
	}
	require.FailNow(r.t, "no such node", name)
	return lab.NodeStatus{}
}

// try runs a command in a node; a code other than 0 is an error.
func (r *running) try(node string, argv ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return r.Output(ctx, node, argv...)
}

func (r *running) do(node string, argv ...string) string {
	r.t.Helper()
	out, err := r.try(node, argv...)
	require.NoError(r.t, err)
	return out
}

func (r *running) sh(node, script string) string {
	r.t.Helper()
	return r.do(node, "sh", "-c", script)
}

// json runs a command that prints JSON. No output is an empty answer, as iproute2 gives it.
func (r *running) json(into any, node string, argv ...string) error {
	out, err := r.try(node, argv...)
	if err != nil {
		return err
	}
	out = strings.TrimSpace(out)
	if out == "" {
		out = "[]"
	}
	if err := json.Unmarshal([]byte(out), into); err != nil {
		return fmt.Errorf("parse output of %s in %s: %w: %s", strings.Join(argv, " "), node, err, out)
	}
	return nil
}

// eventually polls until check returns nil, and fails with its last error.
func eventually(t testing.TB, limit time.Duration, what string, check func() error) {
	t.Helper()
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var err error
	for {
		if err = check(); err == nil {
			return
		}
		select {
		case <-deadline.C:
			require.NoError(t, err, "%s: not within %s", what, limit)
			return
		case <-tick.C:
		}
	}
}

// holds checks that something stays true for a while.
func holds(t testing.TB, span time.Duration, what string, check func() error) {
	t.Helper()
	end := time.NewTimer(span)
	defer end.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		require.NoError(t, check(), what)
		select {
		case <-end.C:
			return
		case <-tick.C:
		}
	}
}

// pingsAtOnce is how many pings are sent without a pause.
const pingsAtOnce = 10

// ping sends count packets, 20 ms apart if they are many, and demands every answer. Once there is one, ping (iputils) waits for the
// others for twice the longest round trip or the interval, whichever is longer: 20 ms are nothing on a busy machine.
func (r *running) ping(from, to string, count int) error {
	pace := []string{"-i", "0.02"}
	if count <= pingsAtOnce {
		pace = []string{"-i", "1", "-l", fmt.Sprint(count)}
	}
	out, err := r.try(from, slices.Concat([]string{"ping", "-n", "-q", "-c", fmt.Sprint(count), "-W", "2"}, pace, []string{to})...)
	if err != nil {
		return fmt.Errorf("ping %s to %s: %w: %s", from, to, err, out)
	}
	if !strings.Contains(out, " 0% packet loss") {
		return fmt.Errorf("ping %s to %s: %s", from, to, out)
	}
	return nil
}

// pingAll pings between all pairs of hosts at once, both ways; no packet may be lost.
func (r *running) pingAll(hosts map[string]string, count int) error {
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		errs []error
		gate = make(chan struct{}, 8)
	)
	for from := range hosts {
		for to, addr := range hosts {
			if from == to {
				continue
			}
			wg.Add(1)
			go func() {
				defer wg.Done()
				gate <- struct{}{}
				defer func() { <-gate }()
				if err := r.ping(from, addr, count); err != nil {
					mu.Lock()
					errs = append(errs, err)
					mu.Unlock()
				}
			}()
		}
	}
	wg.Wait()
	return errors.Join(errs...)
}

// traces looks for what a lab left on the machine: processes that were in it, names,
// mounts, files. The numbers of namespaces are no evidence: the kernel gives them out
// again at once.
type traces struct {
	name     string
	stateDir string
	procs    map[string]string // /proc folder of each process of the lab, and its start time
}

// traceOf notes the processes of a lab; call it right before the lab ends.
func traceOf(t testing.TB, r *running, stateDir string) *traces {
	t.Helper()
	tr := &traces{name: r.Name(), stateDir: stateDir, procs: map[string]string{}}
	nodes, err := r.Nodes()
	require.NoError(t, err)
	spaces := map[string]bool{}
	for _, n := range nodes {
		if n.HolderPID == 0 {
			continue
		}
		s, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", n.HolderPID))
		require.NoError(t, err)
		spaces[s] = true
	}
	procs, err := filepath.Glob("/proc/[0-9]*")
	require.NoError(t, err)
	for _, p := range procs {
		if s, err := os.Readlink(p + "/ns/pid"); err == nil && spaces[s] {
			tr.procs[p] = started(p)
		}
	}
	require.GreaterOrEqual(t, len(tr.procs), len(spaces))
	return tr
}

// started is the start time of a process; "" when it is dead, even if nobody has collected it.
func started(proc string) string {
	stat, _ := os.ReadFile(proc + "/stat")
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return ""
	}
	return fields[19]
}

func (tr *traces) gone() error {
	var errs []error
	for p, when := range tr.procs {
		if when != "" && started(p) == when {
			cmdline, _ := os.ReadFile(p + "/cmdline")
			errs = append(errs, fmt.Errorf("process %s: %q", p, cmdline))
		}
	}
	procs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return err
	}
	for _, p := range procs {
		cmdline, _ := os.ReadFile(p + "/cmdline")
		if bytes.Contains(cmdline, []byte("vtepbgp-lab:")) && bytes.Contains(cmdline, []byte("-"+tr.name+"-")) && started(p) != "" {
			errs = append(errs, fmt.Errorf("process %s: %q", p, cmdline))
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for _, line := range strings.Split(string(mounts), "\n") {
		if strings.Contains(line, "-"+tr.name+"-") || strings.Contains(line, tr.stateDir) {
			errs = append(errs, fmt.Errorf("mount %s", line))
		}
	}
	names, _ := filepath.Glob("/run/netns/*-" + tr.name + "-*")
	for _, n := range names {
		errs = append(errs, fmt.Errorf("network namespace %s", n))
	}
	left, _ := filepath.Glob(tr.stateDir + "/*")
	for _, f := range left {
		errs = append(errs, fmt.Errorf("file %s", f))
	}
	return errors.Join(errs...)
}
