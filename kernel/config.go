package kernel

import (
	"net/netip"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// Config is all that this package needs to know of the operator's wishes.
type Config struct {
	VTEP          netip.Addr // VXLAN source; zero = taken from VTEPInterface
	VTEPInterface string
	UDPPort       uint16 // 0 = 4789
	VNIs          []VNI
	// ServiceAddresses are addresses at which the flooding module takes packets to copy.
	// They are on the loopback for as long as they are configured, unless they are on the
	// host without us.
	ServiceAddresses []netip.Addr
}

// VNI is one VXLAN network: a VXLAN device in a bridge.
type VNI struct {
	VNI     evpn.VNI
	Device  string // "" = vxlan<id>
	Bridge  string // "" = br<id>
	Manage  bool   // create device and bridge when absent, repair their settings
	Ports   []string
	MTU     int    // 0 = underlay - 50 (IPv4) or - 70 (IPv6)
	UDPPort uint16 // 0 = that of Config
	// Suppression sets neigh_suppress on the VXLAN port: the bridge answers ARP and
	// ND for the neighbours that it knows.
	Suppression bool
	// MaxIPsPerMAC and MaxIPsPerPort bound the local addresses that packets on access
	// ports can tell of; 0 = no limit.
	MaxIPsPerMAC, MaxIPsPerPort int

	AdvertiseSVI bool // report the bridge's own MAC and addresses as local
	// AnycastGateway, with AdvertiseSVI, reports them as a gateway that every VTEP has.
	AnycastGateway bool

	// Group is the multicast group that BUM frames go to; zero = none. The host joins it
	// on GroupInterface ("" = where the VTEP address lives), and flood rows towards it
	// leave by that interface.
	Group          netip.Addr
	GroupInterface string
	// Service says that frames of the VNI arrive at a service address, so that what is
	// wrong with those is wrong with it.
	Service bool
}

// DefaultUDPPort is the VXLAN port of RFC 7348 §8.
const DefaultUDPPort = 4789

// AliasPrefix starts the alias (`ip link` shows it) of the links that we created.
// Only such links are ever changed beyond their port settings, or deleted.
const AliasPrefix = "vtepbgp"

func aliasFor(v evpn.VNI) string { return AliasPrefix + " vni " + v.String() }

func (c Config) withDefaults() Config {
	if c.UDPPort == 0 {
		c.UDPPort = DefaultUDPPort
	}
	vnis := make([]VNI, len(c.VNIs))
	for i, v := range c.VNIs {
		if v.Device == "" {
			v.Device = "vxlan" + v.VNI.String()
		}
		if v.Bridge == "" {
			v.Bridge = "br" + v.VNI.String()
		}
		if v.UDPPort == 0 {
			v.UDPPort = c.UDPPort
		}
		v.Group = v.Group.WithZone("")
		vnis[i] = v
	}
	c.VNIs = vnis
	return c
}

// VXLAN overhead over Ethernet payload: inner Ethernet 14, VXLAN 8, UDP 8, and
// the outer IP header (RFC 7348 §5).
const (
	overheadIPv4 = 14 + 8 + 8 + 20
	overheadIPv6 = 14 + 8 + 8 + 40
)
