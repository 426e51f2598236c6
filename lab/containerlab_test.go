package lab_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/vtepbgp/vtepbgp/lab"
)

// topologies lists the files in containerlab/.
func topologies(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("../containerlab/*.clab.yml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	return files
}

func TestTopologiesLoad(t *testing.T) {
	t.Parallel()
	for _, file := range topologies(t) {
		top, err := lab.Load(file)
		require.NoError(t, err)
		assert.Equal(t, strings.TrimSuffix(filepath.Base(file), ".clab.yml"), top.Name, "a lab is named like its file")
		for _, n := range top.Nodes {
			if n.Role != lab.RoleHost {
				assert.NotEmpty(t, n.Binds, "%s: node %s has no configuration", file, n.Name)
			}
		}
	}
}

// The schema is containerlab's own and not ours to ship. Put it, or link it, at the
// place named here (or in CLAB_SCHEMA) to have the topologies checked against it.
func TestTopologiesFollowContainerlabSchema(t *testing.T) {
	t.Parallel()
	file := os.Getenv("CLAB_SCHEMA")
	if file == "" {
		file = "../../shared/containerlab/clab.schema.json"
	}
	if _, err := os.Stat(file); err != nil {
		t.Skipf("containerlab's schema is outside the repository and not here: %v", err)
	}
	schema, err := jsonschema.NewCompiler().Compile(file)
	require.NoError(t, err)
	for _, file := range topologies(t) {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		var doc any
		require.NoError(t, yaml.Unmarshal(text, &doc), file)
		// Through JSON: the validator knows JSON's types only.
		asJSON, err := json.Marshal(doc)
		require.NoError(t, err, file)
		value, err := jsonschema.UnmarshalJSON(strings.NewReader(string(asJSON)))
		require.NoError(t, err, file)
		assert.NoError(t, schema.Validate(value), file)
	}
}
