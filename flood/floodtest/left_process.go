package floodtest

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/flood"
)

// serveVariable has a test binary be the process that RunLeft ends.
const serveVariable = "VTEPBGP_FLOODTEST_SERVE"

// served is what such a process does.
type served struct {
	Kind      string
	Interface string
	Table     flood.Table
	Lease     flood.Lease
	Keep      flood.Lease // zero: it is not said
}

// Serves says that the process was started by RunLeft: it has to call Serve, and to end.
func Serves() bool { return os.Getenv(serveVariable) != "" }

// Serve runs an engine of one of kinds until it is told to leave.
func Serve(kinds ...flood.Kind) error {
	var what served
	if err := json.Unmarshal([]byte(os.Getenv(serveVariable)), &what); err != nil {
		return fmt.Errorf("read what to serve: %w", err)
	}
	at := slices.IndexFunc(kinds, func(k flood.Kind) bool { return k.Name == what.Kind })
	if at < 0 {
		return fmt.Errorf("serve %q: no engine of that kind was given", what.Kind)
	}
	e, err := kinds[at].Open(flood.Options{Interface: what.Interface, Log: logrus.NewEntry(logrus.New())})
	if err != nil {
		return err
	}
	if err := errors.Join(e.Start(), e.Renew(what.Lease), e.Apply(&what.Table)); err != nil {
		return err
	}
	if what.Keep != (flood.Lease{}) {
		if err := e.Keep(what.Keep); err != nil {
			return err
		}
	}
	fmt.Fprintln(os.Stdout, "serving")
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil { // until it closes
		return err
	}
	return e.Leave()
}

// process is an engine in a process of its own, on the relay.
type process struct {
	t    testing.TB
	cmd  *exec.Cmd
	tell io.Closer
}

func (s *stage) serve(kind flood.Kind, table *flood.Table, lease flood.Lease) *process {
	s.t.Helper()
	return s.serveAs(kind, served{Table: *table, Lease: lease})
}

func (s *stage) serveAs(kind flood.Kind, what served) *process {
	s.t.Helper()
	what.Kind, what.Interface = kind.Name, "u0"
	text, err := json.Marshal(what)
	require.NoError(s.t, err)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), serveVariable+"="+string(text))
	cmd.Stderr = s.t.Output()
	p := &process{t: s.t, cmd: cmd}
	p.tell, err = cmd.StdinPipe()
	require.NoError(s.t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(s.t, err)
	require.NoError(s.t, s.relay.Do(cmd.Start)) // in the namespace of the thread that starts it
	s.t.Cleanup(func() {
		if cmd.ProcessState == nil {
			p.kill()
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(s.t, err)
	require.Equal(s.t, "serving", strings.TrimSpace(line))
	return p
}

func (p *process) kill() {
	require.NoError(p.t, p.cmd.Process.Kill())
	require.Error(p.t, p.cmd.Wait(), "it was killed")
}

func (p *process) leave() {
	require.NoError(p.t, p.tell.Close())
	require.NoError(p.t, p.cmd.Wait())
}

func (p *process) signal(s syscall.Signal) { require.NoError(p.t, p.cmd.Process.Signal(s)) }
