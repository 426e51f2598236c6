//go:build lab

package lab_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// floodTable is the table [flood] of a player.
func floodTable(engine, lines string) string {
	return fmt.Sprintf("[flood]\nengine = %q\n%s", engine, lines)
}

// relay is a VTEP of a segment that relays for those without a daemon. service, for the delivery to
// the group, is the number of its service address.
func (st *floodStage) relay(name, engine, delivery string, segment, service int) floodPlayer {
	lines := ""
	if delivery == "multicast" {
		lines = fmt.Sprintf("service_address = %q\n", st.service(service))
	}
	return floodPlayer{name: name, kind: kindVTEPBGP, segment: segment, global: floodTable(engine, lines),
		vni: fmt.Sprintf("flooding = \"multicast\"\n[vni.multicast]\ngroup = %q\nproxy_vteps = true\nproxy_macs = true\nsegment_delivery = %q\n", st.group(), delivery)}
}

// member is a VTEP of a segment that runs the daemon for itself alone.
func (st *floodStage) member(name, engine, delivery string, segment int) floodPlayer {
	return floodPlayer{name: name, kind: kindVTEPBGP, segment: segment, global: floodTable(engine, ""),
		vni: fmt.Sprintf("flooding = \"multicast\"\n[vni.multicast]\ngroup = %q\nsegment_delivery = %q\n", st.group(), delivery)}
}

// routedVTEP is an ordinary VTEP: FRR, where it can have an address of the family.
func (st *floodStage) routedVTEP(name string) floodPlayer {
	if st.family == 6 { // FRR 8.4 has no VTEPs with IPv6 addresses
		return floodPlayer{name: name, kind: kindVTEPBGP}
	}
	return floodPlayer{name: name, kind: kindFRR}
}

// segmentCell is one way to run a segment.
type segmentCell struct {
	engine, delivery string
	relays           int
}

// segmentCells meet every pair of values; VTEPBGP_FLOOD_MATRIX=full has them all.
func segmentCells() []segmentCell {
	if os.Getenv("VTEPBGP_FLOOD_MATRIX") == "full" {
		var all []segmentCell
		for _, delivery := range []string{"unicast", "multicast"} {
			for _, engine := range []string{"socket", "ebpf"} {
				all = append(all, segmentCell{engine, delivery, 1}, segmentCell{engine, delivery, 2})
			}
		}
		return all
	}
	return []segmentCell{{"ebpf", "unicast", 1}, {"socket", "unicast", 2}, {"ebpf", "multicast", 2}, {"socket", "multicast", 1}}
}

// A segment with two hosts that run nothing, one that copies for itself, one relay or two, and VTEPs elsewhere: every
// frame arrives once at every host, whoever sends it, and who learns from data learns the truth.
func TestFloodSegment(t *testing.T) {
	t.Parallel()
	for _, s := range floodFamilies {
		t.Run(fmt.Sprintf("IPv%d behind %s", s.family, s.rr), func(t *testing.T) {
			t.Parallel()
			st := floodStage{family: s.family, rr: s.rr}
			cells := segmentCells()
			st.players = []floodPlayer{
				st.relay("r1", cells[0].engine, cells[0].delivery, 1, 1), st.relay("r2", cells[0].engine, cells[0].delivery, 1, 2),
				st.member("o1", cells[0].engine, cells[0].delivery, 1),
				{name: "l1", kind: kindLegacy, segment: 1}, {name: "l2", kind: kindLegacy, segment: 1},
				{name: "v1", kind: kindVTEPBGP}, st.routedVTEP("v2"),
			}
			st.services = map[string][]string{st.service(1): {"r1"}, st.service(2): {"r2"}}
			f := st.build(t)
			for i, cell := range cells {
				t.Run(fmt.Sprintf("%s %s %d", cell.engine, cell.delivery, cell.relays), func(t *testing.T) {
					f.in(t).segmentCell(cell, i > 0)
				})
			}
		})
	}
}

func (f *flooding) segmentCell(cell segmentCell, change bool) {
	f.t.Helper()
	st := f.stage
	running := []string{"r1", "r2", "o1", "l1", "l2", "v1", "v2"}
	if cell.relays == 1 {
		f.halt("r2", unix.SIGTERM)
		running = []string{"r1", "o1", "l1", "l2", "v1", "v2"}
	}
	if change {
		players := []floodPlayer{st.relay("r1", cell.engine, cell.delivery, 1, 1), st.member("o1", cell.engine, cell.delivery, 1)}
		if cell.relays == 2 {
			players = append(players, st.relay("r2", cell.engine, cell.delivery, 1, 2))
		}
		f.with(players...)
	}
	f.exactlyOnce(running...)
	f.truth("l1", running...)
	f.proxied("v1", "l1", "l2")
}

// proxied demands that a VTEP elsewhere reaches the hosts of VTEPs without a daemon directly. These speak until
// then, for their MACs are only as fresh as their frames.
func (f *flooding) proxied(at string, players ...string) {
	f.t.Helper()
	for _, p := range players {
		mac := f.macOf(floodHost(p))
		voice, row := f.openTap(floodHost(p), "eth1"), f.wantFDB(at, mac, remoteRows(mac, f.stage.addr(p)))
		eventually(f.t, 10*time.Second, "route for the host of "+p, func() error {
			voice.send(marker(hwAddr(mac), 1))
			return row()
		})
	}
}

// Two segments use the same group and have a relay each.
func TestFloodTwoSegments(t *testing.T) {
	t.Parallel()
	st := floodStage{family: 4, rr: kindVTEPBGP}
	st.players = []floodPlayer{
		st.relay("r1", "ebpf", "unicast", 1, 0), {name: "l1", kind: kindLegacy, segment: 1},
		st.relay("r2", "socket", "unicast", 2, 0), {name: "l2", kind: kindLegacy, segment: 2},
		{name: "v1", kind: kindVTEPBGP},
	}
	f := st.build(t)
	f.exactlyOnce()
	f.truth("l1", "r1", "r2", "l2", "v1")
	f.truth("l2", "r1", "r2", "l1", "v1")
	t.Run("joined by mistake", func(t *testing.T) { f.in(t).joined() })
}

// joined connects the two segments, so that each relay hears the VTEPs of the other one's: some
// frames come twice then, but nothing goes round.
func (f *flooding) joined() {
	f.t.Helper()
	f.sh("router", "ip link add join1 type veth peer name join2 && ip link set join1 master seg1 up && ip link set join2 master seg2 up")
	eventually(f.t, 10*time.Second, "each segment hears the other", func() error {
		if f.meter.Send(3, time.Millisecond).Doubled() == 0 {
			return fmt.Errorf("nothing is doubled")
		}
		return nil
	})
	// The router's ports see all that there is on the wires, copies to it and from it included.
	var taps []*tap
	for i := range f.stage.players {
		taps = append(taps, f.openTap("router", fmt.Sprintf("eth%d", i+1)))
	}
	source := f.openTap(floodHost("l1"), "eth1")
	const n = 777
	source.send(marker(hwAddr(f.macOf(floodHost("l1"))), n))
	sightings := 0
	count := func() error {
		for _, p := range taps {
			for _, s := range p.drain() {
				if carries(s.frame, n) {
					sightings++
				}
			}
		}
		return nil
	}
	holds(f.t, 300*time.Millisecond, "packets come", count)
	soon := sightings
	holds(f.t, 700*time.Millisecond, "packets die out", count)
	f.t.Logf("packets on the wire after one frame: %d, and none after", soon)
	assert.Equal(f.t, soon, sightings, "packets still go round")
	assert.Positive(f.t, soon)
	// At most: a copy to each of 5 VTEPs by each of 2 relays, in and out of the router, and the group's own on 4 ports.
	assert.LessOrEqual(f.t, soon, 2*2*5+5)
	require.NoError(f.t, f.sane(), "nothing is lost for it")
}

// carries says that a VXLAN packet has the marker inside.
func carries(frame []byte, n uint32) bool {
	for _, header := range []int{14 + 20 + 8 + 8, 14 + 40 + 8 + 8} {
		if len(frame) > header && isMarker(n)(sighting{frame: frame[header:]}) {
			return true
		}
	}
	return false
}

// sane says that no frame is lost, and none comes more often than twice.
func (f *flooding) sane() error {
	report := f.meter.Send(9, 5*time.Millisecond)
	if n := report.Lost(); n > 0 {
		return report.Err()
	}
	for _, flow := range report.Flows {
		for _, d := range flow.Doubled {
			if d.Extra > 2 {
				return report.Err()
			}
		}
	}
	return nil
}

// A relay that delivers to its segment has a link of its own to everything else: what is to be delivered
// comes by that.
func TestFloodRelayWithAnUplink(t *testing.T) {
	t.Parallel()
	for _, engine := range []string{"ebpf", "socket"} {
		for _, s := range floodFamilies {
			t.Run(fmt.Sprintf("%s IPv%d", engine, s.family), func(t *testing.T) {
				t.Parallel()
				st := floodStage{family: s.family, rr: kindVTEPBGP}
				st.players = []floodPlayer{
					st.relay("r1", engine, "multicast", 1, 1), st.member("o1", engine, "multicast", 1),
					{name: "l1", kind: kindLegacy, segment: 1}, {name: "l2", kind: kindLegacy, segment: 1},
					{name: "v1", kind: kindVTEPBGP},
				}
				st.players[0].uplink = true
				st.services = map[string][]string{st.service(1): {"r1"}}
				f := st.build(t)
				f.exactlyOnce()
				f.truth("l1", "o1", "l2", "v1")
				var shown []floodShown
				require.NoError(t, f.json(&shown, "r1", "vtepbgp", "flood", "show", "100", "--json"))
				require.Equal(t, []string{"eth1", "eth3"}, shown[0].Interfaces)
			})
		}
	}
}
