//go:build lab

package main

import (
	"bytes"
	"context"
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
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// TestSmoke runs every measurement with tiny numbers, so that the tool cannot rot.
// It judges that all figures are there and that vtepbgp loses nothing, not speed.
func TestSmoke(t *testing.T) {
	systems := "FRR,vtepbgp"
	if _, err := findFRR(); err != nil {
		requireLab(t, err.Error())
		systems = "vtepbgp"
	}
	if os.Geteuid() != 0 {
		requireLab(t, "needs root")
		t.Skip("needs root, for network namespaces")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	doc := filepath.Join(t.TempDir(), "performance.md")
	var out bytes.Buffer
	err := run(ctx, []string{
		"-quick", "-routes", "1600", "-soak", "40000", "-vnis", "5", "-systems", systems, "-write", doc,
	}, &out)
	require.NoError(t, err, "%s", out.String())
	text, err := os.ReadFile(doc)
	require.NoError(t, err)
	for _, m := range measurements(quick) {
		assert.Contains(t, string(text), "(`"+m.name+"`", "every measurement has its section")
	}
	assert.NotContains(t, string(text), "not measured", "every target has a figure")
	for _, line := range []string{"MACs lost", "rows with two destinations", "lost, kill -9", "lost, TERM"} {
		assert.Regexp(t, line+`.*\| 0 \| reached \|`, string(text))
	}
}

func requireLab(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("VTEPBGP_LAB_REQUIRED") == "1" {
		t.Fatalf("the lab is required: %s", why)
	}
}
