package journal

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// maxLine bounds the memory that a line may take. The longest that is written is a
// configuration: 300 octets for each VNI.
const maxLine = 64 << 20

// Record is one line after the header: an event, a drain or the end.
type Record struct {
	Line  int
	At    time.Time
	Event evpn.Event // nil unless the line is one
	Drain bool
	End   string // why the recording ends there
}

// Reader reads a recording, line by line.
type Reader struct {
	in     *bufio.Reader
	header Header
	line   int
	last   time.Time
	ended  bool
	raw    []byte
}

// NewReader reads the header. Compressed recordings (gzip) are recognised.
func NewReader(r io.Reader) (*Reader, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	if magic, _ := in.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, fmt.Errorf("read recording: %w", err)
		}
		in = bufio.NewReaderSize(z, 64<<10)
	}
	jr := &Reader{in: in}
	err := jr.readHeader()
	if err != nil {
		return nil, fmt.Errorf("line 1: %w", err)
	}
	return jr, nil
}

// Header gives the first line.
func (r *Reader) Header() Header { return r.header }

// Complete reports, after the last record, whether the recording has an end. One
// without was cut: the disk was full, or who wrote it was killed.
func (r *Reader) Complete() bool { return r.ended }

// Raw gives the last line read as it stands, the header at first. It holds until the
// next call of Next.
func (r *Reader) Raw() []byte { return r.raw }

var errNoRecording = errors.New("this is no recording of vtepbgp: want a header with \"format\":\"" + formatName + "\"")

func (r *Reader) readHeader() error {
	line, _, err := r.readLine()
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w; the file is empty", errNoRecording)
	case err != nil:
		return err
	}
	keys, err := object(line)
	if err != nil {
		return fmt.Errorf("%w: %w", errNoRecording, err)
	}
	if format, _ := text(keys["format"]); format != formatName {
		return errNoRecording
	}
	var version int
	if err := json.Unmarshal(keys["format_version"], &version); err != nil {
		return errors.New("format_version: want a whole number")
	}
	if version != FormatVersion {
		return fmt.Errorf("the recording has format version %d and this vtepbgp reads version %d: replay it with the release that wrote it, or a later one", version, FormatVersion)
	}
	var h headerLine
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&h); err != nil {
		return fmt.Errorf("header: %w", err)
	}
	r.raw = line
	r.header = Header{ProgramVersion: h.ProgramVersion, VTEP: h.VTEP, Started: h.Started.UTC()}
	return nil
}

// Next gives the next record; [io.EOF] after the last. Other errors name the line.
func (r *Reader) Next() (Record, error) {
	line, whole, err := r.readLine()
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF): // the latter of a compressed one that was cut
		return Record{}, io.EOF
	case err != nil:
		return Record{}, fmt.Errorf("line %d: %w", r.line, err)
	case r.ended:
		return Record{}, fmt.Errorf("line %d: there is more after the end", r.line)
	}
	if !whole && !json.Valid(line) {
		return Record{}, io.EOF // cut in the middle of a line
	}
	rec, err := new(decoder).record(line)
	if err == nil && rec.At.Before(r.last) {
		err = fmt.Errorf("at: time goes backwards, from %s", r.last.Format(time.RFC3339Nano))
	}
	if err != nil {
		return Record{}, fmt.Errorf("line %d: %w", r.line, err)
	}
	rec.Line, r.last, r.raw, r.ended = r.line, rec.At, line, rec.End != ""
	return rec, nil
}

// readLine gives the next line that is not blank, and whether its end was there.
func (r *Reader) readLine() (line []byte, whole bool, err error) {
	for {
		line, err = nil, bufio.ErrBufferFull
		for errors.Is(err, bufio.ErrBufferFull) {
			var part []byte
			part, err = r.in.ReadSlice('\n')
			if line = append(line, part...); len(line) > maxLine {
				r.line++
				return nil, false, fmt.Errorf("the line is longer than %d octets", maxLine)
			}
		}
		if len(line) > 0 {
			r.line++
		}
		if text := bytes.TrimSpace(line); len(text) > 0 && (err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)) {
			return text, err == nil, nil
		}
		if err != nil {
			return nil, false, err
		}
	}
}
