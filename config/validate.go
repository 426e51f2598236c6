package config

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// The defaults that are not zero.
const (
	defaultBGPPort       = 179
	defaultHoldTime      = 90 * time.Second
	defaultRestart       = 120 * time.Second
	defaultVXLANPort     = 4789 // RFC 7348 §8
	defaultSocket        = "/run/vtepbgp/vtepbgp.sock"
	defaultLogLevel      = "info"
	defaultLogFormat     = "text"
	defaultLogTarget     = "stderr"
	defaultStateDir      = "/var/lib/vtepbgp"
	defaultBFDInterval   = 300 * time.Millisecond
	defaultBFDMultiplier = 3
	defaultIPsPerMAC     = 64
	defaultIPsPerPort    = 4096
	defaultFloodHold     = 90 * time.Second // vxfld's
	minFloodHold         = time.Second
	maxFloodHold         = 24 * time.Hour
	minBFDInterval       = 10 * time.Millisecond
	maxBFDInterval       = time.Minute
	maxLongLived         = (1<<24 - 1) * time.Second // three octets (RFC 9494 §3.1)
	minHold              = 3 * time.Second           // RFC 4271 §4.2
	maxHold              = 65535 * time.Second       // two octets in the OPEN
	maxGracefulTime      = 4095 * time.Second        // twelve bits (RFC 4724 §3)
	maxConnectRetry      = 10 * time.Minute
	maxDuplicateTime     = 30 * 24 * time.Hour
	asTrans              = 23456 // RFC 6793 §9: stands for a 4-octet ASN, is nobody's
	maxASN               = math.MaxUint32
	maxPort              = math.MaxUint16
	maxMTU               = 65535
	minMTU               = 68 // RFC 791; the kernel's ETH_MIN_MTU
	maxPasswordOctets    = 80 // TCP_MD5SIG_MAXKEYLEN of linux/tcp.h
)

// validate turns raw into a Config, reporting all that is wrong. dir is the
// folder of the main file, for relative password_file paths.
func validate(raw *rawConfig, dir string) *Config {
	c := &Config{}
	vtep := or(raw.VTEP, &rawVTEP{scope: raw.table("vtep")})
	bgp := or(raw.BGP, &rawBGP{scope: raw.table("bgp")})
	c.VTEP = vtep.validate(len(raw.VNI) > 0, raw.VTEP != nil)
	c.BGP = bgp.validate(c.VTEP)
	for i := range raw.Neighbor {
		c.Neighbors = append(c.Neighbors, raw.Neighbor[i].validate(c, dir))
	}
	c.Flood = or(raw.Flood, &rawFlood{scope: raw.table("flood")}).validate(c.VTEP.Address)
	for i := range raw.VNI {
		c.VNIs = append(c.VNIs, raw.VNI[i].validate(c))
	}
	checkNeighborsTogether(raw.Neighbor, c)
	checkVNIsTogether(raw.VNI, c.VNIs)
	slices.SortStableFunc(c.VNIs, func(a, b VNI) int { return cmp.Compare(a.ID, b.ID) })
	c.Duplicate = or(raw.Duplicate, &rawDuplicate{scope: raw.table("duplicate_detection")}).validate()
	c.API = or(raw.API, &rawAPI{scope: raw.table("api")}).validate()
	c.Log = or(raw.Log, &rawLog{scope: raw.table("log")}).validate()
	c.State = or(raw.State, &rawState{scope: raw.table("state")}).validate()
	return c
}

// table is the scope of a table that need not be in the file.
func (s scope) table(name string) scope {
	s.path = name
	return s
}

func or[T any](p, absent *T) *T {
	if p == nil {
		return absent
	}
	return p
}

func (r *rawVTEP) validate(hasVNIs, present bool) VTEP {
	v := VTEP{UDPPort: uint16(intKey(r.scope, "udp_port", r.UDPPort, defaultVXLANPort, 1, maxPort))}
	v.Address = textKey(r.scope, "address", r.Address, netip.Addr{}, parseVTEP)
	v.Interface = checkedKey(r.scope, "interface", r.Interface, "", checkIfname)
	v.Unreachable = wordKey(r.scope, "unreachable", r.Unreachable, evpn.UnreachableKeep, evpn.UnreachableRemove)
	switch {
	case r.Address != nil && r.Interface != nil:
		r.problem(r.key("interface"), "contradicts vtep.address: keep one of the two")
	case r.Address == nil && r.Interface == nil && (hasVNIs || present):
		r.missing("address", `the VXLAN source address of this host, such as address = "10.0.0.1" (or interface = "lo")`)
	}
	return v
}

func (r *rawBGP) validate(vtep VTEP) BGP {
	b := BGP{
		ASN:                 asnKey(r.scope, r.ASN, "the AS number of this host, such as asn = 65000"),
		ListenPort:          int(intKey(r.scope, "listen_port", r.ListenPort, defaultBGPPort, 0, maxPort)),
		HoldTime:            durationKey(r.scope, "hold_time", r.HoldTime, defaultHoldTime, minHold, maxHold),
		GracefulRestartTime: durationKey(r.scope, "graceful_restart_time", r.GracefulRestartTime, defaultRestart, 0, maxGracefulTime),
		RouterID:            textKey(r.scope, "router_id", r.RouterID, netip.Addr{}, parseRouterID),
	}
	if r.RouterID == nil {
		switch {
		case vtep.Address.Is4():
			b.RouterID = vtep.Address
		case r.report.has(r.doc.file, "vtep.address"): // said already
		case vtep.Address.Is6():
			r.missing("router_id", `an IPv6 vtep.address gives none: choose an IPv4-like number unique among your routers, such as router_id = "10.0.0.1"`)
		case vtep.Interface != "":
			r.missing("router_id", `the addresses of vtep.interface may change and the router id must not: set one, such as router_id = "10.0.0.1"`)
		default:
			r.missing("router_id", `without vtep.address there is no default: set one, such as router_id = "10.0.0.1"`)
		}
	}
	seen := map[netip.Addr]bool{}
	b.ListenAddresses = listKey(r.scope, "listen_addresses", r.ListenAddresses, parseUnicast, func(key string, a netip.Addr) {
		if seen[a] {
			r.problem(key, "%s is listed twice", a)
		}
		seen[a] = true
	})
	if r.ListenAddresses != nil && r.ListenPort != nil && *r.ListenPort == 0 {
		r.problem(r.key("listen_addresses"), "contradicts listen_port = 0, which listens nowhere")
	}
	return b
}

func parseRouterID(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil || !a.Is4() || a.IsUnspecified() || a.IsMulticast() {
		return netip.Addr{}, fmt.Errorf(`want four octets such as "10.0.0.1", got %q`, s)
	}
	return a, nil
}

func (r *rawNeighbor) validate(c *Config, dir string) Neighbor {
	n := Neighbor{
		Address:              textKey(r.scope, "address", r.Address, netip.Addr{}, parseUnicast),
		Prefix:               textKey(r.scope, "prefix", r.Prefix, netip.Prefix{}, parsePrefix),
		ASN:                  asnKey(r.scope, r.ASN, "the AS number of the neighbour, such as asn = 65000"),
		Port:                 int(intKey(r.scope, "port", r.Port, defaultBGPPort, 1, maxPort)),
		Description:          checkedKey(r.scope, "description", r.Description, "", checkDescription),
		RouteReflectorClient: value(r.RouteReflectorClient, false),
		Passive:              value(r.Passive, r.Prefix != nil),
		TTLSecurity:          value(r.TTLSecurity, false),
		EBGPMultihop:         int(intKey(r.scope, "ebgp_multihop", r.EBGPMultihop, 0, 0, 255)),
		MaxPrefixes:          int(intKey(r.scope, "max_prefixes", r.MaxPrefixes, 0, 0, math.MaxInt32)),
		HoldTime:             durationKey(r.scope, "hold_time", r.HoldTime, c.BGP.HoldTime, minHold, maxHold),
		KeepaliveTime:        durationKey(r.scope, "keepalive_time", r.KeepaliveTime, 0, 0, maxHold),
		ConnectRetry:         durationKey(r.scope, "connect_retry", r.ConnectRetry, 0, 0, maxConnectRetry),
		LongLivedStaleTime:   durationKey(r.scope, "long_lived_stale_time", r.LongLivedStaleTime, 0, 0, maxLongLived),
		ReplicatorRoute:      wordKey(r.scope, "replicator_route", r.ReplicatorRoute, ReplicatorCompatible, ReplicatorRFC9574),
		BFD: BFD{
			Enabled:    value(r.BFD, false),
			Interval:   intervalKey(r.scope, "bfd_interval", r.BFDInterval, defaultBFDInterval, minBFDInterval, maxBFDInterval),
			Multiplier: int(intKey(r.scope, "bfd_multiplier", r.BFDMultiplier, defaultBFDMultiplier, 2, 255)),
			Mode:       wordKey(r.scope, "bfd_mode", r.BFDMode, BFDAuto, BFDSingleHop, BFDMultihop),
		},
	}
	r.password(&n, dir)
	r.contradictions(&n, c)
	return n
}

func (r *rawNeighbor) contradictions(n *Neighbor, c *Config) {
	switch {
	case r.Address != nil && r.Prefix != nil:
		r.problem(r.key("prefix"), "contradicts address: keep one of the two")
	case r.Address == nil && r.Prefix == nil:
		r.missing("address", `the neighbour's address, such as address = "10.0.0.254" (or prefix = "10.0.0.0/24" for all within)`)
	}
	if n.Address.IsValid() && (n.Address == c.VTEP.Address || slices.Contains(c.BGP.ListenAddresses, n.Address)) {
		r.problem(r.key("address"), "%s is an address of this host: want that of the neighbour", n.Address)
	}
	if r.Prefix != nil {
		if r.Port != nil {
			r.problem(r.key("port"), "has no effect with prefix: such neighbours connect to us, remove it")
		}
		if r.Passive != nil && !*r.Passive {
			r.problem(r.key("passive"), "contradicts prefix: such neighbours connect to us, remove it")
		}
		if r.ConnectRetry != nil {
			r.problem(r.key("connect_retry"), "has no effect with prefix: such neighbours connect to us, remove it")
		}
	}
	if n.Passive && c.BGP.ListenPort == 0 {
		key := "passive"
		if r.Prefix != nil {
			key = "prefix"
		}
		r.problem(r.key(key), "contradicts bgp.listen_port = 0: nobody could connect")
	}
	ibgp := n.ASN == c.BGP.ASN
	known := n.ASN != 0 && c.BGP.ASN != 0
	if n.TTLSecurity && n.EBGPMultihop > 0 {
		r.problem(r.key("ttl_security"), "contradicts ebgp_multihop: GTSM wants TTL 255 from a direct neighbour, keep one of the two")
	}
	if known && ibgp && n.EBGPMultihop > 0 {
		r.problem(r.key("ebgp_multihop"), "has no effect on iBGP (asn equals bgp.asn): remove it")
	}
	if known && !ibgp && n.RouteReflectorClient {
		r.problem(r.key("route_reflector_client"), "is for iBGP: asn %d differs from bgp.asn %d (RFC 4456)", n.ASN, c.BGP.ASN)
	}
	if n.LongLivedStaleTime > 0 && c.BGP.GracefulRestartTime == 0 {
		r.problem(r.key("long_lived_stale_time"), "contradicts bgp.graceful_restart_time = \"0s\": long-lived stale routes follow a graceful restart (RFC 9494 §3.1)")
	}
	if r.BFD == nil { // who writes bfd = false keeps the rest for later
		const why = "has no effect without bfd = true: add that, or remove this"
		idle(r.scope, "bfd_interval", r.BFDInterval, why)
		idle(r.scope, "bfd_multiplier", r.BFDMultiplier, why)
		idle(r.scope, "bfd_mode", r.BFDMode, why)
	}
	if n.BFD.Enabled && n.BFD.Mode == BFDSingleHop && n.EBGPMultihop > 1 {
		r.problem(r.key("bfd_mode"), "contradicts ebgp_multihop: a neighbour several hops away needs \"multihop\"")
	}
	if n.KeepaliveTime > 0 && n.HoldTime > 0 && n.KeepaliveTime >= n.HoldTime {
		r.problem(r.key("keepalive_time"), "want less than hold_time (%s), got %s", seconds(n.HoldTime), seconds(n.KeepaliveTime))
	}
}

func checkDescription(s string) error {
	if strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
		return fmt.Errorf("want one line without control characters, got %q", s)
	}
	return nil
}

// checkNeighborsTogether finds neighbours configured twice.
func checkNeighborsTogether(raw []rawNeighbor, c *Config) {
	addresses, prefixes := map[netip.Addr]string{}, map[netip.Prefix]string{}
	for i, n := range c.Neighbors {
		if n.Address.IsValid() {
			claim(raw[i].scope, addresses, n.Address, raw[i].key("address"), "neighbour %v is already configured at %s")
		}
		if n.Prefix.IsValid() {
			claim(raw[i].scope, prefixes, n.Prefix, raw[i].key("prefix"), "prefix %v is already configured at %s")
		}
	}
}

// claim notes that key uses id, or reports format with id and the place of its
// first use.
func claim[T comparable](s scope, used map[T]string, id T, key, format string) {
	if first, taken := used[id]; taken {
		s.problem(key, format, id, first)
		return
	}
	used[id] = s.at(key)
}

func (r *rawDuplicate) validate() evpn.DuplicateConfig {
	d := evpn.DefaultDuplicate
	return evpn.DuplicateConfig{
		Moves:    int(intKey(r.scope, "moves", r.Moves, int64(d.Moves), 0, math.MaxInt32)),
		Window:   durationKey(r.scope, "window", r.Window, d.Window, time.Second, maxDuplicateTime),
		Recovery: durationKey(r.scope, "recovery", r.Recovery, d.Recovery, 0, maxDuplicateTime),
	}
}

func (r *rawAPI) validate() API {
	a := API{
		Socket:        checkedKey(r.scope, "socket", r.Socket, defaultSocket, checkSocket),
		MetricsListen: checkedKey(r.scope, "metrics_listen", r.MetricsListen, "", checkListen),
		GoBGPListen:   checkedKey(r.scope, "gobgp_listen", r.GoBGPListen, "", checkListen),
	}
	if a.GoBGPListen != "" && a.GoBGPListen == a.MetricsListen && !strings.HasSuffix(a.GoBGPListen, ":0") {
		r.problem(r.key("gobgp_listen"), "%s is already used by api.metrics_listen", a.GoBGPListen)
	}
	return a
}

func (r *rawLog) validate() Log {
	return Log{
		Level:  checkedKey(r.scope, "level", r.Level, defaultLogLevel, oneOf("debug", "info", "warn", "error")),
		Format: checkedKey(r.scope, "format", r.Format, defaultLogFormat, oneOf("text", "json")),
		Destination: checkedKey(r.scope, "destination", r.Destination, defaultLogTarget, func(s string) error {
			if filepath.IsAbs(s) && checkAbsolute(s) == nil {
				return nil
			}
			if oneOf("stderr", "stdout", "syslog")(s) != nil {
				return fmt.Errorf("want stderr, stdout, syslog or the absolute path of a file, got %q", s)
			}
			return nil
		}),
	}
}

func (r *rawState) validate() State {
	return State{Directory: checkedKey(r.scope, "directory", r.Directory, defaultStateDir, checkAbsolute)}
}

func oneOf(words ...string) func(string) error {
	return func(s string) error {
		if slices.Contains(words, s) {
			return nil
		}
		hint := ""
		if near := nearest(s, words); near != "" {
			hint = fmt.Sprintf(" (did you mean %q?)", near)
		}
		return fmt.Errorf("want %s, got %q%s", strings.Join(words, " | "), s, hint)
	}
}
