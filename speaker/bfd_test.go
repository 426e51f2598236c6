package speaker_test

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/speaker"
	"github.com/vtepbgp/vtepbgp/speaker/bfd"
	"github.com/vtepbgp/vtepbgp/speaker/speakertest"
	"github.com/vtepbgp/vtepbgp/speaker/wire"
)

// bfdPeer is the BFD half of a test's peer: it speaks and does not listen.
type bfdPeer struct {
	conn *net.UDPConn
	my   uint32
}

func newBFDPeer(t *testing.T, from netip.Addr) *bfdPeer {
	t.Helper()
	c, err := net.DialUDP("udp4", &net.UDPAddr{IP: from.AsSlice()}, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 3784})
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	raw, err := c.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TTL, 255) }))
	require.NoError(t, err)
	return &bfdPeer{conn: c, my: 7}
}

func (p *bfdPeer) send(s *speakertest.Running, state bfd.State, independent bool) error {
	_, err := p.conn.Write(bfd.Packet{State: state, My: p.my, Your: s.Neighbors()[0].BFD.Discriminator, Multiplier: 255,
		Independent: independent, DesiredTx: time.Second, RequiredRx: time.Second}.Append(nil))
	return err
}

// reach repeats a packet until our session has the state: our socket may have to wait for its port, which another test
// has, and until then the packets before are refused.
func (p *bfdPeer) reach(t *testing.T, s *speakertest.Running, say, want bfd.State, independent bool) {
	t.Helper()
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		if err := p.send(s, say, independent); !errors.Is(err, unix.ECONNREFUSED) {
			assert.NoError(c, err)
		}
		st := s.Neighbors()[0].BFD
		assert.Equal(c, want, st.State, "%+v", st)
	}, 30*time.Second, 10*time.Millisecond)
}

// goDown says Down to a session that is up. It says so once: to a session that is down it would be a beginning.
func (p *bfdPeer) goDown(t *testing.T, s *speakertest.Running, independent bool) {
	t.Helper()
	downs := s.Neighbors()[0].BFD.Downs
	require.NoError(t, p.send(s, bfd.Down, independent))
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		st := s.Neighbors()[0].BFD
		assert.Equal(c, downs+1, st.Downs, "%+v", st)
		assert.Equal(c, bfd.Down, st.State, "%+v", st)
	}, 30*time.Second, 10*time.Millisecond)
}

func bfdConfig() speaker.Config {
	cfg := passive(speaker.Neighbor{Address: peerA, BFD: speaker.BFD{Enabled: true, Interval: time.Second, Multiplier: 3, Mode: speaker.BFDSingleHop}})
	cfg.GracefulRestartTime = 60 * time.Second
	return cfg
}

// A BFD session that goes down takes the BGP session with it, without grace; one that never came up, that comes up,
// or that the neighbour ends on purpose, does not. Then the configuration changes, and the session stays.
func TestBFDDown(t *testing.T) {
	s := speakertest.Start(t, bfdConfig())
	b := newBFDPeer(t, peerA)
	p := speakertest.Dial(t, peerA, s.At, restarts(idA)).Handshake(t)
	s.AwaitState(t, peerA, "established")
	assert.Equal(t, bfd.Down, s.Neighbors()[0].BFD.State, "BGP does not wait for BFD")

	b.reach(t, s, bfd.Init, bfd.Up, false)
	b.reach(t, s, bfd.AdminDown, bfd.Down, false)
	assert.Equal(t, "neighbor took its session down on purpose", s.Neighbors()[0].BFD.LastDownReason)
	b.reach(t, s, bfd.Init, bfd.Up, false)
	assert.Equal(t, "established", s.Neighbors()[0].State)

	cfg := bfdConfig()
	cfg.Neighbors[0].BFD.Interval = 500 * time.Millisecond
	cfg.ListenPort = int(s.At.Port())
	require.NoError(t, s.Reconfigure(cfg))
	require.Eventually(t, func() bool { return s.Neighbors()[0].BFD.Interval == 500*time.Millisecond }, speakertest.Wait, 10*time.Millisecond)
	assert.Equal(t, uint64(0), s.Neighbors()[0].Flaps)
	assert.Equal(t, bfd.Up, s.Neighbors()[0].BFD.State)

	b.goDown(t, s, false)
	s.Await(t, "NeighborDown without grace", lastIs(evpn.NeighborDown{Neighbor: peerA}))
	assert.Contains(t, s.Neighbors()[0].LastError, "BFD session went down: neighbor signaled session down")
	n := p.AwaitNotification(t)
	assert.Equal(t, []uint8{wire.CodeCease, wire.SubBFDDown}, []uint8{n.Code, n.Subcode})

	cfg.Neighbors = slices.Clone(cfg.Neighbors)
	cfg.Neighbors[0].BFD = speaker.BFD{}
	require.NoError(t, s.Reconfigure(cfg))
	assert.Nil(t, s.Neighbors()[0].BFD)
}

// While the neighbour restarts, a BFD failure tells of its control plane, which is known to be away, unless the neighbour
// says that its BFD does not depend on it (RFC 5882 §4.3).
func TestBFDDownDuringRestart(t *testing.T) {
	for _, independent := range []bool{false, true} {
		s := speakertest.Start(t, bfdConfig())
		b := newBFDPeer(t, peerA)
		p := speakertest.Dial(t, peerA, s.At, restarts(idA)).Handshake(t)
		s.AwaitState(t, peerA, "established")
		b.reach(t, s, bfd.Init, bfd.Up, independent)
		p.Close()
		graceful := evpn.NeighborDown{Neighbor: peerA, Graceful: true, StaleTime: 20 * time.Second}
		s.Await(t, "a graceful NeighborDown", lastIs(graceful))
		b.goDown(t, s, independent)
		if independent {
			s.Await(t, "the end of grace", lastIs(evpn.NeighborDown{Neighbor: peerA}))
		} else {
			assert.True(t, lastIs(graceful)(s.Events()))
		}
		s.Stop(t)
	}
}
