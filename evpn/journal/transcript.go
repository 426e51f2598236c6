package journal

import (
	"fmt"
	"io"
	"time"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// Transcript writes what a core answers, line by line. Equal answers give equal
// text. A failing writer is for its owner to notice.
type Transcript struct {
	w     io.Writer
	start time.Time
}

// NewTranscript gives a transcript whose times count from start.
func NewTranscript(w io.Writer, start time.Time) *Transcript { return &Transcript{w: w, start: start} }

// At writes the time.
func (t *Transcript) At(now time.Time) { fmt.Fprintf(t.w, "-- at %s\n", now.Sub(t.start)) }

// Changes writes what a drain gave.
func (t *Transcript) Changes(ch evpn.Changes) {
	fmt.Fprintln(t.w, "-- drain")
	for _, r := range ch.Announce {
		fmt.Fprintf(t.w, "announce %s\n", RouteText(r))
	}
	for _, k := range ch.Withdraw {
		fmt.Fprintf(t.w, "withdraw %s\n", k)
	}
	for _, r := range ch.Rows {
		fmt.Fprintf(t.w, "%s %s\n", verb(r.Remove), RowText(r.Row))
	}
	for _, h := range ch.NextHops {
		verb := "track"
		if h.Remove {
			verb = "untrack"
		}
		fmt.Fprintf(t.w, "%s %s\n", verb, h.VTEP)
	}
	for _, e := range ch.Lists {
		fmt.Fprintf(t.w, "%s %s\n", verb(e.Remove), ListText(e.ListEntry))
	}
	for _, r := range ch.Relays {
		fmt.Fprintf(t.w, "%s %s\n", verb(r.Remove), RelayText(r.Relay))
	}
	for _, n := range ch.Notes {
		fmt.Fprintf(t.w, "note %s\n", NoteText(n))
	}
}

func verb(remove bool) string {
	if remove {
		return "remove"
	}
	return "set"
}

// Show writes the whole state: what we originate, the rows, the flood lists, every received route with
// the verdict on it, the MACs, and when the core next looks at its timers.
func (t *Transcript) Show(c *evpn.Core) {
	fmt.Fprintln(t.w, "-- show")
	d := c.Desired()
	for _, r := range d.Routes {
		fmt.Fprintf(t.w, "own %s\n", RouteText(r))
	}
	for _, r := range d.Rows {
		fmt.Fprintf(t.w, "row %s\n", RowText(r))
	}
	for _, a := range d.NextHops {
		fmt.Fprintf(t.w, "track %s\n", a)
	}
	for _, e := range c.Flood(0) {
		if e.Role != evpn.RoleVTEP { // those have a row, or are on the list below
			fmt.Fprintln(t.w, FloodText(e))
		}
	}
	for _, e := range d.Lists {
		fmt.Fprintln(t.w, ListText(e))
	}
	for _, r := range d.Relays {
		fmt.Fprintln(t.w, RelayText(r))
	}
	c.Routes(func(i evpn.RouteInfo) bool {
		if i.Neighbor.IsValid() {
			fmt.Fprintf(t.w, "route %s\n", RouteInfoText(i))
		}
		return true
	})
	c.MACs(0, func(i evpn.MACInfo) bool {
		fmt.Fprintf(t.w, "mac %s\n", MACInfoText(i))
		return true
	})
	if w := c.NextWake(); !w.IsZero() {
		fmt.Fprintf(t.w, "wake %s\n", w.Sub(t.start))
	}
}
