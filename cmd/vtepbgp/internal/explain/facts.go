package explain

import (
	"net/netip"
	"time"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/kernel"
)

// Facts is all that bears on a MAC or IP address in one VNI.
type Facts struct {
	MAC evpn.MAC   // asked for; zero when an IP was
	IP  netip.Addr // asked for; zero when a MAC was

	// Subject is what the core knows of what was asked for. Host is what it knows of
	// the MAC behind an IP; the same as Subject when a MAC was asked for.
	Subject evpn.Explanation
	Host    evpn.Explanation

	Link      kernel.VNIStatus
	Flood     Flooding
	Duplicate evpn.DuplicateConfig
	Rows      []kernel.Drift // of the subject, read anew
	Ways      map[netip.Addr]Way
	Neighbors []Neighbor
	Now       time.Time
}

// Flooding is what becomes of frames of the VNI that go to everybody, or to nobody known.
type Flooding struct {
	Mode   evpn.FloodMode
	Group  netip.Addr // that the kernel sends to
	Relay  evpn.Relay // what the flooding module does
	Engine string     // of the flooding module; "" = none copies
	VTEPs  []evpn.FloodEntry
}

// Way is the way to a remote VTEP, as far as the underlay is followed.
type Way struct {
	Reachable bool
	Reason    string
	Device    string
	Gateway   netip.Addr
	MTU       int // 0 = not known
}

// Neighbor is a BGP neighbour as far as it matters here.
type Neighbor struct {
	Address     netip.Addr
	Established bool
	Shed        int // routes that are counted but not kept
}

// Absent is what bears on a MAC or IP address that no configured VNI knows.
type Absent struct {
	MAC       evpn.MAC
	IP        netip.Addr
	VNI       evpn.VNI         // asked for; 0 = all
	Elsewhere []evpn.RouteInfo // routes that name it all the same
	KnownIn   []evpn.VNI       // other VNIs that know it
	IsVTEP    bool             // the IP is the address of a VTEP
	Flood     *Flooding        // of the VNI, when one was asked for
	Neighbors []Neighbor
}

// HostOf is the MAC behind an IP: the one in use, or else the one that is said to be.
func HostOf(x evpn.Explanation) evpn.MAC {
	switch {
	case !x.MAC.IsZero():
		return x.MAC
	case len(x.Candidates) > 0 && x.Candidates[0].Verdict.Reason == "":
		return x.Candidates[0].Key.MAC
	case x.Local != nil:
		return x.Local.MAC
	case len(x.Candidates) > 0:
		return x.Candidates[0].Key.MAC
	default:
		return evpn.MAC{}
	}
}
