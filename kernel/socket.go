package kernel

import (
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// socket is one NETLINK_ROUTE socket used for requests and their answers. The
// kernel works on a request inside sendmsg, so that all answers wait in the
// receive buffer when it returns; dumps go on as they are read.
type socket struct {
	mu  sync.Mutex
	fd  int
	seq uint32
	in  []byte
	out []byte
}

const (
	receiveSize = 64 << 10 // the kernel fills dump messages up to 32 KiB (netlink_dump)
	dumpTries   = 8        // a dump that a change interrupted is taken again
)

var errDumpInterrupted = errors.New("dump interrupted by a change")

// openSocket opens a socket in ns; an invalid handle means the current namespace.
func openSocket(ns netns.NsHandle) (int, error) {
	var fd int
	err := inNamespace(ns, func() (err error) {
		fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("open netlink socket: %w", err)
	}
	return fd, nil
}

// inNamespace runs f in ns. A socket stays in the namespace that it was opened
// in, so that nothing but the opening needs this.
func inNamespace(ns netns.NsHandle, f func() error) error {
	if !ns.IsOpen() || ns == 0 {
		return f()
	}
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("get network namespace: %w", err)
	}
	defer home.Close()
	if err := netns.Set(ns); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter network namespace: %w", err)
	}
	err = f()
	if back := netns.Set(home); back != nil {
		// The thread stays locked, so that the runtime ends it with the goroutine
		// and nothing else runs in the wrong namespace.
		return errors.Join(err, fmt.Errorf("leave network namespace: %w", back))
	}
	runtime.UnlockOSThread()
	return err
}

func newSocket(ns netns.NsHandle, buffer int) (*socket, error) {
	fd, err := openSocket(ns)
	if err != nil {
		return nil, err
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("bind netlink socket: %w", err)
	}
	// Acknowledgements without the request in them, and with the kernel's own words.
	// Both are comfort (Linux 4.2, 4.12): a kernel without them is fine.
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1)
	setBuffer(fd, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, buffer)
	setBuffer(fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, buffer)
	return &socket{fd: fd, in: make([]byte, receiveSize)}, nil
}

// setBuffer asks for a buffer beyond the system's limit, or else for what the
// limit allows. A smaller one than asked for costs re-reads, never correctness.
func setBuffer(fd, force, plain, size int) {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, size) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, plain, size)
	}
}

func (s *socket) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fd < 0 {
		return nil
	}
	err := unix.Close(s.fd)
	s.fd = -1
	return err
}

func (s *socket) send(b []byte) error {
	for {
		err := unix.Sendto(s.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func (s *socket) receive() ([]byte, error) {
	for {
		n, _, err := unix.Recvfrom(s.fd, s.in, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return s.in[:n], nil
	}
}

// request sends the message that build appends and waits for its acknowledgement.
func (s *socket) request(build func(b []byte, seq uint32) []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seq++
	seq := s.seq
	s.out = build(s.out[:0], seq)
	if err := s.send(s.out); err != nil {
		return err
	}
	for {
		b, err := s.receive()
		if err != nil {
			return err
		}
		for m, rest, ok := nextMessage(b); ok; m, rest, ok = nextMessage(rest) {
			if m.typ != unix.NLMSG_ERROR || m.seq != seq {
				continue
			}
			if no := m.errno(); no != 0 {
				if text := m.explanation(); text != "" {
					return fmt.Errorf("%w: %s", no, text)
				}
				return no
			}
			return nil
		}
	}
}

// explanation is the kernel's own text in an error (NLMSGERR_ATTR_MSG), if any.
func (m message) explanation() string {
	const capped = unix.NLM_F_CAPPED // the request is cut off to its header
	if m.flags&unix.NLM_F_ACK_TLVS == 0 || m.flags&capped == 0 || len(m.body) < 4+unix.SizeofNlMsghdr {
		return ""
	}
	for a, rest, ok := nextAttribute(m.body[4+unix.SizeofNlMsghdr:]); ok; a, rest, ok = nextAttribute(rest) {
		if a.typ == unix.NLMSGERR_ATTR_MSG {
			return a.text()
		}
	}
	return ""
}

// dump sends a dump request and calls yield with each message of type want. When
// the kernel says that a change made the answer inconsistent (NLM_F_DUMP_INTR) it
// begins again after reset; rows may then come twice.
func (s *socket) dump(request uint16, body []byte, want uint16, reset func(), yield func(body []byte)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range dumpTries {
		reset()
		err := s.dumpOnce(request, body, want, yield)
		if !errors.Is(err, errDumpInterrupted) && !errors.Is(err, unix.EBUSY) {
			return err
		}
	}
	// The table never stood still. What we have is complete but for rows that
	// changed meanwhile, and those come as events.
	return nil
}

func (s *socket) dumpOnce(request uint16, body []byte, want uint16, yield func(body []byte)) error {
	s.seq++
	seq := s.seq
	b := appendHeader(s.out[:0], request, unix.NLM_F_REQUEST|unix.NLM_F_DUMP, seq)
	s.out = finish(append(b, body...), 0)
	if err := s.send(s.out); err != nil {
		return err
	}
	interrupted := false
	for {
		b, err := s.receive()
		if err != nil {
			return err
		}
		for m, rest, ok := nextMessage(b); ok; m, rest, ok = nextMessage(rest) {
			if m.seq != seq {
				continue
			}
			interrupted = interrupted || m.flags&unix.NLM_F_DUMP_INTR != 0
			switch m.typ {
			case unix.NLMSG_DONE:
				if interrupted {
					return errDumpInterrupted
				}
				return nil
			case unix.NLMSG_ERROR:
				return m.errno()
			case want:
				yield(m.body)
			}
		}
	}
}
