package kernel

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// routeBuffer bounds what the kernel keeps of route changes that were not read yet.
// A loss costs a lookup per VTEP, which is less than reading a full table's changes.
const routeBuffer = 4 << 20

// SubscribeRoutes opens a socket for RTNLGRP_IPV4/IPV6_ROUTE and RULE, and NEXTHOP:
// an object of next hops that changes moves routes without an event of their own
// where nexthop_compat_mode is off.
func (n *Netlink) SubscribeRoutes() (Subscription[RouteChange], error) {
	opts := n.opts
	opts.EventBuffer = min(opts.EventBuffer, routeBuffer)
	return subscribe(opts, deliverRoutes,
		unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE, unix.RTNLGRP_NEXTHOP)
}

// deliverRoutes decodes one datagram. A route with very many next hops may be cut
// short, and then says no more than that some way changed.
func deliverRoutes(b []byte, truncated bool, yield func(RouteChange)) {
	if truncated {
		yield(RouteChange{})
		return
	}
	for m, rest, ok := nextMessage(b); ok; m, rest, ok = nextMessage(rest) {
		switch m.typ {
		case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
			if p, ok := decodeRoutePrefix(m.body); ok {
				yield(RouteChange{p})
			}
		case unix.RTM_NEWRULE, unix.RTM_DELRULE, unix.RTM_NEWNEXTHOP, unix.RTM_DELNEXTHOP:
			yield(RouteChange{})
		}
	}
}

// decodeRoutePrefix reads the destination of a route. ok is false for routes that lead
// to no host, such as the kernel's multicast forwarding entries.
func decodeRoutePrefix(body []byte) (p netip.Prefix, ok bool) {
	if len(body) < unix.SizeofRtMsg {
		return netip.Prefix{}, false
	}
	family, bits := body[0], int(body[1])
	to := netip.IPv6Unspecified()
	if family == unix.AF_INET {
		to = netip.IPv4Unspecified()
	} else if family != unix.AF_INET6 {
		return netip.Prefix{}, false
	}
	for a, rest, more := nextAttribute(body[unix.SizeofRtMsg:]); more; a, rest, more = nextAttribute(rest) {
		if a.typ == unix.RTA_DST {
			to = a.addr()
			break
		}
	}
	p, err := to.Prefix(bits)
	return p, err == nil
}

// Routes sends all questions at once; each has one answer, matched by sequence number.
func (n *Netlink) Routes(q RouteQuery) ([]Route, error) {
	routes := make([]Route, len(q.To))
	if len(q.To) == 0 {
		return routes, nil
	}
	s := n.ways
	s.mu.Lock()
	defer s.mu.Unlock()
	base := s.seq + 1
	b := s.out[:0]
	for _, to := range q.To {
		s.seq++
		b = appendGetRoute(b, q, to, s.seq)
	}
	s.out = b
	if err := s.send(b); err != nil {
		return nil, fmt.Errorf("ask for %d routes: %w", len(q.To), err)
	}
	for left := len(routes); left > 0; {
		b, err := s.receive()
		if err != nil {
			return nil, fmt.Errorf("read %d routes: %w", len(q.To), err)
		}
		for m, rest, ok := nextMessage(b); ok; m, rest, ok = nextMessage(rest) {
			i := m.seq - base
			if i >= uint32(len(routes)) {
				continue // of a question that was given up
			}
			switch m.typ {
			case unix.RTM_NEWROUTE:
				routes[i] = decodeRoute(m.body)
				left--
			case unix.NLMSG_ERROR:
				routes[i].Err = m.errno()
				left--
			}
		}
	}
	return routes, nil
}

// appendGetRoute appends RTM_GETROUTE for what the VXLAN device sends to one VTEP
// (vxlan_get_route and vxlan6_get_route, drivers/net/vxlan).
func appendGetRoute(b []byte, q RouteQuery, to netip.Addr, seq uint32) []byte {
	start := len(b)
	b = appendHeader(b, unix.RTM_GETROUTE, unix.NLM_F_REQUEST, seq)
	family := uint8(unix.AF_INET6)
	if to.Is4() {
		family = unix.AF_INET
	}
	source := q.Source.IsValid() && q.Source.Is4() == to.Is4()
	sourceBits := 0
	if source {
		sourceBits = q.Source.BitLen()
	}
	var head [unix.SizeofRtMsg]byte
	head[0], head[1], head[2] = family, uint8(to.BitLen()), uint8(sourceBits)
	b = append(b, head[:]...)
	b = appendAddrAttribute(b, unix.RTA_DST, to)
	if source {
		b = appendAddrAttribute(b, unix.RTA_SRC, q.Source)
	}
	if q.Device != 0 {
		b = appendUint32Attribute(b, unix.RTA_OIF, uint32(q.Device))
	}
	if q.Port != 0 {
		b = appendUint8Attribute(b, unix.RTA_IP_PROTO, unix.IPPROTO_UDP)
		b = appendAttribute(b, unix.RTA_DPORT, binary.BigEndian.AppendUint16(nil, q.Port))
	}
	return finish(b, start)
}

// decodeRoute reads the answer to RTM_GETROUTE.
func decodeRoute(body []byte) (r Route) {
	if len(body) < unix.SizeofRtMsg {
		return Route{Err: unix.EPROTO}
	}
	r.Type = body[7]
	for a, rest, more := nextAttribute(body[unix.SizeofRtMsg:]); more; a, rest, more = nextAttribute(rest) {
		switch a.typ {
		case unix.RTA_OIF:
			r.Device = int32(a.uint32())
		case unix.RTA_GATEWAY:
			r.Gateway = a.addr()
		case unix.RTA_VIA: // a gateway of the other family: struct rtvia
			if len(a.value) > 2 {
				r.Gateway, _ = netip.AddrFromSlice(a.value[2:])
			}
		case unix.RTA_METRICS:
			for m, rest, more := nextAttribute(a.value); more; m, rest, more = nextAttribute(rest) {
				if m.typ == unix.RTAX_MTU {
					r.MTU = int(m.uint32())
				}
			}
		}
	}
	return r
}
