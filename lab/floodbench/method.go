package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// replicator is how a method is told what to do.
type replicator interface {
	list(n int) error
	cpu() (time.Duration, error)
	pids() []int
	stop() error
}

func (p *process) list(n int) error {
	_, err := p.ask(request{VTEPs: n})
	return err
}

// method is one way to copy, on its stand.
type method struct {
	name string
	*stand
	replicator
	softirqs int // the kernel thread that takes over what interrupts leave
}

// newMethod builds a stand and starts the method on it.
func newMethod(name, profiles string) (m *method, err error) {
	m = &method{name: name}
	if m.softirqs, err = softirqThread(theirs); err != nil {
		return nil, err
	}
	bare := name == headEndReplication
	if m.stand, err = newStand(bare); err != nil {
		return nil, fmt.Errorf("build stand for %s: %w", name, err)
	}
	if bare {
		m.replicator, err = newHeadEnd(m.stand)
	} else {
		profile := ""
		if profiles != "" {
			profile = filepath.Join(profiles, name+".pprof")
		}
		m.replicator, err = startProcess(m.stand, name, profile)
	}
	if err != nil {
		m.stand.close()
		return nil, err
	}
	return m, nil
}

func (m *method) close() error {
	err := m.stop()
	m.stand.close()
	return err
}

// spent is the processor time that all of it has taken, ever: receiving, copying, sending,
// and receiving at the sink.
func (m *method) spent() (time.Duration, error) {
	mine, err := m.cpu()
	for _, pid := range []int{m.poller, m.softirqs} {
		t, err2 := cpuTime(pid)
		mine, err = mine+t, errors.Join(err, err2)
	}
	return mine, err
}

// working says that a thread of the method runs or wants to.
func (m *method) working() bool {
	for _, pid := range append(m.pids(), m.poller, m.softirqs) {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		if err != nil {
			return false
		}
		for _, file := range threads {
			text, err := os.ReadFile(file)
			if _, state, ok := strings.Cut(string(text), ") "); err == nil && ok && strings.HasPrefix(state, "R") {
				return true
			}
		}
	}
	return false
}

func softirqThread(cpu int) (int, error) {
	files, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		return 0, fmt.Errorf("list kernel threads: %w", err)
	}
	for _, f := range files {
		if text, err := os.ReadFile(f); err == nil && strings.TrimSpace(string(text)) == fmt.Sprintf("ksoftirqd/%d", cpu) {
			return strconv.Atoi(filepath.Base(filepath.Dir(f)))
		}
	}
	return 0, fmt.Errorf("find ksoftirqd/%d: no such kernel thread", cpu)
}

// settle waits until r0 has received what was sent, nobody has anything to do and nothing
// arrives any more, and gives all that ever did.
func (m *method) settle() (uint64, error) {
	const quiet, others, lost = 50 * time.Millisecond, 5 * time.Second, 10 * time.Second
	deadline := time.Now().Add(time.Minute)
	last, changed := uint64(0), time.Now()
	since := changed
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for {
		n, err := m.counter.total()
		if err != nil {
			return 0, err
		}
		if n != last {
			last, changed = n, time.Now()
			since = changed
		}
		switch now := time.Now(); {
		case now.Sub(since) > quiet && now.Sub(changed) < others && m.working():
			since = now // only that others have the processor; but the kernel's threads may work for others, too
		case now.Sub(since) > quiet:
			received, err := m.received()
			if err != nil {
				return 0, err
			}
			if received == m.source.sent {
				return n, nil
			}
			if now.Sub(since) > lost {
				return 0, fmt.Errorf("wait for %s to be done: %d frames were sent and %d received: the stand loses frames", m.name, m.source.sent, received)
			}
		case now.After(deadline):
			return 0, fmt.Errorf("wait for %s to be done: copies still arrive after a minute", m.name)
		}
		<-ticker.C
	}
}
