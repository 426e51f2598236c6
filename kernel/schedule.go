package kernel

import (
	"time"

	"github.com/vtepbgp/vtepbgp/evpn"
)

const (
	linkDebounce  = 5 * time.Millisecond // link events come in groups
	linkGap       = 20 * time.Millisecond
	linkCostShare = 10 // reading links may take a tenth of the time

	dumpGapFirst = 50 * time.Millisecond
	dumpGapMost  = 2 * time.Second
	resyncShare  = 2000 // reading rows without a reason may take this part of the time

	retryFirst = 100 * time.Millisecond
	retryMost  = 30 * time.Second
)

// wantLinks asks for a look at links and addresses within d, but not so often that
// hosts with many links would do nothing else. mu is held.
func (k *Kernel) wantLinks(d time.Duration) {
	at := time.Now().Add(d)
	if gap := max(linkGap, linkCostShare*k.due.linksCost); d > 0 && at.Before(k.due.lastLinks.Add(gap)) {
		at = k.due.lastLinks.Add(gap)
	}
	if k.due.links.IsZero() || at.Before(k.due.links) {
		k.due.links = at
	}
}

// wantDump asks for a full read of all rows. A kernel that loses events again and
// again is read at growing intervals. mu is held.
func (k *Kernel) wantDump(why string, d time.Duration) {
	now := time.Now()
	at := now.Add(d)
	if why == "lost" || why == "closed" {
		if now.Sub(k.due.lastDump) > 2*dumpGapMost {
			k.due.dumpBackoff = 0
		}
		if next := k.due.lastDump.Add(k.due.dumpBackoff); at.Before(next) {
			at = next
		}
	}
	if k.due.dump.IsZero() || at.Before(k.due.dump) {
		k.due.dump = at
	}
	if k.due.why == "" || k.due.why == "periodic" || why == "lost" {
		k.due.why = why
	}
}

// isDue reports whether the time that pick names has come, and clears it.
func (k *Kernel) isDue(pick func(*due) *time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	t := pick(&k.due)
	if t.IsZero() || time.Now().Before(*t) {
		return false
	}
	*t = time.Time{}
	return true
}

func (k *Kernel) linksDue() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return !k.due.links.IsZero() && !time.Now().Before(k.due.links)
}

// untilDue is how long the loop may sleep.
func (k *Kernel) untilDue() time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	now, next := time.Now(), time.Hour
	for _, t := range []time.Time{k.due.links, k.due.dump, k.due.retry} {
		if !t.IsZero() {
			next = min(next, max(0, t.Sub(now)))
		}
	}
	return next
}

// failure is a row that the kernel refused.
type failure struct {
	err   error
	tries int
	at    time.Time // of the next try
}

// failed notes that a row could not be written and when to try again. mu is held.
func (k *Kernel) failed(key evpn.RowKey, err error, now time.Time) {
	f := k.failures[key]
	if f == nil {
		f = &failure{}
		k.failures[key] = f
	}
	f.err = err
	f.tries++
	f.at = now.Add(min(retryFirst<<min(f.tries-1, 10), retryMost))
	k.wantRetry(f.at)
}

func (k *Kernel) wantRetry(at time.Time) {
	if k.due.retry.IsZero() || at.Before(k.due.retry) {
		k.due.retry = at
	}
}

// retryFailures queues the failed rows whose time has come.
func (k *Kernel) retryFailures(now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.due.retry.IsZero() || now.Before(k.due.retry) {
		return
	}
	k.due.retry = time.Time{}
	for key, f := range k.failures {
		if now.Before(f.at) {
			k.wantRetry(f.at)
			continue
		}
		if !k.requeue(key) {
			delete(k.failures, key) // the kernel holds what is wanted after all, or there is no device
		}
	}
}

// fight counts how often a row was put back in a short time. Two daemons that want
// different things of the same row must not burn a core.
type fight struct {
	since time.Time
	count int
}

const (
	fightWindow = time.Second
	fightMost   = 20
)

// mayRepair says whether the row is put back now; if not, it is retried later
// like a failed one. mu is held.
func (k *Kernel) mayRepair(key evpn.RowKey, now time.Time) bool {
	f := k.fights[key]
	if f == nil || now.Sub(f.since) > fightWindow {
		if len(k.fights) > 1024 {
			clear(k.fights)
		}
		f = &fight{since: now}
		k.fights[key] = f
	}
	f.count++
	if f.count <= fightMost {
		return true
	}
	k.failed(key, errFight, now)
	return false
}
