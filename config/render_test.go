package config_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/config"
)

func TestTOMLReadsBack(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		minimal, config.Reference, everything,
		"[bgp]\nasn = 1\nrouter_id = \"1.1.1.1\"\n",
	} {
		c := mustLoad(t, text)
		assert.Equal(t, c, mustLoad(t, c.TOML()))
	}
}

// Whatever subset of the keys makes a configuration, it reads back as itself.
func TestTOMLReadsBackAnySubset(t *testing.T) {
	t.Parallel()
	lines := strings.SplitAfter(everything, "\n")
	valid := 0
	for seed := range uint64(2000) {
		rng := rand.New(rand.NewPCG(seed, 0))
		drop := rng.IntN(4) + 1
		var b strings.Builder
		for _, line := range lines {
			if strings.HasPrefix(line, "[") || rng.IntN(20) >= drop {
				b.WriteString(line)
			}
		}
		c, err := load(b.String())
		if err != nil {
			continue
		}
		valid++
		require.Equal(t, c, mustLoad(t, c.TOML()), "seed %d", seed)
	}
	assert.Greater(t, valid, 100, "too few subsets are valid to prove anything")
}

func TestTOMLHidesPasswords(t *testing.T) {
	t.Parallel()
	c := mustLoad(t, minimal+"[[neighbor]]\naddress=\"10.0.0.2\"\nasn=65000\npassword=\"s3cret\"\n")
	require.Equal(t, "s3cret", c.Neighbors[0].Password)
	shown := c.TOML()
	assert.NotContains(t, shown, "s3cret")
	assert.Contains(t, shown, "# password is set and not shown\n")
	c.Neighbors[0].Password = ""
	assert.Equal(t, c, mustLoad(t, shown))
}

// everything uses each key in a form that differs from its default.
const everything = `
[bgp]
asn = 4200000000
router_id = "192.0.2.1"
listen_port = 1790
listen_addresses = ["192.0.2.1", "2001:db8::1"]
hold_time = "9s"
graceful_restart_time = "0s"
[vtep]
interface = "lo.0"
udp_port = 8472
[[neighbor]]
prefix = "2001:db8::/64"
asn = 65001
description = "tab\\le \"quoted\" \u00fc"
ebgp_multihop = 3
max_prefixes = 10
hold_time = "30s"
keepalive_time = "7s"
[[neighbor]]
address = "2001:db8::2"
asn = 4200000000
port = 1791
route_reflector_client = true
passive = true
ttl_security = true
connect_retry = "11s"
[duplicate_detection]
moves = 0
window = "61s"
recovery = "0s"
[[vni]]
id = 70000
device = "vx.70000"
bridge = "tenant"
manage = false
ports = ["eth0.100", "veth1"]
mtu = 9000
udp_port = 4790
rd = "192.0.2.1:7"
export_rt = ["64512:70000", "192.0.2.1:7", "4200000000:7"]
import_rt = ["auto", "rfc8365", "*:7", "64512:70000"]
flooding = "off"
arp_suppression = false
advertise_svi = true
max_macs = 5
[[vni]]
id = 7
export_rt = ["auto"]
[[vni.static_vtep]]
address = "2001:db8::9"
[[vni.static_mac]]
mac = "00-11-22-33-44-AA"
vtep = "2001:db8::9"
ip = "2001:db8:1::5"
[[vni.static_mac]]
mac = "00:11:22:33:44:aa"
vtep = "2001:db8::9"
ip = "192.0.2.5"
[[vni]]
id = 8
flooding = "multicast"
rate_limit_pps = 3
[vni.multicast]
group = "ff05::8"
interface = "eth1"
segment = ["2001:db8:8::/64", "2001:db8:9::1/128"]
proxy_vteps = true
proxy_macs = true
segment_delivery = "multicast"
[[vni]]
id = 9
flooding = "replicator"
[flood]
engine = "socket"
interface = "eth0"
service_address = "2001:db8::ff"
learn_from_data = true
hold_time = "30s"
rate_limit_pps = 1000
[api]
socket = "/tmp/x y.sock"
metrics_listen = "[::1]:9474"
gobgp_listen = ":50051"
[log]
level = "debug"
format = "json"
destination = "/var/log/vtepbgp.log"
[state]
directory = "/tmp/state"
`

// FuzzLoad: any text gives problems or a configuration that reads back as itself.
func FuzzLoad(f *testing.F) {
	f.Add(minimal)
	f.Add(config.Reference)
	f.Add(everything)
	f.Add("vni = [{id = 1}, 5, {static_mac = [{}]}]\n[bgp]\nasn = {}\n[[neighbor]]\n")
	f.Add("[flood]\n[[vni]]\n[vni.multicast]\n\"a.b\".\"\\u0000\" = 2000-01-01\n")
	f.Add("bgp.asn = 1\nBGP.ASN = 2\n[vtep]\naddress = \"::ffff:10.0.0.1\"\n")
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "password_file") {
			return // would read files of this machine
		}
		c, err := load(text)
		if err != nil {
			require.NotEmpty(t, err.Error())
			return
		}
		for i := range c.Neighbors {
			c.Neighbors[i].Password = ""
		}
		again, err := load(c.TOML())
		require.NoError(t, err, "rendered as:\n%s", c.TOML())
		require.Equal(t, c, again)
	})
}
