package speaker

import (
	"net/netip"
	"slices"
	"time"

	"github.com/vtepbgp/vtepbgp/speaker/bfd"
)

// NeighborStatus is what there is to show of a neighbour.
type NeighborStatus struct {
	Address          netip.Addr
	Prefix           netip.Prefix // that a dynamic neighbour came from
	ASN              uint32
	RouterID         netip.Addr // zero until an OPEN came
	Description      string
	State            string
	Since            time.Time
	RoutesReceived   int
	RoutesShed       int // of RoutesReceived: counted only, no VNI imports them
	RoutesAdvertised int // own routes, and those passed on
	LastError        string
	Dynamic, Passive bool
	IBGP             bool
	RouteReflector   bool          // the neighbour is our client
	HoldTime         time.Duration // negotiated; 0 without a session
	Keepalive        time.Duration
	Capabilities     []string         // of the peer
	GracefulRestart  bool             // negotiated for EVPN
	LongLived        *LongLivedStatus // of the peer's OPEN; nil when it did not announce it for EVPN
	StaleUntil       time.Time        // the routes of the session before stay, stale, until then; zero when they do not …
	LongLivedUntil   time.Time        // … and long-lived stale until then
	Drops            map[string]uint64
	MessagesIn       uint64
	MessagesOut      uint64
	UpdatesIn        uint64
	UpdatesOut       uint64
	Flaps            uint64
	BFD              *bfd.Status // nil without BFD
	LocalAddress     netip.Addr
	LocalPort        uint16
	RemotePort       uint16
}

// LongLivedStatus is what a peer says about long-lived stale routes (RFC 9494), and what comes of it.
type LongLivedStatus struct {
	Announced  time.Duration // by the peer
	Forwarding bool          // F bit
	Agreed     time.Duration // how long we would keep its routes; 0 = not at all
}

// Neighbors lists all neighbours, sorted by address.
func (s *Speaker) Neighbors() []NeighborStatus {
	list, watched := s.list(), s.bfd.Sessions()
	out := make([]NeighborStatus, 0, len(list))
	for _, n := range list {
		st := n.status()
		if b, ok := watched[n.addr]; ok {
			st.BFD = &b
		}
		out = append(out, st)
	}
	slices.SortFunc(out, func(a, b NeighborStatus) int { return a.Address.Compare(b.Address) })
	return out
}

func (n *neighbor) status() NeighborStatus {
	n.mu.Lock()
	st := NeighborStatus{
		Address: n.addr, Prefix: n.dynamic, ASN: n.nc.ASN, Description: n.nc.Description,
		State: n.state, Since: n.since, LastError: n.lastError,
		Dynamic: n.dynamic.IsValid(), Passive: n.nc.Passive || n.dynamic.IsValid(),
		IBGP: n.cfg.ibgp(n.nc), RouteReflector: n.nc.RouteReflectorClient,
		Capabilities: []string{},
	}
	ses := n.current
	if ses != nil {
		st.LocalAddress, st.LocalPort, st.RemotePort = n.local.Addr(), n.local.Port(), n.remote.Port()
	}
	st.StaleUntil, st.LongLivedUntil = n.kept.until, n.kept.longUntil
	n.mu.Unlock()
	st.Drops = n.count.drops.snapshot()
	st.MessagesIn, st.MessagesOut = n.count.messagesIn.Load(), n.count.messagesOut.Load()
	st.UpdatesIn, st.UpdatesOut = n.count.updatesIn.Load(), n.count.updatesOut.Load()
	st.Flaps = n.count.flaps.Load()
	if ses == nil {
		return st
	}
	st.RouterID, st.Capabilities = ses.peer.RouterID, ses.peer.CapabilityNames()
	st.HoldTime = min(ses.peer.HoldTime, ses.ours.HoldTime)
	st.Keepalive = min(ses.cfg.keepalive(ses.nc), st.HoldTime/3)
	st.GracefulRestart = ses.graceful()
	if l := ses.peer.LongLived; l != nil && l.EVPN {
		_, agreed := ses.retention()
		st.LongLived = &LongLivedStatus{Announced: l.Time, Forwarding: l.Forwarding, Agreed: agreed}
	}
	if ses.established.Load() {
		ses.mu.Lock()
		st.RoutesReceived, st.RoutesShed = len(ses.in.routes), ses.in.shed
		st.RoutesAdvertised = len(ses.passedOn)
		ses.mu.Unlock()
		if ses.eorSent.Load() {
			st.RoutesAdvertised += n.s.adj.len()
		} else {
			st.RoutesAdvertised += int(ses.sent.Load())
		}
	}
	return st
}

func (s *session) shedCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.in.shed
}

// Stats are totals for metrics.
type Stats struct {
	Neighbors, Established int
	OwnRoutes              int
	Transit                bool              // GoBGP holds the routes, too
	Drops                  map[string]uint64 // by reason
	MessagesIn             uint64
	MessagesOut            uint64
	UpdatesIn              uint64
	UpdatesOut             uint64
	Flaps                  uint64
	UnknownConnections     uint64 // from addresses that no neighbour has
	BFD                    bfd.Stats
}

// Stats sums over the neighbours there are.
func (s *Speaker) Stats() Stats {
	t := Stats{OwnRoutes: s.adj.len(), Transit: s.transit.Load(), Drops: map[string]uint64{}, UnknownConnections: s.unknown.Load(), BFD: s.bfd.Stats()}
	for _, n := range s.Neighbors() {
		t.Neighbors++
		if n.State == stateEstablished {
			t.Established++
		}
		for r, c := range n.Drops {
			t.Drops[r] += c
		}
		t.MessagesIn += n.MessagesIn
		t.MessagesOut += n.MessagesOut
		t.UpdatesIn += n.UpdatesIn
		t.UpdatesOut += n.UpdatesOut
		t.Flaps += n.Flaps
	}
	return t
}
