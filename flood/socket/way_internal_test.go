package socket

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestRefusedCopies: a host that answers copies with ICMP errors does not end the waiting for room,
// which would have the engine spin. IP_RECVERR keeps such errors at a socket until they are read.
func TestRefusedCopies(t *testing.T) {
	stalls := 0
	here := netip.MustParseAddr("127.0.0.1")
	w, err := flowWay(func(f func() error) error { return f() }, &stalls, here, 0, 64<<10)
	require.NoError(t, err)
	defer func() { require.NoError(t, w.close()) }()

	closed, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	require.NoError(t, unix.Bind(closed, &unix.SockaddrInet4{Addr: here.As4()}))
	nobody, err := unix.Getsockname(closed)
	require.NoError(t, err)
	require.NoError(t, unix.Close(closed))

	fds := []unix.PollFd{{Fd: int32(w.fd)}}
	until := time.Now().Add(10 * time.Second)
	for fds[0].Revents&unix.POLLERR == 0 && time.Now().Before(until) {
		_ = unix.Sendto(w.fd, []byte{1}, 0, nobody) // its error is that of the one before
		_, err = unix.Poll(fds, 100)
		require.NoError(t, err)
	}
	require.NotZero(t, fds[0].Revents&unix.POLLERR, "the kernel has told of an ICMP error")

	require.NoError(t, w.wait(0))
	fds[0].Revents = 0
	_, err = unix.Poll(fds, 0)
	require.NoError(t, err)
	assert.Zero(t, fds[0].Revents&unix.POLLERR, "nothing is left that would end the next wait at once")
	assert.Zero(t, stalls)
}
