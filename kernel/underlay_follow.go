package kernel

import (
	"context"
	"errors"
	"time"
)

// takeGap is how long changes gather before they are taken. To be woken for each of
// them cost half a core while 40,000 routes a second were added.
const takeGap = wayDebounce / 2

// follow watches the routes and looks the ways to the VTEPs up again until ctx ends
// (nil) or the subscription dies (an error). It has a goroutine and sockets of its
// own: neither a table of rows that is written nor one of routes that changes may
// hold the other up.
func (k *Kernel) follow(ctx context.Context, s *stream[RouteChange], _ string) error {
	u := k.underlay
	u.markAll()
	timer, again := time.NewTimer(0), time.NewTimer(time.Hour)
	defer timer.Stop()
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.dead:
			return errors.New("route subscription closed")
		case <-u.wake:
		case <-timer.C:
		case <-s.arrived:
			if err := u.take(s.sub); err != nil {
				return err
			}
			again.Reset(takeGap)
		case <-again.C:
			s.drained <- struct{}{}
		}
		k.lookUp(ctx)
		timer.Reset(u.untilDue())
	}
}

// lookUp asks the kernel about the ways that are due.
func (k *Kernel) lookUp(ctx context.Context) {
	u := k.underlay
	ways, q := u.takeDirty()
	if len(ways) == 0 {
		return
	}
	began := time.Now()
	for len(ways) > 0 && ctx.Err() == nil {
		n := min(lookupChunk, len(ways))
		q.To = q.To[:0]
		for _, w := range ways[:n] {
			q.To = append(q.To, w.to)
		}
		routes, err := k.b.Routes(q)
		if err != nil {
			k.log.WithError(err).Warn("looking up routes to VTEPs failed")
			u.refused(ways)
			break
		}
		u.learn(ways[:n], routes, time.Now())
		ways = ways[n:]
		signal(k.reportWake)
	}
	u.mu.Lock()
	u.last = time.Now()
	u.cost = u.last.Sub(began)
	u.mu.Unlock()
}
