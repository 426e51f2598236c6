package evpn

import (
	"hash/fnv"
	"net/netip"
	"slices"
)

// ID names the segment in a [RelayClaim]: a hash of the group and the prefixes, never 0.
// All members of a segment are configured with equal ones, so they need no other name for it.
func (g SegmentConfig) ID() uint32 {
	prefixes := slices.Clone(g.Prefixes)
	for i := range prefixes {
		prefixes[i] = prefixes[i].Masked()
	}
	slices.SortFunc(prefixes, netip.Prefix.Compare)
	h := fnv.New32a()
	_, _ = h.Write(g.Group.AsSlice()) // never fails
	for _, p := range slices.Compact(prefixes) {
		_, _ = h.Write(append(p.Addr().AsSlice(), byte(p.Bits())))
	}
	return max(1, h.Sum32())
}

// has reports a VTEP that hears the group.
func (g SegmentConfig) has(a netip.Addr) bool {
	return slices.ContainsFunc(g.Prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
}

func (g SegmentConfig) equal(o SegmentConfig) bool {
	return g.Group == o.Group && g.ProxyVTEPs == o.ProxyVTEPs && g.ProxyMACs == o.ProxyMACs && g.Delivery == o.Delivery &&
		slices.Equal(g.Prefixes, o.Prefixes)
}

// hears reports that we are a member of the segment of v: this host sends to its group and
// hears it.
func (v *instance) hears() bool {
	return v.up && v.cfg.Flooding == FloodMulticast && v.cfg.Segment.Group.IsMulticast()
}

// claims reports that p tells of a member of the segment. One that is away for long tells
// nothing of what it does now.
func (p *path) claims(segment uint32) bool {
	return p.set.attrs.Claim.Segment == segment && !p.leastPreferred() && !p.outdated()
}

// isMember reports that f speaks EVPN, hears our group, and copies its own frames.
func (f *floodEntry) isMember() bool {
	v := f.vni
	if !v.hears() {
		return false
	}
	for _, chain := range []*path{f.head, f.silent} {
		for p := chain; p != nil; p = p.next {
			if p.claims(v.segment) {
				return true
			}
		}
	}
	return false
}

// strangers lists the VTEPs inside the prefixes of our segment that claim to be of another one.
func (v *instance) strangers() (all []netip.Addr) {
	if !v.hears() {
		return nil
	}
	other := func(p *path) bool {
		return p.set.attrs.Claim.Segment != 0 && !p.claims(v.segment) && p.claims(p.set.attrs.Claim.Segment)
	}
	for _, f := range v.floods {
		if !v.cfg.Segment.has(f.addr) {
			continue
		}
		for _, chain := range []*path{f.head, f.silent} {
			for p := chain; p != nil; p = p.next {
				if other(p) && !slices.Contains(all, f.addr) {
					all = append(all, f.addr)
				}
			}
		}
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return all
}

// delivers reports that v, once elected, sends frames from elsewhere to the group.
func (c *Core) delivers(v *instance) bool {
	g := &v.cfg.Segment
	return g.ProxyVTEPs && g.Delivery == DeliverMulticast && c.cfg.ours().service.IsValid()
}
