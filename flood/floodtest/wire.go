package floodtest

import (
	"encoding/binary"
	"net"
	"os"
	"runtime"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/kernel/kerneltest"
)

// vnetLength is that of struct virtio_net_hdr, which packet sockets put before frames.
const vnetLength = 10

// hose sends frames out of an interface.
type hose struct{ fd int }

func newHose(t testing.TB, ns *kerneltest.Namespace, dev string) *hose {
	h := &hose{fd: packetSocket(t, ns, dev, 0)}
	require.NoError(t, unix.SetsockoptInt(h.fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1))
	return h
}

// packetSocket listens to a protocol on an interface; to none when it is 0.
func packetSocket(t testing.TB, ns *kerneltest.Namespace, dev string, protocol uint16) int {
	var fd int
	require.NoError(t, ns.Do(func() (err error) {
		i, err := net.InterfaceByName(dev)
		if err != nil {
			return err
		}
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		if protocol != 0 {
			err = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1)
		}
		if err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: protocol<<8 | protocol>>8, Ifindex: i.Index})
	}))
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func (h *hose) send(t testing.TB, p *Packet) {
	t.Helper()
	frame := p.Bytes()
	vnet := make([]byte, vnetLength, vnetLength+len(frame))
	if p.Checksum == Partial {
		vnet[0] = 1 // VIRTIO_NET_HDR_F_NEEDS_CSUM
		binary.NativeEndian.PutUint16(vnet[6:], uint16(ethernetLength+p.ipLength()))
		binary.NativeEndian.PutUint16(vnet[8:], 6)
	}
	h.write(t, append(vnet, frame...))
}

// sendMerged sends packets of one flow and size as one, as a card or a device with
// offloads hands them over (VIRTIO_NET_HDR_GSO_UDP_L4, Linux 6.2).
func (h *hose) sendMerged(t testing.TB, packets ...*Packet) {
	t.Helper()
	whole := *packets[0]
	size := udpLength + vxlanLength + len(whole.Inner) - udpLength
	for _, p := range packets[1:] {
		whole.Inner = append(whole.Inner[:len(whole.Inner):len(whole.Inner)], p.payload()...)
	}
	whole.Checksum = Partial
	vnet := make([]byte, vnetLength)
	vnet[0], vnet[1] = 1, 5
	headers := ethernetLength + whole.ipLength() + udpLength
	binary.NativeEndian.PutUint16(vnet[2:], uint16(headers))
	binary.NativeEndian.PutUint16(vnet[4:], uint16(size))
	binary.NativeEndian.PutUint16(vnet[6:], uint16(headers-udpLength))
	binary.NativeEndian.PutUint16(vnet[8:], 6)
	h.write(t, append(vnet, whole.Bytes()...))
}

func (h *hose) write(t testing.TB, b []byte) {
	t.Helper()
	_, err := unix.Write(h.fd, b)
	require.NoError(t, err)
}

// move puts a device of one namespace into another.
func move(t testing.TB, from *kerneltest.Namespace, dev string, to *kerneltest.Namespace) {
	h, err := netlink.NewHandleAt(from.Handle())
	require.NoError(t, err)
	defer h.Close()
	link, err := h.LinkByName(dev)
	require.NoError(t, err)
	require.NoError(t, h.LinkSetNsFd(link, int(to.Handle())))
}

// setOffloads turns the offloads of checksums and segmentation of a device on or off.
func setOffloads(t testing.TB, ns *kerneltest.Namespace, dev string, value uint32) {
	require.NoError(t, ns.Do(func() error {
		for _, c := range []uint32{unix.ETHTOOL_STXCSUM, unix.ETHTOOL_SGSO, unix.ETHTOOL_SGRO} {
			if err := ethtool(dev, c, value); err != nil {
				return err
			}
		}
		return nil
	}))
}

// ethtool sets one value, as `ethtool -K` does.
func ethtool(dev string, command, value uint32) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	data := [2]uint32{command, value}
	var request struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}
	copy(request.name[:], dev)
	request.data = unsafe.Pointer(&data)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request)))
	runtime.KeepAlive(&data)
	if errno != 0 {
		return os.NewSyscallError("SIOCETHTOOL "+dev, errno)
	}
	return nil
}
