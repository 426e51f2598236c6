package socket

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/flood"
)

// Groups keep this host a member of groups on one interface, for as long as the process
// lives. An engine needs no one else to join; who wants a membership that outlives it gives
// the interface an address of the group with autojoin.
type Groups struct {
	inNamespace func(func() error) error
	index       int
	joined      []netip.Addr
	sockets     []int
}

// NewGroups are none.
func NewGroups(o flood.Options) *Groups { return &Groups{inNamespace: namespaceOf(o)} }

// Join replaces the memberships by those of the groups among listens, which are sorted, on an
// interface; 0 is no interface. The new ones come first, so that nothing is missed. After an
// error the next call tries again.
func (g *Groups) Join(index int, listens []netip.Addr) error {
	wanted := slices.DeleteFunc(slices.Clone(listens), func(a netip.Addr) bool { return !a.IsMulticast() })
	if index == 0 {
		wanted = nil
	}
	if index == g.index && slices.Equal(wanted, g.joined) {
		return nil
	}
	old := g.sockets
	g.sockets, g.index, g.joined = nil, index, wanted
	var errs []error
	v6 := slices.IndexFunc(wanted, netip.Addr.Is6) // sorted: IPv4 comes first
	if v6 < 0 {
		v6 = len(wanted)
	}
	errs = append(errs, g.joinAll(wanted[:v6], unix.AF_INET), g.joinAll(wanted[v6:], unix.AF_INET6))
	for _, fd := range old {
		errs = append(errs, unix.Close(fd))
	}
	err := errors.Join(errs...)
	if err != nil {
		g.index = -1
	}
	return err
}

// joinAll joins groups of a family, with as many sockets as that takes: net.ipv4.igmp_max_memberships, 20 by default, is for each
// (ip_mc_join_group), as is net.core.optmem_max, which counts for IPv6.
func (g *Groups) joinAll(groups []netip.Addr, family int) error {
	var errs []error
	fd := -1
	for _, a := range groups {
		err := error(unix.ENOBUFS)
		if fd >= 0 {
			err = g.join(fd, a)
		}
		if errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.ENOMEM) {
			if fd, err = g.open(family); err != nil {
				return errors.Join(append(errs, err)...)
			}
			err = g.join(fd, a)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("join %s: %w", a, err))
		}
	}
	return errors.Join(errs...)
}

func (g *Groups) open(family int) (fd int, err error) {
	if err := g.inNamespace(func() (err error) {
		fd, err = unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		return err
	}); err != nil {
		return -1, fmt.Errorf("open socket to join groups: %w", err)
	}
	g.sockets = append(g.sockets, fd)
	return fd, nil
}

func (g *Groups) join(fd int, a netip.Addr) error {
	if a.Is4() {
		return unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, &unix.IPMreqn{Multiaddr: a.As4(), Ifindex: int32(g.index)})
	}
	return unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, &unix.IPv6Mreq{Multiaddr: a.As16(), Interface: uint32(g.index)})
}

// Close leaves all groups.
func (g *Groups) Close() error {
	var errs []error
	for _, fd := range g.sockets {
		errs = append(errs, unix.Close(fd))
	}
	g.sockets, g.joined, g.index = nil, nil, 0
	return errors.Join(errs...)
}
