package floodtest

import (
	"encoding/binary"
	"net/netip"
)

// Inner is an Ethernet frame with TCP or UDP, as a host behind a VXLAN device sends it.
type Inner struct {
	Six      bool
	UDP      bool
	ID       uint16 // of IPv4
	Sequence uint32 // of TCP
	Flags    uint8  // of TCP
	Data     []byte
}

const (
	tcpLength = 20
	tcpFIN    = 0x01
	tcpPSH    = 0x08
	tcpACK    = 0x10
	tcpCWR    = 0x80
)

// TransportAt is where TCP or UDP begins.
func (i *Inner) TransportAt() int {
	if i.Six {
		return ethernetLength + 40
	}
	return ethernetLength + 20
}

// HeaderLength is the length of all headers.
func (i *Inner) HeaderLength() int {
	if i.UDP {
		return i.TransportAt() + udpLength
	}
	return i.TransportAt() + tcpLength
}

// ChecksumOffset is where the checksum is in TCP or UDP.
func (i *Inner) ChecksumOffset() int {
	if i.UDP {
		return 6
	}
	return 16
}

// Bytes is the frame; partial leaves the checksum to be completed.
func (i *Inner) Bytes(partial bool) []byte {
	b := make([]byte, i.HeaderLength(), i.HeaderLength()+len(i.Data))
	b = append(b, i.Data...)
	copy(b, []byte{0x02, 0, 0, 0, 0, 0x77, 0x02, 0, 0, 0, 0, 0x01})
	ip, l4 := b[ethernetLength:], b[i.TransportAt():]
	protocol := byte(6)
	if i.UDP {
		protocol = 17
	}
	var from, to netip.Addr
	if i.Six {
		from, to = addr("fd00:99::1"), addr("fd00:99::2")
		binary.BigEndian.PutUint16(b[12:], 0x86dd)
		ip[0], ip[6], ip[7] = 0x60, protocol, 64
		binary.BigEndian.PutUint16(ip[4:], uint16(len(l4)))
		copy(ip[8:], from.AsSlice())
		copy(ip[24:], to.AsSlice())
	} else {
		from, to = addr("192.0.2.1"), addr("192.0.2.2")
		binary.BigEndian.PutUint16(b[12:], 0x0800)
		ip[0], ip[8], ip[9] = 0x45, 64, protocol
		binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
		binary.BigEndian.PutUint16(ip[4:], i.ID)
		copy(ip[12:], from.AsSlice())
		copy(ip[16:], to.AsSlice())
		binary.BigEndian.PutUint16(ip[10:], ^onesSum(ip[:20]))
	}
	binary.BigEndian.PutUint16(l4, 40000)
	binary.BigEndian.PutUint16(l4[2:], 5001)
	if i.UDP {
		binary.BigEndian.PutUint16(l4[4:], uint16(len(l4)))
	} else {
		binary.BigEndian.PutUint32(l4[4:], i.Sequence)
		l4[12], l4[13] = tcpLength/4<<4, i.Flags
	}
	pseudo := binary.BigEndian.AppendUint32(append(from.AsSlice(), to.AsSlice()...), uint32(len(l4)))
	pseudo = append(pseudo, 0, 0, 0, protocol)
	sum := onesSum(pseudo)
	if !partial {
		if sum = ^onesSum(pseudo, l4); sum == 0 {
			sum = 0xffff
		}
	}
	binary.BigEndian.PutUint16(l4[i.ChecksumOffset():], sum)
	return b
}

// Segments are what a device makes of it when it sends no more than size bytes of data at
// once.
func (i *Inner) Segments(size int) (all []*Inner) {
	for at := 0; at < len(i.Data); at += size {
		part := *i
		part.Data = i.Data[at:min(at+size, len(i.Data))]
		part.ID, part.Sequence = i.ID+uint16(at/size), i.Sequence+uint32(at)
		if at > 0 {
			part.Flags &^= tcpCWR
		}
		if at+size < len(i.Data) {
			part.Flags &^= tcpFIN | tcpPSH
		}
		all = append(all, &part)
	}
	return all
}

// pose puts into the data what would be VXLAN packets of another network, if the packet that carries the
// frame were one that was merged of packets with size bytes each.
func (i *Inner) pose(size int, network uint32) {
	for at := size - vxlanLength - i.HeaderLength(); at+vxlanLength+ethernetLength <= len(i.Data); at += size {
		binary.BigEndian.PutUint32(i.Data[at:], 0x08000000)
		binary.BigEndian.PutUint32(i.Data[at+4:], network<<8)
	}
}

// vnet is the offload header with which a host gives the frame to its VXLAN device; size
// 0 is a frame that needs no segmentation.
func (i *Inner) vnet(size int) []byte {
	b := make([]byte, vnetLength)
	b[0] = 1 // VIRTIO_NET_HDR_F_NEEDS_CSUM
	if size > 0 {
		switch {
		case i.UDP:
			b[1] = 5 // VIRTIO_NET_HDR_GSO_UDP_L4
		case i.Six:
			b[1] = 4 // VIRTIO_NET_HDR_GSO_TCPV6
		default:
			b[1] = 1 // VIRTIO_NET_HDR_GSO_TCPV4
		}
		binary.NativeEndian.PutUint16(b[2:], uint16(i.HeaderLength()))
		binary.NativeEndian.PutUint16(b[4:], uint16(size))
	}
	binary.NativeEndian.PutUint16(b[6:], uint16(i.TransportAt()))
	binary.NativeEndian.PutUint16(b[8:], uint16(i.ChecksumOffset()))
	return b
}
