package evpn_test

import (
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// pure lists all that the core may import: no I/O, no log, no goroutine tools. "time" is
// there for time as a value; the clock is forbidden below.
var pure = map[string]bool{
	"bytes": true, "cmp": true, "container/heap": true, "encoding/binary": true, "encoding/hex": true, "fmt": true, "hash/fnv": true,
	"maps": true, "math": true, "net/netip": true, "slices": true, "strconv": true, "strings": true, "time": true,
	"unique": true,
}

// TestCoreIsPure keeps the promise of the package documentation.
func TestCoreIsPure(t *testing.T) {
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	checked := 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		checked++
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		for _, i := range f.Imports {
			path, err := strconv.Unquote(i.Path.Value)
			require.NoError(t, err)
			assert.True(t, pure[path], "%s imports %s", name, path)
		}
		for _, bad := range impure(f) {
			assert.Fail(t, "impure", "%s: %s", fset.Position(bad.Pos()), bad.what)
		}
	}
	assert.Greater(t, checked, 10)
}
