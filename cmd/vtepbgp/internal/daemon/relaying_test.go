package daemon

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/flooding"
	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/flooding/floodingtest"
	"github.com/vtepbgp/vtepbgp/config"
	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/flood"
	"github.com/vtepbgp/vtepbgp/speaker"
	"github.com/vtepbgp/vtepbgp/speaker/bfd"
)

// onSegment makes VNI 100 one whose frames go to a group.
func onSegment(c *config.Config) {
	c.VNIs[0].Flooding = evpn.FloodMulticast
	c.VNIs[0].Multicast = &config.Multicast{Group: netip.MustParseAddr("239.1.1.1"), ProxyVTEPs: true, Delivery: evpn.DeliverUnicast}
}

// afterwards is the world of the next process on the same host.
func (w *world) afterwards() *world {
	next := newWorld(w.t, w.dir)
	next.floods, next.cfg = w.floods, w.cfg
	return next
}

// copies reports that VNI 100 is copied on a device, to so many, for others or not.
func (w *world) copies(device string, vteps int, others bool) func() bool {
	return func() bool {
		n, ok := w.floods.Network(device, 100)
		return ok && n.Own && n.Others == others && len(n.VTEPs) == vteps
	}
}

const farVTEP = "10.7.0.2" // not on the segment

func (w *world) establishFar() {
	peer := netip.MustParseAddr("10.0.0.254")
	w.speaker.mu.Lock()
	w.speaker.up[peer] = true
	w.speaker.mu.Unlock()
	w.speaker.events <- evpn.NeighborUp{Neighbor: peer, ASN: 65000, IBGP: true, EndOfRIB: true}
	w.speaker.events <- evpn.RoutesReceived{Neighbor: peer, Announced: []evpn.Route{listRoute(farVTEP, 100)}}
	w.speaker.events <- evpn.EndOfRIB{Neighbor: peer}
}

// A restart takes its part up again where it was left, and what copies meanwhile is never
// replaced by less.
func TestRestartTakesUpCopying(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.change(onSegment)
	w.start(Options{})
	w.establishFar()
	w.eventually("copies for the segment, after the 3 seconds of RFC 7432", w.copies("eth0", 1, true))
	w.floods.Send(100, netip.MustParseAddr("10.0.0.77"), evpn.MAC{})
	announced := func(w *world) func() bool {
		return func() bool {
			w.speaker.mu.Lock()
			defer w.speaker.mu.Unlock()
			for k := range w.speaker.own {
				if k.IP == netip.MustParseAddr("10.0.0.77") {
					return true
				}
			}
			return false
		}
	}
	w.eventually("VTEP without EVPN", announced(w))
	require.NoError(t, w.end())
	assert.True(t, w.copies("eth0", 1, true)(), "what copies without the process stays")
	assert.True(t, w.floods.Leased("eth0"))

	next := w.afterwards()
	next.start(Options{})
	assert.True(t, announced(next)(), "before the first session: else the neighbours would take End-of-RIB for its end")
	assert.True(t, next.copies("eth0", 1, true)(), "the core knows of nobody yet")
	tables := next.floods.Tables()
	next.establishFar()
	next.eventually("the first table", func() bool { return next.floods.Tables() > tables })
	assert.True(t, next.copies("eth0", 1, true)(), "at once: no election starts anew")
	require.NoError(t, next.end())

	last := next.afterwards()
	last.start(Options{FlushOnExit: true})
	require.NoError(t, last.end())
	assert.Empty(t, last.floods.Devices(), "told to clean up, also what was never taken over")
	require.NoError(t, last.floods.Err())
}

// A loop that hangs lets the lease end: another relay may have taken over.
func TestHungLoopLosesTheLease(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.change(onSegment)
	w.start(Options{})
	w.establishFar()
	w.eventually("an engine", w.copies("eth0", 1, false))
	w.eventually("a lease for the time of BFD", func() bool {
		left := w.floods.Lease("eth0")
		return left > 0 && left <= 300*time.Millisecond
	})
	w.kernel.mu.Lock() // the loop waits for it with the next row
	w.speaker.events <- evpn.RoutesReceived{Neighbor: netip.MustParseAddr("10.0.0.254"), Announced: []evpn.Route{{
		Key: evpn.RouteKey{Type: evpn.MACIPRoute, RD: evpn.RD{1: 1}, MAC: evpn.MAC{2}}, Label: 100, Attrs: listRoute(farVTEP, 100).Attrs,
	}}}
	w.eventually("the lease is over", func() bool { return !w.floods.Leased("eth0") })
	w.kernel.mu.Unlock()
	w.eventually("a lease again", func() bool { return w.floods.Leased("eth0") })
	require.NoError(t, w.end())
}

// A process that stood still for longer than its lease does not copy at once, because another one may.
func TestStandstill(t *testing.T) {
	const ms = time.Millisecond
	start := time.Now()
	lease, none := flood.Lease{For: 200 * ms, Outlives: time.Minute}, flood.Lease{}
	var s standstill
	for _, round := range []struct {
		at   time.Duration
		want flood.Lease
	}{
		{0, lease}, {50 * ms, lease}, {240 * ms, lease}, // late, and in time
		{441 * ms, none}, {500 * ms, none}, {640 * ms, none}, {641 * ms, lease}, // too late
		{time.Minute, none}, {time.Minute + 150*ms, none}, {2 * time.Minute, none}, {2*time.Minute + 199*ms, none}, // again meanwhile
		{2*time.Minute + 200*ms, lease},
	} {
		assert.Equal(t, round.want, s.term(lease, start.Add(round.at)), round.at)
	}
	lease.For = time.Minute // the lease of a hold time
	s = standstill{}
	assert.Equal(t, lease, s.term(lease, start))
	assert.Equal(t, none, s.term(lease, start.Add(61*time.Second)))
	assert.Equal(t, lease, s.term(lease, start.Add(62*time.Second)))
}

func TestDetection(t *testing.T) {
	up := func(graceful bool, hold, detection time.Duration) speaker.NeighborStatus {
		st := speaker.NeighborStatus{State: established, GracefulRestart: graceful, HoldTime: hold, Keepalive: hold / 3}
		if detection > 0 {
			st.BFD = &bfd.Status{State: bfd.Up, DetectionTime: detection, SendInterval: detection / 3}
		}
		return st
	}
	const grace = 120 * time.Second
	for name, c := range map[string]struct {
		neighbors []speaker.NeighborStatus
		want      time.Duration
		outlives  time.Duration
	}{
		"nobody":                 {nil, leaseLongest, grace},
		"a session that is down": {[]speaker.NeighborStatus{{State: "active"}}, leaseLongest, grace},
		"hold time":              {[]speaker.NeighborStatus{up(true, 30*time.Second, 0), up(true, 9*time.Second, 0)}, 6 * time.Second, grace},
		"no hold time":           {[]speaker.NeighborStatus{up(true, 0, 0)}, leaseLongest, grace},
		"BFD":                    {[]speaker.NeighborStatus{up(true, 9*time.Second, 900*time.Millisecond)}, 600 * time.Millisecond, grace},
		"faster than we renew":   {[]speaker.NeighborStatus{up(true, 9*time.Second, 30*time.Millisecond)}, leaseShortest, grace},
		"gone when we are":       {[]speaker.NeighborStatus{up(true, 9*time.Second, 0), up(false, 9*time.Second, 0)}, 6 * time.Second, 0},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, flood.Lease{For: c.want, Outlives: c.outlives}, detection(c.neighbors, grace))
		})
	}
}

func TestReloadOfFlooding(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.change(onSegment)
	w.change(func(c *config.Config) {
		other := testVNI(200)
		other.Flooding, other.Multicast = evpn.FloodMulticast, c.VNIs[0].Multicast
		c.VNIs = append(c.VNIs, other)
	})
	w.start(Options{})
	w.establishFar()
	w.eventually("an engine", w.copies("eth0", 1, false))
	listens := func(vni evpn.VNI, group string, rate uint32) func() bool {
		return func() bool {
			n, ok := w.floods.Network("eth0", vni)
			return ok && n.Listen == netip.MustParseAddr(group) && n.Rate == rate
		}
	}
	w.change(func(c *config.Config) {
		m := *c.VNIs[1].Multicast
		m.Group = netip.MustParseAddr("239.2.2.2")
		c.VNIs[1].Multicast, c.VNIs[1].RateLimit = &m, 50
	})
	_, err := w.api.Reload(t.Context())
	require.NoError(t, err)
	w.eventually("another group and rate", listens(200, "239.2.2.2", 50))
	assert.True(t, w.copies("eth0", 1, false)() || w.copies("eth0", 1, true)(), "the other VNI keeps its list")

	w.change(func(c *config.Config) { c.Flood.Engine = config.EngineSocket })
	r, err := w.api.Reload(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []string{"flood changed"}, r.Changed)
	w.eventually("another engine", func() bool {
		_, engine := w.floods.Copying("eth0")
		return engine == floodingtest.Passing
	})

	w.change(func(c *config.Config) {
		for i := range c.VNIs {
			c.VNIs[i].Flooding, c.VNIs[i].Multicast = evpn.FloodIngress, nil
		}
	})
	_, err = w.api.Reload(t.Context())
	require.NoError(t, err)
	w.eventually("no engine", func() bool { return len(w.floods.Devices()) == 0 })
	require.NoError(t, w.end())
	require.NoError(t, w.floods.Err())
}

// The address moves to another interface: so does the engine, and the segment is another.
func TestFloodingFollowsTheAddress(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.change(onSegment)
	w.start(Options{})
	w.establishFar()
	w.eventually("an engine", w.copies("eth0", 1, false))
	w.kernel.move("eth9")
	w.eventually("an engine there", func() bool { return len(w.floods.Devices()) == 1 && w.floods.Devices()[0] == "eth9" })
	w.kernel.move("")
	w.eventually("a problem", func() bool {
		vnis, err := w.api.Status(t.Context())
		return err == nil && len(vnis.Problems) > 0 && vnis.Problems[len(vnis.Problems)-1] == "vni 100: no interface of the segment: set multicast.interface"
	})
	require.NoError(t, w.end())
}

func TestEngineThatCannotStartIsUnhealthy(t *testing.T) {
	d := metricsWorld(t)
	d.ready.Store(nil)
	host := floodingtest.NewHost()
	d.flooding = flooding.New(flooding.Options{Kinds: host.Kinds(), Alive: d.kernel.Alive, Directory: t.TempDir(), Log: d.logger.WithField(fieldPart, "flooding")})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.flooding.Run(ctx, func(evpn.Event) {}) }()
	health := func() (int, string) {
		rec := httptest.NewRecorder()
		d.metricsHandler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/healthz", nil))
		return rec.Code, rec.Body.String()
	}
	code, _ := health()
	assert.Equal(t, http.StatusOK, code)
	host.Break(floodingtest.Remaining, errors.New("no"))
	host.Break(floodingtest.Passing, errors.New("no"))
	cfg := testConfig(t.TempDir())
	onSegment(&cfg)
	d.flooding.Configure(floodingConfig(&cfg, d.look(&cfg)))
	require.Eventually(t, func() bool {
		code, text := health()
		return code == http.StatusServiceUnavailable && text == "packets are not copied on eth0: choose an engine to flood with: no ebpf: no; no socket: no\n"
	}, 30*time.Second, time.Millisecond)
	cancel()
	require.NoError(t, <-done)
}
