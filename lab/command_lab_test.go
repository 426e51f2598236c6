//go:build lab

package lab_test

import (
	"encoding/json"
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/lab"
)

// The commands, each a process of its own, over one lab.
func TestCommandLine(t *testing.T) {
	t.Parallel()
	needRoot(t)
	bin := binary(t)
	name := uniqueName("cli")
	file := folder(t, map[string]string{"t.clab.yml": "name: " + name +
		"\ntopology:\n  nodes:\n    a: {kind: linux, image: alpine, exec: [ip link add br0 type bridge]}\n"})
	run := func(args ...string) (stdout, stderr string, code int) {
		var out, errs strings.Builder
		cmd := exec.Command(bin, append([]string{"lab"}, args...)...)
		cmd.Stdout, cmd.Stderr = &out, &errs
		err := cmd.Run()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			require.NoError(t, err)
		}
		return out.String(), errs.String(), cmd.ProcessState.ExitCode()
	}

	_, errs, code := run("exec", file, "a", "true")
	assert.Equal(t, 1, code)
	assert.Contains(t, errs, "lab "+name+" is not up")

	_, errs, code = run("up", file)
	require.Equal(t, 0, code, errs)
	t.Cleanup(func() { run("down", file) })
	_, errs, code = run("up", file)
	assert.Equal(t, 1, code)
	assert.Contains(t, errs, "it is up already")

	out, errs, code := run("show", file, "-o", "json")
	require.Equal(t, 0, code, errs)
	var nodes []lab.NodeStatus
	require.NoError(t, json.Unmarshal([]byte(out), &nodes))
	require.Len(t, nodes, 1)
	assert.Equal(t, "clab-"+name+"-a", nodes[0].Namespace)
	assert.Equal(t, "running", nodes[0].State)

	for _, dashes := range [][]string{nil, {"--"}} {
		args := append([]string{"exec", file, "a"}, dashes...)
		out, errs, code = run(append(args, "sh", "-c", "hostname; echo bad >&2; exit 9")...)
		assert.Equal(t, "a\n", out, "dashes %q", dashes)
		assert.Contains(t, errs, "bad\n")
		assert.Equal(t, 9, code, "dashes %q", dashes)
	}

	for range 2 { // it may be down already
		_, errs, code = run("down", file)
		assert.Equal(t, 0, code, errs)
	}
	tr := &traces{name: name, stateDir: t.TempDir()}
	require.NoError(t, tr.gone())
	assert.NoDirExists(t, lab.DefaultStateDir+"/"+name)
}
