package config

import (
	"fmt"
	"math"
	"net/netip"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// The engines that flood.engine can ask for.
const (
	EngineAuto   = "auto"
	EngineEBPF   = "ebpf"
	EngineSocket = "socket"
)

// validate reads [flood]; vtep is our VTEP address, zero when it is an interface's.
func (r *rawFlood) validate(vtep netip.Addr) Flood {
	f := Flood{
		Engine:         wordKey(r.scope, "engine", r.Engine, EngineAuto, EngineEBPF, EngineSocket),
		Interface:      textKey(r.scope, "interface", r.Interface, "", emptyOr(func(s string) (string, error) { return s, checkIfname(s) })),
		ServiceAddress: textKey(r.scope, "service_address", r.ServiceAddress, netip.Addr{}, emptyOr(parseVTEP)),
		LearnFromData:  value(r.LearnFromData, false),
		HoldTime:       durationKey(r.scope, "hold_time", r.HoldTime, defaultFloodHold, minFloodHold, maxFloodHold),
		RateLimit:      int(intKey(r.scope, "rate_limit_pps", r.RateLimitPPS, 0, 0, math.MaxInt32)),
	}
	switch s := f.ServiceAddress; {
	case !s.IsValid() || !vtep.IsValid():
	case s == vtep:
		r.problem(r.key("service_address"), "%s is vtep.address: frames to copy need an address of their own, or nobody could tell them from others (RFC 9574)", s)
		f.ServiceAddress = netip.Addr{}
	case s.Is4() != vtep.Is4():
		r.problem(r.key("service_address"), "want an address of the same family as vtep.address %s, got %s", vtep, s)
		f.ServiceAddress = netip.Addr{}
	}
	if f.LearnFromData && (r.ServiceAddress == nil || *r.ServiceAddress == "") {
		r.problem(r.key("learn_from_data"), "has no effect without service_address: nothing is heard there")
	}
	return f
}

// emptyOr reads "" as the zero value.
func emptyOr[T any](parse func(string) (T, error)) func(string) (T, error) {
	return func(s string) (v T, err error) {
		if s == "" {
			return v, nil
		}
		return parse(s)
	}
}

// flooding reads [vni.multicast] and finds what the mode of flooding needs or cannot use.
func (r *rawVNI) flooding(v *VNI, c *Config) {
	needsService := func(why string) {
		if !c.Flood.ServiceAddress.IsValid() && !r.report.has(r.doc.file, "flood.service_address") {
			r.problem(r.key("flooding"), "needs flood.service_address, %s: add it to [flood], such as service_address = \"10.255.0.1\"", why)
		}
	}
	switch {
	case v.Flooding == evpn.FloodReplicator:
		needsService("the address that others send frames to")
	case v.Flooding == evpn.FloodMulticast && r.Multicast == nil:
		r.missing("multicast", `flooding = "multicast" needs a table [vni.multicast] with the group, such as group = "239.1.1.100"`)
	}
	if v.Flooding != evpn.FloodMulticast && r.Multicast != nil {
		r.problem(r.key("multicast"), `has no effect with flooding = %q: want "multicast", or remove the table`, v.Flooding)
		return
	}
	if r.RateLimitPPS != nil && v.Flooding != evpn.FloodMulticast && v.Flooding != evpn.FloodReplicator {
		r.problem(r.key("rate_limit_pps"), `has no effect with flooding = %q: the kernel copies there, want "multicast" or "replicator", or remove the key`, v.Flooding)
	}
	if r.Multicast == nil {
		return
	}
	v.Multicast = r.Multicast.validate(c.VTEP.Address)
	if v.Multicast.ProxyVTEPs && v.Multicast.Delivery == evpn.DeliverMulticast {
		needsService(`which segment_delivery = "multicast" has EVPN send frames for the segment to`)
	}
}

func (r *rawMulticast) validate(vtep netip.Addr) *Multicast {
	required(r.scope, "group", r.Group, `the multicast group that the segment sends to, such as group = "239.1.1.100"`)
	m := &Multicast{
		Group:      textKey(r.scope, "group", r.Group, netip.Addr{}, parseGroup),
		Interface:  textKey(r.scope, "interface", r.Interface, "", emptyOr(func(s string) (string, error) { return s, checkIfname(s) })),
		ProxyVTEPs: value(r.ProxyVTEPs, false),
		ProxyMACs:  value(r.ProxyMACs, false),
		Delivery:   wordKey(r.scope, "segment_delivery", r.SegmentDelivery, evpn.DeliverUnicast, evpn.DeliverMulticast),
	}
	other := func(a netip.Addr) bool { return a.IsValid() && vtep.IsValid() && a.Is4() != vtep.Is4() }
	if other(m.Group) {
		r.problem(r.key("group"), "want a group of the same family as vtep.address %s, got %s", vtep, m.Group)
	}
	seen := map[netip.Prefix]bool{}
	m.Segment = listKey(r.scope, "segment", r.Segment, parsePrefix, func(key string, p netip.Prefix) {
		switch {
		case seen[p]:
			r.problem(key, "%s is listed twice", p)
		case other(p.Addr()):
			r.problem(key, "want a prefix of the same family as vtep.address %s, got %s", vtep, p)
		}
		seen[p] = true
	})
	if m.ProxyMACs && !m.ProxyVTEPs {
		r.problem(r.key("proxy_macs"), "has no effect without proxy_vteps = true: MACs are announced behind VTEPs that are")
	}
	return m
}

// parseGroup reads a multicast group that VXLAN can use: not one of those that
// routing protocols and hosts use on every link (RFC 5771 §4, RFC 4291 §2.7).
func parseGroup(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil || a.Is4In6() || a.Zone() != "" || !a.IsMulticast():
		return netip.Addr{}, fmt.Errorf(`want a multicast group such as "239.1.1.100" or "ff05::100", got %q`, s)
	case a.Is4() && a.IsLinkLocalMulticast():
		return netip.Addr{}, fmt.Errorf(`want a group outside 224.0.0.0/24, which is for routing protocols, such as "239.1.1.100", got %s`, a)
	case a.IsInterfaceLocalMulticast():
		return netip.Addr{}, fmt.Errorf(`want a group that leaves the host, such as "ff05::100", got %s`, a)
	}
	return a, nil
}
