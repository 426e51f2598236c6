package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/lab/nsthread"
)

// The measurements of single happenings: a new MAC, a move, a death, a restart.

func reacting() measurement {
	return measurement{
		name: "learn", title: "one new MAC: first frame → remote row; a move seen by a third VTEP",
		how: "Three VTEPs with direct sessions. Time from just before send() of the frame on the host to the row's netlink message in the other VTEP. All rounds of all runs together.",
		metrics: []metric{
			{key: "learn", label: "new MAC, p50", unit: "ms", quantile: 0.5, max: 3},
			{key: "learn", label: "new MAC, p99", unit: "ms", quantile: 0.99, max: 10},
			{key: "move", label: "move a→b seen at c, p50", unit: "ms", quantile: 0.5, max: 3},
			{key: "move", label: "move a→b seen at c, p99", unit: "ms", quantile: 0.99, max: 10},
			{key: "double", label: "rows with two destinations after a move", unit: "", zero: true},
		},
		vteps: 3, run: react,
	}
}

func react(ctx context.Context, e *env, sys system, out samples) error {
	rs, err := e.startMesh(ctx, sys, options{})
	if err != nil {
		return err
	}
	for _, r := range rs {
		if err := r.settle(ctx); err != nil {
			return err
		}
	}
	a, b, c := e.vteps[0], e.vteps[1], e.vteps[2]
	atB, err := newObserver(b, false)
	if err != nil {
		return err
	}
	defer atB.close()
	atC, err := newObserver(c, false)
	if err != nil {
		return err
	}
	defer atC.close()
	fromA, err := openFrames(a)
	if err != nil {
		return err
	}
	defer fromA.close()
	fromB, err := openFrames(b)
	if err != nil {
		return err
	}
	defer fromB.close()
	// Rounds fall at odd moments, so that no timer of either system is in step with them.
	random := rand.New(rand.NewPCG(1, uint64(e.n)))
	for i := range e.rounds {
		mac := benchMAC(byte(2+e.n%200), i)
		if err := pause(ctx, 120*time.Millisecond+time.Duration(random.IntN(60_000))*time.Microsecond); err != nil {
			return err
		}
		begin := time.Now()
		if err := fromA.send(mac); err != nil {
			return err
		}
		learned, err := atB.next(10*time.Second, func(r row) bool { return !r.gone && r.mac == mac && r.dst == a.address })
		if err != nil {
			return fmt.Errorf("new MAC: %w", err)
		}
		out.add("learn", ms(learned.Sub(begin)))
		if _, err := atC.next(10*time.Second, func(r row) bool { return !r.gone && r.mac == mac && r.dst == a.address }); err != nil {
			return fmt.Errorf("new MAC at the third VTEP: %w", err)
		}
		if err := pause(ctx, 120*time.Millisecond+time.Duration(random.IntN(60_000))*time.Microsecond); err != nil {
			return err
		}
		begin = time.Now()
		if err := fromB.send(mac); err != nil {
			return err
		}
		moved, err := atC.next(10*time.Second, func(r row) bool { return !r.gone && r.mac == mac && r.dst == b.address })
		if err != nil {
			return fmt.Errorf("moved MAC: %w", err)
		}
		out.add("move", ms(moved.Sub(begin)))
		rows := 0
		if err := dumpRows(c.Namespace, c.vxlan, func(_ int, r row) {
			if r.mac == mac {
				rows++
			}
		}); err != nil {
			return err
		}
		out.add("double", float64(max(rows-1, 0)))
	}
	return nil
}

// frames sends frames from a VTEP's host.
type frames struct {
	host *nsthread.Namespace
	fd   int
	to   unix.SockaddrLinklayer
}

// openFrames opens a socket that stays open over all rounds: closing one waits for
// the kernel's readers (packet_release, synchronize_net), which takes milliseconds.
func openFrames(v *vtep) (*frames, error) {
	f := &frames{host: v.host, to: unix.SockaddrLinklayer{Ifindex: v.hostIf}}
	err := v.host.Do(func() (err error) {
		f.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open packet socket in %s: %w", v.host.Name, err)
	}
	return f, nil
}

func (f *frames) close() { _ = unix.Close(f.fd) }

// send sends one broadcast frame with the given source.
func (f *frames) send(mac [6]byte) error {
	const localExperiment = 0x88b5 // IEEE 802: nobody answers
	frame := make([]byte, 60)
	copy(frame, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	copy(frame[6:], mac[:])
	frame[12], frame[13] = localExperiment>>8, localExperiment&0xff
	if err := unix.Sendto(f.fd, frame, 0, &f.to); err != nil {
		return fmt.Errorf("send frame from %s: %w", f.host.Name, err)
	}
	return nil
}

func dying() measurement {
	return measurement{
		name: "death", title: "a VTEP dies with its MACs → all rows gone at another VTEP",
		how: "Direct session, without graceful restart; the VTEP's processes are killed (-9), so the kernel closes the session. Rows: MACs and the flood row.",
		metrics: []metric{
			{key: "all", label: "kill → all rows gone", unit: "ms", maxRatio: 0.5},
			{key: "first", label: "of it until the first row went", unit: "ms"},
			{key: "cpu", label: "CPU at the other VTEP", unit: "s"},
		},
		vteps: 2, run: func(ctx context.Context, e *env, sys system, out samples) error {
			a, b := e.vteps[0], e.vteps[1]
			rs, err := e.startMesh(ctx, sys, options{noRestart: true})
			if err != nil {
				return err
			}
			if err := b.changeLocalMACs(0, 0, e.death, true); err != nil {
				return err
			}
			err = a.waitTable(ctx, tableTimeout, "the dying VTEP's MACs", func(macs, _ int) bool { return macs == e.death })
			if err != nil {
				return err
			}
			for _, r := range rs {
				if err := r.settle(ctx); err != nil {
					return err
				}
			}
			o, err := newObserver(a, true)
			if err != nil {
				return err
			}
			defer o.close()
			before, begin := rs[0].cpu(), time.Now()
			for _, p := range rs[1].processes {
				if err := p.cmd.Process.Kill(); err != nil {
					return fmt.Errorf("kill %s: %w", p.name, err)
				}
			}
			rows, err := o.waitRows(ctx, e.death, true, tableTimeout)
			if err != nil {
				return err
			}
			if err := rs[0].settle(ctx); err != nil {
				return err
			}
			out.add("all", ms(rows.last.Sub(begin)))
			out.add("first", ms(rows.first.Sub(begin)))
			out.add("cpu", seconds(rs[0].cpu()-before))
			return rs[0].alive()
		},
	}
}

func restarting() measurement {
	return measurement{
		name: "restart", title: "restart of a VTEP's daemon: pings lost, one every 10 ms",
		how: "Two VTEPs with a direct session, a ping from host to host all the time; the daemon of the far VTEP is killed (-9) and started again after a pause, or stopped (TERM) and started again.",
		metrics: []metric{
			{key: "kill", label: "lost, kill -9 and a pause", unit: "", zero: true},
			{key: "term", label: "lost, TERM and start again", unit: "", zero: true},
		},
		vteps: 2, run: func(ctx context.Context, e *env, sys system, out samples) error {
			for key, sig := range map[string]syscall.Signal{"kill": syscall.SIGKILL, "term": syscall.SIGTERM} {
				lost, err := restart(ctx, e, sys, sig)
				if err != nil {
					return err
				}
				out.add(key, float64(lost))
				e.stopAll()
				for _, v := range e.vteps {
					if err := v.clean(); err != nil {
						return err
					}
				}
			}
			return nil
		},
	}
}

func restart(ctx context.Context, e *env, sys system, sig syscall.Signal) (lost int, err error) {
	a, b := e.vteps[0], e.vteps[1]
	rs, err := e.startMesh(ctx, sys, options{})
	if err != nil {
		return 0, err
	}
	p, err := newPinger(a, b)
	if err != nil {
		return 0, err
	}
	defer p.close()
	// The first pings teach both VTEPs the hosts' MACs.
	for _, v := range []*vtep{a, b} {
		err := v.waitTable(ctx, 10*time.Second, "the other host's MAC", func(macs, _ int) bool { return macs >= 1 })
		if err != nil {
			return 0, err
		}
	}
	if err := pause(ctx, time.Second); err != nil {
		return 0, err
	}
	p.count()
	rs[1].stop(sig)
	if sig == syscall.SIGKILL {
		if err := pause(ctx, e.down); err != nil {
			return 0, err
		}
	}
	o := options{}
	o.neighbors = append(o.neighbors, a.address)
	if _, err := e.startIn(sys, b, o, filepath.Clean(rs[1].dir)); err != nil {
		return 0, err
	}
	if err := pause(ctx, 6*time.Second); err != nil {
		return 0, err
	}
	return p.lost(), nil
}

// pinger sends an echo request every ten milliseconds and remembers which were answered.
type pinger struct {
	conn  net.PacketConn
	reset chan struct{}
	stop  chan chan int
}

func newPinger(from, to *vtep) (*pinger, error) {
	p := &pinger{reset: make(chan struct{}), stop: make(chan chan int)}
	err := from.host.Do(func() (err error) {
		p.conn, err = net.ListenPacket("ip4:icmp", from.hostIP().String())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open ping socket: %w", err)
	}
	// Fixed neighbours: an ARP exchange belongs to neither system.
	if err := errors.Join(from.fixNeighbor(to), to.fixNeighbor(from)); err != nil {
		return nil, err
	}
	answers := make(chan uint16, 1024)
	go func() {
		buf := make([]byte, 1500)
		for {
			n, _, err := p.conn.ReadFrom(buf)
			if err != nil {
				return
			}
			if n >= 8 && buf[0] == 0 {
				select {
				case answers <- uint16(buf[6])<<8 | uint16(buf[7]):
				default:
				}
			}
		}
	}()
	go p.run(&net.IPAddr{IP: to.hostIP().AsSlice()}, answers)
	return p, nil
}

func (p *pinger) run(to net.Addr, answers <-chan uint16) {
	t := time.NewTicker(10 * time.Millisecond)
	defer t.Stop()
	var seq, first uint16
	answered := map[uint16]bool{}
	for {
		select {
		case <-t.C:
			seq++
			_, _ = p.conn.WriteTo(echo(seq), to)
		case a := <-answers:
			answered[a] = true
		case <-p.reset:
			clear(answered)
			first = seq + 1
		case reply := <-p.stop:
			// The last ones may still be on their way.
			lost := 0
			for i := first; i != seq-10; i++ {
				if !answered[i] {
					lost++
				}
			}
			reply <- lost
		}
	}
}

func echo(seq uint16) []byte {
	b := []byte{8, 0, 0, 0, 0x62, 0x65, byte(seq >> 8), byte(seq)}
	sum := uint32(0)
	for i := 0; i < len(b); i += 2 {
		sum += uint32(b[i])<<8 | uint32(b[i+1])
	}
	sum = ^(sum&0xffff + sum>>16)
	b[2], b[3] = byte(sum>>8), byte(sum)
	return b
}

func (p *pinger) count() { p.reset <- struct{}{} }

func (p *pinger) lost() int {
	reply := make(chan int)
	p.stop <- reply
	return <-reply
}

func (p *pinger) close() { _ = p.conn.Close() }
