package lab

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Folders that start empty in a node: what the machine itself has there is none of
// the node's business.
var emptyFolders = []struct {
	path string
	mode os.FileMode
}{
	{"/run", 0o755},
	{"/tmp", os.ModeSticky | 0o777},
	{"/var/tmp", os.ModeSticky | 0o777},
	{"/var/log", 0o755},
	{"/var/lib/vtepbgp", 0o750},
	{"/etc/vtepbgp", 0o755},
	{"/etc/frr", 0o755},
}

// rootfs is the plan of a node's file system.
type rootfs struct {
	scratch  string // an empty folder of the machine; mounted on in the node's namespace only
	hostname string
	binary   string // put at BinaryPath; "" = no
	role     Role
	binds    []Bind
}

// BinaryPath is where a vtepbgp node has the binary, in a lab as in the container image.
const BinaryPath = "/usr/local/bin/vtepbgp"

// build makes the file system and moves the node's mount namespace into it. It runs
// inside the node, before the holder goes on; the machine's own mounts stay as they are.
func (p *rootfs) build() error {
	lowers, err := lowerFolders()
	if err != nil {
		return err
	}
	sources, err := p.sources()
	if err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("tmpfs", p.scratch, "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mount memory for the node's files: %w", err)
	}
	// Overlay's options are separated by commas: with relative paths the name of
	// the lab's folder may hold what it likes. Only this thread changes its folder.
	if err := os.Chdir(p.scratch); err != nil {
		return fmt.Errorf("prepare root: %w", err)
	}
	root := "root"
	for i, lower := range lowers {
		if err := p.overlay(i, lower, filepath.Join(root, lower)); err != nil {
			return err
		}
	}
	old := filepath.Join(root, oldRoot)
	if err := os.Mkdir(old, 0o700); err != nil {
		return fmt.Errorf("prepare root: %w", err)
	}
	if err := unix.PivotRoot(root, old); err != nil {
		return fmt.Errorf("change root: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return fmt.Errorf("change root: %w", err)
	}
	if err := p.fill(sources); err != nil {
		return err
	}
	if err := unix.Unmount(oldRoot, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leave the machine's root: %w", err)
	}
	if err := os.Remove(oldRoot); err != nil {
		return fmt.Errorf("leave the machine's root: %w", err)
	}
	if err := unix.Sethostname([]byte(p.hostname)); err != nil {
		return fmt.Errorf("set host name: %w", err)
	}
	return nil
}

const oldRoot = "/.machine"

func (p *rootfs) overlay(i int, lower, target string) error {
	upper, work := "upper"+strconv.Itoa(i), "work"+strconv.Itoa(i)
	for _, d := range []string{upper, work, target} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return fmt.Errorf("prepare overlay of %s: %w", lower, err)
		}
	}
	opts := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", lower, upper, work)
	err := unix.Mount("overlay", target, "overlay", 0, opts)
	if errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("mount overlay of %s: this kernel has no overlayfs (try modprobe overlay)", lower)
	}
	if err != nil {
		return fmt.Errorf("mount overlay of %s: %w", lower, err)
	}
	return nil
}

// lowerFolders is "/" and the file systems mounted below it that hold programs or
// settings: an overlay does not show what is mounted on its lower layer.
func lowerFolders() ([]string, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	defer f.Close()
	out := []string{"/"}
	for sc := bufio.NewScanner(f); sc.Scan(); {
		fields := strings.Fields(sc.Text()) // proc_pid_mountinfo(5): field 5 is the mount point
		if len(fields) < 5 {
			continue
		}
		point := unescapeMount(fields[4])
		top, _, _ := strings.Cut(strings.TrimPrefix(point, "/"), "/")
		if !slices.Contains([]string{"bin", "etc", "lib", "lib32", "lib64", "opt", "sbin", "usr", "var"}, top) {
			continue
		}
		// Commas and colons separate overlay's options and layers.
		if strings.ContainsAny(point, ",:\\") {
			continue
		}
		if st, err := os.Stat(point); err != nil || !st.IsDir() {
			continue
		}
		out = append(out, point)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// unescapeMount undoes the octal escapes of blanks in mountinfo.
func unescapeMount(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

type source struct {
	Bind
	dir bool
}

// sources resolves symbolic links while the machine's root is still ours: after
// the change of root an absolute link would lead into the node.
func (p *rootfs) sources() ([]source, error) {
	binds := p.binds
	if p.binary != "" {
		binds = append([]Bind{{Host: p.binary, Node: BinaryPath, ReadOnly: true}}, binds...)
	}
	var out []source
	for _, b := range binds {
		real, err := filepath.EvalSymlinks(b.Host)
		if err != nil {
			return nil, fmt.Errorf("bind %s: %w", b.Host, err)
		}
		st, err := os.Stat(real)
		if err != nil {
			return nil, fmt.Errorf("bind %s: %w", b.Host, err)
		}
		out = append(out, source{Bind{real, b.Node, b.ReadOnly}, st.IsDir()})
	}
	return out, nil
}

// fill runs after the change of root.
func (p *rootfs) fill(sources []source) error {
	if err := unix.Mount("sysfs", "/sys", "sysfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /sys: %w", err)
	}
	if err := unix.Mount(oldRoot+"/dev", "/dev", "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("mount /dev: %w", err)
	}
	for _, e := range emptyFolders {
		if err := os.MkdirAll(e.path, 0o755); err != nil {
			return fmt.Errorf("make %s: %w", e.path, err)
		}
		opts := fmt.Sprintf("mode=%o", e.mode.Perm())
		if e.mode&os.ModeSticky != 0 {
			opts = fmt.Sprintf("mode=1%o", e.mode.Perm())
		}
		if err := unix.Mount("tmpfs", e.path, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, opts); err != nil {
			return fmt.Errorf("mount %s: %w", e.path, err)
		}
	}
	for file, text := range map[string]string{
		"/etc/hostname": p.hostname + "\n",
		"/etc/hosts":    "127.0.0.1 localhost\n::1 localhost\n127.0.1.1 " + p.hostname + "\n",
	} {
		// The machine's file may be a link to where nothing is now.
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("write %s: %w", file, err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return fmt.Errorf("write %s: %w", file, err)
		}
	}
	if p.role == RoleFRR {
		if err := frrFolders(); err != nil {
			return err
		}
	}
	for _, s := range sources {
		if err := s.mount(); err != nil {
			return fmt.Errorf("bind %s to %s: %w", s.Host, s.Node, err)
		}
	}
	return nil
}

func (s source) mount() error {
	if s.dir {
		if err := os.MkdirAll(s.Node, 0o755); err != nil {
			return err
		}
	} else {
		if err := os.MkdirAll(filepath.Dir(s.Node), 0o755); err != nil {
			return err
		}
		f, err := os.OpenFile(s.Node, os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		f.Close()
	}
	if err := unix.Mount(oldRoot+s.Host, s.Node, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	if !s.ReadOnly {
		return nil
	}
	// A bind mount takes no flags of its own at first (mount(2)).
	return unix.Mount("", s.Node, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
}

// frrFolders makes what FRR's package makes at installation and we hid by empty folders.
func frrFolders() error {
	u, err := user.Lookup("frr")
	if err != nil {
		return fmt.Errorf("find user frr: %w", err)
	}
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	if err := errors.Join(err1, err2); err != nil {
		return fmt.Errorf("find user frr: %w", err)
	}
	for _, d := range []string{"/run/frr", "/var/log/frr", "/etc/frr"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return fmt.Errorf("make %s: %w", d, err)
		}
		if err := os.Chown(d, uid, gid); err != nil {
			return fmt.Errorf("make %s: %w", d, err)
		}
	}
	// vtysh complains without it.
	if err := os.WriteFile("/etc/frr/vtysh.conf", nil, 0o644); err != nil {
		return fmt.Errorf("write vtysh.conf: %w", err)
	}
	return nil
}
