package main

import (
	"net/netip"
	"time"

	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/api"
	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/evpn/journal"
)

// replayChange is what one drain gave.
type replayChange struct {
	At       time.Time    `json:"at"`
	Announce []api.Route  `json:"announce"`
	Withdraw []string     `json:"withdraw"`
	Set      []replayRow  `json:"set"`
	Remove   []replayRow  `json:"remove"`
	Notes    []replayNote `json:"notes"`
}

type replayRow struct {
	Kind   string     `json:"kind"`
	VNI    evpn.VNI   `json:"vni"`
	MAC    string     `json:"mac"`
	IP     netip.Addr `json:"ip"`
	VTEP   netip.Addr `json:"vtep"`
	Sticky bool       `json:"sticky"`
	Router bool       `json:"router"`
}

type replayNote struct {
	Kind     evpn.NoteKind `json:"kind"`
	VNI      evpn.VNI      `json:"vni"`
	MAC      string        `json:"mac"`
	IP       netip.Addr    `json:"ip"`
	VTEP     netip.Addr    `json:"vtep"`
	Neighbor netip.Addr    `json:"neighbor"`
	Reason   evpn.Reason   `json:"reason"`
	Detail   string        `json:"detail"`
}

// replayState is what the core holds at the end.
type replayState struct {
	Recording replayInfo  `json:"recording"`
	Rows      []replayRow `json:"rows"`
	MACs      []api.MAC   `json:"macs"`
	Routes    []api.Route `json:"routes"`
}

type replayInfo struct {
	ProgramVersion string     `json:"program_version"`
	VTEP           netip.Addr `json:"vtep"`
	Started        time.Time  `json:"started"`
	Ended          time.Time  `json:"ended"`
	Events         int        `json:"events"`
	Complete       bool       `json:"complete"`
}

func newReplayChange(at time.Time, ch evpn.Changes) replayChange {
	c := replayChange{
		At: at, Announce: []api.Route{}, Withdraw: []string{}, Set: []replayRow{}, Remove: []replayRow{}, Notes: []replayNote{},
	}
	for _, r := range ch.Announce {
		c.Announce = append(c.Announce, ownRoute(r))
	}
	for _, k := range ch.Withdraw {
		c.Withdraw = append(c.Withdraw, k.String())
	}
	for _, r := range ch.Rows {
		if r.Remove {
			c.Remove = append(c.Remove, newReplayRow(r.Row))
		} else {
			c.Set = append(c.Set, newReplayRow(r.Row))
		}
	}
	for _, n := range ch.Notes {
		c.Notes = append(c.Notes, replayNote{
			Kind: n.Kind, VNI: n.VNI, MAC: macText(n.MAC), IP: n.IP, VTEP: n.VTEP, Neighbor: n.Neighbor, Reason: n.Reason, Detail: n.Detail,
		})
	}
	return c
}

func ownRoute(r evpn.Route) api.Route {
	return api.NewRoute(evpn.RouteInfo{Route: r, VNIs: []evpn.VNI{r.VNI()}, Best: true})
}

func newReplayRow(r evpn.Row) replayRow {
	row := replayRow{Kind: r.Kind.String(), VNI: r.VNI, MAC: macText(r.RowKey.MAC), IP: r.IP, VTEP: r.VTEP, Sticky: r.Sticky, Router: r.Router}
	switch r.Kind {
	case evpn.FloodRow:
		row.IP, row.VTEP = netip.Addr{}, r.IP
	case evpn.NeighborRow:
		row.MAC = macText(r.RowValue.MAC)
	case evpn.MACRow:
	}
	return row
}

func macText(m evpn.MAC) string {
	if m.IsZero() {
		return ""
	}
	return m.String()
}

func newReplayState(p *journal.Replay, reader *journal.Reader) replayState {
	h := reader.Header()
	s := replayState{
		Recording: replayInfo{
			ProgramVersion: h.ProgramVersion, VTEP: h.VTEP, Started: h.Started, Ended: p.Last(), Events: p.Events(), Complete: reader.Complete(),
		},
		Rows: []replayRow{}, MACs: []api.MAC{}, Routes: []api.Route{},
	}
	for _, r := range p.Core().Desired().Rows {
		s.Rows = append(s.Rows, newReplayRow(r))
	}
	p.Core().MACs(0, func(m evpn.MACInfo) bool { s.MACs = append(s.MACs, api.NewMAC(m, false)); return true })
	p.Core().Routes(func(r evpn.RouteInfo) bool { s.Routes = append(s.Routes, api.NewRoute(r)); return true })
	return s
}
