package journal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// Replay is a recording on its way through a core of its own.
type Replay struct {
	// Until ends the replay before the first record for which it is true; nil = never.
	// Events counts the events taken before that record.
	Until func(rec Record, events int) bool
	// Copy gets the lines after the header that are played; nil = nobody does.
	Copy io.Writer

	core    *evpn.Core
	in      *Reader
	start   time.Time
	last    time.Time
	events  int
	pending bool // events since the last drain
}

// NewReplay gives a replay that has not begun.
func NewReplay(r *Reader) *Replay {
	start := r.Header().Started
	return &Replay{core: evpn.New(evpn.Config{}), in: r, start: start, last: start}
}

// Core is what the recording tells, so far.
func (p *Replay) Core() *evpn.Core { return p.core }

// Events counts the events taken so far.
func (p *Replay) Events() int { return p.events }

// Last is the time of the last record taken.
func (p *Replay) Last() time.Time { return p.last }

// Step is one record and what followed from it.
type Step struct {
	Record
	// Changes are those of a drain; nil when the record is none or nothing changed.
	Changes *evpn.Changes
}

// Next takes one record; [io.EOF] after the last one. A recording that was cut may
// leave events without a drain: they get one in a last step, which has no line.
func (p *Replay) Next() (Step, error) {
	rec, err := p.in.Next()
	if err == nil && p.Until != nil && p.Until(rec, p.events) {
		err = io.EOF
	}
	if err == nil && p.Copy != nil {
		if _, err := p.Copy.Write(append(bytes.Clone(p.in.Raw()), '\n')); err != nil {
			return Step{}, fmt.Errorf("copy recording: %w", err)
		}
	}
	if errors.Is(err, io.EOF) && p.pending {
		return Step{Record: Record{At: p.last, Drain: true}, Changes: p.drain()}, nil
	}
	if err != nil {
		return Step{}, err
	}
	p.last = rec.At
	s := Step{Record: rec}
	switch {
	case rec.Event != nil:
		p.core.Handle(rec.Event, rec.At)
		p.events++
		p.pending = true
	case rec.Drain:
		s.Changes = p.drain()
	}
	return s, nil
}

func (p *Replay) drain() *evpn.Changes {
	p.pending = false
	ch := p.core.Drain(p.last)
	if ch.Empty() {
		return nil
	}
	return &ch
}

// Transcribe plays what is left and writes what the core answered, as the scenarios of
// the core do; with events, also the events with their numbers. each is
// called after every drain that changed something; it may be nil.
func (p *Replay) Transcribe(w io.Writer, events bool, each func(evpn.Changes)) error {
	t := NewTranscript(w, p.start)
	told := p.last
	for {
		s, err := p.Next()
		if errors.Is(err, io.EOF) {
			t.Show(p.core)
			return nil
		}
		if err != nil {
			return err
		}
		if s.Event != nil && events {
			fmt.Fprintf(w, "event %d %s\n", p.events, p.in.Raw())
		}
		if s.Changes == nil {
			continue
		}
		if !s.At.Equal(told) {
			t.At(s.At)
			told = s.At
		}
		t.Changes(*s.Changes)
		if each != nil {
			each(*s.Changes)
		}
	}
}
