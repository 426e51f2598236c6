// Package nsthread makes network namespaces without names for the benches.
package nsthread

import (
	"fmt"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Namespace is a network namespace without a name, and the one thread that lives
// in it. The kernel removes it when its last process and file are gone, so a
// bench that is killed leaves nothing behind.
type Namespace struct {
	Name  string
	Links *netlink.Handle

	work chan func()
	file netns.NsHandle
}

// New starts a thread in a fresh namespace with loopback up. The thread
// stays for the life of the process: children started on it may ask the kernel
// to be killed when it dies.
func New(name string) (*Namespace, error) {
	n := &Namespace{Name: name, work: make(chan func())}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread is the namespace's
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			ready <- fmt.Errorf("create network namespace %s: %w", name, err)
			return
		}
		var err error
		if n.file, err = netns.Get(); err != nil {
			ready <- fmt.Errorf("open network namespace %s: %w", name, err)
			return
		}
		ready <- nil
		for f := range n.work {
			f()
		}
		_ = n.file.Close()
	}()
	if err := <-ready; err != nil {
		return nil, err
	}
	h, err := netlink.NewHandleAt(n.file)
	if err != nil {
		return nil, fmt.Errorf("open netlink in %s: %w", name, err)
	}
	n.Links = h
	lo, err := h.LinkByName("lo")
	if err != nil {
		return nil, fmt.Errorf("find loopback of %s: %w", name, err)
	}
	return n, h.LinkSetUp(lo)
}

// Do runs f on the namespace's thread and waits for it. Sockets and children
// that f makes belong to the namespace.
func (n *Namespace) Do(f func() error) error {
	done := make(chan error)
	n.work <- func() { done <- f() }
	return <-done
}

// FD is a descriptor of the namespace, to move links there.
func (n *Namespace) FD() int { return int(n.file) }

// Close lets go of the namespace.
func (n *Namespace) Close() {
	n.Links.Close()
	close(n.work)
}

// Sysctl writes a setting below /proc/sys of this namespace.
func (n *Namespace) Sysctl(path, value string) error {
	return n.Do(func() error { return os.WriteFile("/proc/sys/"+path, []byte(value), 0o644) })
}
