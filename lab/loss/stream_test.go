package loss

import (
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

// pipe loses, doubles and delays by number.
type pipe struct {
	out    chan uint32
	closed chan struct{}
	harm   func(seq uint32) (copies int, delay time.Duration)
}

func newPipe(harm func(seq uint32) (int, time.Duration)) *pipe {
	return &pipe{out: make(chan uint32, 100), closed: make(chan struct{}), harm: harm}
}

func (p *pipe) send(seq uint32) error {
	copies, delay := p.harm(seq)
	for range copies {
		time.AfterFunc(delay, func() { p.out <- seq })
	}
	return nil
}

func (p *pipe) receive() (uint32, bool, error) {
	select {
	case seq := <-p.out:
		return seq, true, nil
	case <-p.closed:
		return 0, false, net.ErrClosed
	}
}

func (p *pipe) close() { close(p.closed) }

func measure(t *testing.T, before, during time.Duration, harm func(seq uint32) (int, time.Duration)) (r Result) {
	synctest.Test(t, func(t *testing.T) {
		s := startStream(newPipe(harm), 10*time.Millisecond)
		time.Sleep(before)
		synctest.Wait()
		s.begin()
		time.Sleep(during)
		synctest.Wait()
		s.finish()
		r = s.end()
	})
	return r
}

func TestNothingLost(t *testing.T) {
	r := measure(t, 100*time.Millisecond, time.Second, func(uint32) (int, time.Duration) { return 1, 3 * time.Millisecond })
	assert.Equal(t, Result{Sent: 100, Delay: 3 * time.Millisecond}, r)
}

func TestEverythingThatCanHappen(t *testing.T) {
	r := measure(t, 100*time.Millisecond, time.Second, func(seq uint32) (int, time.Duration) {
		switch {
		case seq < 5: // before it counts
			return 0, 0
		case seq >= 20 && seq < 30, seq == 50:
			return 0, 0
		case seq == 60:
			return 2, 0
		case seq == 70: // behind the next two
			return 1, 25 * time.Millisecond
		default:
			return 1, 0
		}
	})
	assert.Equal(t, Result{Sent: 100, Lost: 11, Gaps: 2, Duplicated: 1, Reordered: 1, Outage: 110 * time.Millisecond, Until: 200 * time.Millisecond, Delay: 25 * time.Millisecond}, r)
}

func TestOutageToTheEnd(t *testing.T) {
	r := measure(t, 0, time.Second, func(seq uint32) (int, time.Duration) {
		if seq >= 50 {
			return 0, 0
		}
		return 1, 0
	})
	assert.Equal(t, 50, r.Lost)
	assert.Equal(t, 1, r.Gaps)
	assert.Equal(t, 510*time.Millisecond, r.Outage)
	assert.Equal(t, time.Second, r.Until)
}
