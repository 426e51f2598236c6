package kernel

import (
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/kernel/snoop"
)

// observe brings the mirror up to date with one row, from a dump or an event.
// mu is held.
func (k *Kernel) observe(n Neighbor, gone bool) {
	if n.Family != unix.AF_BRIDGE {
		if in := k.byBridge[n.Index]; in != nil {
			k.observeNeighbor(in, n, gone)
		}
		return
	}
	in := k.byDevice[n.Index]
	switch {
	case in != nil && n.Master == 0 && n.MAC.IsZero():
		k.observeFlood(in, n, gone)
	case in != nil && n.Master == 0:
		k.observeSelf(in, n, gone)
	case in != nil:
		k.observeBridge(in, n, gone)
	case n.Master != 0:
		if in = k.byBridge[n.Master]; in != nil {
			k.observeLocal(in, n, gone)
		}
	}
}

// pinned are the states of rows that an operator made to stay.
const pinned = unix.NUD_PERMANENT | unix.NUD_NOARP

func shapeOf(n Neighbor) rowShape {
	switch {
	case n.State&unix.NUD_PERMANENT != 0:
		return shapeForeign
	case n.Flags&ntfSticky != 0 && n.Flags&unix.NTF_EXT_LEARNED == 0 && n.State&unix.NUD_NOARP != 0:
		return shapeSticky
	case n.Flags&unix.NTF_EXT_LEARNED != 0 && n.Flags&ntfSticky == 0 && n.State&unix.NUD_NOARP == 0:
		return shapeLearned
	default:
		return shapeForeign
	}
}

// observeSelf takes a row of the VXLAN device's own table.
func (k *Kernel) observeSelf(in *instance, n Neighbor, gone bool) {
	e := in.macs[n.MAC]
	before := e.settled()
	to, shape := makeVTEP(n.Addr), shapeOf(n)
	switch {
	case gone && e.have == to:
		e.have, e.selfShape = vtep{}, shapeNone
	case gone:
		return // replaced since: a unicast MAC has one destination (vxlan_fdb_update_existing)
	default:
		if e.have == to && e.selfShape == shape {
			k.stats.Echoes++
		}
		if shape == shapeForeign && !e.wanted() && n.State&pinned == 0 {
			to, shape = vtep{}, shapeNone // learned by the data path: not worth an entry
		}
		e.have, e.selfShape = to, shape
		e.flags |= flagSeen
	}
	k.storeMAC(in, n.MAC, e, before)
}

// observeBridge takes a row of the bridge that points to the VXLAN port.
func (k *Kernel) observeBridge(in *instance, n Neighbor, gone bool) {
	e := in.macs[n.MAC]
	before := e.settled()
	if gone {
		e.bridgeShape = shapeNone
	} else {
		shape := shapeOf(n)
		if e.bridgeShape == shape {
			k.stats.Echoes++
		}
		if shape == shapeForeign && !e.wanted() && n.State&pinned == 0 {
			shape = shapeNone
		}
		e.bridgeShape = shape
		e.port = 0 // the row is the bridge's only one of this MAC
		e.flags = e.flags&^(flagYield|flagHeld|flagAgain) | flagSeenPort
	}
	k.storeMAC(in, n.MAC, e, before)
}

// observeLocal takes a row of the bridge that points to another port.
func (k *Kernel) observeLocal(in *instance, n Neighbor, gone bool) {
	if n.Index == n.Master || n.MAC.IsZero() || n.MAC.IsGroup() {
		return
	}
	e := in.macs[n.MAC]
	before := e.settled()
	// A MAC of ours that an operator moved by hand keeps the mark of the remote row
	// (fdb_add_entry, net/bridge/br_fdb.c): it is local all the same.
	moved := e.wanted() || e.bridgeShape != shapeNone || e.port != 0
	local := n.State&unix.NUD_PERMANENT == 0 && (n.Flags&unix.NTF_EXT_LEARNED == 0 || moved)
	switch {
	case gone || !local:
		if e.port != n.Index {
			return
		}
		e.port, e.localSticky = 0, false
		e.flags &^= flagYield | flagAgain
		if gone {
			k.holdBack(in, n.MAC, &e)
		}
	default:
		if _, known := k.ports[n.Index]; !known {
			k.wantLinks(linkDebounce) // a port that has just joined
		}
		e.localSticky = n.Flags&ntfSticky != 0
		if e.port == 0 && e.wanted() {
			e.flags |= flagYield
			if e.reported != 0 {
				// The core let go of it for the row that is wanted, so that this is a new claim to it,
				// even where nobody came to tell what was between.
				e.flags |= flagAgain
			}
		}
		e.port = n.Index
		e.bridgeShape = shapeNone
		e.flags |= flagSeenPort
	}
	k.storeMAC(in, n.MAC, e, before)
}

// storeMAC keeps the changed entry and queues what follows from the change.
func (k *Kernel) storeMAC(in *instance, mac evpn.MAC, e macEntry, before bool) {
	after := e.settled()
	if before && !after && e.wanted() && e.flags&flagYield == 0 {
		e.flags |= flagDisturbed
	}
	learned := e.port != 0 && e.port != in.macs[mac].port
	if learned {
		e.flags &^= flagHeld
	}
	k.queueMAC(in, mac, &e)
	if e.news() && e.flags&(flagReport|flagHeld) == 0 {
		e.flags |= flagReport
		k.reports.macs.push(macKey{in, mac})
	}
	k.putMAC(in, mac, e)
	if learned {
		k.bindings.Learned(in.vni, mac, e.port, time.Now())
		k.takeEffects()
	}
}

func (k *Kernel) putMAC(in *instance, mac evpn.MAC, e macEntry) {
	if e.empty() {
		delete(in.macs, mac)
		return
	}
	in.macs[mac] = e
}

// queueMAC puts the MAC on a write queue when something is to be written.
func (k *Kernel) queueMAC(in *instance, mac evpn.MAC, e *macEntry) {
	if e.flags&flagQueued != 0 || e.settled() || !in.writable(evpn.MACRow) {
		return
	}
	switch {
	case e.wanted():
		if e.flags&flagYield != 0 {
			// The bridge row is a local port's now; the core will speak.
			return
		}
		k.pending.setMACs.push(macKey{in, mac})
	case k.prune || e.flags&flagDrop != 0:
		k.pending.deleteMACs.push(macKey{in, mac})
	default:
		return
	}
	e.flags |= flagQueued
}

func (k *Kernel) observeNeighbor(in *instance, n Neighbor, gone bool) {
	if !n.Addr.IsValid() || n.Addr.IsMulticast() || n.Addr.IsUnspecified() {
		return
	}
	e := in.neighbors[n.Addr]
	before := e.settled()
	shape, mac, router := neighborShapeOf(n), n.MAC, n.Flags&unix.NTF_ROUTER != 0
	if gone {
		shape = neighborNone
	}
	if shape == neighborLocal && !snoop.HostIP(n.Addr) {
		shape = neighborForeign
	}
	if shape == neighborNone || shape == neighborForeign {
		mac, router = evpn.MAC{}, false
	}
	said := shape == neighborLocal && mac != e.have
	if e.shape == shape && e.have == mac {
		k.stats.Echoes++
	}
	e.shape, e.have, e.haveRouter = shape, mac, router
	e.flags |= flagSeen
	if before && !e.settled() && e.wanted() {
		e.flags |= flagDisturbed
	}
	if said {
		e.flags &^= flagRefuted
	}
	k.storeNeighbor(in, n.Addr, e)
	if b, ok := k.bindings.Lookup(in.vni, n.Addr); ok && said && b.MAC != mac {
		k.bindings.Drop(in.vni, n.Addr) // the kernel's is news
		k.takeEffects()
	}
}

const neighborValid = unix.NUD_REACHABLE | unix.NUD_STALE | unix.NUD_DELAY | unix.NUD_PROBE | unix.NUD_PERMANENT

func neighborShapeOf(n Neighbor) neighborShape {
	switch {
	case n.State&(unix.NUD_FAILED|unix.NUD_INCOMPLETE) != 0 || n.State == 0 || n.MAC.IsZero():
		return neighborNone
	case n.Protocol == Protocol && n.Flags&unix.NTF_EXT_LEARNED != 0 && n.State&unix.NUD_NOARP != 0:
		return neighborOurs
	case n.Flags&unix.NTF_EXT_LEARNED != 0 || n.State&neighborValid == 0:
		return neighborForeign // another control plane's, or the kernel's own (broadcast)
	default:
		return neighborLocal
	}
}

func (k *Kernel) storeNeighbor(in *instance, ip netip.Addr, e neighborEntry) {
	k.queueNeighbor(in, ip, &e)
	if b := k.localBinding(in, ip, &e); (b.MAC != e.reported || b.Router != e.reportedRouter) && e.flags&flagReport == 0 {
		e.flags |= flagReport
		k.reports.ips.push(neighborKey{in, ip})
	}
	k.putNeighbor(in, ip, e)
}

func (k *Kernel) putNeighbor(in *instance, ip netip.Addr, e neighborEntry) {
	if e.empty() {
		delete(in.neighbors, ip)
		return
	}
	in.neighbors[ip] = e
}

// localBinding is the local host that has ip; a zero MAC when none. Two sources say
// so, each alone is enough, and the later one is right when they differ.
func (k *Kernel) localBinding(in *instance, ip netip.Addr, e *neighborEntry) snoop.Binding {
	// A row of ours is never resolved anew (NUD_NOARP), so that another one in its
	// place is damage and no news.
	kernels := e.shape == neighborLocal && !e.wanted() && e.flags&flagRefuted == 0
	heard, ok := k.bindings.Lookup(in.vni, ip)
	switch {
	case ok:
		heard.Router = heard.Router || (kernels && e.have == heard.MAC && e.haveRouter)
		return heard
	case kernels:
		return snoop.Binding{MAC: e.have, Router: e.haveRouter, Source: sourceKernel}
	default:
		return snoop.Binding{}
	}
}

func (k *Kernel) queueNeighbor(in *instance, ip netip.Addr, e *neighborEntry) {
	if e.flags&flagQueued != 0 || e.settled() || !in.writable(evpn.NeighborRow) {
		return
	}
	switch {
	case e.wanted():
		k.pending.setNeighbors.push(neighborKey{in, ip})
	case k.prune || e.flags&flagDrop != 0:
		k.pending.deleteNeighbors.push(neighborKey{in, ip})
	default:
		return
	}
	e.flags |= flagQueued
}
