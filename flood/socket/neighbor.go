package socket

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// How long answers of the kernel are believed.
const (
	neighborsFor = 250 * time.Millisecond
	routesFor    = 5 * time.Second
)

// doubts know which VTEPs are behind a next hop that does not answer. The kernel holds
// packets to such a one for seconds, on the account of the socket that sent them, so they
// go by a socket of their own. They are asked for only once a socket has stood still.
type doubts struct {
	inNamespace func(func() error) error
	fd          int // netlink; -1 until it is needed

	silent map[hop]bool
	found  bool // one of our VTEPs among them
	asked  time.Time
	hops   map[netip.Addr]hop // of VTEPs
	routed time.Time          // since when hops are collected
	buffer []byte
}

type hop struct {
	device  uint32
	address netip.Addr
}

func newDoubts(inNamespace func(func() error) error) *doubts {
	return &doubts{inNamespace: inNamespace, fd: -1, silent: map[hop]bool{}, hops: map[netip.Addr]hop{}}
}

// ask reads who does not answer.
func (d *doubts) ask(now time.Time) error {
	d.asked, d.found = now, false
	clear(d.silent)
	if now.Sub(d.routed) > routesFor {
		d.routed = now
		clear(d.hops)
	}
	if d.fd < 0 {
		if err := d.open(); err != nil {
			return err
		}
	}
	request := make([]byte, unix.SizeofNlMsghdr+unix.SizeofNdMsg)
	return d.exchange(request, unix.RTM_GETNEIGH, unix.NLM_F_DUMP, func(body []byte) {
		const unresolved = unix.NUD_INCOMPLETE | unix.NUD_FAILED
		if len(body) < unix.SizeofNdMsg || binary.NativeEndian.Uint16(body[8:])&unresolved == 0 {
			return
		}
		if a, ok := addressIn(body[unix.SizeofNdMsg:], unix.NDA_DST); ok {
			d.silent[hop{binary.NativeEndian.Uint32(body[4:]), a}] = true
		}
	})
}

func (d *doubts) open() error {
	err := d.inNamespace(func() (err error) {
		d.fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
		return err
	})
	if err != nil {
		d.fd = -1
		return fmt.Errorf("open socket to ask for neighbours: %w", err)
	}
	d.buffer = make([]byte, 1<<16)
	// The kernel answers at once; not to wait for ever is for the case that it does not.
	return unix.SetsockoptTimeval(d.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1})
}

// renew asks again, as long as that concerned one of our VTEPs.
func (d *doubts) renew(now time.Time) error {
	switch {
	case len(d.silent) == 0 || now.Sub(d.asked) < neighborsFor:
		return nil
	case !d.found:
		clear(d.silent)
		return nil
	}
	return d.ask(now)
}

// about says that a VTEP is behind a next hop that does not answer.
func (d *doubts) about(vtep netip.Addr) bool {
	if len(d.silent) == 0 {
		return false
	}
	h, known := d.hops[vtep]
	if !known {
		h = d.route(vtep)
		d.hops[vtep] = h
	}
	d.found = d.found || d.silent[h]
	return d.silent[h]
}

// route asks where packets to a VTEP go next; nowhere is the zero hop.
func (d *doubts) route(vtep netip.Addr) (h hop) {
	request := make([]byte, unix.SizeofNlMsghdr+unix.SizeofRtMsg)
	body := request[unix.SizeofNlMsghdr:]
	body[0], body[1] = unix.AF_INET, byte(vtep.BitLen())
	if vtep.Is6() {
		body[0] = unix.AF_INET6
	}
	request = binary.NativeEndian.AppendUint16(request, uint16(unix.SizeofRtAttr+vtep.BitLen()/8))
	request = binary.NativeEndian.AppendUint16(request, unix.RTA_DST)
	request = append(request, vtep.AsSlice()...)
	err := d.exchange(request, unix.RTM_GETROUTE, 0, func(body []byte) {
		if len(body) < unix.SizeofRtMsg {
			return
		}
		h.address = vtep
		attributes(body[unix.SizeofRtMsg:], func(typ uint16, value []byte) {
			switch {
			case typ == unix.RTA_OIF && len(value) == 4:
				h.device = binary.NativeEndian.Uint32(value)
			case typ == unix.RTA_GATEWAY:
				h.address, _ = netip.AddrFromSlice(value)
			case typ == unix.RTA_VIA && len(value) > 2: // a gateway of the other family
				h.address, _ = netip.AddrFromSlice(value[2:])
			}
		})
	})
	if err != nil {
		return hop{}
	}
	return h
}

// exchange sends a request, whose first bytes are left for its header, and gives the
// bodies of the answer.
func (d *doubts) exchange(request []byte, typ, flags uint16, each func(body []byte)) error {
	binary.NativeEndian.PutUint32(request, uint32(len(request)))
	binary.NativeEndian.PutUint16(request[4:], typ)
	binary.NativeEndian.PutUint16(request[6:], flags|unix.NLM_F_REQUEST)
	if err := unix.Sendto(d.fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return d.lost(err)
	}
	for {
		n, _, err := unix.Recvfrom(d.fd, d.buffer, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return d.lost(err)
		}
		messages, err := syscall.ParseNetlinkMessage(d.buffer[:n])
		if err != nil {
			return d.lost(err)
		}
		for _, m := range messages {
			switch m.Header.Type {
			case unix.NLMSG_DONE:
				return nil
			case unix.NLMSG_ERROR:
				if len(m.Data) >= 4 {
					if code := int32(binary.NativeEndian.Uint32(m.Data)); code != 0 {
						return fmt.Errorf("ask for neighbours: %w", unix.Errno(-code))
					}
				}
				return nil
			}
			each(m.Data)
			if flags&unix.NLM_F_DUMP == 0 {
				return nil
			}
		}
	}
}

// lost closes the socket: what comes late must not be taken for a later answer.
func (d *doubts) lost(err error) error {
	d.close()
	return fmt.Errorf("ask for neighbours: %w", err)
}

func (d *doubts) close() {
	if d.fd >= 0 {
		unix.Close(d.fd)
		d.fd = -1
	}
	clear(d.silent)
}

func addressIn(b []byte, wanted uint16) (a netip.Addr, ok bool) {
	attributes(b, func(typ uint16, value []byte) {
		if typ == wanted {
			a, ok = netip.AddrFromSlice(value)
		}
	})
	return a, ok
}

// attributes gives the attributes of a netlink message.
func attributes(b []byte, each func(typ uint16, value []byte)) {
	for len(b) >= unix.SizeofRtAttr {
		n := int(binary.NativeEndian.Uint16(b))
		if n < unix.SizeofRtAttr || n > len(b) {
			return
		}
		each(binary.NativeEndian.Uint16(b[2:]), b[unix.SizeofRtAttr:n])
		b = b[min((n+3)&^3, len(b)):]
	}
}
