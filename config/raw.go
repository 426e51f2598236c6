package config

// The raw structs mirror the file. A nil pointer means "not in the file", which
// is not the same as zero. Fields of tables carry the scope they were read from,
// so that validation can say where a problem lies.

type rawConfig struct {
	scope
	BGP       *rawBGP       `toml:"bgp"`
	VTEP      *rawVTEP      `toml:"vtep"`
	Neighbor  []rawNeighbor `toml:"neighbor"`
	VNI       []rawVNI      `toml:"vni"`
	Duplicate *rawDuplicate `toml:"duplicate_detection"`
	Flood     *rawFlood     `toml:"flood"`
	API       *rawAPI       `toml:"api"`
	Log       *rawLog       `toml:"log"`
	State     *rawState     `toml:"state"`
}

type rawBGP struct {
	scope
	ASN                 *int64    `toml:"asn"`
	RouterID            *string   `toml:"router_id"`
	ListenPort          *int64    `toml:"listen_port"`
	ListenAddresses     *[]string `toml:"listen_addresses"`
	HoldTime            *string   `toml:"hold_time"`
	GracefulRestartTime *string   `toml:"graceful_restart_time"`
}

type rawVTEP struct {
	scope
	Address     *string `toml:"address"`
	Interface   *string `toml:"interface"`
	UDPPort     *int64  `toml:"udp_port"`
	Unreachable *string `toml:"unreachable"`
}

type rawNeighbor struct {
	scope
	Address              *string `toml:"address"`
	Prefix               *string `toml:"prefix"`
	ASN                  *int64  `toml:"asn"`
	Port                 *int64  `toml:"port"`
	Description          *string `toml:"description"`
	Password             *string `toml:"password"`
	PasswordFile         *string `toml:"password_file"`
	RouteReflectorClient *bool   `toml:"route_reflector_client"`
	Passive              *bool   `toml:"passive"`
	TTLSecurity          *bool   `toml:"ttl_security"`
	EBGPMultihop         *int64  `toml:"ebgp_multihop"`
	MaxPrefixes          *int64  `toml:"max_prefixes"`
	HoldTime             *string `toml:"hold_time"`
	KeepaliveTime        *string `toml:"keepalive_time"`
	ConnectRetry         *string `toml:"connect_retry"`
	LongLivedStaleTime   *string `toml:"long_lived_stale_time"`
	ReplicatorRoute      *string `toml:"replicator_route"`
	BFD                  *bool   `toml:"bfd"`
	BFDInterval          *string `toml:"bfd_interval"`
	BFDMultiplier        *int64  `toml:"bfd_multiplier"`
	BFDMode              *string `toml:"bfd_mode"`
}

type rawVNI struct {
	scope
	ID             *int64          `toml:"id"`
	Device         *string         `toml:"device"`
	Bridge         *string         `toml:"bridge"`
	Manage         *bool           `toml:"manage"`
	Ports          *[]string       `toml:"ports"`
	MTU            *int64          `toml:"mtu"`
	UDPPort        *int64          `toml:"udp_port"`
	RD             *string         `toml:"rd"`
	ExportRT       *[]string       `toml:"export_rt"`
	ImportRT       *[]string       `toml:"import_rt"`
	Flooding       *string         `toml:"flooding"`
	RateLimitPPS   *int64          `toml:"rate_limit_pps"`
	ARPSuppression *bool           `toml:"arp_suppression"`
	AdvertiseSVI   *bool           `toml:"advertise_svi"`
	AnycastGateway *bool           `toml:"anycast_gateway"`
	MaxMACs        *int64          `toml:"max_macs"`
	MaxIPsPerMAC   *int64          `toml:"max_ips_per_mac"`
	MaxIPsPerPort  *int64          `toml:"max_ips_per_port"`
	StaticVTEP     []rawStaticVTEP `toml:"static_vtep"`
	StaticMAC      []rawStaticMAC  `toml:"static_mac"`
	Multicast      *rawMulticast   `toml:"multicast"`
}

type rawStaticVTEP struct {
	scope
	Address *string `toml:"address"`
}

type rawStaticMAC struct {
	scope
	MAC  *string `toml:"mac"`
	VTEP *string `toml:"vtep"`
	IP   *string `toml:"ip"`
}

type rawDuplicate struct {
	scope
	Moves    *int64  `toml:"moves"`
	Window   *string `toml:"window"`
	Recovery *string `toml:"recovery"`
}

type rawMulticast struct {
	scope
	Group           *string   `toml:"group"`
	Interface       *string   `toml:"interface"`
	Segment         *[]string `toml:"segment"`
	ProxyVTEPs      *bool     `toml:"proxy_vteps"`
	ProxyMACs       *bool     `toml:"proxy_macs"`
	SegmentDelivery *string   `toml:"segment_delivery"`
}

type rawFlood struct {
	scope
	Engine         *string `toml:"engine"`
	Interface      *string `toml:"interface"`
	ServiceAddress *string `toml:"service_address"`
	LearnFromData  *bool   `toml:"learn_from_data"`
	HoldTime       *string `toml:"hold_time"`
	RateLimitPPS   *int64  `toml:"rate_limit_pps"`
}

type rawAPI struct {
	scope
	Socket        *string `toml:"socket"`
	MetricsListen *string `toml:"metrics_listen"`
	GoBGPListen   *string `toml:"gobgp_listen"`
}

type rawLog struct {
	scope
	Level       *string `toml:"level"`
	Format      *string `toml:"format"`
	Destination *string `toml:"destination"`
}

type rawState struct {
	scope
	Directory *string `toml:"directory"`
}
