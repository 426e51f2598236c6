package snoop

import (
	"bufio"
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/bpf"
)

// The part of the filter that looks at octets passes all that Parse accepts, and
// little else. The rest needs the kernel: see TestTaps.
func TestFilterPassesWhatParseReads(t *testing.T) {
	t.Parallel()
	vm, err := bpf.NewVM(append(classify(), bpf.RetConstant{Val: 1}))
	require.NoError(t, err)
	_, err = bpf.Assemble(filter())
	require.NoError(t, err)
	passes := func(frame []byte) bool {
		n, err := vm.Run(frame)
		require.NoError(t, err)
		return n > 0
	}
	f, err := os.Open("testdata/frames.txt")
	require.NoError(t, err)
	defer f.Close()
	seen := 0
	for s := bufio.NewScanner(f); s.Scan(); {
		fields := strings.Split(s.Text(), " | ")
		if strings.HasPrefix(s.Text(), "#") {
			continue
		}
		frame, err := hex.DecodeString(fields[4])
		require.NoError(t, err)
		// The type of a DHCP message is behind options of any length.
		assert.Equal(t, fields[1] != "irrelevant" || fields[0] == "DHCPOFFER", passes(frame), fields[0])
		seen++
		if fields[1] != "dhcp_ack" {
			continue
		}
		long := append(append([]byte{}, frame[:34]...), 1, 1, 1, 1) // IPv4 options
		long[14] = 0x46
		assert.True(t, passes(append(long, frame[34:]...)), "IPv4 options are stepped over")
		for name, change := range map[string]func([]byte){
			"a fragment":  func(b []byte) { b[20] = 0x20 },
			"TCP":         func(b []byte) { b[23] = 6 },
			"a client":    func(b []byte) { b[35], b[37] = 68, 67 },
			"a VLAN":      func(b []byte) { b[12], b[13] = 0x81, 0 },
			"other ports": func(b []byte) { b[35] = 53 },
		} {
			b := append([]byte{}, frame...)
			change(b)
			assert.False(t, passes(b), name)
		}
	}
	assert.Greater(t, seen, 10)
}
