package daemon

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/api"
	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/explain"
	"github.com/vtepbgp/vtepbgp/evpn"
)

// Explain tells why a MAC or IP address is where it is, in each VNI that knows it, or
// why it is nowhere.
func (d *daemon) Explain(ctx context.Context, f api.ExplainFilter) ([]api.Explanation, error) {
	if err := d.knows(ctx, api.VNIFilter{VNI: f.VNI}); err != nil {
		return nil, err
	}
	f.IP = f.IP.Unmap().WithZone("")
	vnis, elsewhere, err := d.vnisWith(ctx, f)
	if err != nil {
		return nil, err
	}
	neighbors := d.neighborsForExplain()
	out := []api.Explanation{}
	for _, vni := range vnis {
		if f.VNI != 0 && vni != f.VNI {
			continue
		}
		x, ok, err := d.explainIn(ctx, vni, f, neighbors)
		if err != nil {
			return nil, err
		}
		if ok { // else it has gone meanwhile
			out = append(out, x)
		}
	}
	if len(out) == 0 {
		_, isVTEP := d.ways()[f.IP]
		absent := explain.Absent{
			MAC: f.MAC, IP: f.IP, VNI: f.VNI, Elsewhere: elsewhere, KnownIn: vnis, Neighbors: neighbors,
			IsVTEP: isVTEP || f.IP.IsValid() && f.IP == d.kernel.VTEPAddress(),
		}
		if f.VNI != 0 {
			flood, err := d.floodingFacts(ctx, f.VNI)
			if err != nil {
				return nil, err
			}
			absent.Flood = &flood
		}
		out = append(out, explain.Missing(absent))
	}
	return out, nil
}

// vnisWith finds the configured VNIs that know what f names, and the routes that name
// it for none of them.
func (d *daemon) vnisWith(ctx context.Context, f api.ExplainFilter) (vnis []evpn.VNI, elsewhere []evpn.RouteInfo, err error) {
	err = d.loop.do(ctx, func(c *evpn.Core) {
		vnis = c.VNIsWith(f.MAC, f.IP)
		configured := map[evpn.VNI]bool{}
		for _, i := range c.VNIs() {
			configured[i.VNI] = true
		}
		c.RouteRefs(func(r evpn.RouteRef) bool {
			named := r.Key.MAC == f.MAC
			if f.IP.IsValid() {
				named = r.Key.IP == f.IP
			}
			if !named || !r.Neighbor.IsValid() || r.Key.Type != evpn.MACIPRoute {
				return true
			}
			info, _ := c.Route(r)
			if !configured[info.VNI()] && !info.Imported() {
				elsewhere = append(elsewhere, info)
				return true
			}
			if configured[info.VNI()] {
				vnis = append(vnis, info.VNI())
			}
			vnis = append(vnis, info.VNIs...)
			return true
		})
	})
	slices.Sort(vnis)
	slices.SortFunc(elsewhere, func(a, b evpn.RouteInfo) int {
		if n := a.Key.Compare(b.Key); n != 0 {
			return n
		}
		return a.Neighbor.Compare(b.Neighbor)
	})
	return slices.Compact(vnis), elsewhere, err
}

func (d *daemon) neighborsForExplain() (list []explain.Neighbor) {
	for _, n := range d.speaker.Neighbors() {
		list = append(list, explain.Neighbor{Address: n.Address, Established: n.State == established, Shed: n.RoutesShed})
	}
	return list
}

// explainIn explains it in one VNI; false when the VNI does not know it.
func (d *daemon) explainIn(ctx context.Context, vni evpn.VNI, f api.ExplainFilter, neighbors []explain.Neighbor) (api.Explanation, bool, error) {
	facts := explain.Facts{
		MAC: f.MAC, IP: f.IP, Duplicate: d.config().Duplicate,
		Neighbors: neighbors, Ways: d.ways(), Now: time.Now(),
	}
	known := false
	if err := d.loop.do(ctx, func(c *evpn.Core) {
		if f.IP.IsValid() {
			facts.Subject, known = c.ExplainIP(vni, f.IP)
			facts.Host, _ = c.Explain(vni, explain.HostOf(facts.Subject))
		} else {
			facts.Subject, known = c.Explain(vni, f.MAC)
			facts.Host = facts.Subject
		}
	}); err != nil || !known {
		return api.Explanation{}, false, err
	}
	for _, s := range d.kernel.Status() {
		if s.VNI == vni {
			facts.Link = s
		}
	}
	var err error
	if facts.Host.Origin == "" {
		if facts.Flood, err = d.floodingFacts(ctx, vni); err != nil {
			return api.Explanation{}, false, err
		}
	}
	if facts.Rows, err = d.kernel.Inspect(ctx, vni, macsOf(facts), ipsOf(facts)); err != nil {
		return api.Explanation{}, false, err
	}
	return withTables(explain.Chain(facts), facts), true, nil
}

// floodingFacts is what becomes of frames of a VNI that are flooded.
func (d *daemon) floodingFacts(ctx context.Context, vni evpn.VNI) (explain.Flooding, error) {
	var f explain.Flooding
	err := d.loop.do(ctx, func(c *evpn.Core) {
		f.VTEPs = c.Flood(vni)
		for _, i := range c.VNIs() {
			if i.VNI == vni {
				f.Mode, f.Group, f.Relay = i.Flooding, i.Segment.Group, i.Relay
			}
		}
	})
	f.Engine = d.flooding.Status().Networks[vni].Engine
	return f, err
}

func macsOf(f explain.Facts) []evpn.MAC {
	if f.Host.MAC.IsZero() {
		return nil
	}
	return []evpn.MAC{f.Host.MAC}
}

// ipsOf are the addresses whose neighbour rows matter.
func ipsOf(f explain.Facts) (ips []netip.Addr) {
	if f.IP.IsValid() {
		return []netip.Addr{f.IP}
	}
	for _, r := range f.Subject.Rows {
		if r.Kind == evpn.NeighborRow {
			ips = append(ips, r.IP)
		}
	}
	if l := f.Subject.Local; l != nil {
		for _, i := range l.IPs {
			ips = append(ips, i.IP)
		}
	}
	return ips
}

// withTables adds the routes and rows in the API's form.
func withTables(x api.Explanation, f explain.Facts) api.Explanation {
	for _, c := range f.Subject.Candidates {
		x.Routes = append(x.Routes, api.RouteVerdict{
			Route: api.NewRoute(c.RouteInfo), Verdict: explain.Verdict(c), By: c.Verdict.By, Mine: c.Verdict.Mine, Theirs: c.Verdict.Theirs,
		})
	}
	for _, r := range f.Rows {
		x.Rows = append(x.Rows, driftOf(r))
	}
	return x
}

// ways tells what is known of the ways to the remote VTEPs.
func (d *daemon) ways() map[netip.Addr]explain.Way {
	ways := map[netip.Addr]explain.Way{}
	for _, w := range d.kernel.Underlay() {
		ways[w.VTEP] = explain.Way{Reachable: w.Reachable, Reason: w.Reason, Device: w.Device, Gateway: w.Gateway, MTU: w.MTU}
	}
	return ways
}
