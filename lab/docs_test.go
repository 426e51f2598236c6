package lab_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// docs/rfc.md says where each rule lives and what proves it; a name that moved
// would make it lie.
func TestRFCTableNamesWhatExists(t *testing.T) {
	t.Parallel()
	const root = ".."
	text, err := os.ReadFile(filepath.Join(root, "docs/rfc.md"))
	require.NoError(t, err)

	tests := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)`)
	require.NoError(t, filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, d := range declared.FindAllSubmatch(source, -1) {
			tests[string(d[1])] = true
		}
		return err
	}))

	names := regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(string(text), -1)
	require.Greater(t, len(names), 80, "names found in the table")
	for _, n := range names {
		switch name := n[1]; {
		case strings.HasPrefix(name, "Test"), strings.HasPrefix(name, "Fuzz"):
			assert.Contains(t, tests, name)
		case strings.Contains(name, "/"):
			_, err := os.Stat(filepath.Join(root, name))
			assert.NoError(t, err)
		case regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)+$`).MatchString(name):
			assert.DirExists(t, filepath.Join(root, "evpn/testdata/scenarios", name))
		}
	}
}
