package kerneltest

import (
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/kernel"
)

const ntfSticky = 0x40 // NTF_STICKY

// Write does ops in order, as rtnetlink does with a batch: one that fails does not
// stop those after it.
func (f *Fake) Write(ops []kernel.NeighborOp, failed func(int, error)) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, op := range ops {
		f.writes++
		err := f.failWith
		if f.failAt != f.writes {
			err = f.write(op)
		}
		if err != nil {
			failed(i, err)
		}
	}
	return nil
}

func (f *Fake) write(op kernel.NeighborOp) error {
	l := f.links[op.Index]
	if l == nil {
		return unix.ENODEV
	}
	if op.Family != unix.AF_BRIDGE {
		return f.writeNeighbor(op)
	}
	if err := f.refused[op.MAC]; err != nil {
		return err
	}
	// rtnl_fdb_add and rtnl_fdb_del (net/core/rtnetlink.c): the bridge first; when
	// it refuses, the device's own table is not reached.
	if op.Flags == 0 || op.Flags&unix.NTF_MASTER != 0 {
		if l.Master == 0 {
			return unix.EOPNOTSUPP
		}
		if err := f.writeBridge(l, op); err != nil {
			return err
		}
	}
	if op.Flags&unix.NTF_SELF != 0 {
		if l.Kind != "vxlan" {
			return unix.EOPNOTSUPP
		}
		return f.writeTunnel(l, op)
	}
	return nil
}

func (f *Fake) writeBridge(l *kernel.Link, op kernel.NeighborOp) error {
	rows := f.fdb[l.Master]
	r := rows[op.MAC]
	if op.Verb == kernel.Delete {
		if r == nil || r.port != l.Index { // fdb_delete_by_addr_and_port
			return unix.ENOENT
		}
		f.removeBridgeRow(l.Master, op.MAC)
		return nil
	}
	if op.State&(unix.NUD_PERMANENT|unix.NUD_NOARP|unix.NUD_REACHABLE) == 0 || op.MAC.IsZero() || op.MAC.IsGroup() {
		return unix.EINVAL
	}
	if op.Flags&ntfSticky != 0 && op.State&unix.NUD_PERMANENT != 0 {
		return unix.EINVAL
	}
	if op.Flags&unix.NTF_EXT_LEARNED != 0 { // br_fdb_external_learn_add
		if r == nil {
			r = &bridgeRow{}
			rows[op.MAC] = r
		} else if r.port == l.Index && r.external {
			return nil
		}
		r.port, r.external = l.Index, true
		f.bridgeEvent(l.Master, op.MAC, false)
		return nil
	}
	// fdb_add_entry: adds marks, and never takes extern_learn away
	if op.State&(unix.NUD_PERMANENT|unix.NUD_NOARP) == 0 && !l.Up {
		return unix.EPERM
	}
	if r == nil {
		r = &bridgeRow{}
		rows[op.MAC] = r
	}
	r.port = l.Index
	r.permanent = op.State&unix.NUD_PERMANENT != 0
	r.static = r.permanent || op.State&unix.NUD_NOARP != 0
	r.sticky = op.Flags&ntfSticky != 0
	f.bridgeEvent(l.Master, op.MAC, false)
	return nil
}

func (f *Fake) writeTunnel(l *kernel.Link, op kernel.NeighborOp) error {
	rows := f.tunnels[l.Index]
	r := rows[op.MAC]
	to := destination{op.Addr, op.Via}
	if op.Via != 0 && f.links[op.Via] == nil { // vxlan_fdb_parse, for deletes too
		return unix.EADDRNOTAVAIL
	}
	if op.Verb == kernel.Delete {
		if r == nil || (op.Addr.IsValid() && !slices.Contains(r.to, to)) {
			return unix.ENOENT
		}
		if op.Addr.IsValid() && len(r.to) > 1 {
			f.tunnelEvent(l.Index, op.MAC, r, to, true)
			r.to = slices.DeleteFunc(r.to, func(o destination) bool { return o == to })
			return nil
		}
		f.removeTunnelRow(l.Index, op.MAC, r)
		return nil
	}
	if op.State&(unix.NUD_PERMANENT|unix.NUD_REACHABLE) == 0 || !op.Addr.IsValid() {
		return unix.EINVAL
	}
	if l.VXLAN.Local.IsValid() && l.VXLAN.Local.Is4() != op.Addr.Is4() {
		return unix.EAFNOSUPPORT
	}
	many := op.MAC.IsZero() || op.MAC.IsGroup()
	flags := op.Flags &^ unix.NTF_MASTER
	switch {
	case r == nil:
		r = &tunnelRow{state: op.State, flags: flags, to: []destination{to}}
		rows[op.MAC] = r
	case many && op.Verb == kernel.Replace:
		return unix.EOPNOTSUPP
	case many && slices.Contains(r.to, to):
		return nil
	case many:
		r.to = append(r.to, to)
	default: // vxlan_fdb_update_existing
		before := r.neighbor(l.Index, op.MAC, r.to[0])
		// An extern_learn row does not take over one that user space added.
		if flags&unix.NTF_EXT_LEARNED == 0 {
			r.state, r.flags = op.State, flags
		}
		if op.Verb == kernel.Replace {
			r.to[0] = to
		}
		if r.neighbor(l.Index, op.MAC, r.to[0]) == before {
			return nil
		}
	}
	f.tunnelEvent(l.Index, op.MAC, r, to, false)
	return nil
}

func (f *Fake) writeNeighbor(op kernel.NeighborOp) error {
	if l := f.links[op.Index]; op.Family == unix.AF_INET6 && op.Verb != kernel.Delete && !l.IPv6 {
		return unix.EINVAL // "IPv6 is disabled on this device"
	}
	rows := f.neighbors[op.Index]
	if op.Flags&unix.NTF_USE != 0 || op.State == unix.NUD_PROBE {
		return f.probe(op)
	}
	if op.Verb == kernel.Delete {
		if rows[op.Addr] == nil {
			return unix.ENOENT
		}
		f.removeNeighbor(op.Index, op.Addr)
		return nil
	}
	if !op.Addr.IsValid() || (op.Family == unix.AF_INET) != op.Addr.Is4() {
		return unix.EINVAL
	}
	if rows == nil {
		rows = map[netip.Addr]*kernel.Neighbor{}
		f.neighbors[op.Index] = rows
	}
	n := op.Neighbor
	rows[op.Addr] = &n
	f.publish(kernel.Notification{Neighbor: n})
	return nil
}

func (f *Fake) removeNeighbor(index int32, ip netip.Addr) {
	n := *f.neighbors[index][ip]
	delete(f.neighbors[index], ip)
	f.publish(kernel.Notification{Neighbor: n, Deleted: true})
}

func (f *Fake) removeBridgeRow(bridge int32, mac evpn.MAC) {
	f.bridgeEvent(bridge, mac, true)
	delete(f.fdb[bridge], mac)
}

func (f *Fake) removeTunnelRow(index int32, mac evpn.MAC, r *tunnelRow) {
	delete(f.tunnels[index], mac)
	for _, to := range r.to {
		f.tunnelEvent(index, mac, r, to, true)
	}
}

func (f *Fake) bridgeEvent(bridge int32, mac evpn.MAC, gone bool) {
	f.publish(kernel.Notification{Neighbor: f.fdb[bridge][mac].neighbor(bridge, mac), Deleted: gone})
}

func (f *Fake) tunnelEvent(index int32, mac evpn.MAC, r *tunnelRow, to destination, gone bool) {
	f.publish(kernel.Notification{Neighbor: r.neighbor(index, mac, to), Deleted: gone})
}

// neighbor is the row as br_fdb_fill_info tells it.
func (r *bridgeRow) neighbor(bridge int32, mac evpn.MAC) kernel.Neighbor {
	n := kernel.Neighbor{Family: unix.AF_BRIDGE, Index: r.port, Master: bridge, MAC: mac, State: unix.NUD_REACHABLE}
	switch {
	case r.permanent:
		n.State = unix.NUD_PERMANENT
	case r.static:
		n.State = unix.NUD_NOARP
	case r.expired:
		n.State = unix.NUD_STALE
	}
	if r.external {
		n.Flags |= unix.NTF_EXT_LEARNED
	}
	if r.sticky {
		n.Flags |= ntfSticky
	}
	return n
}

// neighbor is the row as vxlan_fdb_info tells it.
func (r *tunnelRow) neighbor(index int32, mac evpn.MAC, to destination) kernel.Neighbor {
	return kernel.Neighbor{Family: unix.AF_BRIDGE, Index: index, MAC: mac, Addr: to.ip, Via: to.via, State: r.state, Flags: r.flags}
}

// Find gives the rows that are there, as rtnl_fdb_get and neigh_get do.
func (f *Fake) Find(rows []kernel.Neighbor, yield func(kernel.Neighbor)) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, q := range rows {
		l := f.links[q.Index]
		switch {
		case l == nil:
			return unix.ENODEV
		case q.Family != unix.AF_BRIDGE:
			if n := f.neighbors[q.Index][q.Addr]; n != nil {
				yield(*n)
			}
		case q.Flags == unix.NTF_MASTER && l.Master == 0, q.Flags == unix.NTF_SELF && l.Kind != "vxlan":
			return unix.EINVAL
		case q.Flags == unix.NTF_MASTER:
			if r := f.fdb[l.Master][q.MAC]; r != nil {
				yield(r.neighbor(l.Master, q.MAC))
			}
		default:
			if r := f.tunnels[q.Index][q.MAC]; r != nil {
				yield(r.neighbor(q.Index, q.MAC, r.to[0]))
			}
		}
	}
	return nil
}

// Dump lists the rows of a family.
func (f *Fake) Dump(family uint8, yield func(kernel.Neighbor)) error {
	for _, n := range f.rows(family) {
		yield(n)
	}
	return nil
}

func (f *Fake) rows(family uint8) (out []kernel.Neighbor) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if family != unix.AF_BRIDGE {
		for _, rows := range f.neighbors {
			for _, n := range rows {
				if n.Family == family {
					out = append(out, *n)
				}
			}
		}
		return out
	}
	for bridge, rows := range f.fdb {
		for mac, r := range rows {
			out = append(out, r.neighbor(bridge, mac))
		}
	}
	for index, rows := range f.tunnels {
		for mac, r := range rows {
			for _, to := range r.to {
				out = append(out, r.neighbor(index, mac, to))
			}
		}
	}
	return out
}
