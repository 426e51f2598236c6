package evpn

import (
	"cmp"
	"net/netip"
)

// RowKind is the kind of a kernel row.
type RowKind uint8

// The kernel rows that the core asks for.
const (
	FloodRow    RowKind = iota + 1 // zero-MAC FDB row of the VXLAN device
	MACRow                         // remote MAC in bridge and VXLAN FDB
	NeighborRow                    // remote IP as neighbour of the bridge
)

func (k RowKind) String() string {
	switch k {
	case FloodRow:
		return "flood"
	case MACRow:
		return "mac"
	case NeighborRow:
		return "neighbor"
	default:
		return "unknown"
	}
}

// RowKey identifies a kernel row. It is comparable.
//
//   - flood: IP is the remote VTEP, the replicator or the multicast group, MAC is zero.
//   - mac: MAC is the host, IP is zero.
//   - neighbor: IP is the host's address, MAC is zero.
type RowKey struct {
	Kind RowKind
	VNI  VNI
	MAC  MAC
	IP   netip.Addr
}

// Compare gives the canonical order: VNI, kind, MAC, IP.
func (k RowKey) Compare(o RowKey) int {
	return cmp.Or(cmp.Compare(k.VNI, o.VNI), cmp.Compare(k.Kind, o.Kind), k.MAC.Compare(o.MAC), k.IP.Compare(o.IP))
}

// RowValue is what a row says. It is comparable.
//
//   - flood: empty.
//   - mac: VTEP and Sticky.
//   - neighbor: MAC (the link-layer address) and Router.
type RowValue struct {
	VTEP   netip.Addr
	MAC    MAC
	Sticky bool
	Router bool
}

// Row is one intended kernel row.
type Row struct {
	RowKey
	RowValue
}

// RowChange sets a row to a value, or removes it.
type RowChange struct {
	Row
	Remove bool
	Was    RowValue // what the row said before; zero when it was not there
}

// Changes is what follows from the events since the last [Core.Drain]: the net
// effect, at most one change per key, each list in canonical order.
type Changes struct {
	Announce []Route    // new or changed routes of our own
	Withdraw []RouteKey // routes of our own that ended
	Rows     []RowChange
	NextHops []NextHopChange
	Lists    []ListChange // for the flooding module
	Relays   []RelayChange
	Notes    []Note
}

// Empty reports that nothing follows.
func (c Changes) Empty() bool {
	return len(c.Announce)+len(c.Withdraw)+len(c.Rows)+len(c.NextHops)+len(c.Lists)+len(c.Relays)+len(c.Notes) == 0
}

// NextHopChange says that the way to a remote VTEP is of interest, or no longer.
// VTEPs are named by routes and by the configuration, whether or not rows exist. One
// that is of interest already is asked for again when nothing named it for a while:
// what [NextHopState] said of it is forgotten then, and wanted once more.
type NextHopChange struct {
	VTEP   netip.Addr
	Remove bool
}

// Desired is the whole intended state in canonical order.
type Desired struct {
	Routes   []Route // that we originate
	Rows     []Row
	NextHops []netip.Addr // remote VTEPs whose way is of interest
	Lists    []ListEntry  // for the flooding module, by VNI and address
	Relays   []Relay      // by VNI
}

// NoteKind says what a [Note] reports.
type NoteKind string

// The notes that the daemon logs and counts.
const (
	NoteMACMoved         NoteKind = "mac_moved"          // between VTEPs, or local and remote
	NoteDuplicate        NoteKind = "mac_duplicate"      // frozen (RFC 7432 §15.1)
	NoteDuplicateCleared NoteKind = "mac_duplicate_over" // thawed by timer or by hand
	NoteStickyConflict   NoteKind = "mac_sticky_conflict"
	NoteGatewayConflict  NoteKind = "mac_gateway_conflict" // our gateway MAC, as a host elsewhere
	NoteIPMoved          NoteKind = "ip_moved"             // to another MAC (RFC 9721 §6)
	NoteIPDuplicate      NoteKind = "ip_duplicate"         // two MACs claim it in turn: frozen (RFC 9721 §8)
	NoteIPDuplicateOver  NoteKind = "ip_duplicate_over"    // thawed by timer or by hand
	NoteRouteIgnored     NoteKind = "route_ignored"
	NoteVNIUp            NoteKind = "vni_up"
	NoteVNIDown          NoteKind = "vni_down"
	NoteVTEPUp           NoteKind = "vtep_up"
	NoteVTEPDown         NoteKind = "vtep_down"
	NoteMACLimit         NoteKind = "mac_limit"
	NoteVTEPUnreachable  NoteKind = "vtep_unreachable" // no way through the underlay
	NoteVTEPReachable    NoteKind = "vtep_reachable"   // again
	NoteNeighborLimit    NoteKind = "neighbor_limit"
	NoteReplicatorChosen NoteKind = "replicator_chosen" // an assisted VNI sends to it (RFC 9574)
	NoteReplicatorNone   NoteKind = "replicator_none"   // it sends to all VTEPs instead
	NoteRelayElected     NoteKind = "relay_elected"     // it copies for the VTEPs of a segment
	NoteRelayNone        NoteKind = "relay_none"        // nobody does
	NoteRelayContrary    NoteKind = "relay_contrary"    // it brings frames to the segment another way than is set here
	NoteProxyVTEP        NoteKind = "proxy_vtep"        // a VTEP of the segment without EVPN: we speak for it
	NoteProxyVTEPOver    NoteKind = "proxy_vtep_over"   // it is silent, or speaks itself
	NoteHeardLimit       NoteKind = "heard_limit"       // too many VTEPs were heard
	NoteSynced           NoteKind = "synced"            // first full picture: see [Core.Synced]
)

// Note is something an operator may want to know. Fields that do not apply are zero.
type Note struct {
	Kind     NoteKind
	VNI      VNI
	MAC      MAC
	IP       netip.Addr
	VTEP     netip.Addr
	Neighbor netip.Addr
	Reason   Reason
	Detail   string
}

// Reason says why a received route is not used. The empty Reason means that it is.
type Reason string

// Why a route is not used.
const (
	OwnNextHop         Reason = "own address as next hop"
	NextHopNotUnicast  Reason = "next hop is not a unicast address"
	GroupMAC           Reason = "MAC has the group bit set"
	ZeroMAC            Reason = "MAC is zero"
	LabelZero          Reason = "label is 0"
	NoImportMatch      Reason = "no VNI imports its route targets"
	LabelMismatch      Reason = "label names another VNI"
	NotVXLAN           Reason = "encapsulation is not VXLAN"
	NoPMSI             Reason = "no PMSI tunnel attribute"
	PMSINotIngress     Reason = "PMSI tunnel is not ingress replication"
	TagNotZero         Reason = "Ethernet tag is not 0"
	OverMACLimit       Reason = "over max_macs of the VNI"
	OverNeighborLimit  Reason = "over max_prefixes of the neighbour"
	TypeNotUsed        Reason = "route type is not used here"
	VNIDown            Reason = "VNI is down"
	LosesElection      Reason = "another route is better"
	LosesToLocal       Reason = "MAC is local"
	LosesToStatic      Reason = "MAC is configured as static"
	LosesToHeard       Reason = "MAC was heard on the segment"
	DuplicateFrozen    Reason = "MAC is frozen as duplicate"
	FloodingOff        Reason = "flooding is off for the VNI"
	NextHopUnreachable Reason = "next hop is unreachable"
	GatewayIsLocal     Reason = "MAC is our own anycast gateway"
	AddressFamilyDiffs Reason = "next hop is of another address family than our VTEP"
	OwnRoute           Reason = "route is our own"
	WantsNoCopies      Reason = "its VTEP hears a group instead"
	OwnService         Reason = "own service address"
	NotReplicator      Reason = "assisted replication, but not a replicator's route"
	NotAssisted        Reason = "VNI has no use for replicators"
	ReplicatorWaits    Reason = "replicator is too new to be used"
	ReplicatorStandby  Reason = "another replicator is chosen"
	ReplicatorListens  Reason = "a replicator listens at its address"
)
