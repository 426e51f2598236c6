package kerneltest

import (
	"slices"
	"sync"

	"github.com/vtepbgp/vtepbgp/kernel"
)

// fakeSubscription is a bounded queue of events. Like a netlink socket that ran
// over, it drops everything until it is empty again.
type fakeSubscription[T any] struct {
	leave func(*fakeSubscription[T])

	mu     sync.Mutex
	cond   *sync.Cond
	queue  []T
	limit  int
	lost   bool // to be told
	full   bool // dropping until empty
	closed bool
}

// Subscribe opens a stream of events from now on.
func (f *Fake) Subscribe() (kernel.Subscription[kernel.Notification], error) {
	return join(f, &f.subs), nil
}

// SubscribeRoutes opens a stream of changes of routes from now on.
func (f *Fake) SubscribeRoutes() (kernel.Subscription[kernel.RouteChange], error) {
	return join(f, &f.routeSubs), nil
}

// join adds a subscription to list.
func join[T any](f *Fake, list *[]*fakeSubscription[T]) *fakeSubscription[T] {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := &fakeSubscription[T]{limit: f.buffer}
	s.cond = sync.NewCond(&s.mu)
	s.leave = func(s *fakeSubscription[T]) {
		f.mu.Lock()
		defer f.mu.Unlock()
		*list = slices.DeleteFunc(*list, func(o *fakeSubscription[T]) bool { return o == s })
	}
	*list = append(*list, s)
	return s
}

func (f *Fake) publish(n kernel.Notification) {
	for _, s := range f.subs {
		s.push(n)
	}
}

func (f *Fake) publishRoute(c kernel.RouteChange) {
	for _, s := range f.routeSubs {
		s.push(c)
	}
}

func (f *Fake) changed() { f.publish(kernel.Notification{Link: true}) }

func (s *fakeSubscription[T]) push(n T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.full = s.full || len(s.queue) >= s.limit; s.full {
		s.lost = true
	} else {
		s.queue = append(s.queue, n)
	}
	s.cond.Broadcast()
}

func (s *fakeSubscription[T]) Wait() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.queue) == 0 && !s.lost && !s.closed {
		s.cond.Wait()
	}
	if s.closed {
		return errClosed
	}
	return nil
}

func (s *fakeSubscription[T]) Drain(limit int, yield func(T)) (bool, error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return false, errClosed
	}
	n := min(limit, len(s.queue))
	taken := slices.Clone(s.queue[:n])
	s.queue = s.queue[n:]
	more := len(s.queue) > 0
	var err error
	if s.lost {
		s.lost, err = false, kernel.ErrLost
	}
	if !more {
		s.queue, s.full = nil, false
	}
	s.mu.Unlock()
	for _, e := range taken {
		yield(e)
	}
	return more, err
}

func (s *fakeSubscription[T]) Close() error {
	s.leave(s)
	s.shut()
	return nil
}

func (s *fakeSubscription[T]) shut() {
	s.mu.Lock()
	s.closed = true
	s.cond.Broadcast()
	s.mu.Unlock()
}
