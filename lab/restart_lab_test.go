//go:build lab

package lab_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/lab/loss"
)

// over measures what h1 and h2 lose while act runs and until all is as before: sessions, rows, and a second
// of calm. Rows of MACs in keep must not go from va meanwhile, not even for a moment.
func (f *fabric) over(t *testing.T, act func(f *fabric)) (report loss.Report, gone map[string]bool) {
	t.Helper()
	f = f.in(t)
	h1, h2 := f.macOf("h1"), f.macOf("h2")
	whole := func() error {
		for _, check := range []func() error{
			f.wantFDB("va", h2, remoteRows(h2, "10.0.0.2")), f.wantFDB("vb", h1, remoteRows(h1, "10.0.0.1")),
			f.wantFDB("va", zeroMAC, floodRows("10.0.0.2")), f.wantFDB("vb", zeroMAC, floodRows("10.0.0.1")),
		} {
			if err := check(); err != nil {
				return err
			}
		}
		return nil
	}
	eventually(t, convergence, "ping", func() error { return f.ping("h1", "192.168.100.2", 1) })
	f.sessionsUp()
	eventually(t, convergence, "rows", whole)
	m, err := loss.Between(f.host("h1", "192.168.100.1"), f.host("h2", "192.168.100.2"))
	require.NoError(t, err)
	calm := func() { holds(t, time.Second, "rows stay", whole) }
	calm()
	gone1, gone2 := watchLosses(t, f.namespace("va")), watchLosses(t, f.namespace("vb"))
	m.Begin()
	act(f)
	f.sessionsUp()
	eventually(t, convergence, "rows again", whole)
	calm()
	report = m.End()
	t.Logf("from h1 to h2 and back:\n%s", report)
	gone = map[string]bool{}
	for node, l := range map[string]*losses{"va": gone1, "vb": gone2} {
		l.mu.Lock()
		require.NoError(t, l.err)
		gone[node] = l.macs[zeroMAC] || l.macs[h1] && node == "vb" || l.macs[h2] && node == "va"
		l.mu.Unlock()
	}
	return report, gone
}

func (f *fabric) host(node, addr string) loss.Host {
	ns := f.namespace(node)
	return loss.Host{Address: netip.MustParseAddr(addr), Within: func(run func() error) error { return within(ns, run) }}
}

// stop signals a node's daemon and waits for its end.
func (f *fabric) stop(node string, sig unix.Signal) {
	f.t.Helper()
	if f.kind[node] == kindFRR {
		// watchfrr first: it would start again what ends.
		f.sh(node, fmt.Sprintf("kill -9 $(pidof watchfrr); kill -%d $(pidof bgpd) $(pidof zebra) $(pidof staticd)", sig))
		eventually(f.t, 20*time.Second, "FRR ends", func() error {
			if out, err := f.try(node, "pidof", "bgpd", "zebra", "staticd"); err == nil {
				return fmt.Errorf("processes %s live", out)
			}
			return nil
		})
	} else {
		require.NoError(f.t, f.Signal(node, sig))
	}
	f.ended(node)
}

func (f *fabric) ended(node string) {
	f.t.Helper()
	eventually(f.t, 20*time.Second, node+" ends", func() error {
		if pid := f.node(node).PID; pid != 0 {
			return fmt.Errorf("process %d lives", pid)
		}
		return nil
	})
}

func (f *fabric) start(nodes ...string) {
	f.t.Helper()
	for _, n := range nodes {
		require.NoError(f.t, f.Start(f.t.Context(), n))
	}
}

// away lets time pass in which something is down.
func away(f *fabric, d time.Duration) {
	f.t.Helper()
	holds(f.t, d, "time passes", func() error { return nil })
}

const crashPause = 2 * time.Second

func upgrade(nodes ...string) func(*fabric) {
	return func(f *fabric) {
		for _, n := range nodes {
			f.stop(n, unix.SIGTERM)
			f.start(n)
		}
	}
}

func crash(nodes ...string) func(*fabric) {
	return func(f *fabric) {
		for _, n := range nodes {
			f.stop(n, unix.SIGKILL)
		}
		away(f, crashPause)
		f.start(nodes...)
	}
}

// TestRestart loses no packet where the reflector helps (RFC 4724), and shows what is lost where it does
// not: FRR 8.4 keeps no EVPN routes over a restart (its FOREACH_AFI_SAFI_NSF ends before that family).
func TestRestart(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		stage stage
		// helped says that some reflector keeps a VTEP's routes while it is away.
		helped bool
	}{
		{"vtepbgp reflects", stage{kind: map[string]string{"rr": kindVTEPBGP}}, true},
		{"FRR reflects", stage{kind: map[string]string{"rr": kindFRR}}, false},
		{"two reflectors, one of each", stage{kind: map[string]string{"rr": kindFRR, "rr2": kindVTEPBGP}}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.stage.kind["va"], c.stage.kind["vb"] = kindVTEPBGP, kindVTEPBGP
			f := c.stage.build(t)
			for _, r := range []struct {
				name string
				act  func(*fabric)
			}{
				{"upgrade", upgrade("va")},
				{"crash", crash("va")},
				{"both VTEPs crash", crash("va", "vb")},
			} {
				t.Run(r.name, func(t *testing.T) {
					report, gone := f.over(t, r.act)
					assert.False(t, gone["va"], "rows that BGP confirms stay untouched")
					if c.helped {
						assert.Zero(t, report.Lost())
						assert.False(t, gone["vb"])
					}
				})
			}
		})
	}
}

// TestReflectorLoss takes reflectors away: one of two, by crash and by silence, is not felt.
func TestReflectorLoss(t *testing.T) {
	t.Parallel()
	silence := func(f *fabric) {
		f.do("switch", "ip", "link", "set", "eth5", "down")
		eventually(t, convergence, "va gives rr2 up", f.sessionState("va", "10.0.0.253", false))
		eventually(t, convergence, "vb gives rr2 up", f.sessionState("vb", "10.0.0.253", false))
		f.do("switch", "ip", "link", "set", "eth5", "up")
	}
	for _, kinds := range [][2]string{{kindVTEPBGP, kindVTEPBGP}, {kindFRR, kindFRR}, {kindVTEPBGP, kindFRR}} {
		t.Run(kinds[0]+" and "+kinds[1], func(t *testing.T) {
			f := stage{
				kind: map[string]string{"rr": kinds[0], "rr2": kinds[1], "va": kindVTEPBGP, "vb": kindVTEPBGP},
				bgp:  "hold_time = \"3s\"\n",
			}.build(t)
			for _, r := range []struct {
				name string
				act  func(*fabric)
			}{
				{"one crashes", crash("rr2")},
				{"the other stops", upgrade("rr")},
				{"one falls silent", silence},
			} {
				t.Run(r.name, func(t *testing.T) {
					report, gone := f.over(t, r.act)
					assert.Zero(t, report.Lost())
					assert.Equal(t, map[string]bool{"va": false, "vb": false}, gone)
				})
			}
		})
	}
}

// sessionState wants a session with a neighbour up or down.
func (f *fabric) sessionState(node, neighbor string, up bool) func() error {
	return func() error {
		var all []siegeNeighbor
		if err := f.json(&all, node, "vtepbgp", "neighbor", "show", "-o", "json"); err != nil {
			return err
		}
		i := slices.IndexFunc(all, func(n siegeNeighbor) bool { return n.Address == neighbor })
		if i < 0 || (all[i].State == "established") != up {
			return fmt.Errorf("neighbours of %s: %+v", node, all)
		}
		return nil
	}
}

// TestReflectorReboot takes the only reflector away.
func TestReflectorReboot(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		stage stage
		kept  bool
	}{
		{"vtepbgp", stage{kind: map[string]string{"rr": kindVTEPBGP}}, true},
		{"FRR", stage{kind: map[string]string{"rr": kindFRR}}, false},
		// FRR announces no family for graceful restart, but EVPN for the long-lived one.
		{"FRR, long-lived", stage{
			kind: map[string]string{"rr": kindFRR}, neighbor: "long_lived_stale_time = \"60s\"\n", frr: " bgp long-lived-graceful-restart stale-time 60\n",
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.stage.kind["va"], c.stage.kind["vb"] = kindVTEPBGP, kindVTEPBGP
			f := c.stage.build(t)
			for name, act := range map[string]func(*fabric){"stops": upgrade("rr"), "crashes": crash("rr")} {
				t.Run(name, func(t *testing.T) {
					report, gone := f.over(t, act)
					if c.kept {
						assert.Zero(t, report.Lost())
						assert.Equal(t, map[string]bool{"va": false, "vb": false}, gone)
					}
				})
			}
		})
	}
}

// TestWhileAway changes the network while va's daemon is dead. The start finds out, and touches
// nothing else.
func TestWhileAway(t *testing.T) {
	t.Parallel()
	for _, rr := range []string{kindVTEPBGP, kindFRR} {
		t.Run(rr+" reflects", func(t *testing.T) {
			f := newFabric(t, rr, kindVTEPBGP, kindVTEPBGP)
			withdrawn, left, came := mustMAC("02:00:00:00:0c:01"), mustMAC("02:00:00:00:0c:02"), mustMAC("02:00:00:00:0c:03")
			learned, aged := mustMAC("02:00:00:00:0c:04"), mustMAC("02:00:00:00:0c:05")
			remoteAt := func(node, mac, vtep string) {
				t.Helper()
				eventually(t, convergence, mac+" on "+node, f.wantFDB(node, mac, remoteRows(mac, vtep)))
			}
			goneFrom := func(node, mac string) {
				t.Helper()
				eventually(t, convergence, mac+" is gone from "+node, f.wantFDB(node, mac, nil))
			}
			for mac, host := range map[string]string{withdrawn: "h2", left: "h1", came: "h2", aged: "h1"} {
				f.speakAs(host, mac)
			}
			remoteAt("va", withdrawn, "10.0.0.2")
			remoteAt("va", came, "10.0.0.2")
			remoteAt("vb", left, "10.0.0.1")
			remoteAt("vb", aged, "10.0.0.1")
			_, gone := f.over(t, func(f *fabric) {
				f.stop("va", unix.SIGKILL)
				f.do("vb", "bridge", "fdb", "del", withdrawn, "dev", "eth2", "master")
				f.speakAs("h2", left)
				eventually(t, convergence, left+" is local on vb", f.localRow("vb", left))
				f.speakAs("h1", came)
				f.speakAs("h1", learned)
				f.do("va", "bridge", "fdb", "del", aged, "dev", "eth2", "master")
				f.start("va")
			})
			assert.False(t, gone["va"], "what did not change stays untouched")
			goneFrom("va", withdrawn)
			if rr == kindFRR {
				// It forgot va's routes and with them the sequence: which place is right shows the next frame.
				f.speakAs("h2", left)
				f.speakAs("h1", came)
			}
			remoteAt("va", left, "10.0.0.2")
			remoteAt("vb", came, "10.0.0.1")
			require.NoError(t, f.localRow("va", came)())
			require.NoError(t, f.localRow("vb", left)())
			remoteAt("vb", learned, "10.0.0.1")
			goneFrom("vb", aged)
		})
	}
}

// TestNobodyConfirms starts a VTEP whose reflector does not come, and one whose reflector never says that
// it is complete: rows of before stay for the restart time, and what nobody has confirmed then goes.
func TestNobodyConfirms(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		kind string
		away string // goes and comes back
	}{
		{"the reflector never comes", kindVTEPBGP, "rr"},
		// Without graceful restart in its configuration gobgpd has no End-of-RIB.
		{"no End-of-RIB", kindGoBGP, "vb"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFabric(t, c.kind, kindVTEPBGP, kindVTEPBGP)
			eventually(t, convergence, "ping", func() error { return f.ping("h1", "192.168.100.2", 1) })
			h1, h2 := f.macOf("h1"), f.macOf("h2")
			rows := func() error {
				return errors.Join(f.wantFDB("va", h2, remoteRows(h2, "10.0.0.2"))(), f.wantFDB("va", zeroMAC, floodRows("10.0.0.2"))())
			}
			eventually(t, convergence, "rows", rows)
			f.stop("va", unix.SIGKILL)
			f.stop(c.away, unix.SIGKILL)
			f.start("va")
			holds(t, 2*time.Second, "rows stay", rows)
			eventually(t, convergence, "rows are swept", func() error {
				return errors.Join(f.wantFDB("va", h2, nil)(), f.wantFDB("va", zeroMAC, nil)())
			})
			require.NoError(t, f.localRow("va", h1)(), "its own host stays")
			f.start(c.away)
			eventually(t, convergence, "answers again", func() error { return f.ping("h1", "192.168.100.2", 1) })
			eventually(t, convergence, "rows again", rows)
		})
	}
}

// TestOtherNumbers restarts a VTEP whose route distinguishers are others than before.
func TestOtherNumbers(t *testing.T) {
	t.Parallel()
	f := newFabric(t, kindVTEPBGP, kindVTEPBGP, kindVTEPBGP)
	before, _, err := f.routeDistinguisher("vb", "10.0.0.1")
	require.NoError(t, err)
	report, gone := f.over(t, func(f *fabric) {
		f.stop("va", unix.SIGTERM)
		f.rewrite("va", "[[vni]]\nid = 100", "[[vni]]\nid = 50\n[[vni]]\nid = 100")
		f.do("va", "rm", "/var/lib/vtepbgp/rd.json")
		f.start("va")
	})
	assert.Zero(t, report.Lost())
	assert.Equal(t, map[string]bool{"va": false, "vb": false}, gone)
	eventually(t, convergence, "one route distinguisher", func() error {
		now, count, err := f.routeDistinguisher("vb", "10.0.0.1")
		if err == nil && (now == before || count != 1) {
			err = fmt.Errorf("%d, one is %s, before it was %s", count, now, before)
		}
		return err
	})
}

// routeDistinguisher asks for that of VNI 100's type-3 routes of a VTEP, and for how many there are.
func (f *fabric) routeDistinguisher(node, vtep string) (rd string, count int, err error) {
	var routes []struct {
		RD string `json:"rd"`
	}
	err = f.json(&routes, node, "vtepbgp", "route", "show", "--type", "3", "--vni", "100", "--next-hop", vtep, "--received", "-o", "json")
	for _, r := range routes {
		rd = r.RD
	}
	return rd, len(routes), err
}

// TestFlushOnExit leaves nothing, here and elsewhere, and comes back.
func TestFlushOnExit(t *testing.T) {
	t.Parallel()
	f := stage{
		kind: map[string]string{"rr": kindVTEPBGP, "va": kindVTEPBGP, "vb": kindVTEPBGP},
		cmd:  map[string]string{"va": "run --flush-on-exit"},
	}.build(t)
	report, gone := f.over(t, func(f *fabric) {
		h1, h2 := f.macOf("h1"), f.macOf("h2")
		f.stop("va", unix.SIGTERM)
		for mac, node := range map[string]string{h2: "va", h1: "vb"} {
			require.NoError(t, f.wantFDB("va", zeroMAC, nil)())
			eventually(t, convergence, "no row on "+node, f.wantFDB(node, mac, nil))
		}
		eventually(t, convergence, "no flood row on vb", f.wantFDB("vb", zeroMAC, nil))
		f.start("va")
	})
	assert.NotZero(t, report.Lost())
	assert.Equal(t, map[string]bool{"va": true, "vb": true}, gone)
}

// TestFRRRestartsBesideUs shows what another VTEP's restart does to our rows.
func TestFRRRestartsBesideUs(t *testing.T) {
	t.Parallel()
	f := newFabric(t, kindVTEPBGP, kindVTEPBGP, kindFRR)
	for name, act := range map[string]func(*fabric){"crashes": crash("vb"), "stops": upgrade("vb")} {
		t.Run(name, func(t *testing.T) {
			_, gone := f.over(t, act)
			assert.True(t, gone["va"], "FRR asks nobody to keep its routes")
		})
	}
}
