package kerneltest

import (
	"context"
	"io"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/kernel"
)

// The addresses and MACs of the suite.
var (
	vtepHere = netip.MustParseAddr("10.0.0.1")
	vtepB    = netip.MustParseAddr("10.0.0.2")
	vtepC    = netip.MustParseAddr("10.0.0.3")
	macA     = evpn.MAC{2, 0, 0, 0, 0, 0xa}
	macB     = evpn.MAC{2, 0, 0, 0, 0, 0xb}
	macC     = evpn.MAC{2, 0, 0, 0, 0, 0xc}
)

// patience is what must come may take on a busy machine; only who waits in vain waits that long.
const patience = 30 * time.Second

// rig is a running Kernel in a World, with an ear on its events.
type rig struct {
	World
	t    testing.TB
	k    *kernel.Kernel
	raw  kernel.Backend // somebody else's access to the same kernel
	stop func()

	mu     sync.Mutex
	events []evpn.Event
}

func oneVNI() kernel.Config {
	return kernel.Config{VTEP: vtepHere, VNIs: []kernel.VNI{{VNI: 100, Manage: true, Ports: []string{"p1", "p2"}, Suppression: true}}}
}

// underlay gives a World with the VTEP address and two ports.
func underlay(t testing.TB, f Factory) World {
	w := f(t)
	w.AddPort(t, "eth0", 1600)
	w.AddPort(t, "p1", 1500)
	w.AddPort(t, "p2", 1500)
	w.SetAddress(t, "eth0", vtepHere, true)
	return w
}

// start runs a Kernel with cfg and waits for its first picture.
func start(t testing.TB, w World, cfg kernel.Config, eventBuffer int) *rig {
	return startOn(t, w, w.Backend(t, eventBuffer), cfg)
}

// startOn is start over a backend of the test's own.
func startOn(t testing.TB, w World, b kernel.Backend, cfg kernel.Config) *rig {
	log := logrus.New()
	log.SetOutput(io.Discard)
	r := &rig{World: w, t: t, raw: w.Backend(t, 0), k: kernel.New(b, logrus.NewEntry(log))}
	require.NoError(t, r.k.Configure(cfg))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.k.Run(ctx, r.hear) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		assert.NoError(t, <-done)
	})
	t.Cleanup(r.stop)
	select {
	case <-r.k.Synced():
	case <-time.After(patience):
		require.FailNow(t, "no first picture")
	}
	return r
}

func (r *rig) hear(ev evpn.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, ev)
}

// heard takes the events so far.
func (r *rig) heard() []evpn.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events)
}

func (r *rig) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = nil
}

// eventually polls until ok or patience ends.
func (r *rig) eventually(ok func() bool, what string) {
	r.t.Helper()
	require.Eventually(r.t, ok, patience, time.Millisecond, what)
}

// wantEvents waits until exactly these events were heard since the last forget.
func (r *rig) wantEvents(want ...evpn.Event) {
	r.t.Helper()
	deadline := time.Now().Add(patience)
	for !assert.ObjectsAreEqual(want, r.heard()) && time.Now().Before(deadline) {
		<-time.After(time.Millisecond)
	}
	require.Equal(r.t, want, r.heard())
	r.forget()
}

// wantFDB waits until the listing is exactly this.
func (r *rig) wantFDB(want ...string) {
	r.t.Helper()
	r.wantLines(r.FDB, want)
}

func (r *rig) wantNeighbors(want ...string) {
	r.t.Helper()
	r.wantLines(r.Neighbors, want)
}

func (r *rig) wantLines(list func(testing.TB) []string, want []string) {
	r.t.Helper()
	if want == nil {
		want = []string{}
	}
	slices.Sort(want)
	deadline := time.Now().Add(patience)
	got := list(r.t)
	for !slices.Equal(got, want) && time.Now().Before(deadline) {
		<-time.After(2 * time.Millisecond)
		got = list(r.t)
	}
	require.Equal(r.t, want, got)
}

// settled waits until nothing is left to write, and gives the counters.
func (r *rig) settled() kernel.Stats {
	r.t.Helper()
	r.eventually(func() bool { s := r.k.Stats(); return s.Pending == 0 && s.Failing == 0 }, "rows stay pending")
	return r.k.Stats()
}

// link looks a link up by name; the zero Link when it is not there.
func (r *rig) link(name string) kernel.Link {
	links, err := r.raw.Links()
	require.NoError(r.t, err)
	for _, l := range links {
		if l.Name == name {
			return l
		}
	}
	return kernel.Link{}
}

// foreign writes a row as somebody else would.
func (r *rig) foreign(verb kernel.Verb, n kernel.Neighbor) {
	r.t.Helper()
	require.NoError(r.t, r.raw.Write([]kernel.NeighborOp{{Verb: verb, Neighbor: n}}, func(_ int, err error) {
		r.t.Helper()
		require.NoError(r.t, err)
	}))
}

func flood(vni evpn.VNI, to netip.Addr) evpn.Row {
	return evpn.Row{RowKey: evpn.RowKey{Kind: evpn.FloodRow, VNI: vni, IP: to}}
}

func remote(vni evpn.VNI, mac evpn.MAC, to netip.Addr) evpn.Row {
	return evpn.Row{RowKey: evpn.RowKey{Kind: evpn.MACRow, VNI: vni, MAC: mac}, RowValue: evpn.RowValue{VTEP: to}}
}

func sticky(r evpn.Row) evpn.Row {
	r.Sticky = true
	return r
}

func binding(vni evpn.VNI, ip string, mac evpn.MAC) evpn.Row {
	return evpn.Row{RowKey: evpn.RowKey{Kind: evpn.NeighborRow, VNI: vni, IP: netip.MustParseAddr(ip)}, RowValue: evpn.RowValue{MAC: mac}}
}

func (r *rig) set(rows ...evpn.Row)    { r.apply(false, rows) }
func (r *rig) remove(rows ...evpn.Row) { r.apply(true, rows) }

func (r *rig) apply(remove bool, rows []evpn.Row) {
	changes := make([]evpn.RowChange, 0, len(rows))
	for _, row := range rows {
		changes = append(changes, evpn.RowChange{Row: row, Remove: remove})
	}
	r.k.Apply(changes)
}
