package kerneltest

import (
	"errors"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/kernel"
)

// Fake is a kernel in memory. It is safe for concurrent use.
type Fake struct {
	mu        sync.Mutex
	links     map[int32]*kernel.Link
	addrs     []kernel.Address
	fdb       map[int32]map[evpn.MAC]*bridgeRow // by bridge
	tunnels   map[int32]map[evpn.MAC]*tunnelRow // by VXLAN device
	neighbors map[int32]map[netip.Addr]*kernel.Neighbor
	next      int32
	subs      []*fakeSubscription[kernel.Notification]
	routeSubs []*fakeSubscription[kernel.RouteChange]
	routes    []Route
	noCarrier map[int32]bool
	wires     []*fakeWire
	sent      map[string][][]byte // out of a port, not taken by its host yet
	buffer    int                 // events that a subscription holds

	writes   int // ops so far
	failAt   int // the op that fails; 0 = none
	failWith error
	refused  map[evpn.MAC]error // FDB rows that fail

	addressFail error
	localRoutes map[destination]bool     // of IPv6 groups: what is sent to them stays on this host
	held        map[destination]bool     // IPv6 groups whose address went with its link
	hosts       map[destination]evpn.MAC // who answers ARP and ND, by link

	lookups    int
	routesFail error
}

// bridgeRow is one struct net_bridge_fdb_entry.
type bridgeRow struct {
	port                      int32
	static, permanent         bool
	external, sticky, expired bool
}

// tunnelRow is one struct vxlan_fdb.
type tunnelRow struct {
	state uint16
	flags uint8
	to    []destination
}

// destination is one struct vxlan_rdst.
type destination struct {
	ip  netip.Addr
	via int32
}

// NewFake gives a kernel with lo, which is up.
func NewFake() *Fake {
	f := &Fake{
		links: map[int32]*kernel.Link{}, fdb: map[int32]map[evpn.MAC]*bridgeRow{},
		tunnels: map[int32]map[evpn.MAC]*tunnelRow{}, neighbors: map[int32]map[netip.Addr]*kernel.Neighbor{},
		sent: map[string][][]byte{}, noCarrier: map[int32]bool{},
		localRoutes: map[destination]bool{}, held: map[destination]bool{}, hosts: map[destination]evpn.MAC{},
		buffer: 1 << 20,
	}
	f.add(kernel.Link{Name: "lo", MTU: 65536, Up: true, Loop: true})
	return f
}

func (f *Fake) add(l kernel.Link) *kernel.Link {
	f.next++
	l.Index = f.next
	l.IPv6 = l.MTU >= 1280
	l.Multicast = !l.Loop
	if !l.Loop {
		l.MAC = evpn.MAC{0x0e, 0, 0, 0, byte(f.next >> 8), byte(f.next)}
	}
	f.links[l.Index] = &l
	f.changed()
	return &l
}

// AddDevice makes a link of no particular kind, which is up.
func (f *Fake) AddDevice(name string, mtu int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.add(kernel.Link{Name: name, MTU: mtu, Kind: "veth", Up: true})
}

// SetAddress adds or removes an address.
func (f *Fake) SetAddress(device string, ip netip.Addr, on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.setPrefix(device, netip.PrefixFrom(ip, ip.BitLen()), on)
}

// SetPrefix is SetAddress with the prefix of the link.
func (f *Fake) SetPrefix(device string, p netip.Prefix, on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.setPrefix(device, p, on)
}

func (f *Fake) setPrefix(device string, p netip.Prefix, on bool) {
	a := kernel.Address{Index: f.byName(device).Index, IP: p.Addr(), Prefix: p.Masked()}
	f.addrs = slices.DeleteFunc(f.addrs, func(o kernel.Address) bool { return o.Index == a.Index && o.IP == a.IP })
	if on {
		f.addrs = append(f.addrs, a)
	}
	f.changed()
}

// SetIPv6 turns IPv6 on a link on or off. Off takes its addresses and neighbours; that
// it is on again nobody is told.
func (f *Fake) SetIPv6(device string, on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.byName(device)
	l.IPv6 = on
	if on {
		return
	}
	f.addrs = slices.DeleteFunc(f.addrs, func(a kernel.Address) bool { return a.Index == l.Index && a.IP.Is6() })
	for ip := range f.neighbors[l.Index] {
		if ip.Is6() {
			f.removeNeighbor(l.Index, ip)
		}
	}
}

func (f *Fake) byName(name string) *kernel.Link {
	for _, l := range f.links {
		if l.Name == name {
			return l
		}
	}
	return nil
}

// FailOp makes the n-th row op from now fail with err.
func (f *Fake) FailOp(n int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failAt, f.failWith = f.writes+n, err
}

// FailMAC makes every op about a FDB row of mac fail with err; nil ends that.
func (f *Fake) FailMAC(mac evpn.MAC, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refused == nil {
		f.refused = map[evpn.MAC]error{}
	}
	f.refused[mac] = err
}

// Writes counts the row ops so far.
func (f *Fake) Writes() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.writes
}

// Links lists all links by index.
func (f *Fake) Links() ([]kernel.Link, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []kernel.Link
	for i := int32(1); i <= f.next; i++ {
		if l := f.links[i]; l != nil {
			l := *l
			l.Running = l.Up && !f.noCarrier[i]
			out = append(out, l)
		}
	}
	return out, nil
}

// Addresses lists all addresses.
func (f *Fake) Addresses() ([]kernel.Address, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.addrs), nil
}

// AddLink creates a bridge or a VXLAN device.
func (f *Fake) AddLink(s kernel.LinkSpec) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.byName(s.Name) != nil {
		return unix.EEXIST
	}
	l := kernel.Link{Name: s.Name, Kind: "bridge", MTU: 1500}
	if s.VXLAN.VNI != 0 {
		for _, o := range f.links {
			if o.Kind == "vxlan" && o.VXLAN.VNI == s.VXLAN.VNI && o.VXLAN.Port == s.VXLAN.Port {
				return unix.EEXIST // one VNI a port and namespace
			}
		}
		l.Kind, l.VXLAN = "vxlan", s.VXLAN
	}
	if s.MTU != 0 {
		l.MTU = s.MTU
	}
	added := f.add(l)
	if l.Kind == "bridge" {
		f.fdb[added.Index] = map[evpn.MAC]*bridgeRow{}
		return nil
	}
	f.tunnels[added.Index] = map[evpn.MAC]*tunnelRow{}
	if s.VXLAN.Remote.IsValid() {
		f.tunnels[added.Index][evpn.MAC{}] = &tunnelRow{state: unix.NUD_NOARP | unix.NUD_PERMANENT, flags: unix.NTF_SELF, to: []destination{{s.VXLAN.Remote, s.VXLAN.Link}}}
	}
	return nil
}

// SetLink changes a link.
func (f *Fake) SetLink(index int32, s kernel.LinkSettings) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.links[index]
	if l == nil {
		return unix.ENODEV
	}
	if s.Local != nil {
		if l.Kind != "vxlan" || l.VXLAN.Local.Is4() != s.Local.Is4() {
			return unix.EINVAL
		}
		l.VXLAN.Local = *s.Local
	}
	if s.Alias != nil {
		l.Alias = *s.Alias
	}
	if s.MTU != nil {
		l.MTU = *s.MTU
	}
	if s.Master != nil && *s.Master != l.Master {
		f.leave(l)
		if *s.Master != 0 {
			if f.fdb[*s.Master] == nil {
				return unix.EINVAL
			}
			l.Master, l.Port = *s.Master, kernel.PortAttributes{Bridge: true, Learning: true}
			f.fdb[l.Master][l.MAC] = &bridgeRow{port: index, static: true, permanent: true}
			f.bridgeEvent(l.Master, l.MAC, false)
		}
	}
	if (s.Learning != nil || s.NeighSuppress != nil) && !l.Port.Bridge {
		return unix.EINVAL
	}
	if s.Learning != nil {
		l.Port.Learning = *s.Learning
	}
	if s.NeighSuppress != nil {
		l.Port.NeighSuppress = *s.NeighSuppress
	}
	if s.Up != nil && *s.Up != l.Up {
		l.Up = *s.Up
		if !l.Up {
			f.down(l)
		}
	}
	f.changed()
	return nil
}

// down forgets what Linux forgets when a link goes down: dynamic rows of the port
// that no control plane owns (fdb_delete_by_port), rows of a VXLAN device that are
// not permanent or static (vxlan_stop), neighbours (neigh_ifdown).
func (f *Fake) down(l *kernel.Link) {
	if l.Port.Bridge {
		for mac, r := range f.fdb[l.Master] {
			if r.port == l.Index && !r.static && !r.external {
				f.removeBridgeRow(l.Master, mac)
			}
		}
	}
	for mac, r := range f.tunnels[l.Index] {
		if r.state&(unix.NUD_PERMANENT|unix.NUD_NOARP) == 0 {
			f.removeTunnelRow(l.Index, mac, r)
		}
	}
	f.forgetIPv6(l)
	for ip, n := range f.neighbors[l.Index] {
		if n.State&unix.NUD_PERMANENT == 0 {
			f.removeNeighbor(l.Index, ip)
		}
	}
	f.dropRoutes(l)
}

func (f *Fake) leave(l *kernel.Link) {
	for mac, r := range f.fdb[l.Master] {
		if r.port == l.Index {
			f.removeBridgeRow(l.Master, mac)
		}
	}
	l.Master, l.Port = 0, kernel.PortAttributes{}
}

// DeleteLink removes a link and what hangs on it.
func (f *Fake) DeleteLink(index int32) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.links[index]
	if l == nil {
		return unix.ENODEV
	}
	f.leave(l)
	for _, o := range f.links {
		if o.Master == index {
			f.leave(o)
		}
	}
	for mac, r := range f.tunnels[index] {
		f.removeTunnelRow(index, mac, r)
	}
	for ip := range f.neighbors[index] {
		f.removeNeighbor(index, ip)
	}
	delete(f.links, index)
	delete(f.fdb, index)
	delete(f.tunnels, index)
	delete(f.neighbors, index)
	maps.DeleteFunc(f.held, func(d destination, _ bool) bool { return d.via == index })
	maps.DeleteFunc(f.localRoutes, func(d destination, _ bool) bool { return d.via == index })
	f.addrs = slices.DeleteFunc(f.addrs, func(a kernel.Address) bool { return a.Index == index })
	f.dropRoutes(l)
	f.changed()
	return nil
}

// Close does nothing: the kernel outlives its users.
func (f *Fake) Close() error { return nil }

// Frame is a frame from mac that arrives on a port.
func (f *Fake) Frame(port string, mac evpn.MAC) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.byName(port)
	if !l.Up || !l.Port.Learning || mac.IsGroup() {
		return
	}
	r := f.fdb[l.Master][mac]
	switch {
	case r == nil:
		f.fdb[l.Master][mac] = &bridgeRow{port: l.Index}
	case r.permanent || (r.port == l.Index && !r.expired) || (r.port != l.Index && r.sticky):
		return
	default: // br_fdb_update: learning takes a control plane's row over
		r.port, r.external, r.expired = l.Index, false, false
	}
	f.bridgeEvent(l.Master, mac, false)
}

// Age lets the row of mac on a port time out.
func (f *Fake) Age(port string, mac evpn.MAC) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.byName(port)
	if r := f.fdb[l.Master][mac]; r != nil && !r.static && !r.external {
		f.removeBridgeRow(l.Master, mac)
	}
}

var errClosed = errors.New("subscription closed")

// CloseSubscriptions ends all subscriptions, as if their sockets died.
func (f *Fake) CloseSubscriptions() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.subs {
		s.shut()
	}
	for _, s := range f.routeSubs {
		s.shut()
	}
	f.subs, f.routeSubs = nil, nil
}
