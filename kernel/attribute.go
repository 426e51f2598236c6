package kernel

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

const nlaTypeMask = 0x3fff // NLA_TYPE_MASK: without NLA_F_NESTED and NLA_F_NET_BYTEORDER

var native = binary.NativeEndian

// attribute is one netlink attribute (struct nlattr). Its value aliases the
// message it was read from.
type attribute struct {
	typ   uint16
	value []byte
}

// nextAttribute cuts the first attribute off b. ok is false at the end and when
// what remains is malformed: a length below the header or beyond the buffer.
func nextAttribute(b []byte) (a attribute, rest []byte, ok bool) {
	if len(b) < unix.SizeofNlAttr {
		return attribute{}, nil, false
	}
	n := int(native.Uint16(b))
	if n < unix.SizeofNlAttr || n > len(b) {
		return attribute{}, nil, false
	}
	a = attribute{typ: native.Uint16(b[2:]) & nlaTypeMask, value: b[unix.SizeofNlAttr:n]}
	return a, b[min(align4(n), len(b)):], true
}

func align4(n int) int { return (n + 3) &^ 3 }

func (a attribute) uint8() uint8 {
	if len(a.value) < 1 {
		return 0
	}
	return a.value[0]
}

func (a attribute) uint16() uint16 {
	if len(a.value) < 2 {
		return 0
	}
	return native.Uint16(a.value)
}

// port reads a 16-bit value in network order.
func (a attribute) port() uint16 {
	if len(a.value) < 2 {
		return 0
	}
	return binary.BigEndian.Uint16(a.value)
}

func (a attribute) uint32() uint32 {
	if len(a.value) < 4 {
		return 0
	}
	return native.Uint32(a.value)
}

// text reads a zero-terminated string into memory of its own.
func (a attribute) text() string {
	v := a.value
	for len(v) > 0 && v[len(v)-1] == 0 {
		v = v[:len(v)-1]
	}
	return string(v)
}

// addr reads an IPv4 or IPv6 address; the zero Addr for any other length.
func (a attribute) addr() netip.Addr {
	ip, _ := netip.AddrFromSlice(a.value)
	return ip
}

func appendAttribute(b []byte, typ uint16, value []byte) []byte {
	b = native.AppendUint16(b, uint16(unix.SizeofNlAttr+len(value)))
	b = native.AppendUint16(b, typ)
	b = append(b, value...)
	return pad4(b)
}

func appendUint8Attribute(b []byte, typ uint16, v uint8) []byte {
	return appendAttribute(b, typ, []byte{v})
}

func appendUint32Attribute(b []byte, typ uint16, v uint32) []byte {
	b = native.AppendUint16(b, unix.SizeofNlAttr+4)
	b = native.AppendUint16(b, typ)
	return native.AppendUint32(b, v)
}

func appendAddrAttribute(b []byte, typ uint16, ip netip.Addr) []byte {
	if ip.Is4() {
		o := ip.As4()
		return appendAttribute(b, typ, o[:])
	}
	o := ip.As16()
	return appendAttribute(b, typ, o[:])
}

// appendNest appends an attribute that holds what fill appends.
func appendNest(b []byte, typ uint16, fill func([]byte) []byte) []byte {
	start := len(b)
	b = native.AppendUint16(b, 0)
	b = native.AppendUint16(b, typ|unix.NLA_F_NESTED)
	b = fill(b)
	native.PutUint16(b[start:], uint16(len(b)-start))
	return pad4(b)
}

func pad4(b []byte) []byte {
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// appendHeader appends a netlink message header whose length [finish] sets.
func appendHeader(b []byte, typ, flags uint16, seq uint32) []byte {
	b = native.AppendUint32(b, 0)
	b = native.AppendUint16(b, typ)
	b = native.AppendUint16(b, flags)
	b = native.AppendUint32(b, seq)
	return native.AppendUint32(b, 0)
}

// finish sets the length of the message that starts at start.
func finish(b []byte, start int) []byte {
	native.PutUint32(b[start:], uint32(len(b)-start))
	return b
}

// message is one netlink message. Its body aliases the buffer it was read from.
type message struct {
	typ, flags uint16
	seq        uint32
	body       []byte
}

// nextMessage cuts the first message off b; ok is false at the end and when what
// remains is malformed.
func nextMessage(b []byte) (m message, rest []byte, ok bool) {
	if len(b) < unix.SizeofNlMsghdr {
		return message{}, nil, false
	}
	n := int(native.Uint32(b))
	if n < unix.SizeofNlMsghdr || n > len(b) {
		return message{}, nil, false
	}
	m = message{typ: native.Uint16(b[4:]), flags: native.Uint16(b[6:]), seq: native.Uint32(b[8:]), body: b[unix.SizeofNlMsghdr:n]}
	return m, b[min(align4(n), len(b)):], true
}

// errno reads the error of an NLMSG_ERROR message; 0 is an acknowledgement.
func (m message) errno() unix.Errno {
	if len(m.body) < 4 {
		return unix.EPROTO
	}
	return unix.Errno(-int32(native.Uint32(m.body)))
}
