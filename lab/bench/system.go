package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// system is one of the two that are compared.
type system interface {
	name() string
	version() string
	// start runs it as VTEP v with the given neighbours, all iBGP.
	start(v *vtep, dir string, o options) (*running, error)
}

type options struct {
	neighbors     []netip.Addr
	noRestart     bool   // no graceful restart: a lost session takes its routes with it at once
	defaultBuffer bool   // netlink receive buffer left at the kernel's default
	metrics       bool   // vtepbgp: serve metrics at metricsAddress
	noSuppression bool   // vtepbgp: arp_suppression = false, so that nobody listens to access ports
	reflect       bool   // the neighbours are route-reflector clients
	engine        string // vtepbgp: a replicator with this flooding engine
}

// frr is bgpd and zebra as Debian runs them.
type frr struct{ dir string }

const frrDir = "/usr/lib/frr"

func findFRR() (*frr, error) {
	for _, d := range []string{"zebra", "bgpd"} {
		if _, err := os.Stat(filepath.Join(frrDir, d)); err != nil {
			return nil, fmt.Errorf("find FRR's %s: %w (Debian: apt-get install frr)", d, err)
		}
	}
	return &frr{dir: frrDir}, nil
}

func (*frr) name() string { return "FRR" }

func (f *frr) version() string {
	out, err := exec.Command(filepath.Join(f.dir, "bgpd"), "--version").Output()
	if err != nil {
		return "unknown"
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(strings.TrimPrefix(line, "bgpd version"))
}

func (f *frr) start(v *vtep, dir string, o options) (*running, error) {
	// The daemons give up root: their files must be writable for user frr.
	if out, err := exec.Command("chown", "frr:frr", dir).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("hand %s to user frr: %w: %s", dir, err, out)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "frr defaults traditional\nhostname %s\nrouter bgp %d\n bgp router-id %s\n no bgp default ipv4-unicast\n", v.Name, asn, v.address)
	for _, n := range o.neighbors {
		fmt.Fprintf(&b, " neighbor %s remote-as %d\n neighbor %s timers connect 1\n", n, asn, n)
	}
	b.WriteString(" address-family l2vpn evpn\n")
	for _, n := range o.neighbors {
		fmt.Fprintf(&b, "  neighbor %s activate\n", n)
		if o.reflect {
			fmt.Fprintf(&b, "  neighbor %s route-reflector-client\n", n)
		}
	}
	b.WriteString("  advertise-all-vni\n exit-address-family\n")
	if err := writeFiles(dir, map[string]string{"bgpd.conf": b.String(), "zebra.conf": "hostname " + v.Name + "\n"}); err != nil {
		return nil, err
	}
	buffer := "90000000" // Debian's default option
	if o.defaultBuffer {
		raw, err := os.ReadFile("/proc/sys/net/core/rmem_default")
		if err != nil {
			return nil, fmt.Errorf("read default receive buffer: %w", err)
		}
		buffer = strings.TrimSpace(string(raw))
	}
	common := func(d string) []string {
		return []string{
			"-f", filepath.Join(dir, d+".conf"), "-i", filepath.Join(dir, d+".pid"), "-z", filepath.Join(dir, "zserv"),
			"--vty_socket", dir, "-A", "127.0.0.1", "--log", "file:" + filepath.Join(dir, d+".frr.log"),
		}
	}
	r := &running{system: f.name(), vtep: v, dir: dir, started: time.Now()}
	z, err := start(v.Namespace, dir, nil, filepath.Join(f.dir, "zebra"), append(common("zebra"), "-s", buffer)...)
	if err != nil {
		return nil, err
	}
	r.processes = append(r.processes, z)
	// bgpd tries zebra's socket at once and then only after ten seconds: wait until
	// zebra answers, as Debian's start script does.
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline) && z.alive() == nil; time.Sleep(time.Millisecond) {
		if c, err := net.Dial("unix", filepath.Join(dir, "zserv")); err == nil {
			_ = c.Close()
			break
		}
	}
	g, err := start(v.Namespace, dir, nil, filepath.Join(f.dir, "bgpd"), common("bgpd")...)
	if err != nil {
		r.stop(9)
		return nil, err
	}
	r.processes = append(r.processes, g)
	return r, nil
}

func writeFiles(dir string, files map[string]string) error {
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			return fmt.Errorf("write configuration: %w", err)
		}
	}
	return nil
}

// vtepbgp is the daemon of this repository.
type vtepbgp struct{ binary string }

// buildVTEPBGP compiles the daemon of the current tree, unless binary names one.
func buildVTEPBGP(binary, dir string) (*vtepbgp, error) {
	if binary != "" {
		abs, err := filepath.Abs(binary)
		return &vtepbgp{abs}, err
	}
	binary = filepath.Join(dir, "vtepbgp")
	cmd := exec.Command("go", "build", "-trimpath", "-o", binary, "github.com/vtepbgp/vtepbgp/cmd/vtepbgp")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build vtepbgp: %w\n%s", err, out)
	}
	return &vtepbgp{binary}, nil
}

func (*vtepbgp) name() string { return "vtepbgp" }

func (b *vtepbgp) version() string {
	out, err := exec.Command(b.binary, "version").Output()
	if err != nil {
		return "unknown"
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(strings.TrimPrefix(line, "vtepbgp"))
}

func (b *vtepbgp) start(v *vtep, dir string, o options) (*running, error) {
	var c strings.Builder
	fmt.Fprintf(&c, "[bgp]\nasn = %d\nrouter_id = %q\n", asn, v.address)
	if o.noRestart {
		c.WriteString("graceful_restart_time = \"0s\"\n")
	}
	fmt.Fprintf(&c, "[vtep]\naddress = %q\n", v.address)
	for _, n := range o.neighbors {
		fmt.Fprintf(&c, "[[neighbor]]\naddress = %q\nasn = %d\nroute_reflector_client = %t\n", n, asn, o.reflect)
	}
	mode := "ingress"
	if o.engine != "" {
		mode = "replicator"
		fmt.Fprintf(&c, "[flood]\nengine = %q\nservice_address = %q\n", o.engine, serviceAddress)
	}
	for _, id := range v.vnis {
		fmt.Fprintf(&c, "[[vni]]\nid = %d\nmanage = false\narp_suppression = %t\nflooding = %q\n", id, !o.noSuppression, mode)
	}
	fmt.Fprintf(&c, "[api]\nsocket = %q\n", filepath.Join(dir, "vtepbgp.sock"))
	if o.metrics {
		fmt.Fprintf(&c, "metrics_listen = %q\n", metricsAddress)
	}
	fmt.Fprintf(&c, "[state]\ndirectory = %q\n", filepath.Join(dir, "state"))
	if err := writeFiles(dir, map[string]string{"vtepbgp.toml": c.String()}); err != nil {
		return nil, err
	}
	r := &running{system: b.name(), vtep: v, dir: dir, started: time.Now()}
	program, args := b.binary, []string{"run", "-c", filepath.Join(dir, "vtepbgp.toml")}
	var environment []string
	if o.defaultBuffer {
		self, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("find own program: %w", err)
		}
		program, args = self, append([]string{b.binary}, args...)
		environment = []string{smallBufferVariable + "=1"}
	}
	p, err := start(v.Namespace, dir, environment, program, args...)
	if err != nil {
		return nil, err
	}
	r.processes = []*process{p}
	return r, nil
}

const (
	metricsAddress = "127.0.0.1:9474"
	serviceAddress = "10.99.1.1"
)
