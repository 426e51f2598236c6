package flooding

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/flood"
)

// intent is what the core and the configuration want, and the networks that follow.
type intent struct {
	cfg      Config
	vnis     map[evpn.VNI]*network
	services map[netip.Addr]int // where others listen for frames, and in how many VNIs
	touched  map[evpn.VNI]bool  // to be built anew
	stale    map[string]bool    // interfaces whose table is another now
	all      bool               // so are all tables
	now      func() time.Time
}

// Linger is how long a replicator copies what still comes to its service address after it gave that up, with the last
// list that it had: leaves send there until they have heard that its route is withdrawn (RFC 9574 leaves the time to
// the replicator; leaves wait 3 s before they use a new one, and take another one at once when its route goes).
const Linger = 3 * time.Second

// network is one VNI.
type network struct {
	cfg    *VNI // nil while it is not configured here
	list   map[netip.Addr]evpn.ListValue
	relay  evpn.Relay
	places []place // built
	late   []late
	why    string // why there is none though there should be
}

// place is a network of an engine's table.
type place struct {
	device string
	flood.Network
}

// late is a place that was given up, and stays for a while.
type late struct {
	place
	until time.Time
}

func newIntent() *intent {
	return &intent{now: time.Now, vnis: map[evpn.VNI]*network{}, services: map[netip.Addr]int{}, touched: map[evpn.VNI]bool{}, stale: map[string]bool{}}
}

func (in *intent) network(vni evpn.VNI) *network {
	n := in.vnis[vni]
	if n == nil {
		n = &network{list: map[netip.Addr]evpn.ListValue{}}
		in.vnis[vni] = n
	}
	in.touched[vni] = true
	return n
}

// apply takes what the core changed.
func (in *intent) apply(lists []evpn.ListChange, relays []evpn.RelayChange) {
	for _, c := range lists {
		n := in.network(c.VNI)
		if n.list[c.VTEP].Use == evpn.UseService {
			in.service(c.VTEP, -1)
		}
		if c.Remove {
			delete(n.list, c.VTEP)
			continue
		}
		if n.list[c.VTEP] = c.ListValue; c.Use == evpn.UseService {
			in.service(c.VTEP, 1)
		}
	}
	for _, c := range relays {
		n := in.network(c.VNI)
		if n.relay = c.Relay; c.Remove {
			n.relay = evpn.Relay{VNI: c.VNI}
		}
	}
}

// service counts where others listen: nobody there gets a copy, whatever the VNI.
func (in *intent) service(a netip.Addr, by int) {
	before := in.services[a]
	if in.services[a] += by; in.services[a] == 0 {
		delete(in.services, a)
	}
	if (before == 0) != (in.services[a] == 0) {
		in.all = true
	}
}

// configure takes a new configuration.
func (in *intent) configure(cfg Config) {
	if !cfg.shared(&in.cfg) {
		in.all = true
		for vni := range in.vnis {
			in.touched[vni] = true
		}
	}
	in.cfg = cfg
	wanted := map[evpn.VNI]bool{}
	for i := range cfg.VNIs {
		v := &cfg.VNIs[i]
		wanted[v.VNI] = true
		if n := in.vnis[v.VNI]; n == nil || n.cfg == nil || !n.cfg.equal(v) {
			in.network(v.VNI).cfg = v
		}
	}
	for vni, n := range in.vnis {
		if !wanted[vni] && n.cfg != nil {
			in.network(vni).cfg = nil
		}
	}
}

// build brings the networks up to date, and gives the tables that are others now: nil
// where there is nothing left to do.
func (in *intent) build() map[string]*flood.Table {
	for vni, n := range in.vnis {
		if len(n.late) > 0 && !in.now().Before(n.late[0].until) {
			in.touched[vni] = true
		}
	}
	for vni := range in.touched {
		n := in.vnis[vni]
		before := n.places
		n.places, n.why = in.cfg.places(n)
		for _, p := range slices.Concat(before, n.places, n.latePlaces()) {
			in.stale[p.device] = true
		}
		n.partFrom(before, in.now())
		if n.cfg == nil && len(n.list) == 0 && n.relay == (evpn.Relay{VNI: vni}) && len(n.late) == 0 {
			delete(in.vnis, vni)
		}
	}
	clear(in.touched)
	tables := map[string]*flood.Table{}
	networks := map[string][]flood.Network{}
	for _, vni := range slices.Sorted(maps.Keys(in.vnis)) {
		for _, p := range slices.Concat(in.vnis[vni].places, in.vnis[vni].latePlaces()) {
			if in.all || in.stale[p.device] {
				networks[p.device] = append(networks[p.device], p.Network)
			}
		}
	}
	for device := range in.stale {
		tables[device] = nil
	}
	for device, list := range networks {
		tables[device] = &flood.Table{Own: valid(in.cfg.VTEP), Services: in.listeners(), Networks: list}
	}
	clear(in.stale)
	in.all = false
	return tables
}

// partFrom keeps the places of a replicator that were there before, for a while. What is delivered to a group has to
// end at once: senders may know two relays for a moment, and send to both.
func (n *network) partFrom(before []place, now time.Time) {
	for _, p := range before {
		if !p.Listen.IsMulticast() && !p.Deliver.IsValid() {
			n.late = append(n.late, late{p, now.Add(Linger)})
		}
	}
	n.late = slices.DeleteFunc(n.late, func(l late) bool {
		return !now.Before(l.until) || slices.ContainsFunc(n.places, func(p place) bool { return p.device == l.device && p.Listen == l.Listen })
	})
}

func (n *network) latePlaces() (all []place) {
	for _, l := range n.late {
		all = append(all, l.place)
	}
	return all
}

// parts is when the next late place goes; zero when there is none.
func (in *intent) parts() (next time.Time) {
	for _, n := range in.vnis {
		if len(n.late) > 0 && (next.IsZero() || n.late[0].until.Before(next)) {
			next = n.late[0].until
		}
	}
	return next
}

// listeners are the addresses at which we and others listen for frames to copy.
func (in *intent) listeners() []netip.Addr {
	all := append(valid(in.cfg.Service), slices.Collect(maps.Keys(in.services))...)
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all)
}

func valid(a netip.Addr) []netip.Addr {
	if !a.IsValid() {
		return nil
	}
	return []netip.Addr{a}
}

// places are the networks of a VNI, or why there are none.
func (c *Config) places(n *network) ([]place, string) {
	if n.cfg == nil {
		return nil, ""
	}
	switch n.cfg.Mode {
	case evpn.FloodMulticast:
		return c.segment(n)
	case evpn.FloodReplicator:
		return c.replicator(n)
	default: // the kernel copies, or nobody
		return nil, ""
	}
}

// segment hears a group, and when it delivers, what is to be sent there.
func (c *Config) segment(n *network) (all []place, why string) {
	v := n.cfg
	switch {
	case !c.VTEP.IsValid():
		return nil, "" // the VNI is down, which is told elsewhere
	case v.Group.Is4() != c.VTEP.Is4():
		return nil, fmt.Sprintf("group %s is of another address family than the VTEP address %s", v.Group, c.VTEP)
	case v.Interface == "":
		return nil, "no interface of the segment: set multicast.interface"
	case len(v.Segment) == 0:
		return nil, fmt.Sprintf("interface %s is not there, or has no prefix that could be the segment: look at multicast.interface, or set multicast.segment", v.Interface)
	}
	vteps, macs := c.hears(v)
	if n.relay.Own || n.relay.Segment || vteps || macs {
		all = append(all, place{v.Interface, flood.Network{
			VNI: v.VNI, Port: v.Port, Rate: v.Rate, Listen: v.Group, Segment: v.Segment,
			Own: n.relay.Own, Others: n.relay.Segment, Leased: true, HearVTEPs: vteps, HearMACs: macs,
			VTEPs: n.vteps(c.VTEP), Itself: n.itself(c.VTEP),
		}})
	}
	if n.relay.Deliver && c.Service.IsValid() {
		delivery := flood.Network{VNI: v.VNI, Port: v.Port, Rate: v.Rate, Listen: c.Service, Deliver: v.Group, Segment: v.Segment}
		all = append(all, place{v.Interface, delivery})
		for _, device := range c.Uplinks {
			if delivery.Out = v.Interface; device != v.Interface {
				all = append(all, place{device, delivery})
			}
		}
	}
	return all, ""
}

// replicator hears the service address.
func (c *Config) replicator(n *network) (all []place, why string) {
	switch {
	case !c.VTEP.IsValid() || !n.relay.Replicate || !c.Service.IsValid():
		return nil, ""
	case len(c.ServiceInterfaces) == 0:
		return nil, "no interface to hear the service address on: set flood.interface"
	}
	vteps, _ := c.hears(n.cfg)
	for _, device := range c.ServiceInterfaces {
		all = append(all, place{device, flood.Network{
			VNI: n.cfg.VNI, Port: n.cfg.Port, Rate: n.cfg.Rate, Listen: c.Service, VTEPs: n.vteps(c.Service), HearVTEPs: vteps,
		}})
	}
	return all, ""
}

// vteps are those that get copies: a copy keeps its source, so they are of one family.
func (n *network) vteps(like netip.Addr) []flood.VTEP {
	var all []flood.VTEP
	for a, v := range n.list {
		if v.Use == evpn.UseCopy && a.Is4() == like.Is4() {
			all = append(all, flood.VTEP{Address: a, Source: v.Source})
		}
	}
	slices.SortFunc(all, func(a, b flood.VTEP) int { return a.Address.Compare(b.Address) })
	return all
}

// itself are those that copy what they send.
func (n *network) itself(like netip.Addr) []netip.Addr {
	var all []netip.Addr
	for a, v := range n.list {
		if v.Use == evpn.UseItself && a.Is4() == like.Is4() {
			all = append(all, a)
		}
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return all
}
