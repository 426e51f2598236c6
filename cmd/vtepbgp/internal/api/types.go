package api

import (
	"net/netip"
	"time"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// Status is the daemon at a glance.
type Status struct {
	Version       string          `json:"version"`
	PID           int             `json:"pid"`
	ConfigFile    string          `json:"config_file"`
	Started       time.Time       `json:"started"`
	UptimeSeconds int64           `json:"uptime_seconds"`
	Ready         bool            `json:"ready"`
	Synced        bool            `json:"synced"`        // every neighbour has sent its first full table
	PruneAllowed  bool            `json:"prune_allowed"` // rows found at start and confirmed by nobody are gone
	NotReady      string          `json:"not_ready"`     // why, when Ready is false
	ASN           uint32          `json:"asn"`
	RouterID      netip.Addr      `json:"router_id"`
	VTEPAddress   netip.Addr      `json:"vtep_address"`
	Neighbors     NeighborSummary `json:"neighbors"`
	VNIs          VNISummary      `json:"vnis"`
	LocalMACs     int             `json:"local_macs"`
	RemoteMACs    int             `json:"remote_macs"`
	VTEPs         int             `json:"vteps"`
	// VTEPsUnreachable are those that the underlay has no way to.
	VTEPsUnreachable int           `json:"vteps_unreachable"`
	Routes           RouteSummary  `json:"routes"`
	Kernel           KernelSummary `json:"kernel"`
	Reload           ReloadSummary `json:"reload"`
	Problems         []string      `json:"problems"`
}

// NeighborSummary counts neighbours.
type NeighborSummary struct {
	Total       int `json:"total"`
	Established int `json:"established"`
}

// VNISummary counts VNIs.
type VNISummary struct {
	Total int `json:"total"`
	Up    int `json:"up"`
}

// RouteSummary counts routes over all neighbours.
type RouteSummary struct {
	Received int `json:"received"`
	Accepted int `json:"accepted"`
	Shed     int `json:"shed"` // counted but not kept: no VNI imports them
	Own      int `json:"own"`  // originated here
}

// KernelSummary is the state of the kernel reconciler.
type KernelSummary struct {
	Pending  int    `json:"pending"` // rows not yet as intended
	Writes   uint64 `json:"writes"`
	Failures uint64 `json:"failures"`
	Resyncs  uint64 `json:"resyncs"`
	Repairs  uint64 `json:"repairs"`
}

// ReloadSummary is the last reload.
type ReloadSummary struct {
	Count     uint64    `json:"count"`
	Last      time.Time `json:"last,omitzero"`
	LastError string    `json:"last_error"`
}

// Neighbor is one BGP neighbour.
type Neighbor struct {
	Address              netip.Addr `json:"address"`
	Prefix               string     `json:"prefix"` // of a dynamic neighbour
	Description          string     `json:"description"`
	ASN                  uint32     `json:"asn"`
	RouterID             netip.Addr `json:"router_id"`
	State                string     `json:"state"`
	UptimeSeconds        int64      `json:"uptime_seconds"` // since established; 0 otherwise
	Dynamic              bool       `json:"dynamic"`
	Passive              bool       `json:"passive"`
	RouteReflectorClient bool       `json:"route_reflector_client"`
	LocalAddress         netip.Addr `json:"local_address"`
	HoldTimeSeconds      int        `json:"hold_time_seconds"` // negotiated
	KeepaliveSeconds     int        `json:"keepalive_seconds"`
	GracefulRestart      bool       `json:"graceful_restart"`
	LongLived            LongLived  `json:"long_lived_graceful_restart"`
	// StaleSeconds is how long the routes of the session before still stay as stale, and
	// LongLivedStaleSeconds how long they stay in all; both 0 when there are none.
	StaleSeconds          int64             `json:"stale_seconds"`
	LongLivedStaleSeconds int64             `json:"long_lived_stale_seconds"`
	Capabilities          []string          `json:"capabilities"`
	RoutesReceived        int               `json:"routes_received"`
	RoutesAccepted        int               `json:"routes_accepted"`
	RoutesShed            int               `json:"routes_shed"`
	RoutesAdvertised      int               `json:"routes_advertised"`
	BFD                   BFD               `json:"bfd"`
	MessagesIn            uint64            `json:"messages_in"`
	MessagesOut           uint64            `json:"messages_out"`
	Flaps                 uint64            `json:"flaps"`
	Drops                 map[string]uint64 `json:"drops"` // by reason; {} when none
	LastError             string            `json:"last_error"`
}

// LongLived is what became of long-lived graceful restart (RFC 9494) in a neighbour's session.
type LongLived struct {
	Announced        bool  `json:"announced"` // by the neighbour, for EVPN
	AnnouncedSeconds int64 `json:"announced_seconds"`
	Forwarding       bool  `json:"forwarding"`     // it kept forwarding over a restart
	AgreedSeconds    int64 `json:"agreed_seconds"` // its routes stay this long after its restart time; 0 = not at all
}

// BFD is the BFD session of a neighbour (RFC 5880).
type BFD struct {
	State                 string     `json:"state"`         // "up" | "init" | "down" | "admin-down" | "off": without one
	RemoteState           string     `json:"remote_state"`  // as the neighbour told last
	Mode                  string     `json:"mode"`          // "single-hop" | "multihop"
	LocalAddress          netip.Addr `json:"local_address"` // "" = as the kernel chooses
	IntervalMilliseconds  float64    `json:"interval_ms"`   // negotiated, between packets of ours
	DetectionMilliseconds float64    `json:"detection_ms"`  // 0 until the neighbour was heard
	Multiplier            int        `json:"multiplier"`
	RemoteMultiplier      int        `json:"remote_multiplier"`
	Diagnostic            string     `json:"diagnostic"` // why the session left up, as we saw it; "none" while up
	RemoteDiagnostic      string     `json:"remote_diagnostic"`
	RemoteIndependent     bool       `json:"remote_control_plane_independent"` // the C bit
	Discriminator         uint32     `json:"discriminator"`
	RemoteDiscriminator   uint32     `json:"remote_discriminator"`
	UpSince               time.Time  `json:"up_since,omitzero"`
	Flaps                 uint64     `json:"flaps"` // times that it left up
	LastDown              time.Time  `json:"last_down,omitzero"`
	LastDownReason        string     `json:"last_down_reason"`
	PacketsIn             uint64     `json:"packets_in"`
	PacketsOut            uint64     `json:"packets_out"`
	Problem               string     `json:"problem"` // why packets cannot be sent or received
}

// VNI is one VXLAN network.
type VNI struct {
	VNI         evpn.VNI            `json:"vni"`
	Device      string              `json:"device"`
	Bridge      string              `json:"bridge"`
	VTEPAddress netip.Addr          `json:"vtep_address"`
	MTUBytes    int                 `json:"mtu"`
	RD          string              `json:"rd"`
	ImportRT    []evpn.ImportTarget `json:"import_rt"`
	ExportRT    []evpn.RouteTarget  `json:"export_rt"`
	Flooding    evpn.FloodMode      `json:"flooding"`
	Suppression bool                `json:"arp_suppression"`
	// "ready", "not ready" or "off", and what is missing for "ready".
	SuppressionState   string   `json:"suppression"`
	SuppressionMissing []string `json:"suppression_missing"`

	MaxMACs    int      `json:"max_macs"`
	LocalMACs  int      `json:"local_macs"`
	RemoteMACs int      `json:"remote_macs"`
	VTEPs      int      `json:"vteps"`
	State      string   `json:"state"` // "up" | "down"
	Problems   []string `json:"problems"`
}

// MAC is one MAC of a VNI.
type MAC struct {
	VNI       evpn.VNI     `json:"vni"`
	MAC       evpn.MAC     `json:"mac"`
	IPs       []netip.Addr `json:"ips"`
	Origin    evpn.Origin  `json:"origin"`
	VTEP      netip.Addr   `json:"vtep"`
	Port      string       `json:"port"`
	Sequence  uint32       `json:"sequence"`
	Sticky    bool         `json:"sticky"`
	Gateway   bool         `json:"gateway"` // an anycast gateway, or another default gateway
	Duplicate bool         `json:"duplicate"`
	// DuplicateIPs of the MAC are frozen: other MACs claim them too.
	DuplicateIPs []netip.Addr `json:"duplicate_ips"`
	Stale        bool         `json:"stale"` // from a neighbour that restarts
	// LongLivedStale says that it is there for want of anything better.
	LongLivedStale bool `json:"long_lived_stale"`
	Unreachable    bool `json:"unreachable"` // the underlay has no way to the VTEP
	Moves          int  `json:"moves"`       // inside the detection window
	// Installed says that the kernel holds the row: the FDB row of a remote or
	// static MAC. A local MAC is in the kernel by nature.
	Installed bool `json:"installed"`
}

// VTEP is one remote VTEP over all VNIs.
type VTEP struct {
	Address netip.Addr `json:"address"`
	VNIs    []evpn.VNI `json:"vnis"`
	MACs    int        `json:"macs"`
	// Sources say how it came onto flood lists; none when it is on none.
	Sources []evpn.FloodSource `json:"sources"`
	// Reachable says whether the underlay has a way to it; Reason, why not.
	Reachable    bool       `json:"reachable"`
	Reason       string     `json:"reason"`
	SinceSeconds int64      `json:"since_seconds"` // it has been so
	Interface    string     `json:"interface"`     // that packets to it leave by; "" = no way
	Gateway      netip.Addr `json:"gateway"`       // "" = on link
	MTUBytes     int        `json:"mtu"`           // of the way
}

// Route is one EVPN route: received when Neighbor is set, else our own.
type Route struct {
	Type           uint8              `json:"type"`
	TypeName       string             `json:"type_name"`
	RD             string             `json:"rd"`
	EthernetTag    uint32             `json:"ethernet_tag"`
	ESI            string             `json:"esi"`
	VNI            evpn.VNI           `json:"vni"`
	MAC            string             `json:"mac"`
	IP             netip.Addr         `json:"ip"`
	Prefix         string             `json:"prefix"`
	NextHop        netip.Addr         `json:"next_hop"`
	RouteTargets   []evpn.RouteTarget `json:"route_targets"`
	Encapsulation  []uint16           `json:"encapsulation"`
	Sequence       uint32             `json:"sequence"`
	Sticky         bool               `json:"sticky"`
	DefaultGateway bool               `json:"default_gateway"`
	Neighbor       netip.Addr         `json:"neighbor"`
	Local          bool               `json:"local"`
	Best           bool               `json:"best"`
	Stale          bool               `json:"stale"`
	LongLivedStale bool               `json:"long_lived_stale"`
	Imported       bool               `json:"imported"`
	ImportedBy     []evpn.VNI         `json:"imported_by"`
	Reason         evpn.Reason        `json:"reason"` // why it is not used
}

// ReloadResult is what a reload did.
type ReloadResult struct {
	Changed []string `json:"changed"` // in the operator's words; empty when nothing differed
}
