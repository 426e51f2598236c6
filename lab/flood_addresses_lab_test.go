//go:build lab

package lab_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The addresses by which frames are heard and sent: one that somebody removes is put back, and one that changes is followed.
func TestFloodAddresses(t *testing.T) {
	t.Parallel()
	for _, engine := range []string{"ebpf", "socket"} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			st := floodStage{family: 4, rr: kindVTEPBGP, bfd: true} // a session ends with the address that it has
			st.players = []floodPlayer{
				st.relay("r1", engine, "unicast", 1, 0), {name: "l1", kind: kindLegacy, segment: 1},
				st.replicator("s1", engine, 1), {name: "lf1", kind: kindLeaf}, {name: "v1", kind: kindVTEPBGP},
			}
			for _, p := range []int{0, 2} {
				st.players[p].global += metered
				st.players[p].vtepInterface = "eth1"
			}
			st.services = map[string][]string{st.service(1): {"s1"}}
			f := st.build(t)
			f.exactlyOnce()
			t.Run("group left", func(t *testing.T) {
				f := f.in(t)
				f.repaired("r1", "ip addr del 127.1.1.100 peer "+st.group()+"/32 dev eth1")
				require.Contains(t, f.do("r1", "ip", "maddr", "show", "dev", "eth1"), st.group())
				assert.Contains(t, f.do("r1", "ip", "addr", "show", "dev", "eth1"), st.group())
			})
			for _, player := range []string{"r1", "s1"} {
				t.Run("VTEP address changed at "+player, func(t *testing.T) { f.in(t).moved(player) })
			}
		})
	}
}

// moved gives a VTEP another address, as a script or a lease does, and demands that all frames arrive once afterwards
// and that the others know the new one alone.
func (f *flooding) moved(player string) {
	f.t.Helper()
	st := f.stage
	old := st.addr(player)
	p := st.player(player)
	p.address = fmt.Sprintf("10.1.%d.77", st.number(player))
	if p.segment > 0 {
		p.address = fmt.Sprintf("10.0.%d.77", p.segment)
	}
	report := f.during(nil, func(f *flooding) {
		gateway := st.linkGateway(st.number(player))
		if p.segment > 0 {
			gateway = st.segmentGateway(p.segment)
		}
		f.sh(player, fmt.Sprintf("ip addr del %s/24 dev eth1; ip addr add %s/24 dev eth1; ip route replace %s via %s", old, p.address, st.everything(), gateway))
		for service, at := range st.services {
			if len(at) == 1 && at[0] == player {
				f.do("router", "ip", "route", "replace", service, "via", p.address)
			}
		}
		eventually(f.t, convergence, "the new address is on the list", func() error {
			if f.listed("v1", player) {
				return nil
			}
			return fmt.Errorf("%s is not on v1's list", p.address)
		})
		f.pass(time.Second)
	})
	assert.Zero(f.t, report.Doubled(), "doubled: %v", report.Err())
	f.exactlyOnce()
	f.truth("l1", "r1", "s1", "lf1", "v1")
	rows, err := f.fdb("v1", "vxlan100", zeroMAC)
	require.NoError(f.t, err)
	for _, row := range rows {
		assert.NotContains(f.t, row+" ", " dst "+old+" ")
	}
}
