package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// Recording is a running recording; the daemon writes it to w and calls flush when it
// has nothing more to say for the moment.
type Recording struct {
	Out   io.Writer
	Flush func() error
}

func (s *Server) monitor(w http.ResponseWriter, r *http.Request) {
	f, err := parseEventFilter(r.URL.Query())
	if err != nil {
		writeError(w, badRequest(err))
		return
	}
	out := newLive(w)
	enc := json.NewEncoder(out.buffer)
	out.finish(s.backend.Monitor(r.Context(), f, func(events []Event) error {
		for _, e := range events {
			if err := enc.Encode(e); err != nil {
				return err
			}
		}
		return out.flush()
	}))
}

func (s *Server) record(w http.ResponseWriter, r *http.Request) {
	p := queryParser{q: r.URL.Query()}
	if err := p.finish(); err != nil {
		writeError(w, badRequest(err))
		return
	}
	out := newLive(w)
	out.finish(s.backend.Record(r.Context(), Recording{Out: out.buffer, Flush: out.flush}))
}

// live is an answer that goes on: lines of JSON that leave as they come up.
type live struct {
	w       http.ResponseWriter
	buffer  *bufio.Writer
	started bool
}

func newLive(w http.ResponseWriter) *live {
	l := &live{w: w}
	l.buffer = bufio.NewWriterSize(l, 32<<10)
	return l
}

// Write sends the header with the first octets, so that a refusal can still be told.
func (l *live) Write(b []byte) (int, error) {
	if !l.started {
		l.started = true
		l.w.Header().Set("Content-Type", "application/x-ndjson")
	}
	return l.w.Write(b)
}

func (l *live) flush() error {
	if err := l.buffer.Flush(); err != nil {
		return err
	}
	return http.NewResponseController(l.w).Flush()
}

// finish ends the answer: an error before it began is told in words, one after it cuts
// the connection.
func (l *live) finish(err error) {
	switch {
	case err == nil:
		if l.flush() != nil {
			panic(http.ErrAbortHandler)
		}
	case l.started || l.buffer.Buffered() > 0:
		panic(http.ErrAbortHandler)
	default:
		writeError(l.w, err)
	}
}

// ErrEnded is wrapped when what the daemon tells live has ended with the daemon.
var ErrEnded = errors.New("the daemon has stopped")

// Monitor calls yield for each event as it happens, until ctx ends or yield gives an
// error, which it returns. Before the first event there is one that says so. When the
// daemon stops, the error is [ErrEnded].
func (c *Client) Monitor(ctx context.Context, f EventFilter, yield func(Event) error) error {
	var stop error // of yield: goes to the caller as it is
	err := c.do(ctx, http.MethodGet, "/v1/monitor", f.query(), func(d *json.Decoder) error {
		for {
			var e Event
			if err := d.Decode(&e); err != nil {
				if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
					err = ErrEnded
				}
				return err
			}
			if stop = yield(e); stop != nil {
				return stop
			}
		}
	})
	switch {
	case stop != nil:
		return stop
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, ErrEnded):
		return ErrEnded
	}
	return err
}

// Record gives the lines of a recording as they come, until it is closed or the daemon
// ends. Whoever closes it reads on to the end of a line first.
func (c *Client) Record(ctx context.Context) (io.ReadCloser, error) {
	u := url.URL{Scheme: "http", Host: "vtepbgp", Path: "/v1/record"}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("ask daemon at %s: %w", c.socket, err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.explain(err)
	}
	if resp.StatusCode != http.StatusOK {
		defer func() { _ = resp.Body.Close() }() // read side: nothing to lose
		return nil, c.refusal(resp)
	}
	return resp.Body, nil
}
