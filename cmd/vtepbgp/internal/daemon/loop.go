package daemon

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/api"
	"github.com/vtepbgp/vtepbgp/evpn"
)

// Bounds of the loop.
const (
	// queueLimit is the weight (objects) that waits per source before the source
	// must. About 200 octets each: 13 MB at the worst.
	queueLimit = 1 << 16
	// turnWeight and turnTime bound what is handled before the changes go out: a
	// table of 100,000 routes must not hold back the MAC that appears meanwhile.
	turnWeight = 2048
	turnTime   = 2 * time.Millisecond
)

// routeSink takes the routes that we originate.
type routeSink interface {
	Apply(announce []evpn.Route, withdraw []evpn.RouteKey)
}

// rowSink takes the rows that the kernel should hold, and the VTEPs whose ways it
// should follow.
type rowSink interface {
	Apply(changes []evpn.RowChange)
	Track(changes []evpn.NextHopChange)
}

// listSink takes what the flooding module should copy.
type listSink interface {
	Apply(lists []evpn.ListChange, relays []evpn.RelayChange)
}

// observer is told what the loop did, on the loop's goroutine.
type observer interface {
	Notes([]evpn.Note)
	// Turn reports one turn: how long its oldest event had waited when the changes
	// had gone out, how long the turn took, and what it handled.
	Turn(latency, took time.Duration, events []queued, ch evpn.Changes)
}

// tap follows what the core is told and what it answers, on the loop's goroutine. It
// must be quick and never wait.
type tap interface {
	// Told is called before the core takes ev.
	Told(core *evpn.Core, ev evpn.Event, at time.Time)
	// Drained is called with the changes that follow.
	Drained(ch evpn.Changes, at time.Time)
}

// loop owns the core. All fields but the channels belong to its goroutine.
type loop struct {
	core     *evpn.Core
	routes   routeSink
	rows     rowSink
	lists    listSink
	observer observer

	kernel   *queue
	speaker  *queue
	flooding *queue
	calls    chan call
	done     chan struct{} // closed when run has returned

	taps      []tap // nobody listens most of the time
	turn      []queued
	afterTurn func(*evpn.Core) // runs after every turn; may be nil
}

type call struct {
	run  func(*evpn.Core)
	done chan struct{}
}

// barrier is an event of ours: it reaches no core, and its channel is closed when
// everything put into the same queue before it has been handled, handed on and counted.
type barrier struct {
	evpn.Tick // for the unexported method of evpn.Event
	passed    chan struct{}
}

func newLoop(core *evpn.Core, routes routeSink, rows rowSink, lists listSink, o observer) *loop {
	return &loop{
		core: core, routes: routes, rows: rows, lists: lists, observer: o,
		kernel: newQueue(queueLimit), speaker: newQueue(queueLimit), flooding: newQueue(queueLimit),
		calls: make(chan call), done: make(chan struct{}),
	}
}

// run handles events and calls until ctx ends.
func (l *loop) run(ctx context.Context) error {
	defer close(l.done)
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	defer timer.Stop()
	for {
		if wake := l.core.NextWake(); wake.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(time.Until(wake))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-l.kernel.ready:
			l.handle(nil)
		case <-l.speaker.ready:
			l.handle(nil)
		case <-l.flooding.ready:
			l.handle(nil)
		case c := <-l.calls:
			c.run(l.core)
			l.handle(nil)
			close(c.done)
		case <-timer.C:
			l.handle(evpn.Tick{})
		}
	}
}

// handle is one turn: extra (when not nil) and what waits in the queues, within
// bounds and a fair share of each, then out with what follows from it.
func (l *loop) handle(extra evpn.Event) {
	start := time.Now()
	if extra != nil {
		l.tell(extra, start)
	}
	var (
		oldest   = start
		barriers []barrier
		turn     = l.turn[:0]
		weight   = 0
	)
	for weight < turnWeight {
		n := len(turn)
		turn = l.kernel.take(turn, turnWeight/8)
		turn = l.speaker.take(turn, turnWeight/8)
		turn = l.flooding.take(turn, turnWeight/8)
		if len(turn) == n {
			break
		}
		now := time.Now()
		for _, it := range turn[n:] {
			weight += it.weight
			if it.since.Before(oldest) {
				oldest = it.since
			}
			if b, ok := it.event.(barrier); ok {
				barriers = append(barriers, b)
				continue
			}
			l.tell(it.event, now)
		}
		if now.Sub(start) >= turnTime {
			break
		}
	}
	drained := time.Now()
	ch := l.core.Drain(drained)
	for _, t := range l.taps {
		t.Drained(ch, drained)
	}
	if len(ch.Announce) > 0 || len(ch.Withdraw) > 0 {
		l.routes.Apply(ch.Announce, ch.Withdraw)
	}
	if len(ch.NextHops) > 0 {
		l.rows.Track(ch.NextHops)
	}
	if len(ch.Lists) > 0 || len(ch.Relays) > 0 {
		// Before the rows: what the kernel sends to a group is to be heard there.
		l.lists.Apply(ch.Lists, ch.Relays)
	}
	if len(ch.Rows) > 0 {
		l.rows.Apply(ch.Rows)
	}
	if l.observer != nil {
		if len(ch.Notes) > 0 {
			l.observer.Notes(ch.Notes)
		}
		now := time.Now()
		l.observer.Turn(now.Sub(oldest), now.Sub(start), turn, ch)
	}
	if l.afterTurn != nil {
		l.afterTurn(l.core)
	}
	for _, b := range barriers {
		close(b.passed)
	}
	clear(turn) // let go of the routes
	l.turn = turn[:0]
}

// tell hands an event to the core. It is for the loop's goroutine: what is called by
// [loop.do] uses it, too, so that nothing reaches the core unseen.
func (l *loop) tell(ev evpn.Event, now time.Time) {
	for _, t := range l.taps {
		t.Told(l.core, ev, now)
	}
	l.core.Handle(ev, now)
}

// attach adds a tap and gives the function that removes it. start runs on the loop just
// before the first event that the tap sees; it may be nil.
func (l *loop) attach(ctx context.Context, t tap, start func(*evpn.Core)) (detach func(), err error) {
	err = l.do(ctx, func(c *evpn.Core) {
		if start != nil {
			start(c)
		}
		l.taps = append(l.taps, t)
	})
	return func() { l.detach(context.Background(), t) }, err
}

// detach removes a tap.
func (l *loop) detach(ctx context.Context, t tap) {
	// An error is the end of the loop, and of its taps.
	_ = l.do(ctx, func(*evpn.Core) {
		l.taps = slices.DeleteFunc(l.taps, func(o tap) bool { return o == t })
	})
}

// do runs fn on the loop's goroutine and waits until what followed from it has
// been handed on. fn must be short.
func (l *loop) do(ctx context.Context, fn func(*evpn.Core)) error {
	c := call{run: fn, done: make(chan struct{})}
	select {
	case l.calls <- c:
	case <-ctx.Done():
		return ctx.Err()
	case <-l.done:
		return fmt.Errorf("daemon stops: %w", api.ErrNotReady)
	}
	<-c.done // the loop finishes a call that it took
	return nil
}

// settle waits until all that the source of q has put so far is handed on.
func (l *loop) settle(ctx context.Context, q *queue) error {
	b := barrier{passed: make(chan struct{})}
	if !q.put(ctx, b) {
		return ctx.Err()
	}
	select {
	case <-b.passed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-l.done:
		return fmt.Errorf("daemon stops: %w", api.ErrNotReady)
	}
}
