package ebpf

import (
	"math/rand/v2"
	"net/netip"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/flood"
	"github.com/vtepbgp/vtepbgp/flood/floodtest"
)

// FuzzProgram gives packets to the decision in Go, and as root to the program as well: both
// have to come to the same.
func FuzzProgram(f *testing.F) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 64 {
		frame, sent := random(r)
		f.Add(frame, sent)
	}
	for _, frame := range floodtest.Corpus(make([]byte, 6)) {
		f.Add(frame, false)
		f.Add(frame, true)
	}
	var b *bench
	if os.Geteuid() == 0 {
		b = newBench(f)
		b.apply(table())
	} else {
		d, err := flood.Compile(table(), nil)
		require.NoError(f, err)
		b = &bench{decider: d}
	}
	f.Fuzz(func(t *testing.T, frame []byte, sent bool) {
		if len(frame) < sizeEthernet || len(frame) > 3000 {
			return // it takes no more than a page
		}
		b.t = t
		clear(frame[:6]) // to the host
		if b.lists == nil {
			b.expect(frame, sent)
			return
		}
		b.check(frame, sent)
	})
}

// FuzzHandover: whatever comes with a packet that is handed over, it is refused for a reason
// or taken apart into packets that can be sent.
func FuzzHandover(f *testing.F) {
	for _, frame := range floodtest.Corpus(make([]byte, 6)) {
		for _, flags := range []uint16{0, handoverPartial, handoverUndecided, handoverLong, handoverLong | handoverSent} {
			f.Add(frame, uint16(0), flags)
			f.Add(frame, uint16(60), flags)
		}
	}
	f.Fuzz(func(t *testing.T, frame []byte, segment, flags uint16) {
		n := 0
		var source netip.Addr
		for p, r := range parse(frame, &programHandover{Segment: segment, Flags: flags}) {
			if n++; r != flood.Kept {
				require.NotEmpty(t, r.String())
				continue
			}
			require.GreaterOrEqual(t, len(p.Inner()), sizeEthernet)
			if source.IsValid() {
				require.Equal(t, source, p.Source)
			}
			source = p.Source
		}
		require.Positive(t, n)
	})
}
