package kernel

import (
	"errors"
	"net/netip"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/kernel/snoop"
)

// Backend is a kernel, real or in memory, as far as this package needs one. It
// says what is there and does what it is told; all decisions are above it. Its
// methods may be called from several goroutines.
type Backend interface {
	Links() ([]Link, error)
	Addresses() ([]Address, error)
	// AddAddress gives an address of ours to a link, with our mark, or has the host join
	// a multicast group by it, in a way that lasts beyond this process. EEXIST: it has it
	// already. EADDRINUSE: the host is a member, but no address says so.
	AddAddress(index int32, ip netip.Addr) error
	// DeleteAddress takes an address of ours away; EADDRNOTAVAIL when it is not there.
	DeleteAddress(index int32, ip netip.Addr) error
	// RemoveLocalRoute removes the route by which packets to an address of a link stay on
	// this host; ESRCH when there is none.
	RemoveLocalRoute(index int32, ip netip.Addr) error
	AddLink(LinkSpec) error
	SetLink(index int32, set LinkSettings) error
	DeleteLink(index int32) error

	// Dump calls yield for each row of one family: AF_BRIDGE (FDB of bridges and
	// VXLAN devices), AF_INET or AF_INET6 (neighbours).
	Dump(family uint8, yield func(Neighbor)) error
	// Find calls yield for single rows that are there. A row of the FDB is named by a
	// port of its bridge and NTF_MASTER, or by its device and NTF_SELF, and its MAC; a
	// neighbour by its link and address. EOPNOTSUPP says that only Dump can tell.
	Find(rows []Neighbor, yield func(Neighbor)) error
	// Write performs ops in order and reports those that failed by their index.
	// The error is for the batch as a whole: after it, the fate of the ops that were
	// not reported is unknown.
	Write(ops []NeighborOp, failed func(i int, err error)) error

	// Routes asks how packets of q would leave, for each destination, in order. A
	// destination without a way is told in its Route; the error is for all of them.
	Routes(q RouteQuery) ([]Route, error)

	// Subscribe opens a stream of what changes from now on among rows, links and addresses.
	Subscribe() (Subscription[Notification], error)
	// SubscribeRoutes does the same for what decides where packets go. Linux tells of
	// no IPv4 route that goes because its link went down or its address left
	// (fib_sync_down_dev, net/ipv4/fib_semantics.c): links have to be watched, too.
	SubscribeRoutes() (Subscription[RouteChange], error)
	// OpenWire gives access to whole frames.
	OpenWire() (snoop.Wire, error)
	Close() error
}

// Subscription is a stream of kernel events. Wait may run in a goroutine of its
// own; Drain must not run twice at once.
type Subscription[T any] interface {
	// Wait blocks until there is something to drain; it fails when the
	// subscription is closed.
	Wait() error
	// Drain hands over what has arrived, at most limit events, without waiting. It
	// reports whether more may be there. [ErrLost] says that events were dropped,
	// any other error that the subscription is dead.
	Drain(limit int, yield func(T)) (more bool, err error)
	Close() error
}

// ErrLost is a subscription's report that the kernel dropped events (ENOBUFS).
var ErrLost = errors.New("kernel dropped events")

// Notification is one event. With Link set, some link or address changed; else
// Neighbor is new (or changed), or gone when Deleted.
type Notification struct {
	Link     bool
	Deleted  bool
	Neighbor Neighbor
}

// Link is one network interface.
type Link struct {
	Index  int32
	Master int32 // 0 = none
	Name   string
	Kind   string // "vxlan", "bridge", "veth", …; empty for hardware and lo
	Alias  string
	MTU    int
	MAC    evpn.MAC
	Up     bool // administratively
	// Running says that it carries packets: it is up, and so is the other end.
	Running bool
	Loop    bool // a loopback
	IPv6    bool // IPv6 is on (disable_ipv6, and an MTU of 1280 at least)
	// Multicast says that it carries multicast.
	Multicast bool
	// SourceCheck is rp_filter, the larger one of the link's and that of all: with 1, IPv4
	// packets are dropped whose source is routed by another link.
	SourceCheck uint8

	VXLAN  VXLANAttributes  // when Kind is "vxlan"
	Bridge BridgeAttributes // when Kind is "bridge"
	Port   PortAttributes   // when Master is a bridge
}

// VXLANAttributes is what a VXLAN device was made with.
type VXLANAttributes struct {
	VNI      evpn.VNI
	Local    netip.Addr // zero = none
	Remote   netip.Addr // default remote or group; zero = none
	Link     int32      // that packets to Remote leave by; 0 = by route
	Port     uint16     // UDP destination port
	Learning bool
	External bool // collect-metadata mode: the VNI comes with each packet
}

// BridgeAttributes is what matters of a bridge.
type BridgeAttributes struct {
	VLANFiltering bool
}

// PortAttributes is what matters of a bridge port.
type PortAttributes struct {
	Bridge        bool // the master is a bridge
	Learning      bool
	NeighSuppress bool
}

// Address is an IP address of an interface.
type Address struct {
	Index int32
	IP    netip.Addr
	// Prefix is what is on the link with it.
	Prefix netip.Prefix
	// Tentative or failed IPv6 addresses cannot be a source yet.
	Unusable bool
	// Ours says that it bears our mark.
	Ours bool
}

// LinkSpec is a link to create: a bridge, or a VXLAN device when VXLAN.VNI is set.
type LinkSpec struct {
	Name  string
	MTU   int // 0 = kernel's choice
	VXLAN VXLANAttributes
}

// LinkSettings changes a link. Nil fields stay as they are.
type LinkSettings struct {
	Alias         *string
	MTU           *int
	Master        *int32
	Up            *bool
	Local         *netip.Addr // of a VXLAN device; the family cannot change
	NoAutoAddress bool        // addrgenmode none: no IPv6 link-local address
	Learning      *bool       // of the bridge port
	NeighSuppress *bool
}

// Neighbor is one row of the FDB (Family AF_BRIDGE) or of the neighbour table, as
// RTM_NEWNEIGH tells it.
type Neighbor struct {
	Family   uint8
	Flags    uint8 // NTF_*
	Protocol uint8 // RTPROT_*
	State    uint16
	VLAN     uint16
	Index    int32
	Master   int32 // the bridge, for rows of a bridge
	MAC      evpn.MAC
	Addr     netip.Addr // VTEP of a VXLAN row, or the address of a neighbour
	Via      int32      // link that a VXLAN row sends by; 0 = by route
}

// RouteQuery asks for the ways of packets that a VXLAN device sends.
type RouteQuery struct {
	Source netip.Addr // zero = whatever the kernel chooses
	Device int32      // link that they have to leave by; 0 = any
	Port   uint16     // UDP destination port, for policy routing
	To     []netip.Addr
}

// Route is the way to one destination.
type Route struct {
	// Err says that there is none: ENETUNREACH when no route matches; EHOSTUNREACH,
	// EINVAL and EACCES for routes of the types unreachable, blackhole and prohibit.
	Err     error
	Type    uint8 // RTN_*: RTN_UNICAST, or RTN_LOCAL for an address of this host
	Device  int32
	Gateway netip.Addr // zero = on link
	MTU     int        // of the route, or learned for the destination; 0 = that of the device
}

// RouteChange says that the ways to the addresses in Prefix may be others now, or
// with the zero Prefix, all ways.
type RouteChange struct{ Prefix netip.Prefix }

// Verb is what a [NeighborOp] does.
type Verb uint8

// What a [NeighborOp] does.
const (
	Replace Verb = iota // create, or change what is there
	Append              // add one more destination (zero-MAC rows)
	Delete
)

func (v Verb) String() string {
	switch v {
	case Replace:
		return "replace"
	case Append:
		return "append"
	default:
		return "delete"
	}
}

// NeighborOp is one message of a batch.
type NeighborOp struct {
	Verb Verb
	Neighbor
}
