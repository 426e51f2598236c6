package speaker

import (
	"errors"
	"net"
	"net/netip"

	"github.com/sirupsen/logrus"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// accept gives an incoming connection to its neighbour, makes one for a configured prefix, or closes it.
func (s *Speaker) accept(conn *net.TCPConn) {
	addr := neighborAddr(conn)
	s.mu.Lock()
	n := s.neighbors[addr]
	if n == nil && s.running && !s.stopping.Load() {
		n = s.addDynamic(addr)
	}
	s.mu.Unlock()
	if n == nil {
		s.unknown.Add(1)
		s.log.WithField("address", addr.String()).Debug("connection from an unknown address closed")
		conn.Close()
		return
	}
	cfg, nc := n.config()
	raw, err := conn.SyscallConn()
	if err == nil {
		err = control(raw, func(fd int) error { return ttlFor(cfg, nc).accept(fd, addr.Is6()) })
	}
	if err != nil {
		level := logrus.WarnLevel
		if errors.Is(err, errFarAway) {
			s.unknown.Add(1)
			level = logrus.DebugLevel // anybody can cause these
		}
		n.log.WithError(err).Log(level, "accepted connection closed")
		conn.Close()
		s.spawn(func() { n.give(nil) })
		return
	}
	s.spawn(func() {
		if !n.give(conn) {
			conn.Close()
		}
	})
}

// give hands over a connection, or nil for one that came to nothing.
func (n *neighbor) give(conn net.Conn) bool {
	select {
	case n.conns <- conn:
		return true
	case <-n.done:
		return false
	}
}

// neighborAddr is the remote address as the configuration names it: a zone only counts for link-local addresses.
func neighborAddr(conn *net.TCPConn) netip.Addr {
	a := addrPort(conn.RemoteAddr()).Addr()
	if !a.IsLinkLocalUnicast() {
		a = a.WithZone("")
	}
	return a
}

// addDynamic makes a neighbour from the longest prefix that holds addr; mu is held.
func (s *Speaker) addDynamic(addr netip.Addr) *neighbor {
	best := -1
	for i, n := range s.cfg.Neighbors {
		if n.dynamic() && n.Prefix.Contains(addr) && (best < 0 || n.Prefix.Bits() > s.cfg.Neighbors[best].Prefix.Bits()) {
			best = i
		}
	}
	if best < 0 {
		return nil
	}
	count := 0
	for _, n := range s.neighbors {
		if n.dynamic.IsValid() {
			count++
		}
	}
	if count >= s.cfg.dynamicLimit() {
		s.log.WithFields(logrus.Fields{"address": addr.String(), "limit": s.cfg.dynamicLimit()}).Warn("dynamic neighbour refused: too many")
		return nil
	}
	nc := s.cfg.Neighbors[best]
	from := nc.Prefix
	nc.Address, nc.Prefix = addr, netip.Prefix{}
	return s.addNeighbor(addr, nc, from)
}

// dynamicGone removes a neighbour that was made from a prefix and has no session any more.
func (s *Speaker) dynamicGone(n *neighbor) {
	s.mu.Lock()
	s.forget(n)
	s.mu.Unlock()
	s.emit(evpn.NeighborRemoved{Neighbor: n.addr})
}

// forget takes a neighbour that has stopped out of the tables; mu is held.
func (s *Speaker) forget(n *neighbor) {
	if s.neighbors[n.addr] == n {
		delete(s.neighbors, n.addr)
		s.slots = append(s.slots, n.slot)
	}
}
