package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/api"
	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/evpn/journal"
)

// Bounds of recordings.
const (
	// recordLimit is how many routes and other objects wait for one recording before
	// it is too slow and ends: about 50 MB.
	recordLimit   = 1 << 18
	maxRecordings = 4
	// lastWrite is how long the end of a recording may take when the daemon stops.
	lastWrite = 2 * time.Second
)

// errTooSlow ends a recording: with a gap it would tell another story.
var errTooSlow = errors.New("events came faster than they could be written")

// recorder is the tap of one recording. Events are handed on as they are: nobody
// changes one any more.
type recorder struct {
	feed *feed[recorded]
	told bool // events since the last drain
	full bool
}

type recorded struct {
	event evpn.Event // nil = a drain
	at    time.Time
}

func newRecorder() *recorder { return &recorder{feed: newFeed[recorded](recordLimit)} }

// Told sees what the core takes.
func (r *recorder) Told(_ *evpn.Core, ev evpn.Event, at time.Time) {
	r.told = true
	r.put(recorded{ev, at}, weightOf(ev))
}

// Drained sees that the changes were taken. A drain without effect is not written.
func (r *recorder) Drained(ch evpn.Changes, at time.Time) {
	if r.told || !ch.Empty() {
		r.told = false
		r.put(recorded{at: at}, 1)
	}
}

func (r *recorder) put(it recorded, weight int) {
	if !r.full {
		r.full = !r.feed.put(it, weight)
	}
}

// recording is what one recorder hears on its way out.
type recording struct {
	tap    *recorder
	vtep   netip.Addr
	begin  []evpn.Event // rebuilds what the core knew at the start
	start  time.Time
	out    api.Recording
	writer *journal.Writer
	events int
}

// from notes what the core knows now: events that make an equal core of an empty one.
// It is for the loop's goroutine.
func (r *recording) from(c *evpn.Core) {
	r.start, r.vtep = time.Now(), c.Config().VTEP
	r.begin = append([]evpn.Event{evpn.ConfigReplaced{Config: c.Config()}}, c.Snapshot()...)
}

// open writes the header and what the core knew.
func (r *recording) open(version string) (err error) {
	r.writer, err = journal.NewWriter(r.out.Out, journal.Header{ProgramVersion: version, VTEP: r.vtep, Started: r.start})
	if err != nil {
		return err
	}
	for _, ev := range r.begin {
		if err := r.event(ev, r.start); err != nil {
			return err
		}
	}
	r.begin = nil
	if err := r.writer.Drain(r.start); err != nil {
		return err
	}
	return r.out.Flush()
}

func (r *recording) event(ev evpn.Event, at time.Time) error {
	r.events++
	return r.writer.Event(ev, at)
}

// clock gives a time as it is written: the wall clock may be set while we run, but the
// core's time only goes forward.
func (r *recording) clock(t time.Time) time.Time { return r.start.Add(t.Sub(r.start)) }

// more writes what waits.
func (r *recording) more() error {
	items, lost := r.tap.feed.take()
	for _, it := range items {
		var err error
		if it.event != nil {
			err = r.event(it.event, r.clock(it.at))
		} else {
			err = r.writer.Drain(r.clock(it.at))
		}
		if err != nil {
			return err
		}
	}
	if lost > 0 {
		if err := r.end(errTooSlow.Error()); err != nil {
			return err
		}
		return errTooSlow
	}
	return r.out.Flush()
}

// run writes until ctx or the loop ends, or something fails.
func (r *recording) run(ctx context.Context, loopDone <-chan struct{}) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-loopDone:
			return nil
		case <-r.tap.feed.ready:
			if err := r.more(); err != nil {
				return err
			}
		}
	}
}

// finish writes what is left when the daemon stops.
func (r *recording) finish() error {
	if err := r.more(); err != nil {
		return err
	}
	return r.end("the daemon stopped")
}

func (r *recording) end(reason string) error {
	if err := r.writer.End(r.clock(time.Now()), reason); err != nil {
		return err
	}
	return r.out.Flush()
}

// Record writes a recording until the reader or the daemon ends.
func (d *daemon) Record(ctx context.Context, to api.Recording) error {
	if d.recordings.Add(1) > maxRecordings {
		d.recordings.Add(-1)
		return &api.Error{StatusCode: http.StatusServiceUnavailable, Message: fmt.Sprintf("%d recordings run already: end one first", maxRecordings)}
	}
	defer d.recordings.Add(-1)
	r := &recording{tap: newRecorder(), out: to}
	detach, err := d.loop.attach(ctx, r.tap, r.from)
	if err != nil {
		return err
	}
	defer detach()
	if err := r.open(d.opts.Version); err != nil {
		return err
	}
	if err := r.run(ctx, d.loop.done); err != nil || ctx.Err() != nil {
		return err
	}
	return r.finish()
}

// recordFile is the file of --record.
type recordFile struct {
	*os.File
	out *journal.Output
}

// openRecord opens the file of --record. What an earlier run left there, which may be
// the reason for this one, is moved aside once.
func openRecord(path string) (*recordFile, error) {
	if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Size() > 0 {
		if err := os.Rename(path, path+".old"); err != nil {
			return nil, fmt.Errorf("move the last recording aside: %w", err)
		}
	}
	// A pipe that nobody reads is an error and not a wait.
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|syscall.O_NONBLOCK, 0o640)
	if err != nil {
		return nil, fmt.Errorf("open recording: %w", err)
	}
	return &recordFile{File: f, out: journal.NewOutput(f, path)}, nil
}

// recordFromStart attaches the recording of --record before the loop runs, and starts
// the part that writes it. It must come before the part of the loop, so that it ends
// after it. A recording that fails is logged; the daemon goes on.
func (d *daemon) recordFromStart(f *recordFile) {
	r := &recording{tap: newRecorder(), out: api.Recording{Out: f.out, Flush: f.out.Flush}}
	r.from(d.loop.core)
	d.loop.taps = append(d.loop.taps, r.tap)
	log := d.log.WithField(fieldFile, f.Name())
	log.Info("recording")
	p := d.parts.start("recording", func(ctx context.Context) error {
		err := r.open(d.opts.Version)
		if err == nil {
			err = r.run(ctx, d.loop.done)
		}
		if err == nil {
			err = r.finish()
		}
		if closed := errors.Join(f.out.Close(), f.Close()); err == nil {
			err = closed
		}
		if err != nil {
			log.WithField(fieldError, err).WithField("events", r.events).Error("recording ended; the daemon goes on without it")
			d.loop.detach(ctx, r.tap)
		}
		<-ctx.Done()
		return nil
	})
	p.before = func() { _ = f.SetWriteDeadline(time.Now().Add(lastWrite)) } // an ordinary file has none and does not wait
}
