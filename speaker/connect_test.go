package speaker_test

import (
	"context"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/speaker"
	"github.com/vtepbgp/vtepbgp/speaker/speakertest"
	"github.com/vtepbgp/vtepbgp/speaker/wire"
)

func TestPassiveNeighbor(t *testing.T) {
	s := speakertest.Start(t, passive(speaker.Neighbor{Address: peerA}))
	p := speakertest.Dial(t, peerA, s.At, ibgp(idA)).Handshake(t)
	p.Await(t, "End-of-RIB", endOfRIB)
	st := s.AwaitState(t, peerA, "established")
	assert.Equal(t, idA, st.RouterID)
	assert.Equal(t, us, st.LocalAddress)
	assert.Equal(t, 90*time.Second, st.HoldTime)
	assert.Equal(t, 30*time.Second, st.Keepalive)
	assert.Equal(t, []string{"multiprotocol(l2vpn-evpn)", "route-refresh", "4-octet-as"}, st.Capabilities)
}

func TestUnknownSourceIsClosed(t *testing.T) {
	s := speakertest.Start(t, passive(speaker.Neighbor{Address: peerA}))
	p := speakertest.Dial(t, peerB, s.At, ibgp(idB))
	p.Collect()
	p.Await(t, "the close", func(h *speakertest.Heard) bool { return h.ClosedBy != nil })
	assert.EqualValues(t, 1, s.Stats().UnknownConnections)
}

func TestDynamicNeighbors(t *testing.T) {
	cfg := passive(speaker.Neighbor{Prefix: netip.MustParsePrefix("127.0.1.0/24"), Description: "leaves"},
		speaker.Neighbor{Prefix: netip.MustParsePrefix("127.0.1.2/31"), Description: "pair"})
	s := speakertest.Start(t, cfg)
	assert.Empty(t, s.Neighbors())
	a := speakertest.Dial(t, peerA, s.At, ibgp(idA)).Handshake(t)
	a.Await(t, "End-of-RIB", endOfRIB)
	st := s.AwaitState(t, peerA, "established")
	assert.True(t, st.Dynamic)
	assert.Equal(t, "pair", st.Description, "the longest prefix counts")
	a.Close()
	s.Await(t, "NeighborRemoved", func(ev []evpn.Event) bool {
		return len(ev) == 3 && ev[1] == evpn.NeighborDown{Neighbor: peerA} && ev[2] == evpn.NeighborRemoved{Neighbor: peerA}
	})
	assert.Empty(t, s.Neighbors())
	speakertest.Dial(t, peerA, s.At, ibgp(idA)).Handshake(t)
	s.AwaitState(t, peerA, "established")
}

func TestDynamicLimit(t *testing.T) {
	cfg := passive(speaker.Neighbor{Prefix: netip.MustParsePrefix("127.0.1.0/24")})
	cfg.DynamicLimit = 1
	s := speakertest.Start(t, cfg)
	speakertest.Dial(t, peerA, s.At, ibgp(idA)).Handshake(t)
	b := speakertest.Dial(t, peerB, s.At, ibgp(idB))
	b.Collect()
	b.Await(t, "the close", func(h *speakertest.Heard) bool { return h.ClosedBy != nil })
	assert.Len(t, s.Neighbors(), 1)
}

func TestIPv6Transport(t *testing.T) {
	v6 := netip.IPv6Loopback()
	cfg := passive(speaker.Neighbor{Address: v6})
	cfg.ListenAddresses = []netip.Addr{v6}
	if l, err := net.Listen("tcp6", "[::1]:0"); err != nil {
		requireLab(t, "no IPv6 loopback")
	} else {
		l.Close()
	}
	s := speakertest.Start(t, cfg)
	p := speakertest.Dial(t, v6, s.At, ibgp(idA)).Handshake(t)
	p.Await(t, "End-of-RIB", endOfRIB)
	s.AwaitState(t, v6, "established")
}

// Both sides dial: exactly one connection stays, the one that the higher identifier made.
func TestCollision(t *testing.T) {
	for _, c := range []struct {
		name         string
		peer         netip.Addr
		keepIncoming bool
	}{
		{"peer has the higher identifier", idA, true},
		{"we have the higher identifier", idB, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := speakertest.Listen(t, peerA)
			cfg := passive(speaker.Neighbor{Address: peerA, Port: l.Port(), VTEPSource: us})
			cfg.Neighbors[0].Passive = false
			s := speakertest.Start(t, cfg)
			out := l.Accept(t, ibgp(c.peer)) // theirs to us
			in := speakertest.Dial(t, peerA, s.At, ibgp(c.peer))
			// Both OPENs of ours are out before either of the peer's comes.
			typ, _ := out.Read(t)
			require.EqualValues(t, wire.TypeOpen, typ)
			typ, _ = in.Read(t)
			require.EqualValues(t, wire.TypeOpen, typ)
			keep, lose := out, in
			if c.keepIncoming {
				keep, lose = in, out
			}
			out.Send(t, ibgp(c.peer).Open())
			in.Collect()
			out.Collect()
			_, _ = in.Conn.Write(ibgp(c.peer).Open()) // may be closed already
			n := lose.AwaitNotification(t)
			assert.Equal(t, []uint8{wire.CodeCease, wire.SubCollision}, []uint8{n.Code, n.Subcode})
			keep.Send(t, wire.Keepalive())
			s.AwaitState(t, peerA, "established")
			keep.Await(t, "End-of-RIB", endOfRIB)
		})
	}
}

// The peer's OPEN on one connection is in, GoBGP has answered, then the other one wins.
func TestCollisionInOpenConfirm(t *testing.T) {
	l := speakertest.Listen(t, peerA)
	cfg := passive(speaker.Neighbor{Address: peerA, Port: l.Port(), VTEPSource: us})
	cfg.Neighbors[0].Passive = false
	s := speakertest.Start(t, cfg)
	out := l.Accept(t, ibgp(idA))
	out.Open(t)
	s.AwaitState(t, peerA, "openconfirm")
	out.Collect()
	in := speakertest.Dial(t, peerA, s.At, ibgp(idA)).Handshake(t)
	n := out.AwaitNotification(t)
	assert.Equal(t, []uint8{wire.CodeCease, wire.SubCollision}, []uint8{n.Code, n.Subcode})
	in.Await(t, "End-of-RIB", endOfRIB)
	s.AwaitState(t, peerA, "established")
}

// needsPrivilege tries the socket option that the test is about.
func needsPrivilege(t *testing.T, what string, f func(fd int) error) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	require.NoError(t, err)
	defer unix.Close(fd)
	if err := f(fd); err != nil {
		requireLab(t, what+": "+err.Error())
	}
}

func md5Option(t *testing.T, addr netip.Addr, key string) func(network, address string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		sig := unix.TCPMD5Sig{Keylen: uint16(len(key))}
		sig.Addr.Family = unix.AF_INET
		a := addr.As4()
		copy(sig.Addr.Data[2:], a[:])
		copy(sig.Key[:], key)
		var err error
		if cerr := c.Control(func(fd uintptr) { err = unix.SetsockoptTCPMD5Sig(int(fd), unix.IPPROTO_TCP, unix.TCP_MD5SIG, &sig) }); cerr != nil {
			return cerr
		}
		return err
	}
}

// A segment with the wrong key is not answered: refused is how long to wait for nothing.
const refused = 500 * time.Millisecond

func dialMD5(t *testing.T, from netip.Addr, to netip.AddrPort, key string, patience time.Duration) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: from.AsSlice()}, Timeout: patience}
	if key != "" {
		d.Control = md5Option(t, to.Addr(), key)
	}
	return d.Dial("tcp", to.String())
}

func TestMD5(t *testing.T) {
	needsMD5(t)
	prefixed := netip.MustParseAddr("127.0.2.9")
	s := speakertest.Start(t, passive(speaker.Neighbor{Address: peerA, Password: "secret"},
		speaker.Neighbor{Prefix: netip.MustParsePrefix("127.0.2.0/24"), Password: "leaves"}))
	for _, c := range []struct {
		name, key string
		from      netip.Addr
		ok        bool
	}{
		{"right key", "secret", peerA, true},
		{"wrong key", "wrong", peerA, false},
		{"no key", "", peerA, false},
		{"prefix, right key", "leaves", prefixed, true},
		{"prefix, wrong key", "secret", prefixed, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if !c.ok {
				_, err := dialMD5(t, c.from, s.At, c.key, refused)
				require.Error(t, err)
				return
			}
			conn, err := dialMD5(t, c.from, s.At, c.key, speakertest.Wait)
			require.NoError(t, err)
			p := speakertest.New(conn, ibgp(idA))
			defer p.Close()
			p.Handshake(t).Await(t, "End-of-RIB", endOfRIB)
		})
	}

	t.Run("key changed by reconfigure", func(t *testing.T) {
		cfg := passive(speaker.Neighbor{Address: peerA, Password: "newer"})
		cfg.ListenPort = int(s.At.Port())
		require.NoError(t, s.Reconfigure(cfg))
		_, err := dialMD5(t, peerA, s.At, "secret", refused)
		require.Error(t, err)
		conn, err := dialMD5(t, peerA, s.At, "newer", speakertest.Wait)
		require.NoError(t, err)
		p := speakertest.New(conn, ibgp(idA))
		defer p.Close()
		p.Handshake(t).Await(t, "End-of-RIB", endOfRIB)
	})
}

func needsMD5(t *testing.T) {
	t.Helper()
	needsPrivilege(t, "TCP MD5 is not available", func(fd int) error {
		return unix.SetsockoptTCPMD5Sig(fd, unix.IPPROTO_TCP, unix.TCP_MD5SIG,
			&unix.TCPMD5Sig{Addr: unix.SockaddrStorage{Family: unix.AF_INET}, Keylen: 1})
	})
}

// The speaker dials with the key. A test of its own: GoBGP keeps settings in a global
// variable, so two speakers in one process are a data race.
func TestMD5Dialled(t *testing.T) {
	needsMD5(t)
	lc := net.ListenConfig{Control: md5Option(t, us, "secret")}
	l, err := lc.Listen(context.Background(), "tcp4", netip.AddrPortFrom(peerB, 0).String())
	require.NoError(t, err)
	defer l.Close()
	active := speakertest.Start(t, speaker.Config{ASN: 65000, RouterID: ourID, Neighbors: []speaker.Neighbor{
		{Address: peerB, ASN: 65000, Port: l.Addr().(*net.TCPAddr).Port, VTEPSource: us, Password: "secret"}}})
	(&speakertest.Listener{Listener: l}).Accept(t, ibgp(idB)).Handshake(t)
	active.AwaitState(t, peerB, "established")
}

func dialTTL(t *testing.T, from netip.Addr, to netip.AddrPort, ttl int) net.Conn {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: from.AsSlice()}, Timeout: speakertest.Wait,
		Control: func(_, _ string, c syscall.RawConn) error {
			level, opt := unix.IPPROTO_IP, unix.IP_TTL
			if from.Is6() {
				level, opt = unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS
			}
			var err error
			_ = c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), level, opt, ttl) })
			return err
		}}
	conn, err := d.Dial("tcp", to.String())
	require.NoError(t, err)
	return conn
}

// A far peer has no say, not even with what arrived before the socket was accepted.
func TestGTSM(t *testing.T) {
	for _, addr := range []netip.Addr{peerA, netip.IPv6Loopback()} {
		t.Run(addr.String(), func(t *testing.T) {
			cfg := passive(speaker.Neighbor{Address: addr, ASN: 65001, TTLSecurity: true})
			if addr.Is6() {
				cfg.ListenAddresses = []netip.Addr{addr}
			}
			s := speakertest.Start(t, cfg)
			for range 20 {
				far := speakertest.New(dialTTL(t, addr, s.At, 64), speakertest.Options{ASN: 65001, RouterID: idB})
				_, _ = far.Conn.Write(speakertest.Options{ASN: 65001, RouterID: idB}.Open())
				defer far.Close()
			}
			near := speakertest.New(dialTTL(t, addr, s.At, 255), speakertest.Options{ASN: 65001, RouterID: idA})
			defer near.Close()
			near.Handshake(t).Await(t, "End-of-RIB", endOfRIB)
			s.AwaitState(t, addr, "established")
			assert.Equal(t, uint64(20), s.Stats().UnknownConnections)
		})
	}
}

func sockopt(t *testing.T, conn net.Conn, level, opt int) int {
	t.Helper()
	raw, err := conn.(*net.TCPConn).SyscallConn()
	require.NoError(t, err)
	var v int
	require.NoError(t, raw.Control(func(fd uintptr) { v, err = unix.GetsockoptInt(int(fd), level, opt) }))
	require.NoError(t, err)
	return v
}

// The TTL that arrives is what the sender's socket was told.
func TestTTLOfEBGP(t *testing.T) {
	for _, c := range []struct {
		name string
		n    speaker.Neighbor
		want int
	}{
		{"directly connected", speaker.Neighbor{ASN: 65001}, 1},
		{"multihop", speaker.Neighbor{ASN: 65001, EBGPMultihop: 5}, 5},
		{"GTSM", speaker.Neighbor{ASN: 65001, TTLSecurity: true}, 255},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := speakertest.Listen(t, peerA)
			c.n.Address, c.n.Port, c.n.VTEPSource = peerA, l.Port(), us
			raw, err := l.Listener.(*net.TCPListener).SyscallConn()
			require.NoError(t, err)
			// A listener's minimum TTL holds for what it accepts: one more than it should be lets nothing in.
			require.NoError(t, raw.Control(func(fd uintptr) {
				err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TTL, 255)
				if err == nil {
					err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MINTTL, c.want)
				}
			}))
			require.NoError(t, err)
			s := speakertest.Start(t, speaker.Config{ASN: 65000, RouterID: ourID, Neighbors: []speaker.Neighbor{c.n}})
			p := l.Accept(t, speakertest.Options{ASN: 65001, RouterID: idA})
			assert.Equal(t, c.want, sockopt(t, p.Conn, unix.IPPROTO_IP, unix.IP_MINTTL))
			p.Handshake(t).Await(t, "End-of-RIB", endOfRIB)
			s.AwaitState(t, peerA, "established")
		})
	}
}

func TestDialIsRetriedQuickly(t *testing.T) {
	port := speakertest.FreePort(t, peerA)
	s := speakertest.Start(t, speaker.Config{ASN: 65000, RouterID: ourID, Neighbors: []speaker.Neighbor{
		{Address: peerA, ASN: 65000, Port: port, VTEPSource: us}}})
	require.Eventually(t, func() bool { return s.Neighbors()[0].LastError != "" }, speakertest.Wait, time.Millisecond)
	assert.Contains(t, s.Neighbors()[0].LastError, "connection refused")
	l, err := net.Listen("tcp", netip.AddrPortFrom(peerA, uint16(port)).String())
	require.NoError(t, err)
	defer l.Close()
	began := time.Now()
	(&speakertest.Listener{Listener: l}).Accept(t, ibgp(idA)).Handshake(t)
	assert.Less(t, time.Since(began), 10*time.Second)
}

// A peer that ends every session for what it is sent (FRR 8.4 and an attribute that it refuses) is not asked at the rate of a restart.
func TestSessionsThatDoNotLast(t *testing.T) {
	l := speakertest.Listen(t, peerA)
	s := speakertest.Start(t, speaker.Config{ASN: 65000, RouterID: ourID, Neighbors: []speaker.Neighbor{
		{Address: peerA, ASN: 65000, Port: l.Port(), VTEPSource: us}}})
	p := l.Accept(t, ibgp(idA))
	// The shortest waits that jitter leaves of 50 ms, 100 ms, 200 ms…
	for least := 37500 * time.Microsecond; least < time.Second; least *= 2 {
		p.Handshake(t).Await(t, "End-of-RIB", endOfRIB)
		ended := time.Now()
		p.Send(t, wire.Notification(wire.CodeUpdate, wire.SubMalformedAttributeList, nil))
		p = l.Accept(t, ibgp(idA))
		require.GreaterOrEqual(t, time.Since(ended), least)
	}
	p.Handshake(t).Await(t, "End-of-RIB", endOfRIB)
	s.AwaitState(t, peerA, "established")
}

func TestConnectionsDoNotPileUp(t *testing.T) {
	s := speakertest.Start(t, passive(speaker.Neighbor{Address: peerA}))
	refused := 0
	for range 10 {
		p := speakertest.Dial(t, peerA, s.At, ibgp(idA))
		if typ, _ := p.Read(t); typ == wire.TypeNotification {
			refused++
		}
	}
	assert.Equal(t, 6, refused)
}
