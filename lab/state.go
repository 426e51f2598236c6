package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// DefaultStateDir holds one folder per running lab. It is on a file system that a
// reboot empties, as a reboot ends every lab.
const DefaultStateDir = "/run/vtepbgp-lab"

// state is what another process needs to find, use and end a lab. It is
// written before anything it names exists where that can be, and right after where not.
type state struct {
	Name    string      `json:"name"`
	Prefix  string      `json:"prefix"`
	File    string      `json:"file"`
	Binary  string      `json:"binary,omitempty"`
	Created time.Time   `json:"created"`
	Ready   bool        `json:"ready"` // up has ended well
	Owner   process     `json:"owner"` // the process that brings it up
	Nodes   []nodeState `json:"nodes"`
}

type nodeState struct {
	Name      string   `json:"name"`
	Image     string   `json:"image"`
	Role      Role     `json:"role"`
	Namespace string   `json:"namespace"`
	Holder    process  `json:"holder"`
	Main      process  `json:"main"`
	Argv      []string `json:"argv"`
	Env       []string `json:"env"`
	Log       string   `json:"log"`
	Links     []string `json:"links"`
}

func labDir(stateDir, name string) string {
	if stateDir == "" {
		stateDir = DefaultStateDir
	}
	return filepath.Join(stateDir, name)
}

func readState(dir string) (*state, error) {
	text, err := os.ReadFile(filepath.Join(dir, "state.json"))
	if err != nil {
		return nil, err
	}
	var s state
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, fmt.Errorf("parse %s: %w", filepath.Join(dir, "state.json"), err)
	}
	return &s, nil
}

// save replaces the file in one step, so that a reader never sees half of it.
func (s *state) save(dir string) error {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("encode lab state: %w", err)
	}
	tmp := filepath.Join(dir, "state.json.new")
	if err := os.WriteFile(tmp, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("write lab state: %w", err)
	}
	if err := os.Rename(tmp, filepath.Join(dir, "state.json")); err != nil {
		return fmt.Errorf("write lab state: %w", err)
	}
	return nil
}

func (s *state) node(name string) *nodeState {
	i := slices.IndexFunc(s.Nodes, func(n nodeState) bool { return n.Name == name })
	if i < 0 {
		return nil
	}
	return &s.Nodes[i]
}

// lock keeps two commands from starting or ending the same lab at once. The lock
// file lies beside the lab's folder, for down removes the folder.
func lock(stateDir, name string) (unlock func(), err error) {
	if stateDir == "" {
		stateDir = DefaultStateDir
	}
	if err := os.MkdirAll(stateDir, 0o755); err != nil {
		return nil, fmt.Errorf("make lab state folder: %w", err)
	}
	file := filepath.Join(stateDir, name+".lock")
	for {
		f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return nil, fmt.Errorf("lock lab %s: %w", name, err)
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			f.Close()
			if errors.Is(err, unix.EWOULDBLOCK) {
				return nil, fmt.Errorf("lab %s is being brought up or down by another process", name)
			}
			return nil, fmt.Errorf("lock lab %s: %w", name, err)
		}
		// The holder before us may have removed the file between our open and our lock.
		mine, err1 := f.Stat()
		there, err2 := os.Stat(file)
		if err1 == nil && err2 == nil && os.SameFile(mine, there) {
			return func() {
				os.Remove(file)
				os.Remove(stateDir) // only when it was the last lab
				f.Close()
			}, nil
		}
		f.Close()
		if err2 != nil && !errors.Is(err2, fs.ErrNotExist) {
			return nil, fmt.Errorf("lock lab %s: %w", name, err2)
		}
	}
}
