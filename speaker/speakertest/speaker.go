package speakertest

import (
	"context"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/speaker"
)

// Running is a speaker that a test runs, and the events it gave.
type Running struct {
	*speaker.Speaker
	// At is where it listens, when it does.
	At netip.AddrPort

	mu     sync.Mutex
	events []evpn.Event
	notes  chan struct{}
	cancel context.CancelFunc
	ended  chan error
}

// Start runs a speaker until the end of the test.
func Start(t testing.TB, cfg speaker.Config) *Running {
	t.Helper()
	r := Prepare(t, cfg)
	r.Run(t)
	return r
}

// Prepare makes a speaker that [Running.Run] starts, so that a test can apply routes before.
// A ListenPort of -1 stands for a free one.
func Prepare(t testing.TB, cfg speaker.Config) *Running {
	t.Helper()
	r := &Running{notes: make(chan struct{}, 1), ended: make(chan error, 1)}
	if cfg.ListenPort < 0 {
		addr := cfg.ListenAddresses[0]
		cfg.ListenPort = FreePort(t, addr)
		r.At = netip.AddrPortFrom(addr, uint16(cfg.ListenPort))
	}
	log := logrus.New()
	log.SetOutput(io.Discard)
	if testing.Verbose() {
		log.SetOutput(t.Output())
	}
	s, err := speaker.New(cfg, logrus.NewEntry(log))
	require.NoError(t, err)
	r.Speaker = s
	return r
}

// Run starts the speaker and waits until it is ready.
func (r *Running) Run(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	go func() { r.ended <- r.Speaker.Run(ctx, r.sink) }()
	t.Cleanup(func() { r.Stop(t) })
	select {
	case <-r.Ready():
	case err := <-r.ended:
		r.ended <- err
		require.FailNow(t, "speaker ended before it was ready", "%v", err)
	case <-time.After(Wait):
		require.FailNow(t, "speaker is not ready")
	}
}

// Stop ends the speaker and wants no error.
func (r *Running) Stop(t testing.TB) {
	t.Helper()
	r.cancel()
	select {
	case err := <-r.ended:
		r.ended <- err
		require.NoError(t, err)
	case <-time.After(Wait):
		require.FailNow(t, "speaker does not stop")
	}
}

func (r *Running) sink(ev evpn.Event) {
	r.mu.Lock()
	r.events = append(r.events, ev)
	r.mu.Unlock()
	select {
	case r.notes <- struct{}{}:
	default:
	}
}

// Events gives the events so far.
func (r *Running) Events() []evpn.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]evpn.Event(nil), r.events...)
}

// Await waits until the events satisfy ok.
func (r *Running) Await(t testing.TB, what string, ok func([]evpn.Event) bool) {
	t.Helper()
	deadline := time.After(Wait)
	for {
		if ok(r.Events()) {
			return
		}
		select {
		case <-r.notes:
		case <-deadline:
			require.FailNow(t, "speaker waited in vain for "+what, "events %+v\nneighbours %+v", tail(r.Events(), 10), r.Neighbors())
		}
	}
}

// AwaitState waits for a neighbour's state.
func (r *Running) AwaitState(t testing.TB, addr netip.Addr, state string) speaker.NeighborStatus {
	t.Helper()
	var last speaker.NeighborStatus
	require.Eventually(t, func() bool {
		for _, n := range r.Neighbors() {
			if n.Address == addr {
				last = n
			}
		}
		return last.State == state
	}, Wait, 2*time.Millisecond, "neighbour %s does not get %s", addr, state)
	return last
}

// AwaitError waits until a neighbour's last error contains text.
func (r *Running) AwaitError(t testing.TB, addr netip.Addr, text string) {
	t.Helper()
	require.Eventually(t, func() bool {
		for _, n := range r.Neighbors() {
			if n.Address == addr && strings.Contains(n.LastError, text) {
				return true
			}
		}
		return false
	}, Wait, 2*time.Millisecond, "neighbour %s has no error with %q", addr, text)
}

// Routes is what a core would hold of a neighbour's routes after the events so far,
// without graceful restart.
func (r *Running) Routes(neighbor netip.Addr) map[evpn.RouteKey]evpn.Route {
	routes := map[evpn.RouteKey]evpn.Route{}
	for _, ev := range r.Events() {
		switch ev := ev.(type) {
		case evpn.RoutesReceived:
			if ev.Neighbor != neighbor {
				continue
			}
			for _, k := range ev.Withdrawn {
				delete(routes, k)
			}
			for _, x := range ev.Announced {
				routes[x.Key] = x
			}
		case evpn.NeighborDown:
			if ev.Neighbor == neighbor && !ev.Graceful {
				clear(routes)
			}
		}
	}
	return routes
}

// FreePort gives a port of addr that nobody listens on at the moment.
func FreePort(t testing.TB, addr netip.Addr) int {
	t.Helper()
	l, err := net.Listen("tcp", netip.AddrPortFrom(addr, 0).String())
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// Forget drops the events so far, for tests that measure memory.
func (r *Running) Forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = nil
}
