package speaker

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Defaults of timers that are zero in the configuration.
const (
	DefaultHoldTime = 90 * time.Second // RFC 4271 §10
	// DefaultConnectRetry caps the wait between attempts to dial. RFC 4271 §10 suggests
	// 120 s; a peer that boots must not cost that.
	DefaultConnectRetry = 2 * time.Second
	DefaultPort         = 179
	// MaxGracefulRestartTime is what 12 bits hold (RFC 4724 §3).
	MaxGracefulRestartTime = 4095 * time.Second
	// MaxLongLivedStaleTime is what 24 bits hold (RFC 9494 §3.1).
	MaxLongLivedStaleTime = (1<<24 - 1) * time.Second
)

// Config is what the speaker must know.
type Config struct {
	ASN                 uint32
	RouterID            netip.Addr
	ListenPort          int          // 0 = do not listen
	ListenAddresses     []netip.Addr // empty = all, IPv4 and IPv6
	HoldTime            time.Duration
	GracefulRestartTime time.Duration // 0 = graceful restart off
	// Restarting says that forwarding state was kept over a restart: the first OPEN to
	// each neighbour carries the R and F bits (RFC 4724 §4.1).
	Restarting bool
	// Expected are the neighbours of the run before. A reflector that restarts does not end its
	// table before they have ended theirs, or the restart time has passed (RFC 4724 §4.1).
	Expected     []netip.Addr
	GoBGPListen  string // address of GoBGP's gRPC API; "" = off
	Neighbors    []Neighbor
	DynamicLimit int // neighbours made from prefixes at one time; 0 = 1000
}

// Neighbor is one configured neighbour, or a prefix whose addresses may become neighbours.
type Neighbor struct {
	Address              netip.Addr   // this …
	Prefix               netip.Prefix // … or this
	ASN                  uint32
	Port                 int // to dial; 0 = 179
	Description          string
	Password             string // TCP MD5 (RFC 2385)
	RouteReflectorClient bool
	Passive              bool
	TTLSecurity          bool // GTSM (RFC 5082)
	EBGPMultihop         int  // TTL; 0 = directly connected
	MaxPrefixes          int  // 0 = no limit
	HoldTime             time.Duration
	KeepaliveTime        time.Duration
	ConnectRetry         time.Duration
	// LongLivedStaleTime is how long routes stay, as a last resort, after the neighbour's restart time
	// has passed, if it agrees; 0 = not at all (RFC 9494). We ask it for the same.
	LongLivedStaleTime time.Duration
	RFC9574            bool // it gets our replicator routes as that RFC has them: see [wire.PeerKind]
	BFD                BFD
	VTEPSource         netip.Addr // local address to dial from; zero = the kernel chooses
}

func (n Neighbor) dynamic() bool { return n.Prefix.IsValid() }

func (n Neighbor) name() string {
	if n.dynamic() {
		return n.Prefix.String()
	}
	return n.Address.String()
}

func (n Neighbor) port() int {
	if n.Port == 0 {
		return DefaultPort
	}
	return n.Port
}

func (c Config) ibgp(n Neighbor) bool { return n.ASN == c.ASN }

// knows reports whether a is a neighbour, or may become one.
func (c Config) knows(a netip.Addr) bool {
	return slices.ContainsFunc(c.Neighbors, func(n Neighbor) bool { return n.Address == a || n.dynamic() && n.Prefix.Contains(a) })
}

func (c Config) holdTime(n Neighbor) time.Duration {
	switch {
	case n.HoldTime != 0:
		return n.HoldTime
	case c.HoldTime != 0:
		return c.HoldTime
	default:
		return DefaultHoldTime
	}
}

func (c Config) keepalive(n Neighbor) time.Duration {
	if n.KeepaliveTime != 0 {
		return n.KeepaliveTime
	}
	return c.holdTime(n) / 3
}

func (c Config) connectRetry(n Neighbor) time.Duration {
	if n.ConnectRetry != 0 {
		return n.ConnectRetry
	}
	return DefaultConnectRetry
}

func (c Config) dynamicLimit() int {
	if c.DynamicLimit == 0 {
		return 1000
	}
	return c.DynamicLimit
}

// transit reports whether GoBGP must hold the routes: see the package documentation.
func (c Config) transit() bool {
	if c.GoBGPListen != "" {
		return true
	}
	several, ebgp := len(c.Neighbors) > 1, false
	for _, n := range c.Neighbors {
		if n.RouteReflectorClient {
			return true
		}
		several = several || n.dynamic()
		ebgp = ebgp || !c.ibgp(n)
	}
	return several && ebgp
}

func (c Config) validate() error {
	var errs []error
	if c.ASN == 0 {
		errs = append(errs, errors.New("asn is 0"))
	}
	if !c.RouterID.Is4() || c.RouterID.IsUnspecified() {
		errs = append(errs, fmt.Errorf("router ID %q is not an IPv4 address", c.RouterID))
	}
	if c.ListenPort < 0 || c.ListenPort > 65535 {
		errs = append(errs, fmt.Errorf("listen port %d is outside 0..65535", c.ListenPort))
	}
	if c.GracefulRestartTime < 0 || c.GracefulRestartTime > MaxGracefulRestartTime {
		errs = append(errs, fmt.Errorf("graceful restart time %s is outside 0s..%s", c.GracefulRestartTime, MaxGracefulRestartTime))
	}
	seen := map[string]bool{}
	for _, n := range c.Neighbors {
		if err := n.validate(c); err != nil {
			errs = append(errs, fmt.Errorf("neighbor %s: %w", n.name(), err))
		}
		if seen[n.name()] {
			errs = append(errs, fmt.Errorf("neighbor %s: configured twice", n.name()))
		}
		seen[n.name()] = true
	}
	return errors.Join(errs...)
}

func (n Neighbor) validate(c Config) error {
	var errs []error
	if n.Address.IsValid() == n.Prefix.IsValid() {
		errs = append(errs, errors.New("needs an address or a prefix, not both"))
	}
	if n.ASN == 0 {
		errs = append(errs, errors.New("asn is 0"))
	}
	// RFC 4271 §4.2: a hold time is 0 or at least three seconds; 0 means default here.
	if h := c.holdTime(n); h < 3*time.Second || h > 65535*time.Second {
		errs = append(errs, fmt.Errorf("hold time %s is outside 3s..65535s", h))
	}
	if n.Port < 0 || n.Port > 65535 {
		errs = append(errs, fmt.Errorf("port %d is outside 1..65535", n.Port))
	}
	if len(n.Password) > maxMD5Key {
		errs = append(errs, fmt.Errorf("password has %d octets, TCP MD5 takes %d", len(n.Password), maxMD5Key))
	}
	if n.EBGPMultihop < 0 || n.EBGPMultihop > 255 {
		errs = append(errs, fmt.Errorf("multihop TTL %d is outside 0..255", n.EBGPMultihop))
	}
	if n.LongLivedStaleTime < 0 || n.LongLivedStaleTime > MaxLongLivedStaleTime {
		errs = append(errs, fmt.Errorf("long-lived stale time %s is outside 0s..%s", n.LongLivedStaleTime, MaxLongLivedStaleTime))
	}
	if b := n.BFD; b.Enabled && (b.Interval < time.Millisecond || b.Interval > time.Minute || b.Multiplier < 1 || b.Multiplier > 255) {
		errs = append(errs, fmt.Errorf("BFD with %s × %d is outside 1ms..1m, 1..255", b.Interval, b.Multiplier))
	}
	if n.TTLSecurity && n.EBGPMultihop > 0 {
		errs = append(errs, errors.New("TTL security and eBGP multihop exclude each other"))
	}
	return errors.Join(errs...)
}
