package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

// Roles that this program plays when it starts itself.
const (
	roleVariable = "FLOODBENCH_ROLE"
	roleGuard    = "guard"
	roleMethod   = "replicator"
)

// launched plays the role that this process was started for, if it was.
func launched() (bool, error) {
	switch os.Getenv(roleVariable) {
	case roleGuard:
		return true, guard()
	case roleMethod:
		return true, replicate()
	}
	return false, nil
}

// Requests to a replicator's process, and its answers, are lines of JSON.
type request struct {
	// VTEPs is the length of the list to copy to; Without is the place of one that is
	// left out of the first lists, Of in number.
	VTEPs, Without, Of int
	// Networks is how many there are; 0 is one.
	Networks int
	// Measure asks for the memory in use.
	Measure bool
}

type answer struct {
	Error   string
	Took    time.Duration // to install the list
	Engine  string        // which it is, and why
	Dropped map[string]uint64
	Memory  int64 // bytes: resident, after a collection
	Maps    int64 // bytes: of eBPF maps
}

// process is a replicator that is a process.
type process struct {
	cmd   *exec.Cmd
	to    *json.Encoder
	line  interface{ Close() error }
	from  *bufio.Reader
	speak string
}

// startProcess starts a method in the replicator's namespace, on its processor.
func startProcess(s *stand, method, profile string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find own program: %w", err)
	}
	p := &process{cmd: exec.Command(self, method, profile)}
	// The Go runtime takes the processors it may run on for all that there are. With one it has
	// another thread go on whenever a system call takes long, which costs more than the call.
	p.cmd.Env = append(os.Environ(), roleVariable+"="+roleMethod, "GOMAXPROCS="+strconv.Itoa(runtime.NumCPU()))
	p.cmd.Stderr = os.Stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("make line to %s: %w", method, err)
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("make line from %s: %w", method, err)
	}
	p.to, p.line, p.from, p.speak = json.NewEncoder(stdin), stdin, bufio.NewReader(stdout), method
	err = s.replicator.Do(func() error {
		if err := pin(0, theirs); err != nil { // a child inherits it
			return err
		}
		return errors.Join(p.cmd.Start(), pin(0, ours))
	})
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", method, err)
	}
	return p, nil
}

func (p *process) ask(r request) (a answer, err error) {
	if err := p.to.Encode(r); err != nil {
		return a, fmt.Errorf("ask %s: %w", p.speak, err)
	}
	line, err := p.from.ReadBytes('\n')
	if err != nil {
		return a, fmt.Errorf("hear %s: %w", p.speak, err)
	}
	if err := json.Unmarshal(line, &a); err != nil {
		return a, fmt.Errorf("hear %s: %w", p.speak, err)
	}
	if a.Error != "" {
		return a, fmt.Errorf("%s: %s", p.speak, a.Error)
	}
	return a, nil
}

func (p *process) cpu() (time.Duration, error) { return cpuTime(p.cmd.Process.Pid) }

func (p *process) pids() []int { return []int{p.cmd.Process.Pid} }

// stop ends it and waits, so that its profile is written.
func (p *process) stop() error {
	_ = p.line.Close()
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("end %s: %w", p.speak, err)
	}
	return nil
}
