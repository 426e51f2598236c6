//go:build lab

package lab_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// casts are who plays route reflector, va and vb. FRR in all parts is the yardstick: it
// shows that the expectations below are FRR's own conduct.
var casts = []struct{ rr, va, vb string }{
	{kindFRR, kindFRR, kindFRR},
	{kindFRR, kindVTEPBGP, kindFRR},
	{kindVTEPBGP, kindVTEPBGP, kindFRR},
	{kindFRR, kindVTEPBGP, kindVTEPBGP},
	{kindGoBGP, kindVTEPBGP, kindFRR},
	{kindVTEPBGP, kindFRR, kindFRR},
	{kindGoBGP, kindFRR, kindFRR},
}

const convergence = 30 * time.Second

func TestInterop(t *testing.T) {
	t.Parallel()
	for _, c := range casts {
		t.Run(fmt.Sprintf("rr=%s,va=%s,vb=%s", c.rr, c.va, c.vb), func(t *testing.T) {
			t.Parallel()
			f := newFabric(t, c.rr, c.va, c.vb)
			f.inTurn(t, []part{
				{"flood lists", floodLists},
				{"ping and MAC rows", pingAndRows},
				{"MAC with IP", macWithIP},
				{"sticky", sticky},
				{"moves", moves},
				{"ageing", ageing},
				{"session loss", sessionLoss},
			})
		})
	}
}

// part is one part of a story that is told of a fabric.
type part struct {
	name string
	run  func(*testing.T, *fabric)
}

// inTurn runs parts one after the other, to the first that fails: each leaves the fabric
// as it found it.
func (f *fabric) inTurn(t *testing.T, parts []part) {
	for _, p := range parts {
		if !t.Run(p.name, func(t *testing.T) { p.run(t, f.in(t)) }) {
			return
		}
	}
}

// in is the fabric with failures going to a subtest.
func (f *fabric) in(t *testing.T) *fabric {
	r := *f.running
	r.t = t
	return &fabric{running: &r, kind: f.kind, dir: f.dir}
}

// Type-3 routes both ways make the flood lists.
func floodLists(t *testing.T, f *fabric) {
	eventually(t, convergence, "flood row of vb on va", f.wantFDB("va", zeroMAC, floodRows("10.0.0.2")))
	eventually(t, convergence, "flood row of va on vb", f.wantFDB("vb", zeroMAC, floodRows("10.0.0.1")))
}

func (r *running) macOf(host string) string {
	return strings.TrimSpace(r.do(host, "cat", "/sys/class/net/eth1/address"))
}

// Type-2 routes both ways; from then on no packet is lost.
func pingAndRows(t *testing.T, f *fabric) {
	eventually(t, convergence, "ping", func() error { return f.ping("h1", "192.168.100.2", 1) })
	h1, h2 := f.macOf("h1"), f.macOf("h2")
	eventually(t, convergence, "h2 on va", f.wantFDB("va", h2, remoteRows(h2, "10.0.0.2")))
	eventually(t, convergence, "h1 on vb", f.wantFDB("vb", h1, remoteRows(h1, "10.0.0.1")))
	require.NoError(t, f.pingAll(map[string]string{"h1": "192.168.100.1", "h2": "192.168.100.2"}, 25))
}

// A bridge with an address resolves its hosts; what it learns is announced with the IP.
func macWithIP(t *testing.T, f *fabric) {
	for _, c := range []struct{ near, far, host, ip, svi string }{
		{"va", "vb", "h1", "192.168.100.1", "192.168.100.101"},
		{"vb", "va", "h2", "192.168.100.2", "192.168.100.102"},
	} {
		mac := f.macOf(c.host)
		f.do(c.near, "ip", "addr", "add", c.svi+"/24", "dev", "br100")
		eventually(t, convergence, "bridge reaches its host", func() error { return f.ping(c.near, c.ip, 1) })
		eventually(t, convergence, c.ip+" on "+c.far, f.wantNeigh(c.far, c.ip, mac))
		_, proto, err := f.neigh(c.far, c.ip)
		require.NoError(t, err)
		if f.kind[c.far] == kindFRR {
			require.Equal(t, "zebra", proto)
		} else {
			require.NotEmpty(t, proto, "our rows carry our own protocol number")
			require.NotEqual(t, "zebra", proto)
		}
		f.do(c.near, "ip", "addr", "del", c.svi+"/24", "dev", "br100")
		f.do(c.near, "ip", "neigh", "flush", "dev", "br100", "nud", "all", "to", c.ip)
		if f.kind[c.near] == kindFRR {
			eventually(t, convergence, c.ip+" is withdrawn on "+c.far, f.wantNeigh(c.far, c.ip, ""))
		} else { // what was heard on the host's port stands by itself
			holds(t, time.Second, c.ip+" stays on "+c.far, f.wantNeigh(c.far, c.ip, mac))
		}
	}
}

// A local row with the sticky flag is announced as sticky, and written so elsewhere.
func sticky(t *testing.T, f *fabric) {
	for _, c := range []struct{ near, far, addr, mac string }{
		{"va", "vb", "10.0.0.1", mustMAC("02:00:00:00:f0:01")},
		{"vb", "va", "10.0.0.2", mustMAC("02:00:00:00:f0:02")},
	} {
		f.do(c.near, "bridge", "fdb", "add", c.mac, "dev", "eth2", "master", "static", "sticky")
		eventually(t, convergence, "sticky MAC on "+c.far, f.wantFDB(c.far, c.mac, stickyRows(c.mac, c.addr)))
		rt, found, err := f.macRoute(c.far, c.mac)
		require.NoError(t, err)
		require.True(t, found)
		require.True(t, rt.Sticky)
		f.do(c.near, "bridge", "fdb", "del", c.mac, "dev", "eth2", "master")
		eventually(t, convergence, "sticky MAC withdrawn on "+c.far, f.wantFDB(c.far, c.mac, nil))
	}
}

// speakAs makes a host send a frame with another source address. The frame says nothing of
// an IP address: one that goes over to another MAC would raise the sequence (RFC 9721).
func (f *fabric) speakAs(host, mac string) {
	f.t.Helper()
	f.openTap(host, "eth1").send(marker(hwAddr(mac), 0))
}

// localRow checks that a MAC is known as local: on the port, learned by the bridge.
func (f *fabric) localRow(node, mac string) func() error {
	return func() error {
		rows, err := f.fdb(node, "eth2", mac)
		if err != nil {
			return err
		}
		if len(rows) != 1 || strings.Contains(rows[0], "extern_learn") {
			return fmt.Errorf("%s on %s of %s: %q", mac, "eth2", node, rows)
		}
		return nil
	}
}

// A MAC that moves va, vb, va, vb: the sequence rises by one each time (RFC 7432 §15), and
// the VTEP that lost it points to the one that has it.
func moves(t *testing.T, f *fabric) {
	mac := mustMAC("02:00:00:00:0a:01")
	at := []struct{ host, near, far, addr string }{
		{"h1", "va", "vb", "10.0.0.1"}, {"h2", "vb", "va", "10.0.0.2"}, {"h1", "va", "vb", "10.0.0.1"}, {"h2", "vb", "va", "10.0.0.2"},
	}
	for seq, c := range at {
		f.speakAs(c.host, mac)
		eventually(t, convergence, fmt.Sprintf("move %d: %s is local on %s", seq, mac, c.near), f.localRow(c.near, mac))
		eventually(t, convergence, fmt.Sprintf("move %d: %s on %s", seq, mac, c.far), func() error {
			rt, found, err := f.macRoute(c.far, mac)
			if err != nil {
				return err
			}
			if want := (route{Sequence: uint32(seq), NextHop: c.addr}); !found || rt != want {
				return fmt.Errorf("route on %s: found %v %+v, want %+v", c.far, found, rt, want)
			}
			return f.wantFDB(c.far, mac, remoteRows(mac, c.addr))()
		})
	}
}

// A MAC that the bridge forgets is withdrawn.
func ageing(t *testing.T, f *fabric) {
	for _, c := range []struct{ host, near, far, addr, mac string }{
		{"h1", "va", "vb", "10.0.0.1", mustMAC("02:00:00:00:0b:01")},
		{"h2", "vb", "va", "10.0.0.2", mustMAC("02:00:00:00:0b:02")},
	} {
		f.speakAs(c.host, c.mac)
		eventually(t, convergence, "MAC on "+c.far, f.wantFDB(c.far, c.mac, remoteRows(c.mac, c.addr)))
		f.do(c.near, "ip", "link", "set", "br100", "type", "bridge", "ageing_time", "200") // centiseconds
		eventually(t, convergence, "aged MAC on "+c.far, f.wantFDB(c.far, c.mac, nil))
		f.do(c.near, "ip", "link", "set", "br100", "type", "bridge", "ageing_time", "30000")
	}
}

// When va dies its MACs and its flood row go from vb; when it is back, so are they.
func sessionLoss(t *testing.T, f *fabric) {
	h1 := f.macOf("h1")
	eventually(t, convergence, "ping", func() error { return f.ping("h1", "192.168.100.2", 1) })
	eventually(t, convergence, "h1 on vb", f.wantFDB("vb", h1, remoteRows(h1, "10.0.0.1")))
	if f.kind["rr"] == kindVTEPBGP && f.kind["va"] == kindVTEPBGP {
		restartUnnoticed(t, f, h1)
	}
	if f.kind["va"] == kindFRR {
		f.sh("va", "kill -9 $(pidof watchfrr) $(pidof bgpd) $(pidof zebra) $(pidof staticd)")
	} else {
		require.NoError(t, f.Signal("va", unix.SIGKILL))
	}
	eventually(t, convergence, "h1 withdrawn on vb", f.wantFDB("vb", h1, nil))
	eventually(t, convergence, "flood row withdrawn on vb", f.wantFDB("vb", zeroMAC, nil))
	if f.kind["va"] == kindFRR {
		return // FRR's remains after a crash are its own story
	}
	require.NoError(t, f.Start(t.Context(), "va"))
	eventually(t, convergence, "flood row again on vb", f.wantFDB("vb", zeroMAC, floodRows("10.0.0.1")))
	eventually(t, convergence, "h1 again on vb", f.wantFDB("vb", h1, remoteRows(h1, "10.0.0.1")))
	require.NoError(t, f.pingAll(map[string]string{"h1": "192.168.100.1", "h2": "192.168.100.2"}, 25))
}

// With graceful restart on both sides (RFC 4724) a crash is not felt: the reflector keeps
// the routes, the kernel goes on forwarding, and no packet is lost.
func restartUnnoticed(t *testing.T, f *fabric, h1 string) {
	done := make(chan error, 1)
	// 3 seconds of packets; ping never sends faster than the kernel's tick allows.
	go func() { done <- f.ping("h2", "192.168.100.1", 150) }()
	require.NoError(t, f.Signal("va", unix.SIGKILL))
	holds(t, time.Second, "h1 stays on vb", f.wantFDB("vb", h1, remoteRows(h1, "10.0.0.1")))
	require.NoError(t, f.Start(t.Context(), "va"))
	require.NoError(t, <-done)
	f.sessionsUp()
	require.NoError(t, f.wantFDB("vb", h1, remoteRows(h1, "10.0.0.1"))())
	require.NoError(t, f.wantFDB("va", zeroMAC, floodRows("10.0.0.2"))())
}
