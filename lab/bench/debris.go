package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

const dirPrefix = "vtepbgp-bench-"

// sweepDebris ends what a bench that was killed (-9) left: its working directory
// bears its process id, and its daemons name that directory on their command lines.
// FRR's daemons change their user, so the kernel does not end them with their parent.
func sweepDebris() error {
	dirs, err := filepath.Glob(filepath.Join(os.TempDir(), dirPrefix+"*"))
	if err != nil {
		return fmt.Errorf("look for debris: %w", err)
	}
	for _, dir := range dirs {
		pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), dirPrefix), "-")
		owner, err := strconv.Atoi(pid)
		if err != nil || syscall.Kill(owner, 0) == nil {
			continue // not ours, or its owner lives
		}
		files, err := filepath.Glob(filepath.Join(dir, "*", "*.pid"))
		if err != nil {
			return fmt.Errorf("look for debris: %w", err)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				continue
			}
			daemon, err := strconv.Atoi(strings.TrimSpace(string(text)))
			if err != nil {
				continue
			}
			line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", daemon))
			if err == nil && bytes.Contains(line, []byte(dir+"/")) {
				_ = syscall.Kill(daemon, syscall.SIGKILL)
			}
		}
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("remove debris: %w", err)
		}
	}
	return nil
}
