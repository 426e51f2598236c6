package kernel

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	datagrams    = 64      // read by one recvmmsg
	datagramSize = 2 << 10 // a row is about 100 bytes; of a link only the arrival matters
)

// netlinkSubscription reads events of one namespace, which deliver makes of a datagram.
//
// The runtime's poller would wake a thread for each of them, also while the loop
// is busy writing rows and each row makes two: that doubled the time of a large
// table. So the poller sees only an epoll instance in between, in which the
// socket is armed for one event when somebody waits (EPOLLONESHOT).
type netlinkSubscription[T any] struct {
	deliver func(b []byte, truncated bool, yield func(T))

	fd   atomic.Int32 // the netlink socket; -1 once closed
	gate *os.File     // the epoll instance
	raw  syscall.RawConn

	buf  []byte
	iov  [datagrams]unix.Iovec
	msgs [datagrams]mmsghdr
}

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

// Subscribe opens a socket for RTNLGRP_NEIGH, LINK and IPV4/IPV6_IFADDR, and IPV4_NETCONF, which alone
// tells of rp_filter (since Linux 3.8; of all links too: devinet_conf_proc, net/ipv4/devinet.c).
func (n *Netlink) Subscribe() (Subscription[Notification], error) {
	return subscribe(n.opts, deliverRows, unix.RTNLGRP_NEIGH, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
		unix.RTNLGRP_IPV4_NETCONF)
}

func subscribe[T any](opts NetlinkOptions, deliver func([]byte, bool, func(T)), groups ...int) (Subscription[T], error) {
	fd, err := openSocket(opts.Namespace)
	if err != nil {
		return nil, err
	}
	setBuffer(fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, opts.EventBuffer)
	err = unix.SetNonblock(fd, true)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groupMask(groups)})
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("subscribe to kernel events: %w", err)
	}
	s := &netlinkSubscription[T]{deliver: deliver, buf: make([]byte, datagrams*datagramSize)}
	s.fd.Store(int32(fd))
	if err := s.openGate(fd); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("subscribe to kernel events: %w", err)
	}
	for i := range s.msgs {
		s.iov[i].Base = &s.buf[i*datagramSize]
		s.iov[i].SetLen(datagramSize)
		s.msgs[i].hdr.Iov = &s.iov[i]
		s.msgs[i].hdr.SetIovlen(1)
	}
	return s, nil
}

func groupMask(groups []int) (mask uint32) {
	for _, g := range groups {
		mask |= 1 << (g - 1)
	}
	return mask
}

func (s *netlinkSubscription[T]) openGate(fd int) error {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return fmt.Errorf("create epoll instance: %w", err)
	}
	err = unix.SetNonblock(epoll, true)
	if err == nil {
		err = unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLONESHOT})
	}
	if err != nil {
		unix.Close(epoll)
		return fmt.Errorf("add socket to epoll instance: %w", err)
	}
	s.gate = os.NewFile(uintptr(epoll), "netlink")
	if s.raw, err = s.gate.SyscallConn(); err != nil {
		s.gate.Close()
		return fmt.Errorf("poll epoll instance: %w", err)
	}
	return nil
}

// Close ends a Wait that runs. It must not run beside Drain.
func (s *netlinkSubscription[T]) Close() error {
	fd := s.fd.Swap(-1)
	if fd < 0 {
		return os.ErrClosed
	}
	return errors.Join(s.gate.Close(), unix.Close(int(fd)))
}

func (s *netlinkSubscription[T]) Wait() error {
	var failed error
	armed := false
	err := s.raw.Read(func(epoll uintptr) bool {
		if !armed {
			armed = true
			// Events that are there already make it ready at once.
			ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT}
			if failed = unix.EpollCtl(int(epoll), unix.EPOLL_CTL_MOD, int(s.fd.Load()), &ev); failed != nil {
				return true
			}
		}
		var ready [1]unix.EpollEvent
		n, err := unix.EpollWait(int(epoll), ready[:], 0)
		if err != nil && !errors.Is(err, unix.EINTR) {
			failed = err
			return true
		}
		return n > 0
	})
	return errors.Join(err, failed)
}

func (s *netlinkSubscription[T]) Drain(limit int, yield func(T)) (more bool, err error) {
	var lost bool
	for limit > 0 {
		n, err := s.receive(min(limit, datagrams))
		switch {
		case errors.Is(err, unix.EAGAIN):
			return false, lostError(lost)
		case errors.Is(err, unix.ENOBUFS):
			// The socket drops everything until it is empty (netlink_overrun), so go on.
			lost = true
			continue
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return false, fmt.Errorf("receive kernel events: %w", err)
		}
		for i := range n {
			m := &s.msgs[i]
			s.deliver(s.buf[i*datagramSize:][:min(int(m.len), datagramSize)], m.hdr.Flags&unix.MSG_TRUNC != 0, yield)
		}
		limit -= n
	}
	return true, lostError(lost)
}

func lostError(lost bool) error {
	if lost {
		return ErrLost
	}
	return nil
}

func (s *netlinkSubscription[T]) receive(count int) (n int, err error) {
	r, _, no := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(s.fd.Load()), uintptr(unsafe.Pointer(&s.msgs[0])), uintptr(count), unix.MSG_DONTWAIT, 0, 0)
	if no != 0 {
		return 0, no
	}
	return int(r), nil
}

// deliverRows decodes one datagram. Row events are never cut short; a link event may
// be, and says no more than that links changed anyway.
func deliverRows(b []byte, truncated bool, yield func(Notification)) {
	if truncated {
		yield(Notification{Link: true})
		return
	}
	for m, rest, ok := nextMessage(b); ok; m, rest, ok = nextMessage(rest) {
		switch m.typ {
		case unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH:
			if r, ok := decodeNeighbor(m.body); ok {
				yield(Notification{Neighbor: r, Deleted: m.typ == unix.RTM_DELNEIGH})
			}
		case unix.RTM_NEWLINK, unix.RTM_DELLINK, unix.RTM_NEWADDR, unix.RTM_DELADDR:
			yield(Notification{Link: true})
		case unix.RTM_NEWNETCONF:
			if tellsSourceCheck(m.body) {
				yield(Notification{Link: true})
			}
		}
	}
}
