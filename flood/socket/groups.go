package socket

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/flood"
)

// groupsPerSocket: net.ipv4.igmp_max_memberships is 20 by default.
const groupsPerSocket = 20

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
	for _, family := range [][]netip.Addr{wanted[:v6], wanted[v6:]} {
		for some := range slices.Chunk(family, groupsPerSocket) {
			errs = append(errs, g.joinSome(some))
		}
	}
	for _, fd := range old {
		errs = append(errs, unix.Close(fd))
	}
	err := errors.Join(errs...)
	if err != nil {
		g.index = -1
	}
	return err
}

func (g *Groups) joinSome(some []netip.Addr) error {
	family := unix.AF_INET
	if some[0].Is6() {
		family = unix.AF_INET6
	}
	fd := -1
	if err := g.inNamespace(func() (err error) {
		fd, err = unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		return err
	}); err != nil {
		return fmt.Errorf("open socket to join groups: %w", err)
	}
	g.sockets = append(g.sockets, fd)
	var errs []error
	for _, a := range some {
		var err error
		if a.Is4() {
			err = unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, &unix.IPMreqn{Multiaddr: a.As4(), Ifindex: int32(g.index)})
		} else {
			err = unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, &unix.IPv6Mreq{Multiaddr: a.As16(), Interface: uint32(g.index)})
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("join %s: %w", a, err))
		}
	}
	return errors.Join(errs...)
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
