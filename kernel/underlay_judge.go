package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// judge says what an answer of the kernel means. It has no verdict on a link that it
// does not know yet: the event that tells of it is under way.
//
// The answer is one way, the one that packets between the two VTEPs take; of several
// next hops the kernel has chosen. A next hop without carrier is used unless the
// operator set ignore_routes_with_linkdown (fib_select_multipath,
// net/ipv4/fib_semantics.c), and what it is chosen for is lost.
func (s *waySite) judge(to netip.Addr, r Route) (st VTEPState, ok bool) {
	st.VTEP = to
	if st.Reason = noRoute(r.Err); st.Reason != "" {
		return st, true
	}
	if r.Type == unix.RTN_LOCAL {
		st.Own, st.Reason = true, "the address is on this host"
		return st, true
	}
	if r.Type != unix.RTN_UNICAST {
		st.Reason = "the address is not a host's: the route is of type " + routeType(r.Type)
		return st, true
	}
	l, known := s.links[r.Device]
	if !known {
		return st, false
	}
	st.Device, st.Gateway, st.MTU = l.name, r.Gateway, l.mtu
	if r.MTU != 0 && r.MTU < l.mtu {
		st.MTU = r.MTU
	}
	switch {
	case l.overlay:
		st.Reason = fmt.Sprintf("the route leads into the overlay by %s, which would carry its own packets", l.name)
	case !l.up:
		st.Reason = l.name + " is down"
	case !l.running:
		st.Reason = l.name + " has no carrier"
	default:
		st.Reachable = true
	}
	return st, true
}

func noRoute(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, unix.ENETUNREACH):
		return "no route"
	case errors.Is(err, unix.EHOSTUNREACH):
		return "the route is of type unreachable"
	case errors.Is(err, unix.EACCES):
		return "the route is of type prohibit"
	case errors.Is(err, unix.EINVAL):
		return "the route is of type blackhole"
	default:
		return "the route cannot be looked up: " + err.Error()
	}
}

func routeType(t uint8) string {
	switch t {
	case unix.RTN_BROADCAST:
		return "broadcast"
	case unix.RTN_ANYCAST:
		return "anycast"
	case unix.RTN_MULTICAST:
		return "multicast"
	default:
		return fmt.Sprint(t)
	}
}

// waySite is what lookups need to know of st. mu is held.
func (k *Kernel) waySite(s *snapshot, st site) waySite {
	w := waySite{port: k.cfg.UDPPort, links: make(map[int32]wayLink, len(s.links))}
	if st.present {
		w.source = st.vtep // the kernel refuses a source that is not its own
	}
	for i := range s.links {
		l := &s.links[i]
		if l.Name == st.where {
			w.on = l.Index
		}
		w.links[l.Index] = wayLink{
			name: l.Name, up: l.Up, running: l.Running, mtu: l.MTU, strict: l.SourceCheck == 1,
			overlay: k.byDevice[l.Index] != nil || k.byBridge[l.Index] != nil,
		}
	}
	return w
}

// overhead is what the tunnel to a VTEP adds to an IP packet of a host.
func overhead(to netip.Addr) int {
	if to.Is4() {
		return overheadIPv4
	}
	return overheadIPv6
}

// mtuProblem says when packets of the size that the VNI promises do not fit the way
// to some VTEP. Nothing is done about it: the device of the VNI is of the underlay
// device's size, and lowering it for the sake of one way would lose packets on all
// others, silently (is_skb_forwardable, net/core/dev.c); while on that way the VXLAN
// device itself tells senders which size fits (skb_tunnel_check_pmtu). mu is held.
func (k *Kernel) mtuProblem(in *instance) string {
	var worst VTEPState
	fit, tight := in.state.mtu, 0
	if in.device == 0 {
		return ""
	}
	for to := range in.ways {
		st, known := k.underlay.wayState(to.Value())
		if !known || !st.Reachable {
			continue
		}
		room := st.MTU - overhead(st.VTEP)
		if room >= in.state.mtu {
			continue
		}
		tight++
		if room < fit || (room == fit && st.VTEP.Less(worst.VTEP)) {
			fit, worst = room, st
		}
	}
	if tight == 0 {
		return ""
	}
	text := fmt.Sprintf("MTU %d of %s does not fit the way to %s (%s, %d): %d would fit", in.state.mtu, in.cfg.Device, worst.VTEP, worst.Device, worst.MTU, fit)
	if tight > 1 {
		text += fmt.Sprintf("; %d VTEPs are concerned", tight)
	}
	return text
}

// judgeSizes finds links that let packets in which the VXLAN device is too small for.
// The bridge drops them without a word.
func (p *plan) judgeSizes(d, br *Link) {
	if d.Master != br.Index {
		return
	}
	if br.MTU > d.MTU {
		p.problem("bridge %s has MTU %d, %s only %d: larger packets of this host are lost: ip link set %s mtu %d", br.Name, br.MTU, d.Name, d.MTU, br.Name, d.MTU)
	}
	var large []string
	for _, l := range p.s.ports[br.Index] {
		if l != d && l.MTU > d.MTU {
			large = append(large, fmt.Sprintf("%s (%d)", l.Name, l.MTU))
		}
	}
	slices.Sort(large)
	if n := len(large); n > 0 {
		more := ""
		if n > 1 {
			more = fmt.Sprintf(" (and %d more)", n-1)
		}
		p.problem("port %s takes packets larger than %s carries (%d)%s: hosts behind it need MTU %d", large[0], d.Name, d.MTU, more, d.MTU)
	}
}
