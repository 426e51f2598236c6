package flooding_test

import (
	"context"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/flooding"
	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/flooding/floodingtest"
	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/flood"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// world is a host on which one process after the other runs a manager. All happens in the
// bubble of a test.
type world struct {
	t    *testing.T
	dir  string
	host *floodingtest.Host
	m    *flooding.Manager
	stop context.CancelFunc
	done chan struct{}

	mu     sync.Mutex
	events []evpn.Event
	alive  map[netip.Addr]bool
}

func newWorld(t *testing.T) *world {
	return &world{t: t, dir: t.TempDir(), host: floodingtest.NewHost(), alive: map[netip.Addr]bool{}}
}

// boot starts a process; run lets it work.
func (w *world) boot() {
	log := logrus.New()
	log.SetOutput(io.Discard)
	w.m = flooding.New(flooding.Options{Kinds: w.host.Kinds(), Alive: w.answers, Directory: w.dir, Log: logrus.NewEntry(log)})
}

func (w *world) run() {
	ctx, cancel := context.WithCancel(context.Background())
	w.stop, w.done = cancel, make(chan struct{})
	go func() {
		defer close(w.done)
		assert.NoError(w.t, w.m.Run(ctx, w.take))
	}()
}

// start boots and runs with a configuration.
func (w *world) start(cfg flooding.Config) {
	w.boot()
	w.m.Configure(cfg)
	w.run()
	synctest.Wait()
}

// end stops the process.
func (w *world) end() {
	w.stop()
	<-w.done
	require.NoError(w.t, w.host.Err())
}

// crash ends the process without a word: what it does after that happened to nobody.
func (w *world) crash() {
	file := filepath.Join(w.dir, "flooding.json")
	before, err := os.ReadFile(file)
	require.NoError(w.t, err)
	w.host.Crash()
	w.stop()
	<-w.done
	require.NoError(w.t, os.WriteFile(file, before, 0o600))
	w.told()
}

func (w *world) take(ev evpn.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, ev)
}

// told gives what was told to the core since the last call.
func (w *world) told() []evpn.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	evs := w.events
	w.events = nil
	return evs
}

func (w *world) answers(_ context.Context, vtep netip.Addr) (bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.alive[vtep], nil
}

func (w *world) answer(vtep string, alive bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.alive[addr(vtep)] = alive
}

// after lets time pass.
func after(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// segment is a configuration with one VNI that relays for a segment.
func segment() flooding.Config {
	return flooding.Config{
		Engine: flood.Auto, HoldTime: 90 * time.Second, VTEP: addr("10.0.1.1"),
		Service: addr("10.0.9.9"), ServiceInterfaces: []string{"eth0"}, Uplinks: []string{"eth0", "eth1"},
		VNIs: []flooding.VNI{{
			VNI: 100, Mode: evpn.FloodMulticast, Port: 4789, Group: addr("239.1.1.1"), Interface: "eth1",
			Segment: []netip.Prefix{netip.MustParsePrefix("10.0.1.0/24")}, ProxyVTEPs: true, ProxyMACs: true,
		}},
	}
}

func entry(vni evpn.VNI, vtep string, use evpn.ListUse) evpn.ListChange {
	return evpn.ListChange{ListEntry: evpn.ListEntry{
		ListKey: evpn.ListKey{VNI: vni, VTEP: addr(vtep)}, ListValue: evpn.ListValue{Use: use, Source: evpn.SourceBGP},
	}}
}

func relay(r evpn.Relay) []evpn.RelayChange { return []evpn.RelayChange{{Relay: r}} }

// copies gives who gets copies in a network.
func copies(n flood.Network) []string {
	all := []string{}
	for _, v := range n.VTEPs {
		all = append(all, v.Address.String())
	}
	return all
}
