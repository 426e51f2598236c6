package daemon

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/evpn"
)

func openRDs(t *testing.T, dir string) *rdNumbers {
	t.Helper()
	r, err := openRDNumbers(dir)
	require.NoError(t, err)
	return r
}

func assign(t *testing.T, r *rdNumbers, reserved map[uint16]bool, vnis ...evpn.VNI) map[evpn.VNI]uint16 {
	t.Helper()
	got, err := r.assign(vnis, reserved)
	require.NoError(t, err)
	return got
}

func TestRDNumbersAreStable(t *testing.T) {
	dir := t.TempDir()
	first := assign(t, openRDs(t, dir), nil, 300, 100, 200)
	assert.Equal(t, map[evpn.VNI]uint16{100: 1, 200: 2, 300: 3}, first)

	r := openRDs(t, dir)
	assert.Equal(t, map[evpn.VNI]uint16{50: 4, 100: 1, 300: 3}, assign(t, r, nil, 50, 100, 300), "a newcomer moves nobody; 2 is not reused")
	r = openRDs(t, dir)
	assert.Equal(t, map[evpn.VNI]uint16{50: 4, 60: 5, 100: 1, 200: 2, 300: 3}, assign(t, r, nil, 50, 60, 100, 200, 300), "200 comes back to its number")
}

func TestRDNumbersReserved(t *testing.T) {
	r := openRDs(t, t.TempDir())
	assert.Equal(t, map[evpn.VNI]uint16{100: 2, 200: 3}, assign(t, r, map[uint16]bool{1: true}, 100, 200))
	assert.Equal(t, map[evpn.VNI]uint16{100: 4, 200: 3}, assign(t, r, map[uint16]bool{2: true, 1: true}, 100, 200),
		"the operator takes 2 for himself: 100 gets another")
}

func TestRDNumbersFreedAreReusedLast(t *testing.T) {
	dir := t.TempDir()
	r := openRDs(t, dir)
	all := make([]evpn.VNI, maxRD)
	for i := range all {
		all[i] = evpn.VNI(i + 1)
	}
	assign(t, r, nil, all...)
	_, err := r.assign(append(all, 70000), nil)
	require.ErrorContains(t, err, "all 65535 numbers are in use")
	assert.Len(t, openRDs(t, dir).doc.Used, maxRD, "a failure changes nothing")

	assign(t, r, nil, all[:maxRD-1]...) // 65535 is free first
	assign(t, r, nil, all[:maxRD-3]...) // then 65533 and 65534
	got := assign(t, openRDs(t, dir), nil, append(all[:maxRD-3:maxRD-3], 70000)...)
	assert.Equal(t, uint16(65535), got[70000], "the one that has been free the longest")
}

func TestRDNumbersDamaged(t *testing.T) {
	for name, text := range map[string]string{
		"cut":       `{"version": 1, "rd": {"100"`,
		"version":   `{"version": 2, "rd": {"100": 1}}`,
		"duplicate": `{"version": 1, "rd": {"100": 1, "200": 1}}`,
		"zero":      `{"version": 1, "rd": {"100": 0}}`,
		"empty":     ``,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(dir, rdFile), []byte(text), 0o600))
			_, err := openRDNumbers(dir)
			require.ErrorContains(t, err, "restore the file, or remove it")
			assert.ErrorContains(t, err, filepath.Join(dir, rdFile))
		})
	}
}

func TestAtomicWriteLeavesNoDebris(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, writeFileAtomic(filepath.Join(dir, "f"), []byte("a")))
	require.NoError(t, writeFileAtomic(filepath.Join(dir, "f"), []byte("b")))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1)
	b, err := os.ReadFile(filepath.Join(dir, "f"))
	require.NoError(t, err)
	assert.Equal(t, "b", string(b))
}
