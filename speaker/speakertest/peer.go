package speakertest

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/speaker/wire"
)

// Wait is how long the helpers wait for what must come. Only who waits in vain waits that
// long; 200,000 routes with the race detector beside two other test binaries take 8 s of it.
const Wait = 30 * time.Second

// Options are what a peer says in its OPEN.
type Options struct {
	ASN      uint32
	RouterID netip.Addr
	HoldTime time.Duration // 0 = 90 s

	GracefulRestart time.Duration // restart time; 0 = not announced
	Restarting      bool          // R bit
	Forwarding      bool          // F bit for EVPN, also of the long-lived capability
	LongLived       time.Duration // long-lived stale time; 0 = not announced
	NoRefresh       bool          // leave route refresh out
	NoEVPN          bool          // leave EVPN out
	TwoOctetAS      bool          // leave 4-octet AS out
	Extra           []wire.Capability
	Silent          bool // no KEEPALIVEs by itself after the first
}

// Open writes the OPEN message.
func (o Options) Open() []byte {
	hold := o.HoldTime
	if hold == 0 {
		hold = 90 * time.Second
	}
	var params []byte
	add := func(code byte, v ...byte) {
		params = append(params, 2, byte(2+len(v)), code, byte(len(v)))
		params = append(params, v...)
	}
	if !o.NoEVPN {
		add(wire.CapMultiProtocol, 0, wire.AFIL2VPN, 0, wire.SAFIEVPN)
	}
	if !o.NoRefresh {
		add(wire.CapRouteRefresh)
	}
	asn2 := uint16(23456) // AS_TRANS
	if o.ASN < 1<<16 {
		asn2 = uint16(o.ASN)
	}
	if !o.TwoOctetAS {
		add(wire.CapFourOctetAS, binary.BigEndian.AppendUint32(nil, o.ASN)...)
	}
	if o.GracefulRestart > 0 {
		t := uint16(o.GracefulRestart / time.Second)
		v := []byte{byte(t >> 8), byte(t), 0, wire.AFIL2VPN, wire.SAFIEVPN, 0}
		if o.Restarting {
			v[0] |= 0x80
		}
		if o.Forwarding {
			v[5] |= 0x80
		}
		add(wire.CapGracefulRestart, v...)
	}
	if o.LongLived > 0 {
		add(wire.CapLongLivedGR, wire.LongLived{EVPN: true, Forwarding: o.Forwarding, Time: o.LongLived}.Capability().Value...)
	}
	for _, c := range o.Extra {
		add(c.Code, c.Value...)
	}
	b := []byte{4, byte(asn2 >> 8), byte(asn2)}
	b = binary.BigEndian.AppendUint16(b, uint16(hold/time.Second))
	id := o.RouterID.As4()
	b = append(append(b, id[:]...), byte(len(params)))
	return wire.Message(wire.TypeOpen, append(b, params...))
}

// Peer is one connection of the scripted peer.
type Peer struct {
	Conn net.Conn
	// Theirs is the other side's OPEN, once [Peer.Handshake] has it.
	Theirs wire.Open

	opt   Options
	r     *bufio.Reader
	mu    sync.Mutex
	heard Heard
	notes chan struct{}
	stop  chan struct{}
	once  sync.Once
}

// Heard is what a peer got after the handshake, in sum.
type Heard struct {
	Routes       map[evpn.RouteKey]evpn.Route
	Order        []string // "route", "withdraw", "eor", "refresh", in order of messages
	EndOfRIB     int
	Refreshes    int
	Keepalives   int
	Updates      int
	Raw          [][]byte // bodies of UPDATEs
	Notification *wire.NotificationMessage
	ClosedBy     error // the read error that ended it
}

// New takes a connection; nothing is sent yet.
func New(conn net.Conn, opt Options) *Peer {
	return &Peer{
		Conn: conn, opt: opt, r: bufio.NewReaderSize(conn, 64<<10), stop: make(chan struct{}),
		heard: Heard{Routes: map[evpn.RouteKey]evpn.Route{}}, notes: make(chan struct{}, 1),
	}
}

// Dial connects from a local address (a neighbour is known by it) and closes at the end of the test.
func Dial(t testing.TB, from netip.Addr, to netip.AddrPort, opt Options) *Peer {
	t.Helper()
	var conn net.Conn
	require.Eventually(t, func() (ok bool) {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: from.AsSlice()}, Timeout: time.Second}
		c, err := d.Dial("tcp", to.String())
		if err == nil {
			conn = c
		}
		return err == nil
	}, Wait, 5*time.Millisecond, "dial %s", to)
	p := New(conn, opt)
	t.Cleanup(p.Close)
	return p
}

// Listener accepts connections for peers.
type Listener struct{ net.Listener }

// Listen opens a listening socket on addr with a port that is free.
func Listen(t testing.TB, addr netip.Addr) *Listener {
	t.Helper()
	var lc net.ListenConfig
	lc.SetMultipathTCP(false) // such sockets refuse options that tests set
	l, err := lc.Listen(t.Context(), "tcp", netip.AddrPortFrom(addr, 0).String())
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	return &Listener{l}
}

// Port is where it listens.
func (l *Listener) Port() int { return l.Addr().(*net.TCPAddr).Port }

// Accept waits for the next connection.
func (l *Listener) Accept(t testing.TB, opt Options) *Peer {
	t.Helper()
	require.NoError(t, l.Listener.(*net.TCPListener).SetDeadline(time.Now().Add(Wait)))
	c, err := l.Listener.Accept()
	require.NoError(t, err)
	p := New(c, opt)
	t.Cleanup(p.Close)
	return p
}

// Close ends the connection without a NOTIFICATION.
func (p *Peer) Close() {
	p.once.Do(func() { close(p.stop) })
	p.Conn.Close()
}

// Send writes octets as they are.
func (p *Peer) Send(t testing.TB, b ...[]byte) {
	t.Helper()
	for _, m := range b {
		_, err := p.Conn.Write(m)
		require.NoError(t, err)
	}
}

// Read gives the next message; for use before [Peer.Collect].
func (p *Peer) Read(t testing.TB) (typ byte, body []byte) {
	t.Helper()
	require.NoError(t, p.Conn.SetReadDeadline(time.Now().Add(Wait)))
	typ, msg, err := wire.ReadMessage(p.r, nil, wire.MaxMessage)
	require.NoError(t, err)
	require.NoError(t, p.Conn.SetReadDeadline(time.Time{}))
	return typ, msg[wire.HeaderLen:]
}

// Open sends our OPEN and reads theirs.
func (p *Peer) Open(t testing.TB) {
	t.Helper()
	p.Send(t, p.opt.Open())
	typ, body := p.Read(t)
	require.Equal(t, byte(wire.TypeOpen), typ, "expected OPEN, got type %d: %x", typ, body)
	o, err := wire.ParseOpen(body)
	require.NoError(t, err)
	p.Theirs = o
}

// Handshake brings the session up and begins to collect.
func (p *Peer) Handshake(t testing.TB) *Peer {
	t.Helper()
	p.Open(t)
	p.Send(t, wire.Keepalive())
	typ, body := p.Read(t)
	require.Equal(t, byte(wire.TypeKeepalive), typ, "expected KEEPALIVE, got type %d: %x", typ, body)
	p.Collect()
	return p
}

// Collect reads all that comes from now on and, unless Silent, sends KEEPALIVEs.
func (p *Peer) Collect() {
	go func() {
		s := &wire.Session{FourOctetAS: !p.opt.TwoOctetAS, EVPN: true, IBGP: p.Theirs.ASN == p.opt.ASN, LocalASN: p.opt.ASN, LocalRouterID: p.opt.RouterID}
		for {
			typ, msg, err := wire.ReadMessage(p.r, nil, wire.MaxMessage)
			if err != nil {
				p.note(func(h *Heard) { h.ClosedBy = err })
				return
			}
			p.note(func(h *Heard) { h.take(typ, msg[wire.HeaderLen:], s) })
		}
	}()
	if p.opt.Silent {
		return
	}
	go func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-p.stop:
				return
			case <-tick.C:
				if _, err := p.Conn.Write(wire.Keepalive()); err != nil {
					return
				}
			}
		}
	}()
}

func (h *Heard) take(typ byte, body []byte, s *wire.Session) {
	switch typ {
	case wire.TypeKeepalive:
		h.Keepalives++
	case wire.TypeRouteRefresh:
		h.Refreshes++
		h.Order = append(h.Order, "refresh")
	case wire.TypeNotification:
		n := wire.ParseNotification(body)
		h.Notification = &n
	case wire.TypeUpdate:
		h.Updates++
		h.Raw = append(h.Raw, append([]byte(nil), body...))
		u, err := wire.ParseUpdate(body, s)
		if err != nil {
			h.Order = append(h.Order, "bad: "+err.Error())
			return
		}
		for _, k := range u.Withdrawn {
			delete(h.Routes, k)
		}
		for _, r := range u.Announced {
			h.Routes[r.Key] = r
		}
		for _, d := range u.Drops {
			h.Order = append(h.Order, "drop: "+d.Reason)
		}
		if len(u.Withdrawn) > 0 {
			h.Order = append(h.Order, "withdraw")
		}
		if len(u.Announced) > 0 {
			h.Order = append(h.Order, "route")
		}
		if u.EndOfRIB {
			h.EndOfRIB++
			h.Order = append(h.Order, "eor")
		}
	}
}

func (p *Peer) note(f func(*Heard)) {
	p.mu.Lock()
	f(&p.heard)
	p.mu.Unlock()
	select {
	case p.notes <- struct{}{}:
	default:
	}
}

// Await waits until what was heard satisfies ok. One goroutine at a time may wait.
func (p *Peer) Await(t testing.TB, what string, ok func(h *Heard) bool) {
	t.Helper()
	deadline := time.After(Wait)
	for {
		p.mu.Lock()
		done := ok(&p.heard)
		p.mu.Unlock()
		if done {
			return
		}
		select {
		case <-p.notes:
		case <-deadline:
			p.mu.Lock()
			defer p.mu.Unlock()
			require.FailNow(t, "peer waited in vain for "+what, "heard %d routes, order %v, notification %v, closed by %v",
				len(p.heard.Routes), tail(p.heard.Order, 20), p.heard.Notification, p.heard.ClosedBy)
		}
	}
}

// See runs f on what was heard so far.
func (p *Peer) See(f func(h *Heard)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f(&p.heard)
}

// AwaitNotification waits for the NOTIFICATION that ends the session.
func (p *Peer) AwaitNotification(t testing.TB) wire.NotificationMessage {
	t.Helper()
	p.Await(t, "a NOTIFICATION", func(h *Heard) bool { return h.Notification != nil })
	return *p.heard.Notification
}

// Announce sends routes as UPDATEs.
func (p *Peer) Announce(t testing.TB, routes ...evpn.Route) {
	t.Helper()
	for _, m := range wire.AppendUpdates(nil, routes, p.kind()) {
		p.Send(t, m)
	}
}

// Withdraw sends withdrawals.
func (p *Peer) Withdraw(t testing.TB, keys ...evpn.RouteKey) {
	t.Helper()
	for _, m := range wire.AppendWithdraws(nil, keys, p.kind()) {
		p.Send(t, m)
	}
}

func (p *Peer) kind() wire.PeerKind {
	return wire.PeerKind{IBGP: p.Theirs.ASN == p.opt.ASN, FourOctetAS: !p.opt.TwoOctetAS && p.Theirs.FourOctetAS, LocalASN: p.opt.ASN}
}

func tail[T any](s []T, n int) []T {
	if len(s) > n {
		return s[len(s)-n:]
	}
	return s
}

// MACRoute makes a type-2 route of a VTEP for VNI vni and the n-th MAC, with RT 65000:vni.
func MACRoute(vtep netip.Addr, vni evpn.VNI, n uint32, attrs *evpn.Attrs) evpn.Route {
	mac := evpn.MAC{2}
	binary.BigEndian.PutUint32(mac[2:], n)
	if attrs == nil {
		attrs = Attrs(vtep, vni)
	}
	return evpn.Route{
		Key:   evpn.RouteKey{Type: evpn.MACIPRoute, RD: evpn.RDFromRouterID(vtep, uint16(vni)), MAC: mac},
		Label: uint32(vni), Attrs: attrs,
	}
}

// Attrs are those of a route of vtep in vni with RT 65000:vni.
func Attrs(vtep netip.Addr, vni evpn.VNI) *evpn.Attrs {
	rt, err := evpn.ParseRouteTarget(fmt.Sprintf("65000:%d", vni))
	if err != nil {
		panic(fmt.Sprintf("speakertest: %v", err))
	}
	return &evpn.Attrs{NextHop: vtep, RouteTargets: []evpn.RouteTarget{rt}, Encaps: []uint16{evpn.EncapVXLAN}}
}
