package evpn

import (
	"cmp"
	"net/netip"
)

// Long lists can be read in pieces, so that nobody has to hold the core for the
// time of the whole: take the references or addresses, which is quick, sort them
// elsewhere, and look each up. What has gone meanwhile is not found.

// RouteRef names one route of the list that [Core.Routes] gives.
type RouteRef struct {
	Key      RouteKey
	Neighbor netip.Addr // zero = our own
	vni      VNI        // of our own
}

// Compare gives the order of [Core.Routes]: key, then neighbour, our own first.
func (r RouteRef) Compare(o RouteRef) int {
	return cmp.Or(r.Key.Compare(o.Key), r.Neighbor.Compare(o.Neighbor), cmp.Compare(r.vni, o.vni))
}

// RouteRefs names received routes and our own, as of the last Drain, in no order.
func (c *Core) RouteRefs(yield func(RouteRef) bool) {
	for _, nb := range c.neighbors {
		for k := range nb.paths {
			if !yield(RouteRef{Key: k, Neighbor: nb.addr}) {
				return
			}
		}
	}
	for _, v := range c.vnis {
		if !v.ownRefs(yield) {
			return
		}
	}
}

func (v *instance) ownRefs(yield func(RouteRef) bool) bool {
	for o := range v.ownIMETs {
		if !yield(RouteRef{Key: imetKey(o), vni: v.vni}) {
			return false
		}
	}
	for _, m := range v.macs {
		if m.own != nil && !yield(RouteRef{Key: macKey(m.own, m.mac), vni: v.vni}) {
			return false
		}
	}
	for _, e := range v.ips {
		if e.own != nil && !yield(RouteRef{Key: e.key(e.own, e.ownMAC), vni: v.vni}) {
			return false
		}
	}
	return true
}

// Route looks up one route; false when it is no longer there.
func (c *Core) Route(r RouteRef) (RouteInfo, bool) {
	if r.Neighbor.IsValid() {
		nb := c.neighbors[r.Neighbor]
		if nb == nil {
			return RouteInfo{}, false
		}
		p := nb.paths[r.Key]
		if p == nil {
			return RouteInfo{}, false
		}
		return p.info(), true
	}
	v := c.vnis[r.vni]
	if v == nil {
		return RouteInfo{}, false
	}
	var o *ownAttrs
	switch m, e := v.macs[r.Key.MAC], v.ips[r.Key.IP]; {
	case r.Key.Type == IMETRoute:
		o = v.ownIMET(r.Key)
	case r.Key.IP.IsValid() && e != nil && e.ownMAC == r.Key.MAC:
		o = e.own
	case !r.Key.IP.IsValid() && m != nil:
		o = m.own
	}
	if o == nil || o.rd != r.Key.RD {
		return RouteInfo{}, false
	}
	return ownInfo(v.ownRoute(r.Key, o)), true
}

// VNIRefs names the VNIs of the list of [Core.VNIs], in order.
func (c *Core) VNIRefs() (vnis []VNI) {
	for _, v := range c.sortedVNIs() {
		vnis = append(vnis, v.vni)
	}
	return vnis
}

// VNI looks up one VNI; false when it is not configured.
func (c *Core) VNI(vni VNI) (VNIInfo, bool) {
	v := c.configured(vni)
	if v == nil {
		return VNIInfo{}, false
	}
	return c.vniInfo(v), true
}

// MACRefs names the MACs of one VNI that may be in the list of [Core.MACs], in no order.
func (c *Core) MACRefs(vni VNI, yield func(MAC) bool) {
	if v := c.vnis[vni]; v != nil {
		for m := range v.macs {
			if !yield(m) {
				return
			}
		}
	}
}

// MAC looks up one MAC; false when there is nothing to show of it.
func (c *Core) MAC(vni VNI, mac MAC) (MACInfo, bool) {
	if v := c.vnis[vni]; v != nil {
		if m := v.macs[mac]; m != nil {
			return c.macInfo(m)
		}
	}
	return MACInfo{}, false
}

// RowKeys names the rows that may be in [Core.Desired], of one VNI (0 = all), in no order.
func (c *Core) RowKeys(vni VNI, yield func(RowKey) bool) {
	for _, v := range c.vnis {
		if (vni == 0 || v.vni == vni) && !v.removed && !v.rowKeys(yield) {
			return
		}
	}
}

func (v *instance) rowKeys(yield func(RowKey) bool) bool {
	for a := range v.floods {
		if !yield(v.floodRow(a).RowKey) {
			return false
		}
	}
	if g := v.wantGroup(); g.IsValid() && !yield(v.floodRow(g).RowKey) {
		return false
	}
	for m := range v.macs {
		if !yield(RowKey{Kind: MACRow, VNI: v.vni, MAC: m}) {
			return false
		}
	}
	for a := range v.ips {
		if !yield(RowKey{Kind: NeighborRow, VNI: v.vni, IP: a}) {
			return false
		}
	}
	return true
}

// Row gives one row of [Core.Desired], decided anew from the tables as there; false
// when none is wanted.
func (c *Core) Row(k RowKey) (RowValue, bool) {
	v := c.configured(k.VNI)
	if v == nil {
		return RowValue{}, false
	}
	switch k.Kind {
	case FloodRow:
		f := v.floods[k.IP]
		return RowValue{}, f != nil && c.judgeFlood(f, c.choose(v)).row || k.IP.IsValid() && k.IP == v.wantGroup()
	case MACRow:
		if m := v.macs[k.MAC]; m != nil {
			return m.desiredRow()
		}
	case NeighborRow:
		if e := v.ips[k.IP]; e != nil {
			return e.wantRow(c.judgeIP(e))
		}
	}
	return RowValue{}, false
}

// VNIsWith names the VNIs that have an entry of a MAC (or of an IP, when that is
// valid), in order. Routes that no VNI uses make no entry.
func (c *Core) VNIsWith(mac MAC, ip netip.Addr) (vnis []VNI) {
	for _, v := range c.sortedVNIs() {
		known := v.macs[mac] != nil
		if ip.IsValid() {
			known = v.ips[ip] != nil
		}
		if known {
			vnis = append(vnis, v.vni)
		}
	}
	return vnis
}
