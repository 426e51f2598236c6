package journal_test

import (
	"bytes"
	"io"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/evpn/journal"
)

// updates gives n type-2 routes in UPDATEs of 60, as neighbours pack them.
func updates(n int) (evs []evpn.Event) {
	vtep := netip.MustParseAddr("10.0.0.2")
	rt, _ := evpn.AutoRouteTarget(65000, 100)
	attrs := &evpn.Attrs{NextHop: vtep, RouteTargets: []evpn.RouteTarget{rt}, Encaps: []uint16{evpn.EncapVXLAN}, LocalPref: 100}
	for i := 0; i < n; {
		ev := evpn.RoutesReceived{Neighbor: netip.MustParseAddr("10.0.0.254")}
		for range min(60, n-i) {
			key := evpn.RouteKey{Type: evpn.MACIPRoute, RD: evpn.RDFromRouterID(vtep, 1), MAC: evpn.MAC{2, 0, 0, byte(i >> 16), byte(i >> 8), byte(i)}}
			ev.Announced = append(ev.Announced, evpn.Route{Key: key, Label: 100, Attrs: attrs})
			i++
		}
		evs = append(evs, ev)
	}
	return evs
}

func BenchmarkWrite100kRoutes(b *testing.B) {
	evs := updates(100_000)
	b.SetBytes(int64(len(write(b, evs...))))
	for b.Loop() {
		w, err := journal.NewWriter(io.Discard, header)
		require.NoError(b, err)
		for _, ev := range evs {
			if err := w.Event(ev, start); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkReplay100kRoutes(b *testing.B) {
	recording := write(b, updates(100_000)...)
	b.SetBytes(int64(len(recording)))
	for b.Loop() {
		r, err := journal.NewReader(bytes.NewReader(recording))
		require.NoError(b, err)
		p := journal.NewReplay(r)
		for err == nil {
			_, err = p.Next()
		}
		require.ErrorIs(b, err, io.EOF)
	}
}
