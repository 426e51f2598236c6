package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/lab/nsthread"
)

// stream is one way of sending TCP through the bridge.
type stream struct {
	key, label string
	rate       int // octets a second, 0 = as fast as it goes
	segments   int // that one packet may carry through the host, 0 = as the kernel likes
}

var streams = []stream{
	{"gigabit", "1 Gbit/s", 125_000_000, 0},
	{"large", "unlimited", 0, 0},
	{"small", "unlimited, packets of 1,500 octets", 0, 1}, // the filter sees forty times as many
}

// listening measures what the sockets that hear ARP and ND cost the packets that
// they do not hear.
func listening() measurement {
	m := measurement{
		name: "listening", title: "TCP through the bridge while its ports are listened to for ARP and ND",
		how: "A stream from one access port to another of the same bridge, by this program, whose processor time is counted with that of all soft interrupts and of the daemon. " +
			"vtepbgp listens to both ports, unless `arp_suppression` is off; the two alternate within a run. FRR does not listen.",
		vteps: 1, run: runListening,
	}
	for _, s := range streams {
		m.metrics = append(m.metrics,
			metric{key: s.key + "-rate", label: s.label + ": rate", unit: "Mbit/s"},
			metric{key: s.key + "-rate-off", label: "… not listening", unit: "Mbit/s"},
			metric{key: s.key + "-cpu", label: s.label + ": CPU per GB", unit: "ms"},
			metric{key: s.key + "-cpu-off", label: "… not listening", unit: "ms"})
	}
	return m
}

func runListening(ctx context.Context, e *env, sys system, out samples) error {
	v := e.vteps[0]
	far, err := nsthread.New("far")
	if err != nil {
		return err
	}
	defer far.Close()
	to := netip.MustParseAddr("192.0.2.200")
	if err := v.addPort(far, "h1", to); err != nil {
		return err
	}
	defer v.removeLink("h1")
	rounds, modes := 1, []bool{false}
	if sys.name() == "vtepbgp" {
		rounds, modes = 3, []bool{false, true}
	}
	for range rounds {
		for _, off := range modes {
			r, err := e.start(sys, v, options{noSuppression: off})
			if err != nil {
				return err
			}
			sockets := 2
			if off || sys.name() != "vtepbgp" {
				sockets = 0
			}
			if err := errors.Join(v.waitTaps(ctx, sockets), r.settle(ctx)); err != nil {
				return errors.Join(err, r.alive())
			}
			for _, s := range streams {
				rate, cpu, err := e.run(ctx, r, v, far, to, s)
				if err != nil {
					return err
				}
				suffix := ""
				if off {
					suffix = "-off"
				}
				out.add(s.key+"-rate"+suffix, rate)
				out.add(s.key+"-cpu"+suffix, cpu)
			}
			r.stop(unix.SIGKILL)
		}
	}
	return nil
}

// addPort joins another host to the first VNI's bridge.
func (v *vtep) addPort(host *nsthread.Namespace, name string, addr netip.Addr) error {
	if _, err := veth(v.Namespace, name, host, "eth0", accessMTU, net.HardwareAddr{2, 0xaa, 0, 0, 0, addr.As4()[3]}); err != nil {
		return err
	}
	port, err := v.Links.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find access port %s: %w", name, err)
	}
	br, err := v.Links.LinkByName(fmt.Sprintf("br%d", v.vnis[0]))
	if err != nil {
		return fmt.Errorf("find bridge of %s: %w", v.Name, err)
	}
	return errors.Join(v.Links.LinkSetMaster(port, br), addAddress(host, "eth0", netip.PrefixFrom(addr, 24)))
}

func (v *vtep) removeLink(name string) {
	if l, err := v.Links.LinkByName(name); err == nil {
		_ = v.Links.LinkDel(l) // it goes with its namespace anyway
	}
}

// waitTaps waits until so many sockets in the namespace hear all packets of a link.
func (v *vtep) waitTaps(ctx context.Context, want int) error {
	for deadline := time.Now().Add(10 * time.Second); ; {
		var text []byte
		err := v.Do(func() (err error) {
			text, err = os.ReadFile("/proc/thread-self/net/packet")
			return err
		})
		if err != nil {
			return fmt.Errorf("list packet sockets: %w", err)
		}
		n := 0
		for line := range bytes.Lines(text) {
			if f := bytes.Fields(line); len(f) > 3 && string(f[3]) == "0003" { // ETH_P_ALL
				n++
			}
		}
		if n == want {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("wait for %d packet sockets (there are %d): %w", want, n, errTimeout)
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
}

// run sends for a while and gives Mbit/s and milliseconds of processor time per 10⁹ octets.
func (e *env) run(ctx context.Context, r *running, v *vtep, far *nsthread.Namespace, to netip.Addr, s stream) (rate, cpu float64, err error) {
	if err := limitSegments(v.host, "eth0", s.segments); err != nil {
		return 0, 0, err
	}
	var listener net.Listener
	if err := far.Do(func() (err error) {
		listener, err = net.Listen("tcp4", netip.AddrPortFrom(to, 0).String())
		return err
	}); err != nil {
		return 0, 0, fmt.Errorf("listen in %s: %w", far.Name, err)
	}
	defer listener.Close()
	received := make(chan int64, 1)
	go func() {
		c, err := listener.Accept()
		if err != nil {
			received <- 0
			return
		}
		defer c.Close()
		n, _ := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{c}, make([]byte, 256<<10))
		received <- n
	}()
	var c net.Conn
	if err := v.host.Do(func() (err error) {
		c, err = net.DialTimeout("tcp4", listener.Addr().String(), 5*time.Second)
		return err
	}); err != nil {
		return 0, 0, fmt.Errorf("dial from %s: %w", v.host.Name, err)
	}
	if err := pace(c.(*net.TCPConn), s.rate); err != nil {
		return 0, 0, errors.Join(err, c.Close())
	}
	began, before := time.Now(), spent(r)
	err = send(ctx, c, e.stream)
	n, took := <-received, time.Since(began)
	if err == nil && n == 0 {
		err = errors.New("nothing arrived")
	}
	if err != nil {
		return 0, 0, fmt.Errorf("send stream: %w", err)
	}
	return float64(n) * 8 / took.Seconds() / 1e6, ms(spent(r)-before) / (float64(n) / 1e9), nil
}

func send(ctx context.Context, c net.Conn, span time.Duration) error {
	block := make([]byte, 256<<10)
	end := time.Now().Add(span)
	if err := c.SetWriteDeadline(end.Add(10 * time.Second)); err != nil {
		return err
	}
	for time.Now().Before(end) && ctx.Err() == nil {
		if _, err := c.Write(block); err != nil {
			return errors.Join(err, c.Close())
		}
	}
	return errors.Join(ctx.Err(), c.Close())
}

// pace bounds the rate by TCP's own pacing (SO_MAX_PACING_RATE, Linux 4.13).
func pace(c *net.TCPConn, rate int) error {
	if rate == 0 {
		return nil
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MAX_PACING_RATE, rate) })
	return errors.Join(err, failed)
}

const kernelSegments = 65535 // GSO_MAX_SEGS

func limitSegments(n *nsthread.Namespace, device string, segments int) error {
	l, err := n.Links.LinkByName(device)
	if err != nil {
		return fmt.Errorf("find %s in %s: %w", device, n.Name, err)
	}
	if segments == 0 {
		segments = kernelSegments
	}
	if err := n.Links.LinkSetGSOMaxSegs(l, segments); err != nil {
		return fmt.Errorf("limit segments of %s: %w", device, err)
	}
	return nil
}

// spent is the processor time of this program, of the daemon, and of all soft
// interrupts, in which much of the packets' way is done.
func spent(r *running) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano()+u.Stime.Nano()) + softInterrupts() + r.cpu()
}

// softInterrupts reads the seventh figure of /proc/stat, in hundredths of a second.
func softInterrupts() time.Duration {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := bytes.Cut(b, []byte("\n"))
	f := bytes.Fields(line)
	if len(f) < 8 {
		return 0
	}
	n, err := strconv.Atoi(string(f[7]))
	if err != nil {
		return 0
	}
	return time.Duration(n) * 10 * time.Millisecond
}
