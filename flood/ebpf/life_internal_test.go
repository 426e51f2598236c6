package ebpf

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Connections that come later do not outlive what tells the program that the process lives.
func TestLifeEndsBeforeConnections(t *testing.T) {
	e := newWire(t).open(t, probeTCX)
	defer func() { require.NoError(t, e.Close()) }()
	for range 100 {
		later, err := os.Open(os.DevNull)
		require.NoError(t, err)
		defer later.Close()
		require.Less(t, int(later.Fd()), e.objects.Lives.FD())
	}
}

// What [closedFirst] knows of the kernel: of a process that is killed, files with higher numbers are closed first.
func TestHighestFileIsClosedFirst(t *testing.T) {
	const files = 20
	dir := t.TempDir()
	cmd := exec.Command("sleep", "1000")
	var want []string
	for n := range files {
		f, err := os.Create(filepath.Join(dir, fmt.Sprintf("%02d", n)))
		require.NoError(t, err)
		cmd.ExtraFiles = append(cmd.ExtraFiles, f) // from 3 on, in this order
		want = append([]string{filepath.Base(f.Name())}, want...)
	}
	require.NoError(t, cmd.Start())
	for _, f := range cmd.ExtraFiles {
		require.NoError(t, f.Close())
	}
	watch, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	require.NoError(t, err)
	defer unix.Close(watch)
	_, err = unix.InotifyAddWatch(watch, dir, unix.IN_CLOSE_WRITE)
	require.NoError(t, err)
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait(), "it was killed")
	var got []string
	buf := make([]byte, files*(unix.SizeofInotifyEvent+unix.NAME_MAX+1))
	for len(got) < files { // inotify(7): name and its length follow the header
		n, err := unix.Read(watch, buf)
		require.NoError(t, err)
		for at := 0; at < n; {
			name := at + unix.SizeofInotifyEvent
			end := name + int(binary.NativeEndian.Uint32(buf[name-4:]))
			got = append(got, strings.TrimRight(string(buf[name:end]), "\x00"))
			at = end
		}
	}
	assert.Equal(t, want, got)
}
