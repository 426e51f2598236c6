package ebpf

import (
	"fmt"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// highest bounds the number that closedFirst gives a file: the table of a process has room for all numbers below.
const highest = 16384

// closedFirst gives the file of a map a number above those of connections. The files of a process that dies are
// closed one after the other, the one with the highest number first (exit_files puts them on a list of tasks, and
// task_work_run takes the last one first, since Linux 4.3), and on a busy machine milliseconds may lie between two. When
// neighbours see the end of a connection, the program has to know already that nobody is there: see living in
// flood.bpf.c.
func closedFirst(m *ebpf.Map) (*ebpf.Map, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return m, fmt.Errorf("read the limit of open files: %w", err)
	}
	fd, err := unix.FcntlInt(uintptr(m.FD()), unix.F_DUPFD_CLOEXEC, int(min(limit.Cur/2, highest)))
	if err != nil {
		return m, fmt.Errorf("give the file of map %s another number: %w", m, err)
	}
	high, err := ebpf.NewMapFromFD(fd)
	if err != nil {
		return m, fmt.Errorf("open map %s anew: %w", m, err)
	}
	return high, m.Close()
}
