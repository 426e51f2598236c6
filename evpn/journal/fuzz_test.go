package journal_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/evpn/journal"
)

// FuzzReplay: whatever a file holds, it is played or refused with the line that is
// wrong; what was read is written so that it reads the same.
func FuzzReplay(f *testing.F) {
	f.Add(write(f, newGenerator(1).events()...))
	f.Add(lines(head, `{"at":"2026-01-02T03:04:06Z","event":"routes_received","announced":[{"attrs":0}],"attrs":[{}]}`))
	f.Add(lines(head, `{"at":"2026-01-02T03:04:06Z","event":"config_replaced","config":{"vnis":[{"vni":1},{"vni":1}]}}`))
	f.Fuzz(func(t *testing.T, recording []byte) {
		evs, err := read(recording)
		if err != nil {
			assert.Regexp(t, `^line \d+: |^read recording: `, err.Error())
			return
		}
		again := write(t, evs...)
		same, err := read(again)
		require.NoError(t, err)
		assert.Equal(t, string(again), string(write(t, same...)))

		r, err := journal.NewReader(bytes.NewReader(recording))
		require.NoError(t, err)
		if err := journal.NewReplay(r).Transcribe(io.Discard, true, nil); err != nil {
			assert.False(t, errors.Is(err, io.EOF))
		}
	})
}
