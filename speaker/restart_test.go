package speaker_test

import (
	"context"
	"io"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/speaker"
	"github.com/vtepbgp/vtepbgp/speaker/speakertest"
	"github.com/vtepbgp/vtepbgp/speaker/wire"
)

func restarts(id netip.Addr) speakertest.Options {
	o := ibgp(id)
	o.GracefulRestart = 20 * time.Second
	return o
}

func TestGracefulDown(t *testing.T) {
	cfg := passive(speaker.Neighbor{Address: peerA})
	cfg.GracefulRestartTime = 60 * time.Second
	s := speakertest.Start(t, cfg)
	p := speakertest.Dial(t, peerA, s.At, restarts(idA)).Handshake(t)
	require.NotNil(t, p.Theirs.GracefulRestart)
	assert.Equal(t, wire.GracefulRestart{Time: 60 * time.Second, EVPN: true}, *p.Theirs.GracefulRestart,
		"a cold start neither restarts nor has kept anything")
	s.Await(t, "NeighborUp", lastIs(evpn.NeighborUp{Neighbor: peerA, RouterID: idA, ASN: 65000, IBGP: true, EndOfRIB: true}))
	assert.True(t, s.AwaitState(t, peerA, "established").GracefulRestart)
	p.Close()
	s.Await(t, "a graceful NeighborDown", lastIs(evpn.NeighborDown{Neighbor: peerA, Graceful: true, StaleTime: 20 * time.Second}))

	o := restarts(idA)
	o.Restarting, o.Forwarding = true, true
	p = speakertest.Dial(t, peerA, s.At, o).Handshake(t)
	assert.Equal(t, wire.GracefulRestart{Time: 60 * time.Second, EVPN: true, Forwarding: true}, *p.Theirs.GracefulRestart,
		"over a lost session we forward on")
	s.Await(t, "NeighborUp", lastIs(evpn.NeighborUp{Neighbor: peerA, RouterID: idA, ASN: 65000, IBGP: true, EndOfRIB: true, KeptForwarding: true}))

	// RFC 4724 §4.2: a new connection while the old one looks alive takes over.
	p2 := speakertest.Dial(t, peerA, s.At, o).Handshake(t)
	s.Await(t, "down and up", func(ev []evpn.Event) bool {
		return len(ev) > 1 && ev[len(ev)-2] == evpn.NeighborDown{Neighbor: peerA, Graceful: true, StaleTime: 20 * time.Second}
	})
	// A NOTIFICATION ends it for good.
	p2.Send(t, wire.Notification(wire.CodeCease, wire.SubShutdown, wire.ShutdownText("maintenance")))
	s.Await(t, "NeighborDown", lastIs(evpn.NeighborDown{Neighbor: peerA}))
	assert.Contains(t, s.Neighbors()[0].LastError, `administrative shutdown: "maintenance"`)

	// A peer without graceful restart for EVPN is not waited for.
	p = speakertest.Dial(t, peerA, s.At, ibgp(idA)).Handshake(t)
	s.AwaitState(t, peerA, "established")
	p.Close()
	s.Await(t, "NeighborDown", lastIs(evpn.NeighborDown{Neighbor: peerA}))
}

func TestRestartingBits(t *testing.T) {
	cfg := passive(speaker.Neighbor{Address: peerA})
	cfg.GracefulRestartTime, cfg.Restarting = 60*time.Second, true
	s := speakertest.Start(t, cfg)
	p := speakertest.Dial(t, peerA, s.At, restarts(idA)).Handshake(t)
	assert.Equal(t, wire.GracefulRestart{Restarting: true, Time: 60 * time.Second, EVPN: true, Forwarding: true}, *p.Theirs.GracefulRestart)
	s.AwaitState(t, peerA, "established")
	p.Close()
	s.AwaitState(t, peerA, "active")
	p = speakertest.Dial(t, peerA, s.At, restarts(idA)).Handshake(t)
	assert.False(t, p.Theirs.GracefulRestart.Restarting, "only the first OPEN after the start")
	assert.True(t, p.Theirs.GracefulRestart.Forwarding)
}

// A reflector that restarts holds its End-of-RIB back until all clients have sent theirs: else a
// client would sweep what another one has not announced again yet.
func TestRestartingReflectorWaits(t *testing.T) {
	cfg := passive(speaker.Neighbor{Address: peerA, RouteReflectorClient: true}, speaker.Neighbor{Address: peerB, RouteReflectorClient: true})
	cfg.GracefulRestartTime, cfg.Restarting = 60*time.Second, true
	s := speakertest.Start(t, cfg)
	a := speakertest.Dial(t, peerA, s.At, restarts(idA)).Handshake(t)
	s.AwaitState(t, peerA, "established")
	a.Send(t, wire.EndOfRIB())
	waitsForB(t, s, a)
	a.See(func(h *speakertest.Heard) { assert.Equal(t, []string{"route", "eor"}, h.Order) })
}

func TestShutdownWays(t *testing.T) {
	for _, graceful := range []bool{true, false} {
		s := speakertest.Start(t, passive(speaker.Neighbor{Address: peerA}))
		p := speakertest.Dial(t, peerA, s.At, ibgp(idA)).Handshake(t)
		s.AwaitState(t, peerA, "established")
		s.Shutdown(graceful)
		p.Await(t, "the close", func(h *speakertest.Heard) bool { return h.ClosedBy != nil })
		p.See(func(h *speakertest.Heard) {
			if graceful {
				assert.Nil(t, h.Notification, "neighbours that help a restart keep our routes only without one")
				return
			}
			require.NotNil(t, h.Notification)
			assert.Equal(t, []uint8{wire.CodeCease, wire.SubShutdown}, []uint8{h.Notification.Code, h.Notification.Subcode})
		})
		for _, ev := range s.Events() {
			_, down := ev.(evpn.NeighborDown)
			assert.False(t, down, "the shutdown itself is not news")
		}
	}
}

func ourGoroutines() string {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	var ours []string
	for _, g := range strings.Split(string(buf), "\n\n") {
		if strings.Contains(g, "vtepbgp/speaker.(") || strings.Contains(g, "vtepbgp/speaker.init") {
			ours = append(ours, g)
		}
	}
	return strings.Join(ours, "\n\n")
}

func TestNoGoroutineIsLeft(t *testing.T) {
	log := logrus.New()
	log.SetOutput(io.Discard)
	port := speakertest.FreePort(t, us)
	s, err := speaker.New(speaker.Config{ASN: 65000, RouterID: ourID, ListenPort: port, ListenAddresses: []netip.Addr{us}, Neighbors: []speaker.Neighbor{
		{Address: peerA, ASN: 65000, Port: 9, VTEPSource: us}, {Prefix: netip.MustParsePrefix("127.0.3.0/24"), ASN: 65000}}}, logrus.NewEntry(log))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, func(evpn.Event) {}) }()
	<-s.Ready()
	p := speakertest.Dial(t, netip.MustParseAddr("127.0.3.3"), netip.AddrPortFrom(us, uint16(port)), ibgp(idA)).Handshake(t)
	p.Await(t, "End-of-RIB", endOfRIB)
	speakertest.Dial(t, netip.MustParseAddr("127.0.3.4"), netip.AddrPortFrom(us, uint16(port)), ibgp(idB)).Open(t)
	cancel()
	require.NoError(t, <-ended)
	require.Eventually(t, func() bool { return ourGoroutines() == "" }, speakertest.Wait, 5*time.Millisecond, "left: %s", ourGoroutines())
}

func TestListenFailureEndsRun(t *testing.T) {
	l := speakertest.Listen(t, us)
	cfg := passive(speaker.Neighbor{Address: peerA})
	cfg.ListenPort = l.Port()
	log := logrus.New()
	log.SetOutput(io.Discard)
	s, err := speaker.New(cfg, logrus.NewEntry(log))
	require.NoError(t, err)
	require.ErrorContains(t, s.Run(t.Context(), func(evpn.Event) {}), "address already in use")
}

// GoBGP calls Fatal when its API cannot listen: that must end Run, not the process.
func TestGoBGPFatalEndsRun(t *testing.T) {
	l := speakertest.Listen(t, us)
	cfg := passive(speaker.Neighbor{Address: peerA})
	cfg.ListenPort = speakertest.FreePort(t, us)
	cfg.GoBGPListen = l.Addr().String()
	log := logrus.New()
	log.SetOutput(io.Discard)
	s, err := speaker.New(cfg, logrus.NewEntry(log))
	require.NoError(t, err)
	require.ErrorContains(t, s.Run(t.Context(), func(evpn.Event) {}), "gobgp")
}

func TestReconfigure(t *testing.T) {
	cfg := passive(speaker.Neighbor{Address: peerA}, speaker.Neighbor{Address: peerB})
	s := speakertest.Start(t, cfg)
	cfg.ListenPort = int(s.At.Port())
	a := speakertest.Dial(t, peerA, s.At, ibgp(idA)).Handshake(t)
	b := speakertest.Dial(t, peerB, s.At, ibgp(idB)).Handshake(t)
	s.AwaitState(t, peerA, "established")
	s.AwaitState(t, peerB, "established")
	peerC := netip.MustParseAddr("127.0.1.4")
	next := cfg
	next.Neighbors = []speaker.Neighbor{{Address: peerA, ASN: 65000, Passive: true, Description: "same session"}, {Address: peerC, ASN: 65000, Passive: true}}
	require.NoError(t, s.Reconfigure(next))
	n := b.AwaitNotification(t)
	assert.Equal(t, []uint8{wire.CodeCease, wire.SubDeconfigured}, []uint8{n.Code, n.Subcode})
	s.Await(t, "NeighborRemoved", lastIs(evpn.NeighborRemoved{Neighbor: peerB}))
	speakertest.Dial(t, peerC, s.At, ibgp(idB)).Handshake(t)
	s.AwaitState(t, peerC, "established")
	st := s.AwaitState(t, peerA, "established")
	assert.Equal(t, "same session", st.Description)
	assert.Zero(t, st.Flaps)

	// A hold time needs a new OPEN.
	next.Neighbors[0].HoldTime = 30 * time.Second
	require.NoError(t, s.Reconfigure(next))
	n = a.AwaitNotification(t)
	assert.Equal(t, []uint8{wire.CodeCease, wire.SubConfigChange}, []uint8{n.Code, n.Subcode})
	s.AwaitState(t, peerA, "active")
	a = speakertest.Dial(t, peerA, s.At, ibgp(idA)).Handshake(t)
	assert.Equal(t, 30*time.Second, a.Theirs.HoldTime)

	bad := next
	bad.ASN = 65001
	require.ErrorContains(t, s.Reconfigure(bad), "asn")
	bad = next
	bad.Neighbors = append(bad.Neighbors, next.Neighbors[0])
	require.ErrorContains(t, s.Reconfigure(bad), "twice")
}

// Becoming a reflector while sessions are up: GoBGP gets the routes by a refresh.
func TestTransitBegins(t *testing.T) {
	cfg := passive(speaker.Neighbor{Address: peerA}, speaker.Neighbor{Address: peerB})
	s := speakertest.Start(t, cfg)
	cfg.ListenPort = int(s.At.Port())
	a := speakertest.Dial(t, peerA, s.At, ibgp(idA)).Handshake(t)
	r := speakertest.MACRoute(idA, 100, 7, nil)
	a.Announce(t, r)
	s.Await(t, "the route", func([]evpn.Event) bool { return len(s.Routes(peerA)) == 1 })
	next := cfg
	next.Neighbors = []speaker.Neighbor{cfg.Neighbors[0], {Address: peerB, ASN: 65000, Passive: true, RouteReflectorClient: true}}
	require.NoError(t, s.Reconfigure(next))
	a.Await(t, "a refresh", func(h *speakertest.Heard) bool { return h.Refreshes == 1 })
	a.Announce(t, r)
	b := speakertest.Dial(t, peerB, s.At, ibgp(idB)).Handshake(t)
	b.Await(t, "the reflected route", hasRoute(r.Key))
}

// waitsForB: our End-of-RIB comes after that of B, the last one, and after what B has for A.
func waitsForB(t *testing.T, s *speakertest.Running, a *speakertest.Peer) {
	t.Helper()
	b := speakertest.Dial(t, peerB, s.At, restarts(idB)).Handshake(t)
	r := speakertest.MACRoute(idB, 100, 7, nil)
	b.Announce(t, r)
	a.Await(t, "the route", hasRoute(r.Key))
	a.See(func(h *speakertest.Heard) { assert.Zero(t, h.EndOfRIB) })
	b.Send(t, wire.EndOfRIB())
	a.Await(t, "End-of-RIB", endOfRIB)
	b.Await(t, "End-of-RIB", endOfRIB)
}

// Neighbours that come by a prefix are in no list: those of the run before are waited for.
func TestRestartingReflectorWaitsForWhomItKnew(t *testing.T) {
	cfg := passive(speaker.Neighbor{Prefix: netip.MustParsePrefix("127.0.1.0/24"), RouteReflectorClient: true})
	cfg.GracefulRestartTime, cfg.Restarting = 60*time.Second, true
	cfg.Expected = []netip.Addr{peerA, peerB, netip.MustParseAddr("192.0.2.1")} // the last one is configured no more
	s := speakertest.Start(t, cfg)
	a := speakertest.Dial(t, peerA, s.At, restarts(idA)).Handshake(t)
	a.Send(t, wire.EndOfRIB())
	s.Await(t, "End-of-RIB", func(ev []evpn.Event) bool { return hasEvent(ev, evpn.EndOfRIB{Neighbor: peerA}) })
	waitsForB(t, s, a)
}
