package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/lab/nsthread"
)

// process is one program of a system under test.
type process struct {
	name string
	cmd  *exec.Cmd
	log  string
	done chan struct{}
	err  error
}

// start runs a program in the namespace. It dies with this process, unless it
// changes its user (then the kernel forgets the request, and stop has to be called).
func start(n *nsthread.Namespace, dir string, environment []string, name string, args ...string) (*process, error) {
	p := &process{name: filepath.Base(name), done: make(chan struct{})}
	p.log = filepath.Join(dir, p.name+".log")
	f, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("create log of %s: %w", p.name, err)
	}
	defer f.Close()
	p.cmd = exec.Command(name, args...)
	p.cmd.Env = append(os.Environ(), environment...)
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.Dir = f, f, dir
	// A group of its own: an interrupt from the terminal reaches only us, and we stop it.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := n.Do(p.cmd.Start); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// stop sends sig and waits; a program that does not obey is killed.
func (p *process) stop(sig syscall.Signal) {
	_ = p.cmd.Process.Signal(sig)
	select {
	case <-p.done:
	case <-time.After(10 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

func (p *process) alive() error {
	select {
	case <-p.done:
		b, _ := os.ReadFile(p.log)
		if len(b) > 600 {
			b = b[len(b)-600:]
		}
		return errors.Join(fmt.Errorf("%s ended: %s", p.name, bytes.TrimSpace(b)), p.err)
	default:
		return nil
	}
}

// cpu is the processor time used so far, in nanoseconds' resolution: the clock id
// of another process is made as clock_getcpuclockid(3) makes it.
func (p *process) cpu() time.Duration {
	const schedClock = 2
	var ts unix.Timespec
	id := int32(^p.cmd.Process.Pid)<<3 | schedClock
	if err := unix.ClockGettime(id, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// memory reads a figure of /proc/PID/status in octets: VmHWM is the peak, VmRSS
// what is resident now.
func (p *process) memory(field string) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	_, rest, ok := bytes.Cut(b, []byte(field+":"))
	if !ok {
		return 0
	}
	kb, err := strconv.ParseInt(string(bytes.Fields(rest)[0]), 10, 64)
	if err != nil {
		return 0
	}
	return kb << 10
}

// running is a started system: all its programs.
type running struct {
	system    string
	vtep      *vtep
	dir       string
	processes []*process
	started   time.Time
}

func (r *running) stop(sig syscall.Signal) {
	// In parallel, as a machine that dies or a service manager would.
	for _, p := range r.processes {
		_ = p.cmd.Process.Signal(sig)
	}
	for _, p := range r.processes {
		p.stop(sig)
	}
}

func (r *running) alive() error {
	var errs []error
	for _, p := range r.processes {
		errs = append(errs, p.alive())
	}
	return errors.Join(errs...)
}

func (r *running) cpu() (d time.Duration) {
	for _, p := range r.processes {
		d += p.cpu()
	}
	return d
}

func (r *running) memory(field string) (n int64) {
	for _, p := range r.processes {
		n += p.memory(field)
	}
	return n
}

// settle waits until the system has been quiet for a while (less than 2 ms of
// processor time in 200 ms), for the work it puts off counts too.
func (r *running) settle(ctx context.Context) error {
	return r.settleBelow(ctx, 2*time.Millisecond, 15*time.Second)
}

func (r *running) settleBelow(ctx context.Context, below, limit time.Duration) error {
	deadline := time.Now().Add(limit)
	for before := r.cpu(); time.Now().Before(deadline); {
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return err
		}
		now := r.cpu()
		if now-before < below {
			return nil
		}
		before = now
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
