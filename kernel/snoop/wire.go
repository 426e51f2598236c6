package snoop

// Wire is where frames come from and go to: the links of one network namespace,
// or of a test. Its methods may be called from several goroutines, but for Receive.
type Wire interface {
	// Follow sets the links that are listened to, by index, as a whole. The error is
	// about those that it could not open; the next call tries them again.
	Follow(links []int32) error
	// Receive waits for frames and yields some of those that came in by the links
	// that are followed: only such as [Parse] has something to say about. A frame is
	// valid until yield returns. It fails when the wire is closed.
	Receive(yield func(link int32, frame []byte)) error
	// Send puts a frame out of a link, followed or not.
	Send(link int32, frame []byte) error
	Stats() WireStats
	Close() error
}

// WireStats counts since the start of the process.
type WireStats struct {
	Links   int    // that are listened to
	Dropped uint64 // frames lost because they came faster than they were read
	Muted   uint64 // times that a link said too much and was left alone for a while
}
