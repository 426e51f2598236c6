package kerneltest

import (
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/kernel/snoop"
)

// ears listen at the far ends of the ports of a [RealWorld].
type ears struct {
	ns   *Namespace
	taps *snoop.Taps

	mu    sync.Mutex
	links map[string]int32 // far ends by port
	heard map[int32][][]byte
	hosts map[destination]evpn.MAC // that answer, by far end
}

func newEars(t testing.TB, ns *Namespace) *ears {
	taps, err := snoop.NewTaps(ns.Do)
	require.NoError(t, err)
	e := &ears{ns: ns, taps: taps, links: map[string]int32{}, heard: map[int32][][]byte{}, hosts: map[destination]evpn.MAC{}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for taps.Receive(e.hear) == nil {
		}
	}()
	t.Cleanup(func() {
		assert.NoError(t, taps.Close())
		<-done
	})
	return e
}

func (e *ears) hear(link int32, frame []byte) {
	e.mu.Lock()
	e.heard[link] = append(e.heard[link], slices.Clone(frame))
	p, _ := snoop.Parse(frame)
	mac, there := e.hosts[destination{p.Target, link}]
	e.mu.Unlock()
	if !there {
		return
	}
	host, asker := snoop.Station{MAC: mac, IP: p.Target}, snoop.Station{MAC: p.Source, IP: p.Sender}
	switch p.Kind {
	case snoop.ARPRequest:
		_ = e.taps.Send(link, snoop.ARPReplyFrame(host, asker)) // as on a wire, nobody hears of a loss
	case snoop.NS:
		_ = e.taps.Send(link, snoop.NAFrame(host, asker, p.Target, snoop.Flags{Solicited: true, Override: true}))
	default: // asks nobody
	}
}

func (e *ears) setHost(t testing.TB, port string, ip netip.Addr, mac evpn.MAC, on bool) {
	at := destination{ip, e.link(t, port)}
	e.mu.Lock()
	defer e.mu.Unlock()
	if delete(e.hosts, at); on {
		e.hosts[at] = mac
	}
}

// add follows the far end of a new port.
func (e *ears) add(t testing.TB, port string) {
	var index int
	require.NoError(t, e.ns.Do(func() error {
		i, err := net.InterfaceByName(port + "-host")
		if err == nil {
			index = i.Index
		}
		return err
	}))
	e.mu.Lock()
	e.links[port] = int32(index)
	var all []int32
	for _, l := range e.links {
		all = append(all, l)
	}
	e.mu.Unlock()
	require.NoError(t, e.taps.Follow(all))
}

func (e *ears) link(t testing.TB, port string) int32 {
	e.mu.Lock()
	defer e.mu.Unlock()
	require.NotZero(t, e.links[port], "no port %s", port)
	return e.links[port]
}

func (e *ears) take(t testing.TB, port string) [][]byte {
	link := e.link(t, port)
	e.mu.Lock()
	defer e.mu.Unlock()
	frames := e.heard[link]
	delete(e.heard, link)
	return frames
}
