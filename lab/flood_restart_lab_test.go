//go:build lab

package lab_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

const relayOfSegment = "flooding = \"multicast\"\n[vni.multicast]\ngroup = %q\nproxy_vteps = true\nproxy_macs = true\n"

// oneRelay is two VTEPs without a daemon, a relay that runs nothing but vtepbgp, and two EVPN VTEPs.
func oneRelay(engine, cmd string) floodStage {
	st := floodStage{family: 4, rr: kindVTEPBGP, players: []floodPlayer{
		{name: "l1", kind: kindLegacy, segment: 1}, {name: "l2", kind: kindLegacy, segment: 1},
		{name: "r1", kind: kindVTEPBGP, segment: 1, cmd: cmd, bgp: "graceful_restart_time = \"60s\"\n",
			global: fmt.Sprintf("[flood]\nengine = %q\n", engine)},
		{name: "v1", kind: kindVTEPBGP, bgp: "graceful_restart_time = \"60s\"\n"},
		{name: "v2", kind: kindVTEPBGP, bgp: "graceful_restart_time = \"60s\"\n"},
	}}
	st.player("r1").vni = fmt.Sprintf(relayOfSegment, st.group())
	return st
}

// footprint is what the flooding of a node has left in its kernel.
func (f *flooding) footprint(node string) (all []string) {
	all = f.programs(node, "eth1")
	for _, argv := range [][]string{
		{"sh", "-c", "tc qdisc show dev eth1 | grep clsact || true"},
		{"sh", "-c", "ip maddr show dev eth1 | grep -w " + f.stage.group() + " || true"},
		{"sh", "-c", "bridge fdb show dev vxlan100 | grep -w " + f.stage.group() + " || true"},
	} {
		out, err := f.try(node, argv...)
		if err == nil && strings.TrimSpace(out) != "" {
			all = append(all, strings.TrimSpace(out))
		}
	}
	return all
}

// A relay restarts while its segment and the rest talk: the program in the kernel copies on, so nobody misses a
// frame or gets it twice. The other engine goes with its process.
func TestRelayRestarts(t *testing.T) {
	t.Parallel()
	for _, engine := range []string{"ebpf", "socket"} {
		t.Run(engine, func(t *testing.T) {
			st := oneRelay(engine, "")
			f := st.build(t)
			f.exactlyOnce()
			f.truth("l1", "l2", "v1", "v2")
			for _, r := range []struct {
				name string
				sig  unix.Signal
				away time.Duration
			}{{"upgrade", unix.SIGTERM, 0}, {"crash", unix.SIGKILL, crashPause}} {
				t.Run(r.name, func(t *testing.T) {
					f := f.in(t)
					f.settled()
					f.meter.Start(10 * time.Millisecond)
					f.halt("r1", r.sig)
					holds(t, r.away, "time passes", func() error { return nil })
					require.NoError(t, f.Start(t.Context(), "r1"))
					holds(t, 6*time.Second, "time passes", func() error { return nil })
					report := f.meter.Stop()
					t.Log(report)
					assert.Zero(t, report.Doubled())
					if engine == "ebpf" {
						assert.Zero(t, report.Lost())
					}
					f.exactlyOnce()
				})
			}
		})
	}
}

// Told to, a daemon leaves nothing behind.
func TestRelayCleansUp(t *testing.T) {
	t.Parallel()
	st := oneRelay("auto", "run --flush-on-exit")
	f := st.build(t)
	f.exactlyOnce()
	assert.Len(t, f.footprint("r1"), 4)
	f.halt("r1", unix.SIGTERM)
	assert.Empty(t, f.footprint("r1"))
}
