// Package journal writes down what an [evpn.Core] is told, reads it back, and puts
// what the core answers into words: `vtepbgp record` and `vtepbgp replay`, and the
// transcripts of the core's scenarios.
//
// # Format
//
// A recording is a text of lines, each one JSON object. The first is the header:
// format, its version, the program that wrote it, the VTEP address and the time. Each
// other line has the time "at" and one of
//
//	"event"    an event by name, with its fields in snake_case; the core took it then
//	"drain"    true: the changes were taken then
//	"end"      why the recording ends; a recording without it was cut
//
// A replay that hands the events to a core made by evpn.New(evpn.Config{}) at their
// times, and drains it where the recording says so, gives the same changes. The first
// events, up to the first drain, rebuild what the core knew when the recording began.
//
// Events are encoded by their Go fields, so a new field or type is recorded without
// further work; names that were given stay (a test holds them). Fields with their zero
// value are left out. A reader refuses a name that it does not know: guessing would
// give another story than the one that happened.
//
// What a recording holds: MAC and IP addresses, VTEPs, neighbours, VNIs, names of
// interfaces. What it never holds: passwords and file names, because no event and no
// configuration of the core has any.
//
// # Concurrency
//
// The package does no I/O of its own: it uses the reader or writer that it is given. It
// reads no clock. Writers and readers are for one goroutine at a time.
package journal
