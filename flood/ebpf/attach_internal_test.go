package ebpf

import (
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/vtepbgp/vtepbgp/flood"
	"github.com/vtepbgp/vtepbgp/kernel/kerneltest"
)

const within = 20 * time.Second

// link is two ends of a wire: u0 in near, where the engine is, and v0 in far.
type link struct{ near, far *kerneltest.Namespace }

func newLink(t testing.TB) link {
	l := link{kerneltest.NewNamespace(t), kerneltest.NewNamespace(t)}
	l.near.IP(t, "link", "add", "u0", "type", "veth", "peer", "name", "v0")
	h, err := netlink.NewHandleAt(l.near.Handle())
	require.NoError(t, err)
	defer h.Close()
	peer, err := h.LinkByName("v0")
	require.NoError(t, err)
	require.NoError(t, h.LinkSetNsFd(peer, int(l.far.Handle())))
	l.near.IP(t, "addr", "add", "10.0.1.1/24", "dev", "u0")
	l.far.IP(t, "addr", "add", "10.0.1.2/24", "dev", "v0")
	l.near.IP(t, "link", "set", "u0", "up")
	l.far.IP(t, "link", "set", "v0", "up")
	return l
}

func (l link) open(t testing.TB) *Engine {
	t.Helper()
	log := logrus.New()
	log.SetOutput(t.Output())
	e, err := Open(flood.Options{Interface: "u0", InNamespace: l.near.Do, Log: logrus.NewEntry(log)})
	require.NoError(t, err)
	require.NoError(t, e.Start())
	require.NoError(t, e.Apply(&flood.Table{}))
	return e
}

func tc(t testing.TB, ns *kerneltest.Namespace, args ...string) string {
	t.Helper()
	var out []byte
	require.NoError(t, ns.Do(func() (err error) {
		out, err = exec.Command("tc", args...).CombinedOutput()
		return err
	}), "%s", out)
	return string(out)
}

func attached(t testing.TB, ns *kerneltest.Namespace) int {
	return strings.Count(tc(t, ns, "filter", "show", "dev", "u0", "ingress")+tc(t, ns, "filter", "show", "dev", "u0", "egress"), filterName)
}

// repaired waits until the engine has repaired something for the n-th time.
func repaired(t *testing.T, l link, e *Engine, n uint64) {
	t.Helper()
	require.Eventually(t, func() bool { return e.Counters().Repairs == n }, within, 10*time.Millisecond)
	require.Equal(t, 2, attached(t, l.near))
}

// TestCannotAttach: somebody has put a qdisc without an egress side in the place of ours. That is tried again with each look, and
// told once.
func TestCannotAttach(t *testing.T) {
	l := newLink(t)
	e := l.open(t)
	lines := logtest.NewLocal(e.log.Logger)
	func() {
		e.mu.Lock() // it would be faster
		defer e.mu.Unlock()
		tc(t, l.near, "qdisc", "del", "dev", "u0", "clsact")
		tc(t, l.near, "qdisc", "add", "dev", "u0", "ingress")
	}()
	require.Eventually(t, func() bool { return e.Counters().Failures >= 4 }, within, 10*time.Millisecond)
	assert.Contains(t, e.Counters().Problem, `add clsact to u0: the qdisc "ingress" has its place`)
	warned := func() (n int) {
		for _, line := range lines.AllEntries() {
			if line.Level == logrus.WarnLevel {
				n++
			}
		}
		return n
	}
	assert.Equal(t, 1, warned())
	tc(t, l.near, "qdisc", "del", "dev", "u0", "ingress")
	require.Eventually(t, func() bool { return e.Counters().Problem == "" && attached(t, l.near) == 2 }, within, 10*time.Millisecond)
	assert.Equal(t, 1, warned())
	require.NoError(t, e.Close())
}

func TestDetachedBySomebodyElse(t *testing.T) {
	l := newLink(t)
	e := l.open(t)
	require.Equal(t, 2, attached(t, l.near))
	tc(t, l.near, "filter", "del", "dev", "u0", "ingress")
	repaired(t, l, e, 1)
	tc(t, l.near, "qdisc", "del", "dev", "u0", "clsact")
	repaired(t, l, e, 2)
	require.NoError(t, e.Close())
	assert.Zero(t, attached(t, l.near))
	assert.NotContains(t, tc(t, l.near, "qdisc", "show", "dev", "u0"), "clsact")
}

// TestOthersStay: what others have attached stays, and so does the qdisc they need.
func TestOthersStay(t *testing.T) {
	l := newLink(t)
	tc(t, l.near, "qdisc", "add", "dev", "u0", "clsact")
	e := l.open(t)
	u0, err := e.nl.LinkByName("u0")
	require.NoError(t, err)
	other := filter(u0.Attrs().Index, netlink.HANDLE_MIN_INGRESS)
	other.Name, other.Priority, other.Fd = "other", 7, e.objects.FloodEgress.FD()
	require.NoError(t, e.nl.FilterAdd(other))
	require.NoError(t, e.Close())
	assert.Contains(t, tc(t, l.near, "filter", "show", "dev", "u0", "ingress"), "pref 7")
	assert.Zero(t, attached(t, l.near))
}

// TestFoundAfterCrash: a program that a crash left is replaced, not joined by a second.
func TestFoundAfterCrash(t *testing.T) {
	l := newLink(t)
	crashed := l.open(t)
	require.NoError(t, crashed.Leave()) // a crash detaches nothing
	require.Equal(t, 2, attached(t, l.near))
	again := l.open(t)
	assert.Equal(t, 2, attached(t, l.near))
	require.NoError(t, again.Close())
	assert.Zero(t, attached(t, l.near))
}

// TestNeighborsAreFollowed: the first list finds nobody, the neighbour is asked for and
// answers; it gets another MAC; it goes, and comes back.
func TestNeighborsAreFollowed(t *testing.T) {
	l := newLink(t)
	e := l.open(t)
	defer func() { require.NoError(t, e.Close()) }()
	vtep := netip.MustParseAddr("10.0.1.2")
	require.NoError(t, e.Apply(&flood.Table{Networks: []flood.Network{{VNI: 1, Listen: service4, VTEPs: []flood.VTEP{{Address: vtep}}}}}))
	installed := func() way {
		e.mu.Lock()
		defer e.mu.Unlock()
		entry := e.lists.installed[listKey{1, service4}].entries[1]
		target := entry.target()
		return way{fast: target.Flags == 0, device: target.Ifindex, dmac: [6]byte(target.Macs[:])}
	}
	require.Eventually(t, func() bool { return installed().fast }, within, 10*time.Millisecond, "the neighbour is found")
	l.near.IP(t, "neigh", "replace", "10.0.1.2", "lladdr", "02:00:00:00:00:77", "dev", "u0", "nud", "permanent")
	require.Eventually(t, func() bool { return installed().dmac == [6]byte{2, 0, 0, 0, 0, 0x77} }, within, 10*time.Millisecond, "another MAC")
	l.near.IP(t, "link", "set", "u0", "down")
	require.Eventually(t, func() bool { return !installed().fast }, within, 10*time.Millisecond, "no way")
	l.near.IP(t, "link", "set", "u0", "up")
	require.Eventually(t, func() bool { return installed().fast }, within, 10*time.Millisecond, "a way again")
}
