package loss

import (
	"errors"
	"net"
	"sync"
	"time"
)

// Result is what one stream of numbered packets suffered.
type Result struct {
	Sent, Lost, Duplicated, Reordered int
	// Gaps counts the runs of lost packets.
	Gaps int
	// Outage is the longest time without a packet that arrived, as the sender saw it: from the last one
	// before a gap to the first one behind it. 0 when nothing was lost.
	Outage time.Duration
	// Until is when it ended, since counting began.
	Until time.Duration
	// Delay is the longest that a packet took, for a ping there and back.
	Delay time.Duration
}

// endpoint sends numbered packets and receives them, or their answers.
type endpoint interface {
	send(seq uint32) error
	// receive waits for the next packet; ok is false for one that is none of ours.
	receive() (seq uint32, ok bool, err error)
	close()
}

// stream sends at an interval from its start to its end.
type stream struct {
	ends  endpoint
	every time.Duration
	quit  chan struct{}

	sending, receiving sync.WaitGroup

	mu      sync.Mutex
	packets []packet // by number
	first   int      // that counts
	highest int
	reorder int
}

type packet struct {
	sent, delay time.Duration // since the stream's start
	arrived     int           // how often
}

// lastWait is how long the last packets may still be on their way.
const lastWait = time.Second

func startStream(ends endpoint, every time.Duration) *stream {
	s := &stream{ends: ends, every: every, quit: make(chan struct{}), highest: -1}
	start := time.Now()
	s.sending.Go(func() { s.sendAll(start) })
	s.receiving.Go(func() { s.receiveAll(start) })
	return s
}

// sendAll keeps the rate over time: after a pause of its own it catches up.
func (s *stream) sendAll(start time.Time) {
	t := time.NewTicker(s.every)
	defer t.Stop()
	for {
		select {
		case <-s.quit:
			return
		case <-t.C:
		}
		for due := int(time.Since(start) / s.every); ; {
			s.mu.Lock()
			seq := len(s.packets)
			if seq >= due {
				s.mu.Unlock()
				break
			}
			s.packets = append(s.packets, packet{sent: time.Since(start)})
			s.mu.Unlock()
			_ = s.ends.send(uint32(seq)) // one that cannot be sent is lost
		}
	}
}

func (s *stream) receiveAll(start time.Time) {
	for {
		seq, ok, err := s.ends.receive()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err == nil && ok:
			s.arrived(int(seq), time.Since(start))
		}
	}
}

func (s *stream) arrived(seq int, at time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if seq >= len(s.packets) {
		return
	}
	p := &s.packets[seq]
	if p.arrived++; p.arrived == 1 {
		p.delay = at - p.sent
	}
	switch {
	case seq > s.highest:
		s.highest = seq
	case seq < s.highest && seq >= s.first && p.arrived == 1:
		s.reorder++
	}
}

// begin lets count what is sent from now on.
func (s *stream) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.first, s.reorder = len(s.packets), 0
}

func (s *stream) complete() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.packets[s.first:] {
		if p.arrived == 0 {
			return false
		}
	}
	return true
}

// finish stops sending.
func (s *stream) finish() {
	close(s.quit)
	s.sending.Wait()
}

// end waits for what is on its way after [stream.finish], and counts.
func (s *stream) end() Result {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(lastWait); !s.complete() && time.Now().Before(deadline); {
		<-tick.C
	}
	s.ends.close()
	s.receiving.Wait()
	return s.result()
}

func (s *stream) result() Result {
	r := Result{Reordered: s.reorder, Sent: len(s.packets) - s.first}
	begin, last := time.Duration(0), time.Duration(0) // when the first packet, and the last one that arrived, were sent
	outage := func(end time.Duration) {
		if end-last > r.Outage {
			r.Outage, r.Until = end-last, end-begin
		}
	}
	gap := false
	for i, p := range s.packets[s.first:] {
		if i == 0 {
			begin, last = p.sent, p.sent
		}
		if p.arrived == 0 {
			r.Lost++
			if !gap {
				r.Gaps++
			}
			gap = true
			outage(p.sent + s.every) // to the end, if nothing follows
			continue
		}
		if gap {
			outage(p.sent)
		}
		last, gap = p.sent, false
		r.Duplicated += p.arrived - 1
		r.Delay = max(r.Delay, p.delay)
	}
	return r
}
