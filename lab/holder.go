package lab

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// The holder is process 1 of a node. It waits until we have written down that it
// exists: when we die before, its input ends and so does it. /proc shows the
// process id namespace of who mounts it, so this is left to the holder. Then it
// reaps what the node's processes leave behind, until it is killed.
const holderScript = `read go || exit 1
mount -t proc proc /proc || exit 1
echo ready
exec </dev/null >/dev/null 2>&1
while :; do sleep 86400 & wait; done
`

type holder struct {
	process
	in   io.WriteCloser
	out  *bufio.Reader
	errs *bytes.Buffer
	gone chan struct{} // closed when it has ended and is collected
}

// startHolder makes the namespaces. Nothing happens in them until release.
func startHolder(longName string) (*holder, error) {
	cmd := exec.Command("/bin/sh", "-c", holderScript)
	cmd.Args[0] = "vtepbgp-lab:" + longName
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + nodePath}
	// A session of its own: an interrupt from the terminal is for us to handle.
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: allSpaces, Setsid: true}
	h := &holder{errs: &bytes.Buffer{}, gone: make(chan struct{})}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("make pipe: %w", err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		in.Close()
		return nil, fmt.Errorf("make pipe: %w", err)
	}
	h.in, h.out = in, bufio.NewReader(r)
	cmd.Stdout, cmd.Stderr = w, h.errs
	err = cmd.Start()
	w.Close()
	if err != nil {
		in.Close()
		r.Close()
		return nil, fmt.Errorf("make namespaces: %w", err)
	}
	go func() {
		_ = cmd.Wait()
		r.Close()
		close(h.gone)
	}()
	if h.process, err = identify(cmd.Process.Pid); err != nil {
		in.Close()
		return nil, fmt.Errorf("make namespaces: %w", err)
	}
	return h, nil
}

// release lets the holder finish and waits until it has.
func (h *holder) release(ctx context.Context) error {
	if _, err := io.WriteString(h.in, "go\n"); err != nil {
		return fmt.Errorf("release first process: %w", err)
	}
	h.in.Close()
	ready := make(chan error, 1)
	go func() {
		line, err := h.out.ReadString('\n')
		if err == nil && strings.TrimSpace(line) != "ready" {
			err = fmt.Errorf("first process said %q", line)
		}
		ready <- err
	}()
	select {
	case err := <-ready:
		if err != nil {
			_ = h.signal(unix.SIGKILL)
			<-h.gone
			return fmt.Errorf("mount /proc: %w: %s", err, strings.TrimSpace(h.errs.String()))
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
