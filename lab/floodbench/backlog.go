package main

import (
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

// backlog raises the limit of what a veth pair may hold, for the time of the run.
type backlog struct {
	guard *exec.Cmd
	line  io.Closer
}

// raiseBacklog also sees to it that no other bench runs meanwhile: it waits for that.
func raiseBacklog() (*backlog, error) {
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
	before, err := readBacklog()
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find own program: %w", err)
	}
	b := &backlog{guard: exec.Command(self)}
	b.guard.Env = append(os.Environ(), roleVariable+"="+roleGuard, guardVariable+"="+strconv.Itoa(before))
	b.guard.ExtraFiles = []*os.File{lock}
	b.guard.Stderr = os.Stderr
	b.guard.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt is for us
	if b.line, err = b.guard.StdinPipe(); err != nil {
		return nil, fmt.Errorf("make line to the guard: %w", err)
	}
	if err := b.guard.Start(); err != nil {
		return nil, fmt.Errorf("start guard of %s: %w", backlogFile, err)
	}
	if err := writeBacklog(max(before, enough)); err != nil {
		return nil, errors.Join(err, b.restore())
	}
	return b, nil
}

func (b *backlog) restore() error {
	_ = b.line.Close()
	if err := b.guard.Wait(); err != nil {
		return fmt.Errorf("restore %s: %w", backlogFile, err)
	}
	return nil
}

const guardVariable = "FLOODBENCH_BACKLOG"

// guard restores the limit when the bench has gone, however it went.
func guard() error {
	before, err := strconv.Atoi(os.Getenv(guardVariable))
	if err != nil {
		return fmt.Errorf("read what to restore: %w", err)
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	return writeBacklog(before)
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
