package daemon

import (
	"context"
	"errors"
	"fmt"

	"github.com/sirupsen/logrus"
)

// errEnded is the fate of a part that returned though nobody had asked it to.
var errEnded = errors.New("ended unexpectedly")

// parts runs the parts of the daemon. They are started in order, each in a context
// of its own, so that they can be stopped in reverse order, each after the ones
// that build on it. A part that ends by itself ends the daemon.
type parts struct {
	log  *logrus.Entry
	fail func(error)
	list []*part
}

type part struct {
	name   string
	cancel context.CancelFunc
	before func() // what to do before its context ends; may be nil
	done   chan struct{}
	err    error // of a part that was told to stop
}

// start runs a part. The part must return nil when its context ends.
func (p *parts) start(name string, run func(context.Context) error) *part {
	ctx, cancel := context.WithCancel(context.Background())
	t := &part{name: name, cancel: cancel, done: make(chan struct{})}
	p.list = append(p.list, t)
	go func() {
		defer close(t.done)
		switch err := run(ctx); {
		case ctx.Err() != nil && err != nil:
			t.err = fmt.Errorf("%s: %w", name, err)
		case ctx.Err() != nil:
		case err == nil:
			p.fail(fmt.Errorf("%s: %w", name, errEnded))
		default:
			p.fail(fmt.Errorf("%s: %w", name, err))
		}
	}()
	return t
}

// stop ends all parts in reverse order and gives their errors.
func (p *parts) stop() error {
	var errs []error
	for i := len(p.list) - 1; i >= 0; i-- {
		t := p.list[i]
		p.log.WithField(fieldPart, t.name).Debug("stopping")
		if t.before != nil {
			t.before()
		}
		t.cancel()
		<-t.done
		errs = append(errs, t.err)
	}
	p.list = nil
	return errors.Join(errs...)
}
