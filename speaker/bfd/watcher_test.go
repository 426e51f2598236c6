package bfd_test

import (
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/speaker/bfd"
)

var (
	left  = netip.MustParseAddr("127.0.0.11")
	right = netip.MustParseAddr("127.0.0.12")
)

// mirror is a watcher that talks to itself: two sessions, each the other's neighbour.
type mirror struct {
	*bfd.Watcher
	t    *testing.T
	port int

	mu      sync.Mutex
	changes map[netip.Addr][]bfd.Change
}

func newMirror(t *testing.T) *mirror {
	t.Helper()
	log := logrus.New()
	log.SetOutput(io.Discard)
	m := &mirror{Watcher: bfd.NewWatcher(log.WithField("test", t.Name())), t: t, changes: map[netip.Addr][]bfd.Change{}}
	ports := make([]int, 2)
	for i := range ports {
		c, err := net.ListenPacket("udp4", "0.0.0.0:0")
		require.NoError(t, err)
		ports[i] = c.LocalAddr().(*net.UDPAddr).Port
		require.NoError(t, c.Close())
	}
	m.port = ports[0]
	m.SetPorts(ports[0], ports[1])
	t.Cleanup(m.Stop)
	return m
}

func (m *mirror) watch(peer, local netip.Addr, multihop bool, timers bfd.Timers) {
	m.t.Helper()
	require.NoError(m.t, m.Watch(bfd.Session{Peer: peer, Local: local, Multihop: multihop, Timers: timers}, func(c bfd.Change) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.changes[peer] = append(m.changes[peer], c)
	}))
}

func (m *mirror) heard(peer netip.Addr) []bfd.Change {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]bfd.Change(nil), m.changes[peer]...)
}

func (m *mirror) eventually(what string, check func(map[netip.Addr]bfd.Status) bool) {
	m.t.Helper()
	require.Eventually(m.t, func() bool { return check(m.Sessions()) }, 30*time.Second, 10*time.Millisecond, what)
}

func bothUp(s map[netip.Addr]bfd.Status) bool {
	return s[left].State == bfd.Up && s[right].State == bfd.Up
}

var relaxed = bfd.Timers{Interval: 200 * ms, Multiplier: 20} // the machine is busy

func TestWatcher(t *testing.T) {
	t.Parallel()
	for name, multihop := range map[string]bool{"single-hop": false, "multihop": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMirror(t)
			m.watch(left, right, multihop, relaxed)
			m.watch(right, left, multihop, relaxed)
			m.eventually("up", bothUp)
			assert.NotEmpty(t, m.Stats().Priority)

			longer := bfd.Timers{Interval: 300 * ms, Multiplier: 20}
			m.watch(left, right, multihop, longer)
			m.eventually("timers are negotiated", func(s map[netip.Addr]bfd.Status) bool {
				return s[left].SendInterval == 300*ms && s[right].DetectionTime == 20*300*ms
			})
			m.watch(left, netip.Addr{}, multihop, longer)
			for _, s := range m.Sessions() {
				assert.Zero(t, s.Downs, "no flap by a change of timers or local address")
				assert.Empty(t, s.Problem)
			}

			m.Forget(left)
			m.eventually("the other side hears of the end", func(s map[netip.Addr]bfd.Status) bool {
				_, there := s[left]
				return !there && s[right].State == bfd.Down && s[right].RemoteState == bfd.AdminDown
			})
			require.Eventually(t, func() bool {
				c := m.heard(right)
				return len(c) > 0 && c[len(c)-1].To == bfd.Down
			}, 30*time.Second, 10*time.Millisecond)
			changes, last := m.heard(right), m.Sessions()[right]
			assert.Equal(t, bfd.AdminDown, changes[len(changes)-1].Remote)
			m.watch(left, right, multihop, relaxed)
			m.eventually("up again", bothUp)
			require.Never(t, func() bool { return !bothUp(m.Sessions()) || m.Sessions()[right].Downs != last.Downs }, 1500*time.Millisecond,
				10*time.Millisecond, "the earlier session's last words end the new one")
		})
	}
}

// From one hop to several it is another session, at both ends.
func TestWatcherChangesMode(t *testing.T) {
	t.Parallel()
	m := newMirror(t)
	for _, multihop := range []bool{false, true, false} {
		m.watch(left, right, multihop, relaxed)
		m.watch(right, left, multihop, relaxed)
		m.eventually("up", bothUp)
	}
}

func TestWatcherDiscards(t *testing.T) {
	t.Parallel()
	m := newMirror(t)
	m.watch(left, right, false, relaxed)
	m.watch(right, left, false, relaxed)
	m.eventually("up", bothUp)
	send := func(from string, ttl int, p bfd.Packet) {
		t.Helper()
		c, err := net.DialUDP("udp4", &net.UDPAddr{IP: net.IP(netip.MustParseAddr(from).AsSlice())}, &net.UDPAddr{IP: net.IP(left.AsSlice()), Port: m.port})
		require.NoError(t, err)
		defer c.Close()
		raw, err := c.SyscallConn()
		require.NoError(t, err)
		require.NoError(t, raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TTL, ttl) }))
		require.NoError(t, err)
		_, err = c.Write(p.Append(nil))
		require.NoError(t, err)
	}
	before := m.Stats().Drops // what one session said before the other was there
	mine := m.Sessions()[right].Discriminator
	attack := bfd.Packet{State: bfd.AdminDown, Multiplier: 3, My: 1, Your: mine, DesiredTx: time.Second, RequiredRx: time.Second}
	send(right.String(), 254, attack)
	send("127.0.0.99", 255, attack)
	attack.Your = 0
	send("127.0.0.99", 255, attack)
	attack.Multiplier = 0
	send(right.String(), 255, attack)
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		now := m.Stats().Drops
		for _, reason := range []string{"TTL is not 255", "not from the session's neighbor", "no such session", "multiplier is 0"} {
			assert.EqualValues(c, 1, now[reason]-before[reason], reason)
		}
	}, 30*time.Second, 10*time.Millisecond)
	assert.True(t, bothUp(m.Sessions()))
}

// A port that another daemon has is shown, and taken when it is free.
func TestWatcherWaitsForItsPort(t *testing.T) {
	t.Parallel()
	m := newMirror(t)
	c, err := net.ListenUDP("udp4", &net.UDPAddr{Port: m.port})
	require.NoError(t, err)
	m.watch(left, right, false, relaxed)
	m.watch(right, left, false, relaxed)
	m.eventually("problem", func(s map[netip.Addr]bfd.Status) bool { return s[left].Problem != "" })
	assert.Contains(t, m.Sessions()[left].Problem, "another BFD daemon")
	require.NoError(t, c.Close())
	m.eventually("up", bothUp)
	assert.Empty(t, m.Sessions()[left].Problem)
}

func TestWatcherWithoutSessions(t *testing.T) {
	t.Parallel()
	m := newMirror(t)
	m.Forget(left)
	assert.Empty(t, m.Sessions())
	assert.Empty(t, m.Stats().Priority, "no thread without a session")
}
