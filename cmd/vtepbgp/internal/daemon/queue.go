package daemon

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// queue holds events between one source and the loop. It is bounded by weight (an
// event weighs as many objects as it speaks of); put waits while it is full. An
// event about a single local object replaces an older one about the same object
// that still waits: only the newest fact matters.
type queue struct {
	limit int
	ready chan struct{} // one token while there may be something to take

	mu     sync.Mutex
	space  chan struct{} // closed and renewed when room appears; nil when nobody waits
	items  []queued
	head   int    // first item not taken
	first  uint64 // sequence number of items[0]
	index  map[object]uint64
	weight int
	merged uint64 // events that replaced another
	waits  uint64 // times a source had to wait
}

type queued struct {
	event  evpn.Event
	key    object // zero when the event may not be replaced
	weight int
	since  time.Time
}

// object names what an event speaks of.
type object struct {
	kind uint8
	vni  evpn.VNI
	mac  evpn.MAC
	ip   netip.Addr
}

const (
	objectVNI = iota + 1
	objectMAC
	objectIP
	objectNextHop
	objectHeardVTEP
	objectHeardMAC
)

// objectOf gives the key under which newer events replace older ones. Events of
// the speaker have none: their order per neighbour carries meaning.
func objectOf(ev evpn.Event) object {
	switch ev := ev.(type) {
	case evpn.VNIState:
		return object{kind: objectVNI, vni: ev.VNI}
	case evpn.LocalMACLearned:
		return object{kind: objectMAC, vni: ev.VNI, mac: ev.MAC}
	case evpn.LocalMACGone:
		return object{kind: objectMAC, vni: ev.VNI, mac: ev.MAC}
	case evpn.LocalIPLearned:
		return object{kind: objectIP, vni: ev.VNI, mac: ev.MAC, ip: ev.IP}
	case evpn.LocalIPGone:
		return object{kind: objectIP, vni: ev.VNI, mac: ev.MAC, ip: ev.IP}
	case evpn.NextHopState:
		return object{kind: objectNextHop, ip: ev.VTEP}
	case evpn.VTEPHeard:
		return object{kind: objectHeardVTEP, vni: ev.VNI, ip: ev.VTEP}
	case evpn.VTEPSilent:
		return object{kind: objectHeardVTEP, vni: ev.VNI, ip: ev.VTEP}
	case evpn.MACHeard:
		return object{kind: objectHeardMAC, vni: ev.VNI, mac: ev.MAC}
	case evpn.MACSilent:
		return object{kind: objectHeardMAC, vni: ev.VNI, mac: ev.MAC}
	default:
		return object{}
	}
}

func weightOf(ev evpn.Event) int {
	if r, ok := ev.(evpn.RoutesReceived); ok {
		return max(1, len(r.Announced)+len(r.Withdrawn))
	}
	return 1
}

func newQueue(limit int) *queue {
	return &queue{limit: limit, ready: make(chan struct{}, 1), index: map[object]uint64{}}
}

// put adds ev, waiting for room until ctx ends. One event is taken however heavy
// it is when the queue is empty. It reports whether ev was added.
func (q *queue) put(ctx context.Context, ev evpn.Event) bool {
	key, weight := objectOf(ev), weightOf(ev)
	q.mu.Lock()
	for waited := false; ; waited = true {
		if key != (object{}) {
			if seq, ok := q.index[key]; ok {
				q.items[seq-q.first].event = ev
				q.merged++
				q.mu.Unlock()
				return true
			}
		}
		if q.weight == 0 || q.weight+weight <= q.limit {
			break
		}
		if !waited {
			q.waits++
		}
		if q.space == nil {
			q.space = make(chan struct{})
		}
		space := q.space
		q.mu.Unlock()
		select {
		case <-space:
		case <-ctx.Done():
			return false
		}
		q.mu.Lock()
	}
	if key != (object{}) {
		q.index[key] = q.first + uint64(len(q.items))
	}
	q.items = append(q.items, queued{event: ev, key: key, weight: weight, since: time.Now()})
	q.weight += weight
	q.mu.Unlock()
	select {
	case q.ready <- struct{}{}:
	default:
	}
	return true
}

// take appends to dst the oldest events up to a total weight, at least one when
// there is any. When it leaves some behind, ready is signalled again.
func (q *queue) take(dst []queued, weight int) []queued {
	q.mu.Lock()
	for q.head < len(q.items) && weight > 0 {
		it := q.items[q.head]
		if it.key != (object{}) {
			delete(q.index, it.key)
		}
		q.items[q.head] = queued{} // the array must not keep routes alive
		q.head++
		q.weight -= it.weight
		weight -= it.weight
		dst = append(dst, it)
	}
	switch {
	case q.head == len(q.items):
		q.first += uint64(q.head)
		q.items, q.head = q.items[:0], 0
		if cap(q.items) > keepCapacity {
			q.items = nil // a burst's array is not kept
		}
	case q.head > len(q.items)/2 && q.head > keepCapacity:
		q.first += uint64(q.head)
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	more := len(q.items) > q.head
	if q.space != nil && q.weight < q.limit {
		close(q.space)
		q.space = nil
	}
	q.mu.Unlock()
	if more {
		select {
		case q.ready <- struct{}{}:
		default:
		}
	}
	return dst
}

const keepCapacity = 4096

// queueStats is what the metrics show of a queue.
type queueStats struct {
	weight, limit int
	merged, waits uint64
}

func (q *queue) stats() queueStats {
	q.mu.Lock()
	defer q.mu.Unlock()
	return queueStats{weight: q.weight, limit: q.limit, merged: q.merged, waits: q.waits}
}
