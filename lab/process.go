package lab

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// process names a process for good: a pid alone may be reused by the time
// another command reads it back, a pid with its start time is not.
type process struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // field 22 of /proc/<pid>/stat, clock ticks since boot
}

func identify(pid int) (process, error) {
	start, err := startTime(pid)
	if err != nil {
		return process{}, err
	}
	return process{PID: pid, Start: start}, nil
}

// startTime reads proc(5) stat field 22. The command name in field 2 may hold
// blanks and brackets, so counting begins after the last one.
func startTime(pid int) (uint64, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	i := bytes.LastIndexByte(stat, ')')
	fields := bytes.Fields(stat[i+1:])
	if i < 0 || len(fields) < 20 {
		return 0, fmt.Errorf("read /proc/%d/stat: unexpected form", pid)
	}
	if s := fields[0][0]; s == 'Z' || s == 'X' {
		return 0, os.ErrProcessDone
	}
	return strconv.ParseUint(string(fields[19]), 10, 64)
}

// alive is false for a process that ended, even while its parent has not
// collected it, and for a later one that happens to have its pid.
func (p process) alive() bool {
	if p.PID == 0 {
		return false
	}
	start, err := startTime(p.PID)
	return err == nil && start == p.Start
}

func (p process) signal(sig unix.Signal) error {
	if !p.alive() {
		return os.ErrProcessDone
	}
	// The pidfd pins the process: the check after opening it makes sure that
	// it is the one we mean.
	fd, err := unix.PidfdOpen(p.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return os.ErrProcessDone
	}
	if err != nil {
		return fmt.Errorf("open process %d: %w", p.PID, err)
	}
	defer unix.Close(fd)
	if !p.alive() {
		return os.ErrProcessDone
	}
	if err := unix.PidfdSendSignal(fd, sig, nil, 0); errors.Is(err, unix.ESRCH) {
		return os.ErrProcessDone
	} else if err != nil {
		return fmt.Errorf("signal process %d: %w", p.PID, err)
	}
	return nil
}
