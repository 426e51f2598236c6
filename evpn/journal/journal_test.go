package journal_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/evpn/journal"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var start = time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)

var header = journal.Header{ProgramVersion: "v1.2.3", VTEP: netip.MustParseAddr("10.0.0.1"), Started: start}

// write gives a recording of evs, one a second, each drained.
func write(t testing.TB, evs ...evpn.Event) []byte {
	var b bytes.Buffer
	w, err := journal.NewWriter(&b, header)
	require.NoError(t, err)
	at := start
	for _, ev := range evs {
		at = at.Add(time.Second)
		require.NoError(t, w.Event(ev, at))
		require.NoError(t, w.Drain(at))
	}
	require.NoError(t, w.End(at, "asked to stop"))
	return b.Bytes()
}

// read gives the events of a recording.
func read(recording []byte) (evs []evpn.Event, err error) {
	r, err := journal.NewReader(bytes.NewReader(recording))
	if err != nil {
		return nil, err
	}
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return evs, nil
		}
		if err != nil {
			return evs, err
		}
		if rec.Event != nil {
			evs = append(evs, rec.Event)
		}
	}
}

// TestEveryEventIsKnown finds the events of the package evpn in its source.
func TestEveryEventIsKnown(t *testing.T) {
	files, err := filepath.Glob("../*.go")
	require.NoError(t, err)
	var declared []string
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv != nil && fn.Name.Name == "event" {
				declared = append(declared, fn.Recv.List[0].Type.(*ast.Ident).Name)
			}
		}
	}
	var known []string
	for _, ev := range journal.EventTypes {
		known = append(known, reflect.TypeOf(ev).Name())
	}
	assert.ElementsMatch(t, declared, known, "journal.eventTypes lists the events of evpn")
}

// TestRoundTrip fills every field of every event with values, often.
func TestRoundTrip(t *testing.T) {
	for seed := range uint64(300) {
		evs := newGenerator(seed).events()
		recording := write(t, evs...)
		got, err := read(recording)
		require.NoError(t, err, "seed %d", seed)
		require.Equal(t, evs, got, "seed %d", seed)
		assert.Equal(t, string(recording), string(write(t, got...)), "written again, it is the same")
	}
}

// TestAttributesStayShared: an UPDATE of thousands of routes has one set.
func TestAttributesStayShared(t *testing.T) {
	a := &evpn.Attrs{NextHop: netip.MustParseAddr("10.0.0.2")}
	ev := evpn.RoutesReceived{Announced: []evpn.Route{{Attrs: a}, {Label: 2, Attrs: a}}}
	recording := write(t, ev)
	assert.Equal(t, 1, bytes.Count(recording, []byte("next_hop")))
	got, err := read(recording)
	require.NoError(t, err)
	routes := got[0].(evpn.RoutesReceived).Announced
	assert.Same(t, routes[0].Attrs, routes[1].Attrs)
}

// TestGolden holds the names that recordings of users have: renaming a field of Go
// must not make them unreadable.
func TestGolden(t *testing.T) {
	evs := (&generator{Rand: rand.New(constant{})}).events()
	const golden = "testdata/format.golden"
	if *update {
		require.NoError(t, os.WriteFile(golden, write(t, evs...), 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	assert.Equal(t, string(want), string(write(t, evs...)))
}

// TestKeepsNoSecrets: what has no field cannot be recorded.
func TestKeepsNoSecrets(t *testing.T) {
	seen := map[reflect.Type]bool{}
	var walk func(reflect.Type)
	walk = func(typ reflect.Type) {
		if seen[typ] {
			return
		}
		seen[typ] = true
		switch typ.Kind() {
		case reflect.Slice, reflect.Array, reflect.Pointer, reflect.Map:
			walk(typ.Elem())
		case reflect.Struct:
			for i := range typ.NumField() {
				name := strings.ToLower(typ.Field(i).Name)
				for _, bad := range []string{"password", "secret", "md5", "authkey", "path", "file"} {
					if strings.Contains(name, bad) && name != "aspathlen" {
						assert.Fail(t, "an event holds what a recording must not", "%s.%s", typ, typ.Field(i).Name)
					}
				}
				if typ.Field(i).IsExported() {
					walk(typ.Field(i).Type)
				}
			}
		}
	}
	for _, ev := range journal.EventTypes {
		walk(reflect.TypeOf(ev))
	}
	assert.True(t, seen[reflect.TypeFor[evpn.Config]()])
}

func TestNames(t *testing.T) {
	for name, want := range map[string]string{
		"VNI": "vni", "RouterID": "router_id", "EndOfRIB": "end_of_rib", "StaticMACs": "static_macs", "VNIs": "vnis",
		"ASPathLen": "as_path_len", "IBGP": "ibgp", "Label2": "label2", "MACRestored": "mac_restored", "LLGRStale": "llgr_stale",
		"NoLLGR": "no_llgr", "VNIState": "vni_state", "MaxMACs": "max_macs", "OriginatorID": "originator_id", "LocalIPGone": "local_ip_gone",
	} {
		assert.Equal(t, want, journal.Snake(name))
	}
}

func lines(ls ...string) []byte { return []byte(strings.Join(ls, "\n") + "\n") }

const head = `{"format":"vtepbgp recording","format_version":1,"program_version":"v1","vtep":"10.0.0.1","started":"2026-01-02T03:04:05Z"}`

func TestErrorsNameTheLineAndTheWord(t *testing.T) {
	for _, c := range []struct{ want, line string }{
		{`line 3: unknown event "mac_lerned": want one of config_replaced, `, `{"at":"2026-01-02T03:04:06Z","event":"mac_lerned"}`},
		{`line 3: local_mac_gone: unknown field "prot": want one of vni, mac`, `{"at":"2026-01-02T03:04:06Z","event":"local_mac_gone","prot":1}`},
		{`line 3: config_replaced: config.vnis[0]: unknown field "x": want one of vni, rd,`, `{"at":"2026-01-02T03:04:06Z","event":"config_replaced","config":{"vnis":[{"x":1}]}}`},
		{`line 3: config_replaced: config.vnis[1].rd: parse route distinguisher "7"`, `{"at":"2026-01-02T03:04:06Z","event":"config_replaced","config":{"vnis":[{},{"rd":"7"}]}}`},
		{`line 3: local_mac_gone: vni: want a whole number from 0 to 16777215, got 16777216`, `{"at":"2026-01-02T03:04:06Z","event":"local_mac_gone","vni":16777216}`},
		{`line 3: local_mac_gone: vni: want a whole number from 0 to 16777215, got "1"`, `{"at":"2026-01-02T03:04:06Z","event":"local_mac_gone","vni":"1"}`},
		{`line 3: vni_state: up: want true or false, got 1`, `{"at":"2026-01-02T03:04:06Z","event":"vni_state","up":1}`},
		{`line 3: local_mac_gone: mac: parse MAC "x"`, `{"at":"2026-01-02T03:04:06Z","event":"local_mac_gone","mac":"x"}`},
		{`line 3: local_mac_gone: mac: want a string, got null`, `{"at":"2026-01-02T03:04:06Z","event":"local_mac_gone","mac":null}`},
		{`line 3: routes_received: announced[0].attrs: there is no attrs[4]`, `{"at":"2026-01-02T03:04:06Z","event":"routes_received","announced":[{"attrs":4}],"attrs":[{}]}`},
		{`line 3: routes_received: announced[1].attrs: missing`, `{"at":"2026-01-02T03:04:06Z","event":"routes_received","announced":[{"attrs":0},{}],"attrs":[{}]}`},
		{`line 3: routes_received: attrs[0].pmsi: unknown field "lable"`, `{"at":"2026-01-02T03:04:06Z","event":"routes_received","attrs":[{"pmsi":{"lable":1}}]}`},
		{`line 3: routes_received: announced: want a list, got {}`, `{"at":"2026-01-02T03:04:06Z","event":"routes_received","announced":{}}`},
		{`line 3: tick: unknown field "x": there are none`, `{"at":"2026-01-02T03:04:06Z","event":"tick","x":1}`},
		{`line 3: want one of "event", "drain" and "end"`, `{"at":"2026-01-02T03:04:06Z"}`},
		{`line 3: want one of "event", "drain" and "end"`, `{"at":"2026-01-02T03:04:06Z","event":"tick","drain":true}`},
		{`line 3: drain: want true, got 1`, `{"at":"2026-01-02T03:04:06Z","drain":1}`},
		{`line 3: unknown field "vni": want one of at`, `{"at":"2026-01-02T03:04:06Z","drain":true,"vni":1}`},
		{`line 3: at: missing`, `{"event":"tick"}`},
		{`line 3: at: parse time "now"`, `{"at":"now","event":"tick"}`},
		{`line 3: at: time goes backwards, from 2026-01-02T03:04:05Z`, `{"at":"2026-01-02T03:04:04Z","event":"tick"}`},
		{`line 3: no valid JSON: `, `{"at":`},
		{`line 3: want a JSON object, got []`, `[]`},
	} {
		_, err := read(lines(head, `{"at":"2026-01-02T03:04:05Z","event":"tick"}`, c.line))
		if assert.Error(t, err, c.line) {
			assert.Contains(t, err.Error(), c.want)
		}
	}
	_, err := read(lines(head, `{"at":"2026-01-02T03:04:05Z","end":"x"}`, `{"at":"2026-01-02T03:04:05Z","event":"tick"}`))
	assert.EqualError(t, err, "line 3: there is more after the end")
}

func TestHeaderIsChecked(t *testing.T) {
	for want, head := range map[string]string{
		"line 1: the recording has format version 2 and this vtepbgp reads version 1": strings.Replace(head, `_version":1`, `_version":2`, 1),
		"line 1: this is no recording of vtepbgp":                                     `{"at":"2026-01-02T03:04:05Z","event":"tick"}`,
		"line 1: this is no recording of vtepbgp: want a header":                      "\x7fELF",
		`line 1: header: json: unknown field "extra"`:                                 strings.Replace(head, `{`, `{"extra":1,`, 1),
		"line 1: format_version: want a whole number":                                 strings.Replace(head, `_version":1`, `_version":"1"`, 1),
	} {
		_, err := read(lines(head))
		if assert.Error(t, err, head) {
			assert.Contains(t, err.Error(), want)
		}
	}
	_, err := read(nil)
	assert.ErrorContains(t, err, "the file is empty")
}

// TestCutRecording: what kill -9 or a full disk leaves can be played, and is told from a
// whole one.
func TestCutRecording(t *testing.T) {
	whole := write(t, evpn.VNIState{VNI: 100, Up: true}, evpn.LocalMACGone{VNI: 100}, evpn.Tick{})
	for n := len(whole); n > bytes.IndexByte(whole, '\n'); n-- {
		r, err := journal.NewReader(bytes.NewReader(whole[:n]))
		require.NoError(t, err)
		for err == nil {
			_, err = r.Next()
		}
		require.ErrorIs(t, err, io.EOF, "cut at %d", n)
		assert.Equal(t, n >= len(whole)-1, r.Complete(), "cut at %d", n)
	}
}

func TestCompressed(t *testing.T) {
	whole := write(t, evpn.VNIState{VNI: 100, Up: true}, evpn.Tick{})
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write(whole)
	require.NoError(t, err)
	require.NoError(t, z.Flush())
	cut := bytes.Clone(b.Bytes())
	require.NoError(t, z.Close())
	for name, recording := range map[string][]byte{"whole": b.Bytes(), "cut": cut} {
		evs, err := read(recording)
		require.NoError(t, err, name)
		assert.Equal(t, []evpn.Event{evpn.VNIState{VNI: 100, Up: true}, evpn.Tick{}}, evs, name)
	}
}

func TestWriterReportsErrors(t *testing.T) {
	full := errors.New("no space left on device")
	_, err := journal.NewWriter(failing{after: 0, err: full}, header)
	require.ErrorIs(t, err, full)
	n := 2
	w, err := journal.NewWriter(&countdown{n: &n, err: full}, header)
	require.NoError(t, err)
	require.NoError(t, w.Event(evpn.Tick{}, start))
	require.ErrorIs(t, w.Drain(start), full)
}

type failing struct {
	after int
	err   error
}

func (f failing) Write([]byte) (int, error) { return 0, f.err }

type countdown struct {
	n   *int
	err error
}

func (c *countdown) Write(b []byte) (int, error) {
	if *c.n--; *c.n < 0 {
		return 0, c.err
	}
	return len(b), nil
}
