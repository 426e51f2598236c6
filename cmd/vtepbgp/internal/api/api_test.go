package api_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/api"
	"github.com/vtepbgp/vtepbgp/evpn"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// backend answers from memory and remembers what it was told to do.
type backend struct {
	macs   []api.MAC
	routes []api.Route
	events []api.Event
	lines  []string // of a recording
	fail   error    // returned after the lists
	reload error
	calls  []string
}

func (b *backend) Status(context.Context) (api.Status, error) {
	return api.Status{
		Version: "1.0.0", PID: 42, ConfigFile: "/etc/vtepbgp/vtepbgp.toml",
		Started:       time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		UptimeSeconds: 60, Ready: true, Synced: true, ASN: 65000,
		RouterID: netip.MustParseAddr("10.0.0.1"), VTEPAddress: netip.MustParseAddr("10.0.0.1"),
		Neighbors: api.NeighborSummary{Total: 2, Established: 1}, VNIs: api.VNISummary{Total: 1, Up: 1},
		LocalMACs: 1, RemoteMACs: 2, VTEPs: 1, Problems: []string{},
	}, nil
}

func (b *backend) Neighbors(context.Context) ([]api.Neighbor, error) {
	return []api.Neighbor{{
		Address: netip.MustParseAddr("10.0.0.254"), ASN: 65000, RouterID: netip.MustParseAddr("10.0.0.254"),
		State: "established", UptimeSeconds: 12, Capabilities: []string{"route-refresh"},
		RoutesReceived: 3, RoutesAccepted: 2, RoutesAdvertised: 1, Drops: map[string]uint64{"short nlri": 1},
	}, {
		Address: netip.MustParseAddr("2001:db8::1"), ASN: 65001, State: "active",
		Capabilities: []string{}, Drops: map[string]uint64{}, LastError: "dial: connection refused",
	}}, nil
}

func (b *backend) VNIs(_ context.Context, f api.VNIFilter) ([]api.VNI, error) {
	if f.VNI != 0 && f.VNI != 100 {
		return nil, fmt.Errorf("VNI %s is not configured: %w", f.VNI, api.ErrNotFound)
	}
	auto, _ := evpn.AutoRouteTarget(65000, 100)
	return []api.VNI{{
		VNI: 100, Device: "vxlan100", Bridge: "br100", VTEPAddress: netip.MustParseAddr("10.0.0.1"), MTUBytes: 1450,
		RD: "10.0.0.1:1", ImportRT: []evpn.ImportTarget{{AnyAdmin: true, Number: 100}}, ExportRT: []evpn.RouteTarget{auto},
		Flooding: evpn.FloodIngress, Suppression: true,
		SuppressionState: "not ready", SuppressionMissing: []string{"bridge br100 has no IPv6"}, LocalMACs: 1, RemoteMACs: 2, VTEPs: 1, State: "up", Problems: []string{},
	}}, nil
}

func (b *backend) VTEPs(_ context.Context, f api.VNIFilter) ([]api.VTEP, error) {
	if f.VNI == 7 {
		return nil, nil
	}
	return []api.VTEP{{Address: netip.MustParseAddr("10.0.0.2"), VNIs: []evpn.VNI{100}, Sources: []evpn.FloodSource{evpn.SourceBGP}, MACs: 2, Reachable: true, Interface: "eth0", MTUBytes: 1500}}, nil
}

func (b *backend) Flood(_ context.Context, _ api.VNIFilter, yield func(api.Flood) error) error {
	for _, f := range b.flood() {
		if err := yield(f); err != nil {
			return err
		}
	}
	return nil
}

func (b *backend) flood() []api.Flood {
	return []api.Flood{{
		VNI: 100, Mode: evpn.FloodMulticast, Engine: "ebpf", EngineReason: "the first choice, and the kernel can", Interface: "eth1", Interfaces: []string{"eth1", "eth2"},
		Group: netip.MustParseAddr("239.1.1.100"), Segment: []netip.Prefix{netip.MustParsePrefix("10.0.1.0/24")},
		Tasks: api.FloodTasks(evpn.Relay{Own: true, Segment: true}), Elected: netip.MustParseAddr("10.0.1.1"), Problems: []string{},
		Engines:  []api.FloodEngine{{Interface: "eth1", Engine: "ebpf", Details: []string{"tcx"}, Repairs: 2, Failures: 3, Dropped: map[string]uint64{"fragment": 1}}, {Interface: "eth2", Details: []string{}, Dropped: map[string]uint64{}}},
		Counters: map[string]uint64{api.FloodIn: 3, api.FloodCopied: 2, api.FloodCopies: 2, api.FloodRepairs: 2, api.FloodDroppedPrefix + "limited": 1},
		VTEPs:    []api.FloodVTEP{{Address: netip.MustParseAddr("10.0.0.2"), Source: "bgp", Role: "vtep", Copied: true}},
	}, {
		VNI: 200, Mode: evpn.FloodIngress, Engine: "kernel", Interfaces: []string{}, Segment: []netip.Prefix{}, Tasks: api.FloodTasks(evpn.Relay{}), Problems: []string{},
		Engines: []api.FloodEngine{}, Counters: map[string]uint64{},
		VTEPs: []api.FloodVTEP{{Address: netip.MustParseAddr("10.0.0.2"), Source: "bgp", Role: "vtep", Kernel: true, Installed: true}},
	}}
}

func (b *backend) AddVTEP(_ context.Context, vni evpn.VNI, a netip.Addr) error {
	b.calls = append(b.calls, fmt.Sprintf("add %s to %s", a, vni))
	return nil
}

func (b *backend) DeleteVTEP(_ context.Context, vni evpn.VNI, a netip.Addr) error {
	b.calls = append(b.calls, fmt.Sprintf("delete %s from %s", a, vni))
	return nil
}

func (b *backend) MACs(_ context.Context, f api.MACFilter, yield func(api.MAC) error) error {
	for _, m := range b.macs {
		if f.VNI != 0 && m.VNI != f.VNI {
			continue
		}
		if err := yield(m); err != nil {
			return err
		}
	}
	return b.fail
}

func (b *backend) Routes(_ context.Context, _ api.RouteFilter, yield func(api.Route) error) error {
	for _, r := range b.routes {
		if err := yield(r); err != nil {
			return err
		}
	}
	return b.fail
}

func (b *backend) Explain(_ context.Context, f api.ExplainFilter) ([]api.Explanation, error) {
	if f.VNI == 9 {
		return nil, fmt.Errorf("VNI 9 is not configured: %w", api.ErrNotFound)
	}
	x := api.Explanation{
		VNI: 100, IP: f.IP, Origin: evpn.OriginRemote, VTEP: netip.MustParseAddr("10.0.0.2"), Status: api.StatusOK,
		Verdict: "it is behind VTEP 10.0.0.2", Advice: []string{}, Rows: []api.Drift{},
		Steps:  []api.Step{{Step: "vni", Status: api.StatusOK, Text: "VNI 100 is up", Details: []string{}}},
		Routes: []api.RouteVerdict{{Route: b.routes[0], Verdict: "lost: sequence 3 is lower than 5", By: evpn.BySequence, Mine: "3", Theirs: "5"}},
		Way:    &api.UnderlayOfVTEP{Reachable: true, Device: "eth1", MTUBytes: 1500},
	}
	if !f.MAC.IsZero() {
		x.MAC = f.MAC.String()
	}
	return []api.Explanation{x}, nil
}

func (b *backend) Drift(_ context.Context, f api.VNIFilter, yield func(api.Drift) error) error {
	if f.VNI == 7 {
		return b.fail
	}
	return errors.Join(yield(api.Drift{
		VNI: 100, Table: "flood", Link: "vxlan100", IP: netip.MustParseAddr("10.0.0.2"), State: "missing",
		Expected: "dst 10.0.0.2 self permanent", Drift: true, Error: "no buffer space available",
	}), b.fail)
}

func (b *backend) RepairDrift(ctx context.Context, f api.VNIFilter, yield func(api.Drift) error) error {
	b.calls = append(b.calls, fmt.Sprintf("repair %s", f.VNI))
	return b.Drift(ctx, f, func(d api.Drift) error {
		d.Drift, d.Repaired = false, true
		return yield(d)
	})
}

func (b *backend) Monitor(_ context.Context, f api.EventFilter, yield func([]api.Event) error) error {
	var events []api.Event
	for _, e := range b.events {
		if f.Matches(e) {
			events = append(events, e)
		}
	}
	if len(events) > 0 {
		if err := yield(events); err != nil {
			return err
		}
	}
	return b.fail
}

// Record writes the lines, each at once, then fails or ends.
func (b *backend) Record(_ context.Context, to api.Recording) error {
	if b.lines == nil {
		return b.fail
	}
	for _, l := range b.lines {
		if _, err := io.WriteString(to.Out, l); err != nil {
			return err
		}
		if err := to.Flush(); err != nil {
			return err
		}
	}
	return b.fail
}

func (b *backend) Reload(context.Context) (api.ReloadResult, error) {
	b.calls = append(b.calls, "reload")
	return api.ReloadResult{Changed: []string{"vni 100 added"}}, b.reload
}

func (b *backend) ResetNeighbor(_ context.Context, a netip.Addr, soft bool) error {
	b.calls = append(b.calls, fmt.Sprintf("reset %s soft=%t", a, soft))
	return nil
}

func (b *backend) ClearDuplicate(_ context.Context, vni evpn.VNI, mac evpn.MAC) error {
	b.calls = append(b.calls, fmt.Sprintf("clear %s %s", vni, mac))
	return nil
}

func sample() *backend {
	auto, _ := evpn.AutoRouteTarget(65000, 100)
	mac := evpn.MAC{2, 0, 0, 0, 0, 1}
	return &backend{
		events: sampleEvents(),
		macs: []api.MAC{
			{VNI: 100, MAC: mac, IPs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, DuplicateIPs: []netip.Addr{}, Origin: evpn.OriginLocal, Port: "veth1", Installed: true},
			{VNI: 200, MAC: mac, IPs: []netip.Addr{}, DuplicateIPs: []netip.Addr{}, Origin: evpn.OriginRemote, VTEP: netip.MustParseAddr("10.0.0.2"), Sequence: 3},
		},
		routes: []api.Route{{
			Type: 2, TypeName: "mac-ip", RD: "10.0.0.2:1", ESI: evpn.ESI{}.String(), VNI: 100, MAC: mac.String(),
			NextHop: netip.MustParseAddr("10.0.0.2"), RouteTargets: []evpn.RouteTarget{auto}, Encapsulation: []uint16{evpn.EncapVXLAN},
			Sequence: 3, Neighbor: netip.MustParseAddr("10.0.0.254"), Best: true, Imported: true, ImportedBy: []evpn.VNI{100},
		}},
	}
}

// serve gives a client of a server for b on a real unix socket.
func serve(t *testing.T, b api.Backend) (*api.Client, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "run", "s.sock")
	l, err := api.Listen(path)
	require.NoError(t, err)
	srv := &http.Server{Handler: api.NewServer(b).Handler()}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	c := api.NewClient(path)
	t.Cleanup(func() { c.Close(); _ = srv.Close(); <-done })
	return c, path
}

func raw(t *testing.T, socket, method, path string) (int, []byte) {
	t.Helper()
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://x"+path, nil)
	require.NoError(t, err)
	resp, err := (&http.Client{Transport: tr}).Do(req)
	require.NoError(t, err)
	defer func() { require.NoError(t, resp.Body.Close()) }()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, body
}

// The documents that tools rely on, byte by byte.
func TestGolden(t *testing.T) {
	_, socket := serve(t, sample())
	for name, path := range map[string]string{
		"status": "/v1/status", "neighbors": "/v1/neighbors", "vnis": "/v1/vnis", "macs": "/v1/macs",
		"macs_vni": "/v1/macs?vni=200", "macs_none": "/v1/macs?vni=300", "vteps": "/v1/vteps", "vteps_none": "/v1/vteps?vni=7",
		"flood": "/v1/flood", "routes": "/v1/routes", "drift": "/v1/drift", "drift_none": "/v1/drift?vni=7",
		"explain": "/v1/explain?mac=02:00:00:00:00:01", "error_explain": "/v1/explain", "error_explain_both": "/v1/explain?mac=02:00:00:00:00:01&ip=192.0.2.1",
		"monitor":      "/v1/monitor",
		"error_filter": "/v1/macs?vnii=3", "error_vni": "/v1/vnis?vni=0", "error_unknown_vni": "/v1/vnis?vni=9", "error_path": "/v2/macs",
	} {
		t.Run(name, func(t *testing.T) {
			status, body := raw(t, socket, http.MethodGet, path)
			got := append(fmt.Appendf(nil, "GET %s\n%d\n", path, status), body...)
			file := filepath.Join("testdata", name+".golden")
			if *update {
				require.NoError(t, os.WriteFile(file, got, 0o644))
			}
			want, err := os.ReadFile(file)
			require.NoError(t, err)
			assert.Equal(t, string(want), string(got))
			assert.NotContains(t, string(got), "null", "lists and addresses are never null")
		})
	}
}

func TestClientReadsWhatServerWrites(t *testing.T) {
	b := sample()
	c, _ := serve(t, b)
	ctx := t.Context()

	st, err := c.Status(ctx)
	require.NoError(t, err)
	want, _ := b.Status(ctx)
	assert.Equal(t, want, st)

	ns, err := c.Neighbors(ctx)
	require.NoError(t, err)
	wantN, _ := b.Neighbors(ctx)
	assert.Equal(t, wantN, ns)

	vs, err := c.VNIs(ctx, api.VNIFilter{VNI: 100})
	require.NoError(t, err)
	wantV, _ := b.VNIs(ctx, api.VNIFilter{})
	assert.Equal(t, wantV, vs)

	var macs []api.MAC
	require.NoError(t, c.MACs(ctx, api.MACFilter{}, func(m api.MAC) error { macs = append(macs, m); return nil }))
	assert.Equal(t, b.macs, macs)

	var routes []api.Route
	require.NoError(t, c.Routes(ctx, api.RouteFilter{}, func(r api.Route) error { routes = append(routes, r); return nil }))
	assert.Equal(t, b.routes, routes)

	for _, f := range []api.ExplainFilter{{MAC: evpn.MAC{2, 5: 1}, VNI: 100}, {IP: netip.MustParseAddr("192.0.2.1")}} {
		xs, err := c.Explain(ctx, f)
		require.NoError(t, err)
		wantX, _ := b.Explain(ctx, f)
		assert.Equal(t, wantX, xs)
	}
	var drift, repaired []api.Drift
	require.NoError(t, c.Drift(ctx, api.VNIFilter{VNI: 100}, func(d api.Drift) error { drift = append(drift, d); return nil }))
	require.Len(t, drift, 1)
	assert.True(t, drift[0].Drift)
	require.NoError(t, c.RepairDrift(ctx, api.VNIFilter{VNI: 100}, func(d api.Drift) error { repaired = append(repaired, d); return nil }))
	require.Len(t, repaired, 1)
	assert.True(t, repaired[0].Repaired)

	_, err = c.Reload(ctx)
	require.NoError(t, err)
	require.NoError(t, c.ResetNeighbor(ctx, netip.MustParseAddr("2001:db8::1"), true))
	require.NoError(t, c.ClearDuplicate(ctx, 100, evpn.MAC{2, 0, 0, 0, 0, 1}))
	require.NoError(t, c.AddVTEP(ctx, 100, netip.MustParseAddr("2001:db8::9")))
	require.NoError(t, c.DeleteVTEP(ctx, 100, netip.MustParseAddr("10.0.0.9")))
	assert.Equal(t, []string{
		"repair 100", "reload", "reset 2001:db8::1 soft=true", "clear 100 02:00:00:00:00:01", "add 2001:db8::9 to 100", "delete 10.0.0.9 from 100",
	}, b.calls)
	flood, err := c.Flood(ctx, api.VNIFilter{})
	require.NoError(t, err)
	assert.Equal(t, b.flood(), flood)
}

func TestFiltersReachTheServer(t *testing.T) {
	got := make(chan api.RouteFilter, 1)
	c, _ := serve(t, filterProbe{backend: sample(), got: got})
	want := api.RouteFilter{
		Type: evpn.MACIPRoute, VNI: 100, RD: evpn.RD{1: 1, 2: 10, 7: 3}, MAC: evpn.MAC{2, 5: 1}, IP: netip.MustParseAddr("2001:db8::5"),
		NextHop: netip.MustParseAddr("10.0.0.2"), Neighbor: netip.MustParseAddr("10.0.0.254"), Local: true, Received: true, Best: true, Ignored: true,
	}
	require.NoError(t, c.Routes(t.Context(), want, func(api.Route) error { return nil }))
	assert.Equal(t, want, <-got)
}

type filterProbe struct {
	*backend
	got chan api.RouteFilter
}

func (p filterProbe) Routes(_ context.Context, f api.RouteFilter, _ func(api.Route) error) error {
	p.got <- f
	return nil
}

func TestRefusalsCarryEveryProblem(t *testing.T) {
	b := sample()
	b.reload = &api.Error{StatusCode: 422, Message: "configuration is not valid", Problems: []string{"bgp.asn: missing", "vni[0].id: 0 is out of range"}}
	c, _ := serve(t, b)
	_, err := c.Reload(t.Context())
	var refused *api.Error
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, b.reload, refused)
	assert.EqualError(t, err, "configuration is not valid\n  bgp.asn: missing\n  vni[0].id: 0 is out of range")
}

// A list that breaks off must not look like a whole one.
func TestCutListIsAnError(t *testing.T) {
	b := sample()
	b.fail = errors.New("daemon stops")
	c, _ := serve(t, b)
	n := 0
	err := c.MACs(t.Context(), api.MACFilter{}, func(api.MAC) error { n++; return nil })
	require.Error(t, err)

	c, _ = serve(t, &backend{fail: b.fail}) // before the first element the error arrives in words
	err = c.MACs(t.Context(), api.MACFilter{}, func(api.MAC) error { return nil })
	require.EqualError(t, err, "daemon stops")
}

func TestClientStopsEarly(t *testing.T) {
	stop := errors.New("enough")
	c, _ := serve(t, sample())
	err := c.MACs(t.Context(), api.MACFilter{}, func(api.MAC) error { return stop })
	assert.ErrorIs(t, err, stop)
}

func TestReadOnlyChangesNothing(t *testing.T) {
	b := sample()
	h := api.NewServer(b).ReadOnly()
	for _, path := range []string{"/v1/reload", "/v1/neighbors/10.0.0.254/reset", "/v1/macs/clear-duplicate?vni=100", "/v1/drift/repair"} {
		w := newRecorder()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, path, nil)
		require.NoError(t, err)
		h.ServeHTTP(w, req)
		assert.Contains(t, []int{http.StatusNotFound, http.StatusMethodNotAllowed}, w.status, path)
	}
	assert.Empty(t, b.calls)
}

type recorder struct {
	bytes.Buffer
	header http.Header
	status int
}

func newRecorder() *recorder               { return &recorder{header: http.Header{}} }
func (r *recorder) Header() http.Header    { return r.header }
func (r *recorder) WriteHeader(status int) { r.status = status }
