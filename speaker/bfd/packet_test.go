package bfd_test

import (
	"encoding/hex"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/speaker/bfd"
)

// A packet of FRR 8.4's bfdd in state Up, with poll, 100 ms × 3 and its default echo interval.
const fromFRR = "20e00318" + "1a2b3c4d" + "0000000a" + "000186a0" + "000186a0" + "0000c350"

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	return b
}

func TestParse(t *testing.T) {
	t.Parallel()
	p, err := bfd.Parse(unhex(t, fromFRR))
	require.NoError(t, err)
	assert.Equal(t, bfd.Packet{
		State: bfd.Up, Poll: true, Multiplier: 3, My: 0x1a2b3c4d, Your: 10,
		DesiredTx: 100 * time.Millisecond, RequiredRx: 100 * time.Millisecond, RequiredEchoRx: 50 * time.Millisecond,
	}, p)
	assert.Equal(t, fromFRR, hex.EncodeToString(p.Append(nil)))
}

func TestParsePadding(t *testing.T) {
	t.Parallel()
	_, err := bfd.Parse(unhex(t, fromFRR+"0000"))
	require.NoError(t, err, "what follows the length is no part of the packet")
}

// RFC 5880 §6.8.6, in its order.
func TestParseDiscards(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		edit func(b []byte) []byte
		want error
	}{
		{"version 0", func(b []byte) []byte { b[0] &= 0x1f; return b }, bfd.ErrVersion},
		{"version 2", func(b []byte) []byte { b[0] = 2 << 5; return b }, bfd.ErrVersion},
		{"length 23", func(b []byte) []byte { b[3] = 23; return b }, bfd.ErrLength},
		{"longer than the payload", func(b []byte) []byte { b[3] = 25; return b }, bfd.ErrTruncated},
		{"cut off", func(b []byte) []byte { return b[:23] }, bfd.ErrTruncated},
		{"empty", func([]byte) []byte { return nil }, bfd.ErrTruncated},
		{"multiplier 0", func(b []byte) []byte { b[2] = 0; return b }, bfd.ErrMultiplier},
		{"multipoint", func(b []byte) []byte { b[1] |= 1; return b }, bfd.ErrMultipoint},
		{"no discriminator of its own", func(b []byte) []byte { clear(b[4:8]); return b }, bfd.ErrDiscriminator},
		{"no discriminator of ours in Up", func(b []byte) []byte { clear(b[8:12]); return b }, bfd.ErrBootstrap},
		{"no discriminator of ours in Init", func(b []byte) []byte { clear(b[8:12]); b[1] = 2 << 6; return b }, bfd.ErrBootstrap},
		{"no discriminator of ours in Down", func(b []byte) []byte { clear(b[8:12]); b[1] = 1 << 6; return b }, nil},
		{"no discriminator of ours in AdminDown", func(b []byte) []byte { clear(b[8:12]); b[1] = 0; return b }, nil},
		{"authenticated", func(b []byte) []byte { b[1] |= 4; return b }, bfd.ErrAuth},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := bfd.Parse(c.edit(unhex(t, fromFRR)))
			assert.Equal(t, c.want, err)
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add(unhex(f, fromFRR))
	f.Add(unhex(f, fromFRR)[:23])
	f.Fuzz(func(t *testing.T, b []byte) {
		before := hex.EncodeToString(b)
		p, err := bfd.Parse(b)
		require.Equal(t, before, hex.EncodeToString(b))
		if err != nil {
			return
		}
		again, err := bfd.Parse(p.Append(nil))
		require.NoError(t, err)
		require.Equal(t, p, again)
		require.NotEmpty(t, p.State.String()+p.Diag.String())
	})
}
