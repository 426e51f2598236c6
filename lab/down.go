package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
	"gopkg.in/yaml.v3"
)

// Down ends the lab: processes, links, namespaces, logs and state, in this order.
// Nothing is left, also not of a lab whose start was interrupted. A lab that is
// gone already is no error. After an error, call it again: it goes on where it stopped.
func (l *Lab) Down(ctx context.Context) error {
	if err := needRoot("lab down"); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	unlock, err := lock(l.stateDir, l.state.Name)
	if err != nil {
		return err
	}
	defer unlock()
	// Another process may have taken it down, and up again, since we opened it.
	now, err := readState(l.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("lab %s: %w", l.state.Name, err)
	}
	if !now.Created.Equal(l.state.Created) {
		return nil
	}
	l.mu.Lock()
	l.state = now
	l.mu.Unlock()
	if err := l.tearDown(); err != nil {
		return fmt.Errorf("lab %s: %w", l.state.Name, err)
	}
	return nil
}

// killTime bounds the wait for a killed node. Processes die in milliseconds; one that
// the kernel holds (in a device's tear-down, say) may take longer.
const killTime = 20 * time.Second

// tearDown is Down with the lock held.
func (l *Lab) tearDown() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	// All are killed before any is waited for. The first process of a process id
	// namespace takes all others with it, and is itself gone only after them
	// (pid_namespaces(7)).
	for _, n := range l.state.Nodes {
		if err := n.Holder.signal(unix.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
			errs = append(errs, fmt.Errorf("node %s: %w", n.Name, err))
		}
	}
	deadline := time.Now().Add(killTime)
	for _, n := range l.state.Nodes {
		if err := n.Holder.waitGone(deadline); err != nil {
			errs = append(errs, fmt.Errorf("node %s: %w", n.Name, err))
		}
	}
	for _, n := range l.state.Nodes {
		// A name that was there before us made claim fail with no holder started.
		if n.Holder.PID == 0 {
			continue
		}
		errs = append(errs, deleteLinks(n.Namespace), dropName(n.Namespace))
	}
	if err := errors.Join(errs...); err != nil {
		return err // the state stays, for another try
	}
	if err := os.RemoveAll(l.dir); err != nil {
		return fmt.Errorf("remove lab state: %w", err)
	}
	return nil
}

// waitGone waits for the end of a process that may not be our child.
func (p process) waitGone(deadline time.Time) error {
	if p.PID == 0 {
		return nil
	}
	fd, err := unix.PidfdOpen(p.PID, 0)
	if errors.Is(err, unix.ESRCH) || !p.alive() {
		if err == nil {
			unix.Close(fd)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("open process %d: %w", p.PID, err)
	}
	defer unix.Close(fd)
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return fmt.Errorf("process %d does not end", p.PID)
		}
		// A pidfd becomes readable when its process has ended (pidfd_open(2)).
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
		if n > 0 {
			return nil
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for process %d: %w", p.PID, err)
		}
	}
}

// NameOf reads only the name of the lab from a topology file, so that a lab
// can be ended although its file has since been broken.
func NameOf(file string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read topology: %w", err)
	}
	var head struct {
		Name string `yaml:"name"`
	}
	if err := yaml.Unmarshal(text, &head); err != nil {
		return "", fmt.Errorf("read topology %s: %w", file, err)
	}
	if !nameForm.MatchString(head.Name) {
		return "", fmt.Errorf("read topology %s: %q is no lab name", file, head.Name)
	}
	return head.Name, nil
}
