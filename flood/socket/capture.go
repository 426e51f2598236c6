package socket

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/flood"
)

const (
	sizeVnet   = 10 // struct virtio_net_hdr
	frameSpace = sizeVnet + 14 + 1<<16
	// What the first part of a frame has, and most frames need: an odd number of cache lines, so
	// that those of many frames do not push each other out of the cache.
	smallSpace = 33 * 64
)

// mmsghdr is struct mmsghdr; Go pads it as C does.
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

// capture hears on one interface.
type capture struct {
	inNamespace func(func() error) error
	device      string
	fd          int // of the socket. The runtime does not poll it, or every packet would wake a thread
	end         int // an event that wakes who reads, for good

	ended atomic.Bool // nothing is read any more

	mu      sync.Mutex
	closed  bool // fd may be another's by now
	index   int  // bound to; 0: there is no such interface
	been    bool // bound before
	listens []netip.Addr
	groups  *Groups
	overrun uint64

	// Of read only.
	msgs  [mostDepth]mmsghdr
	iovs  [mostDepth][2]unix.Iovec
	names [mostDepth]unix.RawSockaddrLinklayer
	// Not on the heap. The first parts are close together, and what large frames do not need of
	// their places takes no memory.
	small, large []byte
}

func newCapture(o flood.Options) (*capture, error) {
	c := &capture{inNamespace: namespaceOf(o), device: o.Interface, fd: -1, end: -1, groups: NewGroups(o)}
	receiveBuffer := o.ReceiveBuffer
	if receiveBuffer == 0 {
		receiveBuffer = 16 << 20
	}
	err := c.inNamespace(func() (err error) {
		c.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open packet socket: %w", err)
	}
	if err = c.set(receiveBuffer); err == nil {
		if c.end, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
			err = fmt.Errorf("make an event to end with: %w", err)
		}
	}
	if err == nil {
		for to, size := range map[*[]byte]int{&c.small: smallSpace, &c.large: frameSpace} {
			var errSpace error
			if *to, errSpace = unix.Mmap(-1, 0, mostDepth*size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS); errSpace != nil {
				err = fmt.Errorf("make room for packets: %w", errSpace)
			}
		}
	}
	if err != nil {
		return nil, errors.Join(err, c.free())
	}
	for i := range c.msgs {
		small, large := c.place(i)
		c.iovs[i][0].Base, c.iovs[i][1].Base = &small[0], &large[smallSpace]
		c.iovs[i][0].SetLen(smallSpace)
		c.iovs[i][1].SetLen(frameSpace - smallSpace)
		c.msgs[i].hdr.Iov = &c.iovs[i][0]
		c.msgs[i].hdr.SetIovlen(2)
		c.msgs[i].hdr.Name = (*byte)(unsafe.Pointer(&c.names[i]))
	}
	return c, nil
}

func (c *capture) set(receiveBuffer int) error {
	if err := unix.SetsockoptInt(c.fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err != nil {
		return fmt.Errorf("ask for offload headers: %w", err)
	}
	if err := unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer); err != nil {
		return fmt.Errorf("set receive buffer to %d: %w", receiveBuffer, err)
	}
	return c.filter(nil, false)
}

// listen makes the capture hear what is sent to addresses, and with sent also what this
// host itself sends there. Groups that cannot be joined yet are tried again by follow.
func (c *capture) listen(addresses []netip.Addr, sent bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return os.ErrClosed
	}
	if err := c.filter(addresses, sent); err != nil {
		return err
	}
	c.listens = addresses
	_ = c.groups.Join(c.index, c.listens) // follow tries again, and says what is wrong
	return nil
}

func (c *capture) filter(addresses []netip.Addr, sent bool) error {
	program, err := bpf.Assemble(filter(addresses))
	if err != nil {
		return fmt.Errorf("assemble packet filter: %w", err)
	}
	code := make([]unix.SockFilter, len(program))
	for i, in := range program {
		code[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	if err := unix.SetsockoptSockFprog(c.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}); err != nil {
		return fmt.Errorf("attach packet filter: %w", err)
	}
	ignore := 1
	if sent {
		ignore = 0
	}
	// Not having it (before Linux 4.20) costs time only: every copy passes our filter.
	if err := unix.SetsockoptInt(c.fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, ignore); err != nil && !errors.Is(err, unix.ENOPROTOOPT) {
		return fmt.Errorf("ignore frames of this host: %w", err)
	}
	return nil
}

// follow binds to the interface if there is one of that name and it is another one than
// before, and says whether it was. One that has got another name is no longer heard.
func (c *capture) follow() (rebound bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false, nil
	}
	index, err := c.find(c.device)
	if err != nil {
		return false, err
	}
	if index != c.index || c.bound() != index {
		// Index 0 is every interface, and protocol 0 the one before (packet_bind): what nobody
		// sends (RFC 1701) is nothing to hear.
		to := unix.SockaddrLinklayer{Protocol: htons(0xffff)}
		if index != 0 {
			to = unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: index}
		}
		if err := unix.Bind(c.fd, &to); err != nil {
			return false, fmt.Errorf("listen on %s: %w", c.device, err)
		}
		rebound = index != 0 && c.been
		c.index, c.been = index, c.been || index != 0
	}
	return rebound, c.groups.Join(c.index, c.listens)
}

// outs are the interfaces with these names; "" is that which is heard.
func (c *capture) outs(names []string) (map[string]int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	outs := map[string]int{}
	if c.closed {
		return outs, nil
	}
	for _, name := range names {
		outs[name] = c.index
		if name == "" {
			continue
		}
		var err error
		if outs[name], err = c.find(name); err != nil {
			return nil, err
		}
	}
	return outs, nil
}

// find looks for an interface; 0 is none.
func (c *capture) find(name string) (int, error) {
	request, err := unix.NewIfreq(name)
	if err == nil {
		err = unix.IoctlIfreq(c.fd, unix.SIOCGIFINDEX, request)
	}
	switch {
	case errors.Is(err, unix.ENODEV):
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("look for %s: %w", name, err)
	}
	return int(int32(request.Uint32())), nil
}

// up says that the interface is there and up.
func (c *capture) up() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	request, err := unix.NewIfreq(c.device)
	if err != nil || c.closed {
		return false
	}
	return unix.IoctlIfreq(c.fd, unix.SIOCGIFFLAGS, request) == nil && request.Uint16()&unix.IFF_UP != 0
}

// bound is the interface that the socket really hears: none, once it was deleted
// (packet_notifier in net/packet/af_packet.c).
func (c *capture) bound() int {
	sa, err := unix.Getsockname(c.fd)
	if ll, ok := sa.(*unix.SockaddrLinklayer); ok && err == nil {
		return ll.Ifindex
	}
	return 0
}

// read waits for a packet, and gives how many there are, not more than most, and how long
// there was none.
func (c *capture) read(most int) (n int, idle time.Duration, err error) {
	for i := range most {
		c.msgs[i].hdr.Namelen = unix.SizeofSockaddrLinklayer
	}
	for !c.ended.Load() {
		asked := min(most-n, receivedOnce)
		r, errno := atOnceSyscall(unix.SYS_RECVMMSG, c.fd, &c.msgs[n], asked)
		switch {
		case errno == 0:
			if n += r; r < asked || n == most {
				return n, idle, nil
			}
		case n > 0:
			return n, idle, nil // an error that lasts comes again
		case errno == unix.EAGAIN:
			fds := []unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLIN}, {Fd: int32(c.end), Events: unix.POLLIN}}
			before := time.Now()
			if _, err := unix.Poll(fds, -1); err != nil && !errors.Is(err, unix.EINTR) {
				return 0, idle, fmt.Errorf("wait for packets: %w", err)
			}
			idle += time.Since(before)
		case errno != unix.EINTR:
			return 0, idle, errno
		}
	}
	return 0, idle, os.ErrClosed
}

// receivedOnce is how many packets are read in one call: as atOnceSyscall does it, nothing else runs
// meanwhile on the Go scheduler's processor.
const receivedOnce = 256

// atOnceSyscall is recvmmsg or sendmmsg of what can be done without waiting. The Go
// scheduler is not told: it would take a call that sends many copies for one that waits, and wake
// another thread to go on with, for each.
func atOnceSyscall(call uintptr, fd int, msgs *mmsghdr, n int) (done int, err unix.Errno) {
	r, _, errno := unix.RawSyscall6(call, uintptr(fd), uintptr(unsafe.Pointer(msgs)), uintptr(n), unix.MSG_DONTWAIT, 0, 0)
	return int(r), errno
}

// frame is a packet as the socket gives it.
type frame struct {
	bytes   []byte // with its Ethernet header
	sent    bool   // by this host
	partial bool   // a checksum is not complete: that which
	start   int    // covers what begins here, and
	offset  int    // is so far behind
	merged  uint8  // VIRTIO_NET_HDR_GSO_*
	segment int    // with merged: the size of the payload of each
}

// place is where the i-th frame is: in the small one, or begun there and to be had in the large one.
func (c *capture) place(i int) (small, large []byte) {
	return c.small[i*smallSpace:][:smallSpace], c.large[i*frameSpace:][:frameSpace]
}

func (c *capture) frame(i int) frame {
	b, large := c.place(i)
	if n := int(c.msgs[i].len); n > smallSpace {
		copy(large, b) // what is behind is there already
		b = large[:min(n, frameSpace)]
	} else {
		b = b[:n]
	}
	return frameOf(b, c.names[i].Pkttype == unix.PACKET_OUTGOING)
}

// frameOf reads the offload header before a frame.
func frameOf(b []byte, sent bool) frame {
	if len(b) < sizeVnet {
		return frame{}
	}
	return frame{
		bytes: b[sizeVnet:], sent: sent,
		partial: b[0]&vnetNeedsChecksum != 0, start: int(binary.NativeEndian.Uint16(b[6:])), offset: int(binary.NativeEndian.Uint16(b[8:])), merged: b[1] &^ vnetECN, segment: int(binary.NativeEndian.Uint16(b[4:])),
	}
}

// Of struct virtio_net_hdr, linux/virtio_net.h.
const (
	vnetNeedsChecksum = 1
	// GSO types: TCP, here within the frame, and UDP datagrams (USO).
	vnetTCPv4 = 1
	vnetTCPv6 = 4
	vnetUDP   = 5
	vnetECN   = 0x80
)

// overruns is how many frames the socket had no room for, ever.
func (c *capture) overruns() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return c.overrun
	}
	if s, err := unix.GetsockoptTpacketStats(c.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
		c.overrun += uint64(s.Drops) // reading makes the kernel begin again
	}
	return c.overrun
}

func (c *capture) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.ended.Store(true)
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	_, err := unix.Write(c.end, one[:])
	return errors.Join(err, c.groups.Close())
}

// free gives everything back, when nobody reads any more.
func (c *capture) free() (err error) {
	for _, space := range [][]byte{c.small, c.large} {
		if space == nil {
			continue
		}
		if errSpace := unix.Munmap(space); errSpace != nil {
			err = errors.Join(err, fmt.Errorf("give back room for packets: %w", errSpace))
		}
	}
	for _, fd := range []int{c.fd, c.end} {
		if fd >= 0 {
			err = errors.Join(err, unix.Close(fd))
		}
	}
	return err
}

func htons(v uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return binary.NativeEndian.Uint16(b[:])
}
