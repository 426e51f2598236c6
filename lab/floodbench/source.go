package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/lab/nsthread"
)

const (
	together  = 64 // frames given to the kernel in one call, each of a flow of its own
	outerSize = 14 + 20 + 8 + 8
)

// source sends frames at a pace.
type source struct {
	fd   int
	sent uint64 // frames, ever
	bare bool   // inner frames, for a bridge; else VXLAN packets to the service address

	frames [together][]byte
	iovs   [together]unix.Iovec
	msgs   [together]mmsghdr
}

// mmsghdr is struct mmsghdr; Go pads it as C does.
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

func newSource(n *nsthread.Namespace, device string, bare bool) (*source, error) {
	index, err := indexOf(n, device)
	if err != nil {
		return nil, err
	}
	s := &source{bare: bare}
	err = n.Do(func() (err error) {
		if s.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return fmt.Errorf("open socket to send frames: %w", err)
		}
		return unix.Bind(s.fd, &unix.SockaddrLinklayer{Ifindex: index})
	})
	return s, err
}

func (s *source) close() { unix.Close(s.fd) }

// resize prepares frames whose inner ones have a size.
func (s *source) resize(size int) {
	for i := range s.frames {
		f := make([]byte, 0, outerSize+size)
		if !s.bare {
			f = s.outer(f, size, uint16(49152+i))
		}
		f = append(f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0, 0, 0, 1, byte(i), 0x88, 0xb5) // an experimental EtherType
		f = f[:cap(f)-outerSize+s.before()]
		s.frames[i] = f
		s.iovs[i].Base = &f[0]
		s.iovs[i].SetLen(len(f))
		s.msgs[i].hdr.Iov = &s.iovs[i]
		s.msgs[i].hdr.SetIovlen(1)
	}
}

func (s *source) before() int {
	if s.bare {
		return 0
	}
	return outerSize
}

func (s *source) outer(f []byte, size int, port uint16) []byte {
	total := outerSize - 14 + size
	f = append(append(f, entryMAC...), 0x02, 0, 0, 0, 0, 0x02, 0x08, 0)
	ip := binary.BigEndian.AppendUint16([]byte{0x45, 0}, uint16(total))
	ip = append(ip, 0, 0, 0, 0, 64, 17, 0, 0)
	ip = append(append(ip, leaf.AsSlice()...), service.AsSlice()...)
	var sum uint32
	for i := 0; i < len(ip); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum>>16+sum&0xffff))
	f = binary.BigEndian.AppendUint16(append(f, ip...), port)
	f = binary.BigEndian.AppendUint16(f, vxlanPort)
	f = binary.BigEndian.AppendUint16(f, uint16(total-20))
	return append(f, 0, 0, 0x08, 0, 0, 0, 0, 0, benchVNI, 0)
}

// mark writes number and mark of the i-th frame.
func (s *source) mark(i int, number uint32, mark uint16) {
	b := s.frames[i][s.before()+14:]
	binary.BigEndian.PutUint32(b, number)
	binary.BigEndian.PutUint16(b[4:], mark)
}

// pace is what to send.
type pace struct {
	rate   float64       // frames a second
	length time.Duration // 0: until frames are sent
	frames int
	// marked says the mark of the i-th frame; nil marks none.
	marked func(i int) int
	// at is called when a time has passed, from the sending thread.
	at []moment
}

// marks numbers one frame of so many, up to most, and keeps the last number. A frame that a full
// queue did not take is asked for again, and has the same.
func marks(every, most int, last *int) func(i int) int {
	return func(i int) int {
		mark := i/every + 1
		if i%every != 0 || mark > most {
			return 0
		}
		*last = mark
		return mark
	}
}

type moment struct {
	when time.Duration
	do   func(now time.Duration) error
}

// send sends at a pace and gives how many frames were sent. When the machine takes the
// processor away it catches up, but never sends more than 10 ms worth at once.
func (s *source) send(ctx context.Context, p pace) (sent int, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	began := time.Now()
	moments := p.at
	credit, last := 0.0, time.Duration(0)
	for {
		now := time.Since(began)
		if err := ctx.Err(); err != nil {
			return sent, err
		}
		if len(moments) > 0 && now >= moments[0].when {
			if err := moments[0].do(now); err != nil {
				return sent, err
			}
			moments = moments[1:]
			continue
		}
		if p.length > 0 && now >= p.length || p.length == 0 && sent >= p.frames {
			return sent, nil
		}
		credit = min(credit+p.rate*(now-last).Seconds(), max(1, p.rate/100))
		last = now
		n := min(int(credit), together)
		if p.length == 0 {
			n = min(n, p.frames-sent)
		}
		if n == 0 {
			// Who sleeps may get the processor back milliseconds late.
			if wait := time.Duration((1 - credit) / p.rate * 1e9); wait > 2*time.Millisecond {
				if err := s.sleep(wait - time.Millisecond); err != nil {
					return sent, err
				}
			}
			continue
		}
		for i := range n {
			mark := 0
			if p.marked != nil {
				mark = p.marked(sent + i)
			}
			s.mark(i, uint32(sent+i), uint16(mark))
		}
		done, err := s.write(n)
		if err != nil {
			return sent, err
		}
		sent += done
		s.sent += uint64(done)
		credit -= float64(done)
	}
}

// sleep is exact to about 50 µs, which a timer of the Go runtime is not.
func (s *source) sleep(d time.Duration) error {
	t := unix.NsecToTimespec(int64(d))
	if err := unix.Nanosleep(&t, nil); err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("wait for the next frame: %w", err)
	}
	return nil
}

// write sends the first n frames. A full queue takes fewer; who waits for it may get the
// processor back milliseconds late.
func (s *source) write(n int) (int, error) {
	done, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&s.msgs[0])), uintptr(n), unix.MSG_DONTWAIT, 0, 0)
	switch errno {
	case 0:
		return int(done), nil
	case unix.ENOBUFS, unix.EINTR, unix.EAGAIN:
		return 0, nil
	default:
		return 0, fmt.Errorf("send frames: %w", errno)
	}
}
