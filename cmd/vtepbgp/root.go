package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/api"
	"github.com/vtepbgp/vtepbgp/config"
	"github.com/vtepbgp/vtepbgp/lab"
)

// dependencies are what the commands need of the world; tests bring their own.
type dependencies struct {
	version        string
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
	isTerminal     func(io.Writer) bool
}

// The exit codes of every command.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

// usageError is a command line that cannot be meant.
type usageError struct {
	cmd *cobra.Command
	err error
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// exitError passes on the exit code of a command that ran elsewhere; it has
// said what there was to say.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// execute runs the command line args and gives the exit code.
func execute(ctx context.Context, d dependencies, args []string) int {
	root := newRootCommand(d)
	root.SetArgs(args)
	root.SetIn(d.stdin)
	root.SetOut(d.stdout)
	root.SetErr(d.stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	if code, ok := errors.AsType[exitError](err); ok {
		return int(code)
	}
	printError(d.stderr, cmd, err)
	return exitCode(err)
}

func exitCode(err error) int {
	if _, ok := errors.AsType[*usageError](err); ok {
		return exitUsage
	}
	if _, ok := errors.AsType[config.Problems](err); ok {
		return exitUsage
	}
	if _, ok := errors.AsType[lab.Problem](err); ok {
		return exitUsage
	}
	if refused, ok := errors.AsType[*api.Error](err); ok && len(refused.Problems) > 0 {
		return exitUsage
	}
	return exitFailure
}

func printError(w io.Writer, cmd *cobra.Command, err error) {
	if problems, ok := errors.AsType[config.Problems](err); ok {
		_, _ = fmt.Fprintf(w, "%v\nvtepbgp: the configuration has %s\n", problems, plural(len(problems), "problem"))
		return // when standard error is closed there is nobody to tell
	}
	message := fmt.Sprintf("vtepbgp: %v\n", err)
	if usage, ok := errors.AsType[*usageError](err); ok {
		if usage.cmd != nil {
			cmd = usage.cmd
		}
		message += fmt.Sprintf("Run \"%s --help\" for usage.\n", cmd.CommandPath())
	}
	_, _ = io.WriteString(w, message)
}

func newRootCommand(d dependencies) *cobra.Command {
	root := newGroup("vtepbgp", "A BGP EVPN VTEP for Linux", `vtepbgp makes this host an EVPN VTEP: it speaks BGP with route reflectors or other
VTEPs and keeps the kernel's VXLAN flood lists, forwarding database and
neighbour tables as the routes say (RFC 7432, RFC 8365).

"vtepbgp run" is the daemon. The other commands ask it over its unix socket.
Exit codes: 0 ok, 1 failure, 2 usage or bad configuration.`,
		newRunCommand(d),
		newConfigCommand(d),
		newStatusCommand(d),
		newNeighborCommand(d),
		newVNICommand(d),
		newMACCommand(d),
		newVTEPCommand(d),
		newFloodCommand(d),
		newRouteCommand(d),
		newExplainCommand(d),
		newDriftCommand(d),
		newMonitorCommand(d),
		newRecordCommand(d),
		newReplayCommand(),
		newReloadCommand(d),
		newLabCommand(),
		newVersionCommand(d),
	)
	root.Example = `  vtepbgp config example > /etc/vtepbgp/vtepbgp.toml
  vtepbgp run
  vtepbgp neighbor show
  vtepbgp mac show --vni 100 --json`
	root.SilenceErrors = true
	root.SilenceUsage = true
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return &usageError{cmd, err} })
	markUsageErrors(root)
	return root
}

// newGroup is a command that only holds others. Cobra would print help and
// succeed for a subcommand that does not exist.
func newGroup(use, short, long string, commands ...*cobra.Command) *cobra.Command {
	group := &cobra.Command{
		Use: use, Short: short, Long: long,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			message := fmt.Sprintf("unknown command %q", cmd.CommandPath()+" "+args[0])
			cmd.SuggestionsMinimumDistance = 2
			if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
				message += fmt.Sprintf("; did you mean %q?", near[0])
			}
			return errors.New(message)
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.HasParent() {
				var names []string
				for _, c := range cmd.Commands() {
					names = append(names, c.Name())
				}
				return &usageError{cmd, fmt.Errorf("%s needs a command: %s", cmd.CommandPath(), strings.Join(names, " | "))}
			}
			return cmd.Help()
		},
	}
	group.AddCommand(commands...)
	return group
}

// markUsageErrors makes what the Args check of a command reports a usage error.
func markUsageErrors(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return &usageError{c, err}
			}
			return nil
		}
	}
	for _, c := range cmd.Commands() {
		markUsageErrors(c)
	}
}

func noArguments(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("unexpected argument %q: this command takes none", args[0])
	}
	return nil
}

func atMostOne(_ *cobra.Command, args []string) error {
	if len(args) > 1 {
		return fmt.Errorf("unexpected argument %q: this command takes one at most", args[1])
	}
	return nil
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
