package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

const frrFolder = "/usr/lib/frr"

// frrScript starts FRR the way FRR's own container image does: the daemons
// that /etc/frr/daemons turns on, under watchfrr, which also applies frr.conf.
const frrScript = `. ` + frrFolder + `/frrcommon.sh
daemon_list list
exec ` + frrFolder + `/watchfrr -F traditional $list
`

func frrInstalled() error {
	for _, f := range []string{"watchfrr", "zebra", "bgpd", "frrcommon.sh"} {
		if _, err := os.Stat(frrFolder + "/" + f); err != nil {
			return fmt.Errorf("FRR is not installed here (no %s/%s): apt-get install frr", frrFolder, f)
		}
	}
	return nil
}

// mainOf is the command of a node's process; nil for a plain host without cmd.
func mainOf(n Node) []string {
	switch n.Role {
	case RoleVTEPBGP:
		if n.Cmd != nil {
			return append([]string{BinaryPath}, n.Cmd...) // the image's entry point is the binary
		}
		return []string{BinaryPath, "run"}
	case RoleFRR:
		return []string{"/bin/bash", "-c", frrScript}
	default:
		return n.Cmd
	}
}

// running is a started process of a node, while we are the ones who started it.
type running struct {
	done chan struct{} // closed once it has ended
	err  error         // valid after done
}

func (r *running) result() string {
	var exit *exec.ExitError
	switch {
	case r.err == nil:
		return "exit code 0"
	case errors.As(r.err, &exit):
		return exit.String()
	default:
		return r.err.Error()
	}
}

// startMain starts the process of a node. It outlives ctx and us.
func startMain(ctx context.Context, n *nodeState) (process, *running, error) {
	if err := ctx.Err(); err != nil {
		return process{}, nil, err
	}
	log, err := os.OpenFile(n.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return process{}, nil, fmt.Errorf("open log: %w", err)
	}
	defer log.Close()
	r := &running{done: make(chan struct{})}
	var cmd *exec.Cmd
	err = inside(n.Holder, allSpaces, func() error {
		if cmd, err = command(context.WithoutCancel(ctx), n.Argv, n.Env); err != nil {
			return err
		}
		cmd.Stdout, cmd.Stderr = log, log
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		return cmd.Start()
	})
	if err != nil {
		return process{}, nil, fmt.Errorf("start %s: %w", n.Argv[0], err)
	}
	p, err := identify(cmd.Process.Pid)
	go func() {
		r.err = cmd.Wait()
		close(r.done)
	}()
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrProcessDone) {
		return process{PID: cmd.Process.Pid}, r, nil // it ended at once: settled tells
	}
	if err != nil {
		return process{}, nil, fmt.Errorf("start %s: %w", n.Argv[0], err)
	}
	return p, r, nil
}
