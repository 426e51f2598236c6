package flooding

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

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
}

// network is one VNI.
type network struct {
	cfg    *VNI // nil while it is not configured here
	list   map[netip.Addr]evpn.ListValue
	relay  evpn.Relay
	places []place // built
	why    string  // why there is none though there should be
}

// place is a network of an engine's table.
type place struct {
	device string
	flood.Network
}

func newIntent() *intent {
	return &intent{vnis: map[evpn.VNI]*network{}, services: map[netip.Addr]int{}, touched: map[evpn.VNI]bool{}, stale: map[string]bool{}}
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
	for vni := range in.touched {
		n := in.vnis[vni]
		before := n.places
		n.places, n.why = in.cfg.places(n)
		for _, p := range slices.Concat(before, n.places) {
			in.stale[p.device] = true
		}
		if n.cfg == nil && len(n.list) == 0 && n.relay == (evpn.Relay{VNI: vni}) {
			delete(in.vnis, vni)
		}
	}
	clear(in.touched)
	tables := map[string]*flood.Table{}
	networks := map[string][]flood.Network{}
	for _, vni := range slices.Sorted(maps.Keys(in.vnis)) {
		for _, p := range in.vnis[vni].places {
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
