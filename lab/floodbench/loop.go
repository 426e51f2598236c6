package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

const plainLoop = "loop"

// loop is what anybody would write first: a UDP socket, and one send for each copy. It
// does not keep the source of what it copies.
type loop struct {
	conn *net.UDPConn
	to   atomic.Pointer[[]netip.AddrPort]
	done chan error
	lost atomic.Uint64
}

func newLoop() (*loop, error) {
	c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(service, vxlanPort)))
	if err != nil {
		return nil, fmt.Errorf("listen at the service address: %w", err)
	}
	l := &loop{conn: c, done: make(chan error, 1)}
	l.to.Store(&[]netip.AddrPort{})
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("reach socket: %w", err)
	}
	var set error
	err = raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20) })
	if err = errors.Join(err, set); err != nil {
		return nil, fmt.Errorf("set receive buffer: %w", err)
	}
	go func() { l.done <- l.run() }()
	return l, nil
}

func (l *loop) run() error {
	buffer := make([]byte, 1<<16)
	for {
		n, _, err := l.conn.ReadFromUDPAddrPort(buffer)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		for _, a := range *l.to.Load() {
			if _, err := l.conn.WriteToUDPAddrPort(buffer[:n], a); err != nil {
				l.lost.Add(1)
			}
		}
	}
}

func (l *loop) list(r request) error {
	if r.Networks > 0 || r.Without > 0 {
		return errors.New("the plain loop has one list")
	}
	var to []netip.AddrPort
	for place := 1; place <= r.VTEPs; place++ {
		to = append(to, netip.AddrPortFrom(vtepAt(place), vxlanPort))
	}
	l.to.Store(&to)
	return nil
}

func (l *loop) dropped() map[string]uint64 { return map[string]uint64{"send_failed": l.lost.Load()} }

func (l *loop) close() error {
	if err := l.conn.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("close socket: %w", err)
	}
	return <-l.done
}
