package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/lab/figures"
)

func row(size, length int, ebpf, socket, headEnd, plain float64) rateRow {
	r := rateRow{Size: size, Length: length, Methods: map[string][]capacity{}}
	for i, v := range []float64{ebpf, socket, headEnd, plain} {
		r.Methods[methods[i]] = []capacity{{Saturated: v, PerCPU: v, Due: 1000}}
	}
	return r
}

func TestRatesAreJudgedByTheWorstRow(t *testing.T) {
	t.Parallel()
	r := rateResult([]rateRow{row(64, 2, 2e6, 1e6, 1e6, 128e3), row(64, 16, 1.8e6, 1.4e6, 1e6, 209e3), row(64, 64, 4e6, 1.2e6, 1e6, 314e3)})
	require.Len(t, r.checks, 4)
	assert.True(t, r.checks[0].OK, "nothing was lost")
	assert.Equal(t, check{"best engine beside head-end replication, per CPU-second, least of all rows", "≥ 1.90 ×", "1.80 ×", false}, r.checks[1])
	assert.True(t, r.checks[2].OK, "the plain loop is as fast as when vxsnd was measured: 2,000/27, 1,800/124, 4,000/225")
	assert.Equal(t, "1.20 ×", r.checks[3].Got, "two VTEPs do not count for the socket engine")
	assert.Contains(t, r.text(), "7 [27]")
	assert.NotContains(t, r.text(), "–")
}

func TestOneLostOrDoubledCopyIsOne(t *testing.T) {
	t.Parallel()
	for _, c := range []capacity{{Lost: 1}, {Lost: -1}, {Missed: 1}, {Doubled: 1}} {
		bad := row(64, 16, 2e6, 2e6, 1e6, 2e5)
		bad.Methods[methods[1]] = append(bad.Methods[methods[1]], c)
		assert.Equal(t, check{"copies of the engines lost, or wrong, at 0.7 of capacity", "0", "1", false}, rateResult([]rateRow{bad}).checks[0])
	}
	bad := row(64, 16, 2e6, 2e6, 1e6, 2e5)
	bad.Methods[headEndReplication] = []capacity{{Lost: 7}}
	assert.True(t, rateResult([]rateRow{bad}).checks[0].OK, "others may lose")
}

func TestReplacesOnlyItsOwnSections(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "performance.md")
	before := "# Performance\n\n## Another (`another`, n = 3)\n\nits figures\n\n## Notes\n\nby hand\n"
	require.NoError(t, os.WriteFile(file, []byte(before), 0o644))
	results := []result{rateResult([]rateRow{row(64, 16, 2e6, 2e6, 1e6, 2e5)})}
	for range 2 {
		require.NoError(t, writeDocument(file, []measurement{rates}, results, &bench{rounds: 3}))
	}
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	after := string(text)
	assert.Equal(t, "## Another (`another`, n = 3)\n\nits figures\n", figures.Section(after, "another"))
	assert.Contains(t, figures.Section(after, "flood-rate"), "| 16 | 2,000 [2,000] |")
	assert.Equal(t, "\n## Notes\n\nby hand\n", figures.Notes(after))
	assert.Len(t, after, len(before)+len(figures.Section(after, "flood-rate"))+1, "once, and nothing else")
}
