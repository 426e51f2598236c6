package snoop_test

import (
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/kernel/kerneltest"
	"github.com/vtepbgp/vtepbgp/kernel/snoop"
)

// ear receives from Taps in a namespace with veth pairs port<n> and host<n>.
type ear struct {
	*snoop.Taps
	ns *kerneltest.Namespace
	t  *testing.T

	mu    sync.Mutex
	heard map[int32][]snoop.Kind
	ended chan error
}

func newEar(t *testing.T) *ear {
	e := &ear{ns: kerneltest.NewNamespace(t), t: t, heard: map[int32][]snoop.Kind{}, ended: make(chan error, 1)}
	var err error
	e.Taps, err = snoop.NewTaps(e.ns.Do)
	require.NoError(t, err)
	go func() {
		for {
			err := e.Receive(func(link int32, frame []byte) {
				p, _ := snoop.Parse(frame)
				e.mu.Lock()
				defer e.mu.Unlock()
				e.heard[link] = append(e.heard[link], p.Kind)
			})
			if err != nil {
				e.ended <- err
				return
			}
		}
	}()
	t.Cleanup(func() {
		assert.NoError(t, e.Close())
		assert.ErrorIs(t, <-e.ended, os.ErrClosed)
		assert.ErrorIs(t, e.Close(), os.ErrClosed)
		assert.ErrorIs(t, e.Follow(nil), os.ErrClosed)
	})
	return e
}

// pair makes a veth pair and gives the indexes of port<n> and host<n>.
func (e *ear) pair(n string) (port, host int32) {
	e.ns.IP(e.t, "link", "add", "port"+n, "type", "veth", "peer", "name", "host"+n)
	for _, l := range []string{"port" + n, "host" + n} {
		e.ns.IP(e.t, "link", "set", l, "addrgenmode", "none", "up")
	}
	e.awaitRunning("port"+n, "host"+n)
	return e.index("port" + n), e.index("host" + n)
}

func (e *ear) index(name string) (index int32) {
	require.NoError(e.t, e.ns.Do(func() error {
		i, err := net.InterfaceByName(name)
		if err == nil {
			index = int32(i.Index)
		}
		return err
	}))
	return index
}

// awaitRunning waits until links carry packets, which is a moment after they were set
// up: until then what is sent is lost (linkwatch_do_dev, net/core/link_watch.c).
func (e *ear) awaitRunning(names ...string) {
	e.t.Helper()
	for _, name := range names {
		require.Eventually(e.t, func() bool {
			var flags net.Flags
			err := e.ns.Do(func() error {
				i, err := net.InterfaceByName(name)
				if err == nil {
					flags = i.Flags
				}
				return err
			})
			return err == nil && flags&net.FlagRunning != 0
		}, 30*time.Second, time.Millisecond, "%s is running", name)
	}
}

// hears waits until exactly these kinds came in by a link.
func (e *ear) hears(link int32, want ...snoop.Kind) {
	e.t.Helper()
	require.Eventually(e.t, func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		return len(e.heard[link]) >= len(want)
	}, 30*time.Second, time.Millisecond, "frames are heard")
	e.mu.Lock()
	defer e.mu.Unlock()
	assert.Equal(e.t, want, e.heard[link])
	delete(e.heard, link)
}

func TestTaps(t *testing.T) {
	t.Parallel()
	e := newEar(t)
	port, host := e.pair("1")
	other, otherHost := e.pair("2")
	require.NoError(t, e.Follow([]int32{port, 4711}), "a link that is gone is no error")
	assert.Equal(t, 1, e.Stats().Links)

	tagged := slices.Clone(find(t, "ARP request"))
	tagged = slices.Insert(tagged, 12, 0x81, 0x00, 0x00, 0x05)
	tcp := slices.Clone(find(t, "DHCPACK"))
	tcp[23] = 6
	for _, f := range [][]byte{tagged, tcp, find(t, "router solicitation"), find(t, "echo request"), find(t, "ARP request")} {
		require.NoError(t, e.Send(host, f))
	}
	require.NoError(t, e.Send(otherHost, find(t, "ARP request")), "on a link that nobody listens to")
	require.NoError(t, e.Send(port, find(t, "ARP request")), "it does not hear itself")
	require.NoError(t, e.Send(host, find(t, "duplicate address detection")))
	e.hears(port, snoop.ARPRequest, snoop.NSProbe)

	// A link that was made anew under its old number is another link.
	e.ns.IP(t, "link", "set", "port1", "name", "renamed")
	require.NoError(t, e.Send(host, find(t, "its reply")))
	e.hears(port, snoop.ARPReply)
	e.ns.IP(t, "link", "del", "renamed")
	assert.Error(t, e.Send(port, find(t, "its reply")))
	e.ns.IP(t, "link", "add", "port1", "index", strconv.Itoa(int(port)), "type", "veth", "peer", "name", "host1")
	e.ns.IP(t, "link", "set", "port1", "up")
	e.ns.IP(t, "link", "set", "host1", "addrgenmode", "none", "up")
	e.awaitRunning("port1", "host1")
	require.NoError(t, e.Follow([]int32{port, other}))
	require.Equal(t, 2, e.Stats().Links)
	require.NoError(t, e.Send(e.index("host1"), find(t, "its reply")))
	e.hears(port, snoop.ARPReply)

	// Down and up again, without anybody's help.
	e.ns.IP(t, "link", "set", "port2", "down")
	e.ns.IP(t, "link", "set", "port2", "up")
	e.awaitRunning("port2", "host2")
	require.NoError(t, e.Send(otherHost, find(t, "ARP request")))
	e.hears(other, snoop.ARPRequest)
	require.NoError(t, e.Follow([]int32{other}))
	assert.Equal(t, 1, e.Stats().Links)
}

// TestTapsStorm: a link that says too much does not keep others from being heard.
func TestTapsStorm(t *testing.T) {
	t.Parallel()
	e := newEar(t)
	loud, loudHost := e.pair("1")
	quiet, quietHost := e.pair("2")
	require.NoError(t, e.Follow([]int32{loud, quiet}))
	storm := snoop.ARPRequestFrame(snoop.BroadcastMAC, snoop.Station{MAC: evpn.MAC{2, 1}, IP: ip1}, ip2)
	began := time.Now()
	sent := 0
	for e.Stats().Muted == 0 && time.Since(began) < 30*time.Second {
		for range 1000 {
			require.NoError(t, e.Send(loudHost, storm))
		}
		sent += 1000
	}
	took := time.Since(began)
	require.NoError(t, e.Send(quietHost, find(t, "its reply")))
	e.hears(quiet, snoop.ARPReply)
	assert.Positive(t, e.Stats().Muted, "of %d", sent)
	e.mu.Lock()
	heard := len(e.heard[loud])
	e.mu.Unlock()
	assert.Less(t, float64(heard), 4000+2000*(took.Seconds()+1)+100)
	// It is heard again, though not all of it.
	for range 5000 {
		require.NoError(t, e.Send(loudHost, storm))
	}
	assert.Positive(t, e.Stats().Dropped)
	require.Eventually(t, func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		return len(e.heard[loud]) > heard
	}, 30*time.Second, 10*time.Millisecond)
}

func TestTapsNeedPermission(t *testing.T) {
	t.Parallel()
	_, err := snoop.NewTaps(func(func() error) error { return os.ErrPermission })
	require.ErrorIs(t, err, os.ErrPermission)
	assert.True(t, strings.HasPrefix(err.Error(), "open socket to send frames"))
}
