//go:build lab

package lab_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/lab/once"
)

// reaches demands that frames arrive exactly once where they should, and nowhere else: by the names of players.
func (f *flooding) reaches(should func(from, to string) bool) {
	f.t.Helper()
	player := map[string]string{}
	for _, p := range f.stage.players {
		player[floodHost(p.name)] = p.name
	}
	check := func(r once.Report) error {
		var errs []error
		for _, flow := range r.Flows {
			from, to := player[flow.From], player[flow.To]
			heard := flow.Sent - len(flow.Lost)
			switch {
			case len(flow.Doubled) > 0:
				errs = append(errs, fmt.Errorf("%s to %s: %d of %d doubled", from, to, len(flow.Doubled), flow.Sent))
			case from == to:
			case should(from, to) && heard < flow.Sent:
				errs = append(errs, fmt.Errorf("%s to %s: %d of %d lost", from, to, len(flow.Lost), flow.Sent))
			case !should(from, to) && heard > 0:
				errs = append(errs, fmt.Errorf("%s to %s: %d of %d arrive", from, to, heard, flow.Sent))
			}
		}
		return errors.Join(errs...)
	}
	f.meter.Wait = 300 * time.Millisecond
	defer func() { f.meter.Wait = 0 }()
	eventually(f.t, floodConvergence, "frames arrive where they should", func() error { return check(f.meter.Send(3, time.Millisecond)) })
	require.NoError(f.t, check(f.meter.Send(60, 5*time.Millisecond)))
}

func (f *flooding) wantProblemFree(node string) {
	f.t.Helper()
	var all []floodShown
	require.NoError(f.t, f.json(&all, node, "vtepbgp", "flood", "show", "100", "--json"))
	require.Len(f.t, all, 1)
	assert.Empty(f.t, all[0].Problems)
}

// A service node and leaves that run nothing: with learn_from_data they are on all lists for the hold time after each
// frame that they send there, without it only those that were added by hand are.
func TestFloodLearnFromData(t *testing.T) {
	t.Parallel()
	st := floodStage{family: 4, rr: kindVTEPBGP}
	node := func(learn bool) floodPlayer {
		p := st.replicator("s1", "auto", 1)
		p.global = floodTable("auto", fmt.Sprintf("service_address = %q\nlearn_from_data = %t\nhold_time = %q\n", st.service(1), learn, silenceHold))
		return p
	}
	st.players = []floodPlayer{
		node(true), {name: "l1", kind: kindLeaf}, {name: "l2", kind: kindLeaf},
		{name: "a1", kind: kindVTEPBGP, vni: "flooding = \"assisted\"\n"}, {name: "v1", kind: kindVTEPBGP}, {name: "v2", kind: kindFRR},
	}
	st.services = map[string][]string{st.service(1): {"s1"}}
	f := st.build(t)
	leaf := func(p string) bool { return st.player(p).kind == kindLeaf }
	lists := []string{"s1", "v1", "v2"}

	f.exactlyOnce()
	spoke := time.Now()
	f.wantLists(silenceBound, lists, "s1", "a1", "v1", "v2") // both leaves are silent
	t.Logf("leaves off all lists %s after their last frames", time.Since(spoke).Round(100*time.Millisecond))
	f.wantSource("s1", "l1", "")
	f.wantProblemFree("s1")

	voice, mac := f.openTap(floodHost("l1"), "eth1"), hwAddr(f.macOf(floodHost("l1")))
	eventually(t, convergence, "only the leaf that speaks is on the lists", func() error {
		voice.send(marker(mac, 1))
		for _, at := range lists {
			others := slices.DeleteFunc([]string{"s1", "l1", "a1", "v1", "v2"}, func(p string) bool { return p == at })
			if err := f.wantFDB(at, zeroMAC, floodRows(f.addrs(others...)...))(); err != nil {
				return err
			}
		}
		source, err := f.source("s1", "l1")
		if err == nil && source != "data" {
			err = fmt.Errorf("source of l1 at s1: %q", source)
		}
		return err
	})
	f.wantLists(silenceBound, lists, "s1", "a1", "v1", "v2")
	f.exactlyOnce()
	f.truth("l1", "s1", "l2", "a1", "v1", "v2")

	t.Run("off", func(t *testing.T) {
		f := f.in(t)
		f.with(node(false))
		f.wantLists(convergence, lists, "s1", "a1", "v1", "v2")
		f.reaches(func(_, to string) bool { return !leaf(to) }) // the leaves speak all the time
		f.wantLists(0, lists, "s1", "a1", "v1", "v2")
		f.wantSource("s1", "l1", "")
		f.wantProblemFree("s1")

		// Whoever copies by the node reaches the one that was added there.
		f.do("s1", "vtepbgp", "vtep", "add", st.addr("l1"), "--vni", "100")
		f.wantSource("s1", "l1", "static")
		f.reaches(func(from, to string) bool { return !leaf(to) || to == "l1" && from != "v1" && from != "v2" })
		f.do("s1", "vtepbgp", "vtep", "delete", st.addr("l1"), "--vni", "100")
		f.reaches(func(_, to string) bool { return !leaf(to) })
	})
}
