package daemon

import (
	"errors"
	"net"
	"path/filepath"
	"time"

	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/api"
)

// claimed is what makes us the only instance.
type claimed struct {
	pid    *pidFile
	lock   *pidFile
	socket net.Listener
	dir    string
	grace  time.Duration
	last   lastRun
}

// claim takes the locks, opens the state directory and the control socket. Nothing
// of the host has been touched when a second instance finds itself refused.
func (d *daemon) claim() (c *claimed, err error) {
	c = &claimed{dir: d.cfg.State.Directory, grace: d.cfg.BGP.GracefulRestartTime}
	if d.opts.PIDFile != "" {
		if c.pid, err = lockPID(d.opts.PIDFile); err != nil {
			return c, err
		}
	}
	if err := makeStateDir(c.dir); err != nil {
		return c, err
	}
	if c.lock, err = lockPID(filepath.Join(c.dir, lockFile)); err != nil {
		return c, err
	}
	if d.numbers, err = openRDNumbers(c.dir); err != nil {
		return c, err
	}
	if d.added, err = openAddedVTEPs(c.dir); err != nil {
		return c, err
	}
	c.last = readLastRun(c.dir)
	c.socket, err = api.Listen(d.cfg.API.Socket)
	return c, err
}

func (c *claimed) release() error {
	var err error
	if c.socket != nil {
		if e := c.socket.Close(); !errors.Is(e, net.ErrClosed) {
			err = e
		}
	}
	return errors.Join(err, c.lock.close(), c.pid.close())
}
