//go:build lab

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) {
	if is, err := launched(); is {
		if err != nil {
			fmt.Fprintln(os.Stderr, "floodbench:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// TestSmoke runs every measurement with small numbers. It judges what does not depend on
// speed: exact counts, on all paths and on a slow wire, and that nothing is left behind.
func TestSmoke(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("VTEPBGP_LAB_REQUIRED") == "1" {
			t.Fatal("the lab is required: needs root")
		}
		t.Skip("needs root, for network namespaces")
	}
	before, err := readMachine()
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	dir := t.TempDir()
	doc, file := filepath.Join(dir, "performance.md"), filepath.Join(dir, "figures.json")
	var out bytes.Buffer
	require.NoError(t, run(ctx, []string{"-quick", "-write", doc, "-json", file}, &out), "%s", &out)
	t.Log(out.String())
	after, err := readMachine()
	require.NoError(t, err)
	assert.Equal(t, before, after, "the machine is what it was")

	text, err := os.ReadFile(doc)
	require.NoError(t, err)
	for _, m := range measurements {
		assert.Contains(t, string(text), "(`"+m.section()+"`", "every measurement has its section")
	}
	for _, line := range []string{
		"copies of the engines lost, or wrong, at 0.7 of capacity", "copies lost by the engine that auto picks", "copies doubled by it",
		"ebpf: VTEPs that stay, with copies lost or doubled", "socket: VTEPs that stay, with copies lost or doubled",
	} {
		assert.Contains(t, string(text), "| "+line+" | 0 | 0 | reached |")
	}
	var all struct {
		Rate []rateRow `json:"rate"`
		Slow []slow    `json:"slow"`
	}
	text, err = os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &all))
	require.Len(t, all.Rate, 2)
	for _, r := range all.Rate {
		for _, m := range methods {
			require.Len(t, r.Methods[m], 1)
			assert.Positive(t, r.Methods[m][0].Saturated, m)
			assert.Positive(t, r.Methods[m][0].PerCPU, m)
		}
	}
	require.Len(t, all.Slow, 4)
	assert.Positive(t, all.Slow[2].Lost, "the wire is slow: what cannot wait loses")
}
