package kernel_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/kernel"
	"github.com/vtepbgp/vtepbgp/kernel/kerneltest"
	"github.com/vtepbgp/vtepbgp/kernel/snoop"
)

// A device that was made without a group sends to it by the row, and hears it by the
// membership of the interface alone.
func TestGroupOnTheWire(t *testing.T) {
	for _, tt := range []struct{ name, here, there, group, other string }{
		{"IPv4", "10.0.0.1", "10.0.0.7", "239.1.1.100", "239.1.1.101"},
		{"IPv6", "2001:db8::1", "2001:db8::7", "ff05::100", "ff05::101"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, k := linuxHost(t)
			here, there, group := netip.MustParseAddr(tt.here), netip.MustParseAddr(tt.there), netip.MustParseAddr(tt.group)
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error, 1)
			go func() { done <- k.Run(ctx, func(evpn.Event) {}) }()
			t.Cleanup(func() { cancel(); assert.NoError(t, <-done) })
			require.NoError(t, k.Configure(kernel.Config{VTEP: here, VNIs: []kernel.VNI{{VNI: 100, Manage: true, Ports: []string{"p1"}, Group: group}}}))
			row := evpn.Row{RowKey: evpn.RowKey{Kind: evpn.FloodRow, VNI: 100, IP: group}}
			k.Apply([]evpn.RowChange{{Row: row}})
			eventually(t, func() bool { return k.Installed(row.RowKey) }, "the row is there")
			far := openWire(t, w, "eth0-host")

			host := snoop.Station{MAC: evpn.MAC{2, 0xa}, IP: netip.MustParseAddr("192.0.2.1")}
			asked := snoop.ARPRequestFrame(snoop.BroadcastMAC, host, netip.MustParseAddr("192.0.2.2"))
			eventually(t, func() bool {
				w.HostSends(t, "p1", asked)
				return far.heard(func(p outer) bool {
					return p.from == here && p.to == group && p.port == 4789 && p.vni == 100 && bytes.HasPrefix(p.inner, asked)
				})
			}, "a broadcast goes to the group")

			guest := snoop.Station{MAC: evpn.MAC{2, 0xb}, IP: netip.MustParseAddr("192.0.2.9")}
			question := func(ip string) []byte {
				return snoop.ARPRequestFrame(snoop.BroadcastMAC, guest, netip.MustParseAddr(ip))
			}
			eventually(t, func() bool {
				far.send(t, outer{from: there, to: netip.MustParseAddr(tt.other), inner: question("192.0.2.66")})
				far.send(t, outer{from: there, to: group, inner: question("192.0.2.77")})
				for _, frame := range w.HostHears(t, "p1") {
					p, _ := snoop.Parse(frame)
					assert.NotEqual(t, "192.0.2.66", p.Target.String(), "the host is no member of that group")
					if p.Target.String() == "192.0.2.77" {
						return true
					}
				}
				return false
			}, "a broadcast to the group arrives")

			require.NoError(t, k.Flush(context.Background()))
			far.drain()
			w.HostSends(t, "p1", asked)
			assert.False(t, far.heard(func(p outer) bool { return p.vni == 100 }), "nothing goes there any more")
		})
	}
}

// While a list takes the place of a group, and back, every frame goes to all of the one
// or all of the other; a few in between to both.
func TestChangeOfListMissesNothing(t *testing.T) {
	w, k := linuxHost(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx, func(evpn.Event) {}) }()
	t.Cleanup(func() { cancel(); assert.NoError(t, <-done) })
	require.NoError(t, k.Configure(kernel.Config{VTEP: netip.MustParseAddr("10.0.0.1"), VNIs: []kernel.VNI{{VNI: 100, Manage: true, Ports: []string{"p1"}, Group: group}}}))
	list := []netip.Addr{netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.3")}
	for _, to := range list {
		w.IP(t, "neigh", "add", to.String(), "lladdr", "02:ff:00:00:00:01", "dev", "eth0", "nud", "permanent")
	}
	row := func(to netip.Addr, remove bool) evpn.RowChange {
		return evpn.RowChange{Row: evpn.Row{RowKey: evpn.RowKey{Kind: evpn.FloodRow, VNI: 100, IP: to}}, Remove: remove}
	}
	use := func(grouped bool) {
		k.Apply([]evpn.RowChange{row(list[0], grouped), row(list[1], grouped), row(group, !grouped)})
		eventually(t, func() bool { return k.Stats().Pending == 0 }, "written")
	}
	use(true)
	far := openWire(t, w, "eth0-host")
	const large = 64 << 20
	require.NoError(t, unix.SetsockoptInt(far.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, large))

	// No more frames are under way than a queue of the host holds (netdev_max_backlog).
	const underWay = 400
	stop, stopped := make(chan struct{}), make(chan struct{})
	sent, seen := 0, atomic.Int64{}
	go func() {
		defer close(stopped)
		frame := make([]byte, 64)
		for {
			select {
			case <-stop:
				return
			default:
			}
			if int64(sent)-seen.Load() > underWay {
				runtime.Gosched()
				continue
			}
			copy(frame, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0xa, 0, 0, 0, 0, 0x88, 0xb5})
			binary.BigEndian.PutUint32(frame[14:], uint32(sent))
			w.HostSends(t, "p1", frame)
			sent++
		}
	}()
	const changes = 200
	got := map[uint32]map[netip.Addr]int{}
	read := func(p outer) bool {
		if len(p.inner) >= 18 && p.inner[12] == 0x88 && p.inner[13] == 0xb5 {
			seq := binary.BigEndian.Uint32(p.inner[14:])
			if got[seq] == nil {
				got[seq] = map[netip.Addr]int{}
			}
			got[seq][p.to]++
			seen.Store(max(seen.Load(), int64(seq)))
		}
		return false
	}
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		for over := false; !over; {
			select {
			case <-stopped:
				over = true
			default:
			}
			far.heard(read)
		}
	}()
	for i := range changes {
		use(i%2 == 1)
	}
	close(stop)
	<-stopped
	<-heard
	both := 0
	require.Len(t, got, sent, "every frame went somewhere")
	for seq, by := range got {
		some := by[list[0]] + by[list[1]]
		assert.True(t, by[group] == 1 || some == 2, "frame %d: %v", seq, by)
		if by[group] == 1 && some > 0 {
			both++
		}
	}
	t.Logf("%d frames during %d changes, %d of them to both", sent, changes, both)
}

// outer is a VXLAN packet.
type outer struct {
	from, to netip.Addr
	port     uint16
	vni      uint32
	inner    []byte
}

// wire is a packet socket on a link.
type wire struct{ fd int }

func openWire(t *testing.T, w kerneltest.RealWorld, device string) *wire {
	var fd int
	require.NoError(t, w.Do(func() error {
		link, err := net.InterfaceByName(device)
		if err != nil {
			return err
		}
		all := int(binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, unix.ETH_P_ALL)))
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, all); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: uint16(all), Ifindex: link.Index})
	}))
	t.Cleanup(func() { assert.NoError(t, unix.Close(fd)) })
	wait := unix.NsecToTimeval(int64(20 * time.Millisecond))
	require.NoError(t, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait))
	return &wire{fd}
}

// heard reads what has come, and says whether a packet is among it.
func (w *wire) heard(is func(outer) bool) bool {
	b := make([]byte, 4096)
	for {
		n, from, err := unix.Recvfrom(w.fd, b, 0)
		if err != nil {
			return false
		}
		l, ok := from.(*unix.SockaddrLinklayer)
		if p, vxlan := parseOuter(b[:n]); ok && l.Pkttype != unix.PACKET_OUTGOING && vxlan && is(p) {
			return true
		}
	}
}

func (w *wire) drain() { w.heard(func(outer) bool { return false }) }

func parseOuter(b []byte) (p outer, ok bool) {
	const ethernet, udp = 14, 8
	switch {
	case len(b) > ethernet+20+udp+8 && b[12] == 0x08 && b[ethernet+9] == unix.IPPROTO_UDP:
		p.from, p.to = netip.AddrFrom4([4]byte(b[26:30])), netip.AddrFrom4([4]byte(b[30:34]))
		b = b[ethernet+20:]
	case len(b) > ethernet+40+udp+8 && b[12] == 0x86 && b[ethernet+6] == unix.IPPROTO_UDP:
		p.from, p.to = netip.AddrFrom16([16]byte(b[22:38])), netip.AddrFrom16([16]byte(b[38:54]))
		b = b[ethernet+40:]
	default:
		return outer{}, false
	}
	p.port = binary.BigEndian.Uint16(b[2:])
	p.vni, p.inner = binary.BigEndian.Uint32(b[udp+4:])>>8, b[udp+8:]
	return p, true
}

// send sends a packet of VNI 100 as a VTEP of the segment does.
func (w *wire) send(t *testing.T, p outer) {
	t.Helper()
	udp := binary.BigEndian.AppendUint16(nil, 50000)
	udp = binary.BigEndian.AppendUint16(udp, 4789)
	udp = binary.BigEndian.AppendUint16(udp, uint16(16+len(p.inner)))
	udp = append(udp, 0, 0, 8, 0, 0, 0, 0, 0, 100, 0)
	udp = append(udp, p.inner...)
	pseudo := append(p.from.AsSlice(), p.to.AsSlice()...)
	pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(len(udp)))
	pseudo = binary.BigEndian.AppendUint32(pseudo, unix.IPPROTO_UDP)
	binary.BigEndian.PutUint16(udp[6:], checksum(append(pseudo, udp...)))

	to := p.to.AsSlice()
	var frame []byte
	if p.to.Is4() {
		frame = append(frame, 0x01, 0x00, 0x5e, to[1]&0x7f, to[2], to[3])
		frame = append(frame, 2, 0xff, 0, 0, 0, 1, 0x08, 0x00)
		header := []byte{0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, unix.IPPROTO_UDP, 0, 0}
		header = append(append(header, p.from.AsSlice()...), to...)
		binary.BigEndian.PutUint16(header[2:], uint16(len(header)+len(udp)))
		binary.BigEndian.PutUint16(header[10:], checksum(header))
		frame = append(frame, header...)
	} else {
		frame = append(frame, 0x33, 0x33, to[12], to[13], to[14], to[15])
		frame = append(frame, 2, 0xff, 0, 0, 0, 1, 0x86, 0xdd, 0x60, 0, 0, 0)
		frame = binary.BigEndian.AppendUint16(frame, uint16(len(udp)))
		frame = append(frame, unix.IPPROTO_UDP, 64)
		frame = append(append(frame, p.from.AsSlice()...), to...)
	}
	_, err := unix.Write(w.fd, append(frame, udp...))
	require.NoError(t, err)
}

// checksum is RFC 1071's.
func checksum(b []byte) uint16 {
	sum := uint32(0)
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
