//go:build lab

package lab_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	silenceHold = 2 * time.Second
	// silenceBound is the hold time, the look of each second, six requests of the kernel a second apart, and
	// what a busy machine adds.
	silenceBound = silenceHold + time.Second + 6*time.Second + 11*time.Second
)

// wantLists demands of ordinary VTEPs that they copy to just these others.
func (f *flooding) wantLists(limit time.Duration, at []string, players ...string) {
	f.t.Helper()
	for _, node := range at {
		others := slices.DeleteFunc(slices.Clone(players), func(p string) bool { return p == node })
		eventually(f.t, limit, "flood list of "+node, f.wantFDB(node, zeroMAC, floodRows(f.addrs(others...)...)))
	}
}

// unbound demands of VTEPs that they have no row for the host of a player any more.
func (f *flooding) unbound(limit time.Duration, at []string, player string) {
	f.t.Helper()
	mac := f.macOf(floodHost(player))
	for _, node := range at {
		eventually(f.t, limit, fmt.Sprintf("no row for the host of %s at %s", player, node), f.wantFDB(node, mac, []string{}))
	}
}

// source is what `flood show` of a node calls the source of a VTEP; "" when it is not on the list.
func (f *flooding) source(node, player string) (string, error) {
	var all []floodShown
	if err := f.json(&all, node, "vtepbgp", "flood", "show", "100", "--json"); err != nil || len(all) != 1 {
		return "", fmt.Errorf("flood show on %s: %d VNIs: %w", node, len(all), err)
	}
	for _, v := range all[0].VTEPs {
		if v.Address == f.stage.addr(player) {
			return v.Source, nil
		}
	}
	return "", nil
}

func (f *flooding) wantSource(node, player, want string) {
	f.t.Helper()
	eventually(f.t, silenceBound, fmt.Sprintf("source of %s at %s", player, node), func() error {
		got, err := f.source(node, player)
		if err == nil && got != want {
			err = fmt.Errorf("source of %s at %s: %q, want %q", player, node, got, want)
		}
		return err
	})
}

// VTEPs that relays speak for: one that is silent stays as long as it answers its neighbours, one that is gone goes
// from all lists after the hold time, by whichever relay it was heard, and is there again when it speaks.
func TestFloodSilence(t *testing.T) {
	t.Parallel()
	for _, s := range floodFamilies {
		t.Run(fmt.Sprintf("IPv%d behind %s", s.family, s.rr), func(t *testing.T) {
			t.Parallel()
			st := floodStage{family: s.family, rr: s.rr}
			relay := func(name string) floodPlayer {
				p := st.relay(name, "auto", "unicast", 1, 0)
				p.global += fmt.Sprintf("hold_time = %q\n", silenceHold)
				return p
			}
			st.players = []floodPlayer{
				relay("r1"), relay("r2"),
				{name: "l1", kind: kindLegacy, segment: 1}, {name: "l2", kind: kindLegacy, segment: 1},
				{name: "v1", kind: kindVTEPBGP}, st.routedVTEP("v2"),
			}
			f := st.build(t)
			far, all := []string{"v1", "v2"}, []string{"r1", "r2", "l1", "l2", "v1", "v2"}
			f.exactlyOnce()
			spoke := time.Now()
			f.proxied("v1", "l1", "l2")
			f.proxied("v2", "l1", "l2")

			// The MACs are only as fresh as their frames, the VTEPs are asked.
			for _, p := range []string{"l1", "l2"} {
				f.unbound(silenceBound, far, p)
			}
			t.Logf("MACs withdrawn %s after the last frames", time.Since(spoke).Round(100*time.Millisecond))
			holds(t, 3*silenceHold, "silent VTEPs that answer stay", func() error {
				for _, node := range far {
					want := floodRows(f.addrs(slices.DeleteFunc(slices.Clone(all), func(p string) bool { return p == node })...)...)
					if err := f.wantFDB(node, zeroMAC, want)(); err != nil {
						return err
					}
				}
				return nil
			})
			f.exactlyOnce()
			f.proxied("v1", "l1", "l2")

			f.gone("l1", all, far)
			t.Run("only one relay heard it", func(t *testing.T) {
				f := f.in(t)
				f.halt("r2", unix.SIGTERM)
				f.do("router", "ip", "link", "set", f.port("l1"), "up")
				f.wantBack("l1", far)
				f.start("r2")
				f.wantSource("r2", "l1", "bgp")
				f.wantSource("r1", "l1", "proxy")
				f.gone("l1", all, far)
				f.wantSource("r2", "l1", "")
			})
			t.Run("it is back", func(t *testing.T) {
				f := f.in(t)
				f.do("router", "ip", "link", "set", f.port("l1"), "up")
				f.wantBack("l1", far)
				f.exactlyOnce()
				f.truth("l1", all...)
			})
		})
	}
}

// gone unplugs a VTEP, and demands that it goes from all lists while the others stay.
func (f *flooding) gone(player string, all, far []string) {
	f.t.Helper()
	f.do("router", "ip", "link", "set", f.port(player), "down")
	cut := time.Now()
	stay := slices.DeleteFunc(slices.Clone(all), func(p string) bool { return p == player })
	f.wantLists(silenceBound, far, stay...)
	f.t.Logf("%s off all lists %s after it was cut off", player, time.Since(cut).Round(100*time.Millisecond))
	f.unbound(silenceBound, far, player)
	f.wantSource("r1", player, "")
	holds(f.t, silenceHold, "the others stay", func() error {
		for _, node := range far {
			others := slices.DeleteFunc(slices.Clone(stay), func(p string) bool { return p == node })
			if err := f.wantFDB(node, zeroMAC, floodRows(f.addrs(others...)...))(); err != nil {
				return err
			}
		}
		return nil
	})
}

// wantBack has a VTEP speak until all others know it again.
func (f *flooding) wantBack(player string, far []string) {
	f.t.Helper()
	begin := time.Now()
	voice := f.openTap(floodHost(player), "eth1")
	mac := f.macOf(floodHost(player))
	for _, node := range far {
		eventually(f.t, convergence, player+" is on the list of "+node, func() error {
			voice.send(marker(hwAddr(mac), 1))
			if !f.listed(node, player) {
				return fmt.Errorf("%s is not on %s's list", player, node)
			}
			return f.wantFDB(node, mac, remoteRows(mac, f.stage.addr(player)))()
		})
	}
	f.t.Logf("%s back on all lists %s after it spoke", player, time.Since(begin).Round(100*time.Millisecond))
}
