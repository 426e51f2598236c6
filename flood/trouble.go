package flood

import (
	"sync"
	"time"
)

// Trouble is what is tried again and again until it works. It counts the attempts that failed, and says which of them
// are worth a line of a log: the first, one that fails for another reason, and of those that go on for the same one some, ever
// fewer.
type Trouble struct {
	mu       sync.Mutex
	why      error
	failures uint64
	said     time.Time
	pause    time.Duration // from then to the next line
}

const (
	troubleFirst = time.Minute
	troubleMost  = time.Hour
)

// Tried takes in how an attempt ended, and says whether that is news. That it works again is.
func (t *Trouble) Tried(err error, now time.Time) (news bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	before := t.why
	t.why = err
	if err == nil {
		return before != nil
	}
	t.failures++
	switch {
	case before == nil || before.Error() != err.Error():
		t.pause = troubleFirst
	case now.Before(t.said.Add(t.pause)):
		return false
	default:
		t.pause = min(2*t.pause, troubleMost)
	}
	t.said = now
	return true
}

// Why is what the last attempt failed for; nil when it did not.
func (t *Trouble) Why() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.why
}

// Count adds to c what failed, and what does now.
func (t *Trouble) Count(c *Counters) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c.Failures += t.failures
	if t.why != nil {
		c.Problem = t.why.Error()
	}
}
