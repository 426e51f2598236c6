package api

import (
	"net/netip"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// NewMAC gives the form for tools of a MAC of the core; installed is for the kernel to say.
func NewMAC(m evpn.MACInfo, installed bool) MAC {
	return MAC{
		VNI: m.VNI, MAC: m.MAC, IPs: notNil(m.IPs), Origin: m.Origin, VTEP: m.VTEP, Port: m.Port,
		Sequence: m.Sequence, Sticky: m.Sticky, Gateway: m.Gateway, Duplicate: m.Duplicate,
		DuplicateIPs: notNil(m.DuplicateIPs), Stale: m.Stale, LongLivedStale: m.LongLivedStale,
		Unreachable: m.Unreachable, Moves: m.Moves,
		Installed: installed,
	}
}

// NewRoute gives the form for tools of a route of the core.
func NewRoute(r evpn.RouteInfo) Route {
	a := Route{
		Type: uint8(r.Key.Type), TypeName: r.Key.Type.String(), RD: r.Key.RD.String(), EthernetTag: r.Key.Tag,
		ESI: r.ESI.String(), VNI: r.VNI(), Neighbor: r.Neighbor, Local: !r.Neighbor.IsValid(),
		Best: r.Best, Stale: r.Stale, LongLivedStale: r.LongLivedStale, Imported: r.Imported(), ImportedBy: notNil(r.VNIs), Reason: r.Reason,
		RouteTargets: []evpn.RouteTarget{}, Encapsulation: []uint16{},
	}
	switch r.Key.Type {
	case evpn.MACIPRoute:
		a.MAC, a.IP = r.Key.MAC.String(), r.Key.IP
	case evpn.IMETRoute:
		a.IP = r.Key.IP
	case evpn.IPPrefixRoute:
		a.Prefix = netip.PrefixFrom(r.Key.IP, int(r.Key.PrefixLen)).String()
	}
	if t := r.Attrs; t != nil {
		a.NextHop, a.RouteTargets, a.Encapsulation = t.NextHop, notNil(t.RouteTargets), notNil(t.Encaps)
		a.Sequence, a.Sticky, a.DefaultGateway = t.Mobility.Sequence, t.Mobility.Sticky, t.DefaultGateway
	}
	return a
}

// notNil makes an absent list an empty one: in JSON a list is never null.
func notNil[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
