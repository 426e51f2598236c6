package daemon

import (
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/time/rate"

	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/api"
	"github.com/vtepbgp/vtepbgp/evpn"
)

// A note of one kind is logged at most this often; what is left out is counted and
// said with the next one that is logged. Metrics count all of them.
const (
	noteRate  = rate.Limit(5) // per second
	noteBurst = 50
)

// noteLog writes the core's notes to the log.
type noteLog struct {
	log *logrus.Entry

	mu      sync.Mutex
	limits  map[evpn.NoteKind]*rate.Limiter
	skipped map[evpn.NoteKind]int
}

func newNoteLog(log *logrus.Entry) *noteLog {
	return &noteLog{log: log, limits: map[evpn.NoteKind]*rate.Limiter{}, skipped: map[evpn.NoteKind]int{}}
}

// describe gives level and words of a note. What degrades service warns; what belongs
// to the life of the daemon informs; what happens per route or MAC is for debugging.
func describe(k evpn.NoteKind) (logrus.Level, string) {
	level, words := api.EventKind(k).Describe()
	switch level {
	case api.LevelDebug:
		return logrus.DebugLevel, words
	case api.LevelWarning:
		return logrus.WarnLevel, words
	default:
		return logrus.InfoLevel, words
	}
}

func (n *noteLog) write(notes []evpn.Note, now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, note := range notes {
		level, message := describe(note.Kind)
		if !n.log.Logger.IsLevelEnabled(level) {
			continue
		}
		limit := n.limits[note.Kind]
		if limit == nil {
			limit = rate.NewLimiter(noteRate, noteBurst)
			n.limits[note.Kind] = limit
		}
		if !limit.AllowN(now, 1) {
			n.skipped[note.Kind]++
			continue
		}
		fields := noteFields(note)
		if s := n.skipped[note.Kind]; s > 0 {
			fields[fieldSkipped] = s
			n.skipped[note.Kind] = 0
		}
		n.log.WithFields(fields).Log(level, message)
	}
}

func noteFields(note evpn.Note) logrus.Fields {
	f := logrus.Fields{}
	if note.VNI != 0 {
		f[fieldVNI] = note.VNI
	}
	if !note.MAC.IsZero() {
		f[fieldMAC] = note.MAC
	}
	if note.IP.IsValid() {
		f[fieldIP] = note.IP
	}
	if note.VTEP.IsValid() {
		f[fieldVTEP] = note.VTEP
	}
	if note.Neighbor.IsValid() {
		f[fieldNeighbor] = note.Neighbor
	}
	if note.Reason != "" {
		f[fieldReason] = note.Reason
	}
	if note.Detail != "" {
		f[fieldDetail] = note.Detail
	}
	return f
}
