package kerneltest

import (
	"os"
	"os/exec"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netns"
)

// Required is the environment variable that turns a skip for want of root or of a
// kernel feature into a failure.
const Required = "VTEPBGP_LAB_REQUIRED"

func skip(t testing.TB, why string) {
	t.Helper()
	if os.Getenv(Required) == "1" {
		t.Fatalf("%s, and %s=1", why, Required)
	}
	t.Skip(why)
}

// Namespace is a fresh network namespace with lo up; it goes with the test.
type Namespace struct {
	handle netns.NsHandle
	home   netns.NsHandle
}

// NewNamespace makes a network namespace, or skips the test with the reason.
func NewNamespace(t testing.TB) *Namespace {
	t.Helper()
	if os.Geteuid() != 0 {
		skip(t, "network namespaces need root")
	}
	runtime.LockOSThread()
	home, err := netns.Get()
	require.NoError(t, err)
	handle, err := netns.New()
	if err != nil {
		runtime.UnlockOSThread()
		skip(t, "cannot make a network namespace: "+err.Error())
	}
	require.NoError(t, netns.Set(home))
	runtime.UnlockOSThread()
	n := &Namespace{handle: handle, home: home}
	t.Cleanup(func() { handle.Close(); home.Close() })
	n.IP(t, "link", "set", "lo", "up")
	return n
}

// Handle is the namespace for [kernel.NetlinkOptions].
func (n *Namespace) Handle() netns.NsHandle { return n.handle }

// Do runs f with the thread in the namespace.
func (n *Namespace) Do(f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := netns.Set(n.handle); err != nil {
		return err
	}
	err := f()
	if back := netns.Set(n.home); back != nil {
		panic("kerneltest: cannot leave the network namespace: " + back.Error())
	}
	return err
}

// IP runs ip(8) in the namespace.
func (n *Namespace) IP(t testing.TB, args ...string) string { return n.run(t, "ip", args...) }

// BridgeTool runs bridge(8) in the namespace.
func (n *Namespace) BridgeTool(t testing.TB, args ...string) string {
	return n.run(t, "bridge", args...)
}

func (n *Namespace) run(t testing.TB, tool string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(tool); err != nil {
		skip(t, "needs iproute2: "+err.Error())
	}
	var out []byte
	err := n.Do(func() (err error) {
		out, err = exec.Command(tool, args...).CombinedOutput()
		return err
	})
	require.NoError(t, err, "%s %v: %s", tool, args, out)
	return string(out)
}
