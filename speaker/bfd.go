package speaker

import (
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/speaker/bfd"
	"github.com/vtepbgp/vtepbgp/speaker/wire"
)

// BFD says whether and how a neighbour is watched beside BGP's own hold timer.
type BFD struct {
	Enabled    bool
	Interval   time.Duration // between packets, both ways
	Multiplier int
	Mode       BFDMode
}

// BFDMode is over how many hops a neighbour is watched.
type BFDMode string

// The modes. The zero value is automatic.
const (
	BFDAuto      BFDMode = ""
	BFDSingleHop BFDMode = "single-hop" // RFC 5881
	BFDMultihop  BFDMode = "multihop"   // RFC 5883
)

// lastWordsBFD is how long the NOTIFICATION after a BFD failure may take: nobody may be there to take it.
const lastWordsBFD = 20 * time.Millisecond

// watch makes the BFD session what the configuration says now. It is called when that changes, and when a
// session is established: only then is it sure which of our addresses the neighbour knows.
func (n *neighbor) watch() {
	n.watchMu.Lock()
	defer n.watchMu.Unlock()
	cfg, nc := n.config()
	if !nc.BFD.Enabled {
		n.unwatch()
		return
	}
	n.mu.Lock()
	local := n.local.Addr()
	n.mu.Unlock()
	if !local.IsValid() {
		local = nc.VTEPSource
	}
	err := n.s.bfd.Watch(bfd.Session{
		Peer: n.addr, Local: local, Multihop: multihop(cfg, nc, n.addr, local),
		Timers: bfd.Timers{Interval: nc.BFD.Interval, Multiplier: uint8(nc.BFD.Multiplier)},
	}, n.bfdChanged)
	if err != nil {
		n.log.WithError(err).Error("bfd cannot run: the neighbour is watched by its hold timer alone")
	}
}

// unwatch ends the BFD session; the neighbour is told that nothing is wrong.
func (n *neighbor) unwatch() { n.s.bfd.Forget(n.addr) }

// multihop decides as FRR does (bgpd/bgp_bfd.h, PEER_IS_MULTIHOP): an iBGP neighbour without a subnet in common, and an
// eBGP neighbour that may be several hops away.
func multihop(cfg Config, nc Neighbor, peer, local netip.Addr) bool {
	switch {
	case nc.BFD.Mode != BFDAuto:
		return nc.BFD.Mode == BFDMultihop
	case peer.IsLinkLocalUnicast():
		return false
	case !cfg.ibgp(nc):
		return nc.EBGPMultihop > 1
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return true // the mode that works over one hop, too, if the neighbour agrees
	}
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err == nil && p.Contains(peer) && (!local.IsValid() || local == p.Addr()) {
			return false
		}
	}
	return true
}

// bfdChanged acts on a change of the BFD session. It only ever takes down: a session that never came up, or
// that the neighbour ends on purpose, says nothing of the path (RFC 5882 §3.2).
func (n *neighbor) bfdChanged(c bfd.Change) {
	log := n.log.WithFields(logrus.Fields{"from": c.From.String(), "to": c.To.String()})
	switch {
	case c.To == bfd.Up:
		log.Info("bfd session up")
		return
	case c.From != bfd.Up:
		return
	}
	log.WithField("reason", c.Reason()).Warn("bfd session down")
	if c.Remote == bfd.AdminDown {
		return
	}
	if s := n.session(); s != nil && s.established.Load() {
		if !s.leftByPeer() {
			n.s.spawn(func() { s.pathDown(c.Reason()) })
		}
		return
	}
	if c.Independent {
		select {
		case n.pathLost <- struct{}{}:
		default:
		}
	}
}

// pathDown ends the session at once, with the word for it (RFC 9384).
func (s *session) pathDown(reason string) {
	s.endWith(wire.Notification(wire.CodeCease, wire.SubBFDDown, nil),
		down{text: fmt.Sprintf("BFD session went down: %s", reason), notified: true, patience: lastWordsBFD})
}

// leftByPeer reports whether the peer has closed the connection. Then its process has ended while its host still speaks: what
// follows is the restart that BGP handles, and BFD only confirms it (RFC 5882 §4.3.2). inbound may not
// have got there yet.
func (s *session) leftByPeer() bool {
	c, ok := s.outer.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return true // closed on our side
	}
	const tcpEstablished = 1 // include/net/tcp_states.h
	left := true
	err = control(raw, func(fd int) error {
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err == nil {
			left = info.State != tcpEstablished
		}
		return err
	})
	return err != nil || left
}

// lostPath drops what the neighbour's last session left to wait for it: its BFD does not depend on its control
// plane, so that more than that is gone (RFC 5882 §4.3.1).
func (n *neighbor) lostPath(c *cycle) {
	if c.session != nil && c.session.established.Load() || !n.waiting() {
		return
	}
	n.log.Warn("bfd session went down during a graceful restart: stale routes dropped")
	n.letGo(c)
	n.s.emit(evpn.NeighborDown{Neighbor: n.addr})
}
