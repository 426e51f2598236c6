package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	backlogFile = "/proc/sys/net/core/netdev_max_backlog"
	// enough is more than a NAPI poll of 64 frames makes of them for 1,000 VTEPs.
	enough = 300_000
)

// machine is what belongs to all who use it.
type machine struct {
	Backlog  int // the limit of what a veth pair may hold
	Softirqs int // niceness of the thread which takes over what interrupts leave, where copies are made
}

// borrowed is the machine as a bench needs it, for the time of the run.
type borrowed struct {
	guard *exec.Cmd
	line  io.Closer
}

// borrow sees to it that no other bench runs meanwhile: it waits for that. Then it raises the
// limit of backlogs, and with first has what is measured go before other programs.
func borrow(first bool) (*borrowed, error) {
	lock, err := os.OpenFile(filepath.Join(os.TempDir(), "vtepbgp-floodbench.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock of benches: %w", err)
	}
	defer lock.Close() // the guard holds it
	for err = syscall.EINTR; errors.Is(err, syscall.EINTR); {
		err = unix.Flock(int(lock.Fd()), unix.LOCK_EX)
	}
	if err != nil {
		return nil, fmt.Errorf("wait for other benches: %w", err)
	}
	before, err := readMachine()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(before)
	if err != nil {
		return nil, fmt.Errorf("tell the guard what to restore: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find own program: %w", err)
	}
	b := &borrowed{guard: exec.Command(self)}
	b.guard.Env = append(os.Environ(), roleVariable+"="+roleGuard, guardVariable+"="+string(text))
	b.guard.ExtraFiles = []*os.File{lock}
	b.guard.Stderr = os.Stderr
	b.guard.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt is for us
	if b.line, err = b.guard.StdinPipe(); err != nil {
		return nil, fmt.Errorf("make line to the guard: %w", err)
	}
	if err := b.guard.Start(); err != nil {
		return nil, fmt.Errorf("start guard of the machine: %w", err)
	}
	needed := machine{Backlog: max(before.Backlog, enough), Softirqs: before.Softirqs}
	if first {
		needed.Softirqs = foremost
	}
	if err := needed.write(); err != nil {
		return nil, errors.Join(err, b.restore())
	}
	return b, nil
}

func (b *borrowed) restore() error {
	_ = b.line.Close()
	if err := b.guard.Wait(); err != nil {
		return fmt.Errorf("restore the machine: %w", err)
	}
	return nil
}

const guardVariable = "FLOODBENCH_MACHINE"

// guard restores the machine when the bench has gone, however it went.
func guard() error {
	var before machine
	if err := json.Unmarshal([]byte(os.Getenv(guardVariable)), &before); err != nil {
		return fmt.Errorf("read what to restore: %w", err)
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	return before.write()
}

func readMachine() (m machine, err error) {
	if m.Backlog, err = readBacklog(); err != nil {
		return m, err
	}
	m.Softirqs, err = niceness(theirs)
	return m, err
}

func (m machine) write() error {
	softirqs, err := softirqThread(theirs)
	if err == nil {
		err = setNice(softirqs, m.Softirqs)
	}
	return errors.Join(err, writeBacklog(m.Backlog))
}

func readBacklog() (int, error) {
	text, err := os.ReadFile(backlogFile)
	if err != nil {
		return 0, fmt.Errorf("read limit of backlogs: %w", err)
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

func writeBacklog(n int) error {
	if err := os.WriteFile(backlogFile, []byte(strconv.Itoa(n)), 0o644); err != nil {
		return fmt.Errorf("set limit of backlogs to %d: %w", n, err)
	}
	return nil
}
