package daemon

import (
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/time/rate"

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

// Level and words of each kind. What degrades service warns; what belongs to the
// life of the daemon informs; what happens per route or MAC is for debugging.
func describe(k evpn.NoteKind) (logrus.Level, string) {
	switch k {
	case evpn.NoteMACMoved:
		return logrus.DebugLevel, "mac moved"
	case evpn.NoteDuplicate:
		return logrus.WarnLevel, "mac is a duplicate and frozen"
	case evpn.NoteDuplicateCleared:
		return logrus.InfoLevel, "mac is no longer frozen"
	case evpn.NoteStickyConflict:
		return logrus.WarnLevel, "sticky mac seen elsewhere"
	case evpn.NoteGatewayConflict:
		return logrus.WarnLevel, "mac of our anycast gateway seen elsewhere"
	case evpn.NoteIPMoved:
		return logrus.DebugLevel, "ip moved to another mac"
	case evpn.NoteVTEPUnreachable:
		return logrus.WarnLevel, "vtep is unreachable"
	case evpn.NoteVTEPReachable:
		return logrus.InfoLevel, "vtep is reachable again"
	case evpn.NoteRouteIgnored:
		return logrus.DebugLevel, "route ignored"
	case evpn.NoteVNIUp:
		return logrus.InfoLevel, "vni is up"
	case evpn.NoteVNIDown:
		return logrus.WarnLevel, "vni is down"
	case evpn.NoteVTEPUp:
		return logrus.InfoLevel, "vtep appeared"
	case evpn.NoteVTEPDown:
		return logrus.InfoLevel, "vtep gone"
	case evpn.NoteMACLimit:
		return logrus.WarnLevel, "vni is at its limit of remote macs"
	case evpn.NoteNeighborLimit:
		return logrus.WarnLevel, "neighbor is at its limit of routes"
	case evpn.NoteSynced:
		return logrus.InfoLevel, "first full picture is there"
	default:
		return logrus.InfoLevel, string(k)
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
