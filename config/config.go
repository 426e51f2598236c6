package config

import (
	"net/netip"
	"time"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// DefaultPath is where the configuration lies unless the operator says otherwise.
const DefaultPath = "/etc/vtepbgp/vtepbgp.toml"

// Config is a validated configuration: every default is filled in and no part
// contradicts another. Lists keep the order of the file; VNIs are sorted by id.
type Config struct {
	BGP       BGP
	VTEP      VTEP // zero when there are no VNIs (a pure route reflector)
	Neighbors []Neighbor
	VNIs      []VNI
	Duplicate evpn.DuplicateConfig
	Flood     Flood
	API       API
	Log       Log
	State     State
}

// BGP is our side of every session.
type BGP struct {
	ASN                 uint32
	RouterID            netip.Addr // always set, always IPv4
	ListenPort          int        // 0 = do not listen
	ListenAddresses     []netip.Addr
	HoldTime            time.Duration // whole seconds, at least 3
	GracefulRestartTime time.Duration // whole seconds up to 4095; 0 = off
}

// VTEP is where tunnels end on this host. One of Address and Interface is set.
type VTEP struct {
	Address   netip.Addr
	Interface string // take the address of this interface
	UDPPort   uint16
	// Unreachable says what becomes of rows towards a VTEP that no route leads to.
	Unreachable evpn.UnreachablePolicy
}

// Neighbor is one BGP neighbour, or, when Prefix is set, every neighbour that
// connects from within it.
type Neighbor struct {
	Address              netip.Addr
	Prefix               netip.Prefix
	ASN                  uint32
	Port                 int
	Description          string
	Password             string // TCP MD5 (RFC 2385), from password or password_file
	PasswordFile         string // absolute; empty when the password stood in the file itself
	RouteReflectorClient bool
	Passive              bool // always true with Prefix
	TTLSecurity          bool // GTSM (RFC 5082)
	EBGPMultihop         int  // TTL; 0 = directly connected
	MaxPrefixes          int  // 0 = no limit
	HoldTime             time.Duration
	KeepaliveTime        time.Duration // 0 = a third of the negotiated hold time
	ConnectRetry         time.Duration // 0 = the speaker's own backoff
	LongLivedStaleTime   time.Duration // RFC 9494, whole seconds, 24 bits; 0 = off
	ReplicatorRoute      ReplicatorRoute
	BFD                  BFD
}

// ReplicatorRoute is the form in which a neighbour gets the route of a replicator.
type ReplicatorRoute string

// The forms. FRR ends the session over that of RFC 9574.
const (
	ReplicatorCompatible ReplicatorRoute = "compatible"
	ReplicatorRFC9574    ReplicatorRoute = "rfc9574"
)

// BFD is how the life of a neighbour is watched beside BGP's own timers (RFC 5880).
type BFD struct {
	Enabled    bool
	Interval   time.Duration // wanted between two packets, in both directions
	Multiplier int           // packets missed until the neighbour counts as down
	Mode       BFDMode
}

// BFDMode is the kind of a BFD session.
type BFDMode string

// The kinds of BFD sessions. Automatic is single-hop for a neighbour on a
// connected subnet without ebgp_multihop, else multihop, as FRR does it.
const (
	BFDAuto      BFDMode = "auto"
	BFDSingleHop BFDMode = "single-hop" // RFC 5881
	BFDMultihop  BFDMode = "multihop"   // RFC 5883
)

// VNI is one VXLAN network.
type VNI struct {
	ID           evpn.VNI
	Device       string
	Bridge       string
	Manage       bool
	Ports        []string
	MTU          int     // 0 = what the underlay leaves
	UDPPort      uint16  // vtep.udp_port unless overridden
	RD           evpn.RD // zero = automatic: the daemon allots <router-id>:<n>
	Export       []evpn.RouteTarget
	Import       []evpn.ImportTarget
	Flooding     evpn.FloodMode
	Multicast    *Multicast // with evpn.FloodMulticast, else nil
	RateLimit    int        // frames a second that are copied; flood.rate_limit_pps unless overridden; 0 = no limit
	Suppression  bool
	AdvertiseSVI bool
	// AnycastGateway announces the bridge's own MAC and addresses as a gateway that
	// every VTEP has.
	AnycastGateway bool
	MaxMACs        int // 0 = no limit
	MaxIPsPerMAC   int // local addresses; 0 = no limit
	MaxIPsPerPort  int
	StaticVTEPs    []netip.Addr
	StaticMACs     []evpn.StaticMAC
}

// Multicast is the segment of a VNI whose BUM frames go to a multicast group.
type Multicast struct {
	Group     netip.Addr
	Interface string         // on the segment; "" = where the VTEP address lives
	Segment   []netip.Prefix // VTEPs that hear the group; nil = the connected prefixes of the interface
	// ProxyVTEPs relays for hosts that run no EVPN: those heard on the group are announced.
	ProxyVTEPs bool
	ProxyMACs  bool // and the sources of their frames
	Delivery   evpn.SegmentDelivery
}

// Flood is how BUM frames are copied, where that is not the kernel's work.
type Flood struct {
	Engine    string // auto, ebpf, socket
	Interface string // on which frames arrive at the service address; "" = where the VTEP address lives
	// ServiceAddress is where others send frames to be copied; zero = nowhere.
	ServiceAddress netip.Addr
	LearnFromData  bool          // VTEPs heard at the service address join the list
	HoldTime       time.Duration // VTEPs and MACs that were heard are kept that long; whole seconds
	RateLimit      int           // of VNIs that do not override it
}

// API is where the daemon can be asked.
type API struct {
	Socket        string
	MetricsListen string // host:port; empty = off
	GoBGPListen   string // host:port; empty = off
}

// Log is what is logged, how, and where to.
type Log struct {
	Level       string // debug, info, warn, error
	Format      string // text, json
	Destination string // stderr, stdout, syslog, or the absolute path of a file
}

// State is where the daemon remembers what must survive a restart.
type State struct {
	Directory string
}
