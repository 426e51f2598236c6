package ebpf

import (
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/vtepbgp/vtepbgp/flood"
	"github.com/vtepbgp/vtepbgp/kernel/kerneltest"
)

const within = 20 * time.Second

// wire is two ends of a wire: u0 in near, where the engine is, and v0 in far.
type wire struct{ near, far *kerneltest.Namespace }

func newWire(t testing.TB) wire {
	l := wire{kerneltest.NewNamespace(t), kerneltest.NewNamespace(t)}
	l.near.IP(t, "link", "add", "u0", "type", "veth", "peer", "name", "v0")
	l.move(t, "v0")
	l.near.IP(t, "addr", "add", "10.0.1.1/24", "dev", "u0")
	l.far.IP(t, "addr", "add", "10.0.1.2/24", "dev", "v0")
	l.near.IP(t, "link", "set", "u0", "up")
	l.far.IP(t, "link", "set", "v0", "up")
	return l
}

// move moves a device from near to far.
func (l wire) move(t testing.TB, device string) {
	t.Helper()
	h, err := netlink.NewHandleAt(l.near.Handle())
	require.NoError(t, err)
	defer h.Close()
	moved, err := h.LinkByName(device)
	require.NoError(t, err)
	require.NoError(t, h.LinkSetNsFd(moved, int(l.far.Handle())))
}

// ways are both ways to attach: the reasons not to take tcx.
var ways = map[string]func(*ebpf.Program) error{"tcx": probeTCX, "clsact": withoutTCX}

func (l wire) open(t testing.TB, noTCX func(*ebpf.Program) error) *Engine {
	t.Helper()
	log := logrus.New()
	log.SetOutput(t.Output())
	e, err := open(flood.Options{Interface: "u0", InNamespace: l.near.Do, Log: logrus.NewEntry(log)}, noTCX)
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

func u0(t testing.TB, ns *kerneltest.Namespace) int {
	t.Helper()
	h, err := netlink.NewHandleAt(ns.Handle())
	require.NoError(t, err)
	defer h.Close()
	l, err := h.LinkByName("u0")
	require.NoError(t, err)
	return l.Attrs().Index
}

// hanging counts our programs at u0.
func hanging(t testing.TB, ns *kerneltest.Namespace) map[string]int {
	t.Helper()
	all := map[string]int{}
	for _, at := range places(u0(t, ns)) {
		left, err := (&tcx{ns.Do}).ours(at)
		require.NoError(t, err)
		all["tcx"] += len(left)
		closeAll(left)
	}
	filters := tc(t, ns, "filter", "show", "dev", "u0", "ingress") + tc(t, ns, "filter", "show", "dev", "u0", "egress")
	all["clsact"] = strings.Count(filters, "handle 0x1 "+attachedName)
	return all
}

// only is what hangs there when the engine is attached in one way.
func only(way string) map[string]int {
	all := map[string]int{"tcx": 0, "clsact": 0}
	if way != "" {
		all[way] = 2
	}
	return all
}

// repaired waits until the engine has repaired something for the n-th time.
func repaired(t *testing.T, l wire, e *Engine, n uint64, way string) {
	t.Helper()
	require.Eventually(t, func() bool { return e.Counters().Repairs == n }, within, 10*time.Millisecond)
	require.Equal(t, only(way), hanging(t, l.near))
}

// takeOff detaches our programs at a place as somebody else would.
func takeOff(t *testing.T, ns *kerneltest.Namespace, at place) {
	t.Helper()
	way := &tcx{ns.Do}
	left, err := way.ours(at)
	require.NoError(t, err)
	defer closeAll(left)
	require.Len(t, left, 1)
	require.NoError(t, way.detach(at, left[0]))
}

// TestCannotAttach: somebody has put a qdisc without an egress side in the place of ours. That is tried again with each look, and
// told once.
func TestCannotAttach(t *testing.T) {
	l := newWire(t)
	e := l.open(t, withoutTCX)
	lines := logtest.NewLocal(e.log.Logger)
	func() {
		e.mu.Lock() // it would be faster
		defer e.mu.Unlock()
		tc(t, l.near, "qdisc", "del", "dev", "u0", "clsact")
		tc(t, l.near, "qdisc", "add", "dev", "u0", "ingress")
	}()
	require.Eventually(t, func() bool { return e.Counters().Failures >= 4 }, within, 10*time.Millisecond)
	assert.Contains(t, e.Counters().Problem, `attach to u0: add clsact: the qdisc "ingress" has its place`)
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
	require.Eventually(t, func() bool { return e.Counters().Problem == "" && hanging(t, l.near)["clsact"] == 2 }, within, 10*time.Millisecond)
	assert.Equal(t, 1, warned())
	require.NoError(t, e.Close())
}

func TestDetachedBySomebodyElse(t *testing.T) {
	t.Run("clsact", func(t *testing.T) {
		l := newWire(t)
		e := l.open(t, withoutTCX)
		require.Equal(t, only("clsact"), hanging(t, l.near))
		tc(t, l.near, "filter", "del", "dev", "u0", "ingress")
		repaired(t, l, e, 1, "clsact")
		tc(t, l.near, "qdisc", "del", "dev", "u0", "clsact")
		repaired(t, l, e, 2, "clsact")
		require.NoError(t, e.Close())
		assert.Equal(t, only(""), hanging(t, l.near))
		assert.NotContains(t, tc(t, l.near, "qdisc", "show", "dev", "u0"), "clsact")
	})
	t.Run("tcx", func(t *testing.T) {
		l := newWire(t)
		e := l.open(t, probeTCX)
		require.Equal(t, only("tcx"), hanging(t, l.near))
		assert.NotContains(t, tc(t, l.near, "qdisc", "show", "dev", "u0"), "clsact")
		for i, at := range places(u0(t, l.near)) {
			takeOff(t, l.near, at)
			repaired(t, l, e, uint64(i+1), "tcx")
		}
		require.NoError(t, e.Close())
		assert.Equal(t, only(""), hanging(t, l.near))
	})
}

// someone has a program of his own, which passes all packets on.
func someone(t *testing.T, name string) *ebpf.Program {
	t.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: name, Type: ebpf.SchedCLS, License: "MIT", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, -1), asm.Return()},
	})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, p.Close()) })
	return p
}

// addFilter has somebody add a filter to clsact.
func addFilter(t *testing.T, e *Engine, at place, priority uint16) {
	t.Helper()
	f := filter(at)
	f.Name, f.Priority, f.Fd = "other", priority, someone(t, "other").FD()
	require.NoError(t, e.nl.FilterAdd(f))
}

// atTCX are the programs at a place, in their order: ours by name, those of others by number.
func atTCX(t *testing.T, ns *kerneltest.Namespace, at place) (all []string) {
	t.Helper()
	way := &tcx{ns.Do}
	ids, err := way.programs(at)
	require.NoError(t, err)
	for _, id := range ids {
		p, err := ebpf.NewProgramFromID(id)
		require.NoError(t, err)
		info, err := p.Info()
		require.NoError(t, err)
		require.NoError(t, p.Close())
		all = append(all, info.Name)
	}
	return all
}

// TestOthersStay: what others have attached stays where it is, and so does the qdisc they need. Who was there first
// sees packets first, also after ours was replaced.
func TestOthersStay(t *testing.T) {
	for name, noTCX := range ways {
		t.Run(name, func(t *testing.T) {
			l := newWire(t)
			at := place{index: u0(t, l.near)}
			join := func(name string) {
				require.NoError(t, l.near.Do(func() error {
					return link.RawAttachProgram(link.RawAttachProgramOptions{Target: at.index, Program: someone(t, name), Attach: at.tcx()})
				}))
			}
			join("earlier")
			tc(t, l.near, "qdisc", "add", "dev", "u0", "clsact")
			crashed := l.open(t, noTCX)
			join("later")
			addFilter(t, crashed, at, 60000)
			want := []string{"earlier", "later"}
			if name == "tcx" {
				want = []string{"earlier", attachedName, "later"}
			}
			assert.Equal(t, want, atTCX(t, l.near, at))
			require.NoError(t, crashed.Leave())
			e := l.open(t, noTCX)
			assert.Equal(t, want, atTCX(t, l.near, at))
			assert.Equal(t, only(name), hanging(t, l.near))
			require.NoError(t, e.Close())
			assert.Contains(t, tc(t, l.near, "filter", "show", "dev", "u0", "ingress"), "pref 60000")
			assert.Equal(t, []string{"earlier", "later"}, atTCX(t, l.near, at))
			assert.Equal(t, only(""), hanging(t, l.near))
		})
	}
}

// TestFiltersOfOthersComeFirst: a filter that somebody puts before ours sees packets before we do, though tcx comes
// before all filters.
func TestFiltersOfOthersComeFirst(t *testing.T) {
	l := newWire(t)
	e := l.open(t, probeTCX)
	defer func() { require.NoError(t, e.Close()) }()
	at := place{index: u0(t, l.near)}
	tc(t, l.near, "qdisc", "add", "dev", "u0", "clsact")
	addFilter(t, e, at, 7)
	require.Eventually(t, func() bool { return hanging(t, l.near)["clsact"] == 1 }, within, 10*time.Millisecond)
	assert.Equal(t, map[string]int{"tcx": 1, "clsact": 1}, hanging(t, l.near), "the other direction stays")
	assert.Contains(t, strings.Join(e.Capabilities().Details, "\n"), "filters of others come first")
	tc(t, l.near, "filter", "del", "dev", "u0", "ingress", "pref", "7")
	require.Eventually(t, func() bool { return assert.ObjectsAreEqual(only("tcx"), hanging(t, l.near)) }, within, 10*time.Millisecond)
	assert.Zero(t, e.Counters().Repairs)
	assert.Contains(t, tc(t, l.near, "qdisc", "show", "dev", "u0"), "clsact", "it is not ours")
}

// TestIngressQdisc: where somebody has the qdisc that clsact came after, there is no place for both programs but tcx.
func TestIngressQdisc(t *testing.T) {
	l := newWire(t)
	tc(t, l.near, "qdisc", "add", "dev", "u0", "ingress")
	tc(t, l.near, "filter", "add", "dev", "u0", "parent", "ffff:", "pref", "7", "protocol", "ip", "u32", "match", "ip", "protocol", "253", "0xff")
	e := l.open(t, probeTCX)
	for _, at := range places(u0(t, l.near)) {
		assert.Equal(t, []string{attachedName}, atTCX(t, l.near, at))
	}
	require.NoError(t, e.Close())
	o := flood.Options{Interface: "u0", InNamespace: l.near.Do, Log: logrus.NewEntry(logrus.New())}
	e, err := open(o, withoutTCX)
	require.NoError(t, err)
	require.NoError(t, e.Start())
	require.ErrorContains(t, e.Apply(&flood.Table{}), `attach to u0: add clsact: the qdisc "ingress" has its place`)
	require.NoError(t, e.Close())
	assert.Contains(t, tc(t, l.near, "filter", "show", "dev", "u0", "ingress"), "pref 7")
	assert.NotContains(t, tc(t, l.near, "filter", "show", "dev", "u0", "ingress"), attachedName)
}

// TestFoundAfterCrash: a program that a crash left is replaced, not joined by a second, however either is attached.
func TestFoundAfterCrash(t *testing.T) {
	for before, noTCX := range ways {
		for after, noTCXThen := range ways {
			t.Run(before+" then "+after, func(t *testing.T) {
				l := newWire(t)
				crashed := l.open(t, noTCX)
				require.NoError(t, crashed.Leave()) // a crash detaches nothing
				require.Equal(t, only(before), hanging(t, l.near))
				again := l.open(t, noTCXThen)
				assert.Equal(t, only(after), hanging(t, l.near))
				assert.Zero(t, again.Counters().Repairs)
				require.NoError(t, again.Close())
				assert.Equal(t, only(""), hanging(t, l.near))
				assert.NotContains(t, tc(t, l.near, "qdisc", "show", "dev", "u0"), "clsact")
			})
		}
	}
}

// TestSeveralWereLeft: of several programs of ours at one place, as two processes may have left, none stays beside the new one.
func TestSeveralWereLeft(t *testing.T) {
	l := newWire(t)
	for _, at := range places(u0(t, l.near)) {
		for range 3 {
			require.NoError(t, l.near.Do(func() error {
				return link.RawAttachProgram(link.RawAttachProgramOptions{Target: at.index, Program: someone(t, attachedName), Attach: at.tcx()})
			}))
		}
	}
	e := l.open(t, probeTCX)
	require.Equal(t, only("tcx"), hanging(t, l.near))
	require.NoError(t, e.Close())
	require.Equal(t, only(""), hanging(t, l.near))
}

// TestSweptByEither: what was left is removed however it was attached, also by an engine that never had a table.
func TestSweptByEither(t *testing.T) {
	for name, noTCX := range ways {
		t.Run(name, func(t *testing.T) {
			l := newWire(t)
			o := flood.Options{Interface: "u0", InNamespace: l.near.Do, Log: logrus.NewEntry(logrus.New())}
			require.NoError(t, l.open(t, noTCX).Leave())
			require.NoError(t, Sweep(o, func(string) bool { return false }))
			require.Equal(t, only(name), hanging(t, l.near))
			require.NoError(t, Sweep(o, func(name string) bool { return name == "u0" }))
			require.Equal(t, only(""), hanging(t, l.near))

			require.NoError(t, l.open(t, noTCX).Leave())
			e, err := Open(o)
			require.NoError(t, err)
			require.NoError(t, e.Start())
			require.Equal(t, only(name), hanging(t, l.near))
			require.NoError(t, e.Close())
			require.Equal(t, only(""), hanging(t, l.near))
		})
	}
}

// TestTakenAlong: an interface takes programs at tcx along to another namespace, where they do nothing. The next one of its
// name gets its own.
func TestTakenAlong(t *testing.T) {
	l := newWire(t)
	e := l.open(t, probeTCX)
	defer func() { require.NoError(t, e.Close()) }()
	moved := u0(t, l.near)
	home := func() (index uint32) {
		require.NoError(t, e.objects.Home.Get(&index))
		return index
	}
	require.EqualValues(t, moved, home())
	l.move(t, "u0")
	require.Eventually(t, func() bool { return home() == 0 }, within, 10*time.Millisecond)
	require.Equal(t, only("tcx"), hanging(t, l.far), "Linux leaves them there")
	l.near.IP(t, "link", "add", "u0", "type", "veth", "peer", "name", "w0")
	require.Eventually(t, func() bool { return assert.ObjectsAreEqual(only("tcx"), hanging(t, l.near)) }, within, 10*time.Millisecond)
	require.EqualValues(t, u0(t, l.near), home())
}

// TestNeighborsAreFollowed: the first list finds nobody, the neighbour is asked for and
// answers; it gets another MAC; it goes, and comes back.
func TestNeighborsAreFollowed(t *testing.T) {
	l := newWire(t)
	e := l.open(t, probeTCX)
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
