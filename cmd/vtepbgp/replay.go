package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/vtepbgp/vtepbgp/evpn/journal"
)

// replaying is one run of the command.
type replaying struct {
	format
	until    string
	events   bool
	expect   string
	scenario string
}

func newReplayCommand() *cobra.Command {
	var r replaying
	cmd := &cobra.Command{
		Use:   "replay FILE|-",
		Short: "Play a recording and print what the core answered",
		Long: `Play a recording through a core of its own, without a daemon and without root, and
print what it answered: at each time the routes announced and withdrawn, the kernel
rows set and removed and what was noted; at the end the whole state. The same
recording gives the same text, everywhere. In JSON "macs" and "routes" are those of
"mac show" and "route show"; no kernel is asked, so nothing is "installed".

With --expect it prints only the first difference, with exit code 1 when there is one.
With --scenario it writes a folder for evpn/testdata/scenarios, where it is a test:
see CONTRIBUTING.md. --until cuts what comes after the trouble.

` + aboutRecordings,
		Example: `  vtepbgp replay report.jsonl.gz
  vtepbgp replay report.jsonl --events --until 90s
  vtepbgp replay report.jsonl -o json | jq .macs
  vtepbgp replay report.jsonl > before && vtepbgp replay report.jsonl --expect before
  vtepbgp replay report.jsonl --until 4711 --scenario evpn/testdata/scenarios/my-report`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New(`want one FILE, or "-" for standard input`)
			}
			_, err := parseUntil(r.until, time.Time{})
			return err
		},
		RunE: func(cmd *cobra.Command, args []string) error { return r.run(cmd, args[0]) },
	}
	r.addFlags(cmd, "table")
	cmd.Flags().StringVar(&r.until, "until", "", "end after `WHEN`: a number of events, a time since the start (90s), or a time of day (RFC 3339)")
	cmd.Flags().BoolVar(&r.events, "events", false, "print the events, too, with their numbers")
	cmd.Flags().StringVar(&r.expect, "expect", "", "compare with the transcript in this `FILE`")
	cmd.Flags().StringVar(&r.scenario, "scenario", "", "write a scenario to this `FOLDER`, which must not exist")
	exclusive(cmd, "expect", "scenario", "output")
	exclusive(cmd, "expect", "scenario", "json")
	exclusive(cmd, "events", "expect", "scenario")
	return cmd
}

// parseUntil gives the end of a replay that starts at start; nil for none.
func parseUntil(s string, start time.Time) (func(journal.Record, int) bool, error) {
	if s == "" {
		return nil, nil
	}
	if n, err := strconv.Atoi(s); err == nil && n >= 0 {
		return func(rec journal.Record, events int) bool { return rec.Event != nil && events >= n }, nil
	}
	last, err := time.Parse(time.RFC3339Nano, s)
	if d, e := time.ParseDuration(s); e == nil {
		last, err = start.Add(d), nil
	}
	if err != nil {
		return nil, fmt.Errorf("parse --until %q: want a number of events, a duration such as 90s or a time such as 2026-01-02T15:04:05Z", s)
	}
	return func(rec journal.Record, _ int) bool { return rec.At.After(last) }, nil
}

func (r *replaying) run(cmd *cobra.Command, name string) error {
	in := cmd.InOrStdin()
	if name == "-" {
		name = "standard input"
	} else {
		f, err := os.Open(name)
		if err != nil {
			return fmt.Errorf("open recording: %w", err)
		}
		defer func() { _ = f.Close() }() // was only read
		in = f
	}
	reader, err := journal.NewReader(in)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	p := journal.NewReplay(reader)
	if p.Until, err = parseUntil(r.until, reader.Header().Started); err != nil {
		return err
	}
	out := bufio.NewWriter(cmd.OutOrStdout())
	switch {
	case r.expect != "":
		err = r.compare(p, out)
	case r.scenario != "":
		err = r.writeScenario(p, reader, out)
	case r.isJSON():
		err = replayJSON(p, reader, out)
	default:
		err = p.Transcribe(out, r.events, nil)
	}
	if flushed := out.Flush(); err == nil {
		err = flushed
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if r.until == "" && !reader.Complete() {
		_, err = fmt.Fprintf(cmd.ErrOrStderr(), "vtepbgp: %s has no end: it was cut after %s\n", name, plural(p.Events(), "event"))
	}
	return err
}

// compare holds the transcript to the one of --expect.
func (r *replaying) compare(p *journal.Replay, out io.Writer) error {
	want, err := os.ReadFile(r.expect)
	if err != nil {
		return fmt.Errorf("open expected transcript: %w", err)
	}
	var got bytes.Buffer
	if err := p.Transcribe(&got, false, nil); err != nil {
		return err
	}
	wants, gots := slices.Collect(strings.Lines(string(want))), slices.Collect(strings.Lines(got.String()))
	for i := range max(len(wants), len(gots)) {
		w, g := "(the end)\n", "(the end)\n"
		if i < len(wants) {
			w = wants[i]
		}
		if i < len(gots) {
			g = gots[i]
		}
		if w != g {
			return fmt.Errorf("the transcript differs from line %d of %s on:\n- %s+ %s", i+1, r.expect, w, strings.TrimSuffix(g, "\n"))
		}
	}
	_, err = fmt.Fprintf(out, "as expected: %s, %s\n", plural(p.Events(), "event"), plural(len(gots), "line"))
	return err
}

// writeScenario writes a folder as the scenarios of the package evpn are.
func (r *replaying) writeScenario(p *journal.Replay, reader *journal.Reader, out io.Writer) error {
	recording := bytes.NewBuffer(append(bytes.Clone(reader.Raw()), '\n'))
	p.Copy = recording
	var transcript bytes.Buffer
	if err := p.Transcribe(&transcript, false, nil); err != nil {
		return err
	}
	if err := os.Mkdir(r.scenario, 0o755); err != nil { // not before: a damaged recording leaves nothing behind
		return fmt.Errorf("write scenario: %w", err)
	}
	lines := bytes.Split(bytes.TrimSuffix(recording.Bytes(), []byte("\n")), []byte("\n"))
	if last := lines[len(lines)-1]; len(lines) > 1 {
		if _, ended := journal.EndReason(last); !ended {
			recording.Write(journal.EndAfter(last, p.Last(), "cut for a scenario"))
		}
	}
	h := reader.Header()
	vtep := "that has no address yet"
	if h.VTEP.IsValid() {
		vtep = h.VTEP.String()
	}
	about := fmt.Sprintf(`Say here in one or two sentences what should have happened, and which RFC section says so.
Recorded by vtepbgp %s at VTEP %s, %s.
`, h.ProgramVersion, vtep, h.Started.Format(time.RFC3339))
	for file, text := range map[string][]byte{
		"about.txt": []byte(about), "recording.jsonl": recording.Bytes(), "transcript.golden": transcript.Bytes(),
	} {
		if err := os.WriteFile(filepath.Join(r.scenario, file), text, 0o644); err != nil {
			return fmt.Errorf("write scenario: %w", err)
		}
	}
	_, err := fmt.Fprintf(out, "%s: %s. Say in about.txt what should have happened; transcript.golden is what did.\n",
		r.scenario, plural(p.Events(), "event"))
	return err
}

// replayJSON writes one document, change by change, so that a long recording is never
// held as a whole.
func replayJSON(p *journal.Replay, reader *journal.Reader, out io.Writer) error {
	changes := jsonList{w: out}
	if _, err := io.WriteString(out, "{\"changes\": "); err != nil {
		return err
	}
	for {
		s, err := p.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if s.Changes != nil {
			if err := changes.add(newReplayChange(s.At, *s.Changes)); err != nil {
				return err
			}
		}
	}
	if err := changes.close(); err != nil {
		return err
	}
	state, err := json.MarshalIndent(newReplayState(p, reader), "", "  ")
	if err != nil {
		return fmt.Errorf("encode output: %w", err)
	}
	_, err = fmt.Fprintf(out, ",%s\n", bytes.TrimPrefix(state, []byte("{")))
	return err
}
