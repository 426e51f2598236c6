package evpn

import (
	"net/netip"
	"time"
)

// Origin says where a MAC lives.
type Origin string

// Where a MAC lives.
const (
	OriginLocal  Origin = "local"
	OriginRemote Origin = "remote"
	OriginStatic Origin = "static"
	OriginProxy  Origin = "proxy" // behind a VTEP of the segment that runs no EVPN
)

// MACInfo is one MAC of a VNI as shown to people.
type MACInfo struct {
	VNI       VNI
	MAC       MAC
	IPs       []netip.Addr // that it has, sorted; not those that another MAC has by now
	Origin    Origin
	VTEP      netip.Addr // but for local ones
	Port      string     // local
	Sequence  uint32
	Sticky    bool
	Gateway   bool // announced as a default gateway (RFC 7432 §10.1)
	Duplicate bool
	// DuplicateIPs of it are frozen: other MACs claim them too. Sorted.
	DuplicateIPs []netip.Addr
	Stale        bool // from a neighbour that restarts
	// LongLivedStale says that it is there for want of anything better (RFC 9494).
	LongLivedStale bool
	Unreachable    bool // the underlay has no way to VTEP
	Moves          int  // inside the detection window
	Frozen         time.Time
}

// RouteInfo is one route: received when Neighbor is set, else our own.
type RouteInfo struct {
	Route
	Neighbor netip.Addr
	VNIs     []VNI // that import it
	Best     bool
	Stale    bool
	// LongLivedStale: of a neighbour that is away for long, or so marked by others (RFC 9494).
	LongLivedStale bool
	Reason         Reason // why it is not used
}

// Imported reports whether some VNI imports the route's targets.
func (r RouteInfo) Imported() bool { return len(r.VNIs) > 0 }

// VNIInfo is one VNI with its counts.
type VNIInfo struct {
	VNIConfig
	Up         bool
	DownReason string
	LocalMACs  int
	RemoteMACs int
	VTEPs      int   // in the flood list, whoever copies to them
	Relay      Relay // what the flooding module does for it
	// Strangers are VTEPs inside the prefixes of its segment that claim to be of another one:
	// their group or prefixes differ, so they and we take no notice of each other. Sorted.
	Strangers []netip.Addr
	// Contraries are relays of its segment with another [SegmentDelivery] than is set here. Sorted.
	Contraries []netip.Addr
}

// FloodEntry is one VTEP of a flood list, whoever copies: kernel or flooding module.
type FloodEntry struct {
	VNI    VNI
	VTEP   netip.Addr
	Source FloodSource
	Role   FloodRole
	Kernel bool // it has a row in the kernel's list
	Copied bool // the flooding module copies to it
}

// FloodRole is what a VTEP is to a flood list.
type FloodRole string

// The roles.
const (
	RoleVTEP       FloodRole = "vtep"       // gets a copy of every frame
	RoleReplicator FloodRole = "replicator" // gets the one copy of an assisted VNI and makes the others
	RoleStandby    FloodRole = "standby"    // a VTEP that a replicator serves, or a replicator that was not chosen
	RoleSegment    FloodRole = "segment"    // hears the group itself: gets no copy
)

// VTEPInfo is one remote VTEP over all VNIs.
type VTEPInfo struct {
	Address netip.Addr
	VNIs    []VNI // whose flood list has it, or that have MACs behind it; sorted
	MACs    int
	// Reachable is what the underlay says; Reason, why not.
	Reachable bool
	Reason    string
}
