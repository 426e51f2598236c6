package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/evpn/journal"
)

// story is a recording: a host is local, moves away with its address, and the
// reflector that told so goes down. One event a second.
func story(t testing.TB) []byte {
	rt := targets("65000:100")
	host, peer := mac("02:00:00:00:00:01"), ip("10.0.0.254")
	rd := evpn.RDFromRouterID(ip("10.0.0.2"), 1)
	attrs := &evpn.Attrs{
		NextHop: ip("10.0.0.2"), RouteTargets: rt, Encaps: []uint16{evpn.EncapVXLAN}, LocalPref: 100, Mobility: evpn.Mobility{Sequence: 1},
	}
	flood := *attrs
	flood.PMSI = &evpn.PMSITunnel{Type: evpn.PMSIIngressReplication, Label: 100, Endpoint: ip("10.0.0.2")}
	var b bytes.Buffer
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	w, err := journal.NewWriter(&b, journal.Header{ProgramVersion: "v1.0.0", VTEP: ip("10.0.0.1"), Started: at})
	require.NoError(t, err)
	for _, ev := range []evpn.Event{
		evpn.ConfigReplaced{Config: evpn.Config{VTEP: ip("10.0.0.1"), Duplicate: evpn.DefaultDuplicate, VNIs: []evpn.VNIConfig{{
			VNI: 100, RD: evpn.RDFromRouterID(ip("10.0.0.1"), 1), Export: rt, Import: []evpn.ImportTarget{{AnyAdmin: true, Number: 100}},
			Flooding: evpn.FloodIngress, Suppression: true,
		}}}},
		evpn.VNIState{VNI: 100, Up: true},
		evpn.LocalMACLearned{VNI: 100, MAC: host, Port: "veth1"},
		evpn.LocalIPLearned{VNI: 100, MAC: host, IP: ip("192.0.2.1"), Source: "arp"},
		evpn.NeighborUp{Neighbor: peer, RouterID: peer, ASN: 65000, IBGP: true, EndOfRIB: true},
		evpn.RoutesReceived{Neighbor: peer, Announced: []evpn.Route{
			{Key: evpn.RouteKey{Type: evpn.MACIPRoute, RD: rd, MAC: host}, Label: 100, Attrs: attrs},
			{Key: evpn.RouteKey{Type: evpn.MACIPRoute, RD: rd, MAC: host, IP: ip("192.0.2.1")}, Label: 100, Attrs: attrs},
			{Key: evpn.RouteKey{Type: evpn.IMETRoute, RD: rd, IP: ip("10.0.0.2")}, Attrs: &flood},
		}},
		evpn.EndOfRIB{Neighbor: peer},
		evpn.NeighborDown{Neighbor: peer, Graceful: true, StaleTime: time.Minute},
	} {
		require.NoError(t, w.Event(ev, at))
		require.NoError(t, w.Drain(at))
		at = at.Add(time.Second)
	}
	require.NoError(t, w.End(at, "the daemon stopped"))
	return b.Bytes()
}

func writeFile(t *testing.T, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, b, 0o600))
	return path
}

func TestReplay(t *testing.T) {
	t.Parallel()
	recording := string(story(t))
	var all strings.Builder
	for _, c := range []struct {
		line, stdin string
		code        int
	}{
		{"replay -", recording, 0},
		{"replay - --until 3 --events", recording, 0},
		{"replay - --until 2.5s", recording, 0},
		{"replay - --until 2026-01-02T03:04:05Z", recording, 0},
		{"replay -", recording[:len(recording)-100], 0}, // cut
		{"replay - --until soon", recording, 2},
		{"replay", "", 2},
		{"replay - --expect a --scenario b", "", 2},
		{"replay /nonexistent", "", 1},
		{"replay -", "", 1},
		{"replay -", "{}", 1},
		{"replay -", strings.Replace(recording, `"event":"vni_state"`, `"event":"vni_stat"`, 1), 1},
		{"replay -", strings.Replace(recording, `"port"`, `"prot"`, 1), 1},
		{"replay -", strings.Replace(recording, `"format_version":1`, `"format_version":7`, 1), 1},
	} {
		typed(t, &all, "", c.stdin, c.line, c.code)
	}
	golden(t, "replay", all.String())
	code, out, errs := run(t, "", recording, "replay", "-", "-o", "json")
	require.Equal(t, 0, code, errs)
	var indented bytes.Buffer
	require.NoError(t, json.Indent(&indented, []byte(out), "", "  "))
	assert.NotContains(t, out, "null")
	golden(t, "replay_json", indented.String())
}

func TestReplayExpects(t *testing.T) {
	t.Parallel()
	recording := writeFile(t, "r.jsonl", story(t))
	_, transcript, _ := run(t, "", "", "replay", recording)
	code, out, errs := run(t, "", "", "replay", recording, "--expect", writeFile(t, "t", []byte(transcript)))
	assert.Equal(t, 0, code, errs)
	assert.Contains(t, out, "as expected: 8 events, ")
	for name, other := range map[string]string{
		"other":  strings.Replace(transcript, "veth1", "veth9", 1) + "x",
		"moved":  strings.Replace(transcript, "note mac_moved", "note mac_moofed", 1),
		"longer": transcript + "more\n", "shorter": transcript[:len(transcript)-20], "empty": "",
	} {
		code, out, errs = run(t, "", "", "replay", recording, "--expect", writeFile(t, "t", []byte(other)))
		assert.Equal(t, exitFailure, code, name)
		assert.Empty(t, out, name)
		assert.Contains(t, errs, "the transcript differs from line ", name)
		if name == "moved" {
			assert.Contains(t, errs, "\n- note mac_moofed vni 100")
			assert.Contains(t, errs, "\n+ note mac_moved vni 100")
		}
	}
}

// TestReplayWritesScenario holds the folder to what the scenarios of evpn want; the
// recording in it gives the transcript in it.
func TestReplayWritesScenario(t *testing.T) {
	t.Parallel()
	recording := writeFile(t, "r.jsonl", story(t))
	for _, until := range []string{"", "6", "4s"} {
		dir := filepath.Join(t.TempDir(), "my-report")
		code, out, errs := run(t, "", "", "replay", recording, "--until", until, "--scenario", dir)
		require.Equal(t, 0, code, errs)
		assert.Contains(t, out, "Say in about.txt what should have happened")
		about, err := os.ReadFile(filepath.Join(dir, "about.txt"))
		require.NoError(t, err)
		assert.Contains(t, string(about), "RFC")
		assert.Contains(t, string(about), "Recorded by vtepbgp v1.0.0 at VTEP 10.0.0.1, 2026-01-02T03:04:05Z.")
		code, out, errs = run(t, "", "", "replay", filepath.Join(dir, "recording.jsonl"), "--expect", filepath.Join(dir, "transcript.golden"))
		assert.Equal(t, 0, code, errs)
		assert.Empty(t, errs, "it is whole")
		assert.Contains(t, out, "as expected")
		code, _, errs = run(t, "", "", "replay", recording, "--scenario", dir)
		assert.Equal(t, exitFailure, code)
		assert.Contains(t, errs, "file exists")
	}
	damaged := writeFile(t, "damaged.jsonl", bytes.Replace(story(t), []byte(`"event":`), []byte(`"evnt":`), 1))
	nowhere := filepath.Join(t.TempDir(), "nothing")
	code, _, _ := run(t, "", "", "replay", damaged, "--scenario", nowhere)
	assert.Equal(t, exitFailure, code)
	assert.NoDirExists(t, nowhere)
}

func TestRecord(t *testing.T) {
	t.Parallel()
	daemon := ipv4Daemon()
	daemon.recording = story(t)
	socket := serve(t, daemon)
	for _, name := range []string{"r.jsonl", "r.jsonl.gz"} {
		file := filepath.Join(t.TempDir(), name)
		code, out, errs := run(t, socket, "", "record", file)
		assert.Equal(t, exitFailure, code, "the daemon stopped")
		assert.Empty(t, out)
		assert.Equal(t, fmt.Sprintf("vtepbgp: the daemon stopped: the recording in %s has 8 events\n", file), errs)
		code, replayed, errs := run(t, "", "", "replay", file)
		assert.Equal(t, 0, code, errs)
		assert.Empty(t, errs)
		_, direct, _ := run(t, "", string(daemon.recording), "replay", "-")
		assert.Equal(t, direct, replayed)
	}
	code, out, errs := run(t, socket, "", "record", "-")
	assert.Equal(t, exitFailure, code)
	assert.Equal(t, string(daemon.recording), out)
	assert.Contains(t, errs, "the recording in standard output has 8 events")

	code, _, errs = run(t, socket, "", "record", "/dev/full")
	assert.Equal(t, exitFailure, code)
	assert.Contains(t, errs, "no space left on device")
	assert.Contains(t, errs, "record to /dev/full, ended after ")
	code, _, errs = run(t, socket, "", "record", "/nonexistent/file")
	assert.Equal(t, exitFailure, code)
	assert.Contains(t, errs, "no such file or directory")
	code, _, _ = run(t, socket, "", "record")
	assert.Equal(t, exitUsage, code)

	daemon.recording = daemon.recording[:len(daemon.recording)-30] // killed in the middle of a line
	file := filepath.Join(t.TempDir(), "r.jsonl")
	code, _, errs = run(t, socket, "", "record", file)
	assert.Equal(t, exitFailure, code)
	assert.Contains(t, errs, "the daemon is gone")
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.True(t, bytes.HasSuffix(b, []byte("}\n")), "whole lines only")
}
