package daemon

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/api"
	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/flooding/floodingtest"
	"github.com/vtepbgp/vtepbgp/config"
	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/kernel"
	"github.com/vtepbgp/vtepbgp/kernel/kerneltest"
	"github.com/vtepbgp/vtepbgp/kernel/snoop"
	"github.com/vtepbgp/vtepbgp/speaker"
	"github.com/vtepbgp/vtepbgp/speaker/bfd"
)

// fakeKernel brings every configured VNI up at once and reports the MACs that it
// was given; it holds the rows it is told and those an earlier run left.
type fakeKernel struct {
	local  map[evpn.VNI][]evpn.MAC
	broken chan error // ends Run
	events chan evpn.Event

	mu      sync.Mutex
	device  string
	cfg     kernel.Config
	configs int
	up      map[evpn.VNI]bool
	rows    map[evpn.RowKey]evpn.RowValue
	found   map[evpn.RowKey]bool            // left by an earlier run, not confirmed
	ways    map[netip.Addr]kernel.VTEPState // that are followed
	news    []evpn.Event
	flushed bool
	pruned  bool
	changed chan struct{}
	synced  chan struct{}
	once    sync.Once
}

func newFakeKernel() *fakeKernel {
	return &fakeKernel{
		local: map[evpn.VNI][]evpn.MAC{100: {{2, 5: 1}}}, broken: make(chan error, 1), up: map[evpn.VNI]bool{},
		events: make(chan evpn.Event), device: "eth0",
		ways: map[netip.Addr]kernel.VTEPState{},
		rows: map[evpn.RowKey]evpn.RowValue{}, found: map[evpn.RowKey]bool{},
		changed: make(chan struct{}, 1), synced: make(chan struct{}),
	}
}

func (k *fakeKernel) Run(ctx context.Context, sink func(evpn.Event)) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-k.broken:
			return err
		case ev := <-k.events:
			sink(ev)
			continue
		case <-k.changed:
		}
		k.mu.Lock()
		evs := k.news
		k.news = nil
		wanted := map[evpn.VNI]bool{}
		for _, v := range k.cfg.VNIs {
			wanted[v.VNI] = true
			if !k.up[v.VNI] {
				evs = append(evs, evpn.VNIState{VNI: v.VNI, Up: true})
				for _, m := range k.local[v.VNI] {
					evs = append(evs, evpn.LocalMACLearned{VNI: v.VNI, MAC: m, Port: "veth1"})
				}
			}
		}
		k.up = wanted
		k.mu.Unlock()
		for _, ev := range evs {
			sink(ev)
		}
		k.once.Do(func() { close(k.synced) })
	}
}

func (k *fakeKernel) Configure(cfg kernel.Config) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.cfg = cfg
	k.configs++
	select {
	case k.changed <- struct{}{}:
	default:
	}
	return nil
}

func (k *fakeKernel) Apply(changes []evpn.RowChange) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range changes {
		delete(k.found, c.RowKey)
		if c.Remove {
			delete(k.rows, c.RowKey)
		} else {
			k.rows[c.RowKey] = c.RowValue
		}
	}
}

func (k *fakeKernel) Track(changes []evpn.NextHopChange) {
	for _, c := range changes {
		if c.Remove {
			k.mu.Lock()
			delete(k.ways, c.VTEP)
			k.mu.Unlock()
			continue
		}
		k.setWay(kernel.VTEPState{VTEP: c.VTEP, Reachable: true, Device: "eth0", MTU: 1500, Since: time.Now()})
	}
}

// setWay changes the way to a VTEP, and reports it.
func (k *fakeKernel) setWay(st kernel.VTEPState) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ways[st.VTEP] = st
	k.news = append(k.news, evpn.NextHopState{VTEP: st.VTEP, Reachable: st.Reachable, Reason: st.Reason, Own: st.Own})
	select {
	case k.changed <- struct{}{}:
	default:
	}
}

func (k *fakeKernel) Underlay() []kernel.VTEPState {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.SortedFunc(maps.Values(k.ways), func(a, b kernel.VTEPState) int { return a.VTEP.Compare(b.VTEP) })
}

func (k *fakeKernel) AllowPrune() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.pruned = true
	clear(k.found)
}

func (k *fakeKernel) Flush(context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.flushed = true
	clear(k.rows)
	clear(k.found)
	return nil
}

func (k *fakeKernel) Synced() <-chan struct{} { return k.synced }

func (k *fakeKernel) VTEPAddress() netip.Addr {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.cfg.VTEP.IsValid() {
		return k.cfg.VTEP
	}
	return netip.MustParseAddr("10.9.9.9") // of vtep.interface
}

// VTEPDevice is eth0 unless the test says otherwise, and its link is a /24.
func (k *fakeKernel) VTEPDevice() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.device
}

func (k *fakeKernel) Uplinks() []string { return []string{"eth0", "eth9"} }

func (k *fakeKernel) Local(a netip.Addr) bool { return a == k.VTEPAddress() || a == ofAnotherLink }

var ofAnotherLink = netip.MustParseAddr("192.0.2.1")

func (k *fakeKernel) Segment(string) []netip.Prefix {
	p, _ := k.VTEPAddress().Prefix(24)
	return []netip.Prefix{p.Masked()}
}

// move has the VTEP address live elsewhere.
func (k *fakeKernel) move(device string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.device = device
}

// Alive says that VTEPs are there to which a way is followed.
func (k *fakeKernel) Alive(_ context.Context, vtep netip.Addr) (bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.ways[vtep].Reachable, nil
}

func (k *fakeKernel) Installed(key evpn.RowKey) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, ok := k.rows[key]
	return ok
}

func (k *fakeKernel) Wanted(key evpn.RowKey) (evpn.RowValue, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	v, ok := k.rows[key]
	return v, ok
}

func (k *fakeKernel) WantedKeys(vni evpn.VNI) (keys []evpn.RowKey) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for key := range k.rows {
		if vni == 0 || key.VNI == vni {
			keys = append(keys, key)
		}
	}
	return keys
}

// The fake's rows are what it was told: they never differ.
func (k *fakeKernel) Drift(context.Context, evpn.VNI) ([]kernel.Drift, error) { return nil, nil }
func (k *fakeKernel) Repair(context.Context) error                            { return nil }

func (k *fakeKernel) Inspect(context.Context, evpn.VNI, []evpn.MAC, []netip.Addr) ([]kernel.Drift, error) {
	return nil, nil
}

func (k *fakeKernel) Status() []kernel.VNIStatus {
	k.mu.Lock()
	defer k.mu.Unlock()
	var out []kernel.VNIStatus
	for _, v := range k.cfg.VNIs {
		out = append(out, kernel.VNIStatus{VNI: v.VNI, Device: v.Device, Bridge: v.Bridge, MTU: 1450, Up: true, Problems: []string{},
			SuppressionState: kernel.SuppressionReady, SuppressionMissing: []string{}})
	}
	return out
}

func (k *fakeKernel) Stats() kernel.Stats {
	return kernel.Stats{
		Writes:   map[string]*kernel.WriteStats{"set": {OK: 1}, "delete": {}},
		Resyncs:  map[string]uint64{"start": 1},
		Underlay: k.underlayStats(),
		Heard:    map[string]uint64{snoop.ARPRequest.String(): 1},
		Bindings: snoop.Stats{Bindings: 1, Refused: map[snoop.Reason]uint64{snoop.WrongSender: 1}},
	}
}

func (k *fakeKernel) underlayStats() (s kernel.UnderlayStats) {
	for _, w := range k.Underlay() {
		s.VTEPs++
		if !w.Reachable {
			s.Unreachable++
		}
	}
	return s
}

func (k *fakeKernel) rowCount() (rows, found int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.rows), len(k.found)
}

// fakeSpeaker holds what it announces; each neighbour that the test lets come up
// has one remote VTEP behind it.
type fakeSpeaker struct {
	events chan evpn.Event
	ready  chan struct{}
	broken chan error

	mu       sync.Mutex
	cfg      speaker.Config
	own      map[evpn.RouteKey]evpn.Route
	atStart  int // own routes when Run began
	imports  evpn.ImportSet
	shutdown []bool
	resets   []string
	up       map[netip.Addr]bool
	errors   map[netip.Addr]string
	drops    uint64
}

func newFakeSpeaker(cfg speaker.Config) *fakeSpeaker {
	return &fakeSpeaker{
		cfg: cfg, events: make(chan evpn.Event, 16), ready: make(chan struct{}), broken: make(chan error, 1),
		own: map[evpn.RouteKey]evpn.Route{}, up: map[netip.Addr]bool{},
	}
}

func (s *fakeSpeaker) Run(ctx context.Context, sink func(evpn.Event)) error {
	s.mu.Lock()
	s.atStart = len(s.own)
	s.mu.Unlock()
	close(s.ready)
	for {
		select {
		case <-ctx.Done():
			// what a real session's end would cause, had anybody listened
			sink(evpn.NeighborDown{Neighbor: netip.MustParseAddr("10.0.0.254")})
			return nil
		case err := <-s.broken:
			return err
		case ev := <-s.events:
			sink(ev)
		}
	}
}

// establish brings a session up with one remote VTEP and End-of-RIB.
func (s *fakeSpeaker) establish(addr string) {
	s.establishWithoutEnd(addr)
	s.events <- evpn.EndOfRIB{Neighbor: netip.MustParseAddr(addr)}
}

// establishWithoutEnd leaves out End-of-RIB.
func (s *fakeSpeaker) establishWithoutEnd(addr string) {
	a := netip.MustParseAddr(addr)
	s.mu.Lock()
	s.up[a] = true
	s.mu.Unlock()
	rt, _ := evpn.AutoRouteTarget(65000, 100)
	vtep := netip.MustParseAddr("10.0.0.2")
	s.events <- evpn.NeighborUp{Neighbor: a, IBGP: true, EndOfRIB: true}
	s.events <- evpn.RoutesReceived{Neighbor: a, Announced: []evpn.Route{{
		Key: evpn.RouteKey{Type: evpn.IMETRoute, RD: evpn.RDFromRouterID(vtep, 1), IP: vtep},
		Attrs: &evpn.Attrs{
			NextHop: vtep, RouteTargets: []evpn.RouteTarget{rt}, Encaps: []uint16{evpn.EncapVXLAN}, LocalPref: 100,
			PMSI: &evpn.PMSITunnel{Type: evpn.PMSIIngressReplication, Label: 100, Endpoint: vtep},
		},
	}}}
}

func (s *fakeSpeaker) Apply(announce []evpn.Route, withdraw []evpn.RouteKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range withdraw {
		delete(s.own, k)
	}
	for _, r := range announce {
		s.own[r.Key] = r
	}
}

func (s *fakeSpeaker) Ready() <-chan struct{} { return s.ready }

func (s *fakeSpeaker) SetImports(set evpn.ImportSet) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.imports = set
}

func (s *fakeSpeaker) Reconfigure(cfg speaker.Config) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cfg = cfg
	return nil
}

func (s *fakeSpeaker) Reset(a netip.Addr, soft bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.resets = append(s.resets, fmt.Sprintf("%s soft=%t", a, soft))
	return nil
}

func (s *fakeSpeaker) Shutdown(graceful bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shutdown = append(s.shutdown, graceful)
}

func (s *fakeSpeaker) Neighbors() []speaker.NeighborStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []speaker.NeighborStatus
	for _, n := range s.cfg.Neighbors {
		st := speaker.NeighborStatus{Address: n.Address, ASN: n.ASN, State: "active", Drops: map[string]uint64{"short nlri": 2 + s.drops}, LastError: s.errors[n.Address]}
		st.BFD = &bfd.Status{State: bfd.Up, DetectionTime: 300 * time.Millisecond}
		st.GracefulRestart = s.cfg.GracefulRestartTime > 0
		if s.up[n.Address] {
			st.State, st.Since, st.RoutesReceived = "established", time.Now(), 1
		}
		out = append(out, st)
	}
	slices.SortFunc(out, func(a, b speaker.NeighborStatus) int { return a.Address.Compare(b.Address) })
	return out
}

// fail sets why a session ended.
func (s *fakeSpeaker) fail(a netip.Addr, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.errors = map[netip.Addr]string{a: why}
}

// drop counts more of what is dropped.
func (s *fakeSpeaker) drop(n uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drops += n
}

func (s *fakeSpeaker) Stats() speaker.Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return speaker.Stats{OwnRoutes: len(s.own), BFD: bfd.Stats{Priority: "realtime", Drops: map[string]uint64{"TTL is not 255": 1}}}
}

func (s *fakeSpeaker) counts() (own, atStart int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.own), s.atStart
}

// world is a daemon among fakes.
type world struct {
	t       *testing.T
	dir     string
	kernel  *fakeKernel
	host    *kerneltest.Fake // when set, the real adapter on a host in memory is used instead of kernel
	adapter *kernel.Kernel   // that adapter
	speaker *fakeSpeaker
	floods  *floodingtest.Host
	api     *api.Client
	stop    context.CancelFunc
	done    chan error

	mu       sync.Mutex
	cfg      config.Config
	loadErr  error
	notified []string
}

// testConfig is a small configuration whose files lie in dir.
func testConfig(dir string) config.Config {
	return config.Config{
		BGP:  config.BGP{ASN: 65000, RouterID: netip.MustParseAddr("10.0.0.1"), HoldTime: 90 * time.Second, GracefulRestartTime: 60 * time.Second},
		VTEP: config.VTEP{Address: netip.MustParseAddr("10.0.0.1"), UDPPort: 4789},
		Neighbors: []config.Neighbor{
			{Address: netip.MustParseAddr("10.0.0.254"), ASN: 65000, Port: 179, HoldTime: 90 * time.Second},
		},
		VNIs:  []config.VNI{testVNI(100)},
		Flood: config.Flood{Engine: config.EngineAuto, HoldTime: 90 * time.Second},
		API:   config.API{Socket: dir + "/run/s.sock"},
		Log:   config.Log{Level: "debug", Format: "text", Destination: dir + "/log"},
		State: config.State{Directory: dir + "/state"},
	}
}

func testVNI(id evpn.VNI) config.VNI {
	rt, _ := evpn.AutoRouteTarget(65000, id)
	return config.VNI{
		ID: id, Device: "vxlan" + id.String(), Bridge: "br" + id.String(), Manage: true, UDPPort: 4789,
		Export: []evpn.RouteTarget{rt}, Import: []evpn.ImportTarget{{AnyAdmin: true, Number: uint32(id)}},
		Flooding: evpn.FloodIngress, Suppression: true,
	}
}

func newWorld(t *testing.T, dir string) *world {
	w := &world{t: t, dir: dir, kernel: newFakeKernel(), floods: floodingtest.NewHost(), cfg: testConfig(dir), done: make(chan error, 1)}
	w.api = api.NewClient(w.cfg.API.Socket)
	t.Cleanup(w.api.Close)
	return w
}

func (w *world) environment() environment {
	return environment{
		load: func() (*config.Config, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			c := w.cfg
			c.VNIs, c.Neighbors = slices.Clone(c.VNIs), slices.Clone(c.Neighbors)
			return &c, w.loadErr
		},
		kernel: func(log *logrus.Entry) (dataplane, func() error, error) {
			if w.host != nil {
				w.adapter = kernel.New(w.host, log)
				return w.adapter, func() error { return nil }, nil
			}
			return w.kernel, func() error { return nil }, nil
		},
		speaker: func(cfg speaker.Config, _ *logrus.Entry) (sessions, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.speaker = newFakeSpeaker(cfg)
			return w.speaker, nil
		},
		engines: w.floods.Kinds(),
		notify: notifier{send: func(s string) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.notified = append(w.notified, s)
			return nil
		}},
	}
}

// change edits the configuration that the next load gives.
func (w *world) change(edit func(*config.Config)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	edit(&w.cfg)
}

// start runs the daemon and waits until it is ready.
func (w *world) start(opts Options) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w.stop = cancel
	opts.ConfigPath, opts.Version = w.dir+"/vtepbgp.toml", "1.2.3"
	go func() { w.done <- run(ctx, opts, w.environment()) }()
	require.Eventually(w.t, func() bool {
		st, err := w.api.Status(context.Background())
		return err == nil && st.Ready
	}, 30*time.Second, time.Millisecond)
}

func (w *world) end() error {
	w.stop()
	w.api.Close()
	return <-w.done
}

// eventually waits until ok, which it calls on the goroutine of the test: that may fail the test, as
// condition functions of testify may not.
func (w *world) eventually(what string, ok func() bool) {
	w.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		require.True(w.t, time.Now().Before(deadline), "not within 30 s: %s", what)
		<-tick.C
	}
}
