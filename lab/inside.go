package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	allSpaces   = unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC
	setupSpaces = unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWUTS
)

// inside runs fn on a thread of its own that has joined namespaces of a node.
// What fn starts with os/exec is born there: fork copies the namespaces of the
// calling thread (for the process id namespace see setns(2): it holds for children only).
//
// The thread is thrown away afterwards: the goroutine ends without unlocking it. It
// must not be the first thread of the process, which the runtime cannot end and
// which /proc/self stands for.
func inside(holder process, spaces int, fn func() error) error {
	done := make(chan error, 1)
	var run func()
	run = func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			next := make(chan struct{})
			go func() { defer close(next); run() }()
			<-next
			runtime.UnlockOSThread()
			return
		}
		done <- enter(holder, spaces, fn)
	}
	go run()
	return <-done
}

func enter(holder process, spaces int, fn func() error) error {
	fd, err := unix.PidfdOpen(holder.PID, 0)
	if err == nil {
		defer unix.Close(fd)
	}
	switch {
	case !holder.alive():
		return errors.New("the node is gone: its first process was killed")
	case err != nil:
		return fmt.Errorf("open node: %w", err)
	}
	// A mount namespace can only be joined by a task whose root and working
	// folder are shared with no other thread (setns(2)).
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("prepare thread: %w", err)
	}
	if err := unix.Setns(fd, spaces); err != nil {
		return fmt.Errorf("join namespaces of process %d: %w", holder.PID, err)
	}
	return fn()
}

const nodePath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// command prepares argv to run in a node; it must be called, and the command
// started, inside the node. The program is looked up by the node's PATH, not by ours.
func command(ctx context.Context, argv, env []string) (*exec.Cmd, error) {
	file := argv[0]
	if !strings.Contains(file, "/") {
		search := nodePath
		for _, e := range env {
			if v, ok := strings.CutPrefix(e, "PATH="); ok {
				search = v
			}
		}
		file = ""
		for _, dir := range filepath.SplitList(search) {
			p := filepath.Join(dir, argv[0])
			if st, err := os.Stat(p); err == nil && !st.IsDir() && st.Mode()&0o111 != 0 {
				file = p
				break
			}
		}
		if file == "" {
			return nil, fmt.Errorf("%s: %w in the node", argv[0], exec.ErrNotFound)
		}
	}
	cmd := exec.CommandContext(ctx, file, argv[1:]...)
	cmd.Args[0] = argv[0]
	cmd.Env = env
	cmd.Dir = "/"
	return cmd, nil
}
