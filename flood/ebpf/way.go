package ebpf

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/flood"
)

// way is how the program reaches a VTEP. Without fast it does not: the kernel's own
// stack has to.
type way struct {
	fast       bool
	device     uint32
	dmac, smac [6]byte
	mtu        uint32
}

// destination is where copies are sent: a VTEP, or a group out of an interface, "" being
// that of the engine.
type destination struct {
	address netip.Addr
	out     string
}

func destinationOf(n *flood.Network, to netip.Addr) destination {
	if to.IsMulticast() {
		return destination{to, n.Out}
	}
	return destination{address: to}
}

// hop is a next hop: an address on a device.
type hop struct {
	device  int
	address netip.Addr
}

// route is where routing leads for one VTEP.
type route struct {
	hop
	mtu int // of the route; 0: that of the device
}

type neighbor struct {
	mac   [6]byte
	state int
}

// usable says that the neighbour's MAC may be used; it may not once it is being looked
// for, or did not answer.
func (n neighbor) usable() bool {
	return n.state&(unix.NUD_REACHABLE|unix.NUD_STALE|unix.NUD_DELAY|unix.NUD_PROBE|unix.NUD_PERMANENT|unix.NUD_NOARP) != 0
}

// device is what ways need to know of one.
type device struct {
	mac      [6]byte
	mtu      int
	ethernet bool
	noARP    bool // neighbours are not asked for
	up       bool
}

// picture is what is known of routes, neighbours and devices. It does no I/O.
type picture struct {
	routes    map[destination]route // of those that are wanted
	neighbors map[hop]neighbor
	devices   map[int]device
}

func newPicture() *picture {
	return &picture{routes: map[destination]route{}, neighbors: map[hop]neighbor{}, devices: map[int]device{}}
}

func (p *picture) way(to destination) way {
	r, ok := p.routes[to]
	d := p.devices[r.device]
	if !ok || !d.ethernet || !d.up {
		return way{}
	}
	w := way{fast: true, device: uint32(r.device), smac: d.mac, mtu: uint32(d.mtu)}
	if r.mtu > 0 {
		w.mtu = min(w.mtu, uint32(r.mtu))
	}
	if to.address.IsMulticast() {
		w.dmac = groupMAC(to.address)
		return w
	}
	if d.noARP {
		w.dmac = d.mac // as arp_constructor does
		return w
	}
	n := p.neighbors[r.hop]
	if !n.usable() {
		return way{}
	}
	w.dmac = n.mac
	return w
}

// groupMAC is RFC 1112 §6.4 and RFC 2464 §7.
func groupMAC(group netip.Addr) [6]byte {
	b := group.AsSlice()
	if group.Is4() {
		return [6]byte{0x01, 0x00, 0x5e, b[1] & 0x7f, b[2], b[3]}
	}
	return [6]byte{0x33, 0x33, b[12], b[13], b[14], b[15]}
}

// hops are the next hops that are in use and have to be asked for.
func (p *picture) hops() map[hop]bool {
	used := map[hop]bool{}
	for to, r := range p.routes {
		if d := p.devices[r.device]; d.ethernet && d.up && !d.noARP && !to.address.IsMulticast() {
			used[r.hop] = true
		}
	}
	return used
}

// needs says that a next hop has to be used to stay or become known: the program's
// packets are no use that the kernel sees.
func (n neighbor) needs() bool {
	return n.state&(unix.NUD_REACHABLE|unix.NUD_PERMANENT|unix.NUD_NOARP|unix.NUD_DELAY|unix.NUD_PROBE|unix.NUD_INCOMPLETE) == 0
}
