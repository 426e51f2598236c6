package figures

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// GoVersion is the version of Go that built this program, such as "Go 1.26.0".
func GoVersion() string { return strings.Replace(runtime.Version(), "go", "Go ", 1) }

// Processor names the kind and number of processors.
func Processor() string {
	b, err := os.ReadFile("/proc/cpuinfo")
	model := "unknown processor"
	if err == nil {
		for line := range strings.Lines(string(b)) {
			if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
				model = strings.TrimSpace(v)
				break
			}
		}
	}
	return fmt.Sprintf("%d × %s", runtime.NumCPU(), model)
}

// KernelRelease is the running kernel's, such as "6.18.0".
func KernelRelease() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "unknown"
	}
	release, _, _ := strings.Cut(unix.ByteSliceToString(u.Release[:]), "-")
	return release
}
