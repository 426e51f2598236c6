//go:build lab

package lab_test

import (
	"bytes"
	netorder "encoding/binary"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/speaker/speakertest"
)

const (
	manyNetworks, manyVTEPs = 1000, 100
	firstNetwork            = 1000
	manyService             = "10.255.0.1"
)

const manyLab = `name: many
topology:
  defaults: {kind: linux, image: host}
  nodes:
    peer:
      exec:
        - sysctl -qw net.ipv4.ip_forward=0
        - ip addr add 10.0.0.254/24 dev eth1
        - ip route add 10.255.0.1 via 10.0.0.1
    target:
      image: vtepbgp
      binds: [target.toml:/etc/vtepbgp/vtepbgp.toml:ro]
      exec: [ip addr add 10.0.0.1/24 dev eth1, ip route add 10.8.0.0/16 via 10.0.0.254]
  links:
    - {endpoints: ["peer:eth1", "target:eth1"], mtu: 1600}
`

// many is a replicator with 1,000 VNIs of 100 VTEPs each, and a peer that is its reflector, who sends and to whom copies go.
type many struct {
	*running
	dir  string // with the configuration
	peer *speakertest.Peer
	from net.Conn
	wire *tap
	last uint32
}

func manyVTEP(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 8, 0, byte(n + 1)}) }

// listRoute is the type-3 of a VTEP.
func listRoute(vni evpn.VNI, vtep netip.Addr) evpn.Route {
	attrs := *speakertest.Attrs(vtep, vni)
	attrs.PMSI = &evpn.PMSITunnel{Type: evpn.PMSIIngressReplication, Label: uint32(vni), Endpoint: vtep}
	return evpn.Route{Key: evpn.RouteKey{Type: evpn.IMETRoute, RD: evpn.RDFromRouterID(vtep, uint16(vni)), IP: vtep}, Attrs: &attrs}
}

func newMany(t *testing.T) *many {
	t.Helper()
	var b strings.Builder
	b.WriteString("[bgp]\nasn = 65000\nrouter_id = \"10.0.0.5\"\n[vtep]\naddress = \"10.0.0.1\"\n" +
		"[[neighbor]]\naddress = \"10.0.0.254\"\nasn = 65000\npassive = true\n" + floodTable("ebpf", "service_address = \""+manyService+"\"\n"))
	for i := range manyNetworks {
		fmt.Fprintf(&b, "[[vni]]\nid = %d\nflooding = \"replicator\"\n", firstNetwork+i)
	}
	file := folder(t, map[string]string{"target.toml": b.String()})
	m := &many{running: up(t, parseAs(t, file, manyLab), binary(t)), dir: filepath.Dir(file)}
	m.wire = m.openTap("peer", "eth1")
	require.NoError(t, within(m.namespace("peer"), func() (err error) {
		m.from, err = net.Dial("udp", net.JoinHostPort(manyService, "4789"))
		return err
	}))
	t.Cleanup(func() { m.from.Close() })
	return m
}

// flood sends a frame in some VNIs, and gives the copies by VNI and VTEP that have come once so many are there, or none has come for long.
func (m *many) flood(vnis []evpn.VNI, want int) map[evpn.VNI]map[netip.Addr]int {
	m.t.Helper()
	m.last++
	for _, vni := range vnis {
		_, err := m.from.Write(append(netorder.BigEndian.AppendUint64(nil, 8<<56|uint64(vni)<<8), marker(hwAddr("02:00:00:00:77:77"), m.last)...))
		require.NoError(m.t, err)
	}
	copies, come := map[evpn.VNI]map[netip.Addr]int{}, 0
	const header, long = 14 + 20 + 8 + 8, 3 * time.Second
	count := func() (some bool) {
		for _, s := range m.wire.drain() {
			if s.sent || !carries(s.frame, m.last) {
				continue
			}
			vni := evpn.VNI(netorder.BigEndian.Uint32(s.frame[header-4:]) >> 8)
			if copies[vni] == nil {
				copies[vni] = map[netip.Addr]int{}
			}
			copies[vni][netip.AddrFrom4([4]byte(s.frame[30:]))]++
			come++
			some = true
		}
		return some
	}
	for last := time.Now(); come < want && time.Since(last) < long; {
		if count() {
			last = time.Now()
		}
	}
	count() // what is too much
	return copies
}

// complete wants just one copy to each VTEP in each of these VNIs, but for one that is on no list.
func (m *many) complete(vnis []evpn.VNI, without map[evpn.VNI]netip.Addr) error {
	lost := backlogLosses(m.t)
	copies := m.flood(vnis, len(vnis)*manyVTEPs-len(without))
	lost = backlogLosses(m.t) - lost
	for _, vni := range vnis {
		want := map[netip.Addr]int{}
		for n := range manyVTEPs {
			if manyVTEP(n) != without[vni] {
				want[manyVTEP(n)] = 1
			}
		}
		if !maps.Equal(want, copies[vni]) {
			return fmt.Errorf("VNI %s: %d VTEPs got copies, and the machine lost %d packets: %v", vni, len(copies[vni]), lost, copies[vni])
		}
	}
	return nil
}

// resident is the memory of the daemon in MB.
func (m *many) resident() (mb float64) {
	m.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", m.node("target").PID))
	require.NoError(m.t, err)
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	_, err = fmt.Sscan(rest, &mb)
	require.NoError(m.t, err)
	return mb / 1024
}

// lists are the numbers of the maps that hold the program's lists.
func (m *many) lists() map[[20]byte]ebpf.MapID {
	m.t.Helper()
	infos, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", m.node("target").PID))
	require.NoError(m.t, err)
	lists := map[[20]byte]ebpf.MapID{}
	for _, file := range infos {
		text, err := os.ReadFile(file)
		if err != nil || !bytes.Contains(text, fmt.Appendf(nil, "map_type:\t%d\n", ebpf.HashOfMaps)) {
			continue
		}
		_, rest, _ := strings.Cut(string(text), "map_id:")
		var id ebpf.MapID
		_, err = fmt.Sscan(rest, &id)
		require.NoError(m.t, err)
		outer, err := ebpf.NewMapFromID(id)
		require.NoError(m.t, err)
		var key [20]byte
		var list ebpf.MapID
		for each := outer.Iterate(); each.Next(&key, &list); {
			lists[key] = list
		}
		require.NoError(m.t, outer.Close())
	}
	return lists
}

// 1,000 VNIs with 100 VTEPs each from a reflector: every list becomes complete in core, kernel and engine, frames arrive once at
// all of them, and a change of one list leaves the others alone. The other engine takes over with all of them.
func TestFloodManyNetworks(t *testing.T) {
	t.Parallel()
	m := newMany(t)
	eventually(t, 2*time.Minute, "all VNIs are up", func() error {
		var status struct{ VNIs struct{ Up int } }
		if err := m.json(&status, "target", "vtepbgp", "status", "--json"); err != nil {
			return err
		}
		if status.VNIs.Up != manyNetworks {
			return fmt.Errorf("%d are up", status.VNIs.Up)
		}
		return nil
	})
	empty, ns := m.resident(), m.namespace("peer")
	eventually(t, convergence, "session", func() error {
		conn, err := dialIn(ns)
		if err != nil {
			return err
		}
		m.peer = speakertest.New(conn, speakertest.Options{ASN: 65000, RouterID: siegePeer})
		return nil
	})
	t.Cleanup(m.peer.Close)
	m.peer.Handshake(t)
	begin := time.Now()
	var samples []evpn.VNI
	for i := range manyNetworks {
		vni := evpn.VNI(firstNetwork + i)
		if i%37 == 0 || i == manyNetworks-1 {
			samples = append(samples, vni)
		}
		routes := make([]evpn.Route, 0, manyVTEPs)
		for n := range manyVTEPs {
			routes = append(routes, listRoute(vni, manyVTEP(n)))
		}
		m.peer.Announce(t, routes...)
	}
	sent := time.Since(begin)
	m.whole("ebpf", samples)
	t.Logf("routes sent in %s, all lists complete after %s; resident %.0f MB, before the routes %.0f MB",
		sent.Round(time.Millisecond), time.Since(begin).Round(time.Millisecond), m.resident(), empty)

	changed, before := samples[len(samples)/2], m.lists()
	m.peer.Withdraw(t, listRoute(changed, manyVTEP(50)).Key)
	without := map[evpn.VNI]netip.Addr{changed: manyVTEP(50)}
	eventually(t, convergence, "one list is shorter", func() error { return m.complete([]evpn.VNI{changed}, without) })
	require.NoError(t, m.complete([]evpn.VNI{changed - 1, changed, changed + 1}, without))
	after, rewritten := m.lists(), 0
	for key, list := range after {
		if before[key] != list {
			rewritten++
		}
	}
	assert.Len(t, before, manyNetworks)
	assert.Len(t, after, manyNetworks)
	assert.Equal(t, 1, rewritten, "lists that were put in place anew")

	m.peer.Announce(t, listRoute(changed, manyVTEP(50)))
	file := filepath.Join(m.dir, "target.toml")
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, bytes.Replace(text, []byte(`engine = "ebpf"`), []byte(`engine = "socket"`), 1), 0o644))
	begin = time.Now()
	m.do("target", "vtepbgp", "reload")
	m.whole("socket", samples)
	t.Logf("the other engine has all lists after %s; resident %.0f MB", time.Since(begin).Round(time.Millisecond), m.resident())
	assert.Empty(t, m.lists(), "of the engine before")
}

// whole waits until all lists are complete in the eyes of the daemon, and frames in some VNIs arrive once at all VTEPs.
func (m *many) whole(engine string, samples []evpn.VNI) {
	t := m.t
	t.Helper()
	type list struct {
		VNI    evpn.VNI
		Engine string
		VTEPs  []struct {
			Address           netip.Addr
			Installed, Copied bool
		}
		Problems []string
	}
	eventually(t, 2*time.Minute, "all lists are complete", func() error {
		var shown []list
		if err := m.json(&shown, "target", "vtepbgp", "flood", "show", "--json"); err != nil {
			return err
		}
		for _, f := range shown {
			good := 0
			for _, v := range f.VTEPs {
				if v.Installed && v.Copied {
					good++
				}
			}
			if good != manyVTEPs || len(f.VTEPs) != manyVTEPs || f.Engine != engine || len(f.Problems) > 0 {
				return fmt.Errorf("VNI %s: %d of %d VTEPs, engine %q, problems %v", f.VNI, good, len(f.VTEPs), f.Engine, f.Problems)
			}
		}
		if len(shown) != manyNetworks {
			return fmt.Errorf("%d lists", len(shown))
		}
		return nil
	})
	eventually(t, 2*time.Minute, "frames reach all", func() error { return m.complete(samples[len(samples)-1:], nil) })
	for some := range slices.Chunk(samples, 4) {
		require.NoError(t, m.complete(some, nil))
	}
}
