package daemon

import (
	"net/netip"

	"github.com/vtepbgp/vtepbgp/config"
	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/kernel"
	"github.com/vtepbgp/vtepbgp/speaker"
)

// rdDemand says which VNIs need a number for their automatic route distinguisher
// router-id:n, and which numbers the operator uses himself.
func rdDemand(cfg *config.Config) (auto []evpn.VNI, reserved map[uint16]bool) {
	reserved = map[uint16]bool{}
	for _, v := range cfg.VNIs {
		if v.RD == (evpn.RD{}) {
			auto = append(auto, v.ID)
			continue
		}
		n := uint16(v.RD[6])<<8 | uint16(v.RD[7])
		if v.RD == evpn.RDFromRouterID(cfg.BGP.RouterID, n) {
			reserved[n] = true
		}
	}
	return auto, reserved
}

// coreConfig is what the core needs of cfg and of the host.
func coreConfig(cfg *config.Config, numbers map[evpn.VNI]uint16, h host) evpn.Config {
	c := evpn.Config{
		VTEP:           h.vtep,
		VNIs:           make([]evpn.VNIConfig, 0, len(cfg.VNIs)),
		NeighborLimits: map[netip.Addr]int{},
		Duplicate:      cfg.Duplicate,
		Unreachable:    cfg.VTEP.Unreachable,
		Service:        cfg.Flood.ServiceAddress,
		LearnFromData:  cfg.Flood.LearnFromData,
	}
	for _, v := range cfg.VNIs {
		rd := v.RD
		if rd == (evpn.RD{}) {
			rd = evpn.RDFromRouterID(cfg.BGP.RouterID, numbers[v.ID])
		}
		vni := evpn.VNIConfig{
			VNI: v.ID, RD: rd, Export: v.Export, Import: v.Import, Flooding: v.Flooding,
			Suppression: v.Suppression, MaxMACs: v.MaxMACs, StaticVTEPs: v.StaticVTEPs, StaticMACs: v.StaticMACs,
		}
		if m := v.Multicast; m != nil {
			vni.Segment = evpn.SegmentConfig{
				Group: m.Group, Prefixes: h.segment(m), ProxyVTEPs: m.ProxyVTEPs, ProxyMACs: m.ProxyMACs, Delivery: m.Delivery,
			}
		}
		c.VNIs = append(c.VNIs, vni)
	}
	for _, n := range cfg.Neighbors {
		if n.MaxPrefixes > 0 && n.Address.IsValid() {
			c.NeighborLimits[n.Address] = n.MaxPrefixes
		}
	}
	return c
}

func kernelConfig(cfg *config.Config) kernel.Config {
	k := kernel.Config{
		VTEP: cfg.VTEP.Address, VTEPInterface: cfg.VTEP.Interface, UDPPort: cfg.VTEP.UDPPort,
		VNIs: make([]kernel.VNI, 0, len(cfg.VNIs)),
	}
	if cfg.Flood.ServiceAddress.IsValid() {
		k.ServiceAddresses = []netip.Addr{cfg.Flood.ServiceAddress}
	}
	for _, v := range cfg.VNIs {
		n := kernel.VNI{
			VNI: v.ID, Device: v.Device, Bridge: v.Bridge, Manage: v.Manage, Ports: v.Ports, MTU: v.MTU,
			UDPPort: v.UDPPort, Suppression: v.Suppression, MaxIPsPerMAC: v.MaxIPsPerMAC, MaxIPsPerPort: v.MaxIPsPerPort,
			AdvertiseSVI: v.AdvertiseSVI, AnycastGateway: v.AnycastGateway,
		}
		if m := v.Multicast; m != nil {
			n.Group, n.GroupInterface = m.Group, m.Interface
			n.Service = m.Delivery == evpn.DeliverMulticast
		}
		n.Service = n.Service || v.Flooding == evpn.FloodReplicator
		k.VNIs = append(k.VNIs, n)
	}
	return k
}

// speakerConfig is what the sessions need of cfg. met are the neighbours of the run before.
func speakerConfig(cfg *config.Config, restarting bool, met []netip.Addr) speaker.Config {
	s := speaker.Config{
		ASN: cfg.BGP.ASN, RouterID: cfg.BGP.RouterID,
		ListenPort: cfg.BGP.ListenPort, ListenAddresses: cfg.BGP.ListenAddresses,
		HoldTime: cfg.BGP.HoldTime, GracefulRestartTime: cfg.BGP.GracefulRestartTime,
		Restarting: restarting, Expected: met, GoBGPListen: cfg.API.GoBGPListen,
		Neighbors: make([]speaker.Neighbor, 0, len(cfg.Neighbors)),
	}
	for _, n := range cfg.Neighbors {
		s.Neighbors = append(s.Neighbors, speaker.Neighbor{
			Address: n.Address, Prefix: n.Prefix, ASN: n.ASN, Port: n.Port, Description: n.Description, Password: n.Password,
			RouteReflectorClient: n.RouteReflectorClient, Passive: n.Passive, TTLSecurity: n.TTLSecurity,
			EBGPMultihop: n.EBGPMultihop, MaxPrefixes: n.MaxPrefixes,
			HoldTime: n.HoldTime, KeepaliveTime: n.KeepaliveTime, ConnectRetry: n.ConnectRetry, BFD: bfdConfig(n.BFD),
			LongLivedStaleTime: n.LongLivedStaleTime, RFC9574: n.ReplicatorRoute == config.ReplicatorRFC9574,
		})
	}
	return s
}

// bfdConfig translates how a neighbour is watched.
func bfdConfig(b config.BFD) speaker.BFD {
	modes := map[config.BFDMode]speaker.BFDMode{
		config.BFDAuto: speaker.BFDAuto, config.BFDSingleHop: speaker.BFDSingleHop, config.BFDMultihop: speaker.BFDMultihop,
	}
	return speaker.BFD{Enabled: b.Enabled, Interval: b.Interval, Multiplier: b.Multiplier, Mode: modes[b.Mode]}
}

// dialled lists the neighbours that we dial, and reports whether others may come.
func dialled(cfg *config.Config) (addrs []netip.Addr, others bool) {
	for _, n := range cfg.Neighbors {
		if n.Passive || !n.Address.IsValid() {
			others = true
			continue
		}
		addrs = append(addrs, n.Address)
	}
	return addrs, others
}
