package evpn

import (
	"net/netip"
	"time"
)

// Event is something that happened. Every event is plain data that encodes to
// one JSON object, so that a run can be written down and played back.
type Event interface{ event() }

// ConfigReplaced gives the whole new configuration; the core applies the difference.
type ConfigReplaced struct{ Config Config }

// VNIState says whether device and bridge of a VNI are up and the VTEP address
// is on the host. While it is down the VNI's routes are withdrawn and its rows
// removed.
type VNIState struct {
	VNI    VNI
	Up     bool
	Reason string // why it is down, in the operator's words
}

// LocalMACLearned is a MAC seen on an access port, or a change of its port or flags.
type LocalMACLearned struct {
	VNI    VNI
	MAC    MAC
	Port   string // interface name, for display
	Sticky bool   // pinned by the operator: announced sticky (RFC 7432 §15.2)
	// Gateway says that this is the bridge's own MAC as an anycast gateway: every
	// VTEP has it, and announces it with the default-gateway community (RFC 7432 §10.1).
	Gateway bool
}

// LocalMACGone is a local MAC that aged out or was removed.
type LocalMACGone struct {
	VNI VNI
	MAC MAC
}

// LocalIPLearned is an IP address that a host on an access port uses.
type LocalIPLearned struct {
	VNI    VNI
	IP     netip.Addr
	MAC    MAC
	Router bool // IPv6 neighbour with the router flag
	// Source says how it was seen, for display: "kernel", "arp", "nd" or "dhcp".
	Source string
}

// LocalIPGone is a local IP binding that ended.
type LocalIPGone struct {
	VNI VNI
	IP  netip.Addr
	MAC MAC
}

// RoutesReceived is one UPDATE of a neighbour, decoded and found well-formed.
// Withdrawn is applied before Announced.
type RoutesReceived struct {
	Neighbor  netip.Addr
	Announced []Route
	Withdrawn []RouteKey
}

// NeighborUp is a session that reached established.
type NeighborUp struct {
	Neighbor netip.Addr
	RouterID netip.Addr
	ASN      uint32
	IBGP     bool
	// EndOfRIB says that the neighbour will send an End-of-RIB marker (RFC 4724); one
	// that will not counts as complete once it has sent nothing for 5 s.
	EndOfRIB bool
	// KeptForwarding says that the neighbour restarted and kept its forwarding
	// state for EVPN (F bit): its stale routes wait for End-of-RIB. False drops
	// them at once (RFC 4724 §4.2).
	KeptForwarding bool
	// KeptLongLived says the same of routes that are long-lived stale by now (F bit
	// of the LLGR capability, RFC 9494 §4.2).
	KeptLongLived bool
}

// NeighborDown is a session that ended. With Graceful, its routes stay, stale,
// until the neighbour's End-of-RIB or for StaleTime. Without it they go at once,
// also those that an earlier graceful end left waiting.
type NeighborDown struct {
	Neighbor  netip.Addr
	Graceful  bool
	StaleTime time.Duration
	// LongLived is how long routes stay after StaleTime as long-lived stale: used
	// only where nothing better is known (RFC 9494). 0 = not at all.
	LongLived time.Duration
}

// NeighborRemoved is a neighbour that left the configuration.
type NeighborRemoved struct{ Neighbor netip.Addr }

// EndOfRIB is the marker that a neighbour's first full table is complete.
type EndOfRIB struct{ Neighbor netip.Addr }

// DuplicateCleared is the operator's `mac clear-duplicate`. A zero MAC clears
// all frozen MACs of the VNI.
type DuplicateCleared struct {
	VNI VNI
	MAC MAC
}

// NextHopState is what the underlay knows of the way to a remote VTEP. One that
// was never reported counts as reachable.
type NextHopState struct {
	VTEP      netip.Addr
	Reachable bool
	Reason    string // why it is not, in the operator's words
	// Own says that the address is one of this host, so that what is sent there comes back. Whatever the policy for VTEPs that
	// cannot be reached, such a one is used for nothing.
	Own bool
}

// NeighborRestored gives back the state of a neighbour whose routes came before it.
// Like all events of this kind it is part of a snapshot: see [Core.Snapshot].
type NeighborRestored struct {
	Neighbor  netip.Addr
	Up        bool
	EverUp    bool
	Complete  bool          // sent End-of-RIB
	Current   bool          // in the session that is up
	StaleTime time.Duration // of the last graceful end
	LongLived time.Duration
	Deadline  time.Time  // when Stale expire; zero when there are none
	GoneAt    time.Time  // when Expired go
	QuietAt   time.Time  // when one that sends no End-of-RIB is looked at; zero when that is not waited for
	HeardAt   time.Time  // when it sent routes since
	Stale     []RouteKey // RFC 4724
	Expired   []RouteKey // long-lived stale, RFC 9494
}

// PlaceRestored keeps the place under max_macs of a MAC that comes with [MACRestored], because
// it was heard on the segment. The routes that had to wait for a place come before that. Part
// of a snapshot.
type PlaceRestored struct {
	VNI VNI
	MAC MAC
}

// MACRestored gives back a local MAC, with what it has behind it, or the history of one
// that is not local now. Part of a snapshot.
type MACRestored struct {
	VNI       VNI
	MAC       MAC
	Local     bool // and then, as in [LocalMACLearned]:
	Port      string
	Sticky    bool
	Gateway   bool
	Announced bool // the claim stands
	Sequence  uint32
	Conflict  bool // was noted

	Moves          []time.Time // lately
	FrozenAt       time.Time   // zero while not frozen
	FrozenTo       netip.Addr  // remote VTEP, or zero for local
	FrozenSequence uint32      // of one frozen as local

	Heard         netip.Addr // VTEP of the segment behind which it was heard; zero when it was not
	HeardAt       time.Time  // last, or when a better claim took it
	HeardSequence uint32
	Claimed       bool // we announce it there
	Lost          bool // to the better claim
}

// IPRestored gives back the local binding of an IP, and its history. Part of a snapshot.
type IPRestored struct {
	VNI    VNI
	IP     netip.Addr
	MAC    MAC // zero when there is no binding
	Router bool
	Source string
	Claim  bool   // the sequence of the MAC does not count it yet
	Floor  uint32 // what that has to be at least

	Moves    []time.Time
	FrozenAt time.Time
	FrozenTo netip.Addr
}

// ReplicatorRestored gives back when a replicator may be chosen. Part of a snapshot.
type ReplicatorRestored struct {
	VNI      VNI
	VTEP     netip.Addr // where it listens
	ActiveAt time.Time  // zero = by now
}

// EngineState says whether what the flooding module copies goes on when this process is gone, for as
// long as neighbours keep its routes. Until it is told, it does not.
type EngineState struct{ Outlives bool }

// SyncRestored says that the first full picture was there. Part of a snapshot; who waits no
// longer for neighbours that did not come says so with it too.
type SyncRestored struct{}

// RelayRestored gives back the part that we had in the election of a VNI's segment. Part of
// a snapshot. Who follows one that relayed until a moment ago (see [Config.Resume]) gives
// Active, Own and Met before the VNI is up.
type RelayRestored struct {
	VNI      VNI
	Active   bool      // we copied for the segment
	Own      bool      // we copied our own frames
	Since    time.Time // when our claim went out; zero while it has not
	Met      bool      // there were others to take our part
	Mute     bool      // and they have it, because nobody hears us
	Withheld bool      // we wanted no copies, because we heard them on the group
	// Since when we wanted that of the others, to deliver, and whether we did.
	Asked      time.Time
	Delivering bool
}

// VTEPHeard is a VTEP that was heard by the flooding module: on the group of a VNI's
// segment, or at the service address. It counts until [VTEPSilent].
type VTEPHeard struct {
	VNI  VNI
	VTEP netip.Addr
}

// VTEPSilent is a VTEP that was not heard for the hold time, and does not answer.
type VTEPSilent struct {
	VNI  VNI
	VTEP netip.Addr
}

// MACHeard is the source of a frame that a VTEP of the segment sent to the group. It
// counts until [MACSilent], or until it is heard from another VTEP. One that was taken
// over by a better claim counts again when it is heard after that.
type MACHeard struct {
	VNI  VNI
	MAC  MAC
	VTEP netip.Addr
	Age  time.Duration // since it was last heard: who listens tells of it later
}

// MACSilent is one that was not heard for the hold time.
type MACSilent struct {
	VNI  VNI
	MAC  MAC
	VTEP netip.Addr
}

// Tick asks the core to look at its timers. See [Core.NextWake].
type Tick struct{}

func (ConfigReplaced) event()     {}
func (VNIState) event()           {}
func (LocalMACLearned) event()    {}
func (LocalMACGone) event()       {}
func (LocalIPLearned) event()     {}
func (LocalIPGone) event()        {}
func (RoutesReceived) event()     {}
func (NeighborUp) event()         {}
func (NeighborDown) event()       {}
func (NeighborRemoved) event()    {}
func (EndOfRIB) event()           {}
func (DuplicateCleared) event()   {}
func (NextHopState) event()       {}
func (NeighborRestored) event()   {}
func (PlaceRestored) event()      {}
func (MACRestored) event()        {}
func (IPRestored) event()         {}
func (EngineState) event()        {}
func (SyncRestored) event()       {}
func (ReplicatorRestored) event() {}
func (RelayRestored) event()      {}
func (VTEPHeard) event()          {}
func (VTEPSilent) event()         {}
func (MACHeard) event()           {}
func (MACSilent) event()          {}
func (Tick) event()               {}
