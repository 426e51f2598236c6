package flooding

import (
	"net/netip"
	"reflect"
	"slices"
	"time"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// Config is all that this package needs to know of the operator's wishes and of the host.
type Config struct {
	Engine   string // flood.Auto, or the name of an engine
	HoldTime time.Duration
	// VTEP is our VTEP address in use; zero while there is none.
	VTEP netip.Addr
	// Service is where others send frames to be copied; zero when there is none.
	Service netip.Addr
	// ServiceInterfaces are where replicators hear it, and Uplinks where those do who deliver
	// to a segment, besides the segment's.
	ServiceInterfaces, Uplinks []string
	LearnFromData              bool
	VNIs                       []VNI
}

// VNI is one network. Those that the kernel floods may be left out.
type VNI struct {
	VNI  evpn.VNI
	Mode evpn.FloodMode
	Port uint16 // 0 = the default of package flood
	Rate uint32 // 0 = no limit

	// With evpn.FloodMulticast:
	Group      netip.Addr
	Interface  string // "" = not known
	Segment    []netip.Prefix
	ProxyVTEPs bool
	ProxyMACs  bool
}

// hears says whom an engine has to listen for.
func (c *Config) hears(v *VNI) (vteps, macs bool) {
	switch v.Mode {
	case evpn.FloodMulticast:
		return v.ProxyVTEPs, v.ProxyMACs
	case evpn.FloodReplicator:
		return c.LearnFromData, false
	default:
		return false, false
	}
}

// shared says whether tables of all VNIs follow from the same as with o.
func (c *Config) shared(o *Config) bool {
	return c.VTEP == o.VTEP && c.Service == o.Service && slices.Equal(c.ServiceInterfaces, o.ServiceInterfaces) &&
		slices.Equal(c.Uplinks, o.Uplinks) && c.LearnFromData == o.LearnFromData
}

func (v *VNI) equal(o *VNI) bool { return reflect.DeepEqual(v, o) }
