package kernel

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// decodeLink reads the body of RTM_NEWLINK. The result shares no memory with it.
func decodeLink(body []byte) (l Link, ok bool) {
	if len(body) < unix.SizeofIfInfomsg {
		return Link{}, false
	}
	flags := native.Uint32(body[8:])
	l = Link{
		Index:     int32(native.Uint32(body[4:])),
		Up:        flags&unix.IFF_UP != 0,
		Running:   flags&unix.IFF_RUNNING != 0,
		Loop:      flags&unix.IFF_LOOPBACK != 0,
		Multicast: flags&unix.IFF_MULTICAST != 0,
	}
	for a, rest, more := nextAttribute(body[unix.SizeofIfInfomsg:]); more; a, rest, more = nextAttribute(rest) {
		switch a.typ {
		case unix.IFLA_IFNAME:
			l.Name = a.text()
		case unix.IFLA_IFALIAS:
			l.Alias = a.text()
		case unix.IFLA_MTU:
			l.MTU = int(a.uint32())
		case unix.IFLA_MASTER:
			l.Master = int32(a.uint32())
		case unix.IFLA_ADDRESS:
			if len(a.value) == len(l.MAC) {
				copy(l.MAC[:], a.value)
			}
		case unix.IFLA_LINKINFO:
			decodeLinkInfo(a.value, &l)
		case unix.IFLA_AF_SPEC:
			l.IPv6, l.SourceCheck = decodeIPv6(a.value), decodeSourceCheck(a.value)
		}
	}
	return l, true
}

// decodeIPv6 says whether IPv6 is on. The kernel leaves the family out when the whole
// machine or the link (an MTU below 1280) does without.
func decodeIPv6(b []byte) bool {
	const (
		inet6Conf   = 2  // IFLA_INET6_CONF, the settings below net.ipv6.conf, each 32 bits
		disableIPv6 = 26 // DEVCONF_DISABLE_IPV6
	)
	for family, rest, more := nextAttribute(b); more; family, rest, more = nextAttribute(rest) {
		if family.typ != unix.AF_INET6 {
			continue
		}
		for a, rest, more := nextAttribute(family.value); more; a, rest, more = nextAttribute(rest) {
			if a.typ == inet6Conf && len(a.value) >= 4*(disableIPv6+1) {
				return native.Uint32(a.value[4*disableIPv6:]) == 0
			}
		}
	}
	return false
}

// decodeSourceCheck gives the link's own rp_filter.
func decodeSourceCheck(b []byte) uint8 {
	const (
		inetConf = 1 // IFLA_INET_CONF, the settings below net.ipv4.conf, each 32 bits
		rpFilter = 8 // IPV4_DEVCONF_RP_FILTER; the first one is 1
	)
	for family, rest, more := nextAttribute(b); more; family, rest, more = nextAttribute(rest) {
		if family.typ != unix.AF_INET {
			continue
		}
		for a, rest, more := nextAttribute(family.value); more; a, rest, more = nextAttribute(rest) {
			if a.typ == inetConf && len(a.value) >= 4*rpFilter {
				return uint8(native.Uint32(a.value[4*(rpFilter-1):]))
			}
		}
	}
	return 0
}

// tellsSourceCheck reports an event about settings of which rp_filter is one, of a link or of all.
func tellsSourceCheck(b []byte) bool {
	const (
		netconfmsg = 4 // struct netconfmsg, padded
		rpFilter   = 3 // NETCONFA_RP_FILTER
	)
	for a, rest, more := nextAttribute(b[min(netconfmsg, len(b)):]); more; a, rest, more = nextAttribute(rest) {
		if a.typ == rpFilter {
			return true
		}
	}
	return false
}

func decodeLinkInfo(b []byte, l *Link) {
	var data, slaveData []byte
	for a, rest, more := nextAttribute(b); more; a, rest, more = nextAttribute(rest) {
		switch a.typ {
		case unix.IFLA_INFO_KIND:
			l.Kind = a.text()
		case unix.IFLA_INFO_DATA:
			data = a.value
		case unix.IFLA_INFO_SLAVE_KIND:
			l.Port.Bridge = bytes.HasPrefix(a.value, []byte("bridge"))
		case unix.IFLA_INFO_SLAVE_DATA:
			slaveData = a.value
		}
	}
	switch l.Kind {
	case "vxlan":
		decodeVXLAN(data, &l.VXLAN)
	case "bridge":
		for a, rest, more := nextAttribute(data); more; a, rest, more = nextAttribute(rest) {
			if a.typ == unix.IFLA_BR_VLAN_FILTERING {
				l.Bridge.VLANFiltering = a.uint8() != 0
			}
		}
	}
	if l.Port.Bridge {
		for a, rest, more := nextAttribute(slaveData); more; a, rest, more = nextAttribute(rest) {
			switch a.typ {
			case unix.IFLA_BRPORT_LEARNING:
				l.Port.Learning = a.uint8() != 0
			case unix.IFLA_BRPORT_NEIGH_SUPPRESS:
				l.Port.NeighSuppress = a.uint8() != 0
			}
		}
	}
}

func decodeVXLAN(b []byte, v *VXLANAttributes) {
	for a, rest, more := nextAttribute(b); more; a, rest, more = nextAttribute(rest) {
		switch a.typ {
		case unix.IFLA_VXLAN_ID:
			v.VNI = evpn.VNI(a.uint32())
		case unix.IFLA_VXLAN_LOCAL, unix.IFLA_VXLAN_LOCAL6:
			v.Local = a.addr()
		case unix.IFLA_VXLAN_GROUP, unix.IFLA_VXLAN_GROUP6:
			v.Remote = a.addr()
		case unix.IFLA_VXLAN_LINK:
			v.Link = int32(a.uint32())
		case unix.IFLA_VXLAN_PORT:
			v.Port = a.port()
		case unix.IFLA_VXLAN_LEARNING:
			v.Learning = a.uint8() != 0
		case unix.IFLA_VXLAN_COLLECT_METADATA:
			v.External = a.uint8() != 0
		}
	}
}

// appendAddLink appends RTM_NEWLINK that creates s.
func appendAddLink(b []byte, s LinkSpec, seq uint32) []byte {
	start := len(b)
	b = appendHeader(b, unix.RTM_NEWLINK, unix.NLM_F_REQUEST|unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_EXCL, seq)
	b = append(b, make([]byte, unix.SizeofIfInfomsg)...)
	b = appendAttribute(b, unix.IFLA_IFNAME, append([]byte(s.Name), 0))
	if s.MTU != 0 {
		b = appendUint32Attribute(b, unix.IFLA_MTU, uint32(s.MTU))
	}
	b = appendNest(b, unix.IFLA_LINKINFO, func(b []byte) []byte {
		if s.VXLAN.VNI == 0 {
			return appendAttribute(b, unix.IFLA_INFO_KIND, []byte("bridge\x00"))
		}
		b = appendAttribute(b, unix.IFLA_INFO_KIND, []byte("vxlan\x00"))
		return appendNest(b, unix.IFLA_INFO_DATA, func(b []byte) []byte { return appendVXLAN(b, s.VXLAN) })
	})
	return finish(b, start)
}

// appendVXLAN leaves the UDP checksum attributes out: the kernel's own default
// (checksums on, and required over IPv6, RFC 6935) is the right one.
func appendVXLAN(b []byte, v VXLANAttributes) []byte {
	b = appendUint32Attribute(b, unix.IFLA_VXLAN_ID, uint32(v.VNI))
	if v.Local.IsValid() {
		b = appendLocal(b, v)
	}
	if v.Remote.IsValid() {
		typ := uint16(unix.IFLA_VXLAN_GROUP)
		if v.Remote.Is6() {
			typ = unix.IFLA_VXLAN_GROUP6
		}
		b = appendAddrAttribute(b, typ, v.Remote)
	}
	if v.Link != 0 {
		b = appendUint32Attribute(b, unix.IFLA_VXLAN_LINK, uint32(v.Link))
	}
	b = appendUint8Attribute(b, unix.IFLA_VXLAN_LEARNING, boolByte(v.Learning))
	return appendAttribute(b, unix.IFLA_VXLAN_PORT, binary.BigEndian.AppendUint16(nil, v.Port))
}

func appendLocal(b []byte, v VXLANAttributes) []byte {
	if v.Local.Is4() {
		return appendAddrAttribute(b, unix.IFLA_VXLAN_LOCAL, v.Local)
	}
	return appendAddrAttribute(b, unix.IFLA_VXLAN_LOCAL6, v.Local)
}

// appendSetLink appends RTM_NEWLINK that changes the link with this index.
func appendSetLink(b []byte, index int32, s LinkSettings, seq uint32) []byte {
	start := len(b)
	b = appendHeader(b, unix.RTM_NEWLINK, unix.NLM_F_REQUEST|unix.NLM_F_ACK, seq)
	head := len(b)
	b = append(b, make([]byte, unix.SizeofIfInfomsg)...)
	native.PutUint32(b[head+4:], uint32(index))
	if s.Up != nil {
		native.PutUint32(b[head+12:], unix.IFF_UP) // which flags change
		if *s.Up {
			native.PutUint32(b[head+8:], unix.IFF_UP)
		}
	}
	if s.Alias != nil {
		b = appendAttribute(b, unix.IFLA_IFALIAS, []byte(*s.Alias))
	}
	if s.MTU != nil {
		b = appendUint32Attribute(b, unix.IFLA_MTU, uint32(*s.MTU))
	}
	if s.Master != nil {
		b = appendUint32Attribute(b, unix.IFLA_MASTER, uint32(*s.Master))
	}
	if s.NoAutoAddress {
		b = appendNest(b, unix.IFLA_AF_SPEC, func(b []byte) []byte {
			return appendNest(b, unix.AF_INET6, func(b []byte) []byte {
				const none = 1 // IN6_ADDR_GEN_MODE_NONE
				return appendUint8Attribute(b, unix.IFLA_INET6_ADDR_GEN_MODE, none)
			})
		})
	}
	switch {
	case s.Local != nil:
		b = appendNest(b, unix.IFLA_LINKINFO, func(b []byte) []byte {
			b = appendAttribute(b, unix.IFLA_INFO_KIND, []byte("vxlan\x00"))
			return appendNest(b, unix.IFLA_INFO_DATA, func(b []byte) []byte {
				return appendLocal(b, VXLANAttributes{Local: *s.Local})
			})
		})
	case s.Learning != nil || s.NeighSuppress != nil:
		b = appendNest(b, unix.IFLA_LINKINFO, func(b []byte) []byte {
			b = appendAttribute(b, unix.IFLA_INFO_SLAVE_KIND, []byte("bridge\x00"))
			return appendNest(b, unix.IFLA_INFO_SLAVE_DATA, func(b []byte) []byte { return appendPort(b, s) })
		})
	}
	return finish(b, start)
}

func appendPort(b []byte, s LinkSettings) []byte {
	if s.Learning != nil {
		b = appendUint8Attribute(b, unix.IFLA_BRPORT_LEARNING, boolByte(*s.Learning))
	}
	if s.NeighSuppress != nil {
		b = appendUint8Attribute(b, unix.IFLA_BRPORT_NEIGH_SUPPRESS, boolByte(*s.NeighSuppress))
	}
	return b
}

func appendDeleteLink(b []byte, index int32, seq uint32) []byte {
	start := len(b)
	b = appendHeader(b, unix.RTM_DELLINK, unix.NLM_F_REQUEST|unix.NLM_F_ACK, seq)
	head := len(b)
	b = append(b, make([]byte, unix.SizeofIfInfomsg)...)
	native.PutUint32(b[head+4:], uint32(index))
	return finish(b, start)
}

func boolByte(v bool) uint8 {
	if v {
		return 1
	}
	return 0
}
