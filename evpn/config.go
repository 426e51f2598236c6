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
}

// StaticMAC is a remote MAC that the operator pinned to a VTEP.
type StaticMAC struct {
	MAC  MAC
	VTEP netip.Addr
	IP   netip.Addr // zero when none
}

// FloodMode is who copies BUM frames of a VNI.
type FloodMode string

// The flood modes that exist so far.
const (
	FloodIngress FloodMode = "ingress" // the kernel, from the zero-MAC rows
	FloodOff     FloodMode = "off"     // nobody
)

// DuplicateConfig is duplicate-MAC detection (RFC 7432 §15.1). Zero Moves turns it off.
type DuplicateConfig struct {
	Moves    int           // RFC default 5
	Window   time.Duration // RFC default 180 s
	Recovery time.Duration // frozen MACs thaw after this; 0 = only by hand
}

// DefaultDuplicate is 5 moves in 180 s (RFC 7432 §15.1), thawing after 30 minutes.
var DefaultDuplicate = DuplicateConfig{Moves: 5, Window: 180 * time.Second, Recovery: 30 * time.Minute}
