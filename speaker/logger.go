package speaker

import (
	"fmt"

	"github.com/osrg/gobgp/v3/pkg/log"
	"github.com/sirupsen/logrus"
)

// gobgpLogger gives GoBGP's log to ours. GoBGP builds a field map for every Debug
// and Info call, a third of its CPU with its own default logger (measured at 100,000 routes): those
// calls end here at once unless debug is on. Its Fatal and Panic must not take the
// process down uncontrolled: they end Run with an error.
type gobgpLogger struct {
	log   *logrus.Entry
	fatal func(error)
	freed func() // a deleted neighbour's goroutines have ended
}

// freedPeer is what GoBGP v3.37.0 logs when it has waited for the goroutines of a deleted neighbour
// (pkg/server/server.go, Serve).
const freedPeer = "freed fsm.h"

func (l gobgpLogger) Panic(msg string, f log.Fields) { l.die("panic", msg, f) }
func (l gobgpLogger) Fatal(msg string, f log.Fields) { l.die("fatal", msg, f) }

func (l gobgpLogger) die(kind, msg string, f log.Fields) {
	l.entry(f).WithField("kind", kind).Error("gobgp cannot go on: " + msg)
	l.fatal(fmt.Errorf("gobgp %s: %s %v", kind, msg, map[string]any(f)))
}

func (l gobgpLogger) Error(msg string, f log.Fields) {
	l.entry(f).WithField("gobgp", msg).Warn("gobgp error")
}

// Warn is debug for us: what GoBGP warns of (a session that closed, a message it
// sent) the guard reports itself, with the neighbour's real address.
func (l gobgpLogger) Warn(msg string, f log.Fields) { l.debug(msg, f) }
func (l gobgpLogger) Info(msg string, f log.Fields) { l.debug(msg, f) }

func (l gobgpLogger) Debug(msg string, f log.Fields) {
	if msg == freedPeer {
		l.freed()
	}
	l.debug(msg, f)
}

func (l gobgpLogger) debug(msg string, f log.Fields) {
	if l.log.Logger.IsLevelEnabled(logrus.TraceLevel) {
		l.entry(f).WithField("gobgp", msg).Trace("gobgp")
	}
}

func (l gobgpLogger) entry(f log.Fields) *logrus.Entry {
	return l.log.WithFields(logrus.Fields(f))
}

func (l gobgpLogger) SetLevel(log.LogLevel) {}

func (l gobgpLogger) GetLevel() log.LogLevel {
	if l.log.Logger.IsLevelEnabled(logrus.TraceLevel) {
		return log.DebugLevel
	}
	return log.ErrorLevel
}
