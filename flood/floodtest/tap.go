package floodtest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/flood"
	"github.com/vtepbgp/vtepbgp/kernel/kerneltest"
)

// tap collects the VXLAN packets that leave by an interface.
type tap struct {
	fd      int
	ignored map[netip.Addr]bool // destinations that are no copies
	group   netip.Addr          // one that copies are delivered to

	mu     sync.Mutex
	copies []leaving
	wrong  []string
	merged int
}

// leaving is a packet seen on its way out.
type leaving struct {
	to, from    netip.Addr
	port        uint16 // of the source
	ttl, dscp   uint8
	mac         net.HardwareAddr
	checksummed bool
	number      uint32
	payload     []byte
}

// delivered has a tap also see what is sent to a group.
func delivered(group netip.Addr) func(*tap) { return func(p *tap) { p.group = group } }

// ignoring has it not see what is sent to some.
func ignoring(to ...netip.Addr) func(*tap) {
	return func(p *tap) {
		for _, a := range to {
			p.ignored[a] = true
		}
	}
}

// newTap listens from now on, and is stopped with the test.
func newTap(t testing.TB, ns *kerneltest.Namespace, dev string, settings ...func(*tap)) *tap {
	const all = unix.ETH_P_ALL
	p := &tap{fd: packetSocket(t, ns, dev, all), ignored: map[netip.Addr]bool{}}
	for _, set := range settings {
		set(p)
	}
	require.NoError(t, unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 256<<20))
	require.NoError(t, unix.SetsockoptTimeval(p.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 20000}))
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		p.run(stop)
	}()
	t.Cleanup(func() {
		close(stop)
		<-done
		stats, err := unix.GetsockoptTpacketStats(p.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
		if assert.NoError(t, err) {
			assert.Zero(t, stats.Drops, "the tap itself lost packets")
		}
	})
	return p
}

func (p *tap) run(stop chan struct{}) {
	buffer := make([]byte, vnetLength+ethernetLength+1<<16)
	for {
		n, from, err := unix.Recvfrom(p.fd, buffer, 0)
		select {
		case <-stop:
			return
		default:
		}
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENETDOWN) {
			continue
		}
		if err != nil {
			return
		}
		if ll, ok := from.(*unix.SockaddrLinklayer); ok && ll.Pkttype == unix.PACKET_OUTGOING && n > vnetLength {
			p.see(buffer[:n])
		}
	}
}

func (p *tap) see(b []byte) {
	partial, merged, size := b[0]&1 != 0, b[1] != 0, int(binary.NativeEndian.Uint16(b[4:]))
	pkt, r := flood.ParseEthernet(b[vnetLength:], flood.Trust{Partial: partial})
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case r == flood.NotIP || r == flood.NotUDP || pkt.Destination.IsMulticast() && pkt.Destination != p.group || p.ignored[pkt.Destination]:
		return // ARP, neighbour discovery, IGMP
	case r != flood.Kept && !merged:
		p.wrong = append(p.wrong, fmt.Sprintf("%s to %s", r, pkt.Destination))
		return
	case !merged:
		p.copies = append(p.copies, leavingOf(&pkt, b[vnetLength:]))
		return
	}
	p.merged++
	for at := 0; at < len(pkt.Payload); at += size {
		part, r := pkt.Segment(at, min(at+size, len(pkt.Payload)))
		if r != flood.Kept {
			p.wrong = append(p.wrong, fmt.Sprintf("%s to %s in a merged packet", r, pkt.Destination))
			continue
		}
		p.copies = append(p.copies, leavingOf(&part, b[vnetLength:]))
	}
}

func leavingOf(p *flood.Packet, frame []byte) leaving {
	l := leaving{
		to: p.Destination, from: p.Source, port: p.SourcePort, ttl: p.TTL, dscp: p.DSCP,
		mac: bytes.Clone(frame[:6]), checksummed: p.Checksummed, payload: bytes.Clone(p.Payload),
	}
	l.number, _ = numberOf(p.Inner())
	return l
}

// seen is how many copies left so far.
func (p *tap) seen() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.copies)
}

// take gives what left so far and forgets it.
func (p *tap) take(t testing.TB) []leaving {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	assert.Empty(t, p.wrong, "packets left that are not VXLAN, or damaged")
	all := p.copies
	p.copies = nil
	return all
}

// expect asks for each packet at each VTEP exactly once, unchanged, with the source of
// the original, and for nothing else. It returns when all have left.
func (p *tap) expect(t testing.TB, to []netip.Addr, packets ...*Packet) []leaving {
	t.Helper()
	want := len(to) * len(packets)
	eventually(t, func() (string, bool) {
		n := p.seen()
		return fmt.Sprintf("%d copies of %d", n, want), n >= want
	})
	copies := p.take(t)
	check(t, copies, to, packets)
	return copies
}

// expectFlow is expect for the packets of one source port; what else left is forgotten.
func (p *tap) expectFlow(t testing.TB, port uint16, to []netip.Addr, packets ...*Packet) {
	t.Helper()
	var copies []leaving
	eventually(t, func() (string, bool) {
		for _, l := range p.take(t) {
			if l.port == port {
				copies = append(copies, l)
			}
		}
		return fmt.Sprintf("%d copies of %d", len(copies), len(to)*len(packets)), len(copies) >= len(to)*len(packets)
	})
	check(t, copies, to, packets)
}

func check(t testing.TB, copies []leaving, to []netip.Addr, packets []*Packet) {
	t.Helper()
	type key struct {
		to     netip.Addr
		number uint32
	}
	byNumber := map[uint32]*Packet{}
	for _, p := range packets {
		n, _ := numberOf(p.Inner)
		byNumber[n] = p
	}
	got := map[key]int{}
	wrong := 0
	for i := range copies {
		c := &copies[i]
		got[key{c.to, c.number}]++
		if p := byNumber[c.number]; p == nil {
			assert.Fail(t, "a copy of a packet that was not sent", "number %d to %s", c.number, c.to)
			wrong++
		} else if why := c.differs(p); why != "" {
			assert.Fail(t, "a copy differs from its original", "number %d to %s: %s", c.number, c.to, why)
			wrong++
		}
		if wrong > 5 {
			break
		}
	}
	for _, a := range to {
		for n := range byNumber {
			if g := got[key{a, n}]; g != 1 {
				assert.Fail(t, "not exactly once", "number %d to %s: %d times", n, a, g)
				if wrong++; wrong > 10 {
					return
				}
			}
			delete(got, key{a, n})
		}
	}
	for k := range got {
		assert.Fail(t, "a copy to somebody else", "number %d to %s", k.number, k.to)
	}
}

// differs says in what a copy is not what it should be.
func (l *leaving) differs(p *Packet) string {
	switch {
	case l.to.IsMulticast() && !bytes.Equal(l.mac, GroupMAC(l.to)):
		return fmt.Sprintf("sent to %s, which is not the group's MAC", l.mac)
	case l.from != p.Source:
		return fmt.Sprintf("source %s, was %s", l.from, p.Source)
	case l.port != p.SourcePort:
		return fmt.Sprintf("source port %d, was %d", l.port, p.SourcePort)
	case l.ttl != flood.TTL:
		return fmt.Sprintf("TTL %d", l.ttl)
	case l.dscp != flood.Mark:
		return fmt.Sprintf("DSCP %d", l.dscp)
	case !l.checksummed && p.Checksum != Zero:
		return "it has lost its UDP checksum"
	case !bytes.Equal(l.payload, p.payload()):
		return "the payload"
	}
	return ""
}
