package socket

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/flood"
)

const (
	sizeVnet   = 10 // struct virtio_net_hdr
	frameSpace = sizeVnet + 14 + 1<<16
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
	file        *os.File // its Fd method would make the socket block
	raw         syscall.RawConn
	fd          int

	mu      sync.Mutex
	closed  bool // fd may be another's by now
	index   int  // bound to; 0: there is no such interface
	been    bool // bound before
	listens []netip.Addr
	groups  *Groups
	overrun uint64

	// Of read only.
	msgs  [mostDepth]mmsghdr
	iovs  [mostDepth]unix.Iovec
	names [mostDepth]unix.RawSockaddrLinklayer
	space []byte
}

func newCapture(o flood.Options) (*capture, error) {
	c := &capture{inNamespace: namespaceOf(o), device: o.Interface, fd: -1, groups: NewGroups(o)}
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
		c.file = os.NewFile(uintptr(c.fd), "flood capture")
		c.raw, err = c.file.SyscallConn()
	}
	if err != nil {
		return nil, errors.Join(err, unix.Close(c.fd))
	}
	// Not on the heap: a page of each place is used, as long as no large packets come.
	c.space, err = unix.Mmap(-1, 0, mostDepth*frameSpace, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make room for packets: %w", err), c.file.Close())
	}
	for i := range c.msgs {
		c.iovs[i].Base = &c.space[i*frameSpace]
		c.iovs[i].SetLen(frameSpace)
		c.msgs[i].hdr.Iov = &c.iovs[i]
		c.msgs[i].hdr.SetIovlen(1)
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

// read gives how many packets there are, not more than most. It waits for the first one
// if wait says so.
func (c *capture) read(most int, wait bool) (n int, err error) {
	for i := range most {
		c.msgs[i].hdr.Namelen = unix.SizeofSockaddrLinklayer
	}
	poll := c.raw.Read(func(fd uintptr) bool {
		r, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&c.msgs[0])), uintptr(most), unix.MSG_DONTWAIT, 0, 0)
		n, err = int(r), nil
		switch {
		case errno == unix.EINTR || errno == unix.EAGAIN && wait:
			n = 0
			return false
		case errno == unix.EAGAIN:
			n = 0
		case errno != 0:
			n, err = 0, errno
		}
		return true
	})
	if poll != nil {
		return 0, os.ErrClosed
	}
	return n, err
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

func (c *capture) frame(i int) frame {
	b := c.space[i*frameSpace:][:min(int(c.msgs[i].len), frameSpace)]
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
	return errors.Join(c.file.Close(), c.groups.Close())
}

// free gives the room for packets back, when nobody reads any more.
func (c *capture) free() error {
	if err := unix.Munmap(c.space); err != nil {
		return fmt.Errorf("give back room for packets: %w", err)
	}
	return nil
}

func htons(v uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return binary.NativeEndian.Uint16(b[:])
}
