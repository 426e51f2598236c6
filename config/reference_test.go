package config_test

import (
	"flag"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/config"
)

var update = flag.Bool("update", false, "write the generated files")

// commented matches a key behind a bare '#': a default or an alternative.
var commented = regexp.MustCompile(`(?m)^#([a-z_]+ = .*)$`)

func TestReferenceIsValid(t *testing.T) {
	t.Parallel()
	c := mustLoad(t, config.Reference)
	assert.Equal(t, "rr1", c.Neighbors[0].Description)
	assert.Len(t, c.VNIs[0].StaticMACs, 1)
}

// What the reference says of a default is the default: with every commented key
// taken in, but for the alternatives, nothing changes.
func TestReferenceShowsDefaults(t *testing.T) {
	t.Parallel()
	alternative := regexp.MustCompile(`^#(interface|prefix|password|password_file) = `)
	var lines []string
	for line := range strings.Lines(config.Reference) {
		if commented.MatchString(line) && !alternative.MatchString(line) {
			line = line[1:]
		}
		lines = append(lines, line)
	}
	assert.Equal(t, mustLoad(t, config.Reference), mustLoad(t, strings.Join(lines, "")))
}

func TestReferenceHasEveryKey(t *testing.T) {
	t.Parallel()
	shown := map[string]bool{}
	table := ""
	header := regexp.MustCompile(`^\[+([a-z_.]+)\]+$`)
	key := regexp.MustCompile(`^#?([a-z_]+) = `)
	for line := range strings.Lines(config.Reference) {
		line = strings.TrimSpace(line)
		if m := header.FindStringSubmatch(line); m != nil {
			table = m[1]
			shown[table] = true
		} else if m := key.FindStringSubmatch(line); m != nil {
			shown[table+"."+m[1]] = true
		}
	}
	keys := config.Keys()
	require.Greater(t, len(keys), 50)
	for _, k := range keys {
		assert.True(t, shown[k], "reference.toml does not show %s", k)
		delete(shown, k)
	}
	assert.Empty(t, shown, "reference.toml shows keys that do not exist")
}

// docs/config.md is the reference as a page, one section a table.
func TestDocsConfigIsCurrent(t *testing.T) {
	t.Parallel()
	const path = "../docs/config.md"
	want := referencePage(config.Reference)
	if *update {
		require.NoError(t, os.MkdirAll("../docs", 0o755))
		require.NoError(t, os.WriteFile(path, []byte(want), 0o644))
	}
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, want, string(got), "run: go test ./config -run DocsConfig -update")
}

func referencePage(reference string) string {
	var b strings.Builder
	b.WriteString("<!-- Generated from config/reference.toml by `make golden`. -->\n# Configuration\n\n" +
		"`/etc/vtepbgp/vtepbgp.toml`, and one file per VNI in `vni.d/*.toml` beside it: such a file holds the\n" +
		"keys of one `[[vni]]` at its top level. `-c -` reads standard input instead, without `vni.d`.\n\n")
	for block := range strings.SplitSeq(strings.TrimSpace(reference), "\n\n") {
		lines := strings.Split(block, "\n")
		table := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "[") })
		if table >= 0 {
			b.WriteString("## `" + lines[table] + "`\n\n")
		}
		for i, line := range lines {
			if i == table {
				b.WriteString("\n```toml\n" + strings.Join(lines[i:], "\n") + "\n```\n\n")
				break
			}
			b.WriteString(strings.TrimPrefix(strings.TrimPrefix(line, "#"), " ") + "\n")
		}
		if table < 0 {
			b.WriteString("\n")
		}
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}
