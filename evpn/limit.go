package evpn

import "container/heap"

// Limits. Both kinds work alike: who comes first keeps its place for as long as it
// wants one; when an event leaves places free, those that wait get them in
// canonical order. So which of many candidates are kept depends on which came
// with an earlier event, and on nothing else: order independence is not to be had
// once a limit is reached, or a newcomer would push out what already works.

// minHeap is a heap of candidates for places.
type minHeap[T interface{ before(T) bool }] []T

func (h minHeap[T]) Len() int           { return len(h) }
func (h minHeap[T]) Less(i, j int) bool { return h[i].before(h[j]) }
func (h minHeap[T]) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *minHeap[T]) Push(x any)        { *h = append(*h, x.(T)) }
func (h *minHeap[T]) Pop() any {
	old := *h
	last := old[len(old)-1]
	var zero T
	old[len(old)-1] = zero
	*h = old[:len(old)-1]
	return last
}

// compactWaiting rids h of dead entries once they outnumber what can be alive, so
// that candidates which come and go do not make it grow.
func compactWaiting[T interface {
	comparable
	before(T) bool
}](h minHeap[T], alive int, waits func(T) bool,
) minHeap[T] {
	if len(h) <= 2*alive+64 {
		return h
	}
	seen := make(map[T]struct{}, alive)
	kept := h[:0]
	for _, x := range h {
		if _, dup := seen[x]; !dup && waits(x) {
			seen[x] = struct{}{}
			kept = append(kept, x)
		}
	}
	clear(h[len(kept):])
	heap.Init(&kept)
	return kept
}

// Both are called through the type parameter, which the linter does not see.

//nolint:unused // see above
func (p *path) before(q *path) bool { return p.Key.Compare(q.Key) < 0 }

//nolint:unused // see above
func (m *macEntry) before(o *macEntry) bool { return m.mac.Compare(o.mac) < 0 }

// takePlace reports whether p may be used under its neighbour's limit; when there
// is no place it waits for one.
func (c *Core) takePlace(p *path) bool {
	nb := p.nb
	if nb.limit <= 0 || p.admitted {
		return true
	}
	if !p.waiting {
		p.waiting = true
		nb.waiting = compactWaiting(nb.waiting, len(nb.paths), func(p *path) bool { return p.waiting })
		heap.Push(&nb.waiting, p)
	}
	c.needRefill(nb)
	return false
}

func (c *Core) leavePlace(p *path) {
	if p.waiting {
		p.waiting = false // its entry in the heap is dead now and skipped
		c.needRefill(p.nb)
	}
	if p.admitted {
		p.admitted = false
		p.nb.admitted--
		c.needRefill(p.nb)
	}
}

func (c *Core) needRefill(nb *neighbor) {
	if !nb.refill {
		nb.refill = true
		c.refillNeighbors = append(c.refillNeighbors, nb)
	}
}

func (c *Core) refillNeighbor(nb *neighbor) {
	nb.refill = false
	for len(nb.waiting) > 0 {
		p := nb.waiting[0]
		alive := p.waiting && nb.paths[p.Key] == p
		if alive && nb.admitted >= nb.limit {
			break
		}
		heap.Pop(&nb.waiting)
		if !alive {
			continue
		}
		p.waiting = false
		p.admitted = true
		nb.admitted++
		c.link(p)
	}
	if len(nb.waiting) == 0 {
		nb.limitNoted = false
	} else if !nb.limitNoted {
		nb.limitNoted = true
		c.notes = append(c.notes, Note{Kind: NoteNeighborLimit, Neighbor: nb.addr, Reason: OverNeighborLimit})
	}
}

// limitNeighbor sets a new limit. A higher one lets more in; for any other all
// places are given anew, in canonical order.
func (c *Core) limitNeighbor(nb *neighbor, limit int) {
	was := nb.limit
	if was == limit {
		return
	}
	nb.limit = limit
	c.needRefill(nb)
	if was > 0 && limit > was {
		return
	}
	for _, p := range nb.paths {
		c.unlink(p)
		p.admitted, p.waiting = false, false
	}
	nb.admitted, nb.waiting, nb.limitNoted = 0, nil, false
	for _, p := range nb.paths {
		if p.fault == fit && c.takePlace(p) {
			c.link(p)
		}
	}
}

// admit reports whether a remote m may be installed under the VNI's limit; when
// there is no place it waits for one.
func (c *Core) admit(m *macEntry) bool {
	v := m.vni
	if v.cfg.MaxMACs <= 0 || m.admitted {
		return true
	}
	if !m.waiting {
		m.waiting = true
		v.waiting = compactWaiting(v.waiting, len(v.macs), func(m *macEntry) bool { return m.waiting })
		heap.Push(&v.waiting, m)
	}
	c.needVNIRefill(v)
	return false
}

// dismiss gives m's place back when it no longer needs one.
func (c *Core) dismiss(m *macEntry) {
	if m.waiting || m.admitted {
		c.needVNIRefill(m.vni)
	}
	m.waiting = false
	if m.admitted {
		m.admitted = false
		m.vni.admitted--
	}
}

func (c *Core) needVNIRefill(v *instance) {
	if !v.refill {
		v.refill = true
		c.refillVNIs = append(c.refillVNIs, v)
	}
}

func (c *Core) refillVNI(v *instance) {
	v.refill = false
	for len(v.waiting) > 0 {
		m := v.waiting[0]
		alive := m.waiting && v.macs[m.mac] == m
		if alive && v.admitted >= v.cfg.MaxMACs {
			break
		}
		heap.Pop(&v.waiting)
		if !alive {
			continue
		}
		m.waiting = false
		m.admitted = true
		v.admitted++
		c.settleMAC(m)
	}
	if len(v.waiting) == 0 {
		v.limitNoted = false
	} else if !v.limitNoted {
		v.limitNoted = true
		c.notes = append(c.notes, Note{Kind: NoteMACLimit, VNI: v.vni, Reason: OverMACLimit})
	}
}

// limitVNI takes the new limit of v, in the same way.
func (c *Core) limitVNI(v *instance, was int) {
	c.needVNIRefill(v)
	if was > 0 && v.cfg.MaxMACs > was {
		return
	}
	for _, m := range v.macs {
		m.admitted, m.waiting = false, false
		c.touchMAC(m)
	}
	v.admitted, v.waiting, v.limitNoted = 0, nil, false
}
