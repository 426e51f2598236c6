package daemon

import "sync"

// feed carries what happens on the loop to one reader outside. The loop never waits:
// what does not fit is counted as lost.
type feed[T any] struct {
	limit int           // weight that may wait
	ready chan struct{} // one token while there may be something to take

	mu     sync.Mutex
	items  []T
	weight int
	lost   uint64
}

func newFeed[T any](limit int) *feed[T] {
	return &feed[T]{limit: limit, ready: make(chan struct{}, 1)}
}

// put adds an item. It reports whether there was room.
func (f *feed[T]) put(item T, weight int) bool {
	f.mu.Lock()
	fits := f.weight == 0 || f.weight+weight <= f.limit
	if fits {
		f.items = append(f.items, item)
		f.weight += weight
	} else {
		f.lost += uint64(weight)
	}
	f.mu.Unlock()
	select {
	case f.ready <- struct{}{}:
	default:
	}
	return fits
}

// take gives what waits, and the weight of what was lost after it.
func (f *feed[T]) take() (items []T, lost uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	items, lost = f.items, f.lost
	f.items, f.weight, f.lost = nil, 0, 0
	return items, lost
}
