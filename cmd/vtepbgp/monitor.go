package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/api"
)

// reconnectEvery is how often a monitor looks for a daemon that is away.
const reconnectEvery = 500 * time.Millisecond

// errEnough ends a monitor that has seen what it was asked for.
var errEnough = errors.New("enough events")

func newMonitorCommand(d dependencies) *cobra.Command {
	s := newShowing(d)
	var m monitoring
	cmd := &cobra.Command{
		Use:   "monitor",
		Short: "Tell what happens, as it happens",
		Long: `Tell what happens, as it happens: MACs and IP addresses learned, moved, frozen as
duplicate and gone, VTEPs, VNIs and neighbours up and down, what the guard dropped,
what was repaired in the kernel. With -o json each event is one line of JSON.

It runs until Ctrl-C, --count or --duration, which is success, or until the daemon
stops, which is a failure (exit code 1) unless --reconnect waits for the next one.
Filters add up; an event without that property does not pass. What comes thick is
counted: drops once a second for each reason. A reader that is too slow loses events
and is told how many; the daemon never waits for it.

Kinds: ` + wrapped(kindNames(), 80),
		Example: `  vtepbgp monitor --vni 100 --kind 'mac_*'
  vtepbgp monitor --kind 'neighbor_*,vtep_*' --reconnect
  vtepbgp monitor --mac 00:11:22:33:44:55 -o json
  vtepbgp monitor --kind mac_duplicate --count 1 && echo somebody has a loop`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return m.run(cmd, s) },
	}
	s.addFlags(cmd)
	s.vniFlag(cmd, &m.filter.VNI, "only events of this `VNI`")
	macFlag(cmd, &m.filter.MAC, "only events of this `MAC`")
	addressFlag(cmd, &m.filter.IP, "ip", "only events of this `IP` address of a host")
	addressFlag(cmd, &m.filter.VTEP, "vtep", "only events of this VTEP `ADDRESS`")
	addressFlag(cmd, &m.filter.Neighbor, "neighbor", "only events of this neighbour `ADDRESS`")
	complete(cmd, "neighbor", s.neighborWords)
	cmd.Flags().Var(&kindList{&m.filter.Kinds}, "kind", "only these `KINDS`: names or patterns such as mac_*, with commas or given often")
	complete(cmd, "kind", func(*cobra.Command) []string { return kindNames() })
	cmd.Flags().UintVar(&m.count, "count", 0, "end after `N` events")
	durationFlag(cmd, &m.duration, "end after this `TIME`, such as 30s")
	cmd.Flags().BoolVar(&m.reconnect, "reconnect", false, "wait for the daemon when it is away, also for its first start")
	return cmd
}

func kindNames() (names []string) {
	for _, k := range api.EventKinds() {
		if !k.Kind.OfStream() {
			names = append(names, string(k.Kind))
		}
	}
	return names
}

// wrapped joins words in lines of at most width characters.
func wrapped(words []string, width int) string {
	return strings.Join(wrap(strings.Join(words, ", ")+".", width), "\n")
}

// kindList is a flag that takes patterns of kinds.
type kindList struct{ kinds *[]string }

func (k *kindList) String() string { return "" }
func (k *kindList) Type() string   { return "kinds" }
func (k *kindList) Set(s string) error {
	for pattern := range strings.SplitSeq(s, ",") {
		if err := api.CheckKindPattern(pattern); err != nil {
			return err
		}
		*k.kinds = append(*k.kinds, pattern)
	}
	return nil
}

// monitoring is one run of the command.
type monitoring struct {
	filter    api.EventFilter
	count     uint
	duration  time.Duration
	reconnect bool

	seen   uint
	titled bool
}

func (m *monitoring) run(cmd *cobra.Command, s *showing) error {
	ctx := cmd.Context()
	if m.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, m.duration)
		defer cancel()
	}
	waiting := false
	for {
		err := s.client().Monitor(ctx, m.filter, func(e api.Event) error {
			waiting = false
			return m.show(cmd, s, e)
		})
		away := errors.Is(err, api.ErrEnded) || errors.Is(err, api.ErrNotRunning)
		switch {
		case errors.Is(err, errEnough), ctx.Err() != nil:
			return nil
		case !m.reconnect || !away:
			return err
		case !waiting:
			waiting = true
			if _, err := fmt.Fprintln(cmd.ErrOrStderr(), "vtepbgp: the daemon is away; waiting for it"); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(reconnectEvery):
		}
	}
}

func (m *monitoring) show(cmd *cobra.Command, s *showing, e api.Event) (err error) {
	if s.isJSON() {
		err = json.NewEncoder(cmd.OutOrStdout()).Encode(e)
	} else {
		if !m.titled {
			m.titled = true
			err = writeEvent(cmd.OutOrStdout(), s.colour(cmd), cell{"TIME", faint}, cell{"KIND", faint}, cell{"OBJECT", faint}, cell{"WHAT", faint})
			if err != nil {
				return err
			}
		}
		what := cell{text: e.Detail}
		if what.text == "" {
			what.text = e.Words
		}
		if e.Level == api.LevelWarning {
			what.style = warned
		}
		err = writeEvent(cmd.OutOrStdout(), s.colour(cmd), cell{text: e.Time.Local().Format("15:04:05.000")},
			cell{text: string(e.Kind)}, cell{text: eventObject(e)}, what)
	}
	if err != nil || e.Kind.OfStream() {
		return err
	}
	if m.seen++; m.seen == m.count {
		return errEnough
	}
	return nil
}

// eventObject names what an event happened to.
func eventObject(e api.Event) string {
	var words []string
	if e.VNI != 0 {
		words = append(words, e.VNI.String())
	}
	if e.MAC != "" {
		words = append(words, e.MAC)
	}
	if e.IP.IsValid() {
		words = append(words, e.IP.String())
	}
	if len(words) == 0 {
		words = append(words, show(e.Neighbor)+show(e.VTEP)) // one of them
	}
	return strings.Join(words, " ")
}

// eventWidths are those of the columns but the last: lines come one by one, so that
// widths cannot follow them. What is wider pushes the rest to the right or below.
var eventWidths = []int{12, 19, 24}

func writeEvent(w io.Writer, colour bool, cells ...cell) error {
	var line strings.Builder
	width := 0
	for i, c := range cells {
		text := printable(c.text)
		if text == "" {
			text = "-"
		}
		if i == len(cells)-1 {
			break
		}
		n := utf8.RuneCountInString(text)
		pad := max(0, eventWidths[i]-n)
		line.WriteString(styled(text, c.style, colour) + strings.Repeat(" ", pad) + gap)
		width += n + pad + len(gap)
	}
	last := cells[len(cells)-1]
	room := maxWidth - width
	const indent = "    "
	if text := printable(last.text); utf8.RuneCountInString(text) <= room {
		line.WriteString(styled(text, last.style, colour))
	} else {
		for _, part := range wrap(text, maxWidth-len(indent)) {
			line.WriteString("\n" + indent + styled(part, last.style, colour))
		}
	}
	_, err := io.WriteString(w, trimLines(line.String())+"\n")
	return err
}

func trimLines(s string) string {
	var lines []string
	for line := range strings.SplitSeq(s, "\n") {
		lines = append(lines, strings.TrimRight(line, " "))
	}
	return strings.Join(lines, "\n")
}

func styled(text string, s style, colour bool) string {
	if !colour || s == plain || text == "" {
		return text
	}
	return string(s) + text + resetStyle
}
