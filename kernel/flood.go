package kernel

import (
	"iter"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// floodTo is one destination of the zero-MAC list of a VXLAN device. Linux takes those
// to one address by two links for two (vxlan_fdb_find_rdst, drivers/net/vxlan).
type floodTo struct {
	to  vtep
	via int32 // link that packets leave by; 0 = by route, which is where a VTEP's go
}

func (f floodTo) ip() netip.Addr { return f.to.Value() }

// group says that packets go to a multicast group, and so need a link.
func (f floodTo) group() bool { return f.to != vtep{} && f.ip().IsMulticast() }

// floodEntry is one zero-MAC row.
type floodEntry struct {
	wanted, exists bool
	// lost rows cannot be named any more: their link is gone.
	lost  bool
	flags rowFlags
}

func (e *floodEntry) empty() bool { return !e.wanted && !e.exists && e.flags&flagQueued == 0 }

// towards gives the rows towards an address, those by other links too.
func (in *instance) towards(ip netip.Addr) iter.Seq2[floodTo, floodEntry] {
	return func(yield func(floodTo, floodEntry) bool) {
		if !ip.IsMulticast() {
			to := floodTo{to: makeVTEP(ip)}
			yield(to, in.floods[to])
			return
		}
		for to, e := range in.floods {
			if to.ip() == ip && !yield(to, e) {
				return
			}
		}
	}
}

// wantedFlood is the row that is wanted towards an address, or the one that would be.
func (in *instance) wantedFlood(ip netip.Addr) (floodTo, floodEntry) {
	for to, e := range in.towards(ip) {
		if e.wanted {
			return to, e
		}
	}
	to := floodTo{to: makeVTEP(ip)}
	if ip == in.cfg.Group {
		to.via = in.groupVia
	}
	return to, in.floods[to]
}

func (k *Kernel) intendFlood(in *instance, c evpn.RowChange) {
	to, e := in.wantedFlood(c.IP)
	if n := count(!c.Remove) - count(e.wanted); n != 0 {
		in.wantedFloods += n
		in.needs(to.to, n)
	}
	e.wanted = !c.Remove
	e.flags = setDrop(e.flags, c.Remove)
	k.storeFlood(in, to, e)
}

// moveGroup lets the row towards the group leave by the link that the group's interface
// is now. mu is held.
func (k *Kernel) moveGroup(in *instance) {
	from, e := in.wantedFlood(in.cfg.Group)
	if !in.cfg.Group.IsValid() || !e.wanted || from.via == in.groupVia {
		return
	}
	e.wanted, e.flags = false, setDrop(e.flags, true)
	k.storeFlood(in, from, e)
	to := floodTo{from.to, in.groupVia}
	e = in.floods[to]
	e.wanted, e.flags = true, setDrop(e.flags, false)
	k.storeFlood(in, to, e)
}

func (k *Kernel) observeFlood(in *instance, n Neighbor, gone bool) {
	to := floodTo{makeVTEP(n.Addr), n.Via}
	if to.to == (vtep{}) {
		return
	}
	e := in.floods[to]
	if e.exists == !gone {
		k.stats.Echoes++
	}
	before := e.exists == e.wanted
	e.exists = !gone
	e.flags |= flagSeen
	if before && e.exists != e.wanted {
		e.flags |= flagDisturbed
	}
	k.storeFlood(in, to, e)
}

func (k *Kernel) storeFlood(in *instance, to floodTo, e floodEntry) {
	e.lost = e.lost && e.exists
	k.queueFlood(in, to, &e)
	k.putFlood(in, to, e)
}

func (k *Kernel) putFlood(in *instance, to floodTo, e floodEntry) {
	if e.empty() {
		delete(in.floods, to)
		return
	}
	in.floods[to] = e
}

func (k *Kernel) queueFlood(in *instance, to floodTo, e *floodEntry) {
	if e.flags&flagQueued != 0 || !k.floodDue(in, to, e) {
		return
	}
	e.flags |= flagQueued
	if len(in.floodQueue) == 0 {
		k.pending.floods.push(in)
	}
	in.floodQueue = append(in.floodQueue, to)
	k.pending.floodRows++
}

// floodDue says that there is something to write.
func (k *Kernel) floodDue(in *instance, to floodTo, e *floodEntry) bool {
	switch {
	case e.exists == e.wanted || !in.writable(evpn.FloodRow):
		return false
	case e.wanted:
		// Without a link Linux would send by some route, or by none.
		return !to.group() || to.via != 0
	case to == in.remote:
		return false // the device's own default remote
	case e.lost && in.remote != (floodTo{}):
		// The list would have to be deleted as a whole, and part of it is not ours. The
		// row does nothing: no packet leaves by a link that is gone.
		return false
	default:
		return k.prune || e.flags&flagDrop != 0
	}
}

// writeFloods writes what differs in the list of one VNI: what joins and, right after
// it, what leaves. A list that takes another's place (another mode, another replicator)
// is doubled for the time of a few messages in one send, and never missing.
func (k *Kernel) writeFloods(b *batch, in *instance, now time.Time) {
	keys := in.floodQueue
	in.floodQueue = nil
	k.pending.floodRows -= len(keys)
	var joins, leaves []floodTo
	var lost floodTo
	for _, to := range keys {
		e := in.floods[to]
		e.flags &^= flagQueued
		switch {
		case !k.floodDue(in, to, &e):
			e.flags &^= flagDisturbed
		case !e.wanted && e.lost:
			lost = to
		case !e.wanted:
			leaves = append(leaves, to)
		case k.repair(&e.flags, func() evpn.RowKey { return evpn.RowKey{Kind: evpn.FloodRow, VNI: in.vni, IP: to.ip()} }, now):
			joins = append(joins, to)
		}
		k.putFlood(in, to, e)
	}
	row := Neighbor{Family: unix.AF_BRIDGE, Index: in.device, Flags: unix.NTF_SELF}
	if lost != (floodTo{}) { // first, since it takes the others along
		b.add(write{in: in, effect: deleteFloodList, to: lost.to, via: lost.via}, NeighborOp{Delete, row})
	}
	for _, to := range joins {
		row.Addr, row.Via, row.State = to.ip(), to.via, unix.NUD_NOARP|unix.NUD_PERMANENT
		b.add(write{in: in, effect: setFlood, to: to.to, via: to.via}, NeighborOp{Append, row})
	}
	for _, to := range leaves {
		row.Addr, row.Via, row.State = to.ip(), to.via, 0
		b.add(write{in: in, effect: deleteFlood, to: to.to, via: to.via}, NeighborOp{Delete, row})
	}
}

// wroteFlood takes a write that succeeded into the mirror.
func (k *Kernel) wroteFlood(w write) {
	if w.effect == deleteFloodList {
		for to, e := range w.in.floods {
			e.exists = false
			k.storeFlood(w.in, to, e)
		}
		return
	}
	to := floodTo{w.to, w.via}
	e := w.in.floods[to]
	e.exists = w.effect == setFlood
	k.storeFlood(w.in, to, e)
}

// lostFlood notes that a row cannot be deleted: Linux refuses to look for one by a link
// that is gone (vxlan_fdb_parse).
func (k *Kernel) lostFlood(w write) {
	to := floodTo{w.to, w.via}
	e := w.in.floods[to]
	e.lost = true
	k.storeFlood(w.in, to, e)
}
