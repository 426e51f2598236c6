package ebpf

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/cilium/ebpf"

	"github.com/vtepbgp/vtepbgp/flood"
)

// leases are replaced while tables are put in place.
type leases struct {
	mu      sync.Mutex
	objects *programObjects // nil: closed
}

func (l *leases) open(objects *programObjects) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.objects = objects
}

func (l *leases) close() { l.open(nil) }

func (l *leases) set(to flood.Lease, which func(*programObjects) (end, outlives *ebpf.Variable)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.objects == nil {
		return os.ErrClosed
	}
	now, err := ktime()
	if err != nil {
		return err
	}
	end, outlives := which(l.objects)
	dead := uint64(0)
	if to.Outlives > 0 {
		dead = uint64(now + to.Outlives)
	}
	if err := errors.Join(outlives.Set(dead), end.Set(uint64(max(1, now+to.For)))); err != nil {
		return fmt.Errorf("renew a lease of the program: %w", err)
	}
	return nil
}
