//go:build lab

package lab_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/lab/once"
)

const linuxPort = 8472 // of Linux before RFC 7348

func (st *floodStage) group200() string { return st.pick("239.1.1.200", "ff05::1:200") }

// besides200 gives a vtepbgp player VNI 200, flooded like VNI 100 but with a group and a port of its own. Its host is
// the other end of the port, on the VTEP itself.
func (st *floodStage) besides200(p floodPlayer) floodPlayer {
	p.vni += "[[vni]]\nid = 200\nports = [\"p200\"]\nudp_port = 4789\n" + strings.Replace(p.vni, st.group(), st.group200(), 1)
	return p
}

// overlay200 makes the port of VNI 200 and its host, and on VTEPs without vtepbgp the overlay.
func (f *flooding) overlay200(p floodPlayer) {
	f.t.Helper()
	lines := []string{
		"ip link add p200 type veth peer name q200", "sysctl -qw net.ipv6.conf.p200.disable_ipv6=1 net.ipv6.conf.q200.disable_ipv6=1",
		"ip link set p200 up", "ip link set q200 up",
	}
	destination := map[string]string{kindLegacy: "dev eth1 group " + f.stage.group200(), kindLeaf: "remote " + f.stage.service(1), kindFRR: "nolearning"}
	if to := destination[p.kind]; to != "" {
		lines = append(lines, "sysctl -qw net.ipv6.conf.default.disable_ipv6=1", "ip link add br200 type bridge", "ip link set br200 up",
			fmt.Sprintf("ip link add vxlan200 type vxlan id 200 local %s %s dstport 4789", f.stage.addr(p.name), to),
			"ip link set vxlan200 master br200 mtu 1500")
		if p.kind == kindFRR {
			lines = append(lines, "bridge link set dev vxlan200 learning off")
		}
		lines = append(lines, "ip link set vxlan200 up", "ip link set p200 master br200")
	}
	f.sh(p.name, "set -e; "+strings.Join(lines, "; "))
}

// counters are those of a VNI at a node.
func (f *flooding) counters(node string, vni int) map[string]uint64 {
	f.t.Helper()
	var all []struct {
		Counters map[string]uint64 `json:"counters"`
	}
	require.NoError(f.t, f.json(&all, node, "vtepbgp", "flood", "show", fmt.Sprint(vni), "--json"))
	require.Len(f.t, all, 1)
	return all[0].Counters
}

// Two VNIs with different UDP ports at every VTEP, through a host that copies its own frames, a relay and a service
// node; a packet of one on the port of the other is nobody's.
func TestFloodPorts(t *testing.T) {
	t.Parallel()
	for _, engine := range []string{"ebpf", "socket"} {
		for _, family := range []int{4, 6} {
			t.Run(fmt.Sprintf("%s IPv%d", engine, family), func(t *testing.T) {
				t.Parallel()
				floodPorts(t, engine, family)
			})
		}
	}
}

func floodPorts(t *testing.T, engine string, family int) {
	t.Helper()
	st := floodStage{family: family, rr: kindVTEPBGP, port: linuxPort}
	v2 := st.routedVTEP("v2")
	if v2.kind == kindVTEPBGP {
		v2 = st.besides200(v2)
	}
	st.players = []floodPlayer{
		st.besides200(st.relay("r1", engine, "unicast", 1, 0)), st.besides200(st.member("o1", engine, "unicast", 1)),
		{name: "l1", kind: kindLegacy, segment: 1},
		st.besides200(st.replicator("s1", engine, 1)), {name: "lf1", kind: kindLeaf},
		st.besides200(floodPlayer{name: "v1", kind: kindVTEPBGP}), v2,
	}
	st.services = map[string][]string{st.service(1): {"s1"}}
	f := st.build(t)
	var stations []once.Station
	for _, p := range st.players {
		f.overlay200(p)
		stations = append(stations, once.Station{Name: p.name, Device: "q200", Within: func(run func() error) error { return f.Within(p.name, run) }})
	}
	beside, err := once.Open(stations)
	require.NoError(t, err)
	t.Cleanup(beside.Close)
	beside.Wait = 300 * time.Millisecond
	f.exactlyOnce()
	f.truth("l1", "r1", "o1", "s1", "lf1", "v1", "v2")
	eventually(t, floodConvergence, "frames of VNI 200 arrive exactly once", func() error { return beside.Send(3, time.Millisecond).Err() })
	// Both at once.
	f.meter.Start(floodEvery)
	report := beside.Send(90, floodEvery)
	t.Log(report)
	require.NoError(t, report.Err())
	report = f.meter.Stop()
	t.Log(report)
	require.NoError(t, report.Err())
	t.Run("wrong port", func(t *testing.T) { f.in(t).wrongPort() })
}

// wrongPort has VTEPs send packets of VNI 100 to the port of VNI 200, which nobody copies, and relay and service node count.
func (f *flooding) wrongPort() {
	f.t.Helper()
	const n, packets = 4242, 5
	f.do("l1", "ip", "route", "add", "multicast", f.stage.group(), "dev", "eth1", "table", "local")
	var taps []*tap
	for _, p := range f.stage.players {
		taps = append(taps, f.openTap(floodHost(p.name), "eth1"), f.openTap(p.name, "q200"))
	}
	for node, from := range map[string]struct{ player, to string }{"r1": {"l1", f.stage.group()}, "s1": {"lf1", f.stage.service(1)}} {
		before := f.counters(node, 100)
		for range packets {
			f.sendVXLAN(from.player, from.to, 100, marker(hwAddr(f.macOf(floodHost(from.player))), n))
		}
		eventually(f.t, 10*time.Second, "wrong ports are counted at "+node, func() error {
			now := f.counters(node, 100)
			if got := now["dropped_wrong_port"] - before["dropped_wrong_port"]; got != packets {
				return fmt.Errorf("%d of %d: %v", got, packets, now)
			}
			assert.Equal(f.t, before["copies"], now["copies"])
			return nil
		})
	}
	f.pass(300 * time.Millisecond)
	for _, p := range taps {
		for _, s := range p.drain() {
			assert.False(f.t, isMarker(n)(s), "a packet on the wrong port was copied")
		}
	}
	f.exactlyOnce()
}
