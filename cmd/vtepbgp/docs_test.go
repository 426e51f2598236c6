package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// docs/cli.md is what --help says, all commands on one page.
func TestDocsCLIIsCurrent(t *testing.T) {
	t.Parallel()
	const path = "../../docs/cli.md"
	root := newRootCommand(dependencies{
		version: "dev", stdout: io.Discard, stderr: io.Discard,
		getenv: os.Getenv, isTerminal: func(io.Writer) bool { return false },
	})
	var b strings.Builder
	b.WriteString("<!-- Generated from the commands by `make golden`. -->\n# Commands\n\n")
	document(&b, root)
	want := strings.TrimRight(b.String(), "\n") + "\n"
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(want), 0o644))
	}
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, want, string(got), "run: go test ./cmd/vtepbgp -run DocsCLI -update")
}

func document(b *strings.Builder, cmd *cobra.Command) {
	long := cmd.Long
	if long == "" {
		long = cmd.Short + "."
	}
	fmt.Fprintf(b, "## %s\n\n%s\n\n", cmd.CommandPath(), long)
	if cmd.Runnable() && (!cmd.HasSubCommands() || !cmd.HasParent()) {
		fmt.Fprintf(b, "```\n%s\n```\n\n", cmd.UseLine())
	}
	if cmd.Example != "" {
		fmt.Fprintf(b, "```sh\n%s\n```\n\n", strings.ReplaceAll(strings.TrimPrefix(cmd.Example, "  "), "\n  ", "\n"))
	}
	if flags := cmd.LocalFlags().FlagUsages(); flags != "" {
		fmt.Fprintf(b, "```\n%s```\n\n", flags)
	}
	for _, c := range cmd.Commands() {
		if c.Name() != "help" && c.Name() != "completion" && !c.Hidden {
			document(b, c)
		}
	}
}

// Every command says what it does, and every one that asks something has an example.
func TestHelpIsComplete(t *testing.T) {
	t.Parallel()
	var check func(*cobra.Command)
	check = func(cmd *cobra.Command) {
		assert.NotEmpty(t, cmd.Short, cmd.CommandPath())
		for line := range strings.Lines(cmd.Long) {
			assert.LessOrEqual(t, len([]rune(line)), 101, line)
		}
		if !cmd.HasSubCommands() && cmd.Name() != "version" {
			assert.NotEmpty(t, cmd.Example, cmd.CommandPath())
		}
		for _, c := range cmd.Commands() {
			check(c)
		}
	}
	check(newRootCommand(dependencies{stdout: io.Discard, stderr: io.Discard, getenv: os.Getenv}))
}
