package snoop

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"
)

const (
	tapBuffer = 512 << 10 // of one socket; memory is taken only as frames wait

	// A link that says more than this is left alone until it may speak again: an ARP
	// storm must not cost a core. What the socket cannot hold meanwhile is dropped.
	tapRate  = 2000 // frames a second
	tapBurst = 4000

	roundLinks  = 64 // read in one round
	roundFrames = 32 // of one link
)

// Taps is the [Wire] of a network namespace: one packet socket for each link, in
// one epoll instance, and one socket to send. The runtime's poller waits for the
// epoll instance, so that a thousand ports cost neither a thread nor a goroutine.
type Taps struct {
	inNamespace func(func() error) error
	program     []bpf.RawInstruction
	sender      int
	epoll       int
	gate        *os.File // the epoll instance; its Fd method would make it block
	raw         syscall.RawConn

	mu      sync.Mutex
	closed  bool
	taps    map[int32]*tap
	muted   map[int32]*tap
	dropped uint64 // of sockets that were closed, and read so far
	mutes   uint64

	buffer []byte // of Receive, with these frames in it
	frames []heard
}

type tap struct {
	fd    int
	limit *rate.Limiter
}

type heard struct {
	link       int32
	start, end int
}

// NewTaps opens the sending socket. inNamespace runs a function in the namespace
// whose links are meant; sockets stay in the namespace that they were opened in.
func NewTaps(inNamespace func(func() error) error) (*Taps, error) {
	t := &Taps{
		inNamespace: inNamespace, sender: -1, taps: map[int32]*tap{}, muted: map[int32]*tap{},
		buffer: make([]byte, 64<<10),
	}
	var err error
	if t.program, err = bpf.Assemble(filter()); err != nil {
		return nil, fmt.Errorf("assemble packet filter: %w", err)
	}
	if t.sender, err = t.open(); err != nil {
		return nil, fmt.Errorf("open socket to send frames: %w", err)
	}
	t.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err == nil {
		err = unix.SetNonblock(t.epoll, true)
	}
	if err == nil {
		t.gate = os.NewFile(uintptr(t.epoll), "taps")
		t.raw, err = t.gate.SyscallConn()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open epoll instance: %w", err), unix.Close(t.sender))
	}
	return t, nil
}

// open gives a packet socket that hears nothing yet: protocol 0.
func (t *Taps) open() (fd int, err error) {
	err = t.inNamespace(func() (err error) {
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		return err
	})
	return fd, err
}

// Follow opens and closes sockets until they are those of links.
func (t *Taps) Follow(links []int32) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return os.ErrClosed
	}
	wanted := make(map[int32]bool, len(links))
	for _, l := range links {
		wanted[l] = true
	}
	for link, tp := range t.taps {
		// A socket whose link is gone is bound to nothing (packet_notifier), also
		// when another link has got the number since.
		if !wanted[link] || boundTo(tp.fd) != link {
			t.drop(link, tp)
		}
	}
	var errs []error
	for link := range wanted {
		if t.taps[link] != nil {
			continue
		}
		// A link may go while we look at it; the next look says so.
		if err := t.follow(link); err != nil && !errors.Is(err, unix.ENODEV) && !errors.Is(err, unix.ENXIO) {
			errs = append(errs, fmt.Errorf("listen on link %d: %w", link, err))
		}
	}
	return errors.Join(errs...)
}

func boundTo(fd int) int32 {
	sa, err := unix.Getsockname(fd)
	if ll, ok := sa.(*unix.SockaddrLinklayer); ok && err == nil {
		return int32(ll.Ifindex)
	}
	return 0
}

func (t *Taps) follow(link int32) error {
	fd, err := t.open()
	if err != nil {
		return err
	}
	if err = t.prepare(fd, link); err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	t.taps[link] = &tap{fd: fd, limit: rate.NewLimiter(tapRate, tapBurst)}
	return nil
}

// prepare sets the filter first and binds last, so that nothing unwanted arrives.
func (t *Taps) prepare(fd int, link int32) error {
	program := make([]unix.SockFilter, len(t.program))
	for i, in := range t.program {
		program[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
	if err != nil {
		return fmt.Errorf("attach packet filter: %w", err)
	}
	// Since Linux 4.20; before, the filter does it.
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1); err != nil && !errors.Is(err, unix.ENOPROTOOPT) {
		return fmt.Errorf("ignore outgoing packets: %w", err)
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, tapBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, tapBuffer) // the system's limit serves, too
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_ALL), Ifindex: int(link)}); err != nil {
		return err
	}
	return unix.EpollCtl(t.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: link})
}

func networkOrder(v uint16) uint16 { return v<<8 | v>>8 }

func (t *Taps) drop(link int32, tp *tap) {
	t.dropped += drops(tp.fd)
	unix.Close(tp.fd) // leaves the epoll instance with it
	delete(t.taps, link)
	delete(t.muted, link)
}

// cause is err, or that [Taps.Close] was called: os gives its own error for a file that is being closed
// (internal/poll, ErrFileClosing), which is not os.ErrClosed.
func (t *Taps) cause(err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return os.ErrClosed
	}
	return err
}

// drops takes the kernel's count, which reading sets to zero.
func drops(fd int) uint64 {
	s, err := unix.GetsockoptTpacketStats(fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return 0
	}
	return uint64(s.Drops)
}

// Receive reads one round.
func (t *Taps) Receive(yield func(link int32, frame []byte)) error {
	var ready [roundLinks]unix.EpollEvent
	var count int
	var failed error
	err := t.gate.SetReadDeadline(t.unmute())
	if err != nil {
		return t.cause(fmt.Errorf("wait for frames: %w", err))
	}
	err = t.raw.Read(func(epoll uintptr) bool {
		count, failed = unix.EpollWait(int(epoll), ready[:], 0)
		if errors.Is(failed, unix.EINTR) {
			count, failed = 0, nil
		}
		return count > 0 || failed != nil
	})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil // somebody may speak again
	}
	if err = t.cause(errors.Join(err, failed)); err != nil {
		return err
	}
	t.mu.Lock()
	t.frames = t.frames[:0]
	used := 0
	for _, ev := range ready[:count] {
		used = t.read(ev.Fd, used)
	}
	t.mu.Unlock()
	for _, f := range t.frames {
		yield(f.link, t.buffer[f.start:f.end])
	}
	return nil
}

// read takes frames of one link into the buffer; what has no room there waits for
// the next round.
func (t *Taps) read(link int32, used int) int {
	tp := t.taps[link]
	if tp == nil {
		return used // closed since
	}
	for range roundFrames {
		if len(t.buffer)-used < snapLength {
			return used
		}
		n, err := unix.Read(tp.fd, t.buffer[used:used+snapLength])
		if err != nil {
			// Nothing more; or ENETDOWN, told once: the link is down or gone, and the
			// next Follow sees to it.
			return used
		}
		t.frames = append(t.frames, heard{link, used, used + n})
		used += n
		if !tp.limit.Allow() {
			t.mute(link, tp)
			return used
		}
	}
	return used
}

func (t *Taps) mute(link int32, tp *tap) {
	if err := unix.EpollCtl(t.epoll, unix.EPOLL_CTL_MOD, tp.fd, &unix.EpollEvent{Fd: link}); err == nil {
		t.muted[link] = tp
		t.mutes++
	}
}

// muteTime is how long a link that said too much is left alone.
const muteTime = 250 * time.Millisecond

// unmute listens again to links that may speak; it gives the time of the next look,
// zero when all may.
func (t *Taps) unmute() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	for link, tp := range t.muted {
		if tp.limit.TokensAt(now) < tapRate*muteTime.Seconds() {
			continue
		}
		if err := unix.EpollCtl(t.epoll, unix.EPOLL_CTL_MOD, tp.fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: link}); err == nil {
			delete(t.muted, link)
		}
	}
	if len(t.muted) == 0 {
		return time.Time{}
	}
	return now.Add(muteTime)
}

// Send puts a frame out of a link.
func (t *Taps) Send(link int32, frame []byte) error {
	if len(frame) < sizeEthernet {
		return fmt.Errorf("send frame: %d octets are none", len(frame))
	}
	sa := &unix.SockaddrLinklayer{Protocol: uint16(frame[12]) | uint16(frame[13])<<8, Ifindex: int(link), Halen: 6}
	copy(sa.Addr[:], frame[:6])
	if err := unix.Sendto(t.sender, frame, 0, sa); err != nil {
		return fmt.Errorf("send frame on link %d: %w", link, err)
	}
	return nil
}

// Stats gives the counters.
func (t *Taps) Stats() WireStats {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, tp := range t.taps {
		t.dropped += drops(tp.fd)
	}
	return WireStats{Links: len(t.taps), Dropped: t.dropped, Muted: t.mutes}
}

// Close ends a Receive that runs.
func (t *Taps) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return os.ErrClosed
	}
	t.closed = true
	for link, tp := range t.taps {
		t.drop(link, tp)
	}
	return errors.Join(t.gate.Close(), unix.Close(t.sender))
}
