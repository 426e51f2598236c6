package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/vtepbgp/vtepbgp/lab/nsthread"
)

// peer is the scripted route reflector: it listens on port 179 of its namespace,
// answers OPEN and KEEPALIVE, says what it is told to and counts what it hears.
type peer struct {
	listener net.Listener
	sessions chan *session
}

// session is one established session with a system under test.
type session struct {
	conn        net.Conn
	established time.Time // when the other side's KEEPALIVE arrived
	done        chan struct{}

	mu      sync.Mutex
	changed *sync.Cond
	macs    *macSet
	flood   int // type-3 announcements heard
	eor     bool
	err     error

	write sync.Mutex
}

func newPeer(n *nsthread.Namespace) (*peer, error) {
	p := &peer{sessions: make(chan *session, 4)}
	err := n.Do(func() (err error) {
		p.listener, err = net.Listen("tcp4", netip.AddrPortFrom(peerAddress, 179).String())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen as route reflector: %w", err)
	}
	go p.accept()
	return p, nil
}

func (p *peer) close() { _ = p.listener.Close() }

func (p *peer) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		go func() {
			s := &session{conn: c, macs: newMACSet(0), done: make(chan struct{})}
			s.changed = sync.NewCond(&s.mu)
			r := bufio.NewReaderSize(c, 1<<18)
			if err := s.open(r); err != nil {
				_ = c.Close()
				return
			}
			p.sessions <- s
			go s.keepalives()
			s.read(r)
		}()
	}
}

// session waits for the next system under test to come up.
func (p *peer) session(ctx context.Context, timeout time.Duration) (*session, error) {
	select {
	case s := <-p.sessions:
		return s, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(timeout):
		return nil, fmt.Errorf("wait for the session with the route reflector: %w", errTimeout)
	}
}

func (s *session) open(r *bufio.Reader) error {
	if _, err := s.conn.Write(appendOpen(nil, peerAddress)); err != nil {
		return err
	}
	buf := make([]byte, 1<<16)
	for {
		typ, _, err := readMessage(r, buf)
		switch {
		case err != nil:
			return err
		case typ == bgpOpen:
			if _, err := s.conn.Write(finish(appendHeader(nil, bgpKeepalive), 0)); err != nil {
				return err
			}
		case typ == bgpKeepalive:
			s.established = time.Now()
			return nil
		case typ == bgpNotification:
			return errors.New("the other side closed the session")
		}
	}
}

func readMessage(r *bufio.Reader, buf []byte) (byte, []byte, error) {
	if _, err := io.ReadFull(r, buf[:bgpHeader]); err != nil {
		return 0, nil, err
	}
	l := int(binary.BigEndian.Uint16(buf[16:]))
	if l < bgpHeader {
		return 0, nil, errors.New("message shorter than its header")
	}
	_, err := io.ReadFull(r, buf[bgpHeader:l])
	return buf[18], buf[bgpHeader:l], err
}

func (s *session) read(r *bufio.Reader) {
	defer close(s.done)
	buf := make([]byte, 1<<16)
	for {
		typ, body, err := readMessage(r, buf)
		if err == nil && typ == bgpNotification && len(body) >= 2 {
			err = fmt.Errorf("the other side closed the session: notification %d/%d", body[0], body[1])
		}
		s.mu.Lock()
		if err != nil {
			s.err = err
		} else if typ == bgpUpdate {
			s.flood += s.macs.read(body)
			s.eor = s.eor || len(body) == 10
		}
		s.changed.Broadcast()
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (s *session) keepalives() {
	t := time.NewTicker(30 * time.Second)
	defer t.Stop()
	for {
		select {
		case <-s.done:
			return
		case <-t.C:
			if s.send(finish(appendHeader(nil, bgpKeepalive), 0)) != nil {
				return
			}
		}
	}
}

// send writes whole messages.
func (s *session) send(b []byte) error {
	s.write.Lock()
	defer s.write.Unlock()
	_, err := s.conn.Write(b)
	return err
}

func (s *session) close() {
	_ = s.conn.Close()
	<-s.done
}

// waitMACs waits until the peer holds want MACs and gives the time it was so. On a
// timeout it gives the number it holds.
func (s *session) waitMACs(want int, timeout time.Duration) (time.Time, int, error) {
	var when time.Time
	held, err := s.wait(timeout, func() (int, bool) {
		when = time.Now()
		return s.macs.count, s.macs.count == want
	})
	if err != nil {
		return when, held, fmt.Errorf("wait for %d MACs at the route reflector (it has %d): %w", want, held, err)
	}
	return when, held, nil
}

// ended says that the other side closed the session.
func (s *session) ended() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// waitFlood waits until n type-3 routes were heard.
func (s *session) waitFlood(n int, timeout time.Duration) error {
	held, err := s.wait(timeout, func() (int, bool) { return s.flood, s.flood >= n })
	if err != nil {
		return fmt.Errorf("wait for %d type-3 routes at the route reflector (it has %d): %w", n, held, err)
	}
	return nil
}

func (s *session) wait(timeout time.Duration, ok func() (int, bool)) (int, error) {
	expired := false
	t := time.AfterFunc(timeout, func() {
		s.mu.Lock()
		expired = true
		s.changed.Broadcast()
		s.mu.Unlock()
	})
	defer t.Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		held, done := ok()
		switch {
		case done:
			return held, nil
		case s.err != nil:
			return held, s.err
		case expired:
			return held, errTimeout
		}
		s.changed.Wait()
	}
}
