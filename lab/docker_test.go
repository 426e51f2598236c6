package lab_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/lab"
)

// No container engine builds the image in tests, so at least what the Dockerfile
// names must agree with the rest of the tree.
func TestDockerfileAgreesWithTheTree(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../packaging/docker/Dockerfile")
	require.NoError(t, err)
	makefile, err := os.ReadFile("../Makefile")
	require.NoError(t, err)
	assert.Contains(t, string(makefile), "-f packaging/docker/Dockerfile -t vtepbgp:latest")

	copied := regexp.MustCompile(`(?m)^COPY (\S+) (\S+)$`).FindAllStringSubmatch(string(text), -1)
	require.NotEmpty(t, copied)
	for _, c := range copied {
		if c[1] == "bin/vtepbgp" { // made by make, at this very place
			assert.Contains(t, string(makefile), "BIN     := bin/vtepbgp")
			assert.Equal(t, lab.BinaryPath, c[2], "lab nodes have the binary where the image has it")
			continue
		}
		assert.FileExists(t, filepath.Join("..", c[1]))
	}
	assert.Contains(t, string(text), `ENTRYPOINT ["`+lab.BinaryPath+`"]`)
	assert.Contains(t, string(text), `CMD ["run"]`)

	// The tools that exec lines in our own nodes call are in the image.
	packages := map[string]string{"ip": "iproute2", "bridge": "iproute2", "ping": "iputils-ping", "tcpdump": "tcpdump"}
	for _, file := range topologies(t) {
		top, err := lab.Load(file)
		require.NoError(t, err)
		for _, n := range top.Nodes {
			if n.Role != lab.RoleVTEPBGP {
				continue
			}
			for _, argv := range n.Exec {
				require.Contains(t, packages, argv[0], "%s: node %s", file, n.Name)
				assert.True(t, strings.Contains(string(text), " "+packages[argv[0]]), "%s is not installed in the image", packages[argv[0]])
			}
		}
	}
}
