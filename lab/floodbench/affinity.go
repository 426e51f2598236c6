package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Who runs where.
const (
	ours   = 0 // the generator and all that observes
	theirs = 1 // what is measured
)

// foremost is the niceness of who goes before other programs.
const foremost = -20

// niceness is that of the threads on a processor. What is measured has to be equal to
// ksoftirqd, with which it shares the work.
func niceness(cpu int) (int, error) {
	if cpu == ours {
		return foremost, nil
	}
	softirqs, err := softirqThread(cpu)
	if err != nil {
		return 0, err
	}
	return niceOf(softirqs)
}

func niceOf(thread int) (int, error) {
	n, err := unix.Getpriority(unix.PRIO_PROCESS, thread)
	if err != nil {
		return 0, fmt.Errorf("read priority of thread %d: %w", thread, err)
	}
	return 20 - n, nil // the system call has no negative results
}

func setNice(thread, nice int) error {
	if err := unix.Setpriority(unix.PRIO_PROCESS, thread, nice); err != nil {
		return fmt.Errorf("set priority of thread %d: %w", thread, err)
	}
	return nil
}

// pin binds a thread to a processor; 0 is the calling one.
func pin(thread, cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	if err := unix.SchedSetaffinity(thread, &set); err != nil {
		return fmt.Errorf("bind thread %d to processor %d: %w", thread, cpu, err)
	}
	nice, err := niceness(cpu)
	if err != nil {
		return err
	}
	return setNice(thread, nice)
}

// pinAll binds all threads of this process. Later ones inherit it.
func pinAll(cpu int) error {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return fmt.Errorf("list own threads: %w", err)
	}
	for _, t := range threads {
		id, err := strconv.Atoi(t.Name())
		if err != nil {
			return fmt.Errorf("list own threads: %w", err)
		}
		if err := pin(id, cpu); err != nil {
			return err
		}
	}
	return nil
}

// cpuTime is what a process has used, with what interrupts did meanwhile. A kernel thread
// is a process here. The clock is made as clock_getcpuclockid(3) makes it.
func cpuTime(pid int) (time.Duration, error) {
	const schedClock = 2
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|schedClock), &ts); err != nil {
		return 0, fmt.Errorf("read processor time of %d: %w", pid, err)
	}
	return time.Duration(ts.Nano()), nil
}

// busy is how long a processor has not been idle.
func busy(cpu int) (time.Duration, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, fmt.Errorf("read processor times: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if len(words) < 9 || words[0] != "cpu"+strconv.Itoa(cpu) {
			continue
		}
		var ticks int64
		for i, word := range words[1:9] { // user nice system idle iowait irq softirq steal
			n, err := strconv.ParseInt(word, 10, 64)
			if err != nil {
				return 0, fmt.Errorf("read processor times: %w", err)
			}
			if i != 3 && i != 4 {
				ticks += n
			}
		}
		return time.Duration(ticks) * (time.Second / 100), nil // USER_HZ
	}
	return 0, fmt.Errorf("read processor times: there is no processor %d", cpu)
}
