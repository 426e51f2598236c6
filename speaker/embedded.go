package speaker

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	apipb "github.com/osrg/gobgp/v3/api"
	"github.com/osrg/gobgp/v3/pkg/server"
	"github.com/sirupsen/logrus"

	"github.com/vtepbgp/vtepbgp/speaker/wire"
)

var evpnFamily = &apipb.Family{Afi: apipb.Family_AFI_L2VPN, Safi: apipb.Family_SAFI_EVPN}

// embedded is the GoBGP server. It listens on one port of 127.0.0.1 and knows
// neighbours by the loopback addresses of [innerAddr].
type embedded struct {
	srv    *server.BgpServer
	listen netip.AddrPort
	cfg    Config
	peers  *peersAlive
}

// peersAlive counts GoBGP's neighbours from being added until their goroutines have ended. Deleting one
// only asks them to end, and GoBGP tells of it nowhere but in its log: see [gobgpLogger.Debug].
type peersAlive struct {
	mu     sync.Mutex
	n      int
	change chan struct{} // closed and made anew with each
}

func (p *peersAlive) add(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.n += n
	close(p.change)
	p.change = make(chan struct{})
}

// awaitNone waits until there is none, for d at most, and gives how many are left.
func (p *peersAlive) awaitNone(d time.Duration) int {
	timeout := time.After(d)
	for {
		p.mu.Lock()
		n, change := p.n, p.change
		p.mu.Unlock()
		if n <= 0 {
			return 0
		}
		select {
		case <-change:
		case <-timeout:
			return n
		}
	}
}

// innerAddr is the loopback address that stands for a neighbour's slot and
// generation in GoBGP: 127.66.0.0/16 holds 32,768 slots of two generations each.
//
// Two, because GoBGP v3.37.0 waits five seconds in Idle after any session that
// ended, whatever its timers say (pkg/server/fsm.go, holdtimeIdle): the next session of a
// neighbour is a new neighbour there. It also lets the old one keep the stale
// routes of a graceful restart until the new one has them all.
func innerAddr(slot, generation int) netip.Addr {
	n := slot*2 + generation&1
	return netip.AddrFrom4([4]byte{127, byte(66 + n>>16), byte(n >> 8), byte(n)})
}

func startEmbedded(cfg Config, log *logrus.Entry, fatal func(error)) (*embedded, error) {
	peers := &peersAlive{change: make(chan struct{})}
	opts := []server.ServerOption{server.LoggerOption(gobgpLogger{log: log, fatal: fatal, freed: func() { peers.add(-1) }})}
	if cfg.GoBGPListen != "" {
		opts = append(opts, server.GrpcListenAddress(cfg.GoBGPListen))
	}
	e := &embedded{srv: server.NewBgpServer(opts...), cfg: cfg, peers: peers}
	go e.srv.Serve()
	if err := e.start(); err != nil {
		return nil, err
	}
	return e, e.exportPolicy()
}

// start tries free ports: between finding one and listening, somebody else may take it.
func (e *embedded) start() error {
	var errs []error
	for range 20 {
		port, err := freePort()
		if err != nil {
			return fmt.Errorf("find a loopback port for gobgp: %w", err)
		}
		err = e.srv.StartBgp(context.Background(), &apipb.StartBgpRequest{Global: &apipb.Global{
			Asn: e.cfg.ASN, RouterId: e.cfg.RouterID.String(),
			ListenPort: int32(port), ListenAddresses: []string{"127.0.0.1"},
		}})
		if err == nil {
			e.listen = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
			return nil
		}
		errs = append(errs, err)
	}
	return fmt.Errorf("start gobgp: %w", errors.Join(errs...))
}

func freePort() (uint16, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort().Port(), nil
}

// exportPolicy keeps next hops (a VTEP's address must reach the other VTEPs as it is,
// also through an eBGP spine) and keeps GoBGP from sending routes added by API:
// the guard sends our own.
func (e *embedded) exportPolicy() error {
	const name = "vtepbgp-export"
	policy := &apipb.Policy{Name: name, Statements: []*apipb.Statement{
		{
			Name:       name + "-own",
			Conditions: &apipb.Conditions{RouteType: apipb.Conditions_ROUTE_TYPE_LOCAL},
			Actions:    &apipb.Actions{RouteAction: apipb.RouteAction_REJECT},
		},
		{
			Name:       name + "-next-hop",
			Conditions: &apipb.Conditions{},
			Actions: &apipb.Actions{
				RouteAction: apipb.RouteAction_ACCEPT,
				Nexthop:     &apipb.NexthopAction{Unchanged: true},
			},
		},
	}}
	ctx := context.Background()
	if err := e.srv.AddPolicy(ctx, &apipb.AddPolicyRequest{Policy: policy}); err != nil {
		return fmt.Errorf("add gobgp export policy: %w", err)
	}
	err := e.srv.AddPolicyAssignment(ctx, &apipb.AddPolicyAssignmentRequest{Assignment: &apipb.PolicyAssignment{
		Name: "global", Direction: apipb.PolicyDirection_EXPORT,
		Policies: []*apipb.Policy{{Name: name}}, DefaultAction: apipb.RouteAction_ACCEPT,
	}})
	if err != nil {
		return fmt.Errorf("assign gobgp export policy: %w", err)
	}
	return nil
}

// addPeer makes GoBGP's side of one neighbour: passive, EVPN only.
func (e *embedded) addPeer(inner, real netip.Addr, cfg Config, n Neighbor) error {
	p := &apipb.Peer{
		Conf: &apipb.PeerConf{
			NeighborAddress: inner.String(), PeerAsn: n.ASN,
			Description: description(real, n),
		},
		Transport: &apipb.Transport{PassiveMode: true},
		Timers: &apipb.Timers{Config: &apipb.TimersConfig{
			HoldTime:          seconds(cfg.holdTime(n)),
			KeepaliveInterval: seconds(cfg.keepalive(n)),
		}},
		AfiSafis: []*apipb.AfiSafi{{
			Config: &apipb.AfiSafiConfig{Family: evpnFamily, Enabled: true},
		}},
	}
	if cfg.GracefulRestartTime > 0 {
		p.GracefulRestart = &apipb.GracefulRestart{
			Enabled: true, RestartTime: uint32(seconds(cfg.GracefulRestartTime)),
			// For all neighbours: GoBGP passes long-lived stale routes to those only whose OPEN shows that
			// they know them (RFC 9494 §4.3). How long theirs stay themselves is in theirOpen.
			LonglivedEnabled: true,
		}
		p.AfiSafis[0].MpGracefulRestart = &apipb.MpGracefulRestart{Config: &apipb.MpGracefulRestartConfig{Enabled: true}}
		p.AfiSafis[0].LongLivedGracefulRestart = &apipb.LongLivedGracefulRestart{Config: &apipb.LongLivedGracefulRestartConfig{Enabled: true}}
	}
	if n.RouteReflectorClient {
		p.RouteReflector = &apipb.RouteReflector{RouteReflectorClient: true, RouteReflectorClusterId: cfg.RouterID.String()}
	}
	e.peers.add(1)
	if err := e.srv.AddPeer(context.Background(), &apipb.AddPeerRequest{Peer: p}); err != nil {
		e.peers.add(-1)
		return fmt.Errorf("add gobgp neighbour %s for %s: %w", inner, real, err)
	}
	return nil
}

func (e *embedded) deletePeer(inner netip.Addr) error {
	if err := e.srv.DeletePeer(context.Background(), &apipb.DeletePeerRequest{Address: inner.String()}); err != nil {
		return fmt.Errorf("delete gobgp neighbour %s: %w", inner, err)
	}
	return nil
}

// awaitEndOfRIB waits until GoBGP has processed End-of-RIB of a neighbour.
func (e *embedded) awaitEndOfRIB(ctx context.Context, inner netip.Addr) error {
	for {
		done, found := false, false
		err := e.srv.ListPeer(ctx, &apipb.ListPeerRequest{Address: inner.String()}, func(p *apipb.Peer) {
			found = true
			for _, f := range p.GetAfiSafis() {
				done = done || f.GetMpGracefulRestart().GetState().GetEndOfRibReceived()
			}
		})
		switch {
		case err != nil:
			return fmt.Errorf("list gobgp neighbour %s: %w", inner, err)
		case !found:
			return fmt.Errorf("list gobgp neighbour %s: not there", inner)
		case done:
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func description(real netip.Addr, n Neighbor) string {
	if n.Description == "" {
		return real.String()
	}
	return real.String() + " " + n.Description
}

// seconds rounds up: GoBGP counts whole seconds, and 0 means its default.
func seconds(d time.Duration) uint64 { return uint64((d + time.Second - 1) / time.Second) }

// gobgpAnswer is how long GoBGP may take to greet. Its one loop does everything in turn: dropping the
// 100,000 routes of a neighbour takes it a second or more.
const gobgpAnswer = 10 * time.Second

// dial connects to GoBGP as the neighbour inner, and gives GoBGP's OPEN. A neighbour that was
// just added needs a moment to leave Idle: until then GoBGP closes the connection.
func (e *embedded) dial(ctx context.Context, inner netip.Addr) (net.Conn, *bufio.Reader, []byte, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: inner.AsSlice()}, Timeout: gobgpAnswer}
	deadline := time.Now().Add(3 * gobgpAnswer)
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		c, r, open, err := e.dialOnce(ctx, &d)
		if err == nil {
			return c, r, open, nil
		}
		if time.Now().After(deadline) {
			return nil, nil, nil, fmt.Errorf("connect to gobgp: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil, nil, nil, ctx.Err()
		case <-time.After(wait):
		}
	}
}

func (e *embedded) dialOnce(ctx context.Context, d *net.Dialer) (net.Conn, *bufio.Reader, []byte, error) {
	c, err := d.DialContext(ctx, "tcp4", e.listen.String())
	if err != nil {
		return nil, nil, nil, err
	}
	defer context.AfterFunc(ctx, func() { c.Close() })()
	r := bufio.NewReaderSize(c, readBuffer)
	_ = c.SetReadDeadline(time.Now().Add(gobgpAnswer))
	typ, msg, err := wire.ReadMessage(r, nil, wire.MaxMessage)
	if err == nil && typ != wire.TypeOpen {
		err = fmt.Errorf("gobgp began with message type %d", typ)
	}
	if err != nil {
		c.Close()
		return nil, nil, nil, err
	}
	_ = c.SetReadDeadline(time.Time{})
	return c, r, msg, nil
}

// peersEnd is how long the goroutines of deleted neighbours may take to end: they only close a connection, but
// the loop that notes it may be dropping their routes first.
const peersEnd = gobgpAnswer

// stop closes the listener, after the neighbours: GoBGP clears its configuration
// while their goroutines may still read it (pkg/server/server.go, StopBgp).
func (e *embedded) stop(log *logrus.Entry) {
	if n := e.peers.awaitNone(peersEnd); n > 0 {
		log.WithField("count", n).Warn("gobgp ends before its neighbours have")
	}
	e.srv.Stop()
}
