package journal

import (
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// What the header of a recording says.
const (
	formatName = "vtepbgp recording"
	// FormatVersion counts up when old readers would misread new recordings. New
	// events and fields do not count: a reader names the one that it does not know.
	FormatVersion = 1
)

// Header is the first line of a recording.
type Header struct {
	ProgramVersion string
	VTEP           netip.Addr
	Started        time.Time
}

type headerLine struct {
	Format         string     `json:"format"`
	FormatVersion  int        `json:"format_version"`
	ProgramVersion string     `json:"program_version"`
	VTEP           netip.Addr `json:"vtep"`
	Started        time.Time  `json:"started"`
}

// Writer writes a recording, one Write call for each line.
type Writer struct {
	w   io.Writer
	enc encoder
}

// NewWriter writes the header and gives a writer for what follows.
func NewWriter(w io.Writer, h Header) (*Writer, error) {
	line, err := json.Marshal(headerLine{
		Format: formatName, FormatVersion: FormatVersion,
		ProgramVersion: h.ProgramVersion, VTEP: h.VTEP, Started: h.Started.UTC(),
	})
	if err == nil {
		_, err = w.Write(append(line, '\n'))
	}
	if err != nil {
		return nil, fmt.Errorf("write header: %w", err)
	}
	return &Writer{w: w}, nil
}

// Event writes an event that the core took at a time.
func (w *Writer) Event(ev evpn.Event, at time.Time) error {
	w.enc.event(ev, at)
	return w.line()
}

// Drain writes that the changes were taken at a time.
func (w *Writer) Drain(at time.Time) error {
	w.enc.drain(at)
	return w.line()
}

// End writes that the recording ends here, and why.
func (w *Writer) End(at time.Time, reason string) error {
	w.enc.end(at, reason)
	return w.line()
}

// EndAfter gives the line that [Writer.End] writes, for one who passes on a recording
// that somebody else writes. It follows last, the line before.
func EndAfter(last []byte, now time.Time, reason string) []byte {
	if r, err := new(decoder).record(last); err == nil && r.At.After(now) {
		now = r.At // the clocks of two processes may differ
	}
	var e encoder
	e.end(now, reason)
	return e.buf
}

// EndReason gives why the recording ends with this line; false when it is no end.
func EndReason(line []byte) (string, bool) {
	r, err := new(decoder).record(line)
	return r.End, err == nil && r.End != ""
}

const keepBuffer = 1 << 20

func (w *Writer) line() error {
	_, err := w.w.Write(w.enc.buf)
	if cap(w.enc.buf) > keepBuffer {
		w.enc.buf = nil // of a configuration with thousands of VNIs
	}
	w.enc.buf = w.enc.buf[:0]
	return err
}
