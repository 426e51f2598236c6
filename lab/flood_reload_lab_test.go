//go:build lab

package lab_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// reloaded counts frames from before a reload until all that follows from it has been done.
func (f *flooding) reloaded(players ...floodPlayer) {
	f.t.Helper()
	report := f.all(func(f *flooding) {
		for _, p := range players {
			f.reload(p)
		}
		f.pass(partTaken + 2*time.Second)
	})
	f.t.Log(report)
	assert.Zero(f.t, report.Doubled(), "doubled: %v", report.Err())
	assert.Less(f.t, report.Outage(), detectionBound, "%v", report.Err())
	f.settled()
}

// A replicator becomes a leaf, an ordinary VTEP, and a replicator again, by reloads under load.
func TestFloodReloadModes(t *testing.T) {
	t.Parallel()
	st := floodStage{family: 4, rr: kindVTEPBGP}
	leaf := func(name string) floodPlayer {
		return floodPlayer{name: name, kind: kindVTEPBGP, vni: "flooding = \"assisted\"\n"}
	}
	st.players = []floodPlayer{
		st.replicator("s1", "ebpf", 1), st.replicator("s2", "socket", 2), leaf("a1"), leaf("a2"), leaf("a3"), {name: "v1", kind: kindVTEPBGP},
	}
	st.services = map[string][]string{st.service(1): {"s1"}, st.service(2): {"s2"}}
	f := st.build(t)
	f.exactlyOnce()
	modes := map[string]func(string) floodPlayer{
		"replicator, eBPF":   func(name string) floodPlayer { return st.replicator(name, "ebpf", st.number(name)) },
		"replicator, socket": func(name string) floodPlayer { return st.replicator(name, "socket", st.number(name)) },
		"leaf":               leaf,
		"ingress":            func(name string) floodPlayer { return floodPlayer{name: name, kind: kindVTEPBGP} },
	}
	for _, c := range []struct{ player, to string }{
		{"s1", "leaf"}, {"s1", "ingress"}, {"s1", "replicator, eBPF"}, {"s2", "leaf"}, {"s2", "replicator, socket"},
		{"s1", "replicator, socket"}, {"s1", "replicator, eBPF"}, {"s1", "leaf"},
	} {
		t.Run(fmt.Sprintf("%s becomes %s", c.player, c.to), func(t *testing.T) { f.in(t).reloaded(modes[c.to](c.player)) })
	}
}

// Relays change their engine, and all of a segment the way in which frames come to it, by reloads under load.
func TestFloodReloadSegment(t *testing.T) {
	t.Parallel()
	st := floodStage{family: 4, rr: kindVTEPBGP}
	all := func(engine, delivery string) []floodPlayer {
		return []floodPlayer{st.relay("r1", engine, delivery, 1, 1), st.relay("r2", engine, delivery, 1, 2), st.member("m1", engine, delivery, 1)}
	}
	st.players = append(all("ebpf", "unicast"), floodPlayer{name: "l1", kind: kindLegacy, segment: 1}, floodPlayer{name: "v1", kind: kindVTEPBGP}, st.routedVTEP("v2"))
	st.services = map[string][]string{st.service(1): {"r1"}, st.service(2): {"r2"}}
	f := st.build(t)
	f.exactlyOnce()
	for _, c := range []struct{ name, engine, delivery string }{
		{"socket engine", "socket", "unicast"}, {"multicast", "socket", "multicast"}, {"eBPF engine", "ebpf", "multicast"}, {"unicast", "ebpf", "unicast"},
	} {
		t.Run(c.name, func(t *testing.T) { f.in(t).reloaded(all(c.engine, c.delivery)...) })
	}
}
