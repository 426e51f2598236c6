package kerneltest

import (
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/kernel"
)

// AddAddress gives a link an address of ours.
func (f *Fake) AddAddress(index int32, ip netip.Addr) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	at := destination{ip, index}
	switch l := f.links[index]; {
	case f.addressFail != nil:
		return f.addressFail
	case l == nil:
		return unix.ENODEV
	case f.address(at) >= 0:
		return unix.EEXIST
	case f.held[at]:
		return unix.EADDRINUSE
	}
	f.addrs = append(f.addrs, kernel.Address{Index: index, IP: ip, Prefix: netip.PrefixFrom(ip, ip.BitLen()), Ours: true})
	f.changed()
	return nil
}

// DeleteAddress takes one away.
func (f *Fake) DeleteAddress(index int32, ip netip.Addr) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := f.address(destination{ip, index})
	switch {
	case f.addressFail != nil:
		return f.addressFail
	case i < 0:
		return unix.EADDRNOTAVAIL
	}
	f.addrs = slices.Delete(f.addrs, i, i+1)
	f.changed()
	return nil
}

func (f *Fake) address(at destination) int {
	return slices.IndexFunc(f.addrs, func(a kernel.Address) bool { return a.Index == at.via && a.IP == at.ip })
}

// RemoveLocalRoute lets packets to a group go out.
func (f *Fake) RemoveLocalRoute(index int32, ip netip.Addr) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.localRoutes[destination{ip, index}] {
		return unix.ESRCH
	}
	delete(f.localRoutes, destination{ip, index})
	return nil
}

// RestoreLocalRoute does what Linux does when a link comes up that keeps its addresses.
func (f *Fake) RestoreLocalRoute(device string, group netip.Addr) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.localRoutes[destination{group, f.byName(device).Index}] = true
	f.changed()
}

func (f *Fake) groupRoute(to destination) kernel.Route {
	if f.localRoutes[to] {
		return kernel.Route{Type: unix.RTN_LOCAL, Device: 1}
	}
	return kernel.Route{Type: unix.RTN_MULTICAST, Device: to.via}
}

// forgetIPv6 forgets the IPv6 addresses of a link that went down; the memberships of
// their groups stay (addrconf_ifdown).
func (f *Fake) forgetIPv6(l *kernel.Link) {
	f.addrs = slices.DeleteFunc(f.addrs, func(a kernel.Address) bool {
		gone := a.Index == l.Index && a.IP.Is6() && !l.Loop
		if gone && a.IP.IsMulticast() {
			f.held[destination{a.IP, a.Index}] = true
		}
		return gone
	})
}

// FailAddresses lets changes of addresses fail until it is called with nil.
func (f *Fake) FailAddresses(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.addressFail = err
}

// SetSourceCheck sets rp_filter of a link.
func (f *Fake) SetSourceCheck(device string, value uint8) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.byName(device).SourceCheck = value
	f.changed()
}

// SetHost lets a host behind a port answer ARP and ND for an address, or no longer.
func (f *Fake) SetHost(port string, ip netip.Addr, mac evpn.MAC, on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	at := destination{ip, f.byName(port).Index}
	if delete(f.hosts, at); on {
		f.hosts[at] = mac
	}
}

// probe asks a host; it has answered, or has not, when this returns.
func (f *Fake) probe(op kernel.NeighborOp) error {
	n, known := f.neighbors[op.Index][op.Addr]
	if op.State == unix.NUD_PROBE && (!known || n.MAC.IsZero()) {
		return unix.EINVAL
	}
	row := kernel.Neighbor{Family: op.Family, Index: op.Index, Addr: op.Addr, State: unix.NUD_FAILED}
	if mac, there := f.hosts[destination{op.Addr, op.Index}]; there && (op.State == 0 || n.MAC == mac) {
		row.MAC, row.State = mac, unix.NUD_REACHABLE
	}
	return f.writeNeighbor(kernel.NeighborOp{Verb: kernel.Replace, Neighbor: row})
}

// SetPrefix adds or removes an address with the prefix of its link.
func (w FakeWorld) SetPrefix(_ testing.TB, device string, p netip.Prefix, on bool) {
	w.Fake.SetPrefix(device, p, on)
}

// SetHost lets a host behind a port answer for an address.
func (w FakeWorld) SetHost(_ testing.TB, port string, ip netip.Addr, mac evpn.MAC, on bool) {
	w.Fake.SetHost(port, ip, mac, on)
}

// RestoreLocalRoute leads what is sent to an IPv6 group back to this host.
func (w FakeWorld) RestoreLocalRoute(_ testing.TB, device string, group netip.Addr) {
	w.Fake.RestoreLocalRoute(device, group)
}

// SetSourceCheck sets rp_filter of a link.
func (w FakeWorld) SetSourceCheck(_ testing.TB, device string, value uint8) {
	w.Fake.SetSourceCheck(device, value)
}
