package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Stdio is what a command reads and writes; nil means nothing and nowhere. An *os.File
// is handed to the command itself, so that programs that want a terminal find it.
type Stdio struct {
	In       io.Reader
	Out, Err io.Writer
}

// Exec runs a command in a node and returns its exit code; 128 + the signal's number
// when a signal ended it. The error is for commands that could not run at all (it
// matches [exec.ErrNotFound] for an unknown program) and for ctx, whose end kills the command.
func (l *Lab) Exec(ctx context.Context, node string, argv []string, io Stdio) (int, error) {
	if len(argv) == 0 {
		return 0, errors.New("exec: no command")
	}
	if err := needRoot("lab exec"); err != nil {
		return 0, err
	}
	n, err := l.node(node)
	if err != nil {
		return 0, err
	}
	var cmd *exec.Cmd
	err = inside(n.Holder, allSpaces, func() error {
		if cmd, err = command(ctx, argv, n.Env); err != nil {
			return err
		}
		cmd.Stdin, cmd.Stdout, cmd.Stderr = io.In, io.Out, io.Err
		// A child that the command leaves behind may hold our pipes.
		cmd.WaitDelay = time.Second
		return cmd.Start()
	})
	if err != nil {
		return 0, fmt.Errorf("exec in %s: %w", node, err)
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return 0, fmt.Errorf("exec in %s: %w", node, ctx.Err())
	case errors.As(err, &exit):
		if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			return 128 + int(ws.Signal()), nil
		}
		return exit.ExitCode(), nil
	case err != nil && !errors.Is(err, exec.ErrWaitDelay):
		return 0, fmt.Errorf("exec in %s: %w", node, err)
	}
	return 0, nil
}

// Output runs a command in a node and returns what it wrote to standard output. A
// code other than 0 is an error that holds what it wrote to standard error.
func (l *Lab) Output(ctx context.Context, node string, argv ...string) (string, error) {
	var out, errs strings.Builder
	code, err := l.Exec(ctx, node, argv, Stdio{Out: &out, Err: &errs})
	if err != nil {
		return out.String(), err
	}
	if code != 0 {
		return out.String(), fmt.Errorf("%s in %s ended with code %d: %s", strings.Join(argv, " "), node, code, strings.TrimSpace(errs.String()))
	}
	return out.String(), nil
}

// Within runs f on a thread in the network namespace of a node: sockets that it makes belong there.
func (l *Lab) Within(node string, f func() error) error {
	n, err := l.node(node)
	if err != nil {
		return err
	}
	if err := inside(n.Holder, unix.CLONE_NEWNET, f); err != nil {
		return fmt.Errorf("work within %s: %w", node, err)
	}
	return nil
}
