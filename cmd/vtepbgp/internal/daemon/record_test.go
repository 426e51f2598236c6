package daemon

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/api"
	"github.com/vtepbgp/vtepbgp/config"
	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/evpn/journal"
)

// played gives the core that a recording tells, and why the recording ends.
func played(t *testing.T, recording io.Reader) (core *evpn.Core, end string) {
	t.Helper()
	r, err := journal.NewReader(recording)
	require.NoError(t, err)
	assert.Equal(t, "1.2.3", r.Header().ProgramVersion)
	assert.Equal(t, "10.0.0.1", r.Header().VTEP.String())
	p := journal.NewReplay(r)
	for {
		s, err := p.Next()
		if errors.Is(err, io.EOF) {
			return p.Core(), end
		}
		require.NoError(t, err)
		if s.End != "" {
			end = s.End
		}
	}
}

// live gives the daemon's own state, as speaker and kernel have it.
func (w *world) live() evpn.Desired {
	w.speaker.mu.Lock()
	defer w.speaker.mu.Unlock()
	w.kernel.mu.Lock()
	defer w.kernel.mu.Unlock()
	var d evpn.Desired
	for _, r := range w.speaker.own {
		d.Routes = append(d.Routes, r)
	}
	for k, v := range w.kernel.rows {
		d.Rows = append(d.Rows, evpn.Row{RowKey: k, RowValue: v})
	}
	return d
}

// agree holds what a replay wants to what the daemon has.
func agree(t *testing.T, live evpn.Desired, core *evpn.Core) {
	t.Helper()
	want := core.Desired()
	assert.ElementsMatch(t, want.Routes, live.Routes)
	assert.ElementsMatch(t, want.Rows, live.Rows)
	assert.NotEmpty(t, live.Routes)
}

// story is a bit of everything: neighbours, remote hosts, a move, a reload.
func (w *world) story() {
	peer := netip.MustParseAddr("10.0.0.254")
	w.speaker.establish("10.0.0.254")
	w.kernel.events <- evpn.LocalMACLearned{VNI: 100, MAC: evpn.MAC{2, 5: 9}, Port: "veth1"}
	w.eventually("the host is local", func() bool { return len(w.live().Routes) == 3 })
	w.speaker.events <- evpn.RoutesReceived{Neighbor: peer, Announced: []evpn.Route{hostRoute(3, ""), hostRoute(3, "192.0.2.9")}}
	w.kernel.events <- evpn.LocalMACLearned{VNI: 100, MAC: evpn.MAC{2, 5: 7}, Port: "veth1"}
	w.change(func(c *config.Config) { c.VNIs = append(c.VNIs, testVNI(200)) })
	_, err := w.api.Reload(w.t.Context())
	require.NoError(w.t, err)
	w.eventually("the story is told", func() bool {
		d := w.live()
		return len(d.Rows) == 3 && len(d.Routes) == 4 // flood, MAC, neighbour; type-3s of both VNIs, two local MACs
	})
}

func TestRecordFromStartReplaysTheSame(t *testing.T) {
	for _, name := range []string{"r.jsonl", "r.jsonl.gz"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, t.TempDir())
			w.change(func(c *config.Config) { c.Neighbors[0].Password = "s3cret-word" })
			file := filepath.Join(w.dir, name)
			w.start(Options{Record: file})
			w.story()
			live := w.live()
			require.NoError(t, w.end())
			b, err := os.ReadFile(file)
			require.NoError(t, err)
			assert.Equal(t, strings.HasSuffix(name, ".gz"), bytes.HasPrefix(b, []byte{0x1f, 0x8b}))
			assert.NotContains(t, string(b), "s3cret", "passwords are in no recording")
			core, end := played(t, bytes.NewReader(b))
			assert.Equal(t, "the daemon stopped", end)
			agree(t, live, core)
		})
	}
}

func TestLastRecordingIsMovedAside(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "r.jsonl")
	require.NoError(t, os.WriteFile(file, []byte("what led to the crash\n"), 0o600))
	w := newWorld(t, dir)
	w.start(Options{Record: file})
	require.NoError(t, w.end())
	old, err := os.ReadFile(file + ".old")
	require.NoError(t, err)
	assert.Equal(t, "what led to the crash\n", string(old))
	f, err := os.Open(file)
	require.NoError(t, err)
	_, end := played(t, f)
	assert.NotEmpty(t, end)
	require.NoError(t, f.Close())
}

// TestRecordLive begins in the middle.
func TestRecordLive(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.start(Options{})
	w.story()
	body, err := w.api.Record(t.Context())
	require.NoError(t, err)
	recording := make(chan []byte)
	go func() {
		b, _ := io.ReadAll(body) // what arrived is looked at below
		recording <- b
	}()
	peer := netip.MustParseAddr("10.0.0.254")
	w.kernel.events <- evpn.LocalMACLearned{VNI: 100, MAC: evpn.MAC{2, 5: 8}, Port: "veth2"}
	w.speaker.events <- evpn.RoutesReceived{Neighbor: peer, Withdrawn: []evpn.RouteKey{hostRoute(3, "").Key}}
	require.NoError(t, w.api.ClearDuplicate(t.Context(), 100, evpn.MAC{}))
	w.eventually("the end of the story", func() bool { return len(w.live().Routes) == 5 })
	live := w.live()
	require.NoError(t, w.end())
	b := <-recording
	require.NoError(t, body.Close())
	assert.Contains(t, string(b), "duplicate_cleared", "what the operator orders is recorded, too")
	core, end := played(t, bytes.NewReader(b))
	assert.Equal(t, "the daemon stopped", end)
	agree(t, live, core)
}

func TestRecordingsAreBounded(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.start(Options{})
	for range maxRecordings {
		body, err := w.api.Record(t.Context())
		require.NoError(t, err)
		defer func() { assert.NoError(t, body.Close()) }()
	}
	_, err := w.api.Record(t.Context())
	assert.EqualError(t, err, "4 recordings run already: end one first")
	require.NoError(t, w.end())
}

// TestFullDiskEndsTheRecordingOnly, as does a pipe whose reader has gone.
func TestFullDiskEndsTheRecordingOnly(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	reader, err := os.OpenFile(pipe, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	require.NoError(t, err)
	for file, want := range map[string]string{"/dev/full": "no space left on device", pipe: "broken pipe"} {
		t.Run(want, func(t *testing.T) {
			w := newWorld(t, t.TempDir())
			w.start(Options{Record: file})
			if file == pipe {
				require.NoError(t, reader.Close())
			}
			w.story()
			w.eventually("it is said", func() bool {
				log, err := os.ReadFile(w.dir + "/log")
				return err == nil && strings.Contains(string(log), "recording ended; the daemon goes on without it") && strings.Contains(string(log), want)
			})
			w.kernel.events <- evpn.LocalMACLearned{VNI: 100, MAC: evpn.MAC{2, 5: 6}, Port: "veth1"}
			w.eventually("the daemon works", func() bool { return len(w.live().Routes) == 5 })
			require.NoError(t, w.end())
		})
	}
	w := newWorld(t, t.TempDir())
	err = run(t.Context(), Options{Record: pipe, ConfigPath: "x"}, w.environment())
	assert.ErrorContains(t, err, "open recording: open "+pipe, "nobody reads: an error at once")
}

// TestReaderThatHangsDoesNotHoldTheDaemon: a pipe that is full and nobody reads.
func TestReaderThatHangsDoesNotHoldTheDaemon(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	reader, err := os.OpenFile(pipe, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	require.NoError(t, err)
	defer func() { assert.NoError(t, reader.Close()) }()
	w := newWorld(t, dir)
	w.start(Options{Record: pipe})
	for range 2000 { // more than a pipe holds
		w.kernel.events <- evpn.LocalMACLearned{VNI: 100, MAC: evpn.MAC{2, 5: 6}, Port: "veth1"}
		w.kernel.events <- evpn.LocalMACGone{VNI: 100, MAC: evpn.MAC{2, 5: 6}}
	}
	w.eventually("the daemon works", func() bool { return len(w.live().Routes) >= 2 })
	done := make(chan error, 1)
	go func() { done <- w.end() }()
	select {
	case err := <-done:
		require.NoError(t, err)
	case <-time.After(20 * time.Second):
		require.Fail(t, "the end waits for the reader")
	}
}

// TestSlowDiskEndsTheRecording: with a gap it would tell another story.
func TestSlowDiskEndsTheRecording(t *testing.T) {
	l := newLoop(testCore(), routesOf{newSink()}, rowsOf{newSink()}, listsOf{newSink()}, nil)
	stop := runLoop(t, l)
	var b bytes.Buffer
	r := &recording{tap: newRecorder(), out: api.Recording{Out: &b, Flush: func() error { return nil }}}
	r.tap.feed = newFeed[recorded](10)
	_, err := l.attach(t.Context(), r.tap, r.from)
	require.NoError(t, err)
	for i := range 50 {
		require.True(t, l.kernel.put(t.Context(), learned(byte(i), "veth1")))
	}
	require.NoError(t, l.settle(t.Context(), l.kernel))
	stop()
	require.NoError(t, r.open("1.2.3"))
	require.ErrorIs(t, r.run(t.Context(), make(chan struct{})), errTooSlow)
	_, end := played(t, &b)
	assert.Equal(t, "events came faster than they could be written", end)
}

// manyUpdates gives n routes of one VTEP in UPDATEs of 60, as neighbours pack them.
func manyUpdates(n int) (updates []evpn.Event) {
	rt, _ := evpn.AutoRouteTarget(65000, 100)
	vtep := netip.MustParseAddr("10.0.0.2")
	attrs := &evpn.Attrs{NextHop: vtep, RouteTargets: []evpn.RouteTarget{rt}, Encaps: []uint16{evpn.EncapVXLAN}, LocalPref: 100}
	var all []evpn.Route
	for i := range n {
		all = append(all, evpn.Route{Label: 100, Attrs: attrs, Key: evpn.RouteKey{
			Type: evpn.MACIPRoute, RD: evpn.RDFromRouterID(vtep, 1), MAC: evpn.MAC{2, 0, 0, byte(i >> 16), byte(i >> 8), byte(i)},
		}})
	}
	for routes := range slices.Chunk(all, 60) {
		updates = append(updates, evpn.RoutesReceived{Neighbor: netip.MustParseAddr("10.0.0.254"), Announced: routes})
	}
	return updates
}

// BenchmarkTap is what a listener costs the loop itself for an UPDATE of 60 routes.
func BenchmarkTap(b *testing.B) {
	updates := manyUpdates(60)
	core, now := testCore(), time.Now()
	rows := evpn.Changes{Rows: make([]evpn.RowChange, 60)}
	recorder, monitor := newRecorder(), &watcher{feed: newFeed[happening](watchLimit)}
	for name, c := range map[string]struct {
		tap  tap
		take func()
	}{
		"recorder": {recorder, func() { recorder.feed.take() }},
		"monitor":  {monitor, func() { monitor.feed.take() }},
	} {
		b.Run(name, func(b *testing.B) {
			for n := 0; b.Loop(); n++ {
				c.tap.Told(core, updates[0], now)
				c.tap.Drained(rows, now)
				if n%30 == 0 {
					c.take()
				}
			}
		})
	}
}

// BenchmarkLoop100kRoutes takes 100,000 routes through the loop, alone and with listeners beside.
func BenchmarkLoop100kRoutes(b *testing.B) {
	updates := manyUpdates(100_000)
	for _, c := range []struct {
		name   string
		beside func(context.Context, *loop)
	}{
		{"alone", func(context.Context, *loop) {}},
		{"recorded", func(ctx context.Context, l *loop) {
			f, err := os.Create(filepath.Join(b.TempDir(), "r.jsonl"))
			require.NoError(b, err)
			out := journal.NewOutput(f, f.Name())
			r := &recording{tap: newRecorder(), out: api.Recording{Out: out, Flush: out.Flush}}
			_, err = l.attach(ctx, r.tap, r.from)
			require.NoError(b, err)
			go func() {
				require.NoError(b, r.open("1.2.3"))
				require.NoError(b, r.run(ctx, l.done))
			}()
		}},
		{"monitored", func(ctx context.Context, l *loop) {
			d := &daemon{loop: l, kernel: newFakeKernel(), speaker: newFakeSpeaker(speakerConfig(&config.Config{}, false, nil))}
			go func() { _ = d.Monitor(ctx, api.EventFilter{}, func([]api.Event) error { return nil }) }()
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				s := newSink()
				l := newLoop(testCore(), routesOf{s}, rowsOf{s}, listsOf{s}, nil)
				ctx, cancel := context.WithCancel(b.Context())
				done := make(chan struct{})
				go func() { defer close(done); _ = l.run(ctx) }()
				l.kernel.put(ctx, evpn.VNIState{VNI: 100, Up: true})
				require.NoError(b, l.settle(ctx, l.kernel))
				c.beside(ctx, l)
				b.StartTimer()
				for _, u := range updates {
					l.speaker.put(ctx, u)
				}
				require.NoError(b, l.settle(ctx, l.speaker))
				b.StopTimer()
				cancel()
				<-done
				b.StartTimer()
			}
		})
	}
}
