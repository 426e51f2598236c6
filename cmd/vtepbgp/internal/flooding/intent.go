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
	touched  map[evpn.VNI]bool  // to be placed anew
	stale    map[string]bool    // interfaces whose table is another since one was given
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
	places []place
	late   []late
	why    string // why there is none though there should be

	// Of list and of one family, made when a table needs them; nil = to be made.
	copied []flood.VTEP
	itself []netip.Addr
}

// place is a network of an engine's table, with the lists that the last table had.
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

// build gives the tables that are others since they were given, of interfaces that are free to take one: nil where
// there is nothing left to do. The others are built later, with all that changes until then: while routes come, a list
// grows by one VTEP after the other.
func (in *intent) build(free func(device string) bool) map[string]*flood.Table {
	in.arrange()
	due, tables := map[string]bool{}, map[string]*flood.Table{}
	for device := range in.stale {
		if free(device) {
			due[device], tables[device] = true, nil
			delete(in.stale, device)
		}
	}
	if len(due) == 0 {
		return nil
	}
	add := func(p *place) {
		t := tables[p.device]
		if t == nil {
			t = &flood.Table{Own: valid(in.cfg.VTEP), Services: in.listeners()}
			tables[p.device] = t
		}
		t.Networks = append(t.Networks, p.Network)
	}
	for _, vni := range slices.Sorted(maps.Keys(in.vnis)) {
		n := in.vnis[vni]
		for i := range n.places {
			if p := &n.places[i]; due[p.device] {
				n.fill(p)
				add(p)
			}
		}
		for i := range n.late {
			if p := &n.late[i].place; due[p.device] {
				add(p)
			}
		}
	}
	return tables
}

// arrange brings the places of the networks up to date.
func (in *intent) arrange() {
	for vni, n := range in.vnis {
		if len(n.late) > 0 && !in.now().Before(n.late[0].until) {
			in.touched[vni] = true
		}
	}
	for vni := range in.touched {
		n := in.vnis[vni]
		before := n.places
		n.places, n.why = in.cfg.places(n)
		n.copied, n.itself = nil, nil
		for _, p := range slices.Concat(before, n.places, n.latePlaces()) {
			in.stale[p.device] = true
		}
		n.inherit(before)
		n.partFrom(before, in.now())
		if n.cfg == nil && len(n.list) == 0 && n.relay == (evpn.Relay{VNI: vni}) && len(n.late) == 0 {
			delete(in.vnis, vni)
		}
	}
	clear(in.touched)
	if in.all {
		for _, n := range in.vnis {
			for _, p := range slices.Concat(n.places, n.latePlaces()) {
				in.stale[p.device] = true
			}
		}
		in.all = false
	}
}

// inherit gives places the lists that they had before: what the engine has, until its next table.
func (n *network) inherit(before []place) {
	for i := range n.places {
		p := &n.places[i]
		if at := slices.IndexFunc(before, p.same); at >= 0 {
			p.VTEPs, p.Itself = before[at].VTEPs, before[at].Itself
		}
	}
}

// fill gives a place the lists as they are now. What is delivered has none.
func (n *network) fill(p *place) {
	if p.Deliver.IsValid() {
		return
	}
	if n.copied == nil {
		n.copied, n.itself = n.lists(p.Listen)
	}
	p.VTEPs = n.copied
	if p.Listen.IsMulticast() {
		p.Itself = n.itself
	}
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
		return !now.Before(l.until) || slices.ContainsFunc(n.places, l.same)
	})
}

// same says that both are heard alike.
func (p *place) same(o place) bool { return p.device == o.device && p.Listen == o.Listen }

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

// places are the networks of a VNI, without their lists, or why there are none.
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
			VNI: n.cfg.VNI, Port: n.cfg.Port, Rate: n.cfg.Rate, Listen: c.Service, HearVTEPs: vteps,
		}})
	}
	return all, ""
}

// lists are those that get copies, and those that copy what they send. A copy keeps its source, so all are of one family.
func (n *network) lists(like netip.Addr) (copied []flood.VTEP, itself []netip.Addr) {
	copied = make([]flood.VTEP, 0, len(n.list))
	for a, v := range n.list {
		switch {
		case a.Is4() != like.Is4():
		case v.Use == evpn.UseCopy:
			copied = append(copied, flood.VTEP{Address: a, Source: v.Source})
		case v.Use == evpn.UseItself:
			itself = append(itself, a)
		}
	}
	slices.SortFunc(copied, func(a, b flood.VTEP) int { return a.Address.Compare(b.Address) })
	slices.SortFunc(itself, netip.Addr.Compare)
	return copied, itself
}
