package main

import (
	"encoding/json"
	"fmt"
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
			code, out, errs := run(t, socket, "", strings.Fields(c.line)...)
			fmt.Fprintf(&all, "$ vtepbgp %s\n%s%sexit %d\n\n", c.line, out, errs, code)
			assert.Equal(t, c.code, code, c.line)
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

	code, _, errs = run(t, "/nonexistent/s", "", "monitor", "--reconnect", "--duration", "10ms")
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
