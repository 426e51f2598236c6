package speaker

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	apipb "github.com/osrg/gobgp/v3/api"
	"github.com/osrg/gobgp/v3/pkg/apiutil"
	"github.com/osrg/gobgp/v3/pkg/packet/bgp"
	"github.com/sirupsen/logrus"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/speaker/wire"
)

// mirror shows our own routes in GoBGP's table, for the `gobgp` tool. It only runs when GoBGP's
// API is served: a path costs about 45 µs of protobuf conversion there, and GoBGP v3.37.0
// never frees some of what a withdrawn local path took. GoBGP does not
// send these paths (see exportPolicy): the guard has.
type mirror struct {
	log   *logrus.Entry
	gobgp *embedded
}

func (s *Speaker) startMirror(ctx context.Context) {
	m := &mirror{log: s.log, gobgp: s.gobgp}
	s.spawn(func() { m.run(ctx, s.adj.open()) })
}

func (m *mirror) run(ctx context.Context, cursor *adjCursor) {
	defer cursor.close()
	var (
		announce []evpn.Route
		withdraw []evpn.RouteKey
	)
	for {
		var more bool
		announce, withdraw, more = cursor.next(announce[:0], withdraw[:0], sendBatch)
		for _, k := range withdraw {
			m.path(ctx, evpn.Route{Key: k, Attrs: &evpn.Attrs{NextHop: netip.IPv4Unspecified()}}, true)
		}
		for _, r := range announce {
			m.path(ctx, r, false)
		}
		if more && ctx.Err() == nil {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-cursor.wake:
		}
	}
}

// path adds or deletes one route. GoBGP refuses a MAC whose sequence number is lower than that of a
// route it got (fixupApiPath): such a route is missing in its table and nowhere else.
func (m *mirror) path(ctx context.Context, r evpn.Route, withdraw bool) {
	if ctx.Err() != nil {
		return
	}
	p, err := apiPath(r, withdraw)
	if err == nil && withdraw {
		err = m.gobgp.srv.DeletePath(ctx, &apipb.DeletePathRequest{TableType: apipb.TableType_GLOBAL, Path: p})
	} else if err == nil {
		_, err = m.gobgp.srv.AddPath(ctx, &apipb.AddPathRequest{TableType: apipb.TableType_GLOBAL, Path: p})
	}
	if err != nil {
		m.log.WithError(err).WithField("route", r.Key.String()).Debug("gobgp does not show an own route")
	}
}

// apiPath goes by way of the wire form, which both sides know.
func apiPath(r evpn.Route, withdraw bool) (*apipb.Path, error) {
	for _, raw := range wire.AppendUpdates(nil, []evpn.Route{r}, wire.PeerKind{IBGP: true, FourOctetAS: true}) {
		msg, err := bgp.ParseBGPMessage(raw)
		if err != nil {
			return nil, fmt.Errorf("convert route for gobgp: %w", err)
		}
		attrs := msg.Body.(*bgp.BGPUpdate).PathAttributes
		var nlri bgp.AddrPrefixInterface
		for _, a := range attrs {
			switch a := a.(type) {
			case *bgp.PathAttributeMpReachNLRI:
				nlri = a.Value[0]
			case *bgp.PathAttributeExtendedCommunities:
				if r.Key.Type == evpn.MACIPRoute && r.Attrs.Mobility == (evpn.Mobility{}) {
					// Without one, GoBGP makes up a sequence number of its own.
					a.Value = append(a.Value, bgp.NewMacMobilityExtended(0, false))
				}
			}
		}
		if nlri != nil {
			return apiutil.NewPath(nlri, withdraw, attrs, time.Now())
		}
	}
	return nil, fmt.Errorf("convert route for gobgp: %s has no wire form", r.Key)
}
