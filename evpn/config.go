package evpn

import (
	"net/netip"
	"time"
)

// Config is all that the core needs to know of the operator's wishes. Names
// such as "auto" are resolved before: the core sees final values only.
type Config struct {
	VTEP netip.Addr // our VTEP address: next hop of every route we originate
	VNIs []VNIConfig
	// NeighborLimits bounds the routes held as usable per neighbour; routes past
	// it are kept with [OverNeighborLimit]. Absent or 0 = no limit.
	NeighborLimits map[netip.Addr]int
	Duplicate      DuplicateConfig
	// Service is the address at which we take frames to copy: with [FloodReplicator] (RFC
	// 9574: our AR-IP), and with [DeliverMulticast]. Zero when there is none.
	Service netip.Addr
	// LearnFromData has VTEPs that send to Service join the flood lists of a replicator.
	LearnFromData bool
	// Resume says that this process follows one that relayed until a moment ago, and
	// whose routes the neighbours still hold: its part in an election is taken up at once.
	Resume bool
	// Unreachable says what becomes of rows towards a VTEP that the underlay cannot reach.
	Unreachable UnreachablePolicy
	// StaleTime bounds how long routes of a neighbour that restarts gracefully
	// are kept when it does not come back (RFC 4724 §4.2); 0 uses what
	// [NeighborDown] says.
	StaleTime time.Duration
}

// UnreachablePolicy is what becomes of rows towards an unreachable VTEP.
type UnreachablePolicy string

// The policies for unreachable VTEPs. The empty policy is [UnreachableKeep].
const (
	UnreachableKeep   UnreachablePolicy = "keep"   // rows stay; the VTEP is shown as unreachable
	UnreachableRemove UnreachablePolicy = "remove" // its routes do not count
)

// VNIConfig is one MAC-VRF.
type VNIConfig struct {
	VNI         VNI
	RD          RD
	Export      []RouteTarget
	Import      []ImportTarget
	Flooding    FloodMode
	Suppression bool // write remote IPs as neighbours of the bridge
	MaxMACs     int  // remote MACs accepted; 0 = no limit
	StaticVTEPs []netip.Addr
	StaticMACs  []StaticMAC
	Segment     SegmentConfig // with FloodMulticast
}

// SegmentConfig is the multicast segment of a VNI: the VTEPs that send their BUM frames
// to a group, and hear it.
type SegmentConfig struct {
	Group netip.Addr
	// Prefixes are the VTEPs that hear the group. Relays of one segment have equal ones.
	Prefixes []netip.Prefix
	// ProxyVTEPs has us speak and copy for VTEPs of the segment that run no EVPN.
	ProxyVTEPs bool
	// ProxyMACs has us announce the sources of their frames too.
	ProxyMACs bool
	Delivery  SegmentDelivery
}

// SegmentDelivery is how BUM frames from elsewhere reach the VTEPs of a segment that run
// no EVPN.
type SegmentDelivery string

// The ways to deliver. The empty one is [DeliverUnicast].
const (
	DeliverUnicast   SegmentDelivery = "unicast"   // each is announced, so each gets a copy
	DeliverMulticast SegmentDelivery = "multicast" // the relay gets one and sends it to the group
)

// StaticMAC is a remote MAC that the operator pinned to a VTEP.
type StaticMAC struct {
	MAC  MAC
	VTEP netip.Addr
	IP   netip.Addr // zero when none
}

// FloodMode is who copies BUM frames of a VNI.
type FloodMode string

// The flood modes.
const (
	FloodIngress FloodMode = "ingress" // the kernel, from the zero-MAC rows
	// FloodMulticast: the kernel sends to a group; the flooding module hears it and copies.
	FloodMulticast FloodMode = "multicast"
	// FloodAssisted: the kernel sends one copy to a replicator (RFC 9574 AR-LEAF), or to
	// all while there is none.
	FloodAssisted FloodMode = "assisted"
	// FloodReplicator: as ingress, and the flooding module copies what arrives at the
	// service address (RFC 9574 AR-REPLICATOR).
	FloodReplicator FloodMode = "replicator"
	FloodOff        FloodMode = "off" // nobody
)

// DuplicateConfig is duplicate-MAC detection (RFC 7432 §15.1). Zero Moves turns it off.
type DuplicateConfig struct {
	Moves    int           // RFC default 5
	Window   time.Duration // RFC default 180 s
	Recovery time.Duration // frozen MACs thaw after this; 0 = only by hand
}

// DefaultDuplicate is 5 moves in 180 s (RFC 7432 §15.1), thawing after 30 minutes.
var DefaultDuplicate = DuplicateConfig{Moves: 5, Window: 180 * time.Second, Recovery: 30 * time.Minute}
