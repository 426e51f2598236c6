package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/api"
)

var update = flag.Bool("update", false, "write the golden and generated files")

// run executes a command line and gives exit code and output.
func run(t *testing.T, socket, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return runWith(t, map[string]string{socketVariable: socket}, false, stdin, args...)
}

func runWith(t *testing.T, env map[string]string, terminal bool, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = execute(context.Background(), dependencies{
		version: "v1.0.0", stdin: strings.NewReader(stdin), stdout: &out, stderr: &errs,
		getenv:     func(name string) string { return env[name] },
		isTerminal: func(io.Writer) bool { return terminal },
	}, args)
	return code, out.String(), errs.String()
}

// serve runs the real API server for f on a unix socket.
func serve(t *testing.T, f *fakeDaemon) (socket string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "vtepbgp") // t.TempDir is too long for a socket
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket = filepath.Join(dir, "s")
	l, err := api.Listen(socket)
	require.NoError(t, err)
	server := &http.Server{Handler: api.NewServer(f).Handler()}
	go func() { _ = server.Serve(l) }() // ends with Close below
	t.Cleanup(func() { _ = server.Close() })
	return socket
}

// typed runs a command line, adds it to a session as a terminal would show it, and
// holds it to its exit code.
func typed(t *testing.T, session *strings.Builder, socket, stdin, line string, want int) (stdout string) {
	t.Helper()
	code, out, errs := run(t, socket, stdin, strings.Fields(line)...)
	fmt.Fprintf(session, "$ vtepbgp %s\n%s%sexit %d\n\n", line, out, errs, code)
	assert.Equal(t, want, code, line)
	return out
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err, "run: go test ./cmd/vtepbgp -update")
	assert.Equal(t, string(want), got)
}

var shows = []string{
	"status", "neighbor show", "vni show", "mac show", "vtep show", "flood show", "route show",
}

// Every show command, as text and as JSON, for a daemon with nothing, one with a
// bit of everything, and one with the longest of everything.
func TestShow(t *testing.T) {
	t.Parallel()
	for _, daemon := range []struct {
		name string
		fake *fakeDaemon
	}{{"empty", emptyDaemon()}, {"ipv4", ipv4Daemon()}, {"wide", wideDaemon()}} {
		socket := serve(t, daemon.fake)
		for _, show := range shows {
			t.Run(daemon.name+"/"+show, func(t *testing.T) {
				t.Parallel()
				name := daemon.name + "_" + strings.ReplaceAll(show, " ", "_")
				code, text, errs := run(t, socket, "", strings.Fields(show)...)
				require.Equal(t, 0, code, errs)
				assert.Empty(t, errs)
				golden(t, name, text)
				fits(t, text)

				code, text, errs = run(t, socket, "", append(strings.Fields(show), "--json")...)
				require.Equal(t, 0, code, errs)
				assert.True(t, json.Valid([]byte(text)))
				assert.NotContains(t, text, "null")
				golden(t, name+"_json", text)
				_, same, _ := run(t, socket, "", append(strings.Fields(show), "-o", "json")...)
				assert.Equal(t, text, same)
			})
		}
	}
}

// What differs from intent, as text and as JSON, and what a repair says of it.
func TestDrift(t *testing.T) {
	t.Parallel()
	for _, daemon := range []struct {
		name string
		fake *fakeDaemon
		code int
	}{{"empty", emptyDaemon(), 0}, {"ipv4", ipv4Daemon(), 1}, {"wide", wideDaemon(), 1}} {
		socket := serve(t, daemon.fake)
		var all strings.Builder
		for _, line := range []string{"drift", "drift --json", "drift --repair", "drift --repair --json"} {
			wellShown(t, line, typed(t, &all, socket, "", line, daemon.code))
		}
		golden(t, daemon.name+"_drift", all.String())
		assert.Equal(t, []string{"repair vni=0", "repair vni=0"}, daemon.fake.told)
	}

	daemon := ipv4Daemon()
	daemon.drift[1].Error = ""
	code, out, _ := run(t, serve(t, daemon), "", "drift", "--repair", "--vni", "100")
	assert.Equal(t, 0, code, "all is repaired")
	assert.Contains(t, out, "4 differences repaired: the kernel is as intended.")
	code, _, errs := run(t, serve(t, daemon), "", "drift", "--vni", "200")
	assert.Equal(t, 0, code, "what is somebody else's is no drift")
	assert.Empty(t, errs)
}

// Why something is where it is, as text and as JSON; the exit code is that of the worst.
func TestExplain(t *testing.T) {
	t.Parallel()
	for name, daemon := range map[string]*fakeDaemon{"ipv4": ipv4Daemon(), "wide": wideDaemon()} {
		socket := serve(t, daemon)
		var all strings.Builder
		for _, c := range []struct {
			line string
			code int
		}{
			{"explain 02:00:00:00:00:02 --vni 100", 0},
			{"explain 02-00-00-00-00-02", 1},
			{"explain 192.0.2.1", 0},
			{"explain 02:00:00:00:00:99", 1},
			{"explain 2001:db8::99 --vni 100", 1},
			{"explain 02:00:00:00:00:02 --vni 100 --json", 0},
			{"explain 192.0.2.77 --json", 1},
		} {
			wellShown(t, c.line, typed(t, &all, socket, "", c.line, c.code))
		}
		golden(t, name+"_explain", all.String())
		_, out, _ := runWith(t, map[string]string{socketVariable: socket}, true, "", "explain", "02:00:00:00:00:02")
		assert.Contains(t, out, "\n  \x1b[31mproblem\x1b[0m VNI 200 is down")
		assert.Contains(t, out, "\x1b[32mVerdict:\x1b[0m 02:00:00:00:00:02 is behind")
	}
}

// wellShown holds the output of a command line to its form.
func wellShown(t *testing.T, line, out string) {
	t.Helper()
	if strings.HasSuffix(line, "--json") {
		assert.True(t, json.Valid([]byte(out)))
		assert.NotContains(t, out, "null")
		return
	}
	fits(t, out)
}

// fits fails for lines over 100 columns, trailing blanks and control characters.
func fits(t *testing.T, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		assert.LessOrEqual(t, utf8.RuneCountInString(line), maxWidth, line)
		assert.Equal(t, strings.TrimRight(line, " "), line)
		assert.NotContains(t, line, "\x1b")
	}
}

// One object and filters.
func TestShowOne(t *testing.T) {
	t.Parallel()
	for name, daemon := range map[string]*fakeDaemon{"ipv4": ipv4Daemon(), "wide": wideDaemon()} {
		socket := serve(t, daemon)
		var all strings.Builder
		for _, line := range []string{
			"neighbor show " + daemon.neighbors[1].Address.String(),
			"vni show " + daemon.vnis[0].VNI.String(),
			"vni show --vni " + daemon.vnis[1].VNI.String(),
			"mac show --remote --ip 192.0.2.2",
			"mac show --proxy",
			"mac show --duplicate --json",
			"mac show --vni 4711",
			"flood show " + daemon.flood[0].VNI.String(),
			"flood show " + daemon.flood[1].VNI.String(),
			"flood show " + daemon.flood[2].VNI.String(),
			"flood show --vni " + daemon.flood[2].VNI.String(),
			"flood show " + daemon.flood[3].VNI.String(),
			"flood show " + daemon.flood[4].VNI.String() + " --json",
			"vtep show --vni 4711 --json",
			"route show --type imet",
			"route show --local",
			"route show --ignored",
		} {
			code, out, errs := run(t, socket, "", strings.Fields(line)...)
			fmt.Fprintf(&all, "$ vtepbgp %s\n%s%s", line, out, errs)
			assert.Equal(t, 0, code, line)
		}
		fits(t, all.String())
		golden(t, "one_"+name, all.String())
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	daemon := ipv4Daemon()
	socket := serve(t, daemon)
	var all strings.Builder
	for _, c := range []struct {
		line, stdin string
		code        int
	}{
		{"neighbor shwo", "", 2},
		{"neighbor", "", 2},
		{"neigbor show", "", 2},
		{"neighbor show 10.0.0.300", "", 2},
		{"neighbor show 10.0.0.99", "", 1},
		{"neighbor show -o xml", "", 2},
		{"neighbor reset", "", 2},
		{"neighbor reset --all 10.0.0.254", "", 2},
		{"neighbor reset 10.9.9.9", "", 1},
		{"vni show 0", "", 2},
		{"vni show 100 --vni 100", "", 2},
		{"vni show 4711", "", 1},
		{"mac show --local --remote", "", 2},
		{"mac show --mac 1:2", "", 2},
		{"mac clear-duplicate 02:00:00:00:00:03", "", 2},
		{"mac clear-duplicate --vni 100", "", 2},
		{"route show --type 9", "", 2},
		{"route show --best --ignored", "", 2},
		{"vtep add 10.0.0.9", "", 2},
		{"vtep add --vni 100", "", 2},
		{"vtep add 10.0.0.9 10.0.0.8 --vni 100", "", 2},
		{"vtep delete 10.0.0.300 --vni 100", "", 2},
		{"flood show 0", "", 2},
		{"explain", "", 2},
		{"explain 02:00:00:00:00:02 extra", "", 2},
		{"explain 10.0.0.300", "", 2},
		{"explain 00:00:00:00:00:00", "", 2},
		{"explain 01:00:5e:00:00:01", "", 2},
		{"explain 224.0.0.1", "", 2},
		{"monitor --duration -1s", "", 2},
		{"record - --duration 10", "", 2},
		{"drift 100", "", 2},
		{"status extra", "", 2},
		{"status --socket /nonexistent/s", "", 1},
		{"config check -c /nonexistent.toml", "", 2},
		{"config check -c -", "[bgp]\nasm = 1\n[[vni]]\nid = 0\n", 2},
		{"config check -c -", "[bgp]\nasn = 1\nrouter_id = \"1.1.1.1\"\n", 0},
		{"config show -c -", "x", 2},
		{"run -c - --log-level loud", "", 2},
		{"run -c -", "[bgp]\n", 2},
		{"lab show", "", 2},
		{"lab exec demo.clab.yml h1", "", 2},
		{"lab up /nonexistent.clab.yml", "", 1},
	} {
		typed(t, &all, socket, c.stdin, c.line, c.code)
	}
	golden(t, "errors", all.String())
	assert.Empty(t, daemon.told)
}

func TestOrders(t *testing.T) {
	t.Parallel()
	daemon := ipv4Daemon()
	socket := serve(t, daemon)
	var all strings.Builder
	for _, line := range []string{
		"neighbor reset 10.0.0.254", "neighbor reset --all --soft",
		"mac clear-duplicate --vni 100 02:00:00:00:00:03", "mac clear-duplicate --vni 100 --all",
		"vtep add 10.0.0.9 --vni 100", "vtep delete ::ffff:10.0.0.9 --vni 100", "vtep del 2001:db8::9 --vni 100",
		"reload", "reload --json",
	} {
		code, out, errs := run(t, socket, "", strings.Fields(line)...)
		assert.Equal(t, 0, code, errs)
		fmt.Fprintf(&all, "$ vtepbgp %s\n%s%s", line, out, errs)
	}
	golden(t, "orders", all.String())
	assert.Equal(t, []string{
		"reset 10.0.0.254 soft=false", "reset 10.0.0.253 soft=true", "reset 10.0.0.254 soft=true",
		"clear 100 02:00:00:00:00:03", "clear 100 00:00:00:00:00:00",
		"add 100 10.0.0.9", "delete 100 10.0.0.9", "delete 100 2001:db8::9", "reload", "reload",
	}, daemon.told)

	daemon.refuse = &api.Error{StatusCode: 422, Message: "configuration not loaded, nothing changed", Problems: []string{"a.toml:1: bgp.asn: missing"}}
	code, out, errs := run(t, socket, "", "reload")
	assert.Equal(t, exitUsage, code)
	assert.Empty(t, out)
	assert.Equal(t, "vtepbgp: configuration not loaded, nothing changed\n  a.toml:1: bgp.asn: missing\n", errs)
}

func TestListThatBreaksOffIsAnError(t *testing.T) {
	t.Parallel()
	daemon := ipv4Daemon()
	daemon.refuse = fmt.Errorf("stopping: %w", api.ErrNotReady)
	code, _, errs := run(t, serve(t, daemon), "", "mac", "show")
	assert.Equal(t, exitFailure, code)
	assert.NotEmpty(t, errs)
}

func TestSocketFlagBeatsVariable(t *testing.T) {
	t.Parallel()
	code, _, errs := run(t, "/nonexistent/variable", "", "status", "--socket", serve(t, ipv4Daemon()))
	assert.Equal(t, 0, code, errs)
}

func TestColour(t *testing.T) {
	t.Parallel()
	socket := serve(t, ipv4Daemon())
	for _, c := range []struct {
		env      map[string]string
		terminal bool
		want     bool
	}{
		{map[string]string{}, true, true},
		{map[string]string{}, false, false},
		{map[string]string{"NO_COLOR": "1"}, true, false},
		{map[string]string{"TERM": "dumb"}, true, false},
	} {
		for _, show := range shows {
			c.env[socketVariable] = socket
			_, out, _ := runWith(t, c.env, c.terminal, "", strings.Fields(show)...)
			if !c.want {
				assert.NotContains(t, out, "\x1b", "%s %v", show, c)
			}
			if c.want && show == "neighbor show" {
				assert.Contains(t, out, "\x1b[32mestablished\x1b[0m")
			}
			_, out, _ = runWith(t, c.env, c.terminal, "", append(strings.Fields(show), "--json")...)
			assert.NotContains(t, out, "\x1b")
		}
	}
}

func TestCompletion(t *testing.T) {
	t.Parallel()
	socket := serve(t, ipv4Daemon())
	for line, want := range map[string]string{
		"vni show |":                            "100\tvxlan100 on br100, up\n200\tvxlan200 on br200, down\n:4\n",
		"mac show --vni |":                      "100\tvxlan100 on br100, up\n200\tvxlan200 on br200, down\n:4\n",
		"neighbor reset |":                      "10.0.0.253\tactive rr2\n10.0.0.254\testablished rr1\n:4\n",
		"mac clear-duplicate --vni 100 |":       "02:00:00:00:00:03\n02:00:00:00:00:06\n:4\n",
		"route show -o |":                       "table\njson\n:4\n",
		"vni show --socket /nonexistent/s 10 |": ":4\n",
	} {
		args := append([]string{"__complete"}, strings.Fields(line)...)
		args[len(args)-1] = ""
		code, out, errs := run(t, socket, "", args...)
		assert.Equal(t, 0, code, errs)
		assert.Equal(t, want, out, line)
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		code, out, _ := run(t, socket, "", "completion", shell)
		assert.Equal(t, 0, code)
		assert.Contains(t, out, "vtepbgp")
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	_, out, _ := run(t, "", "", "version")
	assert.True(t, strings.HasPrefix(out, "vtepbgp v1.0.0 (go"), out)
	_, out, _ = run(t, "", "", "version", "--json")
	assert.Contains(t, out, `"version": "v1.0.0"`)
}

func TestConfigShowReadsBack(t *testing.T) {
	t.Parallel()
	_, example, _ := run(t, "", "", "config", "example")
	_, shown, errs := run(t, "", example, "config", "show", "-c", "-")
	require.Empty(t, errs)
	_, again, errs := run(t, "", shown, "config", "show", "-c", "-")
	require.Empty(t, errs)
	assert.Equal(t, shown, again)
	golden(t, "config_show", shown)
	_, js, _ := run(t, "", example, "config", "show", "-c", "-", "--json")
	golden(t, "config_show_json", js)
}
