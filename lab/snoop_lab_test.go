//go:build lab

package lab_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const metricsAt = "127.0.0.1:9474"

var withMetrics = map[string]string{"va": "[api]\nmetrics_listen = \"" + metricsAt + "\"\n", "vb": "[api]\nmetrics_listen = \"" + metricsAt + "\"\n"}

// metric reads one series of a node as it is written there, with its labels.
func (r *running) metric(node, series string) float64 {
	r.t.Helper()
	var c net.Conn
	require.NoError(r.t, within(r.namespace(node), func() (err error) {
		c, err = net.Dial("tcp", metricsAt)
		return err
	}))
	defer c.Close()
	req, err := http.NewRequest(http.MethodGet, "http://"+metricsAt+"/metrics", nil)
	require.NoError(r.t, err)
	require.NoError(r.t, req.Write(c))
	resp, err := http.ReadResponse(bufio.NewReader(c), req)
	require.NoError(r.t, err)
	defer resp.Body.Close()
	for s := bufio.NewScanner(resp.Body); s.Scan(); {
		if text, ok := strings.CutPrefix(s.Text(), series+" "); ok {
			v, err := strconv.ParseFloat(text, 64)
			require.NoError(r.t, err)
			return v
		}
	}
	require.FailNow(r.t, "no such series", "%s on %s", series, node)
	return 0
}

// linkLocal is the address that a host gives itself (RFC 4291 appendix A).
func (f *fabric) linkLocal(host string) string {
	m := hwAddr(f.macOf(host))
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 8: m[0] ^ 2, 9: m[1], 10: m[2], 11: 0xff, 12: 0xfe, 13: m[3], 14: m[4], 15: m[5]}).String()
}

// TestLocalIPs: bridges without an address announce who has which address.
func TestLocalIPs(t *testing.T) {
	t.Parallel()
	for _, far := range []string{kindVTEPBGP, kindFRR} {
		t.Run("vb="+far, func(t *testing.T) {
			t.Parallel()
			f := stage{kind: map[string]string{"rr": kindVTEPBGP, "va": kindVTEPBGP, "vb": far}, config: map[string]string{"va": withMetrics["va"]}}.build(t)
			eventually(t, convergence, "ping", func() error { return f.ping("h1", "192.168.100.2", 1) })
			h1, h2 := f.macOf("h1"), f.macOf("h2")
			eventually(t, convergence, "192.168.100.1 on vb", f.wantNeigh("vb", "192.168.100.1", h1))
			if far == kindVTEPBGP {
				eventually(t, convergence, "192.168.100.2 on va", f.wantNeigh("va", "192.168.100.2", h2))
			}

			// An address whose duplicate address detection is all that was ever heard of it.
			f.do("h1", "ip", "addr", "add", "2001:db8:100::1/64", "dev", "eth1")
			eventually(t, convergence, "2001:db8:100::1 on vb", f.wantNeigh("vb", "2001:db8:100::1", h1))
			// A link-local one, when it answers for the first time.
			f.do("h2", "ip", "addr", "replace", "2001:db8:100::2/64", "dev", "eth1", "nodad")
			eventually(t, convergence, "ping over IPv6", func() error { return f.ping("h2", "2001:db8:100::1", 1) })
			eventually(t, convergence, "link-local ping", func() error { return f.ping("h2", f.linkLocal("h1")+"%eth1", 1) })
			eventually(t, convergence, "link-local address on vb", f.wantNeigh("vb", f.linkLocal("h1"), h1))

			// A forged sender, a packet for another VLAN, and addresses that no host can have.
			refused := f.metric("va", `vtepbgp_snoop_refused_total{reason="wrong_sender"}`)
			tap, me := f.openTap("h1", "eth1"), hwAddr(h1)
			forged := arpFrame(broadcastMAC, arpRequest, hwAddr("02:00:00:00:de:ad"), "192.168.100.66", nil, "192.168.100.66")
			copy(forged[6:], me)
			tagged := arpFrame(broadcastMAC, arpRequest, me, "192.168.100.67", nil, "192.168.100.67")
			tagged = append(tagged[:12:12], append([]byte{0x81, 0x00, 0x00, 0x05}, tagged[12:]...)...)
			for _, frame := range [][]byte{
				forged, tagged,
				arpFrame(broadcastMAC, arpRequest, me, "127.0.0.1", nil, "127.0.0.1"),
				arpFrame(broadcastMAC, arpRequest, me, "169.254.7.7", nil, "169.254.7.7"),
				arpFrame(broadcastMAC, arpRequest, me, "192.168.100.68", nil, "192.168.100.68"), // and one that is right
			} {
				tap.send(frame)
			}
			eventually(t, convergence, "192.168.100.68 on vb", f.wantNeigh("vb", "192.168.100.68", h1))
			for _, ip := range []string{"192.168.100.66", "192.168.100.67", "127.0.0.1", "169.254.7.7"} {
				assert.NoError(t, f.wantNeigh("vb", ip, "")(), "%s was announced", ip)
			}
			assert.Equal(t, refused+1, f.metric("va", `vtepbgp_snoop_refused_total{reason="wrong_sender"}`))

			// What comes out of the tunnel is somebody else's to announce.
			before := f.metric("va", "vtepbgp_snoop_local_ips")
			f.sendVXLAN("vb", "10.0.0.1", 100, arpFrame(broadcastMAC, arpRequest, hwAddr("02:00:00:00:be:ef"), "192.168.100.77", nil, "192.168.100.1"))
			tap.send(arpFrame(broadcastMAC, arpRequest, me, "192.168.100.69", nil, "192.168.100.69"))
			eventually(t, convergence, "192.168.100.69 on vb", f.wantNeigh("vb", "192.168.100.69", h1))
			assert.Equal(t, before+1, f.metric("va", "vtepbgp_snoop_local_ips"))
			assert.NoError(t, f.wantNeigh("vb", "192.168.100.77", "")())

			// With its port the host is gone, and all its addresses; back, it is heard again.
			f.do("h1", "ip", "link", "set", "eth1", "down")
			for _, ip := range []string{"192.168.100.1", "2001:db8:100::1", "192.168.100.68"} {
				eventually(t, convergence, ip+" is withdrawn", f.wantNeigh("vb", ip, ""))
			}
			f.do("h1", "ip", "link", "set", "eth1", "up")
			eventually(t, convergence, "ping", func() error { return f.ping("h1", "192.168.100.2", 1) })
			eventually(t, convergence, "192.168.100.1 on vb", f.wantNeigh("vb", "192.168.100.1", h1))
		})
	}
}

// TestSilentHost: a host that says nothing for ten times the ageing time of the bridge is
// never withdrawn, and reached with the first packet; one that is gone is withdrawn soon.
func TestSilentHost(t *testing.T) {
	t.Parallel()
	const ageing = 3 * time.Second
	f := stage{kind: map[string]string{"rr": kindVTEPBGP, "va": kindVTEPBGP, "vb": kindVTEPBGP}, config: withMetrics}.build(t)
	f.sh("h1", "echo 1 > /proc/sys/net/ipv6/conf/eth1/disable_ipv6") // it would speak by itself
	eventually(t, convergence, "ping", func() error { return f.ping("h1", "192.168.100.2", 1) })
	h1 := f.macOf("h1")
	eventually(t, convergence, "h1 on vb", f.wantFDB("vb", h1, remoteRows(h1, "10.0.0.1")))
	eventually(t, convergence, "192.168.100.1 on vb", f.wantNeigh("vb", "192.168.100.1", h1))

	lost := watchLosses(t, f.namespace("vb"))
	f.do("va", "ip", "link", "set", "br100", "type", "bridge", "ageing_time", fmt.Sprint(ageing.Milliseconds()/10))
	quiet := time.Now()
	eventually(t, 12*ageing, "ten ageing times", func() error {
		if time.Since(quiet) < 10*ageing {
			return fmt.Errorf("%s so far", time.Since(quiet))
		}
		return nil
	})
	lost.mu.Lock()
	assert.NotContains(t, lost.macs, h1, "it was never withdrawn")
	require.NoError(t, lost.err)
	lost.mu.Unlock()
	kept := f.metric("va", "vtepbgp_snoop_kept_macs_total")
	t.Logf("in %s of silence: asked %v times, found alive %v times, %v frames sent", time.Since(quiet).Round(time.Second),
		f.metric("va", "vtepbgp_snoop_held_macs_total"), kept, f.metric("va", "vtepbgp_snoop_probes_total"))
	assert.GreaterOrEqual(t, kept, 4.0, "the bridge has aged it out time and again")
	f.do("h2", "ip", "neigh", "flush", "dev", "eth1")
	require.NoError(t, f.ping("h2", "192.168.100.1", 1), "the first packet")

	// The host is gone, its link is not.
	f.do("h1", "ip", "addr", "flush", "dev", "eth1")
	gone := time.Now()
	eventually(t, convergence, "h1 is withdrawn", f.wantFDB("vb", h1, nil))
	eventually(t, convergence, "192.168.100.1 is withdrawn", f.wantNeigh("vb", "192.168.100.1", ""))
	t.Logf("withdrawn %s after it was gone, with an ageing time of %s", time.Since(gone).Round(10*time.Millisecond), ageing)
	assert.GreaterOrEqual(t, f.metric("va", "vtepbgp_snoop_silent_ips_total"), 1.0)
}
