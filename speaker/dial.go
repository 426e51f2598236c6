package speaker

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// firstRetry is the wait after the first failed attempt to dial; it doubles up to the
// connect-retry time of the neighbour.
const firstRetry = 250 * time.Millisecond

// dialTimeout bounds one attempt. Longer than a retry: a SYN lost once is repeated
// by the kernel after a second.
const dialTimeout = 5 * time.Second

// firstReturn is the wait after a session: a restarted peer is back soon. It doubles in the same way with each
// session that did not last.
const firstReturn = firstRetry / 5

// lasting is what tells a session that something happened to from one that never had a chance. A peer that refuses
// what it is sent does so with the first routes (FRR 8.4: PMSI tunnel type 0x0a, again after each reconnect).
const lasting = 10 * time.Second

// backoff gives the waits between attempts to dial, with jitter (RFC 4271 §10) so that
// two speakers that collide do not do so for ever.
type backoff struct {
	first time.Duration
	next  time.Duration
}

func (b *backoff) reset() { b.next = 0 }

func (b *backoff) wait(limit time.Duration) time.Duration {
	if b.next == 0 {
		b.next = b.first
	}
	w := min(b.next, limit)
	b.next = 2 * w
	return w*3/4 + time.Duration(rand.Int64N(int64(w)/4+1))
}

// afterSession is the wait after a session that lived for so long: DampPeerOscillations of RFC 4271 §8.1.1.
func (b *backoff) afterSession(lived, limit time.Duration) time.Duration {
	if lived >= lasting {
		b.reset()
	}
	return b.wait(limit)
}

// dial makes one attempt to reach the neighbour.
func dial(ctx context.Context, cfg Config, n Neighbor, addr netip.Addr) (net.Conn, error) {
	d := net.Dialer{
		Timeout:   dialTimeout,
		KeepAlive: -1, // BGP has its own
		Control: func(_, _ string, c syscall.RawConn) error {
			return control(c, func(fd int) error {
				if n.Password != "" {
					if err := setMD5(fd, netip.PrefixFrom(addr, addr.BitLen()), n.Password); err != nil {
						return err
					}
				}
				return ttlFor(cfg, n).set(fd, addr.Is6())
			})
		},
	}
	if n.VTEPSource.IsValid() {
		d.LocalAddr = &net.TCPAddr{IP: n.VTEPSource.AsSlice(), Zone: n.VTEPSource.Zone()}
	}
	d.SetMultipathTCP(false)
	c, err := d.DialContext(ctx, "tcp", netip.AddrPortFrom(addr, uint16(n.port())).String())
	if err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	return c, nil
}
