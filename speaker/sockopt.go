package speaker

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxMD5Key is TCP_MD5SIG_MAXKEYLEN (include/uapi/linux/tcp.h).
const maxMD5Key = 80

// md5Sig is struct tcp_md5sig of include/uapi/linux/tcp.h.
type md5Sig struct {
	addr    [128]byte // struct __kernel_sockaddr_storage
	flags   uint8
	prefix  uint8
	keyLen  uint16
	ifindex int32
	key     [maxMD5Key]byte
}

// TCP_MD5SIG_FLAG_PREFIX: the prefix length counts.
const md5FlagPrefix = 1

// setMD5 sets the TCP MD5 key (RFC 2385) for peers in p on a socket of the given family; an
// empty key removes it. IPv4 peers of an IPv6 socket are not supported: we never make such sockets.
func setMD5(fd int, p netip.Prefix, key string) error {
	sig := md5Sig{keyLen: uint16(len(key)), prefix: uint8(p.Bits())}
	copy(sig.key[:], key)
	if p.Addr().Is4() {
		*(*uint16)(unsafe.Pointer(&sig.addr[0])) = unix.AF_INET
		a := p.Addr().As4()
		copy(sig.addr[4:], a[:])
	} else {
		*(*uint16)(unsafe.Pointer(&sig.addr[0])) = unix.AF_INET6
		a := p.Addr().As16()
		copy(sig.addr[8:], a[:])
	}
	opt := unix.TCP_MD5SIG
	if !p.IsSingleIP() {
		// The prefix form came with its own option number: the old one must ignore
		// the field (net/ipv4/tcp_ipv4.c, tcp_v4_parse_md5_keys).
		opt, sig.flags = unix.TCP_MD5SIG_EXT, md5FlagPrefix
	}
	b := unsafe.Slice((*byte)(unsafe.Pointer(&sig)), unsafe.Sizeof(sig))
	if err := unix.SetsockoptString(fd, unix.IPPROTO_TCP, opt, string(b)); err != nil {
		if key == "" && err == unix.ENOENT {
			return nil
		}
		return fmt.Errorf("set TCP MD5 key for %s: %w", p, err)
	}
	return nil
}

// ttlPolicy is what a neighbour's packets leave with, and must arrive with.
type ttlPolicy struct {
	send int // 0 = the kernel's default
	min  int // 0 = any
}

// ttlFor: GTSM (RFC 5082) sends 255 and accepts only what no router has touched; an eBGP
// neighbour is directly connected (TTL 1, RFC 4271 §9.1.2 by custom) unless multihop is set.
func ttlFor(cfg Config, n Neighbor) ttlPolicy {
	switch {
	case n.TTLSecurity:
		return ttlPolicy{send: 255, min: 255}
	case cfg.ibgp(n):
		return ttlPolicy{}
	case n.EBGPMultihop > 0:
		return ttlPolicy{send: n.EBGPMultihop}
	default:
		return ttlPolicy{send: 1}
	}
}

func (t ttlPolicy) set(fd int, v6 bool) error {
	level, ttl, minimum := unix.IPPROTO_IP, unix.IP_TTL, unix.IP_MINTTL
	if v6 {
		level, ttl, minimum = unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, unix.IPV6_MINHOPCOUNT
	}
	if t.send > 0 {
		if err := unix.SetsockoptInt(fd, level, ttl, t.send); err != nil {
			return fmt.Errorf("set TTL %d: %w", t.send, err)
		}
	}
	if t.min > 0 {
		if err := unix.SetsockoptInt(fd, level, minimum, t.min); err != nil {
			return fmt.Errorf("set minimum TTL %d: %w", t.min, err)
		}
	}
	return nil
}

// errFarAway is a connection whose SYN came with too low a TTL.
var errFarAway = errors.New("TTL is below the minimum")

// accept sets t on an accepted socket. The minimum only holds for what arrives from
// now on; that the SYN met it too shows that nobody far away got a word in before.
func (t ttlPolicy) accept(fd int, v6 bool) error {
	if t.min > 0 {
		ttl, err := synTTL(fd, v6)
		if err != nil {
			return err
		}
		if ttl < t.min {
			return fmt.Errorf("%w: %d", errFarAway, ttl)
		}
	}
	return t.set(fd, v6)
}

// synTTL is the TTL or hop limit of the SYN that opened an accepted connection. The
// listener has TCP_SAVE_SYN set (Linux 4.3): the kernel keeps the SYN's headers, and
// gives them once.
func synTTL(fd int, v6 bool) (int, error) {
	var headers [256]byte
	size := uint32(len(headers))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.IPPROTO_TCP, unix.TCP_SAVED_SYN,
		uintptr(unsafe.Pointer(&headers)), uintptr(unsafe.Pointer(&size)), 0)
	at := 8 // IPv4 (RFC 791 §3.1)
	if v6 {
		at = 7 // RFC 8200 §3
	}
	switch {
	case errno != 0:
		return 0, fmt.Errorf("read the saved SYN: %w", errno)
	case int(size) <= at:
		return 0, fmt.Errorf("read the saved SYN: %d octets", size)
	}
	return int(headers[at]), nil
}

// control runs f on the socket behind c.
func control(c syscall.RawConn, f func(fd int) error) error {
	var inner error
	if err := c.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}
