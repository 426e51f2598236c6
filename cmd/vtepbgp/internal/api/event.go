package api

import (
	"net/netip"
	"slices"
	"time"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// Event is something that happened in a running daemon.
type Event struct {
	Time     time.Time   `json:"time"`
	Kind     EventKind   `json:"kind"`
	Level    EventLevel  `json:"level"`
	VNI      evpn.VNI    `json:"vni"` // 0 = none
	MAC      string      `json:"mac"`
	IP       netip.Addr  `json:"ip"`
	VTEP     netip.Addr  `json:"vtep"`
	Neighbor netip.Addr  `json:"neighbor"`
	Port     string      `json:"port"`
	Origin   evpn.Origin `json:"origin"`
	Reason   string      `json:"reason"` // why, or by what it is counted
	Count    uint64      `json:"count"`  // of what is counted and not told one by one
	Words    string      `json:"words"`  // what the kind means
	Detail   string      `json:"detail"` // and more of it, for people
}

// EventLevel says how much an event matters.
type EventLevel string

// The levels, by the names that logs use.
const (
	LevelDebug   EventLevel = "debug"   // what happens per MAC or route
	LevelInfo    EventLevel = "info"    // the life of the daemon
	LevelWarning EventLevel = "warning" // service is degraded
)

// EventKind names what happened. What the core notes has the name of its
// [evpn.NoteKind].
type EventKind string

// The kinds that are no notes of the core.
const (
	EventMACLearned      EventKind = "mac_learned"
	EventMACChanged      EventKind = "mac_changed"
	EventMACGone         EventKind = "mac_gone"
	EventIPLearned       EventKind = "ip_learned"
	EventIPGone          EventKind = "ip_gone"
	EventNeighborUp      EventKind = "neighbor_up"
	EventNeighborDown    EventKind = "neighbor_down"
	EventNeighborRemoved EventKind = "neighbor_removed"
	EventNeighborSynced  EventKind = "neighbor_synced"
	EventRouteDropped    EventKind = "route_dropped"
	EventKernelRepair    EventKind = "kernel_repair"
	EventKernelResync    EventKind = "kernel_resync"
	EventKernelFailure   EventKind = "kernel_failure"
	EventConfigApplied   EventKind = "config_applied"
	EventFloodJoined     EventKind = "flood_joined"  // a flood list
	EventFloodLeft       EventKind = "flood_left"    // a flood list
	EventFloodEngine     EventKind = "flood_engine"  // another one copies
	EventFloodProblem    EventKind = "flood_problem" // why frames are not copied as they should be
	EventFloodRepair     EventKind = "flood_repair"
	EventFloodDropped    EventKind = "flood_dropped"
)

// The kinds that tell of the stream itself. They pass every filter.
const (
	EventMonitorBegins EventKind = "monitor_begins" // from here on everything is told
	EventMonitorLost   EventKind = "monitor_lost"   // Count events were not told: the reader was too slow
	EventMonitorEnds   EventKind = "monitor_ends"   // the daemon stops
)

// KindInfo says of a kind of event what it means.
type KindInfo struct {
	Kind  EventKind
	Level EventLevel
	Words string
}

// EventKinds lists the kinds there are, related ones together.
func EventKinds() []KindInfo { return slices.Clone(eventKinds) }

// Describe gives level and words of a kind, for events and for the log; the kind itself
// when there are none.
func (k EventKind) Describe() (EventLevel, string) {
	for i := range eventKinds {
		if eventKinds[i].Kind == k {
			return eventKinds[i].Level, eventKinds[i].Words
		}
	}
	return LevelInfo, string(k)
}

var eventKinds = []KindInfo{
	{EventMACLearned, LevelDebug, "mac learned"},
	{EventMACChanged, LevelDebug, "mac changed"},
	{EventKind(evpn.NoteMACMoved), LevelDebug, "mac moved"},
	{EventMACGone, LevelDebug, "mac gone"},
	{EventKind(evpn.NoteDuplicate), LevelWarning, "mac is a duplicate and frozen"},
	{EventKind(evpn.NoteDuplicateCleared), LevelInfo, "mac is no longer frozen"},
	{EventKind(evpn.NoteStickyConflict), LevelWarning, "sticky mac seen elsewhere"},
	{EventKind(evpn.NoteGatewayConflict), LevelWarning, "mac of our anycast gateway seen elsewhere"},
	{EventKind(evpn.NoteMACLimit), LevelWarning, "vni is at its limit of remote macs"},
	{EventIPLearned, LevelDebug, "ip learned"},
	{EventKind(evpn.NoteIPMoved), LevelDebug, "ip moved to another mac"},
	{EventKind(evpn.NoteIPDuplicate), LevelWarning, "ip is claimed by two macs and frozen"},
	{EventKind(evpn.NoteIPDuplicateOver), LevelInfo, "ip is no longer frozen"},
	{EventIPGone, LevelDebug, "ip gone"},
	{EventKind(evpn.NoteVTEPUp), LevelInfo, "vtep appeared"},
	{EventKind(evpn.NoteVTEPDown), LevelInfo, "vtep gone"},
	{EventKind(evpn.NoteVTEPUnreachable), LevelWarning, "vtep is unreachable"},
	{EventKind(evpn.NoteVTEPReachable), LevelInfo, "vtep is reachable again"},
	{EventKind(evpn.NoteReplicatorChosen), LevelInfo, "replicator chosen"},
	{EventKind(evpn.NoteReplicatorNone), LevelWarning, "no replicator left: frames go to all vteps"},
	{EventKind(evpn.NoteRelayElected), LevelInfo, "relay of the segment elected"},
	{EventKind(evpn.NoteRelayNone), LevelWarning, "segment has no relay"},
	{EventKind(evpn.NoteRelayContrary), LevelWarning, "relay has another segment_delivery than this host"},
	{EventKind(evpn.NoteProxyVTEP), LevelInfo, "vtep without evpn: announced by us"},
	{EventKind(evpn.NoteProxyVTEPOver), LevelInfo, "vtep is no longer announced by us"},
	{EventKind(evpn.NoteHeardLimit), LevelWarning, "too many vteps heard"},
	{EventFloodJoined, LevelDebug, "joined the flood list"},
	{EventFloodLeft, LevelDebug, "left the flood list"},
	{EventFloodEngine, LevelInfo, "flooding engine changed"},
	{EventFloodProblem, LevelWarning, "frames are not copied as they should be"},
	{EventFloodRepair, LevelWarning, "flooding repaired after somebody else changed it"},
	{EventFloodDropped, LevelWarning, "packets or copies dropped while flooding"},
	{EventKind(evpn.NoteVNIUp), LevelInfo, "vni is up"},
	{EventKind(evpn.NoteVNIDown), LevelWarning, "vni is down"},
	{EventNeighborUp, LevelInfo, "neighbor is up"},
	{EventNeighborSynced, LevelInfo, "neighbor has sent its whole table"},
	{EventNeighborDown, LevelWarning, "neighbor is down"},
	{EventNeighborRemoved, LevelInfo, "neighbor left the configuration"},
	{EventKind(evpn.NoteNeighborLimit), LevelWarning, "neighbor is at its limit of routes"},
	{EventKind(evpn.NoteRouteIgnored), LevelDebug, "route ignored"},
	{EventRouteDropped, LevelWarning, "part of received messages dropped"},
	{EventKind(evpn.NoteSynced), LevelInfo, "first full picture is there"},
	{EventKernelRepair, LevelWarning, "rows put back after somebody else changed them"},
	{EventKernelResync, LevelWarning, "kernel read again in full"},
	{EventKernelFailure, LevelWarning, "kernel refused writes"},
	{EventConfigApplied, LevelInfo, "configuration applied"},
	{EventMonitorBegins, LevelInfo, "everything is told from here on"},
	{EventMonitorLost, LevelWarning, "events lost: the reader is too slow"},
	{EventMonitorEnds, LevelInfo, "the daemon stops"},
}

// OfStream reports an event that tells of the stream and not of the daemon.
func (k EventKind) OfStream() bool {
	return k == EventMonitorBegins || k == EventMonitorLost || k == EventMonitorEnds
}
