package daemon

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A daemon that is just ending is waited for, and its file, which goes with it, is not
// mistaken for ours.
func TestLockOutlastsWhoIsEnding(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	old, err := lockPID(path)
	require.NoError(t, err)
	_, err = openLocked(path)
	require.ErrorIs(t, err, errLocked)

	type result struct {
		lock *pidFile
		err  error
	}
	got := make(chan result, 1)
	go func() {
		l, err := lockPID(path)
		got <- result{l, err}
	}()
	require.NoError(t, old.close())
	r := <-got
	require.NoError(t, r.err)
	assert.FileExists(t, path)
	_, err = openLocked(path)
	require.ErrorIs(t, err, errLocked, "the new lock holds against a third")
	require.NoError(t, r.lock.close())
	assert.NoFileExists(t, path)
}
