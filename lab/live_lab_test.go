//go:build lab

package lab_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/lab"
)

// told is what a monitor in a node prints, a line of JSON for each event.
type told struct {
	mu   sync.Mutex
	text bytes.Buffer
	errs bytes.Buffer
	code chan int
}

type toldEvent struct {
	Kind     string `json:"kind"`
	VNI      int    `json:"vni"`
	MAC      string `json:"mac"`
	VTEP     string `json:"vtep"`
	Neighbor string `json:"neighbor"`
	Port     string `json:"port"`
	Origin   string `json:"origin"`
	Reason   string `json:"reason"`
	Detail   string `json:"detail"`
}

func (t *told) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.Write(b)
}

// events gives what was told so far.
func (t *told) events() (events []toldEvent, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	whole := t.text.Bytes()
	whole = whole[:bytes.LastIndexByte(whole, '\n')+1]
	for dec := json.NewDecoder(bytes.NewReader(whole)); dec.More(); {
		var e toldEvent
		if err := dec.Decode(&e); err != nil {
			return events, err
		}
		events = append(events, e)
	}
	return events, nil
}

// monitor runs `vtepbgp monitor` in a node until the daemon stops.
func (r *running) monitor(node string, args ...string) *told {
	r.t.Helper()
	m := &told{code: make(chan int, 1)}
	go func() {
		code, err := r.Exec(r.t.Context(), node, append([]string{"vtepbgp", "monitor", "-o", "json"}, args...), lab.Stdio{Out: m, Err: &m.errs})
		if err != nil {
			code = -1 // the test has ended
		}
		m.code <- code
	}()
	eventually(r.t, convergence, "the monitor begins", m.tells(toldEvent{Kind: "monitor_begins"}))
	return m
}

// tells checks for events, in this order, others between them. Fields that are not
// given may have any value; a detail is a part of it.
func (t *told) tells(want ...toldEvent) func() error {
	return func() error {
		events, err := t.events()
		if err != nil {
			return err
		}
		left := want
		for _, e := range events {
			if len(left) > 0 && left[0].like(e) {
				left = left[1:]
			}
		}
		if len(left) > 0 {
			return fmt.Errorf("not told: %+v; told were %d events, the last %+v", left[0], len(events), events[max(0, len(events)-5):])
		}
		return nil
	}
}

func (want toldEvent) like(e toldEvent) bool {
	same := func(want, is string) bool { return want == "" || want == is }
	return want.Kind == e.Kind && same(want.MAC, e.MAC) && same(want.VTEP, e.VTEP) && same(want.Neighbor, e.Neighbor) &&
		same(want.Port, e.Port) && same(want.Origin, e.Origin) && strings.Contains(e.Detail, want.Detail) && strings.Contains(e.Reason, want.Reason)
}

// TestMonitorAndRecord watches and records a VTEP among FRR's while hosts speak, move,
// are taken for duplicates, and the session is lost. The recording, played elsewhere,
// ends with the routes and MACs that the daemon has.
func TestMonitorAndRecord(t *testing.T) {
	t.Parallel()
	f := stage{
		kind:    map[string]string{"rr": kindFRR, "va": kindVTEPBGP, "vb": kindFRR},
		roamers: true, config: map[string]string{"va": quickDuplicates},
	}.build(t)
	all := f.monitor("va")
	moves := f.monitor("va", "--mac", roamerMAC, "--kind", "mac_*")
	s := f.sites()
	h2 := f.macOf("h2")

	eventually(t, convergence, "ping", func() error { return f.ping("h1", "192.168.100.2", 1) })
	f.announce("r1", "02:00:00:00:00:a1", "192.168.100.61")
	f.announce("r2", "02:00:00:00:00:b2", "192.168.100.62")
	eventually(t, convergence, "a local host is told", all.tells(toldEvent{Kind: "mac_learned", MAC: "02:00:00:00:00:a1", Port: "eth3", Origin: "local"}))
	eventually(t, convergence, "a remote host is told", all.tells(toldEvent{Kind: "mac_learned", MAC: "02:00:00:00:00:b2", VTEP: "10.0.0.2", Origin: "remote"}))

	// It begins in the middle: what happened before comes from the core's snapshot.
	const file = "/tmp/va.jsonl.gz" // of the node
	recorded := make(chan error, 1)
	go func() {
		_, err := f.try("va", "sh", "-c", "vtepbgp record "+file+" & echo $! > "+file+".pid; wait $!")
		recorded <- err
	}()
	eventually(t, convergence, "the recording begins", func() error { _, err := f.try("va", "test", "-s", file); return err })

	life := []toldEvent{{Kind: "mac_learned", Port: "eth3", Origin: "local"}}
	f.roam(s[0], roamerIP)
	eventually(t, convergence, "the roamer is here", moves.tells(life...))
	for i := range 3 {
		want := toldEvent{Kind: "mac_moved", VTEP: "10.0.0.2", Detail: "from local to VTEP 10.0.0.2"}
		at := s[1]
		if i%2 == 1 {
			want.Detail, at = "from VTEP 10.0.0.2 to local", s[0]
		}
		f.roam(at, roamerIP)
		life = append(life, want)
		eventually(t, convergence, fmt.Sprintf("move %d is told", i), moves.tells(life...))
	}
	eventually(t, convergence, "the duplicate is told", moves.tells(toldEvent{Kind: "mac_duplicate", Detail: "frozen as remote"}))
	eventually(t, convergence, "its end is told", moves.tells(toldEvent{Kind: "mac_duplicate"}, toldEvent{Kind: "mac_duplicate_over"}))

	f.do("rr", "vtysh", "-c", "clear bgp *")
	eventually(t, convergence, "the loss of the session is told with the reason, and its return", all.tells(
		toldEvent{Kind: "neighbor_down", Neighbor: "10.0.0.254", Reason: "administrative reset"},
		toldEvent{Kind: "neighbor_up", Neighbor: "10.0.0.254", Detail: "AS 65000"},
		toldEvent{Kind: "neighbor_synced", Neighbor: "10.0.0.254"}))
	eventually(t, convergence, "h2 is back", f.wantFDB("va", h2, remoteRows(h2, "10.0.0.2")))
	f.do("va", "bridge", "fdb", "del", h2, "dev", "vxlan100", "master")
	eventually(t, convergence, "the repair is told", all.tells(toldEvent{Kind: "kernel_repair"}))

	f.sameAsReplayed("va", file, recorded)

	require.NoError(t, f.Signal("va", unix.SIGTERM))
	eventually(t, convergence, "the end is told", all.tells(toldEvent{Kind: "monitor_ends"}))
	assert.Equal(t, 1, <-all.code)
	assert.Equal(t, "vtepbgp: the daemon has stopped\n", all.errs.String())
}

// sameAsReplayed ends the recording at a quiet moment, and compares.
func (f *fabric) sameAsReplayed(node, file string, recorded <-chan error) {
	f.t.Helper()
	shown := func() (state replayedState) {
		require.NoError(f.t, f.json(&state.MACs, node, "vtepbgp", "mac", "show", "-o", "json"))
		require.NoError(f.t, f.json(&state.Routes, node, "vtepbgp", "route", "show", "-o", "json"))
		for _, m := range state.MACs {
			delete(m, "installed") // only the kernel knows
		}
		return state
	}
	before := shown()
	f.sh(node, "kill -TERM $(cat "+file+".pid)")
	require.NoError(f.t, <-recorded)
	require.Equal(f.t, before, shown(), "something happened while the recording ended")
	var replayed replayedState
	require.NoError(f.t, f.json(&replayed, node, "vtepbgp", "replay", file, "-o", "json"))
	for _, m := range replayed.MACs {
		delete(m, "installed")
	}
	assert.Greater(f.t, replayed.Recording.Events, 20)
	assert.True(f.t, replayed.Recording.Complete)
	assert.Equal(f.t, before.MACs, replayed.MACs)
	assert.Equal(f.t, before.Routes, replayed.Routes)
	assert.Greater(f.t, len(replayed.Rows), 1)
}

type replayedState struct {
	Recording struct {
		Events   int
		Complete bool
	}
	MACs   []map[string]any
	Routes []map[string]any
	Rows   []map[string]any
}
