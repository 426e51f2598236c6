package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	stateDirMode = 0o750
	runFile      = "running.json"
	lockFile     = "lock"
	bootIDFile   = "/proc/sys/kernel/random/boot_id"
	netnsFile    = "/proc/self/ns/net"
)

// heartbeatEvery is how often a running daemon notes that it lives. What kill -9
// leaves behind is at most this wrong about when it ended.
const heartbeatEvery = 10 * time.Second

// errLocked is wrapped when another process holds a lock file.
var errLocked = errors.New("another vtepbgp is running")

// lockPID opens path, locks it against other instances and writes our process id
// into it. The lock lives as long as the file is open. Closing removes the file.
func lockPID(path string) (*pidFile, error) {
	f, err := openLocked(path)
	tick := time.NewTicker(lockPoll)
	defer tick.Stop()
	for deadline := time.Now().Add(lockPatience); errors.Is(err, errLocked) && time.Now().Before(deadline); f, err = openLocked(path) {
		<-tick.C
	}
	if err != nil {
		return nil, err
	}
	err = f.Truncate(0)
	if err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil {
		_ = f.Close() // the first error is the one to report
		return nil, fmt.Errorf("write %s: %w", path, err)
	}
	return &pidFile{path: path, file: f}, nil
}

// lockPatience is how long a lock is waited for: a process that was killed a moment
// ago holds its files until its last thread has ended.
const (
	lockPatience = 3 * time.Second
	lockPoll     = 20 * time.Millisecond
)

// openLocked opens path and locks it, or says who holds it.
func openLocked(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_CLOEXEC, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer func() { _ = f.Close() }() // read only so far
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		b, _ := os.ReadFile(path) // only to name the other one
		if pid := strings.TrimSpace(string(b)); pid != "" {
			return nil, fmt.Errorf("%w with process id %s (it holds %s)", errLocked, pid, path)
		}
		return nil, fmt.Errorf("%w (it holds %s)", errLocked, path)
	}
	// Who held it may have removed the file since it was opened: then the lock is
	// on a file that nobody else will find.
	mine, err := f.Stat()
	if there, lost := os.Stat(path); err == nil && (lost != nil || !os.SameFile(mine, there)) {
		err = fmt.Errorf("%w (it is just ending: %s)", errLocked, path)
	}
	if err != nil {
		_ = f.Close() // the first error is the one to report
		return nil, err
	}
	return f, nil
}

type pidFile struct {
	path string
	file *os.File
}

func (p *pidFile) close() error {
	if p == nil {
		return nil
	}
	// Removed while still locked: whoever opened it meanwhile fails to lock it.
	return errors.Join(os.Remove(p.path), p.file.Close())
}

// lastRun is what an instance leaves behind about itself.
type lastRun struct {
	BootID  string    `json:"boot_id"`
	NetNS   string    `json:"netns"` // forwarding state lives in a network namespace
	Alive   time.Time `json:"alive"`
	Flushed bool      `json:"flushed"` // it removed its rows
	// Neighbors had a session, or were waited for after one.
	Neighbors []netip.Addr `json:"neighbors,omitempty"`
}

func thisRun(now time.Time) lastRun {
	boot, _ := os.ReadFile(bootIDFile) // "" where /proc is missing: then no restart is ever recognised
	ns, _ := os.Readlink(netnsFile)
	return lastRun{BootID: strings.TrimSpace(string(boot)), NetNS: ns, Alive: now.UTC()}
}

// readLastRun gives what the instance before left; the zero value when there is
// nothing usable. It is a hint, so damage is no error.
func readLastRun(dir string) (r lastRun) {
	b, err := os.ReadFile(filepath.Join(dir, runFile))
	if err != nil || json.Unmarshal(b, &r) != nil {
		return lastRun{}
	}
	return r
}

// keptForwarding reports whether the rows of the run before may still forward: it
// ran in this very namespace, not longer ago than grace, and did not clean up. One without rows, which
// only reflects, stands in nobody's way even when the machine was booted anew.
// That is when our OPEN may carry the restart and forwarding bits (RFC 4724 §4.1).
func (r lastRun) keptForwarding(now lastRun, grace time.Duration, rows bool) bool {
	if r.Flushed || r.BootID == "" || now.Alive.Sub(r.Alive) > grace+heartbeatEvery {
		return false
	}
	return !rows || r.BootID == now.BootID && r.NetNS == now.NetNS
}

func (r lastRun) write(dir string) error {
	b, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("write %s: %w", runFile, err)
	}
	path := filepath.Join(dir, runFile)
	if err := os.WriteFile(path+".new", append(b, '\n'), 0o640); err != nil {
		return fmt.Errorf("write %s: %w", runFile, err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("write %s: %w", runFile, err)
	}
	return nil
}

func makeStateDir(dir string) error {
	if err := os.MkdirAll(dir, stateDirMode); err != nil {
		return fmt.Errorf("create state directory: %w", err)
	}
	return nil
}

// writeFileAtomic replaces path so that a crash at any moment leaves the old or the
// new content, never a part.
func writeFileAtomic(path string, b []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, ignoreNotExist(os.Remove(f.Name())))
		}
	}()
	_, err = f.Write(b)
	if err == nil {
		err = f.Chmod(0o640)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(path)) // the rename itself must reach the disk
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func ignoreNotExist(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
