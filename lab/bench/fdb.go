package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/lab/nsthread"
)

// Forwarding rows by raw netlink: the feeder writes local MACs, the observer
// counts remote ones. Neither goes through the code under test.

const (
	nudReachable = 0x02
	ntfSelf      = 0x02
	ntfMaster    = 0x04
	neighHeader  = unix.SizeofNlMsghdr + 12
	feedBatch    = 200
)

// benchMAC is the n-th MAC of a test: n sits in the last three octets.
func benchMAC(group byte, n int) [6]byte {
	return [6]byte{0x02, 0xbe, group, byte(n >> 16), byte(n >> 8), byte(n)}
}

func openNetlink(n *nsthread.Namespace, groups uint32, receiveBuffer int) (fd int, err error) {
	err = n.Do(func() error {
		fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
		if err != nil {
			return fmt.Errorf("open netlink in %s: %w", n.Name, err)
		}
		if receiveBuffer > 0 {
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer); err != nil {
				return fmt.Errorf("enlarge netlink buffer in %s: %w", n.Name, err)
			}
		}
		if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
			return fmt.Errorf("bind netlink in %s: %w", n.Name, err)
		}
		return nil
	})
	return fd, err
}

// changeLocalMACs adds or deletes count dynamic MACs on the access port, as a data path that
// learned them would, 200 a send. Acknowledgements are asked of the last of each
// batch only: they come in order.
func (v *vtep) changeLocalMACs(group byte, first, count int, add bool) error {
	fd, err := openNetlink(v.Namespace, 0, 1<<20)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	batch := make([]byte, 0, feedBatch*40)
	answer := make([]byte, 1<<16)
	for i := 0; i < count; i++ {
		last := i == count-1 || (i+1)%feedBatch == 0
		batch = v.appendFDB(batch, benchMAC(group, first+i), add, last, uint32(i+1))
		if !last {
			continue
		}
		if err := unix.Sendto(fd, batch, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			return fmt.Errorf("write local MACs in %s: %w", v.Name, err)
		}
		batch = batch[:0]
		n, _, err := unix.Recvfrom(fd, answer, 0)
		if err != nil {
			return fmt.Errorf("read answer about local MACs in %s: %w", v.Name, err)
		}
		if n >= 20 {
			if errno := -int32(binary.NativeEndian.Uint32(answer[16:])); errno != 0 {
				return fmt.Errorf("write local MACs in %s: %w", v.Name, unix.Errno(errno))
			}
		}
	}
	return nil
}

func (v *vtep) appendFDB(b []byte, mac [6]byte, add, ack bool, seq uint32) []byte {
	typ, flags := uint16(unix.RTM_NEWNEIGH), uint16(unix.NLM_F_REQUEST|unix.NLM_F_CREATE|unix.NLM_F_REPLACE)
	if !add {
		typ, flags = unix.RTM_DELNEIGH, unix.NLM_F_REQUEST
	}
	if ack {
		flags |= unix.NLM_F_ACK
	}
	b = binary.NativeEndian.AppendUint32(b, neighHeader+12)
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = binary.NativeEndian.AppendUint16(b, flags)
	b = binary.NativeEndian.AppendUint32(b, seq)
	b = binary.NativeEndian.AppendUint32(b, 0)
	b = append(b, unix.AF_BRIDGE, 0, 0, 0)
	b = binary.NativeEndian.AppendUint32(b, uint32(v.access))
	b = binary.NativeEndian.AppendUint16(b, nudReachable)
	b = append(b, ntfMaster, 0)
	b = binary.NativeEndian.AppendUint16(b, 10)
	b = binary.NativeEndian.AppendUint16(b, unix.NDA_LLADDR)
	b = append(b, mac[:]...)
	return append(b, 0, 0)
}

// row is one row of a VXLAN device, as a message told it.
type row struct {
	gone bool
	mac  [6]byte
	dst  netip.Addr
}

func (r row) flood() bool { return r.mac == [6]byte{} }

// parseRow reads a neighbour message about a VXLAN device's own table.
func parseRow(m []byte, device int) (row, bool) {
	if len(m) < neighHeader || m[16] != unix.AF_BRIDGE || m[26]&ntfSelf == 0 {
		return row{}, false
	}
	if device != 0 && messageDevice(m) != device {
		return row{}, false
	}
	r := row{gone: binary.NativeEndian.Uint16(m[4:]) == unix.RTM_DELNEIGH}
	for a := m[neighHeader:]; len(a) >= 4; {
		l := int(binary.NativeEndian.Uint16(a))
		if l < 4 || l > len(a) {
			break
		}
		switch v := a[4:l]; binary.NativeEndian.Uint16(a[2:]) {
		case unix.NDA_LLADDR:
			copy(r.mac[:], v)
		case unix.NDA_DST:
			r.dst, _ = netip.AddrFromSlice(v)
		}
		a = a[min((l+3)&^3, len(a)):]
	}
	return r, r.dst.IsValid()
}

// eachMessage splits what one receive gave.
func eachMessage(b []byte, f func(typ uint16, m []byte) (more bool)) bool {
	for len(b) >= unix.SizeofNlMsghdr {
		l := int(binary.NativeEndian.Uint32(b))
		if l < unix.SizeofNlMsghdr || l > len(b) {
			return true
		}
		if !f(binary.NativeEndian.Uint16(b[4:]), b[:l]) {
			return false
		}
		b = b[min((l+3)&^3, len(b)):]
	}
	return true
}

func messageDevice(m []byte) int { return int(binary.NativeEndian.Uint32(m[20:])) }

var errDumpInterrupted = errors.New("dump rows: interrupted")

// dumpRows lists the rows of one VXLAN device, or of all when device is 0.
func dumpRows(n *nsthread.Namespace, device int, f func(device int, r row)) error {
	fd, err := openNetlink(n, 0, 8<<20)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	// struct ifinfomsg, not ndmsg: with it the kernel filters by ifi_index and
	// IFLA_MASTER (net/core/rtnetlink.c, valid_fdb_dump_legacy).
	req := make([]byte, 0, 40)
	req = binary.NativeEndian.AppendUint32(req, unix.SizeofNlMsghdr+unix.SizeofIfInfomsg)
	req = binary.NativeEndian.AppendUint16(req, unix.RTM_GETNEIGH)
	req = binary.NativeEndian.AppendUint16(req, unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	req = append(req, make([]byte, 8)...)
	req = append(req, unix.AF_BRIDGE, 0, 0, 0)
	req = binary.NativeEndian.AppendUint32(req, uint32(device))
	req = append(req, make([]byte, 8)...)
	if err := unix.Sendto(fd, req, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("ask %s for its rows: %w", n.Name, err)
	}
	buf := make([]byte, 1<<16)
	for {
		l, _, err := unix.Recvfrom(fd, buf, 0)
		if err != nil {
			return fmt.Errorf("read rows of %s: %w", n.Name, err)
		}
		var failed error
		more := eachMessage(buf[:l], func(typ uint16, m []byte) bool {
			switch typ {
			case unix.NLMSG_DONE:
				return false
			case unix.NLMSG_ERROR:
				failed = errDumpInterrupted
				return false
			}
			if r, ok := parseRow(m, device); ok {
				f(messageDevice(m), r)
			}
			return true
		})
		if !more {
			return failed
		}
	}
}

// countRows counts remote MACs and flood rows of the VTEP's VXLAN device.
func (v *vtep) countRows() (macs, flood int, err error) {
	err = dumpRows(v.Namespace, v.vxlan, func(_ int, r row) {
		if r.flood() {
			flood++
		} else {
			macs++
		}
	})
	return macs, flood, err
}
