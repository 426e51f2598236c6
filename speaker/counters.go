package speaker

import (
	"maps"
	"sync"
	"sync/atomic"

	"github.com/sirupsen/logrus"
	"golang.org/x/time/rate"
)

// counters of one neighbour, over all its sessions.
type counters struct {
	messagesIn, messagesOut atomic.Uint64
	updatesIn, updatesOut   atomic.Uint64
	flaps                   atomic.Uint64
	drops                   drops
}

// drops counts what was left out, by reason, and logs a limited part of it.
type drops struct {
	mu         sync.Mutex
	counts     map[string]uint64
	limiter    *rate.Limiter
	suppressed uint64
}

// Per neighbour: a burst that shows the kinds, then one line in ten seconds.
const dropLogBurst = 5

var dropLogRate = rate.Limit(0.1)

func (d *drops) add(log *logrus.Entry, reason string, n int, detail string) {
	d.mu.Lock()
	if d.counts == nil {
		d.counts, d.limiter = map[string]uint64{}, rate.NewLimiter(dropLogRate, dropLogBurst)
	}
	d.counts[reason] += uint64(n)
	total, show := d.counts[reason], d.limiter.Allow()
	suppressed := d.suppressed
	if show {
		d.suppressed = 0
	} else {
		d.suppressed++
	}
	d.mu.Unlock()
	if show {
		log.WithFields(logrus.Fields{"reason": reason, "count": n, "total": total, "detail": detail, "unlogged": suppressed}).
			Warn("part of a received message dropped")
	}
}

func (d *drops) snapshot() map[string]uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.counts == nil {
		return map[string]uint64{}
	}
	return maps.Clone(d.counts)
}
