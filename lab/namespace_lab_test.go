//go:build lab

package lab_test

import (
	"fmt"
	"runtime"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netns"
)

// namespace opens the network namespace of a node.
func (r *running) namespace(node string) netns.NsHandle {
	r.t.Helper()
	ns, err := netns.GetFromName(r.node(node).Namespace)
	require.NoError(r.t, err)
	r.t.Cleanup(func() { ns.Close() })
	return ns
}

// within runs f in a namespace: a socket belongs to that of the thread which makes it.
func within(ns netns.NsHandle, f func() error) (err error) {
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		return fmt.Errorf("get own namespace: %w", err)
	}
	defer home.Close()
	if err := netns.Set(ns); err != nil {
		return fmt.Errorf("join the node: %w", err)
	}
	defer func() {
		if back := netns.Set(home); back != nil {
			err = fmt.Errorf("come home: %w", back)
			return // with the thread locked: nobody else may run on it
		}
		runtime.UnlockOSThread()
	}()
	return f()
}
