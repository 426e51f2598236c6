//go:build lab

package lab_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/lab"
)

const pair = `name: pair
topology:
  defaults: {kind: linux, image: alpine}
  nodes:
    a:
      binds: ["file:/etc/some/where/file:ro", "folder:/data"]
      env: {COLOUR: blue}
      sysctls: {net.ipv4.ip_forward: 1}
      exec:
        - ip addr add 192.0.2.1/24 dev eth1
        - sh -c 'echo "$COLOUR" > /etc/colour'
    b:
      hostname: bee
      cmd: sh -c 'echo started; exec sleep 1000'
      exec: ["ip addr add 192.0.2.2/24 dev eth1"]
  links:
    - endpoints: ["a:eth1", "b:eth1"]
      mtu: 1400
`

func pairLab(t *testing.T) (*lab.Topology, string) {
	t.Helper()
	needRoot(t)
	file := folder(t, map[string]string{"file": "bound\n", "folder/x": "y\n"})
	return parseAs(t, file, pair), file
}

func TestLabLife(t *testing.T) {
	t.Parallel()
	top, file := pairLab(t)
	state := t.TempDir()
	var progress strings.Builder
	l, err := top.Up(context.Background(), lab.Options{StateDir: state, Progress: &progress})
	require.NoError(t, err)
	r := &running{l, t, top}
	t.Cleanup(func() { assert.NoError(t, l.Down(context.Background())) })
	assert.Contains(t, progress.String(), "lab "+top.Name+" is up\n")

	t.Run("links and exec lines", func(t *testing.T) {
		require.NoError(t, r.ping("a", "192.0.2.2", 3))
		assert.Contains(t, r.do("a", "ip", "link", "show", "eth1"), "mtu 1400")
		assert.Contains(t, r.do("a", "ip", "link", "show", "lo"), "UP")
	})
	t.Run("files", func(t *testing.T) {
		assert.Equal(t, "bound\n", r.do("a", "cat", "/etc/some/where/file"))
		assert.Equal(t, "blue\n", r.do("a", "cat", "/etc/colour"))
		_, err := r.try("a", "sh", "-c", "echo no > /etc/some/where/file")
		assert.ErrorContains(t, err, "Read-only file system")
		r.sh("a", "echo new > /data/new")
		got, err := os.ReadFile(strings.TrimSuffix(file, "t.clab.yml") + "folder/new")
		require.NoError(t, err)
		assert.Equal(t, "new\n", string(got))
		assert.NoFileExists(t, "/etc/colour", "the machine's own files must not change")
		_, err = r.try("b", "test", "-e", "/etc/colour")
		assert.Error(t, err, "nodes must not share files")
	})
	t.Run("environment", func(t *testing.T) {
		assert.Equal(t, "blue a\n", r.sh("a", "echo $COLOUR $(hostname)"))
		assert.Equal(t, "bee\n", r.do("b", "hostname"))
		assert.Equal(t, "1\n", r.do("a", "cat", "/proc/sys/net/ipv4/ip_forward"))
		assert.Equal(t, "eth1\nlo\n", r.do("a", "ls", "/sys/class/net"))
		assert.Contains(t, r.do("b", "cat", "/proc/1/cmdline"), "vtepbgp-lab:")
	})
	t.Run("known to ip netns", func(t *testing.T) {
		out, err := exec.Command("ip", "netns", "exec", "clab-"+top.Name+"-a", "ip", "-br", "addr", "show", "eth1").CombinedOutput()
		require.NoError(t, err)
		assert.Contains(t, string(out), "192.0.2.1/24")
	})
	t.Run("exit codes", func(t *testing.T) {
		ctx := context.Background()
		for script, want := range map[string]int{"true": 0, "exit 7": 7, "kill -9 $$": 137} {
			code, err := l.Exec(ctx, "a", []string{"sh", "-c", script}, lab.Stdio{})
			require.NoError(t, err)
			assert.Equal(t, want, code, script)
		}
		_, err := l.Exec(ctx, "a", []string{"no-such-program"}, lab.Stdio{})
		require.ErrorIs(t, err, exec.ErrNotFound)
		_, err = l.Exec(ctx, "c", []string{"true"}, lab.Stdio{})
		assert.ErrorContains(t, err, `has no node "c" (nodes: a, b)`)
		_, err = l.Exec(ctx, "a", nil, lab.Stdio{})
		assert.ErrorContains(t, err, "no command")
		short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		defer cancel()
		_, err = l.Exec(short, "a", []string{"sleep", "1000"}, lab.Stdio{})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		var out strings.Builder
		code, err := l.Exec(ctx, "a", []string{"cat"}, lab.Stdio{In: strings.NewReader("through"), Out: &out})
		require.NoError(t, err)
		assert.Equal(t, 0, code)
		assert.Equal(t, "through", out.String())
	})
	t.Run("another process finds it", func(t *testing.T) {
		other, err := lab.Open(top.Name, state)
		require.NoError(t, err)
		out, err := other.Output(context.Background(), "a", "cat", "/etc/colour")
		require.NoError(t, err)
		assert.Equal(t, "blue\n", out)
		assert.Equal(t, top.File, other.File())
	})
	t.Run("a second start is refused", func(t *testing.T) {
		_, err := top.Up(context.Background(), lab.Options{StateDir: state})
		require.ErrorContains(t, err, "it is up already")
		_, err = top.Up(context.Background(), lab.Options{StateDir: t.TempDir()})
		require.ErrorContains(t, err, "exist already and are not ours: clab-"+top.Name+"-a, clab-"+top.Name+"-b")
		require.NoError(t, r.ping("a", "192.0.2.2", 1))
	})
	t.Run("processes", func(t *testing.T) {
		nodes, err := l.Nodes()
		require.NoError(t, err)
		require.Len(t, nodes, 2)
		a, b := nodes[0], nodes[1]
		assert.Equal(t, "running", a.State)
		assert.Zero(t, a.PID)
		assert.Empty(t, a.Log)
		require.Len(t, a.Addresses, 1)
		assert.Equal(t, "eth1 [192.0.2.1/24]", fmt.Sprint(a.Addresses[0].Name, " ", a.Addresses[0].Addresses))
		assert.Equal(t, "running", b.State)
		require.NotZero(t, b.PID)
		log, err := os.ReadFile(b.Log)
		require.NoError(t, err)
		assert.Equal(t, "started\n", string(log))

		require.Error(t, l.Start(context.Background(), "b"), "it runs")
		require.NoError(t, l.Signal("b", unix.SIGKILL))
		eventually(t, 5*time.Second, "b stopped", func() error {
			nodes, err := l.Nodes()
			if err == nil && nodes[1].State != "stopped" {
				err = fmt.Errorf("state is %s", nodes[1].State)
			}
			return err
		})
		require.NoError(t, r.ping("a", "192.0.2.2", 1), "the node outlives its process")
		require.NoError(t, l.Start(context.Background(), "b"))
		nodes, err = l.Nodes()
		require.NoError(t, err)
		assert.Equal(t, "running", nodes[1].State)
		assert.NotEqual(t, b.PID, nodes[1].PID)
		require.ErrorContains(t, l.Start(context.Background(), "a"), "runs no process")
	})

	// A process that nobody waits for, and one that ignores signals.
	r.sh("a", "trap '' TERM HUP INT; (sleep 1000 & ) ; setsid sleep 1000 >/dev/null 2>&1 & true")
	tr := traceOf(t, r, state)
	require.NoError(t, l.Down(context.Background()))
	require.NoError(t, tr.gone())
	require.NoError(t, l.Down(context.Background()), "a second down is no error")
	_, err = lab.Open(top.Name, state)
	require.ErrorIs(t, err, lab.ErrNotRunning)
}

func TestFailedUpLeavesNothing(t *testing.T) {
	t.Parallel()
	needRoot(t)
	head := "name: fails\ntopology:\n  defaults: {kind: linux, image: alpine}\n  nodes:\n    a: {cmd: sleep 1000}\n"
	for name, c := range map[string]struct{ text, want string }{
		"exec line": {head + "    b: {exec: ['true', 'sh -c \"echo why >&2; exit 3\"']}\n",
			`node b (line 6): exec "sh -c echo why >&2; exit 3" ended with code 3: why`},
		"exec program": {head + "    b: {exec: ['nothere -x']}\n", `exec "nothere -x": exec in b: nothere: executable file not found`},
		"process ends": {head + "    b: {cmd: 'sh -c \"echo sorry; exit 4\"'}\n", "node b (line 6): its process ended (exit status 4); it wrote:\n  sorry"},
		"no process":   {head + "    b: {cmd: nothere}\n", "start nothere"},
		"sysctl":       {head + "    b: {sysctls: {net.no.such: 1}}\n", "set sysctl net.no.such"},
		"no binary":    {head + "    b: {image: vtepbgp}\n", "node b: find the vtepbgp binary"},
		"same names":   {head + "    b: {}\n  links: [{endpoints: ['a:eth1', 'b:eth1']}, {endpoints: ['a:sit0', 'b:sit0']}, {endpoints: ['a:all', 'b:default']}]\n", "line 7: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := folder(t, nil)
			top := parseAs(t, file, c.text)
			state := t.TempDir()
			_, err := top.Up(context.Background(), lab.Options{StateDir: state, Binary: "/nothere/vtepbgp"})
			require.ErrorContains(t, err, c.want)
			tr := &traces{name: top.Name, stateDir: state}
			require.NoError(t, tr.gone())
		})
	}
}

func TestInterruptedUpLeavesNothing(t *testing.T) {
	t.Parallel()
	needRoot(t)
	top := parseAs(t, folder(t, nil), "name: slow\ntopology:\n  nodes:\n    a: {kind: linux, image: alpine, exec: ['sleep 1000']}\n")
	state := t.TempDir()
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	_, err := top.Up(ctx, lab.Options{StateDir: state})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoError(t, (&traces{name: top.Name, stateDir: state}).gone())
}

// childMain brings a lab up in a process that the test kills meanwhile.
func childMain() int {
	text, err := os.ReadFile(os.Getenv("VTEPBGP_LAB_CHILD"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	top, err := lab.Parse(os.Getenv("VTEPBGP_LAB_CHILD"), text)
	if err == nil {
		_, err = top.Up(context.Background(), lab.Options{StateDir: os.Getenv("VTEPBGP_LAB_STATE"), Progress: os.Stdout})
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// A killed `lab up` cannot clean up; a later `lab down` must.
func TestKilledUpIsClearedByDown(t *testing.T) {
	t.Parallel()
	needRoot(t)
	name := uniqueName("killed")
	file := folder(t, map[string]string{"t.clab.yml": "name: " + name +
		"\ntopology:\n  defaults: {kind: linux, image: alpine}\n  nodes:\n    a: {cmd: sleep 1000}\n    b: {exec: ['touch /reached', 'sleep 1000']}\n" +
		"  links: [{endpoints: ['a:eth1', 'b:eth1']}]\n"})
	state := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "VTEPBGP_LAB_CHILD="+file, "VTEPBGP_LAB_STATE="+state)
	require.NoError(t, cmd.Start())
	var l *lab.Lab
	eventually(t, 20*time.Second, "the exec line runs", func() (err error) {
		if l, err = lab.Open(name, state); err != nil {
			return err
		}
		_, err = l.Output(context.Background(), "b", "test", "-e", "/reached")
		return err
	})
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		assert.NoError(t, l.Down(context.Background()))
	})
	top, err := lab.Load(file)
	require.NoError(t, err)
	tr := traceOf(t, &running{l, t, top}, state)

	require.ErrorContains(t, l.Down(context.Background()), "being brought up or down by another process")
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	_, err = top.Up(context.Background(), lab.Options{StateDir: state})
	require.ErrorContains(t, err, "remains of an interrupted start are there")
	require.NoError(t, l.Down(context.Background()))
	require.NoError(t, tr.gone())
}

func TestDownWithoutHolders(t *testing.T) {
	t.Parallel()
	top, _ := pairLab(t)
	state := t.TempDir()
	l, err := top.Up(context.Background(), lab.Options{StateDir: state})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, l.Down(context.Background())) })
	tr := traceOf(t, &running{l, t, top}, state)
	nodes, err := l.Nodes()
	require.NoError(t, err)
	require.NoError(t, unix.Kill(nodes[0].HolderPID, unix.SIGKILL))
	eventually(t, 5*time.Second, "a is gone", func() error {
		nodes, err := l.Nodes()
		if err == nil && nodes[0].State != "gone" {
			err = fmt.Errorf("state is %s", nodes[0].State)
		}
		return err
	})
	_, err = l.Output(context.Background(), "a", "true")
	require.ErrorContains(t, err, "the node is gone")
	require.NoError(t, l.Down(context.Background()))
	require.NoError(t, tr.gone())
}
