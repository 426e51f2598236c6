package once

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Station is a host: its name, the device that frames leave and arrive by, and how to run a function in its
// namespace (sockets belong to the namespace of the thread that makes them).
type Station struct {
	Name   string
	Device string
	Within func(f func() error) error
}

// Meter has a socket at each station. Runs follow each other; its methods are for one goroutine.
type Meter struct {
	// Wait is how long the last frames of a run may still be on their way; 0 is a second.
	Wait time.Duration

	ends []*end
	run  *run
}

// end is the socket of a station.
type end struct {
	fd  int
	mac net.HardwareAddr
}

const (
	// receiveBuffer holds what arrives while this process waits for a processor.
	receiveBuffer = 16 << 20
	// look is how long a receiver waits before it looks whether it is to end.
	look     = 50 * time.Millisecond
	lastWait = time.Second
	// calm is how long nothing may come before the count is taken, for doubles come late.
	calm = 150 * time.Millisecond
)

// Open makes the sockets.
func Open(stations []Station) (*Meter, error) {
	m := &Meter{run: &run{}}
	for _, s := range stations {
		m.run.names = append(m.run.names, s.Name)
		e := &end{fd: -1}
		if err := s.Within(func() error { return e.open(s.Device) }); err != nil {
			m.Close()
			return nil, fmt.Errorf("listen at %s of %s: %w", s.Device, s.Name, err)
		}
		m.ends = append(m.ends, e)
	}
	return m, nil
}

// Close ends a run, if there is one, and closes the sockets.
func (m *Meter) Close() {
	if m.run.quit != nil {
		m.Stop()
	}
	for _, e := range m.ends {
		_ = unix.Close(e.fd)
	}
	m.ends = nil
}

func (e *end) open(device string) error {
	link, err := net.InterfaceByName(device)
	if err != nil {
		return err
	}
	e.mac = link.HardwareAddr
	// A socket of one protocol hears what arrives and not what leaves.
	protocol := uint16(etherType>>8 | etherType&0xff<<8)
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	wait := unix.NsecToTimeval(int64(look))
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: protocol, Ifindex: link.Index}),
	)
	if err != nil {
		_ = unix.Close(fd)
		return err
	}
	e.fd = fd
	return nil
}

// run is one count.
type run struct {
	names  []string
	id     uint32
	start  time.Time
	every  time.Duration
	ledger *ledger
	quit   chan struct{} // senders end
	over   chan struct{} // receivers end

	sending, receiving sync.WaitGroup
}

// Start has every station send at an interval until [Meter.Stop].
func (m *Meter) Start(every time.Duration) {
	m.begin(every)
	for i := range m.ends {
		m.run.sending.Go(func() { m.run.sendAll(i, m.ends[i]) })
	}
}

// Send has every station send so many frames at an interval, and counts.
func (m *Meter) Send(frames int, every time.Duration) Report {
	m.begin(every)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for n := range frames {
		for i, e := range m.ends {
			m.run.sendOne(i, e)
		}
		if n < frames-1 {
			<-tick.C
		}
	}
	return m.Stop()
}

// Since is how long the run takes by now.
func (m *Meter) Since() time.Duration { return time.Since(m.run.start) }

func (m *Meter) begin(every time.Duration) {
	if m.run.quit != nil {
		m.Stop() // of a test that failed while it went on
	}
	m.run = &run{names: m.run.names, id: rand.Uint32(), start: time.Now(), every: every, ledger: newLedger(m.run.names),
		quit: make(chan struct{}), over: make(chan struct{})}
	for i, e := range m.ends {
		m.run.receiving.Go(func() { m.run.receiveAll(i, e) })
	}
}

// Stop ends the run, waits for what is on its way, and counts.
func (m *Meter) Stop() Report {
	r, limit := m.run, m.Wait
	if limit == 0 {
		limit = lastWait
	}
	close(r.quit)
	r.sending.Wait()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now(); ; <-tick.C {
		all, quiet := r.ledger.complete(time.Since(r.start))
		waited := time.Since(end)
		if min(quiet, waited) >= calm && all || waited >= limit {
			break
		}
	}
	close(r.over)
	r.receiving.Wait()
	r.quit = nil
	return r.ledger.report(r.every)
}

// sendAll keeps the rate over time: after a pause of its own it catches up.
func (r *run) sendAll(station int, e *end) {
	tick := time.NewTicker(r.every)
	defer tick.Stop()
	for n := 0; ; {
		select {
		case <-r.quit:
			return
		case <-tick.C:
		}
		for due := int(time.Since(r.start) / r.every); n < due; n++ {
			r.sendOne(station, e)
		}
	}
}

func (r *run) sendOne(station int, e *end) {
	seq := r.ledger.send(station, time.Since(r.start))
	_, _ = unix.Write(e.fd, frame(e.mac, r.id, station, seq)) // one that cannot be sent is lost
}

func (r *run) receiveAll(receiver int, e *end) {
	buf := make([]byte, frameSize+1)
	for {
		n, err := unix.Read(e.fd, buf)
		if err == nil {
			if station, seq, ok := parse(buf[:n], r.id); ok {
				r.ledger.hear(receiver, station, seq, time.Since(r.start))
			}
			continue
		}
		select {
		case <-r.over:
			return
		default:
		}
	}
}
