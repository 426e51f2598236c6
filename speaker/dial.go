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

// backoff gives the waits between attempts to dial, with jitter (RFC 4271 §10) so that
// two speakers that collide do not do so for ever.
type backoff struct {
	limit time.Duration
	next  time.Duration
}

func (b *backoff) reset() { b.next = 0 }

func (b *backoff) wait() time.Duration {
	if b.next == 0 {
		b.next = min(firstRetry, b.limit)
	}
	w := b.next
	b.next = min(2*b.next, b.limit)
	return w*3/4 + time.Duration(rand.Int64N(int64(w)/4+1))
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
