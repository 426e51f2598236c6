package api_test

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/api"
)

func TestListenMode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "not", "there", "s.sock")
	l, err := api.Listen(path)
	require.NoError(t, err)
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, fs.ModeSocket|0o660, info.Mode())
	require.NoError(t, l.Close())
	_, err = os.Stat(path)
	assert.ErrorIs(t, err, fs.ErrNotExist, "closing removes the socket")
}

func TestListenReplacesStaleSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.sock")
	old, err := net.Listen("unix", path)
	require.NoError(t, err)
	old.(*net.UnixListener).SetUnlinkOnClose(false) // as kill -9 leaves it
	require.NoError(t, old.Close())
	require.FileExists(t, path)

	l, err := api.Listen(path)
	require.NoError(t, err)
	require.NoError(t, l.Close())
}

func TestListenRefusesLiveDaemon(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.sock")
	l, err := api.Listen(path)
	require.NoError(t, err)
	_, err = api.Listen(path)
	require.ErrorIs(t, err, api.ErrInUse)
	assert.EqualError(t, err, "another vtepbgp is running at "+path)
	require.FileExists(t, path, "the other daemon keeps its socket")
	require.NoError(t, l.Close())
}

func TestListenRefusesOtherFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.sock")
	require.NoError(t, os.WriteFile(path, []byte("mine"), 0o600))
	_, err := api.Listen(path)
	require.ErrorContains(t, err, "no socket")
	require.FileExists(t, path)
}

func TestClientSaysWhatToDo(t *testing.T) {
	dir := t.TempDir()
	none := filepath.Join(dir, "none.sock")
	_, err := api.NewClient(none).Status(t.Context())
	require.ErrorIs(t, err, api.ErrNotRunning)
	assert.EqualError(t, err, "daemon not running at "+none+": start it with `vtepbgp run` or `systemctl start vtepbgp`, or name its socket with --socket")

	stale := filepath.Join(dir, "stale.sock")
	l, err := net.Listen("unix", stale)
	require.NoError(t, err)
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	require.NoError(t, l.Close())
	_, err = api.NewClient(stale).Status(t.Context())
	require.ErrorIs(t, err, api.ErrNotRunning)
}

func TestClientWithoutPermission(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s.sock")
	l, err := api.Listen(path)
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	require.NoError(t, os.Chmod(path, 0))
	if c, err := net.Dial("unix", path); err == nil {
		require.NoError(t, c.Close())
		// root may do anything: only the translation can be checked
		err := api.Explain(path, &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.EACCES)})
		require.ErrorIs(t, err, api.ErrPermission)
		assert.EqualError(t, err, "permission denied on "+path+": run this as root or as a member of the socket's group")
		return
	}
	_, err = api.NewClient(path).Status(t.Context())
	require.ErrorIs(t, err, api.ErrPermission)
}
