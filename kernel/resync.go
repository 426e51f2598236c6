package kernel

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// resync reads all rows again and corrects the mirror. Events that arrived before
// are taken in first, those that arrive meanwhile after: the last event of a row
// is always newer than, or equal to, what the dump says of it.
func (k *Kernel) resync(sub Subscription[Notification]) error {
	if err := k.drain(sub); err != nil {
		return err
	}
	k.workMu.Lock()
	defer k.workMu.Unlock()
	k.deviceMu.Lock()
	defer k.deviceMu.Unlock()

	k.mu.Lock()
	why, asked := k.due.why, k.due.asked
	k.due.why, k.due.dump, k.due.asked = "", time.Time{}, nil
	repairs := k.disturbed()
	k.eachFlags(func(f *rowFlags) { *f &^= flagSeen | flagSeenPort })
	k.mu.Unlock()

	began := time.Now()
	later := backlog{sub: sub}
	for _, family := range []uint8{unix.AF_BRIDGE, unix.AF_INET, unix.AF_INET6} {
		if err := k.dump(family, &later); err != nil {
			k.log.WithError(err).Warn("reading rows failed")
			k.mu.Lock()
			k.due.lastDump = time.Now()
			k.wantDump(why, max(dumpGapFirst, k.due.dumpBackoff))
			k.due.asked = append(k.due.asked, asked...)
			later.replay(k)
			k.mu.Unlock()
			return later.err
		}
	}

	k.mu.Lock()
	defer k.mu.Unlock()
	for _, in := range k.instances {
		k.sweep(in)
	}
	k.stats.Resyncs[why]++
	if why == "periodic" {
		k.wantLinks(0)       // not every setting of a link has an event
		k.underlay.markAll() // and so does what the kernel learns of path MTUs
	}
	if why != "start" && why != "config" {
		k.stats.ResyncChanges += uint64(max(0, k.disturbed()-repairs))
	}
	k.due.lastDump = time.Now()
	k.due.dumpBackoff = min(max(dumpGapFirst, 2*k.due.dumpBackoff), dumpGapMost)
	if k.resyncEvery > 0 && k.due.dump.IsZero() {
		k.wantDump("periodic", max(k.resyncEvery, resyncShare*time.Since(began)))
	}
	later.replay(k)
	k.reports.complete = k.reports.complete || k.ready
	for _, c := range asked {
		close(c)
	}
	return later.err
}

// backlog holds the events that arrive while a dump runs: the dump may still show
// the state before them. Taking them off the socket keeps it from running over.
type backlog struct {
	sub    Subscription[Notification]
	events []Notification
	lost   bool
	err    error // the subscription is dead
}

// backlogMost bounds the memory of a backlog; past it the socket has to hold the rest.
const backlogMost = 1 << 20

func (b *backlog) collect() {
	for b.err == nil && len(b.events) < backlogMost {
		more, err := b.sub.Drain(2048, func(n Notification) { b.events = append(b.events, n) })
		if errors.Is(err, ErrLost) {
			b.lost = true
		} else {
			b.err = err
		}
		if !more {
			return
		}
	}
}

// replay takes the events in after the dump. mu is held.
func (b *backlog) replay(k *Kernel) {
	for _, n := range b.events {
		k.notice(n)
	}
	if b.lost {
		k.lostEvents()
	}
}

// dump reads one family in chunks, so that the lock is held shortly.
func (k *Kernel) dump(family uint8, later *backlog) error {
	const chunk = 512
	rows := make([]Neighbor, 0, chunk)
	flush := func() {
		k.mu.Lock()
		for _, n := range rows {
			k.observe(n, false)
		}
		k.mu.Unlock()
		rows = rows[:0]
		later.collect()
	}
	err := k.b.Dump(family, func(n Neighbor) {
		if rows = append(rows, n); len(rows) == chunk {
			flush()
		}
	})
	flush()
	return err
}

// sweep takes out of the mirror what the dump did not show. mu is held.
func (k *Kernel) sweep(in *instance) {
	for to, e := range in.floods {
		if e.exists && e.flags&flagSeen == 0 {
			e.exists = false
			if e.wanted {
				e.flags |= flagDisturbed
			}
			k.storeFlood(in, to, e)
		}
	}
	for mac, e := range in.macs {
		before, changed := e.settled(), false
		if e.selfShape != shapeNone && e.flags&flagSeen == 0 {
			e.have, e.selfShape, changed = vtep{}, shapeNone, true
		}
		if e.flags&flagSeenPort == 0 {
			if e.bridgeShape != shapeNone {
				e.bridgeShape, changed = shapeNone, true
			}
			if e.port != 0 {
				e.port, e.localSticky, changed = 0, false, true
				e.flags &^= flagYield
				k.holdBack(in, mac, &e)
			}
		}
		if changed {
			k.storeMAC(in, mac, e, before)
		}
	}
	for ip, e := range in.neighbors {
		if e.shape != neighborNone && e.flags&flagSeen == 0 {
			if e.settled() && e.wanted() {
				e.flags |= flagDisturbed
			}
			e.shape, e.have, e.haveRouter = neighborNone, evpn.MAC{}, false
			k.storeNeighbor(in, ip, e)
		}
	}
}

// eachFlags calls f with the flags of every entry and keeps what it changes.
func (k *Kernel) eachFlags(f func(*rowFlags)) {
	for _, in := range k.instances {
		for to, e := range in.floods {
			f(&e.flags)
			in.floods[to] = e
		}
		for mac, e := range in.macs {
			f(&e.flags)
			in.macs[mac] = e
		}
		for ip, e := range in.neighbors {
			f(&e.flags)
			in.neighbors[ip] = e
		}
	}
}

// disturbed counts the rows that somebody else changed and that are not put back yet.
func (k *Kernel) disturbed() (n int) {
	k.eachFlags(func(f *rowFlags) { n += count(*f&flagDisturbed != 0) })
	return n
}
