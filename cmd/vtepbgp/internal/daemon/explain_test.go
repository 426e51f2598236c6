package daemon

import (
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/api"
	"github.com/vtepbgp/vtepbgp/config"
	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/kernel/kerneltest"
)

var (
	reflector = netip.MustParseAddr("10.0.0.254")
	vtepTwo   = netip.MustParseAddr("10.0.0.2")
	vtepThree = netip.MustParseAddr("10.0.0.3")
	someMAC   = evpn.MAC{2, 5: 0xb}
	otherMAC  = evpn.MAC{2, 5: 0xc}
	someIP    = netip.MustParseAddr("192.0.2.5")
)

// newHost is a world whose kernel is the real adapter on a host in memory.
func newHost(t *testing.T, edit func(*config.Config)) *world {
	w := newWorld(t, t.TempDir())
	w.host = kerneltest.NewFake()
	w.host.AddDevice("eth0", 1600)
	w.host.AddDevice("p1", 1500)
	w.host.SetAddress("eth0", netip.MustParseAddr("10.0.0.1"), true)
	w.host.SetRoute(kerneltest.Route{To: netip.MustParsePrefix("10.0.0.0/24"), Device: "eth0"})
	w.change(func(c *config.Config) {
		c.VNIs[0].Ports = []string{"p1"}
		if edit != nil {
			edit(c)
		}
	})
	w.start(Options{})
	w.speaker.establish("10.0.0.254")
	return w
}

// announces lets the reflector announce MACs at a VTEP.
func (w *world) announces(nh netip.Addr, edit func(*evpn.Route, *evpn.Attrs), macs ...evpn.MAC) {
	rt, _ := evpn.AutoRouteTarget(65000, 100)
	ev := evpn.RoutesReceived{Neighbor: reflector}
	for _, m := range macs {
		a := evpn.Attrs{NextHop: nh, RouteTargets: []evpn.RouteTarget{rt}, Encaps: []uint16{evpn.EncapVXLAN}, LocalPref: 100}
		r := evpn.Route{Key: evpn.RouteKey{Type: evpn.MACIPRoute, RD: evpn.RDFromRouterID(nh, 1), MAC: m}, Label: 100, Attrs: &a}
		if edit != nil {
			edit(&r, &a)
		}
		ev.Announced = append(ev.Announced, r)
	}
	w.speaker.events <- ev
}

// explained waits for an explanation whose verdict holds some words.
func (w *world) explained(f api.ExplainFilter, words string) (x api.Explanation) {
	w.t.Helper()
	var last []api.Explanation
	defer func() {
		if w.t.Failed() {
			w.t.Logf("%+v", last)
		}
	}()
	w.eventually(words, func() bool {
		list, err := w.api.Explain(w.t.Context(), f)
		last = list
		if err != nil || len(list) == 0 || !strings.Contains(list[0].Verdict, words) {
			return false
		}
		x = list[0]
		return true
	})
	return x
}

func TestExplainRemote(t *testing.T) {
	w := newHost(t, nil)
	w.announces(vtepTwo, func(_ *evpn.Route, a *evpn.Attrs) { a.Mobility.Sequence = 5 }, someMAC)
	w.announces(vtepThree, func(_ *evpn.Route, a *evpn.Attrs) { a.Mobility.Sequence = 3 }, someMAC)
	w.announces(vtepTwo, func(r *evpn.Route, a *evpn.Attrs) { r.Key.IP, a.Mobility.Sequence = someIP, 5 }, someMAC)
	w.eventually("row", func() bool {
		return w.adapter.Installed(evpn.RowKey{Kind: evpn.NeighborRow, VNI: 100, IP: someIP})
	})
	for _, f := range []api.ExplainFilter{{MAC: someMAC}, {MAC: someMAC, VNI: 100}} {
		x := w.explained(f, "is behind VTEP 10.0.0.2")
		assert.Equal(t, evpn.VNI(100), x.VNI)
		assert.Equal(t, evpn.OriginRemote, x.Origin)
		assert.Equal(t, vtepTwo, x.VTEP)
		require.Len(t, x.Routes, 3)
		assert.Equal(t, api.RouteVerdict{Route: x.Routes[2].Route, Verdict: "lost: sequence 3 is lower than 5", By: evpn.BySequence, Mine: "3", Theirs: "5"}, x.Routes[2])
		require.Len(t, x.Rows, 3, "both FDB rows and the neighbour")
		for _, r := range x.Rows {
			assert.Equal(t, "equal", r.State)
		}
	}
	x := w.explained(api.ExplainFilter{IP: someIP}, "192.0.2.5 is behind VTEP 10.0.0.2")
	assert.Equal(t, someMAC.String(), x.MAC)
	require.Len(t, x.Routes, 1)
	require.Len(t, x.Rows, 3)

	_, err := w.api.Explain(t.Context(), api.ExplainFilter{MAC: someMAC, VNI: 999})
	var refused *api.Error
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, http.StatusNotFound, refused.StatusCode)
	require.NoError(t, w.end())
}

func TestExplainLocal(t *testing.T) {
	w := newHost(t, nil)
	w.host.Frame("p1", someMAC)
	x := w.explained(api.ExplainFilter{MAC: someMAC}, "is on port p1 of this host and announced")
	assert.Equal(t, "p1", x.Port)
	assert.Equal(t, api.StatusOK, x.Status)
	require.Len(t, x.Rows, 1)
	assert.Equal(t, "local", x.Rows[0].Table)
	require.NoError(t, w.end())
}

// What is wrong is told in the words that help, each time through the whole daemon.
func TestExplainProblems(t *testing.T) {
	target := func(vni evpn.VNI) evpn.RouteTarget { rt, _ := evpn.AutoRouteTarget(65000, vni); return rt }
	for _, c := range []struct {
		name, verdict, advice string
		edit                  func(*config.Config)
		story                 func(*world)
	}{
		{"nobody", "nobody has announced " + someMAC.String(), "does the host speak?", nil, nil},
		{"wrong route target", "no VNI imports its route targets 65000:200", "add 65000:200 to import_rt of VNI 100", nil, func(w *world) {
			w.announces(vtepTwo, func(_ *evpn.Route, a *evpn.Attrs) { a.RouteTargets = []evpn.RouteTarget{target(200)} }, someMAC)
		}},
		{"VNI not here", "it is announced for VNI 300", "configure VNI 300 here", nil, func(w *world) {
			w.announces(vtepTwo, func(r *evpn.Route, a *evpn.Attrs) { r.Label, a.RouteTargets = 300, []evpn.RouteTarget{target(300)} }, someMAC)
		}},
		{"over limit", "there is no place for it", "raise max_macs of VNI 100", func(c *config.Config) { c.VNIs[0].MaxMACs = 1 }, func(w *world) {
			w.announces(vtepTwo, nil, otherMAC)
			w.announces(vtepTwo, nil, someMAC)
		}},
		{"VNI down", "VNI 100 is down: VTEP address 10.0.0.1 is not on this host", "give the host the VTEP address", nil, func(w *world) {
			w.announces(vtepTwo, nil, someMAC)
			w.host.SetAddress("eth0", netip.MustParseAddr("10.0.0.1"), false)
		}},
		{"frozen", "frozen at 10.0.0.2 as duplicate", "vtepbgp mac clear-duplicate --vni 100 " + someMAC.String(),
			func(c *config.Config) {
				c.Duplicate = evpn.DuplicateConfig{Moves: 1, Window: time.Minute, Recovery: time.Hour}
			},
			func(w *world) {
				w.host.Frame("p1", someMAC)
				w.explained(api.ExplainFilter{MAC: someMAC}, "is on port p1")
				w.announces(vtepTwo, func(_ *evpn.Route, a *evpn.Attrs) { a.Mobility.Sequence = 9 }, someMAC)
			}},
		{"unreachable", "VTEP 10.0.0.2 is unreachable (no route)", "ip route get 10.0.0.2", nil, func(w *world) {
			w.announces(vtepTwo, nil, someMAC)
			w.explained(api.ExplainFilter{MAC: someMAC}, "is behind VTEP 10.0.0.2")
			w.host.RemoveRoute(netip.MustParsePrefix("10.0.0.0/24"))
		}},
		{"MTU", "packets of more than 1350 octets are lost: device vxlan100 takes 1550", "set mtu = 1350 for VNI 100", nil, func(w *world) {
			w.announces(vtepTwo, nil, someMAC)
			w.host.SetRoute(kerneltest.Route{To: netip.MustParsePrefix("10.0.0.2/32"), Device: "eth0", MTU: 1400})
		}},
		{"stale", "neighbour 10.0.0.254 restarts", "", nil, func(w *world) {
			w.announces(vtepTwo, nil, someMAC)
			w.speaker.events <- evpn.NeighborDown{Neighbor: reflector, Graceful: true, StaleTime: time.Hour}
		}},
		{"sticky", "is behind VTEP 10.0.0.3", "", nil, func(w *world) {
			w.announces(vtepTwo, func(_ *evpn.Route, a *evpn.Attrs) { a.Mobility.Sequence = 9 }, someMAC)
			w.announces(vtepThree, func(_ *evpn.Route, a *evpn.Attrs) { a.Mobility.Sticky = true }, someMAC)
		}},
		{"refused", "the kernel does not keep the row of device vxlan100: no space left on device", "vtepbgp drift", nil, func(w *world) {
			w.eventually("flood row", func() bool { return w.adapter.Installed(evpn.RowKey{Kind: evpn.FloodRow, VNI: 100, IP: vtepTwo}) })
			w.host.FailMAC(someMAC, unix.ENOSPC)
			w.announces(vtepTwo, nil, someMAC)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newHost(t, c.edit)
			if c.story != nil {
				c.story(w)
			}
			x := w.explained(api.ExplainFilter{MAC: someMAC}, c.verdict)
			assert.Contains(t, strings.Join(x.Advice, "; "), c.advice)
			require.NoError(t, w.end())
		})
	}
}

func (w *world) drift(repair bool) (list []api.Drift) {
	w.t.Helper()
	ask := w.api.Drift
	if repair {
		ask = w.api.RepairDrift
	}
	require.NoError(w.t, ask(w.t.Context(), api.VNIFilter{}, func(d api.Drift) error { list = append(list, d); return nil }))
	return list
}

func TestDrift(t *testing.T) {
	w := newHost(t, nil)
	w.announces(vtepTwo, nil, someMAC)
	w.eventually("row", func() bool {
		return w.adapter.Installed(evpn.RowKey{Kind: evpn.MACRow, VNI: 100, MAC: someMAC})
	})
	assert.Empty(t, w.drift(false))
	assert.Empty(t, w.drift(true))
	var refused *api.Error
	require.ErrorAs(t, w.api.Drift(t.Context(), api.VNIFilter{VNI: 999}, func(api.Drift) error { return nil }), &refused)
	assert.Equal(t, http.StatusNotFound, refused.StatusCode)

	// The adapter and the core disagree, as only a bug could make them.
	stray := evpn.Row{RowKey: evpn.RowKey{Kind: evpn.MACRow, VNI: 100, MAC: otherMAC}, RowValue: evpn.RowValue{VTEP: vtepThree}}
	lost := evpn.Row{RowKey: evpn.RowKey{Kind: evpn.MACRow, VNI: 100, MAC: someMAC}}
	w.adapter.Apply([]evpn.RowChange{{Row: stray}, {Row: lost, Remove: true}})
	assert.Equal(t, []api.Drift{
		{VNI: 100, Table: "intent", MAC: someMAC.String(), State: "missing", Expected: "dst 10.0.0.2", Drift: true},
		{VNI: 100, Table: "intent", MAC: otherMAC.String(), State: "extra", Found: "dst 10.0.0.3", Drift: true},
	}, w.drift(false))
	got := w.drift(true)
	for i := range got {
		assert.True(t, got[i].Repaired, got[i])
		assert.False(t, got[i].Drift, "what is repaired differs no more")
	}
	assert.Len(t, got, 2)
	assert.Empty(t, w.drift(false))
	assert.True(t, w.adapter.Installed(lost.RowKey))

	// The kernel refuses a row until it does not.
	w.host.FailMAC(otherMAC, unix.ENOSPC)
	w.announces(vtepTwo, nil, otherMAC)
	w.eventually("refused", func() bool { return w.adapter.Stats().Failing == 1 })
	got = w.drift(true)
	require.Len(t, got, 2, "both rows of the MAC")
	for _, d := range got {
		assert.True(t, d.Drift)
		assert.False(t, d.Repaired)
		assert.Equal(t, "missing", d.State)
		assert.Equal(t, unix.ENOSPC.Error(), d.Error)
	}
	w.host.FailMAC(otherMAC, nil)
	for _, d := range w.drift(true) {
		assert.True(t, d.Repaired, d)
	}
	assert.Empty(t, w.drift(false))
	require.NoError(t, w.end())
}

// A repair that cannot be finished says so.
func TestRepairOfStoppingDaemon(t *testing.T) {
	w := newHost(t, nil)
	require.NoError(t, w.end())
	err := w.api.RepairDrift(t.Context(), api.VNIFilter{}, func(api.Drift) error { return errors.New("nothing comes") })
	require.Error(t, err)
}
