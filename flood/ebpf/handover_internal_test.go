package ebpf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/flood"
	"github.com/vtepbgp/vtepbgp/flood/floodtest"
	"github.com/vtepbgp/vtepbgp/kernel/kerneltest"
)

// entrance is the MAC address at which near is fed.
func (l wire) entrance(t testing.TB) (mac net.HardwareAddr) {
	t.Helper()
	require.NoError(t, l.near.Do(func() error {
		u0, err := net.InterfaceByName("u0")
		if err == nil {
			mac = u0.HardwareAddr
		}
		return err
	}))
	return mac
}

// feed sends a frame to near, again and again, from a socket that prepare may set.
func (l wire) feed(t testing.TB, frame []byte, times int, every time.Duration, prepare func(fd int) error) {
	t.Helper()
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	require.NoError(t, l.far.Do(func() error {
		v0, err := net.InterfaceByName("v0")
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := prepare(fd); err != nil {
			return err
		}
		for range times {
			if err := unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: v0.Index}); err != nil {
				return err
			}
			<-ticker.C
		}
		return nil
	}))
}

// TestHandover: the program copies until the egress queue is full, user space sends the
// rest, and none is lost.
func TestHandover(t *testing.T) {
	const frames, n = 10, 1000
	l := newWire(t)
	l.near.IP(t, "route", "add", "10.9.0.0/16", "via", "10.0.1.2")
	l.near.IP(t, "neigh", "replace", "10.0.1.2", "lladdr", "02:00:00:00:00:77", "dev", "u0", "nud", "permanent")
	tc(t, l.near, "qdisc", "add", "dev", "u0", "root", "tbf", "rate", "500mbit", "burst", "32k", "limit", "300k")
	e := l.open(t, probeTCX)
	defer func() { require.NoError(t, e.Close()) }()
	require.NoError(t, e.Apply(&flood.Table{Networks: []flood.Network{{VNI: 100, Listen: service4, VTEPs: vteps(far4, n)}}}))

	p := packet(service4, netip.MustParseAddr("10.7.0.1"), 1400)
	p.DstMAC = l.entrance(t)
	l.feed(t, p.Bytes(), frames, time.Second/20, func(int) error { return nil })
	require.Eventually(t, func() bool { return e.Counters().Total.Copies == frames*n }, within, 10*time.Millisecond)
	assert.Zero(t, e.Counters().Total.Dropped[flood.EgressFull])

	e.mu.Lock()
	state := e.lists.states[listKey{100, service4}].copies
	e.mu.Unlock()
	t.Logf("the program made %d of %d copies", state, frames*n)
	assert.Greater(t, state, uint64(100*frames), "the program copies what the queue takes")
	assert.Less(t, state, uint64(frames*n), "the queue does not take all")
}

// TestHandoverOfLongSuperFrames: of what offloads have merged nothing is lost either when the egress queue is full.
// What is longer than a perf record can be has a second one, of which the last here is the longest that a device takes whole.
func TestHandoverOfLongSuperFrames(t *testing.T) {
	for _, length := range []int{maxSample - 1, maxSample, maxSample + 1, 65_535} {
		t.Run(strconv.Itoa(length), func(t *testing.T) { handOverLong(t, length) })
	}
}

func handOverLong(t *testing.T, length int) {
	const frames, n, size, merged = 5, 20, 1424, 46
	l := newWire(t)
	for ns, dev := range map[*kerneltest.Namespace]string{l.near: "u0", l.far: "v0"} {
		ns.IP(t, "link", "set", dev, "mtu", "1600")
	}
	l.near.IP(t, "route", "add", "10.9.0.0/16", "via", "10.0.1.2")
	l.near.IP(t, "neigh", "replace", "10.0.1.2", "lladdr", "02:00:00:00:00:77", "dev", "u0", "nud", "permanent")
	tc(t, l.near, "qdisc", "add", "dev", "u0", "root", "tbf", "rate", "500mbit", "burst", "128k", "limit", "300k")
	e := l.open(t, probeTCX)
	defer func() { require.NoError(t, e.Close()) }()
	require.NoError(t, e.Apply(&flood.Table{Networks: []flood.Network{{VNI: 100, Listen: service4, VTEPs: vteps(far4, n)}}}))

	one := packet(service4, netip.MustParseAddr("10.7.0.1"), size-8)
	datagram := one.Bytes()[sizeEthernet+20+8:]
	for range merged - 1 {
		one.Inner = append(one.Inner, datagram...)
	}
	one.Inner = one.Inner[:length-sizeEthernet-20-8-8]
	one.Checksum = floodtest.Partial
	vnet := make([]byte, 10)                               // struct virtio_net_hdr
	vnet[0], vnet[1] = unix.VIRTIO_NET_HDR_F_NEEDS_CSUM, 5 /* VIRTIO_NET_HDR_GSO_UDP_L4 */
	for at, v := range map[int]uint16{2: sizeEthernet + 20 + 8, 4: size, 6: sizeEthernet + 20, 8: 6} {
		binary.NativeEndian.PutUint16(vnet[at:], v)
	}
	one.DstMAC = l.entrance(t)
	require.Len(t, one.Bytes(), length)
	l.feed(t, append(vnet, one.Bytes()...), frames, time.Second/10, func(fd int) error {
		return errors.Join(unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1), unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 1<<20))
	})
	require.Eventually(t, func() bool {
		c := e.Counters().Total
		return c.Copies+c.Dropped[flood.EgressFull] >= frames*n*merged
	}, within, 10*time.Millisecond)
	assert.Zero(t, e.Counters().Total.Dropped[flood.EgressFull])
	e.mu.Lock()
	state := e.lists.states[listKey{100, service4}].copies
	e.mu.Unlock()
	t.Logf("the program made %d of %d copies", state, frames*n*merged)
	assert.Less(t, state, uint64(frames*n*merged), "the queue does not take all")
}

// TestHandoverOfTheLongestFrame: it comes in two records, and others of other CPUs between them.
func TestHandoverOfTheLongestFrame(t *testing.T) {
	const longest = sizeEthernet + 40 + 65_535
	spec, err := loadProgram()
	require.NoError(t, err)
	enum := enumOf(t, spec, "sizes")
	assert.EqualValues(t, maxSample, enum["MAX_SAMPLE"])
	assert.LessOrEqual(t, uint64(longest-maxSample), enum["MAX_TAIL"])

	frame := packet(service6, leaf6, longest-sizeEthernet-40-8-8).Bytes()
	require.Len(t, frame, longest)
	tail := func(b []byte) []byte {
		sample := make([]byte, sizeHandover)
		binary.NativeEndian.PutUint32(sample, uint32(len(b)))
		binary.NativeEndian.PutUint16(sample[14:], handoverTail)
		return append(append(sample, b...), 7, 7, 7)
	}
	f := newFinisher(nil)
	first := tail(frame[maxSample:])
	assert.False(t, f.take(1, first))
	assert.False(t, f.take(0, tail([]byte{1, 2, 3})))
	clear(first) // the reader uses its memory again
	assert.Equal(t, frame, f.whole(1, bytes.Clone(frame[:maxSample])))
	assert.Equal(t, frame[:maxSample], f.whole(1, bytes.Clone(frame[:maxSample])), "it belongs to one frame")
}

// TestHandoverOfSeveralCPUs: the program copies again when all has been sent, not when one CPU has nothing more: it would
// overtake what the others have handed over.
func TestHandoverOfSeveralCPUs(t *testing.T) {
	l := newWire(t)
	log := logrus.New()
	log.SetOutput(t.Output())
	e, err := Open(flood.Options{Interface: "u0", InNamespace: l.near.Do, Log: logrus.NewEntry(log)})
	require.NoError(t, err)
	defer func() { require.NoError(t, e.Close()) }()
	require.NoError(t, e.Apply(&flood.Table{Networks: []flood.Network{{VNI: 100, Listen: service4, VTEPs: vteps(far4, 2)}}}))
	require.NoError(t, e.objects.Congested.Set(uint32(1)))
	require.NoError(t, e.objects.Home.Set(uint32(1))) // the loopback, which BPF_PROG_TEST_RUN says packets come from
	cpus := 0
	require.NoError(t, l.near.Do(func() error {
		var all, one unix.CPUSet
		if err := unix.SchedGetaffinity(0, &all); err != nil {
			return err
		}
		for cpu := range len(all) * 64 {
			if !all.IsSet(cpu) {
				continue
			}
			cpus++
			one.Zero()
			one.Set(cpu)
			if err := unix.SchedSetaffinity(0, &one); err != nil {
				return err
			}
			for range 2 {
				if _, _, err := e.objects.FloodIngress.Test(packet(service4, leaf4, 64).Bytes()); err != nil {
					return err
				}
			}
		}
		return unix.SchedSetaffinity(0, &all)
	}))
	f := newFinisher(e)
	e.reader.SetDeadline(time.Now().Add(within))
	var congested uint32
	for n := range 2 * cpus {
		require.NoError(t, e.objects.Congested.Get(&congested))
		require.EqualValues(t, 1, congested, "after %d of %d packets", n, 2*cpus)
		require.True(t, f.next())
	}
	require.NoError(t, e.objects.Congested.Get(&congested))
	assert.Zero(t, congested)
}
