package flood_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/flood"
	"github.com/vtepbgp/vtepbgp/flood/floodtest"
)

// carrying is a VXLAN packet with a frame in it.
func carrying(frame []byte) *floodtest.Packet {
	return outer(false, func(p *floodtest.Packet) { p.Inner = frame })
}

// tagged is a frame with a VLAN tag.
func tagged(frame []byte) []byte {
	return append(append(append([]byte{}, frame[:12]...), 0x81, 0x00, 0, 7), frame[12:]...)
}

func TestCompleteInner(t *testing.T) {
	for _, six := range []bool{false, true} {
		for _, udp := range []bool{false, true} {
			inner := floodtest.Inner{Six: six, UDP: udp, Data: floodtest.InnerFrame(7, 333)}
			for _, change := range []func([]byte) []byte{func(b []byte) []byte { return b }, tagged} {
				b := append(make([]byte, 8), change(inner.Bytes(true))...)
				assert.True(t, flood.CompleteInner(b))
				assert.Equal(t, change(inner.Bytes(false)), b[8:])
				assert.False(t, flood.CompleteInner(b), "it is complete")
				assert.Equal(t, change(inner.Bytes(false)), b[8:])
			}
		}
	}
	arp := append(make([]byte, 8), floodtest.InnerFrame(1, 64)...)
	assert.False(t, flood.CompleteInner(arp))
	assert.False(t, flood.CompleteInner(nil))
}

func TestSplit(t *testing.T) {
	for i := range 4 {
		inner := floodtest.Inner{Six: i&1 != 0, UDP: i&2 != 0, ID: 0xfffe, Sequence: 0xffffff00, Flags: 0xff, Data: floodtest.InnerFrame(7, 5000)}
		for _, size := range []int{1, 999, 1000, 4999, 5000, 6000} {
			p, r := flood.ParseEthernet(carrying(inner.Bytes(true)).Bytes(), flood.Trust{Checked: true})
			require.Equal(t, flood.Kept, r)
			parts, r := p.Split(size)
			require.Equal(t, flood.Kept, r)
			want := inner.Segments(size)
			require.Len(t, parts, len(want))
			for i := range parts {
				require.Equal(t, want[i].Bytes(false), parts[i].Inner(), "part %d of %d", i, len(parts))
				whole, r := flood.ParseEthernet(carrying(parts[i].Inner()).Bytes(), flood.Trust{})
				require.Equal(t, flood.Kept, r)
				require.Equal(t, whole.Sum, parts[i].Sum)
			}
		}
	}
	for name, frame := range map[string][]byte{
		"no data": (&floodtest.Inner{}).Bytes(false),
		"empty":   (&floodtest.Inner{UDP: true}).Bytes(false),
		"not IP":  floodtest.InnerFrame(1, 100),
	} {
		p, r := flood.ParseEthernet(carrying(frame).Bytes(), flood.Trust{})
		require.Equal(t, flood.Kept, r)
		_, r = p.Split(10)
		assert.Equal(t, flood.SuperFrame, r, name)
	}
}

// FuzzSplit: whatever the frame, its parts carry its data, and their checksums are right.
func FuzzSplit(f *testing.F) {
	for _, six := range []bool{false, true} {
		inner := floodtest.Inner{Six: six, Data: floodtest.InnerFrame(7, 300)}
		f.Add(inner.Bytes(true), uint16(100))
		f.Add(tagged(inner.Bytes(false)), uint16(7))
		inner.UDP = true
		f.Add(inner.Bytes(true), uint16(100))
	}
	f.Fuzz(func(t *testing.T, frame []byte, size uint16) {
		if len(frame) < 14 || len(frame) > 9000 {
			return
		}
		p, r := flood.ParseEthernet(carrying(frame).Bytes(), flood.Trust{})
		require.Equal(t, flood.Kept, r)
		_ = flood.CompleteInner(append([]byte{}, p.Payload...))
		parts, r := p.Split(int(size))
		if r != flood.Kept {
			require.Equal(t, flood.SuperFrame, r)
			return
		}
		headers := len(parts[0].Inner()) - min(int(size), len(parts[0].Inner()))
		var data []byte
		for i := range parts {
			require.Greater(t, len(parts[i].Inner()), headers)
			if i > 0 {
				require.LessOrEqual(t, len(parts[i].Inner()), len(parts[0].Inner()))
			}
			data = append(data, parts[i].Inner()[headers:]...)
		}
		if len(parts) > 1 {
			require.Equal(t, frame[headers:headers+len(data)], data)
		}
	})
}
