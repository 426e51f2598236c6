package daemon

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/flooding"
	"github.com/vtepbgp/vtepbgp/config"
	"github.com/vtepbgp/vtepbgp/evpn"
)

var update = flag.Bool("update", false, "rewrite docs/metrics.md")

const metricsDoc = "../../../../docs/metrics.md"

// metricsWorld is a daemon in which every metric has a value.
func metricsWorld(t *testing.T) *daemon {
	t.Helper()
	w := newWorld(t, t.TempDir())
	w.change(relayConfig)
	cfg := w.cfg
	k, s := newFakeKernel(), newFakeSpeaker(speakerConfig(&cfg, false, nil))
	lg, err := newLogger(config.Log{Level: "error", Destination: filepath.Join(w.dir, "log")}, "")
	require.NoError(t, err)
	d := &daemon{opts: Options{Version: "1.2.3"}, kernel: k, speaker: s, cfg: &cfg, logger: lg, met: newAcquaintances(nil, time.Time{}), notes: newNoteLog(lg.WithField(fieldPart, "evpn"))}
	d.metrics = newMetrics(d)
	d.flooding = flooding.New(flooding.Options{Kinds: w.floods.Kinds(), Alive: k.Alive, Directory: w.dir, Log: lg.WithField(fieldPart, "flooding")})
	now := host{vtep: cfg.VTEP.Address, device: "eth0"}
	d.loop = newLoop(evpn.New(coreConfig(&cfg, map[evpn.VNI]uint16{100: 1, 300: 2, 400: 3}, now)), s, k, d.flooding, d)
	d.notReady("starting")
	t.Cleanup(runLoop(t, d.loop))
	require.NoError(t, d.kernel.Configure(kernelConfig(&cfg)))
	d.flooding.Configure(floodingConfig(&cfg, now))
	ctx, cancel := context.WithCancel(t.Context())
	flooding := make(chan error)
	go func() { flooding <- d.flooding.Run(ctx, func(evpn.Event) {}) }()
	t.Cleanup(func() { cancel(); require.NoError(t, <-flooding) })
	w.eventually("an engine", func() bool { _, ok := w.floods.Network("eth1", 300); return ok })
	for _, vni := range []evpn.VNI{100, 300, 400} {
		d.loop.kernel.put(t.Context(), evpn.VNIState{VNI: vni, Up: true})
	}
	addr := cfg.Neighbors[0].Address
	rt, _ := evpn.AutoRouteTarget(65000, 999)
	d.loop.speaker.put(t.Context(), evpn.NeighborUp{Neighbor: addr, EndOfRIB: true})
	d.loop.speaker.put(t.Context(), evpn.RoutesReceived{Neighbor: addr, Announced: []evpn.Route{{
		Key: evpn.RouteKey{Type: evpn.MACIPRoute, RD: evpn.RD{1: 1}, MAC: evpn.MAC{2}}, Label: 100,
		Attrs: &evpn.Attrs{NextHop: addr, RouteTargets: []evpn.RouteTarget{rt}, Encaps: []uint16{evpn.EncapVXLAN}},
	}}})
	require.NoError(t, d.loop.settle(t.Context(), d.loop.speaker))
	return d
}

// The names that dashboards and alerts rely on are written down, and what is
// written down exists.
func TestMetricsDocument(t *testing.T) {
	families, err := metricsWorld(t).metrics.registry.Gather()
	require.NoError(t, err)
	var b strings.Builder
	b.WriteString("# Metrics\n\n" +
		"`api.metrics_listen` serves them at `/metrics` in Prometheus's format, beside the usual `go_*` and `process_*` ones.\n" +
		"`/healthz` answers 200 when every part is up, else 503 with the reason in words. `/v1/…` there is the reading half of the control interface.\n\n" +
		"| metric | type | labels | meaning |\n|---|---|---|---|\n")
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "vtepbgp_") {
			continue
		}
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, l.GetName())
		}
		slices.Sort(labels)
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.GetName(), strings.ToLower(f.GetType().String()), strings.Join(labels, ", "), f.GetHelp())
	}
	if *update {
		require.NoError(t, os.WriteFile(metricsDoc, []byte(b.String()), 0o644))
	}
	want, err := os.ReadFile(metricsDoc)
	require.NoError(t, err)
	assert.Equal(t, string(want), b.String(), "run the test with -update")
}

func TestMetricsFollowTheConventions(t *testing.T) {
	families, err := metricsWorld(t).metrics.registry.Gather()
	require.NoError(t, err)
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	require.NoError(t, err)
	assert.Empty(t, problems)
}

func TestMetricsEndpoint(t *testing.T) {
	d := metricsWorld(t)
	srv := httptest.NewServer(d.metricsHandler())
	defer srv.Close()
	get := func(path string) (int, string) {
		resp, err := http.Get(srv.URL + path)
		require.NoError(t, err)
		defer func() { require.NoError(t, resp.Body.Close()) }()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, string(body)
	}
	code, body := get("/healthz")
	assert.Equal(t, http.StatusServiceUnavailable, code)
	assert.Equal(t, "starting\n", body)
	d.ready.Store(nil)
	code, body = get("/healthz")
	assert.Equal(t, http.StatusOK, code)
	assert.Equal(t, "ok\n", body)

	_, body = get("/metrics")
	for _, line := range []string{
		`vtepbgp_build_info{goversion="`,
		`vtepbgp_routes{type="mac-ip"} 1`,
		`vtepbgp_routes_ignored{reason="no VNI imports its route targets",type="mac-ip"} 1`,
		`vtepbgp_neighbors{state="active"} 1`,
		`vtepbgp_guard_drops_total{neighbor="10.0.0.254",reason="short nlri"} 2`,
		`vtepbgp_vnis{state="up"} 3`,
		`vtepbgp_flood_engine_info{engine="ebpf",interface="eth1"} 1`,
		`vtepbgp_flood_engine_ready{interface="eth1"} 1`,
		`vtepbgp_flood_drops_total{reason="nobody",vni="300"} `,
		`vtepbgp_flood_task{task="replicate",vni="400"} 1`,
		`vtepbgp_flood_relay_info{relay="none",vni="300"} 1`,
		`vtepbgp_queue_objects{queue="flooding"} 0`,
	} {
		assert.Contains(t, body, "\n"+line)
	}
	code, body = get("/v1/vnis")
	assert.Equal(t, http.StatusOK, code)
	assert.Contains(t, body, `"vni":100`)
	resp, err := http.Post(srv.URL+"/v1/reload", "", nil)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	assert.Contains(t, []int{http.StatusNotFound, http.StatusMethodNotAllowed}, resp.StatusCode, "nothing can be changed over TCP")
}
