package config_test

import (
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/config"
	"github.com/vtepbgp/vtepbgp/evpn"
)

func load(text string) (*config.Config, error) {
	return config.Load(config.Stdin, strings.NewReader(text))
}

func mustLoad(t *testing.T, text string) *config.Config {
	t.Helper()
	c, err := load(text)
	require.NoError(t, err)
	return c
}

// problems gives the report of text as lines without "-:".
func problems(t *testing.T, text string) []string {
	t.Helper()
	_, err := load(text)
	var ps config.Problems
	require.True(t, errors.As(err, &ps), "want problems, got %v", err)
	var lines []string
	for _, p := range ps {
		lines = append(lines, strings.TrimPrefix(p.String(), "-:"))
	}
	return lines
}

const minimal = `
[bgp]
asn = 65000
[vtep]
address = "10.0.0.1"
[[vni]]
id = 100
`

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func target(t *testing.T, s string) evpn.RouteTarget {
	t.Helper()
	rt, err := evpn.ParseRouteTarget(s)
	require.NoError(t, err)
	return rt
}

func defaults(t *testing.T) *config.Config {
	return &config.Config{
		BGP: config.BGP{
			ASN: 65000, RouterID: addr("10.0.0.1"), ListenPort: 179,
			HoldTime: 90 * time.Second, GracefulRestartTime: 120 * time.Second,
		},
		VTEP: config.VTEP{Address: addr("10.0.0.1"), UDPPort: 4789, Unreachable: evpn.UnreachableKeep},
		VNIs: []config.VNI{{
			ID: 100, Device: "vxlan100", Bridge: "br100", Manage: true, UDPPort: 4789,
			Export:   []evpn.RouteTarget{target(t, "65000:100")},
			Import:   []evpn.ImportTarget{{AnyAdmin: true, Number: 100}},
			Flooding: evpn.FloodIngress, Suppression: true, MaxIPsPerMAC: 64, MaxIPsPerPort: 4096,
		}},
		Duplicate: evpn.DefaultDuplicate,
		Flood:     config.Flood{Engine: config.EngineAuto, HoldTime: 90 * time.Second},
		API:       config.API{Socket: "/run/vtepbgp/vtepbgp.sock"},
		Log:       config.Log{Level: "info", Format: "text", Destination: "stderr"},
		State:     config.State{Directory: "/var/lib/vtepbgp"},
	}
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	assert.Equal(t, defaults(t), mustLoad(t, minimal))
}

func TestRouteReflectorNeedsNoVTEP(t *testing.T) {
	t.Parallel()
	c := mustLoad(t, "[bgp]\nasn = 65000\nrouter_id = \"10.0.0.254\"\n")
	assert.Equal(t, netip.Addr{}, c.VTEP.Address)
	assert.Equal(t, addr("10.0.0.254"), c.BGP.RouterID)
	assert.Equal(t, []string{` bgp.router_id: missing: without vtep.address there is no default: set one, such as router_id = "10.0.0.1"`},
		trimLines(problems(t, "[bgp]\nasn = 65000\n")))
}

// trimLines drops the line numbers of problems.
func trimLines(lines []string) []string {
	var out []string
	for _, l := range lines {
		_, rest, _ := strings.Cut(l, ": ")
		out = append(out, " "+rest)
	}
	return out
}

func TestAllProblemsAtOnce(t *testing.T) {
	t.Parallel()
	assert.Equal(t, []string{
		`3: bgp.asn: want an integer, got the string "65000"`,
		`4: bgp.hold_tme: unknown key; did you mean "hold_time"?`,
		`6: vtep.address: want a unicast address, got the multicast address 239.1.1.1`,
		`7: vtep.interface: contradicts vtep.address: keep one of the two`,
		`8: neighbor[0].asn: missing: the AS number of the neighbour, such as asn = 65000`,
		`11: neighbor[1].prefix: contradicts address: keep one of the two`,
		`15: neighbor[1].ebgp_multihop: want 0 to 255, got 256`,
		`19: vni[0].import_rt[1]: want "auto", "rfc8365", ASN:N, IPV4:N or *:N, got "nonsense"`,
		`22: flood.engine: want auto | ebpf | socket, got "automatic"`,
	}, problems(t, `
[bgp]
asn = "65000"
hold_tme = "90s"
[vtep]
address = "239.1.1.1"
interface = "lo"
[[neighbor]]
address = "10.0.0.2"
[[neighbor]]
prefix = "10.0.0.0/24"
address = "10.0.0.3"
asn = 65001
ttl_security = true
ebgp_multihop = 256
[[vni]]
id = 5
import_rt = ["auto",
  "nonsense"]

[flood]
engine = "automatic"
`))
}

func TestVNIDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	main := filepath.Join(dir, "vtepbgp.toml")
	write(t, main, minimal)
	write(t, filepath.Join(dir, "vni.d", "b.toml"), "id = 20\n[[static_vtep]]\naddress = \"10.0.0.9\"\n")
	write(t, filepath.Join(dir, "vni.d", "a.toml"), "id = 300\nbridge = \"tenant\"\n")
	write(t, filepath.Join(dir, "vni.d", "notes.txt"), "not TOML")
	write(t, filepath.Join(dir, "vni.d", ".hidden.toml"), "not TOML")
	c, err := config.Load(main, nil)
	require.NoError(t, err)
	var ids []evpn.VNI
	for _, v := range c.VNIs {
		ids = append(ids, v.ID)
	}
	assert.Equal(t, []evpn.VNI{20, 100, 300}, ids)
	assert.Equal(t, []netip.Addr{addr("10.0.0.9")}, c.VNIs[0].StaticVTEPs)

	write(t, filepath.Join(dir, "vni.d", "c.toml"), "[[vni]]\nid = 7\n")
	write(t, filepath.Join(dir, "vni.d", "d.toml"), "id = 100\nbridge=\"tenant\"\n")
	write(t, filepath.Join(dir, "vni.d", "e.toml"), "id = \n")
	_, err = config.Load(main, nil)
	d := filepath.Join(dir, "vni.d") + "/"
	assert.EqualError(t, err, strings.Join([]string{
		d + "c.toml:1: vni: this file holds the keys of one VNI at its top level: remove the [[vni]] header and write [[static_vtep]] for [[vni.static_vtep]]",
		d + "d.toml:1: id: VNI 100 is already configured at " + main + ":7",
		d + "e.toml:1: not valid TOML: unexpected character U+000A at start of value",
	}, "\n"))
}

func write(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
}

func TestStdinHasNoVNIDirectory(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "vni.d", "a.toml"), "id = 300\n")
	t.Chdir(dir)
	assert.Len(t, mustLoad(t, minimal).VNIs, 1)
}

func TestFileProblems(t *testing.T) {
	t.Parallel()
	_, err := config.Load("/nonexistent/vtepbgp.toml", nil)
	assert.EqualError(t, err, `/nonexistent/vtepbgp.toml: no such file: write one, "vtepbgp config example" prints a commented start`)
	dir := t.TempDir()
	_, err = config.Load(dir, nil)
	assert.EqualError(t, err, dir+": cannot read: is a directory")
	_, err = config.Load(config.Stdin, io.MultiReader(strings.NewReader("[bgp"), strings.NewReader("\n")))
	assert.ErrorContains(t, err, "-:1: not valid TOML: ")
}

func TestPasswordFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	main := filepath.Join(dir, "vtepbgp.toml")
	write(t, filepath.Join(dir, "rr1.key"), "s3cret word\r\n")
	write(t, main, minimal+"[[neighbor]]\naddress=\"10.0.0.2\"\nasn=65000\npassword_file=\"rr1.key\"\n")
	c, err := config.Load(main, nil)
	require.NoError(t, err)
	assert.Equal(t, "s3cret word", c.Neighbors[0].Password)
	assert.Equal(t, filepath.Join(dir, "rr1.key"), c.Neighbors[0].PasswordFile)
	assert.NotContains(t, c.TOML(), "s3cret")

	for text, want := range map[string]string{
		"":                       "rr1.key is empty: want one line, the password",
		"a\nb\n":                 "want one line without control characters",
		strings.Repeat("x", 81):  "want at most 80 octets (a limit of the kernel), got 81",
		strings.Repeat("x", 100): "got 100",
	} {
		write(t, filepath.Join(dir, "rr1.key"), text)
		_, err := config.Load(main, nil)
		assert.ErrorContains(t, err, want)
		assert.ErrorContains(t, err, ":11: neighbor[0].password_file: ")
		assert.NotContains(t, err.Error(), "xxx")
	}
	require.NoError(t, os.Remove(filepath.Join(dir, "rr1.key")))
	_, err = config.Load(main, nil)
	assert.ErrorContains(t, err, "neighbor[0].password_file: no such file: "+dir+"/rr1.key")
}
