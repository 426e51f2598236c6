package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// observer hears of rows of one VXLAN device. The socket filter runs in the
// kernel, so what it drops costs a few instructions and wakes nobody.
type observer struct {
	v  *vtep
	fd int
}

// sampleMask picks the rows that a sampling observer hears of: MACs whose last
// octet ends in these bits. MACs are written in the order of their last octets,
// and the last one written is among them when their number is a multiple of 16.
const sampleMask = 0x0f

// newObserver opens a listener. With sample it hears one row in sixteen, else all.
func newObserver(v *vtep, sample bool) (*observer, error) {
	fd, err := openNetlink(v.Namespace, 0, 64<<20)
	if err != nil {
		return nil, err
	}
	if err := attachFilter(fd, v.vxlan, sample); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("filter rows of %s: %w", v.Name, err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, unix.RTNLGRP_NEIGH); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("listen to rows of %s: %w", v.Name, err)
	}
	return &observer{v: v, fd: fd}, nil
}

func (o *observer) close() { _ = unix.Close(o.fd) }

// attachFilter keeps neighbour messages of the bridge family about the device's
// own table: octets 16.. are struct ndmsg, 32..37 the MAC (the kernel writes
// NDA_LLADDR first: drivers/net/vxlan/vxlan_core.c, vxlan_fdb_info).
func attachFilter(fd, device int, sample bool) error {
	const drop = 0xff // replaced by the distance to the end
	index := [4]uint32{uint32(device) & 0xff, uint32(device) >> 8 & 0xff, uint32(device) >> 16 & 0xff, uint32(device) >> 24}
	p := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 16},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.AF_BRIDGE, Jf: drop},
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 26},
		{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: ntfSelf, Jf: drop},
	}
	for i, o := range index {
		p = append(p,
			unix.SockFilter{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: uint32(20 + i)},
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: o, Jf: drop})
	}
	if sample {
		p = append(p,
			unix.SockFilter{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 37},
			unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: sampleMask},
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: sampleMask, Jf: drop})
	}
	p = append(p,
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0xffffffff},
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0})
	for i := range p {
		if p[i].Jf == drop {
			p[i].Jf = uint8(len(p) - 2 - i)
		}
	}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(p)), Filter: &p[0]})
}

// drain hands over what has arrived and does not wait.
func (o *observer) drain(buf []byte, f func(row)) error {
	for {
		l, _, err := unix.Recvfrom(o.fd, buf, unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("listen to rows of %s: %w", o.v.Name, err)
		}
		eachMessage(buf[:l], func(_ uint16, m []byte) bool {
			if r, ok := parseRow(m, o.v.vxlan); ok {
				f(r)
			}
			return true
		})
	}
}

// span is when the first and the last row were seen.
type span struct{ first, last time.Time }

var errTimeout = errors.New("timed out")

// waitRows waits until the sampled rows of want MACs were seen to come (or go, when
// gone), then dumps until the table agrees: want MACs, or neither MACs nor flood rows.
func (o *observer) waitRows(ctx context.Context, want int, gone bool, timeout time.Duration) (span, error) {
	seen := make(map[[6]byte]struct{}, want/(sampleMask+1))
	buf := make([]byte, 1<<16)
	deadline := time.Now().Add(timeout)
	var s span
	expect := want / (sampleMask + 1)
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for len(seen) < expect {
		select {
		case <-ctx.Done():
			return s, ctx.Err()
		case <-poll.C:
		}
		now := time.Now()
		if now.After(deadline) {
			macs, flood, _ := o.v.countRows()
			return s, fmt.Errorf("wait for %d rows in %s (there are %d and %d flood rows): %w", want, o.v.Name, macs, flood, errTimeout)
		}
		err := o.drain(buf, func(r row) {
			if r.flood() {
				return
			}
			if r.gone != gone {
				delete(seen, r.mac)
				return
			}
			if s.first.IsZero() {
				s.first = now
			}
			seen[r.mac] = struct{}{}
			s.last = now
		})
		if err != nil {
			return s, err
		}
	}
	if gone {
		want = 0
	}
	for {
		before := time.Now()
		macs, flood, err := o.v.countRows()
		if err != nil {
			return s, err
		}
		if macs == want && (!gone || flood == 0) {
			return s, nil
		}
		s.last = time.Now()
		if before.After(deadline) {
			return s, fmt.Errorf("wait for %d rows in %s (there are %d): %w", want, o.v.Name, macs, errTimeout)
		}
	}
}

// next waits for one row that match accepts and gives the time it was read.
func (o *observer) next(timeout time.Duration, match func(row) bool) (time.Time, error) {
	deadline := time.Now().Add(timeout)
	buf := make([]byte, 1<<14)
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return time.Time{}, fmt.Errorf("wait for a row in %s: %w", o.v.Name, errTimeout)
		}
		tv := unix.NsecToTimeval(left.Nanoseconds() + 1000)
		if err := unix.SetsockoptTimeval(o.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
			return time.Time{}, fmt.Errorf("listen to rows of %s: %w", o.v.Name, err)
		}
		l, _, err := unix.Recvfrom(o.fd, buf, 0)
		now := time.Now()
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return time.Time{}, fmt.Errorf("listen to rows of %s: %w", o.v.Name, err)
		}
		found := false
		eachMessage(buf[:l], func(_ uint16, m []byte) bool {
			r, ok := parseRow(m, o.v.vxlan)
			found = found || (ok && match(r))
			return true
		})
		if found {
			return now, nil
		}
	}
}

// newFloodObserver hears of the rows of every VXLAN device of v; few enough to take all.
func newFloodObserver(v *vtep) (*observer, error) {
	fd, err := openNetlink(v.Namespace, 1<<(unix.RTNLGRP_NEIGH-1), 64<<20)
	if err != nil {
		return nil, err
	}
	return &observer{v: v, fd: fd}, nil
}

// waitFloodRows waits until there are want flood rows and gives the time of the last.
func (o *observer) waitFloodRows(ctx context.Context, want int, timeout time.Duration) (time.Time, error) {
	type place struct {
		device int
		dst    netip.Addr
	}
	deadline := time.Now().Add(timeout)
	buf := make([]byte, 1<<16)
	have := make(map[place]struct{}, want)
	poll := time.NewTicker(2 * time.Millisecond)
	defer poll.Stop()
	for {
		select {
		case <-ctx.Done():
			return time.Time{}, ctx.Err()
		case now := <-poll.C:
			for {
				l, _, err := unix.Recvfrom(o.fd, buf, unix.MSG_DONTWAIT)
				if errors.Is(err, unix.ENOBUFS) {
					return now, fmt.Errorf("wait for flood rows in %s: %w", o.v.Name, err)
				}
				if err != nil {
					break
				}
				eachMessage(buf[:l], func(_ uint16, m []byte) bool {
					if r, ok := parseRow(m, 0); ok && r.flood() {
						if at := (place{messageDevice(m), r.dst}); r.gone {
							delete(have, at)
						} else {
							have[at] = struct{}{}
						}
					}
					return true
				})
			}
			if len(have) == want {
				return now, nil
			}
			if now.After(deadline) {
				return now, fmt.Errorf("wait for %d flood rows in %s (%d are there): %w", want, o.v.Name, len(have), errTimeout)
			}
		}
	}
}
