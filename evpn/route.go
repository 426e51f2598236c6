package evpn

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"fmt"
	"net/netip"
)

// RouteType is the EVPN route type octet (RFC 7432 §7, RFC 9136 §3).
type RouteType uint8

// The route types that reach the core. Types 1 and 4 (multihoming) and 6 and
// later are tolerated and counted by the speaker and never get here.
const (
	MACIPRoute    RouteType = 2 // RFC 7432 §7.2
	IMETRoute     RouteType = 3 // RFC 7432 §7.3: inclusive multicast Ethernet tag
	IPPrefixRoute RouteType = 5 // RFC 9136 §3.1: shown, never used
)

func (t RouteType) String() string {
	switch t {
	case MACIPRoute:
		return "mac-ip"
	case IMETRoute:
		return "imet"
	case IPPrefixRoute:
		return "ip-prefix"
	default:
		return fmt.Sprintf("type-%d", uint8(t))
	}
}

// ESI is an Ethernet segment identifier (RFC 7432 §5). Zero means single-homed.
type ESI [10]byte

// IsZero reports a single-homed segment.
func (e ESI) IsZero() bool { return e == ESI{} }

func (e ESI) String() string {
	b := make([]byte, 0, 29)
	for i, o := range e {
		if i > 0 {
			b = append(b, ':')
		}
		b = hex.AppendEncode(b, []byte{o})
	}
	return string(b)
}

// RouteKey is what identifies an EVPN route on the wire (RFC 7432 §7.2, §7.3:
// ESI and labels are attributes, not part of the key). It is comparable.
//
//   - mac-ip: MAC is set; IP is the host's address or the zero Addr.
//   - imet: IP is the originating router's address.
//   - ip-prefix: IP and PrefixLen name the prefix.
type RouteKey struct {
	Type      RouteType
	PrefixLen uint8
	RD        RD
	Tag       uint32
	MAC       MAC
	IP        netip.Addr
}

// Compare gives the canonical order: type, RD, tag, MAC, IP, prefix length.
func (k RouteKey) Compare(o RouteKey) int {
	return cmp.Or(
		cmp.Compare(k.Type, o.Type),
		k.RD.Compare(o.RD),
		cmp.Compare(k.Tag, o.Tag),
		k.MAC.Compare(o.MAC),
		k.IP.Compare(o.IP),
		cmp.Compare(k.PrefixLen, o.PrefixLen),
	)
}

// String gives the form FRR prints: [2]:[0]:[48]:[mac], [2]:[0]:[48]:[mac]:[32]:[ip],
// [3]:[0]:[32]:[ip] or [5]:[0]:[len]:[prefix], after the RD and a space.
func (k RouteKey) String() string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s [%d]:[%d]", k.RD, k.Type, k.Tag)
	switch k.Type {
	case MACIPRoute:
		fmt.Fprintf(&b, ":[48]:[%s]", k.MAC)
		if k.IP.IsValid() {
			fmt.Fprintf(&b, ":[%d]:[%s]", k.IP.BitLen(), k.IP)
		}
	case IMETRoute:
		fmt.Fprintf(&b, ":[%d]:[%s]", k.IP.BitLen(), k.IP)
	case IPPrefixRoute:
		fmt.Fprintf(&b, ":[%d]:[%s]", k.PrefixLen, k.IP)
	}
	return b.String()
}

// PMSITunnel is the PMSI tunnel attribute (RFC 6514 §5). For VXLAN the label
// field is the plain 24-bit VNI (RFC 8365 §5.1.3).
type PMSITunnel struct {
	Flags    uint8
	Type     uint8 // 6 = ingress replication
	Label    uint32
	Endpoint netip.Addr // tunnel identifier when Type is ingress or assisted replication
}

// Tunnel types of the PMSI tunnel attribute that we use and accept.
const (
	PMSINoTunnel            = 0    // RFC 6514 §5: send nothing
	PMSIIngressReplication  = 6    // RFC 6514 §5
	PMSIAssistedReplication = 0x0a // RFC 9574 §4: Endpoint is the AR-IP
)

// Flags of the PMSI tunnel attribute: the AR type, T (RFC 9574 §4, bits 3 and 4 of the octet).
const (
	PMSIFlagsMaskAR       = 0x18
	PMSIFlagsReplicatorAR = 0x08 // of a Replicator-AR route
	PMSIFlagsLeafAR       = 0x10 // of the Regular-IR route of a leaf
)

// RelayClaim is carried by the type-3 route of a VTEP that hears a multicast segment and
// speaks EVPN, as an extended community of ours: who copies for the VTEPs that do not is elected
// among these. The zero value is none.
type RelayClaim struct {
	Group   uint32 // a hash of the group's address; 0 = no claim
	State   RelayState
	Deliver bool // sends BUM frames from elsewhere to the group, once elected
	// Outlives says that what copies goes on when the process of the VTEP is gone, as long as its
	// routes are kept (RFC 4724). Else nobody copies for the segment then.
	Outlives bool
}

// Lapsed is what is left of r, a type-3 route, when the process that announced it has ended while its
// neighbours keep its routes (RFC 4724), if that is something else: nobody copies for the segment any
// more, so that another relay can take over, and nobody takes at a service address what is to be delivered
// there, so that the route is withdrawn (Attrs is nil). The VTEP is still a member, whose kernel has the group.
// BGP tells only direct neighbours that routes are stale, so who knows it says it to the others.
func (r Route) Lapsed() (Route, bool) {
	c := r.Attrs.Claim
	switch {
	case c.Group == 0 || c.Outlives || r.Key.Type != IMETRoute:
		return r, false
	case c.ofService():
		return Route{Key: r.Key}, true
	case !c.State.candidate():
		return r, false
	}
	attrs := *r.Attrs
	attrs.Claim.State, attrs.Claim.Deliver = RelaysItself, false
	r.Attrs = &attrs
	return r, true
}

// ofService reports the claim of a service address, where a relay takes what it sends to the group.
func (c RelayClaim) ofService() bool { return c.State == RelaysItself && c.Deliver }

// RelayState is the part that a VTEP takes in the election of its segment.
type RelayState uint8

// The states, in the order of a relay's life.
const (
	RelaysItself RelayState = iota // copies its own frames, and would not copy for others
	RelayReady                     // would copy for others
	RelayActive                    // copies for others
	// RelayedFor has no part: it is a VTEP that runs no EVPN, and a relay speaks for it.
	RelayedFor
)

// candidate reports a VTEP that copies for others, or would.
func (s RelayState) candidate() bool { return s == RelayReady || s == RelayActive }

// Tunnel encapsulation types (RFC 9012 §4.1 and the IANA registry).
const (
	EncapVXLAN = 8
)

// Mobility is the MAC mobility extended community (RFC 7432 §7.7). Absent on the
// wire means the zero value.
type Mobility struct {
	Sequence uint32
	Sticky   bool
}

// Attrs are the path attributes of a route that matter for EVPN. One value is
// shared by all routes of an UPDATE and must not be changed once handed over.
type Attrs struct {
	NextHop      netip.Addr
	RouteTargets []RouteTarget // in wire order
	// Encaps lists the encapsulation communities (RFC 9012 §4.1); empty means
	// none was sent, which RFC 8365 §5.1.3 reads as MPLS.
	Encaps         []uint16
	Mobility       Mobility
	DefaultGateway bool        // RFC 7432 §7.8
	Router         bool        // ARP/ND community, R flag (RFC 9047 §2)
	PMSI           *PMSITunnel // type-3 only
	Claim          RelayClaim  // type-3 only
	// Segment are the VTEPs that hear the group of the claim, in the eyes of who sent it.
	Segment []SegmentPrefix

	// Ordinary BGP attributes: they choose between copies of one RouteKey that
	// several neighbours sent (RFC 4271 §9.1).
	LocalPref    uint32 // 100 when absent
	ASPathLen    uint16
	Origin       uint8
	MED          uint32
	OriginatorID netip.Addr // RFC 4456; zero when absent

	// Communities of RFC 9494: a long-lived stale route, used only where nothing
	// better is known, and one that must not become such a route.
	LLGRStale bool
	NoLLGR    bool
}

// Route is one EVPN route: key, per-route fields and shared attributes.
type Route struct {
	Key    RouteKey
	ESI    ESI
	Label  uint32 // plain 24-bit VNI: label 1 of a type-2 or type-5; 0 for type-3 (see PMSI)
	Label2 uint32 // type-2 with an L3 VNI; 0 when absent
	Attrs  *Attrs
}

// VNI is the network that a route's label names: the PMSI label of a type-3, label 1
// otherwise; 0 when there is none.
func (r Route) VNI() VNI {
	if r.Key.Type == IMETRoute {
		if r.Attrs == nil || r.Attrs.PMSI == nil {
			return 0
		}
		return VNI(r.Attrs.PMSI.Label)
	}
	return VNI(r.Label)
}
