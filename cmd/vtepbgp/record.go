package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/vtepbgp/vtepbgp/evpn/journal"
)

const aboutRecordings = `A recording begins with what the daemon knew and goes on with every event that its
core takes: "vtepbgp replay" plays it anywhere, without a daemon, and comes to the same
routes and rows. It holds MAC and IP addresses, VTEPs, neighbours, VNIs and names of
interfaces; it never holds passwords, because the core knows none.`

func newRecordCommand(d dependencies) *cobra.Command {
	a := &asking{deps: d}
	var duration time.Duration
	cmd := &cobra.Command{
		Use:   "record FILE|-",
		Short: "Record what the core is told, for a replay",
		Long: `Record what the core is told to a file, or to standard output, until Ctrl-C, --duration
or the end of the daemon (exit code 1). A name that ends in .gz compresses.

` + aboutRecordings + `

The daemon does not wait for the disk: one that is too slow or full ends the recording.
Only at the beginning it pauses to copy what it knows, about 0.2 s for 100,000 routes;
forwarding does not. "vtepbgp run --record" records from the very start.`,
		Example: `  vtepbgp record report.jsonl.gz --duration 1m
  vtepbgp record - | jq -c 'select(.event == "routes_received")'`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New(`want one FILE, or "-" for standard output`)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return a.record(cmd, args[0], duration) },
	}
	a.addFlags(cmd)
	durationFlag(cmd, &duration, "end after this `TIME`, such as 1m")
	return cmd
}

func (a *asking) record(cmd *cobra.Command, name string, duration time.Duration) (err error) {
	ctx, cancel := context.WithCancel(cmd.Context())
	defer cancel()
	lines, err := a.client().Record(ctx)
	if err != nil {
		return err
	}
	if duration > 0 { // from the beginning of the recording: the daemon may need a while to copy what it knows
		defer time.AfterFunc(duration, cancel).Stop()
	}
	defer func() { _ = lines.Close() }() // read side: nothing to lose
	to := cmd.OutOrStdout()
	if name == "-" {
		name = "standard output"
	} else {
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
		if err != nil {
			return fmt.Errorf("open recording: %w", err)
		}
		defer func() {
			if closed := f.Close(); err == nil {
				err = closed
			}
		}()
		to = f
	}
	out := journal.NewOutput(to, name)
	events, last, err := passOn(lines, out)
	if err == nil && ctx.Err() != nil {
		why := "ended by the user"
		if cmd.Context().Err() == nil {
			why = "the time asked for is over"
		}
		_, err = out.Write(journal.EndAfter(last, time.Now(), why))
	}
	if closed := out.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return fmt.Errorf("record to %s, ended after %s: %w", name, plural(events, "event"), err)
	}
	if reason, ended := journal.EndReason(last); ctx.Err() == nil {
		if !ended {
			reason = "the daemon is gone"
		}
		return fmt.Errorf("%s: the recording in %s has %s", reason, name, plural(events, "event"))
	}
	_, err = fmt.Fprintf(cmd.ErrOrStderr(), "vtepbgp: %s in %s\n", plural(events, "event"), name)
	return err
}

// passOn copies whole lines, at once when no more wait, until there are none. It counts
// the events and gives the last line. Errors are those of out.
func passOn(from io.Reader, out *journal.Output) (events int, last []byte, err error) {
	in := bufio.NewReaderSize(from, 64<<10)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil { // the end of either side: half a line is left out
			return events, last, out.Flush()
		}
		if _, err := out.Write(line); err != nil {
			return events, last, err
		}
		if last = line; bytes.Contains(line[:min(len(line), 64)], []byte(`"event":`)) {
			events++
		}
		if in.Buffered() == 0 {
			if err := out.Flush(); err != nil {
				return events, last, err
			}
		}
	}
}
