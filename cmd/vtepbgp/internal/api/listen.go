package api

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const (
	socketMode    = 0o660
	socketDirMode = 0o755
)

// ErrInUse is wrapped by [Listen] when a live daemon owns the socket.
var ErrInUse = errors.New("another vtepbgp is running")

// Listen opens the control socket at path with mode 0660. It creates the parent
// directory and replaces a socket that nobody listens on; it refuses to replace
// one that answers ([ErrInUse]) or a file that is no socket. Closing the listener
// removes the socket.
func Listen(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), socketDirMode); err != nil {
		return nil, fmt.Errorf("create directory of socket %s: %w", path, err)
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	lc := net.ListenConfig{
		// The mode of the unbound socket is what bind gives the file, less the
		// umask (net/unix/af_unix.c, unix_bind): the file is never more open than
		// it should be, not even for an instant. The chmod below adds what the
		// umask took.
		Control: func(_, _ string, c syscall.RawConn) error {
			var err error
			if cerr := c.Control(func(fd uintptr) { err = syscall.Fchmod(int(fd), socketMode) }); cerr != nil {
				return cerr
			}
			return err
		},
	}
	l, err := lc.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	if err := os.Chmod(path, socketMode); err != nil {
		_ = l.Close() // the chmod error is the one to report
		return nil, fmt.Errorf("set mode of %s: %w", path, err)
	}
	return l, nil
}

func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at socket %s: %w", path, err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("listen on %s: a file that is no socket is in the way", path)
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	switch {
	case err == nil:
		_ = conn.Close() // only asked whether somebody answers
		return fmt.Errorf("%w at %s", ErrInUse, path)
	case errors.Is(err, syscall.ECONNREFUSED):
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove stale socket %s: %w", path, err)
		}
		return nil
	default:
		return fmt.Errorf("probe socket %s: %w", path, err)
	}
}
