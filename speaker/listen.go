package speaker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// listener is one outer listening socket.
type listener struct {
	net.Listener
	v6 bool
}

// listenAll opens the listening sockets: each configured address, or all of IPv4 and of
// IPv6. A host without IPv6 is no error as long as nobody asked for it.
func listenAll(ctx context.Context, cfg Config) ([]*listener, error) {
	if cfg.ListenPort == 0 {
		return nil, nil
	}
	type place struct {
		network, host string
		optional      bool
	}
	var places []place
	for _, a := range cfg.ListenAddresses {
		if a.Unmap().Is4() {
			places = append(places, place{"tcp4", a.Unmap().String(), false})
		} else {
			places = append(places, place{"tcp6", a.String(), false})
		}
	}
	if len(places) == 0 {
		places = []place{{"tcp4", "0.0.0.0", false}, {"tcp6", "::", true}}
	}
	var ls []*listener
	for _, p := range places {
		l, err := listenOne(ctx, p.network, net.JoinHostPort(p.host, strconv.Itoa(cfg.ListenPort)))
		switch {
		case err == nil:
			ls = append(ls, l)
		case p.optional && (errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EADDRNOTAVAIL)):
		default:
			for _, l := range ls {
				l.Close()
			}
			return nil, fmt.Errorf("listen on %s port %d: %w", p.host, cfg.ListenPort, err)
		}
	}
	return ls, nil
}

func listenOne(ctx context.Context, network, addr string) (*listener, error) {
	v6 := network == "tcp6"
	lc := net.ListenConfig{
		KeepAlive: -1,
		Control: func(_, _ string, c syscall.RawConn) error {
			// A SYN-ACK leaves with the listener's TTL: a GTSM peer wants 255.
			return control(c, func(fd int) error {
				if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_SAVE_SYN, 1); err != nil {
					return fmt.Errorf("have SYNs saved: %w", err)
				}
				return ttlPolicy{send: 255}.set(fd, v6)
			})
		},
	}
	// Go listens with Multipath TCP by default, whose sockets refuse some of our options.
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &listener{l, v6}, nil
}

// setMD5 sets or removes the key of one neighbour or prefix.
func (l *listener) setMD5(p netip.Prefix, key string) error {
	if p.Addr().Is4() == l.v6 {
		return nil
	}
	c, err := l.Listener.(*net.TCPListener).SyscallConn()
	if err != nil {
		return err
	}
	return control(c, func(fd int) error { return setMD5(fd, p, key) })
}

// acceptAll hands every connection to f until the listener closes.
func (l *listener) acceptAll(ctx context.Context, f func(*net.TCPConn)) error {
	for wait := time.Millisecond; ; {
		c, err := l.Accept()
		switch {
		case err == nil:
			wait = time.Millisecond
			f(c.(*net.TCPConn))
		case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			return nil
		case errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.ENOMEM),
			errors.Is(err, unix.ECONNABORTED):
			// Passing trouble: ending the daemon would cost all sessions that work.
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(wait):
			}
			wait = min(2*wait, time.Second)
		default:
			return fmt.Errorf("accept on %s: %w", l.Addr(), err)
		}
	}
}

// neighborPrefix is what a neighbour's connections come from.
func (n Neighbor) neighborPrefix() netip.Prefix {
	if n.dynamic() {
		return n.Prefix.Masked()
	}
	return netip.PrefixFrom(n.Address.WithZone(""), n.Address.BitLen())
}
