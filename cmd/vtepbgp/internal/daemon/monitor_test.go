package daemon

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/api"
	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/flooding"
	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/speaker"
)

// listener collects what a monitor tells.
type listener struct {
	mu     sync.Mutex
	events []api.Event
	done   chan error
}

// listen begins a monitor and waits until it is told everything.
func (w *world) listen(ctx context.Context, f api.EventFilter) *listener {
	l := &listener{done: make(chan error, 1)}
	go func() {
		l.done <- w.api.Monitor(ctx, f, func(e api.Event) error {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.events = append(l.events, e)
			return nil
		})
	}()
	w.eventually("the monitor begins", func() bool { return len(l.lines()) > 0 })
	return l
}

// lines gives an event a line, without the time.
func (l *listener) lines() (lines []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.events {
		vni := ""
		if e.VNI != 0 {
			vni = e.VNI.String()
		}
		var words []string
		for _, s := range []string{string(e.Kind), vni, e.MAC, text(e.IP), text(e.Neighbor), text(e.VTEP), e.Detail} {
			if s != "" {
				words = append(words, s)
			}
		}
		lines = append(lines, strings.Join(words, " "))
	}
	return lines
}

func text(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func (w *world) hears(l *listener, want ...string) {
	w.t.Helper()
	ok := assert.Eventually(w.t, func() bool { return len(l.lines()) >= len(want) }, 30*time.Second, time.Millisecond)
	require.Equal(w.t, want, l.lines()[:min(len(want), len(l.lines()))])
	require.True(w.t, ok)
}

// hostRoute is a type-2 of the host 02:…:09 behind 10.0.0.2.
func hostRoute(seq uint32, ip string) evpn.Route {
	rt, _ := evpn.AutoRouteTarget(65000, 100)
	vtep := netip.MustParseAddr("10.0.0.2")
	key := evpn.RouteKey{Type: evpn.MACIPRoute, RD: evpn.RDFromRouterID(vtep, 1), MAC: evpn.MAC{2, 5: 9}}
	if ip != "" {
		key.IP = netip.MustParseAddr(ip)
	}
	return evpn.Route{Key: key, Label: 100, Attrs: &evpn.Attrs{
		NextHop: vtep, RouteTargets: []evpn.RouteTarget{rt}, Encaps: []uint16{evpn.EncapVXLAN}, LocalPref: 100,
		Mobility: evpn.Mobility{Sequence: seq},
	}}
}

func TestMonitorTellsTheLifeOfAMAC(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.start(Options{})
	all := w.listen(t.Context(), api.EventFilter{})
	mac, peer := evpn.MAC{2, 5: 9}, netip.MustParseAddr("10.0.0.254")
	filtered := w.listen(t.Context(), api.EventFilter{VNI: 100, MAC: mac, Kinds: []string{"mac_*"}})
	want := []string{"monitor_begins"}
	next := func(lines ...string) { want = append(want, lines...); w.hears(all, want...) }

	w.kernel.events <- evpn.LocalMACLearned{VNI: 100, MAC: mac, Port: "veth1"}
	next("mac_learned 100 02:00:00:00:00:09 local on veth1")
	w.kernel.events <- evpn.LocalMACLearned{VNI: 100, MAC: mac, Port: "veth1"} // told again
	w.kernel.events <- evpn.LocalMACLearned{VNI: 100, MAC: mac, Port: "veth2"}
	next("mac_changed 100 02:00:00:00:00:09 local, from port veth1 to veth2")
	w.kernel.events <- evpn.LocalIPLearned{VNI: 100, MAC: mac, IP: netip.MustParseAddr("192.0.2.9"), Source: "arp"}
	next("ip_learned 100 02:00:00:00:00:09 192.0.2.9 local, seen by arp")

	w.speaker.events <- evpn.NeighborUp{Neighbor: peer, ASN: 65000, EndOfRIB: true}
	next("neighbor_up 10.0.0.254 AS 65000")
	w.speaker.events <- evpn.EndOfRIB{Neighbor: peer}
	next("neighbor_synced 10.0.0.254", "synced")
	w.speaker.events <- evpn.RoutesReceived{Neighbor: peer, Announced: []evpn.Route{hostRoute(1, ""), hostRoute(1, "192.0.2.9")}}
	next("mac_moved 100 02:00:00:00:00:09 10.0.0.2 from local to VTEP 10.0.0.2", "vtep_up 10.0.0.2",
		"ip_learned 100 02:00:00:00:00:09 192.0.2.9 remote")
	w.kernel.events <- evpn.LocalMACGone{VNI: 100, MAC: mac} // the bridge forgets it: it has moved
	w.speaker.events <- evpn.RoutesReceived{Neighbor: peer, Withdrawn: []evpn.RouteKey{hostRoute(1, "").Key, hostRoute(1, "192.0.2.9").Key}}
	next("vtep_down 10.0.0.2", "mac_gone 100 02:00:00:00:00:09 10.0.0.2 was at VTEP 10.0.0.2",
		"ip_gone 100 02:00:00:00:00:09 192.0.2.9 was remote")

	w.speaker.fail(peer, "hold timer expired")
	w.speaker.events <- evpn.NeighborDown{Neighbor: peer, Graceful: true, StaleTime: time.Minute}
	next("neighbor_down 10.0.0.254 hold timer expired, its routes stay for 1m0s")
	w.speaker.drop(7)
	next("route_dropped 10.0.0.254 7 for short nlri")
	w.hears(filtered, "monitor_begins", want[1], want[2], want[7], want[11])

	require.NoError(t, w.end())
	next("monitor_ends")
	assert.ErrorIs(t, <-all.done, api.ErrEnded)
	assert.ErrorIs(t, <-filtered.done, api.ErrEnded)
}

// TestMonitorThatLeaves costs the loop nothing any more.
func TestMonitorThatLeaves(t *testing.T) {
	s := newSink()
	l := newLoop(testCore(), routesOf{s}, rowsOf{s}, listsOf{s}, nil)
	defer runLoop(t, l)()
	d := &daemon{loop: l, kernel: newFakeKernel(), speaker: newFakeSpeaker(speaker.Config{}), flooding: flooding.New(flooding.Options{Directory: t.TempDir()})}
	taps := func() (n int) {
		require.NoError(t, l.do(t.Context(), func(*evpn.Core) { n = len(l.taps) }))
		return n
	}
	ctx, leave := context.WithCancel(t.Context())
	require.NoError(t, d.Monitor(ctx, api.EventFilter{}, func([]api.Event) error {
		assert.Equal(t, 1, taps())
		leave()
		return nil
	}))
	assert.Zero(t, taps())
	broken := errors.New("broken pipe")
	require.ErrorIs(t, d.Monitor(t.Context(), api.EventFilter{}, func([]api.Event) error { return broken }), broken)
	assert.Zero(t, taps())
	assert.Zero(t, d.watchers.Load())
}

func TestMonitorsAreBounded(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.start(Options{})
	for range maxWatchers {
		w.listen(t.Context(), api.EventFilter{})
	}
	err := w.api.Monitor(t.Context(), api.EventFilter{}, func(api.Event) error { return nil })
	assert.EqualError(t, err, "32 monitors run already: end one first")
	require.NoError(t, w.end())
}

// TestSlowReaderLosesAndIsTold: the loop goes on, the count is exact.
func TestSlowReaderLosesAndIsTold(t *testing.T) {
	s := newSink()
	l := newLoop(testCore(), routesOf{s}, rowsOf{s}, listsOf{s}, nil)
	stop := runLoop(t, l)
	w := &watcher{feed: newFeed[happening](10)}
	detach, err := l.attach(t.Context(), w, nil)
	require.NoError(t, err)
	for i := range 50 {
		require.True(t, l.kernel.put(t.Context(), learned(byte(i), "veth1")))
	}
	require.NoError(t, l.settle(t.Context(), l.kernel))
	detach()
	stop()
	d := &daemon{}
	events := d.happened(w)
	require.Len(t, events, 11)
	assert.Equal(t, api.EventMonitorLost, events[10].Kind)
	assert.EqualValues(t, 40, events[10].Count)
	assert.Empty(t, d.happened(w), "told once")
}

// TestEveryNoteHasWords finds the notes in the source of evpn.
func TestEveryNoteHasWords(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "../../../../evpn/change.go", nil, parser.SkipObjectResolution)
	require.NoError(t, err)
	var kinds []api.EventKind
	for _, k := range api.EventKinds() {
		kinds = append(kinds, k.Kind)
	}
	notes := 0
	ast.Inspect(f, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || fmt.Sprint(spec.Type) != "NoteKind" {
			return true
		}
		name, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		require.NoError(t, err)
		assert.Contains(t, kinds, api.EventKind(name))
		notes++
		return true
	})
	assert.Greater(t, notes, 10)
}

// TestKindsAreTold: who reads a counter sees how much it grew.
func TestKindsAreTold(t *testing.T) {
	peer := netip.MustParseAddr("10.0.0.254")
	before := counted{drops: map[drop]uint64{{peer, "a"}: 5, {peer, "b"}: 9}, kernel: map[resync]uint64{{api.EventKernelResync, "lost"}: 1}}
	after := counted{
		drops:  map[drop]uint64{{peer, "a"}: 5, {peer, "b"}: 2, {peer, "c"}: 4}, // b began anew
		kernel: map[resync]uint64{{api.EventKernelResync, "lost"}: 2, {api.EventKernelResync, "periodic"}: 1, {kind: api.EventKernelRepair}: 3},
	}
	l := listener{events: after.since(before, time.Now())}
	assert.Equal(t, []string{
		"route_dropped 10.0.0.254 2 for b", "route_dropped 10.0.0.254 4 for c", "kernel_repair rows: 3",
		"kernel_resync 1 for lost", "kernel_resync 1 for periodic",
	}, l.lines())
	assert.Equal(t, api.LevelWarning, l.events[3].Level)
	assert.Equal(t, api.LevelDebug, l.events[4].Level)
}
