package kerneltest

import (
	"slices"
	"sync"

	"github.com/vtepbgp/vtepbgp/kernel"
)

// fakeSubscription is a bounded queue of events. Like a netlink socket that ran
// over, it drops everything until it is empty again.
type fakeSubscription struct {
	f *Fake

	mu     sync.Mutex
	cond   *sync.Cond
	queue  []kernel.Notification
	limit  int
	lost   bool // to be told
	full   bool // dropping until empty
	closed bool
}

// Subscribe opens a stream of events from now on.
func (f *Fake) Subscribe() (kernel.Subscription, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := &fakeSubscription{f: f, limit: f.buffer}
	s.cond = sync.NewCond(&s.mu)
	f.subs = append(f.subs, s)
	return s, nil
}

func (f *Fake) publish(n kernel.Notification) {
	for _, s := range f.subs {
		s.push(n)
	}
}

func (f *Fake) changed() { f.publish(kernel.Notification{Link: true}) }

func (s *fakeSubscription) push(n kernel.Notification) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.full = s.full || len(s.queue) >= s.limit; s.full {
		s.lost = true
	} else {
		s.queue = append(s.queue, n)
	}
	s.cond.Broadcast()
}

func (s *fakeSubscription) Wait() error {
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

func (s *fakeSubscription) Drain(limit int, yield func(kernel.Notification)) (bool, error) {
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

func (s *fakeSubscription) Close() error {
	s.f.mu.Lock()
	s.f.subs = slices.DeleteFunc(s.f.subs, func(o *fakeSubscription) bool { return o == s })
	s.f.mu.Unlock()
	s.shut()
	return nil
}

func (s *fakeSubscription) shut() {
	s.mu.Lock()
	s.closed = true
	s.cond.Broadcast()
	s.mu.Unlock()
}
