package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/api"
)

func TestMonitor(t *testing.T) {
	t.Parallel()
	for name, daemon := range map[string]*fakeDaemon{"ipv4": ipv4Daemon(), "wide": wideDaemon()} {
		socket := serve(t, daemon)
		var all strings.Builder
		for _, c := range []struct {
			line string
			code int
		}{
			{"monitor", 1}, // the daemon stops
			{"monitor --count 2", 0},
			{"monitor --kind mac_*,ip_learned --vni 100 --mac 02:00:00:00:00:01", 1},
			{"monitor --kind neighbor_down --kind kernel_* --count 2", 0},
			{"monitor --vtep 10.0.0.2 --kind vtep_* --count 1", 0},
			{"monitor --vni 4711", 1},
		} {
			typed(t, &all, socket, "", c.line, c.code)
		}
		fits(t, all.String())
		golden(t, name+"_monitor", all.String())
	}
}

func TestMonitorJSON(t *testing.T) {
	t.Parallel()
	daemon := ipv4Daemon()
	code, out, errs := run(t, serve(t, daemon), "", "monitor", "-o", "json", "--count", fmt.Sprint(len(daemon.events)))
	require.Equal(t, 0, code, errs)
	assert.NotContains(t, out, "null")
	var kinds []api.EventKind
	for line := range strings.Lines(out) {
		var e api.Event
		require.NoError(t, json.Unmarshal([]byte(line), &e))
		kinds = append(kinds, e.Kind)
		assert.NotEmpty(t, e.Words)
	}
	require.Len(t, kinds, len(daemon.events)+1)
	assert.Equal(t, api.EventMonitorBegins, kinds[0])
}

// TestMonitorReconnects goes on with the next daemon; this one stops each time that it
// has told its events.
func TestMonitorReconnects(t *testing.T) {
	t.Parallel()
	daemon := ipv4Daemon()
	code, out, errs := run(t, serve(t, daemon), "", "monitor", "--kind", "vtep_*", "--reconnect", "--count", "3")
	assert.Equal(t, 0, code)
	assert.Equal(t, 3, strings.Count(out, "vtep gone"))
	assert.Equal(t, 1, strings.Count(out, "TIME"), "one heading")
	assert.Equal(t, 2, strings.Count(errs, "waiting"), "each time once")

	code, _, errs = run(t, "/nonexistent/s", "", "monitor", "--reconnect", "--duration", "2s")
	assert.Equal(t, 0, code)
	assert.Contains(t, errs, "waiting")
}

func TestMonitorRefuses(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"monitor --kind mac_lerned":          `no kind of event matches "mac_lerned": want one of mac_learned`,
		"monitor --kind [":                   "syntax error in pattern",
		"monitor --kind monitor_*":           "no kind of event matches",
		"monitor --duration soon":            "invalid",
		"monitor --vni 0":                    "parse VNI",
		"monitor extra":                      "unexpected argument",
		"monitor --kind mac_* --mac 02:00:0": "parse MAC",
	} {
		code, _, errs := run(t, "/nonexistent/s", "", strings.Fields(line)...)
		assert.Equal(t, exitUsage, code, line)
		assert.Contains(t, errs, want)
	}
	code, _, errs := run(t, "/nonexistent/s", "", "monitor")
	assert.Equal(t, exitFailure, code)
	assert.Contains(t, errs, "daemon not running")
}

// leaving cancels the context, as Ctrl-C does, once something was written.
type leaving struct {
	text  bytes.Buffer
	leave context.CancelFunc
	after string
}

func (l *leaving) Write(b []byte) (int, error) {
	n, err := l.text.Write(b)
	if strings.Contains(l.text.String(), l.after) {
		l.leave()
	}
	return n, err
}

// TestLeaving: Ctrl-C is a success, and a recording has an end all the same.
func TestLeaving(t *testing.T) {
	t.Parallel()
	daemon := ipv4Daemon()
	daemon.goesOn = true
	whole := story(t)
	daemon.recording = whole[:bytes.LastIndex(whole, []byte("{"))] // but for its end
	socket := serve(t, daemon)
	for line, after := range map[string]string{"monitor": "neighbor_down", "record -": "neighbor_down"} {
		ctx, leave := context.WithCancel(t.Context())
		out, errs := &leaving{leave: leave, after: after}, &bytes.Buffer{}
		code := execute(ctx, dependencies{
			stdout: out, stderr: errs, getenv: func(string) string { return socket }, isTerminal: func(io.Writer) bool { return false },
		}, strings.Fields(line))
		assert.Equal(t, 0, code, errs.String())
		if line == "record -" {
			assert.Equal(t, "vtepbgp: 8 events in standard output\n", errs.String())
			assert.Contains(t, out.text.String(), `"end":"ended by the user"}`)
			code, _, errs := run(t, "", out.text.String(), "replay", "-")
			assert.Equal(t, 0, code)
			assert.Empty(t, errs, "it is whole")
		}
	}
	file := filepath.Join(t.TempDir(), "r.jsonl")
	code, _, errs := run(t, socket, "", "record", file, "--duration", "2s")
	assert.Equal(t, 0, code, errs)
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Contains(t, string(b), `"end":"the time asked for is over"}`)
}
