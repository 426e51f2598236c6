package main

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// smallBufferVariable makes this program a launcher: it forbids the enlarging of
// socket buffers and becomes the program of its arguments. So a program that knows
// no such option, too, can be measured with the kernel's default netlink buffer.
const smallBufferVariable = "VTEPBGP_BENCH_SMALL_BUFFER"

// launched reports whether this process is to be the launcher, and is it; it
// returns only with an error.
func launched() (bool, error) {
	if os.Getenv(smallBufferVariable) == "" {
		return false, nil
	}
	if err := forbidBuffers(); err != nil {
		return true, fmt.Errorf("forbid larger socket buffers: %w", err)
	}
	if len(os.Args) < 2 {
		return true, errors.New("launch: no program named")
	}
	if err := os.Unsetenv(smallBufferVariable); err != nil {
		return true, fmt.Errorf("launch %s: %w", os.Args[1], err)
	}
	return true, fmt.Errorf("launch %s: %w", os.Args[1], syscall.Exec(os.Args[1], os.Args[1:], os.Environ()))
}

// forbidBuffers answers setsockopt(SO_RCVBUF) and SO_RCVBUFFORCE with EPERM from now
// on (seccomp(2)); offsets are those of struct seccomp_data on little-endian machines.
func forbidBuffers() error {
	const (
		number, level, option = 0, 24, 32
		deny                  = 0x00050000 | uint32(unix.EPERM) // SECCOMP_RET_ERRNO
		allow                 = 0x7fff0000                      // SECCOMP_RET_ALLOW
	)
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	equal := func(k uint32, yes, no uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: k, Jt: yes, Jf: no}
	}
	filter := []unix.SockFilter{
		load(number), equal(unix.SYS_SETSOCKOPT, 0, 5),
		load(level), equal(unix.SOL_SOCKET, 0, 3),
		load(option), equal(unix.SO_RCVBUF, 2, 0), equal(unix.SO_RCVBUFFORCE, 1, 0),
		{Code: unix.BPF_RET | unix.BPF_K, K: allow},
		{Code: unix.BPF_RET | unix.BPF_K, K: deny},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	const forAllThreads = 1 // SECCOMP_FILTER_FLAG_TSYNC: the Go runtime has several
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, forAllThreads, uintptr(unsafe.Pointer(&program))); errno != 0 {
		return errno
	}
	return nil
}
