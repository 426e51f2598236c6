package kernel

import (
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Attributes of linux/if_addr.h that x/sys does not name.
const (
	ifaRtPriority = 9  // IFA_RT_PRIORITY, Linux 4.18
	ifaProto      = 11 // IFA_PROTO, Linux 5.18
)

// addressMark is the metric of our addresses. They make no routes that it could be the
// metric of; it says whose they are where Linux keeps no protocol of an address.
const addressMark = 0x76746570 // "vtep"

// The flags of our addresses that come in IFA_FLAGS only.
const (
	groupFlags   = unix.IFA_F_MCAUTOJOIN | unix.IFA_F_NOPREFIXROUTE | unix.IFA_F_NODAD
	serviceFlags = unix.IFA_F_NOPREFIXROUTE | unix.IFA_F_NODAD
)

// decodeAddress reads the body of RTM_NEWADDR.
func decodeAddress(body []byte) (ad Address, ok bool) {
	if len(body) < unix.SizeofIfAddrmsg {
		return Address{}, false
	}
	ad.Index = int32(native.Uint32(body[4:]))
	flags, protocol, metric := uint32(body[2]), uint8(0), uint32(0)
	var onLink netip.Addr
	for a, rest, more := nextAttribute(body[unix.SizeofIfAddrmsg:]); more; a, rest, more = nextAttribute(rest) {
		switch a.typ {
		case unix.IFA_LOCAL: // our side of a point-to-point address; wins over IFA_ADDRESS
			ad.IP = a.addr()
		case unix.IFA_ADDRESS:
			onLink = a.addr()
		case unix.IFA_FLAGS:
			flags = a.uint32()
		case ifaProto:
			protocol = a.uint8()
		case ifaRtPriority:
			metric = a.uint32()
		}
	}
	if !ad.IP.IsValid() || flags&unix.IFA_F_MCAUTOJOIN != 0 && onLink.IsMulticast() {
		ad.IP = onLink
	}
	ad.Unusable = flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) != 0
	ad.Ours = protocol == Protocol || protocol == 0 && metric == addressMark
	ad.Prefix, _ = onLink.Prefix(int(body[1]))
	return ad, ad.IP.IsValid()
}

// appendAddress appends RTM_NEWADDR or RTM_DELADDR for an address of ours.
func appendAddress(b []byte, typ uint16, index int32, ip netip.Addr, seq uint32) []byte {
	start := len(b)
	flags := uint16(unix.NLM_F_REQUEST | unix.NLM_F_ACK)
	if typ == unix.RTM_NEWADDR {
		flags |= unix.NLM_F_CREATE | unix.NLM_F_EXCL
	}
	b = appendHeader(b, typ, flags, seq)
	// Never a source that Linux chooses by itself (inet_select_addr): its own side of a
	// connection is asked for with a scope of link, or wider.
	scope := byte(unix.RT_SCOPE_HOST)
	if ip.IsMulticast() {
		scope = unix.RT_SCOPE_NOWHERE
	}
	b = append(b, family(ip), byte(ip.BitLen()), 0, scope)
	b = native.AppendUint32(b, uint32(index))
	b = appendAddrAttribute(b, unix.IFA_LOCAL, localSide(ip))
	b = appendAddrAttribute(b, unix.IFA_ADDRESS, ip)
	if typ == unix.RTM_NEWADDR {
		how := uint32(serviceFlags)
		if ip.IsMulticast() {
			how = groupFlags
		}
		b = appendUint32Attribute(b, unix.IFA_FLAGS, how)
		b = appendUint32Attribute(b, ifaRtPriority, addressMark)
		b = appendUint8Attribute(b, ifaProto, Protocol)
		if ip.Is6() {
			// Deprecated from the start: the last choice as a source (RFC 6724 rule 3).
			const never = 0xffffffff
			var life [16]byte // struct ifa_cacheinfo: preferred and valid come first
			native.PutUint32(life[4:], never)
			b = appendAttribute(b, unix.IFA_CACHEINFO, life[:])
		}
	}
	return finish(b, start)
}

// localSide is the address that the host itself gets. A group of IPv4 is the far side of
// a point-to-point address: Linux joins that one (ip_mc_autojoin_config,
// net/ipv4/devinet.c), and makes a local route of the near one. A group as the near one
// would lead what is sent to the group to the loopback, again whenever the link comes up
// (fib_add_ifaddr). Addresses in 127.0.0.0/8 are local already.
func localSide(ip netip.Addr) netip.Addr {
	if !ip.IsMulticast() || ip.Is6() {
		return ip
	}
	o := ip.As4()
	o[0] = 127
	return netip.AddrFrom4(o)
}

// appendRemoveLocalRoute appends RTM_DELROUTE for the route that Linux makes of an
// address.
func appendRemoveLocalRoute(b []byte, index int32, ip netip.Addr, seq uint32) []byte {
	start := len(b)
	b = appendHeader(b, unix.RTM_DELROUTE, unix.NLM_F_REQUEST|unix.NLM_F_ACK, seq)
	b = append(b, family(ip), byte(ip.BitLen()), 0, 0, unix.RT_TABLE_LOCAL, 0, unix.RT_SCOPE_NOWHERE, unix.RTN_LOCAL)
	b = native.AppendUint32(b, 0) // flags; struct rtmsg ends here
	b = appendAddrAttribute(b, unix.RTA_DST, ip)
	b = appendUint32Attribute(b, unix.RTA_OIF, uint32(index))
	return finish(b, start)
}

// AddAddress gives an address to a link, or joins a group: an address that joins
// (IFA_F_MCAUTOJOIN, Linux 4.1), since its membership lasts beyond the process. EEXIST:
// it is there. ENOBUFS: more groups than net.ipv4.igmp_max_memberships. EADDRINUSE: the
// host is a member, without an address: IPv6 addresses go when a link is set down, but
// the kernel's socket stays a member (inet6_addr_add, addrconf_ifdown; Linux 6.18).
//
// Of an IPv6 group the local route goes at once, if it is there by now: Linux makes it
// in a work queue, and tells of the address just before. See [Kernel.freeGroups].
func (n *Netlink) AddAddress(index int32, ip netip.Addr) error {
	err := n.links.request(func(b []byte, seq uint32) []byte { return appendAddress(b, unix.RTM_NEWADDR, index, ip, seq) })
	if err == nil && ip.IsMulticast() && ip.Is6() {
		if err = n.RemoveLocalRoute(index, ip); errors.Is(err, unix.ESRCH) {
			return nil
		}
	}
	return err
}

// DeleteAddress takes an address of ours from a link; EADDRNOTAVAIL when it is not there.
func (n *Netlink) DeleteAddress(index int32, ip netip.Addr) error {
	return n.links.request(func(b []byte, seq uint32) []byte { return appendAddress(b, unix.RTM_DELADDR, index, ip, seq) })
}

// RemoveLocalRoute removes the local route that Linux made of an address.
func (n *Netlink) RemoveLocalRoute(index int32, ip netip.Addr) error {
	return n.links.request(func(b []byte, seq uint32) []byte { return appendRemoveLocalRoute(b, index, ip, seq) })
}
