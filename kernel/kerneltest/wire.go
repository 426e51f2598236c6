package kerneltest

import (
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/kernel/snoop"
)

// fakeWire hears what hosts send by the links that it follows.
type fakeWire struct {
	f *Fake

	mu       sync.Mutex
	cond     *sync.Cond
	followed map[int32]bool
	waiting  []fakeFrame
	closed   bool
}

type fakeFrame struct {
	link  int32
	frame []byte
}

// OpenWire gives access to the frames of the fake's links.
func (f *Fake) OpenWire() (snoop.Wire, error) {
	w := &fakeWire{f: f, followed: map[int32]bool{}}
	w.cond = sync.NewCond(&w.mu)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wires = append(f.wires, w)
	return w, nil
}

func (w *fakeWire) Follow(links []int32) error {
	w.f.mu.Lock()
	defer w.f.mu.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.followed)
	for _, l := range links {
		w.followed[l] = w.f.links[l] != nil
	}
	return nil
}

func (w *fakeWire) hear(link int32, frame []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.followed[link] {
		w.waiting = append(w.waiting, fakeFrame{link, slices.Clone(frame)})
		w.cond.Broadcast()
	}
}

func (w *fakeWire) Receive(yield func(link int32, frame []byte)) error {
	w.mu.Lock()
	for len(w.waiting) == 0 && !w.closed {
		w.cond.Wait()
	}
	frames, closed := w.waiting, w.closed
	w.waiting = nil
	w.mu.Unlock()
	if closed {
		return os.ErrClosed
	}
	for _, fr := range frames {
		yield(fr.link, fr.frame)
	}
	return nil
}

func (w *fakeWire) Send(link int32, frame []byte) error {
	w.f.mu.Lock()
	defer w.f.mu.Unlock()
	l := w.f.links[link]
	switch {
	case l == nil:
		return unix.ENXIO
	case !l.Up:
		return unix.ENETDOWN
	}
	w.f.sent[l.Name] = append(w.f.sent[l.Name], slices.Clone(frame))
	return nil
}

func (w *fakeWire) Stats() snoop.WireStats {
	w.mu.Lock()
	defer w.mu.Unlock()
	return snoop.WireStats{Links: len(w.followed)}
}

func (w *fakeWire) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return os.ErrClosed
	}
	w.closed = true
	w.cond.Broadcast()
	return nil
}

// HostSends lets the host behind a port send a frame: whoever listens hears it, and
// then the bridge learns.
func (f *Fake) HostSends(port string, frame []byte) {
	f.mu.Lock()
	l, wires := f.byName(port), f.wires
	f.mu.Unlock()
	if !l.Up {
		return
	}
	for _, w := range wires {
		w.hear(l.Index, frame)
	}
	if l.Master != 0 {
		f.Frame(port, evpn.MAC(frame[6:12]))
	}
}

// HostHears takes what was sent out of a port since the last call.
func (f *Fake) HostHears(port string) [][]byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	frames := f.sent[port]
	delete(f.sent, port)
	return frames
}
