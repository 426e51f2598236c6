package journal

import (
	"bufio"
	"compress/gzip"
	"io"
	"strings"
)

// Output buffers a recording on its way to a file, and compresses it when the name of
// the file ends in ".gz".
type Output struct {
	buffer *bufio.Writer
	zip    *gzip.Writer // nil when not compressed
}

// NewOutput gives an output that writes to w, whose name says how.
func NewOutput(w io.Writer, name string) *Output {
	o := &Output{buffer: bufio.NewWriterSize(w, 64<<10)}
	if strings.HasSuffix(name, ".gz") {
		o.zip = gzip.NewWriter(o.buffer)
	}
	return o
}

// Write takes a part of the recording.
func (o *Output) Write(b []byte) (int, error) {
	if o.zip != nil {
		return o.zip.Write(b)
	}
	return o.buffer.Write(b)
}

// Flush hands on what was written so far, so that it outlives the process.
func (o *Output) Flush() error {
	if o.zip != nil {
		if err := o.zip.Flush(); err != nil {
			return err
		}
	}
	return o.buffer.Flush()
}

// Close ends the output; it leaves the writer below open.
func (o *Output) Close() error {
	if o.zip != nil {
		if err := o.zip.Close(); err != nil {
			return err
		}
	}
	return o.buffer.Flush()
}
