package api_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/api"
	"github.com/vtepbgp/vtepbgp/evpn"
)

func sampleEvents() []api.Event {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)
	event := func(kind api.EventKind, e api.Event) api.Event {
		e.Time, e.Kind = at, kind
		e.Level, e.Words = kind.Describe()
		return e
	}
	return []api.Event{
		event(api.EventMonitorBegins, api.Event{}),
		event(api.EventMACLearned, api.Event{VNI: 100, MAC: "02:00:00:00:00:01", Port: "veth1", Origin: evpn.OriginLocal, Detail: "local on veth1"}),
		event(api.EventIPLearned, api.Event{VNI: 100, MAC: "02:00:00:00:00:01", IP: netip.MustParseAddr("192.0.2.1"), Origin: evpn.OriginLocal}),
		event(api.EventKind(evpn.NoteVTEPDown), api.Event{VTEP: netip.MustParseAddr("10.0.0.2")}),
		event(api.EventRouteDropped, api.Event{Neighbor: netip.MustParseAddr("10.0.0.254"), Reason: "short nlri", Count: 3}),
		event(api.EventMonitorEnds, api.Event{}),
	}
}

func TestMonitor(t *testing.T) {
	b := sample()
	b.events = sampleEvents()
	c, _ := serve(t, b)
	collect := func(f api.EventFilter) (events []api.Event, err error) {
		err = c.Monitor(t.Context(), f, func(e api.Event) error { events = append(events, e); return nil })
		return events, err
	}
	got, err := collect(api.EventFilter{})
	assert.Equal(t, api.ErrEnded, err)
	assert.Equal(t, b.events, got)
	mac := evpn.MAC{2, 5: 1}
	for name, f := range map[string]struct {
		filter api.EventFilter
		want   []int
	}{
		"vni":      {api.EventFilter{VNI: 100}, []int{0, 1, 2, 5}},
		"mac":      {api.EventFilter{MAC: mac}, []int{0, 1, 2, 5}},
		"ip":       {api.EventFilter{IP: netip.MustParseAddr("192.0.2.1")}, []int{0, 2, 5}},
		"vtep":     {api.EventFilter{VTEP: netip.MustParseAddr("10.0.0.2")}, []int{0, 3, 5}},
		"neighbor": {api.EventFilter{Neighbor: netip.MustParseAddr("10.0.0.254")}, []int{0, 4, 5}},
		"kinds":    {api.EventFilter{Kinds: []string{"vtep_*", "*_dropped"}}, []int{0, 3, 4, 5}},
		"together": {api.EventFilter{VNI: 100, MAC: mac, Kinds: []string{"ip_*"}}, []int{0, 2, 5}},
	} {
		got, err := collect(f.filter)
		assert.Equal(t, api.ErrEnded, err, name)
		var want []api.Event
		for _, i := range f.want {
			want = append(want, b.events[i])
		}
		assert.Equal(t, want, got, name)
	}
}

func TestMonitorStopsAndFails(t *testing.T) {
	b := sample()
	b.events = sampleEvents()
	enough := errors.New("enough")
	c, socket := serve(t, b)
	assert.Equal(t, enough, c.Monitor(t.Context(), api.EventFilter{}, func(api.Event) error { return enough }))
	ctx, cancel := context.WithCancel(t.Context())
	assert.ErrorIs(t, c.Monitor(ctx, api.EventFilter{}, func(api.Event) error { cancel(); return nil }), context.Canceled)
	status, body := raw(t, socket, http.MethodGet, "/v1/monitor?kind=mac_lerned")
	assert.Equal(t, http.StatusBadRequest, status)
	assert.Contains(t, string(body), "no kind of event matches")
	status, _ = raw(t, socket, http.MethodGet, "/v1/monitor?what=all")
	assert.Equal(t, http.StatusBadRequest, status)

	c, _ = serve(t, &backend{fail: errors.New("too many")}) // before the first event in words
	assert.EqualError(t, c.Monitor(t.Context(), api.EventFilter{}, func(api.Event) error { return nil }), "too many")
	c, _ = serve(t, &backend{events: sampleEvents(), fail: errors.New("broken")}) // after it by a cut
	require.ErrorIs(t, c.Monitor(t.Context(), api.EventFilter{}, func(api.Event) error { return nil }), api.ErrEnded)
}

func TestRecord(t *testing.T) {
	b := sample()
	b.lines = []string{"{\"format\":\"x\"}\n", "{\"at\":\"y\"}\n"}
	c, socket := serve(t, b)
	body, err := c.Record(t.Context())
	require.NoError(t, err)
	got, err := io.ReadAll(body)
	require.NoError(t, err)
	require.NoError(t, body.Close())
	assert.Equal(t, b.lines[0]+b.lines[1], string(got))
	status, _ := raw(t, socket, http.MethodGet, "/v1/record?vni=3")
	assert.Equal(t, http.StatusBadRequest, status, "a filter would tell another story")

	c, _ = serve(t, &backend{lines: b.lines, fail: errors.New("broken")})
	body, err = c.Record(t.Context())
	require.NoError(t, err)
	_, err = io.ReadAll(body)
	require.Error(t, err, "cut in the middle")
	require.NoError(t, body.Close())
	c, _ = serve(t, &backend{fail: errors.New("broken")})
	_, err = c.Record(t.Context())
	require.EqualError(t, err, "broken")
}
