package socket

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/flood"
)

// patience is how long a socket may stand still before the engine leaves it to the
// neighbours that it waits for. A wire of 10 Mbit/s sends something in that time.
const patience = 20 * time.Millisecond

// way is a socket that copies leave by.
type way struct {
	fd     int
	open   func() (int, error)
	stalls *int // counts how often a socket stood still
	// doubtful: it serves VTEPs that may not answer. What it has no room for is lost.
	doubtful bool
	// spent: patience with a full queue was in vain, and nothing has got through since.
	spent bool
}

func newWay(stalls *int, open func() (int, error)) (*way, error) {
	fd, err := open()
	return &way{fd: fd, open: open, stalls: stalls}, err
}

// send sends messages, and waits for room. refused is called for those that the kernel
// did not take, with its error. An error that send itself gives is for the log.
func (w *way) send(msgs []mmsghdr, refused func(i int, err unix.Errno)) error {
	tries := 0
	for i := 0; i < len(msgs); {
		n, errno := atOnceSyscall(unix.SYS_SENDMMSG, w.fd, &msgs[i], len(msgs)-i)
		switch {
		case errno == 0:
			i += n
			tries = 0
			w.spent = false
		case errno == unix.EINTR:
		case errno == unix.EAGAIN && w.doubtful:
			refused(i, errno)
			i++
		case errno == unix.EAGAIN:
			if err := w.wait(0); err != nil {
				for ; i < len(msgs); i++ {
					refused(i, unix.EBADF)
				}
				return err
			}
		case w.mayTry(errno, tries):
			tries++
		default:
			refused(i, errno)
			i++
			tries = 0
		}
	}
	return nil
}

// mayTry says that a message which the kernel refused may be taken after all, and waits
// for that.
func (w *way) mayTry(err unix.Errno, tries int) bool {
	if tries == 0 {
		// It may be the error of an earlier datagram, which an ICMP message told of.
		return true
	}
	// The egress queue is full. As long as some of it is ours, there will be room. If not,
	// others have filled it, the eBPF engine's clones among them: once is enough to wait.
	if err != unix.ENOBUFS || w.spent && w.underWay() == 0 {
		return false
	}
	if tries >= int(patience/time.Millisecond) {
		w.spent = true
		return false
	}
	_, err2 := unix.Poll(nil, 1)
	return err2 == nil || errors.Is(err2, unix.EINTR)
}

// wait returns when no more than this many bytes are under way and there is room for
// more. A socket that makes no progress is replaced: what it holds still goes out, or
// not, without us.
func (w *way) wait(most int) error {
	for {
		before := w.underWay()
		if most > 0 && before <= most {
			return nil
		}
		fds := []unix.PollFd{{Fd: int32(w.fd), Events: unix.POLLOUT}}
		n, err := unix.Poll(fds, int(patience/time.Millisecond))
		switch {
		case err != nil && !errors.Is(err, unix.EINTR):
			return fmt.Errorf("wait for a socket to drain: %w", err)
		case n > 0:
			if fds[0].Revents&unix.POLLERR != 0 {
				w.hush()
			}
			if fds[0].Revents&unix.POLLOUT != 0 {
				return nil
			}
		case err == nil && w.underWay() >= before:
			return w.replace()
		}
	}
}

// hush forgets the ICMP errors that copies were answered with. With IP_RECVERR, which is there for
// another reason, they stay at the socket, and poll returns at once as long as there is one.
func (w *way) hush() {
	for {
		_, _, _, _, err := unix.Recvmsg(w.fd, nil, nil, unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
		if err != nil && !errors.Is(err, unix.EINTR) {
			break
		}
	}
	_, _ = unix.GetsockoptInt(w.fd, unix.SOL_SOCKET, unix.SO_ERROR) // what the queue had no room for
}

func (w *way) underWay() int {
	n, err := unix.IoctlGetInt(w.fd, unix.SIOCOUTQ)
	if err != nil {
		return 0
	}
	return n
}

// replace closes before it opens: both want the same port. Without a new socket the
// way is broken.
func (w *way) replace() (err error) {
	unix.Close(w.fd)
	w.fd, err = w.open()
	*w.stalls++
	return err
}

func (w *way) broken() bool { return w.fd < 0 }

func (w *way) close() error {
	if w.broken() {
		return nil
	}
	return unix.Close(w.fd)
}

// lossOf is the reason that counters give for an error of sendmmsg.
func lossOf(err unix.Errno) flood.Reason {
	switch err {
	case unix.EMSGSIZE:
		return flood.TooBig
	case unix.ENETUNREACH, unix.EHOSTUNREACH, unix.ENETDOWN, unix.EADDRNOTAVAIL:
		return flood.NoRoute
	case unix.ENOBUFS:
		return flood.EgressFull
	case unix.EAGAIN:
		return flood.Unresolved
	default:
		return flood.SendFailed
	}
}

type option struct{ level, name, value int }

// open opens a socket with options; the first that fails is the error.
func open(inNamespace func(func() error) error, family, typ, protocol int, options []option, bind unix.Sockaddr) (fd int, err error) {
	err = inNamespace(func() (err error) {
		fd, err = unix.Socket(family, typ|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
		return err
	})
	if err != nil {
		return -1, fmt.Errorf("open socket to send copies: %w", err)
	}
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			unix.Close(fd)
			return -1, fmt.Errorf("set option %d/%d of the socket to send copies to %d: %w", o.level, o.name, o.value, err)
		}
	}
	if bind != nil {
		if err := unix.Bind(fd, bind); err != nil {
			unix.Close(fd)
			return -1, fmt.Errorf("take the source of a flow: %w", err)
		}
	}
	return fd, nil
}

// rawWay sends packets whose headers are ours. IP_RECVERR has the kernel tell of full
// egress queues; ICMP errors never reach a socket of this protocol.
func rawWay(inNamespace func(func() error) error, stalls *int, six bool, buffer int) (*way, error) {
	family, level, hdrincl, recverr, loop := unix.AF_INET, unix.IPPROTO_IP, unix.IP_HDRINCL, unix.IP_RECVERR, unix.IP_MULTICAST_LOOP
	if six {
		// IPPROTO_RAW alone means it, also before IPV6_HDRINCL existed (Linux 4.5).
		family, level, hdrincl, recverr, loop = unix.AF_INET6, unix.IPPROTO_IPV6, 0, unix.IPV6_RECVERR, unix.IPV6_MULTICAST_LOOP
	}
	// What is delivered to a group has reached this host's own VXLAN device already.
	options := []option{{unix.SOL_SOCKET, unix.SO_SNDBUF, buffer}, {level, recverr, 1}, {level, loop, 0}}
	if hdrincl != 0 {
		options = append(options, option{level, hdrincl, 1})
	}
	return newWay(stalls, func() (int, error) {
		return open(inNamespace, family, unix.SOCK_RAW, unix.IPPROTO_RAW, options, nil)
	})
}

// flowWay sends runs of datagrams from the address and port of a VTEP. What is sent
// to that address and port is none of its business.
func flowWay(inNamespace func(func() error) error, stalls *int, source netip.Addr, port uint16, buffer int) (*way, error) {
	options := []option{
		{unix.SOL_SOCKET, unix.SO_SNDBUF, buffer},
		{unix.IPPROTO_IP, unix.IP_TRANSPARENT, 1}, {unix.IPPROTO_IP, unix.IP_TTL, flood.TTL},
		{unix.IPPROTO_IP, unix.IP_TOS, flood.Mark << 2}, {unix.IPPROTO_IP, unix.IP_RECVERR, 1},
		{unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT},
	}
	family, bind := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Port: int(port), Addr: [4]byte(source.AsSlice())})
	if source.Is6() {
		options = []option{
			{unix.SOL_SOCKET, unix.SO_SNDBUF, buffer},
			{unix.IPPROTO_IPV6, unix.IPV6_TRANSPARENT, 1}, {unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, flood.TTL},
			{unix.IPPROTO_IPV6, unix.IPV6_TCLASS, flood.Mark << 2}, {unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1},
			{unix.IPPROTO_IPV6, unix.IPV6_DONTFRAG, 1},
		}
		family, bind = unix.AF_INET6, &unix.SockaddrInet6{Port: int(port), Addr: source.As16()}
	}
	return newWay(stalls, func() (int, error) {
		fd, err := open(inNamespace, family, unix.SOCK_DGRAM, 0, options, bind)
		if err != nil {
			return fd, err
		}
		deaf := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}}
		if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &deaf[0]}); err != nil {
			unix.Close(fd)
			return -1, fmt.Errorf("close the ears of a flow: %w", err)
		}
		return fd, nil
	})
}

// canSegment says why the kernel cannot take several datagrams at once.
func canSegment(inNamespace func(func() error) error) error {
	fd, err := open(inNamespace, unix.AF_INET, unix.SOCK_DGRAM, 0, []option{{unix.IPPROTO_IP, unix.IP_TRANSPARENT, 1}}, nil)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if _, err := unix.GetsockoptInt(fd, unix.SOL_UDP, unix.UDP_SEGMENT); err != nil {
		return fmt.Errorf("no UDP_SEGMENT: %w", err)
	}
	return nil
}
