package bfd

import (
	"container/heap"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// At the end of the process AdminDown is sent this often, a little apart: there is no time to wait for
// a detection time, and one packet may get lost.
const (
	farewells   = 3
	farewellGap = 10 * time.Millisecond
)

// crowdedPause is how long reading rests when a socket is flooded: a thread with real-time priority must
// not take a whole core for that.
const crowdedPause = time.Millisecond

// loop is the thread: it waits for packets, commands and times, until it is told to quit.
func (w *Watcher) loop() {
	runtime.LockOSThread() // for good: the thread with its priority ends with the goroutine
	w.priority = raisePriority()
	w.log.WithField("priority", w.priority).Debug("bfd thread runs")
	defer close(w.done)
	for !w.quit {
		w.wait()
		w.obey()
		w.turn()
	}
	w.farewell()
	for _, s := range w.discrs {
		w.closeOut(s)
	}
	for _, s := range w.sockets {
		if s != nil {
			unix.Close(s.fd)
		}
	}
}

// wait sleeps until there is something to do.
func (w *Watcher) wait() {
	fds := make([]unix.PollFd, 0, 1+len(w.sockets))
	fds = append(fds, unix.PollFd{Fd: int32(w.wake), Events: unix.POLLIN})
	for _, s := range w.sockets {
		if s != nil {
			fds = append(fds, unix.PollFd{Fd: int32(s.fd), Events: unix.POLLIN})
		}
	}
	limit := time.Hour
	if len(w.due) > 0 {
		limit = max(time.Until(w.due[0].at), 0)
	}
	if w.crowded {
		fds, limit = fds[:1], min(limit, crowdedPause)
	}
	timeout := unix.NsecToTimespec(limit.Nanoseconds())
	_, _ = unix.Ppoll(fds, &timeout, nil) // an error is a reason to look again, as anything else is
	if fds[0].Revents != 0 {
		var b [8]byte
		_, _ = unix.Read(w.wake, b[:])
	}
}

// obey runs the commands that wait.
func (w *Watcher) obey() {
	for {
		select {
		case f := <-w.commands:
			f()
		default:
			return
		}
	}
}

// turn reads what the sockets hold, then does what is due. In this order: if the thread was late, the packets
// that came in the meantime count, and only silence is silence.
func (w *Watcher) turn() {
	now := time.Now()
	w.crowded = false
	for _, s := range w.sockets {
		if s != nil && !w.drain(s, now) {
			w.crowded = true
		}
	}
	for len(w.due) > 0 && !w.due[0].at.After(now) {
		s := w.due[0]
		if !s.leaving.IsZero() && !now.Before(s.leaving) {
			w.forget(s)
			continue
		}
		if s.m.sends() && s.m.next.Before(now) {
			w.latest = max(w.latest, now.Sub(s.m.next))
		}
		before := s.at
		w.follow(s, s.m.Tick(now, w.seen(s, now)), now)
		if s.index >= 0 && s.at.Equal(before) {
			w.due.set(s, now.Add(time.Millisecond)) // reading lags behind: judge later
		}
	}
}

// seen is up to when the packets for s have been read.
func (w *Watcher) seen(s *session, now time.Time) time.Time {
	if in := w.sockets[socketIndex(s.Peer, s.Multihop)]; in != nil {
		return in.seen
	}
	w.listen(s, now)
	return now
}

// farewell tells everybody that we leave on purpose.
func (w *Watcher) farewell() {
	for _, s := range w.discrs {
		w.leave(s, time.Now())
	}
	for range farewells - 1 {
		ts := unix.NsecToTimespec(farewellGap.Nanoseconds())
		_, _ = unix.Ppoll(nil, &ts, nil)
		for _, s := range w.discrs {
			w.send(s, s.m.packet(false))
		}
	}
}

// raisePriority asks for what keeps the thread from waiting behind others. The lowest real-time priority
// is enough: it runs for microseconds at a time. Without the right to (CAP_SYS_NICE) all works, later.
func raisePriority() string {
	// Threads that the runtime starts from this one must not inherit it.
	rt := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: 1, Flags: unix.SCHED_FLAG_RESET_ON_FORK}
	if unix.SchedSetAttr(0, &rt, 0) == nil {
		return "realtime"
	}
	if unix.Setpriority(unix.PRIO_PROCESS, 0, -20) == nil {
		return "high"
	}
	return "normal"
}

// dueHeap orders sessions by their next tick; those that want none are not in it.
type dueHeap []*session

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push is heap.Interface's.
func (h *dueHeap) Push(x any) {
	s := x.(*session)
	s.index = len(*h)
	*h = append(*h, s)
}

// Pop is heap.Interface's.
func (h *dueHeap) Pop() any {
	n := len(*h) - 1
	s := (*h)[n]
	s.index = -1
	(*h)[n] = nil
	*h = (*h)[:n]
	return s
}

// set moves a session to its place; a zero time takes it out.
func (h *dueHeap) set(s *session, at time.Time) {
	s.at = at
	switch {
	case at.IsZero():
		h.remove(s)
	case s.index < 0:
		heap.Push(h, s)
	default:
		heap.Fix(h, s.index)
	}
}

func (h *dueHeap) remove(s *session) {
	if s.index >= 0 {
		heap.Remove(h, s.index)
	}
}
