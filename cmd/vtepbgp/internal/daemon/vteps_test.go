package daemon

import (
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/api"
	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/flooding"
	"github.com/vtepbgp/vtepbgp/config"
	"github.com/vtepbgp/vtepbgp/evpn"
)

var byHand = netip.MustParseAddr("10.0.0.9")

// floodList gives the list of a VNI as "address source".
func (w *world) floodList(vni evpn.VNI) (list []string) {
	w.t.Helper()
	flood, err := w.api.Flood(w.t.Context(), api.VNIFilter{VNI: vni})
	require.NoError(w.t, err)
	for _, v := range flood[0].VTEPs {
		list = append(list, v.Address.String()+" "+string(v.Source))
	}
	return list
}

// TestAddedVTEPs: one is on the list at once, over reloads, restarts, and while its VNI is away, until
// it is deleted.
func TestAddedVTEPs(t *testing.T) {
	dir := t.TempDir()
	w := newWorld(t, dir)
	w.start(Options{})
	ctx := t.Context()
	require.NoError(t, w.api.AddVTEP(ctx, 100, byHand))
	assert.Equal(t, []string{"10.0.0.9 static"}, w.floodList(100))
	w.change(func(c *config.Config) { c.VNIs = append(c.VNIs, testVNI(200)) })
	_, err := w.api.Reload(ctx)
	require.NoError(t, err)
	assert.Equal(t, []string{"10.0.0.9 static"}, w.floodList(100), "a reload")
	assert.Empty(t, w.floodList(200), "that of another VNI")
	require.NoError(t, w.end())

	w = newWorld(t, dir)
	w.start(Options{})
	w.eventually("the list after a restart", func() bool { return slices.Equal([]string{"10.0.0.9 static"}, w.floodList(100)) })
	w.change(func(c *config.Config) { c.VNIs = []config.VNI{testVNI(200)} })
	_, err = w.api.Reload(ctx)
	require.NoError(t, err)
	w.change(func(c *config.Config) { c.VNIs = []config.VNI{testVNI(100)} })
	_, err = w.api.Reload(ctx)
	require.NoError(t, err)
	w.eventually("the list of a VNI that was away", func() bool { return slices.Equal([]string{"10.0.0.9 static"}, w.floodList(100)) })
	require.NoError(t, w.api.DeleteVTEP(ctx, 100, byHand))
	assert.Empty(t, w.floodList(100))
	require.NoError(t, w.end())

	w = newWorld(t, dir)
	w.start(Options{})
	assert.Empty(t, w.floodList(100), "a restart after it was deleted")
	require.NoError(t, w.end())
}

// TestAddedVTEPsRefused: who asks for what cannot be is told what to do.
func TestAddedVTEPsRefused(t *testing.T) {
	w := newWorld(t, t.TempDir())
	off := testVNI(200)
	off.Flooding = evpn.FloodOff
	inFile := netip.MustParseAddr("10.0.0.8")
	w.cfg.VNIs[0].StaticVTEPs = []netip.Addr{inFile}
	w.cfg.VNIs = append(w.cfg.VNIs, off)
	w.cfg.Flood.ServiceAddress = netip.MustParseAddr("10.255.0.1")
	w.start(Options{})
	w.speaker.establish("10.0.0.254")
	w.eventually("the VTEP that BGP brings", func() bool { return len(w.floodList(100)) == 2 })
	ctx := t.Context()
	require.NoError(t, w.api.AddVTEP(ctx, 100, byHand))
	before := w.floodList(100)
	for name, c := range map[string]struct {
		ask    error
		status int
		says   string
	}{
		"unknown VNI":            {w.api.AddVTEP(ctx, 4711, byHand), http.StatusNotFound, "VNI 4711 is not configured"},
		"… to delete":            {w.api.DeleteVTEP(ctx, 4711, byHand), http.StatusNotFound, "VNI 4711 is not configured"},
		"multicast":              {w.api.AddVTEP(ctx, 100, netip.MustParseAddr("239.1.1.1")), http.StatusBadRequest, "want a unicast address"},
		"link-local":             {w.api.AddVTEP(ctx, 100, netip.MustParseAddr("fe80::1")), http.StatusBadRequest, "valid beyond one link"},
		"loopback":               {w.api.AddVTEP(ctx, 100, netip.MustParseAddr("127.0.0.1")), http.StatusBadRequest, "that other hosts reach"},
		"broadcast":              {w.api.AddVTEP(ctx, 100, netip.MustParseAddr("255.255.255.255")), http.StatusBadRequest, "want a unicast address"},
		"reserved":               {w.api.AddVTEP(ctx, 100, netip.MustParseAddr("240.0.0.1")), http.StatusBadRequest, "want a unicast address"},
		"our own":                {w.api.AddVTEP(ctx, 100, netip.MustParseAddr("10.0.0.1")), http.StatusBadRequest, "is an address of this host"},
		"another one of ours":    {w.api.AddVTEP(ctx, 100, ofAnotherLink), http.StatusBadRequest, "is an address of this host"},
		"our service address":    {w.api.AddVTEP(ctx, 100, w.cfg.Flood.ServiceAddress), http.StatusBadRequest, "is an address of this host"},
		"another family":         {w.api.AddVTEP(ctx, 100, netip.MustParseAddr("2001:db8::9")), http.StatusBadRequest, "another address family"},
		"flooding is off":        {w.api.AddVTEP(ctx, 200, byHand), http.StatusConflict, "set `flooding` in the configuration first"},
		"in the file":            {w.api.AddVTEP(ctx, 100, inFile), http.StatusConflict, "is a static_vtep of the configuration"},
		"twice":                  {w.api.AddVTEP(ctx, 100, byHand), http.StatusConflict, "was added before"},
		"delete what is in file": {w.api.DeleteVTEP(ctx, 100, inFile), http.StatusConflict, "remove it there and reload"},
		"delete what BGP brings": {w.api.DeleteVTEP(ctx, 100, netip.MustParseAddr("10.0.0.2")), http.StatusNotFound, "`vtepbgp flood show 100` says where"},
	} {
		var refused *api.Error
		if assert.ErrorAs(t, c.ask, &refused, name) {
			assert.Equal(t, c.status, refused.StatusCode, name)
			assert.Contains(t, refused.Message, c.says, name)
		}
	}
	assert.Equal(t, before, w.floodList(100), "nothing has changed")
	require.NoError(t, w.end())
}

// TestAddedVTEPsUndone: what did not reach the core is not written down either, or it would
// be on the list from the next reload on.
func TestAddedVTEPsUndone(t *testing.T) {
	cfg := testConfig(t.TempDir())
	added, err := openAddedVTEPs(t.TempDir())
	require.NoError(t, err)
	stopped := make(chan struct{})
	close(stopped)
	d := &daemon{
		cfg: &cfg, added: added, changing: make(chan struct{}, 1), kernel: &fakeKernel{}, loop: &loop{done: stopped},
		flooding: flooding.New(flooding.Options{Directory: t.TempDir()}),
	}
	require.ErrorIs(t, d.AddVTEP(t.Context(), 100, byHand), api.ErrNotReady)
	assert.False(t, added.has(100, byHand))
	require.NoError(t, added.set(100, byHand, true))
	require.ErrorIs(t, d.DeleteVTEP(t.Context(), 100, byHand), api.ErrNotReady)
	assert.True(t, added.has(100, byHand))
	again, err := openAddedVTEPs(filepath.Dir(added.path))
	require.NoError(t, err)
	assert.Equal(t, added.doc, again.doc)
}

// TestAddedVTEPsDamaged: a file that cannot be read stops the start, and is left as it is.
func TestAddedVTEPsDamaged(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, vtepsFile)
	for _, text := range []string{"", "{", `{"version":2,"vteps":{}}`, `{"version":1,"vteps":{"0":["10.0.0.9"]}}`, `{"version":1,"vteps":{"100":["x"]}}`, `{"version":1,"vteps":{"100":[""]}}`} {
		require.NoError(t, os.WriteFile(file, []byte(text), 0o640))
		_, err := openAddedVTEPs(dir)
		require.ErrorContains(t, err, "restore the file, or remove it", "%q", text)
		got, err := os.ReadFile(file)
		require.NoError(t, err)
		assert.Equal(t, text, string(got))
	}
	require.NoError(t, os.WriteFile(file, []byte(`{"version":1,"vteps":{"100":["10.0.0.9","10.0.0.8","10.0.0.9"]}}`), 0o640))
	a, err := openAddedVTEPs(dir)
	require.NoError(t, err)
	require.NoError(t, a.set(100, netip.MustParseAddr("10.0.0.7"), true))
	b, err := openAddedVTEPs(dir)
	require.NoError(t, err)
	assert.Equal(t, a.doc, b.doc)
	assert.Len(t, b.doc.VTEPs[100], 3)

	require.NoError(t, os.Chmod(dir, 0o750))
	a.path = filepath.Join(dir, "gone", vtepsFile)
	require.Error(t, a.set(100, byHand, false))
	assert.True(t, a.has(100, byHand), "what could not be written down did not happen")
}
