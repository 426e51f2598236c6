package daemon

import (
	"fmt"
	"io"
	"log/syslog"
	"os"
	"sync"
	"syscall"

	"github.com/sirupsen/logrus"
	logrussyslog "github.com/sirupsen/logrus/hooks/syslog"

	"github.com/vtepbgp/vtepbgp/config"
)

// logger is the process's logger, made as the configuration says. Level and format
// follow a reload; so does the destination, and a log file is opened anew then, which
// is what log rotation asks for.
type logger struct {
	*logrus.Logger
	override string // --log-level: wins over the configuration

	mu   sync.Mutex
	file *os.File
}

func newLogger(cfg config.Log, override string) (*logger, error) {
	l := &logger{Logger: logrus.New(), override: override}
	return l, l.configure(cfg)
}

// configure makes l as cfg says. On an error nothing has changed.
func (l *logger) configure(cfg config.Log) error {
	name := cfg.Level
	if l.override != "" {
		name = l.override
	}
	level, err := logrus.ParseLevel(name)
	if err != nil {
		return fmt.Errorf("set log level: %w", err)
	}
	var (
		out  io.Writer
		file *os.File
		hook logrus.Hook
	)
	switch cfg.Destination {
	case "", "stderr":
		out = os.Stderr
	case "stdout":
		out = os.Stdout
	case "syslog":
		hook, err = logrussyslog.NewSyslogHook("", "", syslog.LOG_DAEMON, "vtepbgp")
		out = io.Discard
	default:
		file, err = os.OpenFile(cfg.Destination, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
		out = file
	}
	if err != nil {
		return fmt.Errorf("open log destination %s: %w", cfg.Destination, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.SetLevel(level)
	if cfg.Format == "json" {
		l.SetFormatter(&logrus.JSONFormatter{})
	} else {
		l.SetFormatter(&logrus.TextFormatter{
			FullTimestamp:          true,
			DisableTimestamp:       out == os.Stderr && underJournal(),
			DisableLevelTruncation: true,
		})
	}
	hooks := logrus.LevelHooks{}
	if hook != nil {
		hooks.Add(hook)
	}
	l.ReplaceHooks(hooks)
	l.SetOutput(out)
	old := l.file
	l.file = file
	if old != nil {
		return old.Close()
	}
	return nil
}

func (l *logger) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.SetOutput(os.Stderr)
	f := l.file
	l.file = nil
	if f == nil {
		return nil
	}
	return f.Close()
}

// underJournal reports whether stderr goes to the systemd journal, which has its
// own time stamps (systemd.exec(5), JOURNAL_STREAM names device and inode).
func underJournal() bool {
	want, ok := os.LookupEnv("JOURNAL_STREAM")
	if !ok {
		return false
	}
	info, err := os.Stderr.Stat()
	if err != nil {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && want == fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}
