package daemon

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/config"
	"github.com/vtepbgp/vtepbgp/evpn"
)

func TestLogFileIsOpenedAnewOnReload(t *testing.T) {
	path := filepath.Join(t.TempDir(), "v.log")
	cfg := config.Log{Level: "info", Format: "json", Destination: path}
	l, err := newLogger(cfg, "")
	require.NoError(t, err)
	l.Info("one")
	require.NoError(t, os.Rename(path, path+".1")) // as logrotate does
	l.Info("two")
	require.NoError(t, l.configure(cfg))
	l.Info("three")
	l.Debug("not at this level")
	require.NoError(t, l.close())

	read := func(p string) (messages []string) {
		b, err := os.ReadFile(p)
		require.NoError(t, err)
		for _, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
			var m struct{ Msg string }
			require.NoError(t, json.Unmarshal([]byte(line), &m))
			messages = append(messages, m.Msg)
		}
		return messages
	}
	assert.Equal(t, []string{"one", "two"}, read(path+".1"))
	assert.Equal(t, []string{"three"}, read(path))
}

func TestLogLevelOfTheCommandLineWins(t *testing.T) {
	path := filepath.Join(t.TempDir(), "v.log")
	l, err := newLogger(config.Log{Level: "error", Destination: path}, "debug")
	require.NoError(t, err)
	l.Debug("seen")
	require.NoError(t, l.close())
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Contains(t, string(b), "msg=seen")
}

func TestLogDestinationThatCannotBeOpened(t *testing.T) {
	_, err := newLogger(config.Log{Level: "info", Destination: filepath.Join(t.TempDir(), "no", "dir")}, "")
	require.ErrorContains(t, err, "open log destination")
}

func TestNotesAreLimited(t *testing.T) {
	path := filepath.Join(t.TempDir(), "v.log")
	l, err := newLogger(config.Log{Level: "info", Format: "json", Destination: path}, "")
	require.NoError(t, err)
	n := newNoteLog(l.WithField(fieldPart, "evpn"))
	now := time.Unix(1e9, 0)
	flood := make([]evpn.Note, 1000)
	for i := range flood {
		flood[i] = evpn.Note{Kind: evpn.NoteDuplicate, VNI: 100, MAC: evpn.MAC{2, 5: 1}}
	}
	n.write(flood, now)
	n.write([]evpn.Note{{Kind: evpn.NoteVNIDown, VNI: 100}}, now) // another kind has its own limit
	n.write(flood[:1], now.Add(time.Second))
	require.NoError(t, l.close())
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	require.Len(t, lines, noteBurst+2)
	assert.Contains(t, lines[noteBurst], `"msg":"vni is down"`)
	assert.Contains(t, lines[noteBurst+1], `"suppressed":950`)
	assert.Contains(t, lines[noteBurst+1], `"mac":"02:00:00:00:00:01"`)
}
