package floodtest

import (
	"net/netip"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/flood"
)

const vni = 100

// family is the addresses of a stage in IPv4 or IPv6.
type family struct {
	name           string
	six            bool
	group, service netip.Addr
	relay          netip.Addr // of the relay on the segment
	segment        netip.Prefix
	leaf           netip.Addr // who sends, on the segment
	far            netip.Addr // who sends, from elsewhere
	exit           netip.Addr // of the relay on the way to the VTEPs
	gateway        netip.Addr
	near           netip.Addr // a VTEP on the link, which answers
	dead           netip.Addr // one that does not
	vteps          netip.Prefix
}

func families() []family {
	return []family{{
		name: "IPv4", group: addr("239.1.1.100"), service: addr("10.255.0.1"), relay: addr("10.0.1.1"),
		segment: netip.MustParsePrefix("10.0.1.0/24"), leaf: addr("10.0.1.10"), far: addr("10.7.0.1"), exit: addr("10.0.2.1"),
		gateway: addr("10.0.2.2"), near: addr("10.0.2.50"), dead: addr("10.0.2.99"), vteps: netip.MustParsePrefix("10.9.0.0/16"),
	}, {
		name: "IPv6", six: true, group: addr("ff0e::100"), service: addr("fd00:255::1"), relay: addr("fd00:1::1"),
		segment: netip.MustParsePrefix("fd00:1::/64"), leaf: addr("fd00:1::10"), far: addr("fd00:7::1"), exit: addr("fd00:2::1"),
		gateway: addr("fd00:2::2"), near: addr("fd00:2::50"), dead: addr("fd00:2::99"), vteps: netip.MustParsePrefix("fd00:9::/64"),
	}}
}

var addr = netip.MustParseAddr

func (f *family) bits() int { return f.leaf.BitLen() }

// host is an address with the length of the link's prefix.
func (f *family) host(a netip.Addr) string { return netip.PrefixFrom(a, f.prefixBits()).String() }

func (f *family) prefixBits() int { return f.segment.Bits() }

// list is n VTEPs behind the gateway.
func (f *family) list(n int) []netip.Addr {
	all := make([]netip.Addr, n)
	for i := range all {
		b := f.vteps.Addr().AsSlice()
		b[len(b)-2], b[len(b)-1] = byte((i+1)>>8), byte(i+1)
		all[i], _ = netip.AddrFromSlice(b)
	}
	return all
}

func vteps(addresses ...netip.Addr) []flood.VTEP {
	var all []flood.VTEP
	for _, a := range addresses {
		all = append(all, flood.VTEP{Address: a, Source: evpn.SourceBGP})
	}
	return all
}

// onGroup is a network that hears the group, and copies for all.
func (f *family) onGroup(to ...netip.Addr) flood.Network {
	return flood.Network{VNI: vni, Listen: f.group, Segment: []netip.Prefix{f.segment}, VTEPs: vteps(to...), Own: true, Others: true}
}

// onService is one that hears the service address.
func (f *family) onService(to ...netip.Addr) flood.Network {
	return flood.Network{VNI: vni, Listen: f.service, VTEPs: vteps(to...)}
}

func (f *family) table(networks ...flood.Network) *flood.Table {
	return &flood.Table{Own: []netip.Addr{f.relay, f.exit}, Networks: networks}
}
