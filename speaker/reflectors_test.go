package speaker_test

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/speaker/speakertest"
	"github.com/vtepbgp/vtepbgp/speaker/wire"
)

// reflectors are those of other makers, on an address and port of the loopback, for any iBGP neighbour
// from 127.0.1.0/24.
var reflectors = map[string]func(t *testing.T, at netip.AddrPort) *exec.Cmd{
	"FRR": func(t *testing.T, at netip.AddrPort) *exec.Cmd {
		bgpd := "/usr/lib/frr/bgpd"
		if _, err := os.Stat(bgpd); err != nil {
			requireLab(t, "FRR is not installed")
		}
		if os.Geteuid() != 0 {
			requireLab(t, "FRR's bgpd wants root")
		}
		dir := t.TempDir()
		file := filepath.Join(dir, "bgpd.conf")
		require.NoError(t, os.WriteFile(file, []byte(`router bgp 65000
 bgp router-id 10.0.0.254
 no bgp default ipv4-unicast
 neighbor v peer-group
 neighbor v remote-as 65000
 neighbor v passive
 bgp listen range 127.0.1.0/24 peer-group v
 address-family l2vpn evpn
  neighbor v activate
  neighbor v route-reflector-client
 exit-address-family
`), 0o644))
		return exec.Command(bgpd, "--no_zebra", "--skip_runas", "-f", file, "-i", filepath.Join(dir, "pid"), "--vty_socket", dir,
			"-P", "0", "-l", at.Addr().String(), "-p", fmt.Sprint(at.Port()))
	},
	"GoBGP": func(t *testing.T, at netip.AddrPort) *exec.Cmd {
		if _, err := exec.LookPath("gobgpd"); err != nil {
			requireLab(t, "gobgpd is not installed")
		}
		file := filepath.Join(t.TempDir(), "gobgpd.toml")
		require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, `[global.config]
  as = 65000
  router-id = "10.0.0.254"
  port = %d
  local-address-list = ["%s"]
[[peer-groups]]
  [peer-groups.config]
    peer-group-name = "v"
    peer-as = 65000
  [[peer-groups.afi-safis]]
    [peer-groups.afi-safis.config]
      afi-safi-name = "l2vpn-evpn"
  [peer-groups.route-reflector.config]
    route-reflector-client = true
    route-reflector-cluster-id = "10.0.0.254"
[[dynamic-neighbors]]
  [dynamic-neighbors.config]
    prefix = "127.0.1.0/24"
    peer-group = "v"
`, at.Port(), at.Addr()), 0o644))
		return exec.Command("gobgpd", "-f", file, "--api-hosts", netip.AddrPortFrom(at.Addr(), uint16(speakertest.FreePort(t, at.Addr()))).String())
	},
}

// reflectBetween starts a reflector of another maker and gives two of its clients.
func reflectBetween(t *testing.T, kind string) (a, b *speakertest.Peer) {
	t.Helper()
	at := netip.AddrPortFrom(us, uint16(speakertest.FreePort(t, us)))
	cmd := reflectors[kind](t, at)
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	require.NoError(t, err)
	cmd.Stdout, cmd.Stderr = log, log
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		log.Close()
		if text, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("%s says:\n%s", kind, text)
		}
	})
	require.Eventually(t, func() bool {
		c, err := net.Dial("tcp", at.String())
		if err == nil {
			c.Close()
		}
		return err == nil
	}, speakertest.Wait, 20e6, "%s listens", kind)
	return speakertest.Dial(t, peerA, at, ibgp(idA)).Handshake(t), speakertest.Dial(t, peerB, at, ibgp(idB)).Handshake(t)
}

// TestReflectorsOfOthers: FRR and GoBGP pass on the routes that flooding needs, so that a peer of ours behind
// them reads of each what the first one meant.
func TestReflectorsOfOthers(t *testing.T) {
	for kind := range reflectors {
		t.Run(kind, func(t *testing.T) {
			a, b := reflectBetween(t, kind)
			routes := floodingRoutes(idA)
			// An address of six groups in the PMSI attribute ends a session with FRR 8.4, whatever it is
			// for (bgp_attr_pmsi_tunnel wants nine octets). It has no IPv6 underlay either.
			routes = slices.DeleteFunc(routes, func(r evpn.Route) bool { return r.Key.IP.Is6() })
			a.Announce(t, routes...)
			b.Await(t, "all routes", func(h *speakertest.Heard) bool { return len(h.Routes) == len(routes) })
			b.See(func(h *speakertest.Heard) {
				for _, r := range routes {
					got := h.Routes[r.Key].Attrs
					assert.Equal(t, r.Attrs.NextHop, got.NextHop, "next hop of %s", r.Key)
					assert.Equal(t, r.Attrs.PMSI, got.PMSI, "PMSI tunnel of %s", r.Key)
					assert.Equal(t, r.Attrs.Claim, got.Claim, "claim of %s", r.Key)
				}
			})
			a.See(func(h *speakertest.Heard) { assert.Nil(t, h.Notification) })
		})
	}
}

// TestReplicatorRouteOfRFC9574 documents why the compatible form is the default. Should it fail with a
// later FRR, that is good news.
func TestReplicatorRouteOfRFC9574(t *testing.T) {
	kind := wire.PeerKind{IBGP: true, FourOctetAS: true, LocalASN: 65000, RFC9574: true}
	replicator := floodingRoutes(idA)[1:2]
	msg := wire.AppendUpdates(nil, replicator, kind)[0]
	t.Run("GoBGP", func(t *testing.T) {
		a, b := reflectBetween(t, "GoBGP")
		a.Send(t, msg)
		b.Await(t, "the route", hasRoute(replicator[0].Key))
		b.See(func(h *speakertest.Heard) {
			assert.Equal(t, replicator[0].Attrs.PMSI, h.Routes[replicator[0].Key].Attrs.PMSI)
		})
	})
	t.Run("FRR", func(t *testing.T) {
		a, b := reflectBetween(t, "FRR")
		a.Send(t, msg)
		n := a.AwaitNotification(t)
		assert.Equal(t, []uint8{wire.CodeUpdate, wire.SubOptionalAttribute}, []uint8{n.Code, n.Subcode})
		b.See(func(h *speakertest.Heard) { assert.Empty(t, h.Routes) })
	})
}
