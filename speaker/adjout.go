package speaker

import (
	"sync"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// adjOut is the table of our own routes, one for all sessions. Its nodes form a list
// in the order of their last change; each session has a cursor in that list,
// and everything behind the cursor is what the session has yet to send. A route that changes again
// moves to the end: a slow peer therefore costs no memory beyond the table, and gets each key's latest state once.
//
// A withdrawn route stays in the list as a tombstone until all cursors have passed it.
type adjOut struct {
	mu      sync.Mutex
	nodes   map[evpn.RouteKey]*adjNode
	root    adjNode // sentinel of the ring: root.next is the oldest change
	changes uint64  // number of the last change
	dead    int     // tombstones
	cursors map[*adjCursor]struct{}
}

type adjNode struct {
	prev, next *adjNode
	route      evpn.Route
	change     uint64
	dead       bool
	cursor     bool
}

// adjCursor is one session's place in the table.
type adjCursor struct {
	out   *adjOut
	at    adjNode // in the list, in front of what is to be sent
	since uint64  // the table's last change when the session began: older tombstones were never announced in it
	wake  chan struct{}
}

func newAdjOut() *adjOut {
	a := &adjOut{nodes: map[evpn.RouteKey]*adjNode{}, cursors: map[*adjCursor]struct{}{}}
	a.root.prev, a.root.next = &a.root, &a.root
	return a
}

func (n *adjNode) unlink() {
	n.prev.next, n.next.prev = n.next, n.prev
	n.prev, n.next = nil, nil
}

func (n *adjNode) insertAfter(p *adjNode) {
	n.prev, n.next = p, p.next
	p.next.prev, p.next = n, n
}

// apply changes the table and wakes the sessions.
func (a *adjOut) apply(announce []evpn.Route, withdraw []evpn.RouteKey) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, k := range withdraw {
		if n := a.nodes[k]; n != nil && !n.dead {
			n.dead, n.route.Attrs = true, nil
			a.dead++
			a.touch(n)
		}
	}
	for _, r := range announce {
		n := a.nodes[r.Key]
		if n == nil {
			n = &adjNode{}
			a.nodes[r.Key] = n
		} else if n.dead {
			n.dead = false
			a.dead--
		}
		n.route = r
		a.touch(n)
	}
	a.collect()
	for c := range a.cursors {
		select {
		case c.wake <- struct{}{}:
		default:
		}
	}
}

func (a *adjOut) touch(n *adjNode) {
	a.changes++
	n.change = a.changes
	if n.prev != nil {
		n.unlink()
	}
	n.insertAfter(a.root.prev)
}

// collect removes tombstones that every cursor has passed, when they are many enough
// to be worth a walk.
func (a *adjOut) collect() {
	if a.dead < 1024 || a.dead < len(a.nodes)/4 {
		return
	}
	for n := a.root.next; n != &a.root && !n.cursor; {
		next := n.next
		if n.dead {
			n.unlink()
			delete(a.nodes, n.route.Key)
			a.dead--
		}
		n = next
	}
}

func (a *adjOut) len() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.nodes) - a.dead
}

// open gives a cursor in front of the whole table.
func (a *adjOut) open() *adjCursor {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := &adjCursor{out: a, since: a.changes, wake: make(chan struct{}, 1)}
	c.at.cursor = true
	c.at.insertAfter(&a.root)
	a.cursors[c] = struct{}{}
	return c
}

func (c *adjCursor) close() {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	delete(c.out.cursors, c)
	c.at.unlink()
	c.out.collect()
}

// rewind goes back to the start: everything is sent again.
func (c *adjCursor) rewind() {
	c.out.mu.Lock()
	c.at.unlink()
	c.at.insertAfter(&c.out.root)
	c.out.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// next appends up to max changes to announce and withdraw, and passes them. more is
// false when the cursor is at the end.
func (c *adjCursor) next(announce []evpn.Route, withdraw []evpn.RouteKey, limit int) (_ []evpn.Route, _ []evpn.RouteKey, more bool) {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	n := c.at.next
	for ; n != &c.out.root && len(announce)+len(withdraw) < limit; n = n.next {
		switch {
		case n.cursor:
		case !n.dead:
			announce = append(announce, n.route)
		case n.change > c.since:
			withdraw = append(withdraw, n.route.Key)
		}
	}
	more = n != &c.out.root
	c.at.unlink()
	c.at.insertAfter(n.prev)
	return announce, withdraw, more
}
