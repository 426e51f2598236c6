package kernel

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// batchOps bounds one batch; between batches events are taken in.
const batchOps = 2048

var (
	errFight     = errors.New("somebody else keeps changing the row")
	errUncertain = errors.New("the kernel's answer was lost")
)

// effect is what a written op does to the mirror.
type effect uint8

const (
	setMAC effect = iota
	deleteBoth
	deleteSelf
	deleteBridge
	setFlood
	deleteFlood
	deleteFloodList
	setNeighbor
	deleteNeighbor
)

// write is one op of a batch and what it means.
type write struct {
	in     *instance
	effect effect
	shape  rowShape // written by setMAC
	router bool     // written by setNeighbor
	mac    evpn.MAC
	to     vtep
	via    int32 // of a flood row
	ip     netip.Addr
}

func (w write) key() evpn.RowKey {
	switch w.effect {
	case setFlood, deleteFlood, deleteFloodList:
		return evpn.RowKey{Kind: evpn.FloodRow, VNI: w.in.vni, IP: w.to.Value()}
	case setNeighbor, deleteNeighbor:
		return evpn.RowKey{Kind: evpn.NeighborRow, VNI: w.in.vni, IP: w.ip}
	default:
		return evpn.RowKey{Kind: evpn.MACRow, VNI: w.in.vni, MAC: w.mac}
	}
}

// batch is a list of ops under construction.
type batch struct {
	ops    []NeighborOp
	writes []write
}

func (b *batch) add(w write, op NeighborOp) {
	b.ops = append(b.ops, op)
	b.writes = append(b.writes, w)
}

// writeBatch writes what is pending, up to one batch, and reports whether there
// was anything. The events that it causes are taken off sub meanwhile.
func (k *Kernel) writeBatch(sub Subscription[Notification]) bool {
	k.workMu.Lock()
	defer k.workMu.Unlock()
	now := time.Now()
	k.mu.Lock()
	b := k.nextBatch(now)
	k.mu.Unlock()
	if len(b.ops) == 0 {
		return false
	}
	errs := map[int]error{}
	echoes := k.collectEchoes(sub, len(b.ops))
	err := k.b.Write(b.ops, func(i int, err error) { errs[i] = err })
	later := echoes()

	k.mu.Lock()
	defer k.mu.Unlock()
	defer later.replay(k) // after the results, which are older
	k.stats.Batches++
	if err != nil {
		// Which ops were done is unknown; a full read tells.
		k.log.WithError(err).Warn("row batch failed")
		for _, w := range b.writes {
			k.failed(w.key(), errUncertain, now)
		}
		k.wantDump("write", 0)
		return true
	}
	for i, w := range b.writes {
		k.wrote(w, errs[i], now)
	}
	return true
}

// Writing a row takes about as long as reading its two events: large batches do
// both at once. The interval keeps the reader from being woken for every event.
const (
	echoesFrom  = 256 // ops
	echoesEvery = time.Millisecond
)

// collectEchoes reads the events of a large batch while it is written. The function
// that it gives ends this and returns what came.
func (k *Kernel) collectEchoes(sub Subscription[Notification], ops int) func() *backlog {
	b := &backlog{sub: sub, events: k.echoes[:0]}
	if sub == nil || ops < echoesFrom {
		return func() *backlog { return b }
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		t := time.NewTicker(echoesEvery)
		defer t.Stop()
		for {
			select {
			case <-stop:
				return
			case <-t.C:
				b.collect()
			}
		}
	}()
	return func() *backlog {
		close(stop)
		<-stopped
		if cap(b.events) <= 16*batchOps { // a storm's array is not kept
			k.echoes = b.events[:0]
		}
		return b
	}
}

// nextBatch takes keys from the queues in their order and compares each with the
// mirror as it is now. mu is held.
func (k *Kernel) nextBatch(now time.Time) *batch {
	b := &batch{}
	p := &k.pending
	for p.floods.len() > 0 && len(b.ops) < batchOps {
		k.writeFloods(b, p.floods.pop(), now)
	}
	for p.setMACs.len() > 0 && len(b.ops) < batchOps {
		k.writeMAC(b, p.setMACs.pop(), now)
	}
	for p.setNeighbors.len() > 0 && len(b.ops) < batchOps {
		k.writeNeighbor(b, p.setNeighbors.pop(), now)
	}
	for p.deleteNeighbors.len() > 0 && len(b.ops) < batchOps {
		k.writeNeighbor(b, p.deleteNeighbors.pop(), now)
	}
	for p.deleteMACs.len() > 0 && len(b.ops) < batchOps {
		k.writeMAC(b, p.deleteMACs.pop(), now)
	}
	return b
}

// repair counts a row that somebody else changed and says whether to go on.
func (k *Kernel) repair(f *rowFlags, key func() evpn.RowKey, now time.Time) bool {
	if *f&flagDisturbed == 0 {
		return true
	}
	if !k.mayRepair(key(), now) {
		return false
	}
	*f &^= flagDisturbed
	k.stats.Repairs++
	return true
}

func (k *Kernel) writeMAC(b *batch, key macKey, now time.Time) {
	in, mac := key.in, key.mac
	e := in.macs[mac]
	e.flags &^= flagQueued
	switch {
	case e.settled() || !in.writable(evpn.MACRow) || e.flags&flagYield != 0:
		e.flags &^= flagDisturbed
	case !e.wanted():
		if !k.prune && e.flags&flagDrop == 0 {
			break
		}
		k.deleteMACRows(b, in, mac, &e)
	default:
		if !k.repair(&e.flags, func() evpn.RowKey { return evpn.RowKey{Kind: evpn.MACRow, VNI: in.vni, MAC: mac} }, now) {
			break
		}
		shape := e.wantShape()
		row := Neighbor{
			Family: unix.AF_BRIDGE, Index: in.device, MAC: mac, Addr: e.want.Value(),
			Flags: unix.NTF_SELF | unix.NTF_MASTER | unix.NTF_EXT_LEARNED, State: unix.NUD_REACHABLE,
		}
		if shape == shapeSticky {
			row.Flags = unix.NTF_SELF | unix.NTF_MASTER | ntfSticky
			row.State = unix.NUD_REACHABLE | unix.NUD_NOARP
		}
		if e.bridgeShape != shapeNone && e.bridgeShape != shape {
			// The bridge adds marks to a row but never takes one away (br_fdb.c).
			k.deleteRow(b, in, mac, deleteBridge, unix.NTF_MASTER, vtep{})
		}
		if e.selfShape == shapeSticky && shape == shapeLearned || e.selfShape == shapeForeign {
			// An extern_learn row does not take over the marks of one that user space
			// added without (vxlan_fdb_update_existing, drivers/net/vxlan).
			k.deleteRow(b, in, mac, deleteSelf, unix.NTF_SELF, e.have)
		}
		b.add(write{in: in, effect: setMAC, mac: mac, to: e.want, shape: shape}, NeighborOp{Replace, row})
	}
	k.putMAC(in, mac, e)
}

func (k *Kernel) deleteMACRows(b *batch, in *instance, mac evpn.MAC, e *macEntry) {
	bridge, self := ours(e.bridgeShape), ours(e.selfShape)
	switch {
	case bridge && self:
		k.deleteRow(b, in, mac, deleteBoth, unix.NTF_MASTER|unix.NTF_SELF, e.have)
	case bridge:
		k.deleteRow(b, in, mac, deleteBridge, unix.NTF_MASTER, vtep{})
	case self:
		// Alone when the MAC is local by now: a delete of both would stop at the
		// bridge's ENOENT and leave this one behind (rtnl_fdb_del), which sends
		// frames to the old VTEP once the local row has aged out.
		k.deleteRow(b, in, mac, deleteSelf, unix.NTF_SELF, e.have)
	}
}

func (k *Kernel) deleteRow(b *batch, in *instance, mac evpn.MAC, eff effect, flags uint8, to vtep) {
	row := Neighbor{Family: unix.AF_BRIDGE, Index: in.device, MAC: mac, Flags: flags}
	if to != (vtep{}) {
		row.Addr = to.Value()
	}
	b.add(write{in: in, effect: eff, mac: mac, to: to}, NeighborOp{Delete, row})
}

func (k *Kernel) writeNeighbor(b *batch, key neighborKey, now time.Time) {
	in, ip := key.in, key.ip
	e := in.neighbors[ip]
	e.flags &^= flagQueued
	row := Neighbor{Family: unix.AF_INET, Index: in.bridge, Addr: ip}
	if ip.Is6() {
		row.Family = unix.AF_INET6
	}
	switch {
	case e.settled() || !in.writable(evpn.NeighborRow):
		e.flags &^= flagDisturbed
	case !e.wanted():
		if k.prune || e.flags&flagDrop != 0 {
			b.add(write{in: in, effect: deleteNeighbor, ip: ip}, NeighborOp{Delete, row})
		}
	case k.repair(&e.flags, func() evpn.RowKey { return evpn.RowKey{Kind: evpn.NeighborRow, VNI: in.vni, IP: ip} }, now):
		row.MAC, row.State, row.Flags, row.Protocol = e.want, unix.NUD_NOARP, unix.NTF_EXT_LEARNED, Protocol
		if e.wantRouter {
			row.Flags |= unix.NTF_ROUTER
		}
		b.add(write{in: in, effect: setNeighbor, ip: ip, mac: e.want, router: e.wantRouter}, NeighborOp{Replace, row})
	}
	k.putNeighbor(in, ip, e)
}

// wrote takes the result of one op into the mirror. The kernel's events follow
// and have the last word. mu is held.
func (k *Kernel) wrote(w write, err error, now time.Time) {
	del := w.effect != setMAC && w.effect != setFlood && w.effect != setNeighbor
	name := "set"
	if del {
		name = "delete"
	}
	absent := del && (errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH))
	switch {
	case err == nil:
		k.stats.Writes[name].OK++
	case absent, w.effect == setFlood && errors.Is(err, unix.EEXIST):
		k.stats.Writes[name].Already++
	case w.effect == deleteFlood && w.via != 0 && errors.Is(err, unix.EADDRNOTAVAIL):
		k.lostFlood(w)
		return
	default:
		k.stats.Writes[name].Failed++
		k.failed(w.key(), err, now)
		if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) {
			k.wantLinks(linkDebounce) // the device may not be what it was
		}
		return
	}
	if k.failures[w.key()] != nil {
		delete(k.failures, w.key())
		k.wantLinks(linkDebounce) // not all that stood in the way has events of its own
	}
	switch w.effect {
	case setFlood, deleteFlood, deleteFloodList:
		k.wroteFlood(w)
	case setNeighbor, deleteNeighbor:
		k.wroteNeighbor(w)
	default:
		k.wroteMAC(w, absent)
	}
}

func (k *Kernel) wroteMAC(w write, absent bool) {
	e, known := w.in.macs[w.mac]
	if !known {
		e.flags |= flagDrop // withdrawn while the write was on its way
	}
	switch w.effect {
	case setMAC:
		e.have, e.selfShape, e.bridgeShape = w.to, w.shape, w.shape
	case deleteBoth:
		e.bridgeShape = shapeNone
		if !absent { // else the kernel did not come to the second row
			e.have, e.selfShape = vtep{}, shapeNone
		}
	case deleteSelf:
		e.have, e.selfShape = vtep{}, shapeNone
	case deleteBridge:
		e.bridgeShape = shapeNone
	default: // not a MAC's
	}
	k.queueMAC(w.in, w.mac, &e)
	k.putMAC(w.in, w.mac, e)
}

func (k *Kernel) wroteNeighbor(w write) {
	e, known := w.in.neighbors[w.ip]
	if !known {
		e.flags |= flagDrop
	}
	e.shape, e.have, e.haveRouter = neighborNone, evpn.MAC{}, false
	if w.effect == setNeighbor {
		e.shape, e.have, e.haveRouter = neighborOurs, w.mac, w.router
	}
	k.storeNeighbor(w.in, w.ip, e)
}

// Flush removes all rows and addresses that are ours and forgets all intent.
// It works whether or not Run does.
func (k *Kernel) Flush(ctx context.Context) error {
	k.mu.Lock()
	k.prune = true
	for _, in := range k.instances {
		k.forget(in)
		k.queueAll(in)
	}
	k.mu.Unlock()
	for ctx.Err() == nil && k.writeBatch(nil) {
	}
	k.deviceMu.Lock()
	dropped := k.dropAddresses()
	k.deviceMu.Unlock()
	k.mu.Lock()
	defer k.mu.Unlock()
	errs := []error{dropped}
	for key, f := range k.failures {
		if len(errs) < 10 {
			errs = append(errs, rowError(key, f.err))
		}
	}
	return errors.Join(append(errs, ctx.Err())...)
}

// forget drops all intent of a VNI. mu is held.
func (k *Kernel) forget(in *instance) {
	for to, e := range in.floods {
		e.wanted, e.flags = false, setDrop(e.flags, true)
		in.floods[to] = e
	}
	for mac, e := range in.macs {
		e.want, e.flags = vtep{}, setDrop(e.flags, true)&^flagYield
		in.macs[mac] = e
	}
	for ip, e := range in.neighbors {
		e.want, e.flags = evpn.MAC{}, setDrop(e.flags, true)
		in.neighbors[ip] = e
	}
	in.wantedFloods, in.wantedMACs, in.wantedNeighbors = 0, 0, 0
	clear(in.ways)
}
