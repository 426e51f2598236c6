package config_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/config"
	"github.com/vtepbgp/vtepbgp/evpn"
)

// Each row adds lines to one table of a configuration that is fine without them.
func TestProblems(t *testing.T) {
	t.Parallel()
	const base = `[bgp]
asn = 65000
#bgp
[vtep]
address = "10.0.0.1"
#vtep
[[neighbor]]
address = "10.0.0.254"
asn = 65000
#ibgp
[[neighbor]]
address = "10.0.0.253"
asn = 65001
#ebgp
[[vni]]
id = 100
#vni
[[vni]]
id = 200
#vni2
#more
`
	mustLoad(t, base)
	for _, c := range []struct{ at, lines, want string }{
		{"#bgp", `router_id = "2001:db8::1"`, `3: bgp.router_id: want four octets such as "10.0.0.1", got "2001:db8::1"`},
		{"#bgp", `router_id = "0.0.0.0"`, `3: bgp.router_id: want four octets such as "10.0.0.1", got "0.0.0.0"`},
		{"#bgp", `listen_port = 65536`, `3: bgp.listen_port: want 0 to 65535, got 65536`},
		{"#bgp", `listen_addresses = ["10.0.0.1", "10.0.0.1"]`, `3: bgp.listen_addresses[1]: 10.0.0.1 is listed twice`},
		{"#bgp", `listen_addresses = "10.0.0.1"`, `3: bgp.listen_addresses: want an array of strings, got the string "10.0.0.1"`},
		{"#bgp", `listen_addresses = [7]`, `3: bgp.listen_addresses[0]: want a string in quotes, got the integer 7`},
		{"#bgp", "listen_addresses = [\"10.0.0.1\"]\nlisten_port = 0", `3: bgp.listen_addresses: contradicts listen_port = 0, which listens nowhere`},
		{"#bgp", `listen_addresses = ["10.0.0.254"]`, `8: neighbor[0].address: 10.0.0.254 is an address of this host: want that of the neighbour`},
		{"#bgp", `hold_time = "2s"`, `3: bgp.hold_time: want 3s to 65535s, got "2s"`},
		{"#bgp", `hold_time = "1.5m"`, ``},
		{"#bgp", `hold_time = "3500ms"`, `3: bgp.hold_time: want whole seconds, got "3500ms"`},
		{"#bgp", `hold_time = 90`, `3: bgp.hold_time: want a string in quotes, got the integer 90`},
		{"#bgp", `hold_time = "90"`, `3: bgp.hold_time: want a duration such as "90s" or "2m", got "90"`},
		{"#bgp", `graceful_restart_time = "4096s"`, `3: bgp.graceful_restart_time: want 0s to 4095s, got "4096s"`},
		{"#bgp", `Asn = 65000`, `3: bgp.Asn: unknown key; did you mean "asn"?`},
		{"#bgp", `colour = "red"`, `3: bgp.colour: unknown key; known here: asn, router_id, listen_port, listen_addresses, hold_time, graceful_restart_time`},
		{"#vtep", `interface = "lo"`, `6: vtep.interface: contradicts vtep.address: keep one of the two`},
		{"#vtep", `udp_port = 0`, `6: vtep.udp_port: want 1 to 65535, got 0`},
		{"#ibgp", `prefix = "10.0.0.0/24"`, `10: neighbor[0].prefix: contradicts address: keep one of the two`},
		{"#ibgp", `ebgp_multihop = 2`, `10: neighbor[0].ebgp_multihop: has no effect on iBGP (asn equals bgp.asn): remove it`},
		{"#ibgp", `hold_time = "1s"`, `10: neighbor[0].hold_time: want 3s to 65535s, got "1s"`},
		{"#ibgp", `keepalive_time = "90s"`, `10: neighbor[0].keepalive_time: want less than hold_time (90s), got 90s`},
		{"#ibgp", "description = \"a\\nb\"", `10: neighbor[0].description: want one line without control characters, got "a\nb"`},
		{"#ibgp", `password = ""`, `10: neighbor[0].password: want a password, got an empty string: remove the key for none`},
		{"#ibgp", "password = \"x\"\npassword_file = \"/y\"", `11: neighbor[0].password_file: contradicts password: keep one of the two`},
		{"#ibgp", `password_file = "/proc/self"`, `10: neighbor[0].password_file: /proc/self is not a regular file: want one that holds the password`},
		{"#ibgp", `long_lived_stale_time = "16777216s"`, `10: neighbor[0].long_lived_stale_time: want 0s to 16777215s, got "16777216s"`},
		{"#ibgp", `bfd_interval = "100ms"`, `10: neighbor[0].bfd_interval: has no effect without bfd = true: add that, or remove this`},
		{"#ibgp", "bfd = true\nbfd_interval = \"1ms\"\nbfd_multiplier = 1\nbfd_mode = \"multi-hop\"", `11: neighbor[0].bfd_interval: want 10ms to 60s, got "1ms"|12: neighbor[0].bfd_multiplier: want 2 to 255, got 1|13: neighbor[0].bfd_mode: want auto | single-hop | multihop, got "multi-hop" (did you mean "multihop"?)`},
		{"#ibgp", "bfd = true\nbfd_interval = \"fast\"", `11: neighbor[0].bfd_interval: want a duration such as "100ms" or "1s", got "fast"`},
		{"#ibgp", "bfd = true\nbfd_interval = \"10500us\"", `11: neighbor[0].bfd_interval: want whole milliseconds, got "10500us"`},
		{"#ebgp", "ebgp_multihop = 3\nbfd = true\nbfd_mode = \"single-hop\"", `16: neighbor[1].bfd_mode: contradicts ebgp_multihop: a neighbour several hops away needs "multihop"`},
		{"#ebgp", `route_reflector_client = true`, `14: neighbor[1].route_reflector_client: is for iBGP: asn 65001 differs from bgp.asn 65000 (RFC 4456)`},
		{"#ebgp", "ttl_security = true\nebgp_multihop = 2", `14: neighbor[1].ttl_security: contradicts ebgp_multihop: GTSM wants TTL 255 from a direct neighbour, keep one of the two`},
		{"#ebgp", `max_prefixes = -1`, `14: neighbor[1].max_prefixes: want 0 to 2147483647, got -1`},
		{"#more", "[[neighbor]]\naddress = \"10.0.0.254\"\nasn = 23456", `22: neighbor[2].address: neighbour 10.0.0.254 is already configured at -:8|23: neighbor[2].asn: 23456 is AS_TRANS, which stands for 4-octet numbers and is nobody's (RFC 6793)`},
		{"#more", "[[neighbor]]\naddress = \"10.0.0.1\"\nasn = 1", `22: neighbor[2].address: 10.0.0.1 is an address of this host: want that of the neighbour`},
		{"#more", "[[neighbor]]\naddress = \"fe80::1%eth0\"\nasn = 1", `22: neighbor[2].address: want an address without zone, got "fe80::1%eth0"`},
		{"#more", "[[neighbor]]\nprefix = \"10.1.2.3/24\"\nasn = 1", `22: neighbor[2].prefix: bits beyond the prefix length are set: want "10.1.2.0/24"`},
		{"#more", "[[neighbor]]\nprefix = \"10.1.2.0/24\"\nasn = 1\nport = 179\npassive = false", `24: neighbor[2].port: has no effect with prefix: such neighbours connect to us, remove it|25: neighbor[2].passive: contradicts prefix: such neighbours connect to us, remove it`},
		{"#more", "[[neighbor]]\naddress = 5", `21: neighbor[2].asn: missing: the AS number of the neighbour, such as asn = 65000|22: neighbor[2].address: want a string in quotes, got the integer 5`},
		{"#more", "[neighbor2]\n", `21: neighbor2: unknown key; did you mean "neighbor"?`},
		{"#vni", `id = 5`, `17: not valid TOML: key id is already defined`},
		{"#vni2", `device = "vxlan100"`, `20: vni[1].device: interface vxlan100 is already the device of VNI 100 (-:15)`},
		{"#vni2", `bridge = "br100"`, `20: vni[1].bridge: interface br100 is already the bridge of VNI 100 (-:15); one bridge carries one VNI`},
		{"#vni2", `ports = ["eth1", "eth1", "br100"]`, `20: vni[1].ports[1]: interface eth1 is already the port of VNI 200 (-:20)|20: vni[1].ports[2]: interface br100 is already the bridge of VNI 100 (-:15)`},
		{"#vni2", `bridge = "a-bridge-with-a-long-name"`, `20: vni[1].bridge: want at most 15 characters (a limit of the kernel), got 25 in "a-bridge-with-a-long-name"`},
		{"#vni2", `device = "vx/1"`, `20: vni[1].device: want an interface name without '/', ':' and white space, got "vx/1"`},
		{"#vni2", `mtu = 67`, `20: vni[1].mtu: want 0 (what the underlay leaves) or 68 to 65535, got 67`},
		{"#vni2", `rd = "0:0"`, `20: vni[1].rd: want "auto" or a route distinguisher such as "10.0.0.1:5" or "65000:100", got "0:0"`},
		{"#vni2", `export_rt = []`, `20: vni[1].export_rt: want at least one target, such as ["auto"]: without one nobody imports our routes`},
		{"#vni2", `export_rt = ["auto", "65000:200"]`, `20: vni[1].export_rt[1]: 65000:200 is listed twice`},
		{"#vni2", `import_rt = ["*:200", "auto"]`, `20: vni[1].import_rt[1]: *:200 is listed twice`},
		{"#vni2", "anycast_gateway = true\nadvertise_svi = false", `21: vni[1].advertise_svi: contradicts anycast_gateway = true, which announces the bridge's own MAC and addresses: remove it`},
		{"#vni2", "max_ips_per_mac = -1\nmax_ips_per_port = 2147483648", `20: vni[1].max_ips_per_mac: want 0 to 2147483647, got -1|21: vni[1].max_ips_per_port: want 0 to 2147483647, got 2147483648`},
		{"#vni2", `flooding = "assisted"`, ``},
		{"#vni2", `flooding = "replicator"`, `20: vni[1].flooding: needs flood.service_address, the address that others send frames to: add it to [flood], such as service_address = "10.255.0.1"`},
		{"#vni2", "flooding = \"replicator\"\nrate_limit_pps = 100\n[flood]\nservice_address = \"10.255.0.1\"", ``},
		{"#vni2", `rate_limit_pps = 100`, `20: vni[1].rate_limit_pps: has no effect with flooding = "ingress": the kernel copies there, want "multicast" or "replicator", or remove the key`},
		{"#vni2", `flooding = "ingres"`, `20: vni[1].flooding: want ingress | multicast | assisted | replicator | off, got "ingres" (did you mean "ingress"?)`},
		{"#vni2", "[vni.multicast]\ngroup = \"239.1.1.1\"", `20: vni[1].multicast: has no effect with flooding = "ingress": want "multicast", or remove the table`},
		{"#vni2", `flooding = "multicast"`, `18: vni[1].multicast: missing: flooding = "multicast" needs a table [vni.multicast] with the group, such as group = "239.1.1.100"`},
		{"#vni2", "flooding = \"multicast\"\n[vni.multicast]\ngroup = \"239.1.1.1\"\nsegment = [\"10.0.1.0/24\"]\nproxy_vteps = true\nproxy_macs = true", ``},
		{"#vni2", "flooding = \"multicast\"\n[vni.multicast]\ninterface = \"eth/0\"\nproxy_macs = true", `21: vni[1].multicast.group: missing: the multicast group that the segment sends to, such as group = "239.1.1.100"|22: vni[1].multicast.interface: want an interface name without '/', ':' and white space, got "eth/0"|23: vni[1].multicast.proxy_macs: has no effect without proxy_vteps = true: MACs are announced behind VTEPs that are`},
		{"#vni2", "flooding = \"multicast\"\n[vni.multicast]\ngroup = \"224.0.0.5\"", `22: vni[1].multicast.group: want a group outside 224.0.0.0/24, which is for routing protocols, such as "239.1.1.100", got 224.0.0.5`},
		{"#vni2", "flooding = \"multicast\"\n[vni.multicast]\ngroup = \"10.1.1.1\"", `22: vni[1].multicast.group: want a multicast group such as "239.1.1.100" or "ff05::100", got "10.1.1.1"`},
		{"#vni2", "flooding = \"multicast\"\n[vni.multicast]\ngroup = \"ff05::1\"\nsegment = [\"2001:db8::/64\", \"10.0.1.1/24\"]", `22: vni[1].multicast.group: want a group of the same family as vtep.address 10.0.0.1, got ff05::1|23: vni[1].multicast.segment[0]: want a prefix of the same family as vtep.address 10.0.0.1, got 2001:db8::/64|23: vni[1].multicast.segment[1]: bits beyond the prefix length are set: want "10.0.1.0/24"`},
		{"#vni2", "flooding = \"multicast\"\n[vni.multicast]\ngroup = \"239.1.1.1\"\nproxy_vteps = true\nsegment_delivery = \"multicast\"", `20: vni[1].flooding: needs flood.service_address, which segment_delivery = "multicast" has EVPN send frames for the segment to: add it to [flood], such as service_address = "10.255.0.1"`},
		{"#vni2", "flooding = \"off\"\n[[vni.static_vtep]]\naddress = \"10.0.0.9\"", `21: vni[1].static_vtep: has no effect with flooding = "off": there is no flood list to join`},
		{"#vni2", "[[vni.static_vtep]]\naddress = \"10.0.0.1\"", `21: vni[1].static_vtep[0].address: 10.0.0.1 is our own VTEP address: want that of another host`},
		{"#vni2", "[[vni.static_vtep]]\naddress = \"2001:db8::9\"", `21: vni[1].static_vtep[0].address: want an address of the same family as vtep.address 10.0.0.1, got 2001:db8::9`},
		{"#vni2", "[[vni.static_vtep]]\naddress = \"10.0.0.9\"\n[[vni.static_vtep]]\naddress = \"10.0.0.9\"", `23: vni[1].static_vtep[1].address: 10.0.0.9 is already listed at -:21`},
		{"#vni2", "[[vni.static_mac]]\nvtep = \"239.1.1.1\"", `20: vni[1].static_mac[0].mac: missing: the host's MAC, such as mac = "00:11:22:33:44:55"|21: vni[1].static_mac[0].vtep: want a unicast address, got the multicast address 239.1.1.1`},
		{"#vni2", "[[vni.static_mac]]\nmac = \"01:00:5e:00:00:01\"\nvtep = \"10.0.0.9\"", `21: vni[1].static_mac[0].mac: want the MAC of a host, got the group address 01:00:5e:00:00:01`},
		{"#vni2", "static_mac = [{mac = \"02:00:00:00:00:01\", vtep = \"10.0.0.9\"},\n {mac = \"02:00:00:00:00:01\", vtep = \"10.0.0.8\"}]", `21: vni[1].static_mac[1].vtep: 02:00:00:00:00:01 was said to live behind 10.0.0.9: a MAC lives behind one VTEP`},
		{"#vni2", "static_mac = [{mac = \"02:00:00:00:00:01\", vtep = \"10.0.0.9\", ip = \"192.0.2.1\"},\n {mac = \"02:00:00:00:00:02\", vtep = \"10.0.0.9\", ip = \"192.0.2.1\"}]", `21: vni[1].static_mac[1].ip: 192.0.2.1 is already listed at -:20`},
		{"#more", "[[vni]]\nid = 100", `22: vni[2].id: VNI 100 is already configured at -:16`},
		{"#more", "[[vni]]\nid = 16777216", `22: vni[2].id: want 1 to 16777215, got 16777216`},
		{"#more", "[[vni]]\ndevice = \"x\"", `21: vni[2].id: missing: the VXLAN network identifier, such as id = 100`},
		{"#more", "[flood]\nengine = \"xdp\"\nhold_time = \"0s\"\nrate_limit_pps = -1", `22: flood.engine: want auto | ebpf | socket, got "xdp"|23: flood.hold_time: want 1s to 1440m, got "0s"|24: flood.rate_limit_pps: want 0 to 2147483647, got -1`},
		{"#more", "[flood]\nservice_address = \"10.0.0.1\"", `22: flood.service_address: 10.0.0.1 is vtep.address: frames to copy need an address of their own, or nobody could tell them from others (RFC 9574)`},
		{"#more", "[flood]\nservice_address = \"2001:db8::1\"", `22: flood.service_address: want an address of the same family as vtep.address 10.0.0.1, got 2001:db8::1`},
		{"#more", "[flood]\nservice_address = \"\"\nlearn_from_data = true", `23: flood.learn_from_data: has no effect without service_address: nothing is heard there`},
		{"#more", "[flood]\nlearn_from_data = true", `22: flood.learn_from_data: has no effect without service_address: nothing is heard there`},
		{"#more", "[duplicate_detection]\nmoves = -1\nwindow = \"0s\"", `22: duplicate_detection.moves: want 0 to 2147483647, got -1|23: duplicate_detection.window: want 1s to 43200m, got "0s"`},
		{"#more", "[api]\nsocket = \"run/s\"\nmetrics_listen = \"9474\"", `22: api.socket: want an absolute path, got "run/s"|23: api.metrics_listen: want ADDRESS:PORT such as "127.0.0.1:9474" or "[::1]:9474", or "" for off, got "9474"`},
		{"#more", "[api]\ngobgp_listen = \":1\"\nmetrics_listen = \":1\"", `22: api.gobgp_listen: :1 is already used by api.metrics_listen`},
		{"#more", "[log]\nlevel = \"warning\"\nformat = \"xml\"\ndestination = \"file.log\"", `22: log.level: want debug | info | warn | error, got "warning"|23: log.format: want text | json, got "xml"|24: log.destination: want stderr, stdout, syslog or the absolute path of a file, got "file.log"`},
		{"#more", "[state]\ndirectory = \"x\"", `22: state.directory: want an absolute path, got "x"`},
	} {
		t.Run(c.lines, func(t *testing.T) {
			t.Parallel()
			text := strings.Replace(base, c.at+"\n", c.lines+"\n", 1)
			if c.want == "" {
				mustLoad(t, text)
				return
			}
			assert.Equal(t, c.want, strings.Join(problems(t, text), "|"))
		})
	}
}

func TestTargets(t *testing.T) {
	t.Parallel()
	load4 := func(lines string) (*config.Config, error) {
		return load("[bgp]\nasn = 4200000000\n[vtep]\naddress = \"10.0.0.1\"\n[[vni]]\nid = 70000\n" + lines)
	}
	_, err := load4("")
	assert.EqualError(t, err, `-:5: vni[0].export_rt: missing: "auto" is ASN:VNI, but the 4-octet ASN 4200000000 leaves 16 bits and VNI 70000 needs more: give an explicit target such as "64512:70000"`)
	_, err = load4(`export_rt = ["rfc8365"]`)
	assert.EqualError(t, err, `-:7: vni[0].export_rt[0]: "rfc8365" exists for 2-octet ASNs only, bgp.asn is 4200000000: give "auto" or an explicit target`)
	c, err := load4("export_rt = [\"64512:70000\"]\nimport_rt = [\"auto\", \"rfc8365\"]")
	require.NoError(t, err)
	assert.Equal(t, []evpn.ImportTarget{{AnyAdmin: true, Number: 70000}, {AnyAdmin: true, Number: 0x10000000 | 70000}}, c.VNIs[0].Import)

	c = mustLoad(t, minimal+`export_rt = ["rfc8365", "auto", "192.0.2.1:7"]`)
	rfc, _ := evpn.RFC8365RouteTarget(65000, 100)
	assert.Equal(t, []evpn.RouteTarget{rfc, target(t, "65000:100"), target(t, "192.0.2.1:7")}, c.VNIs[0].Export)
}

func TestRouterID(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"[vtep]\naddress = \"2001:db8::1\"\n": `1: bgp.router_id: missing: an IPv6 vtep.address gives none: choose an IPv4-like number unique among your routers, such as router_id = "10.0.0.1"`,
		"[vtep]\ninterface = \"lo\"\n":        `1: bgp.router_id: missing: the addresses of vtep.interface may change and the router id must not: set one, such as router_id = "10.0.0.1"`,
		"[vtep]\naddress = \"127.0.0.1\"\n":   `4: vtep.address: want an address that other hosts reach, got the loopback address 127.0.0.1`,
		"[vtep]\n":                            `3: vtep.address: missing: the VXLAN source address of this host, such as address = "10.0.0.1" (or interface = "lo")`,
	} {
		assert.Equal(t, []string{want}, problems(t, "[bgp]\nasn = 65000\n"+text))
	}
	c := mustLoad(t, "[bgp]\nasn = 65000\nrouter_id = \"192.0.2.1\"\n[vtep]\naddress = \"2001:db8::1\"\n")
	assert.Equal(t, addr("192.0.2.1"), c.BGP.RouterID)
}

func TestPassiveNeedsAListener(t *testing.T) {
	t.Parallel()
	text := "[bgp]\nasn = 1\nrouter_id = \"1.1.1.1\"\nlisten_port = 0\n[[neighbor]]\nasn = 1\n"
	assert.Equal(t, []string{`8: neighbor[0].passive: contradicts bgp.listen_port = 0: nobody could connect`},
		problems(t, text+"address = \"10.0.0.1\"\npassive = true\n"))
	assert.Equal(t, []string{`7: neighbor[0].prefix: contradicts bgp.listen_port = 0: nobody could connect`},
		problems(t, text+"prefix = \"10.0.0.0/24\"\n"))
}
