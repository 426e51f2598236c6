package loss

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// receiveBuffer holds what arrives while this process waits for a processor.
	receiveBuffer = 8 << 20
	// magic begins every packet of ours.
	magic   = 0x76746c6f
	payload = 64
)

// Host is one end: its address, and how to run a function in its namespace (sockets belong to the namespace of
// the thread that makes them).
type Host struct {
	Address netip.Addr
	Within  func(f func() error) error
}

// enlarge sets a receive buffer past the system's limit, which takes root.
func enlarge(c syscall.Conn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = raw.Control(func(fd uintptr) {
		set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer)
	})
	return errors.Join(err, os.NewSyscallError("setsockopt", set))
}

// datagrams is a UDP stream from one host to another.
type datagrams struct {
	from, to *net.UDPConn
	buf      [payload + 1]byte
}

func newDatagrams(from, to Host) (endpoint, error) {
	d := &datagrams{}
	err := to.Within(func() (err error) {
		if d.to, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(to.Address, 0))); err != nil {
			return err
		}
		return enlarge(d.to)
	})
	if err == nil {
		err = from.Within(func() (err error) {
			d.from, err = net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(from.Address, 0)), d.to.LocalAddr().(*net.UDPAddr))
			return err
		})
	}
	if err != nil {
		d.close()
		return nil, fmt.Errorf("open UDP stream from %s to %s: %w", from.Address, to.Address, err)
	}
	return d, nil
}

func (d *datagrams) send(seq uint32) error {
	var b [payload]byte
	binary.BigEndian.PutUint32(b[:], magic)
	binary.BigEndian.PutUint32(b[4:], seq)
	_, err := d.from.Write(b[:])
	return err
}

func (d *datagrams) receive() (uint32, bool, error) {
	n, err := d.to.Read(d.buf[:])
	if err != nil || n != payload || binary.BigEndian.Uint32(d.buf[:]) != magic {
		return 0, false, err
	}
	return binary.BigEndian.Uint32(d.buf[4:]), true, nil
}

func (d *datagrams) close() {
	for _, c := range []*net.UDPConn{d.from, d.to} {
		if c != nil {
			_ = c.Close()
		}
	}
}

// echoes is a ping: the other host's kernel answers.
type echoes struct {
	conn *net.IPConn
	to   net.IPAddr
	buf  [1500]byte
}

// ICMP message types (RFC 792).
const (
	echoReply   = 0
	echoRequest = 8
	echoHeader  = 8
)

func newEchoes(from, to Host) (endpoint, error) {
	e := &echoes{to: net.IPAddr{IP: to.Address.AsSlice()}}
	err := from.Within(func() (err error) {
		if e.conn, err = net.ListenIP("ip4:icmp", &net.IPAddr{IP: from.Address.AsSlice()}); err != nil {
			return err
		}
		return enlarge(e.conn)
	})
	if err != nil {
		return nil, fmt.Errorf("open ping socket of %s: %w", from.Address, err)
	}
	return e, nil
}

func (e *echoes) send(seq uint32) error {
	b := make([]byte, echoHeader+8)
	b[0] = echoRequest
	binary.BigEndian.PutUint16(b[6:], uint16(seq)) // for who watches; the payload has it all
	binary.BigEndian.PutUint32(b[echoHeader:], magic)
	binary.BigEndian.PutUint32(b[echoHeader+4:], seq)
	binary.BigEndian.PutUint16(b[2:], checksum(b))
	_, err := e.conn.WriteToIP(b, &e.to)
	return err
}

func (e *echoes) receive() (uint32, bool, error) {
	n, from, err := e.conn.ReadFromIP(e.buf[:])
	b := e.buf[:max(n, 0)]
	if err != nil || n < echoHeader+8 || b[0] != echoReply || !from.IP.Equal(e.to.IP) || binary.BigEndian.Uint32(b[echoHeader:]) != magic {
		return 0, false, err
	}
	return binary.BigEndian.Uint32(b[echoHeader+4:]), true, nil
}

func (e *echoes) close() { _ = e.conn.Close() }

// checksum is RFC 1071's, for an even number of octets.
func checksum(b []byte) uint16 {
	sum := uint32(0)
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	sum = sum>>16 + sum&0xffff
	return ^uint16(sum>>16 + sum&0xffff)
}
