package bfd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	portSingleHop = 3784 // RFC 5881 §4
	portMultihop  = 4784 // RFC 5883 §5
	portMin       = 49152
	portMax       = 65535
	hopLimit      = 255
	// trafficClass is CS6, network control (RFC 4594 §3.2), as FRR and BIRD send.
	trafficClass = 0xc0
	// readBudget bounds what is read from a socket at a time: who floods a socket
	// must not keep us from sending.
	readBudget = 128
	// receiveBuffer has room for what comes while the thread is kept from running.
	receiveBuffer = 1 << 20
	// listenRetry is the wait after a socket could not be opened.
	listenRetry = time.Second
)

// Reasons of drops beside those of [Parse].
const (
	dropTTL     = "TTL is not 255"
	dropSession = "no such session"
	dropSource  = "not from the session's neighbor"
)

// socket receives the packets of one family and kind of session.
type socket struct {
	fd       int
	v6       bool
	multihop bool
	seen     time.Time // all that came until then has been read
}

func socketIndex(peer netip.Addr, multihop bool) int {
	i := 0
	if peer.Is6() {
		i = 1
	}
	if multihop {
		i += 2
	}
	return i
}

func (w *Watcher) port(multihop bool) int {
	if multihop {
		return w.ports[1]
	}
	return w.ports[0]
}

// listen opens the socket that the packets for s come to.
func (w *Watcher) listen(s *session, now time.Time) {
	i := socketIndex(s.Peer, s.Multihop)
	if w.sockets[i] != nil || now.Sub(w.unlucky[i]) < listenRetry {
		return
	}
	fd, err := openIn(s.Peer.Is6(), w.port(s.Multihop))
	if err != nil {
		w.unlucky[i] = now
		s.problem = err.Error()
		return
	}
	w.sockets[i] = &socket{fd: fd, v6: s.Peer.Is6(), multihop: s.Multihop, seen: now}
	for _, o := range w.peers {
		if socketIndex(o.Peer, o.Multihop) == i {
			o.problem = ""
		}
	}
}

func openIn(v6 bool, port int) (fd int, err error) {
	family := unix.AF_INET
	if v6 {
		family = unix.AF_INET6
	}
	fd, err = unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open bfd socket: %w", err)
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	options := [][3]int{{unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1}, {unix.IPPROTO_IP, unix.IP_RECVTTL, 1}}
	if v6 {
		options[1] = [3]int{unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT, 1}
		options = append(options, [3]int{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1})
	}
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, o[0], o[1], o[2]); err != nil {
			return -1, fmt.Errorf("set option %d of bfd socket: %w", o[1], err)
		}
	}
	// Best effort: the forced size needs CAP_NET_ADMIN.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
	}
	if err := unix.Bind(fd, sockaddr(netip.Addr{}, v6, port, 0)); err != nil {
		if errors.Is(err, unix.EADDRINUSE) {
			return -1, fmt.Errorf("bind UDP port %d: another BFD daemon on this host has it: %w", port, err)
		}
		return -1, fmt.Errorf("bind UDP port %d: %w", port, err)
	}
	return fd, nil
}

// openOut opens the socket that s sends from: a port of its own in the range that RFC 5881 §4 demands, connected,
// so that the source address stays as long as the socket does.
func (w *Watcher) openOut(s *session) error {
	v6 := s.Peer.Is6()
	var scope uint32
	if z := s.Peer.Zone(); z != "" {
		i, err := net.InterfaceByName(z)
		if err != nil {
			return fmt.Errorf("find interface %s: %w", z, err)
		}
		scope = uint32(i.Index)
	}
	family, level, ttl, class := unix.AF_INET, unix.IPPROTO_IP, unix.IP_TTL, unix.IP_TOS
	if v6 {
		family, level, ttl, class = unix.AF_INET6, unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, unix.IPV6_TCLASS
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open bfd socket: %w", err)
	}
	err = unix.SetsockoptInt(fd, level, ttl, hopLimit)
	if err == nil {
		err = unix.SetsockoptInt(fd, level, class, trafficClass)
	}
	if err == nil {
		err = bindFree(fd, s.Local, v6, scope)
	}
	if err == nil {
		err = unix.Connect(fd, sockaddr(s.Peer, v6, w.port(s.Multihop), scope))
	}
	if err != nil {
		unix.Close(fd)
		return fmt.Errorf("open bfd socket to %s: %w", s.Peer, err)
	}
	s.out = fd
	if s.leaving.IsZero() && scope != s.key.scope {
		w.index(s, scope)
	}
	return nil
}

// bindFree takes some port of the range that is free.
func bindFree(fd int, local netip.Addr, v6 bool, scope uint32) error {
	var err error
	for range 64 {
		err = unix.Bind(fd, sockaddr(local, v6, portMin+rand.IntN(portMax-portMin+1), scope))
		if !errors.Is(err, unix.EADDRINUSE) {
			break
		}
	}
	return err
}

// source is the address that s sends from now; invalid without a socket.
func (s *session) source() netip.Addr {
	if s.out < 0 {
		return netip.Addr{}
	}
	sa, err := unix.Getsockname(s.out)
	if err != nil {
		return netip.Addr{}
	}
	switch a := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrFrom4(a.Addr)
	case *unix.SockaddrInet6:
		return netip.AddrFrom16(a.Addr).WithZone(s.Peer.Zone())
	}
	return netip.Addr{}
}

func (w *Watcher) closeOut(s *session) {
	if s.out >= 0 {
		unix.Close(s.out)
		s.out = -1
	}
}

// send sends one packet. What fails is tried anew with the next one.
func (w *Watcher) send(s *session, p Packet) {
	if s.out < 0 {
		if err := w.openOut(s); err != nil {
			s.problem = err.Error()
			return
		}
	}
	b := p.Append(w.buf[:0])
	_, err := unix.Write(s.out, b)
	if errors.Is(err, unix.ECONNREFUSED) {
		// That was the ICMP answer to the packet before; this one has not been sent yet.
		_, err = unix.Write(s.out, b)
	}
	switch {
	case err == nil:
		s.sent++
		if w.sockets[socketIndex(s.Peer, s.Multihop)] != nil {
			s.problem = ""
		}
	case errors.Is(err, unix.ECONNREFUSED): // nobody listens there, yet
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENOBUFS):
		s.problem = fmt.Sprintf("send bfd packet: %v", err)
	default:
		s.problem = fmt.Sprintf("send bfd packet: %v", err)
		w.closeOut(s)
	}
}

// drain reads what came until now; false when that is more than the budget allows.
func (w *Watcher) drain(in *socket, now time.Time) bool {
	for range readBudget {
		n, oobn, _, from, err := unix.Recvmsg(in.fd, w.buf, w.oob, unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			in.seen = now
			return true
		}
		at := time.Now()
		ttl, stamp := control(w.oob[:oobn])
		arrived := at
		// The kernel's stamp is of the settable clock: it is believed between the last reading and now.
		if age := at.UnixNano() - stamp; stamp != 0 && age > 0 {
			arrived = at.Add(-min(time.Duration(age), at.Sub(in.seen)))
		}
		w.packet(in, w.buf[:n], from, ttl, arrived, at)
		if !arrived.Before(now) {
			in.seen = now
		} else if arrived.After(in.seen) {
			in.seen = arrived
		}
	}
	return false
}

// packet finds the session of a packet (RFC 5880 §6.8.6) and gives it to it.
func (w *Watcher) packet(in *socket, b []byte, from unix.Sockaddr, ttl int, arrived, now time.Time) {
	if !in.multihop && ttl != hopLimit {
		w.drops[dropTTL]++
		return
	}
	p, err := Parse(b)
	if err != nil {
		w.drops[err.Error()]++
		return
	}
	key := source{multihop: in.multihop}
	switch a := from.(type) {
	case *unix.SockaddrInet4:
		key.addr = netip.AddrFrom4(a.Addr)
	case *unix.SockaddrInet6:
		if key.addr = netip.AddrFrom16(a.Addr); key.addr.IsLinkLocalUnicast() {
			key.scope = a.ZoneId
		}
	}
	s := w.sources[key]
	if p.Your != 0 {
		s = w.discrs[p.Your]
	}
	switch {
	case s == nil:
		w.drops[dropSession]++
	case s.key != key:
		w.drops[dropSource]++
	default:
		s.in++
		w.follow(s, s.m.Receive(p, arrived, now), now)
	}
}

// control gives TTL or hop limit, and the time of arrival in nanoseconds since 1970.
func control(oob []byte) (ttl int, stamp int64) {
	for len(oob) >= unix.SizeofCmsghdr {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&oob[0]))
		size := int(h.Len)
		if size < unix.SizeofCmsghdr || size > len(oob) {
			break
		}
		data := oob[unix.CmsgLen(0):size]
		switch {
		case (h.Level == unix.IPPROTO_IP && h.Type == unix.IP_TTL || h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_HOPLIMIT) && len(data) >= 4:
			ttl = int(binary.NativeEndian.Uint32(data))
		case h.Level == unix.SOL_SOCKET && h.Type == unix.SO_TIMESTAMPNS && len(data) >= int(unsafe.Sizeof(unix.Timespec{})):
			stamp = (*unix.Timespec)(unsafe.Pointer(&data[0])).Nano()
		}
		oob = oob[min(unix.CmsgSpace(size-unix.CmsgLen(0)), len(oob)):]
	}
	return ttl, stamp
}

// sockaddr is addr and port for the kernel; an invalid address is any.
func sockaddr(addr netip.Addr, v6 bool, port int, scope uint32) unix.Sockaddr {
	if v6 {
		sa := &unix.SockaddrInet6{Port: port}
		if addr.IsValid() {
			sa.Addr = addr.As16()
			if addr.IsLinkLocalUnicast() {
				sa.ZoneId = scope
			}
		}
		return sa
	}
	sa := &unix.SockaddrInet4{Port: port}
	if addr.IsValid() {
		sa.Addr = addr.As4()
	}
	return sa
}
