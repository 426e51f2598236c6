package main

import (
	"encoding/binary"
	"net/netip"
)

// The peer's own encoder and counter of UPDATEs: independent of the code under test.

const (
	bgpHeader       = 19
	bgpOpen         = 1
	bgpUpdate       = 2
	bgpNotification = 3
	bgpKeepalive    = 4
	nlriPerUpdate   = 100 // as FRR 8.4 packs type-2 routes
	attrMPReach     = 14
	attrMPUnreach   = 15
)

func appendHeader(b []byte, typ byte) []byte {
	for range 16 {
		b = append(b, 0xff)
	}
	return append(b, 0, 0, typ)
}

// finish writes the length of the message that starts at start.
func finish(b []byte, start int) []byte {
	binary.BigEndian.PutUint16(b[start+16:], uint16(len(b)-start))
	return b
}

// routes describes a run of type-2 routes to send: MACs benchMAC(group, first..first+count-1).
type routes struct {
	group        byte
	first, count int
	vni          int
	nextHop      netip.Addr
	sequence     uint32 // MAC mobility, sent when not 0
}

func (r routes) appendNLRI(b []byte, i int, label int) []byte {
	nh := r.nextHop.As4()
	b = append(b, 2, 33, 0, 1)
	b = append(b, nh[:]...)
	b = append(b, 0, 2)                // RD nextHop:2
	b = append(b, make([]byte, 14)...) // ESI 0, Ethernet tag 0
	mac := benchMAC(r.group, r.first+i)
	b = append(b, 48)
	b = append(b, mac[:]...)
	return append(b, 0, byte(label>>16), byte(label>>8), byte(label))
}

// appendAnnounce gives the messages that announce r, in FRR's attribute order, as a
// reflector sends them: with MED, ORIGINATOR_ID and CLUSTER_LIST.
func (r routes) appendAnnounce(b []byte) []byte {
	nh := r.nextHop.As4()
	for i := 0; i < r.count; i += nlriPerUpdate {
		n := min(nlriPerUpdate, r.count-i)
		start := len(b)
		b = appendHeader(b, bgpUpdate)
		b = append(b, 0, 0, 0, 0)
		attrs := len(b)
		b = append(b, 0x90, attrMPReach, 0, 0, 0, 25, 70, 4)
		b = append(b, nh[:]...)
		b = append(b, 0)
		for j := range n {
			b = r.appendNLRI(b, i+j, r.vni)
		}
		binary.BigEndian.PutUint16(b[attrs+2:], uint16(len(b)-attrs-4))
		b = append(b, 0x40, 1, 1, 0, 0x50, 2, 0, 0, 0x80, 4, 4, 0, 0, 0, 0, 0x40, 5, 4, 0, 0, 0, 100)
		b = append(b, 0x80, 9, 4)
		b = append(b, nh[:]...)
		b = append(b, 0x80, 10, 4, 10, 99, 0, 100)
		communities := byte(16)
		if r.sequence > 0 {
			communities = 24
		}
		b = append(b, 0xc0, 16, communities, 3, 0x0c, 0, 0, 0, 0, 0, 8, 0, 2)
		b = binary.BigEndian.AppendUint16(b, asn)
		b = binary.BigEndian.AppendUint32(b, uint32(r.vni))
		if r.sequence > 0 {
			b = append(b, 6, 0, 0, 0)
			b = binary.BigEndian.AppendUint32(b, r.sequence)
		}
		binary.BigEndian.PutUint16(b[attrs-2:], uint16(len(b)-attrs))
		b = finish(b, start)
	}
	return b
}

// appendWithdraw gives the messages that withdraw r, labels 0 as FRR writes them.
func (r routes) appendWithdraw(b []byte) []byte {
	for i := 0; i < r.count; i += nlriPerUpdate {
		start := len(b)
		b = appendHeader(b, bgpUpdate)
		b = append(b, 0, 0, 0, 0)
		attrs := len(b)
		b = append(b, 0x90, attrMPUnreach, 0, 0, 0, 25, 70)
		for j := range min(nlriPerUpdate, r.count-i) {
			b = r.appendNLRI(b, i+j, 0)
		}
		binary.BigEndian.PutUint16(b[attrs+2:], uint16(len(b)-attrs-4))
		binary.BigEndian.PutUint16(b[attrs-2:], uint16(len(b)-attrs))
		b = finish(b, start)
	}
	return b
}

// appendFlood announces a type-3 for nextHop.
func appendFlood(b []byte, nextHop netip.Addr, vni int) []byte {
	nh := nextHop.As4()
	start := len(b)
	b = appendHeader(b, bgpUpdate)
	b = append(b, 0, 0, 0, 0)
	attrs := len(b)
	b = append(b, 0x90, attrMPReach, 0, 28, 0, 25, 70, 4)
	b = append(b, nh[:]...)
	b = append(b, 0, 3, 17, 0, 1)
	b = append(b, nh[:]...)
	b = append(b, byte(vni>>8), byte(vni)) // RD nextHop:VNI
	b = append(b, 0, 0, 0, 0, 32)
	b = append(b, nh[:]...)
	b = append(b, 0x40, 1, 1, 0, 0x50, 2, 0, 0, 0x40, 5, 4, 0, 0, 0, 100)
	b = append(b, 0xc0, 16, 16, 3, 0x0c, 0, 0, 0, 0, 0, 8, 0, 2)
	b = binary.BigEndian.AppendUint16(b, asn)
	b = binary.BigEndian.AppendUint32(b, uint32(vni))
	b = append(b, 0xc0, 22, 9, 0, 6, byte(vni>>16), byte(vni>>8), byte(vni))
	b = append(b, nh[:]...)
	binary.BigEndian.PutUint16(b[attrs-2:], uint16(len(b)-attrs))
	return finish(b, start)
}

// appendEndOfRIB is the marker of RFC 4724 §2 for EVPN.
func appendEndOfRIB(b []byte) []byte {
	start := len(b)
	b = appendHeader(b, bgpUpdate)
	b = append(b, 0, 0, 0, 6, 0x80, attrMPUnreach, 3, 0, 25, 70)
	return finish(b, start)
}

// appendOpen offers what FRR 8.4 offers as a reflector: EVPN, route refresh, 4-octet
// AS, extended messages, graceful restart as helper only.
func appendOpen(b []byte, id netip.Addr) []byte {
	caps := []byte{
		1, 4, 0, 25, 0, 70,
		2, 0,
		6, 0,
		64, 2, 0, 120,
		65, 4, 0, 0, byte(asn >> 8), byte(asn & 0xff),
	}
	start := len(b)
	b = appendHeader(b, bgpOpen)
	b = append(b, 4, byte(asn>>8), byte(asn&0xff), 0, 180)
	r := id.As4()
	b = append(b, r[:]...)
	b = append(b, byte(len(caps)+2), 2, byte(len(caps)))
	return finish(append(b, caps...), start)
}

// macSet is the set of bench MACs of one group the peer holds.
type macSet struct {
	group byte
	bits  []uint64
	count int
}

func newMACSet(group byte) *macSet { return &macSet{group: group, bits: make([]uint64, 1<<24/64)} }

func (s *macSet) change(mac []byte, add bool) {
	if mac[0] != 0x02 || mac[1] != 0xbe || mac[2] != s.group {
		return
	}
	i := uint32(mac[3])<<16 | uint32(mac[4])<<8 | uint32(mac[5])
	word, bit := &s.bits[i/64], uint64(1)<<(i%64)
	switch {
	case add && *word&bit == 0:
		s.count++
		*word |= bit
	case !add && *word&bit != 0:
		s.count--
		*word &^= bit
	}
}

// read takes in one UPDATE body and reports how many type-3 routes it announced.
func (s *macSet) read(body []byte) (flood int) {
	if len(body) < 4 {
		return 0
	}
	attrs := body[4+binary.BigEndian.Uint16(body):]
	for len(attrs) >= 4 {
		l, head := int(attrs[2]), 3
		if attrs[0]&0x10 != 0 {
			l, head = int(binary.BigEndian.Uint16(attrs[2:])), 4
		}
		if head+l > len(attrs) {
			return flood
		}
		v := attrs[head : head+l]
		switch attrs[1] {
		case attrMPReach:
			flood += s.readNLRI(v[5+v[3]:], true)
		case attrMPUnreach:
			s.readNLRI(v[3:], false)
		}
		attrs = attrs[head+l:]
	}
	return flood
}

func (s *macSet) readNLRI(b []byte, add bool) (flood int) {
	for len(b) >= 2 && len(b) >= 2+int(b[1]) {
		n := b[2 : 2+b[1]]
		switch {
		case b[0] == 2 && len(n) >= 33:
			s.change(n[23:29], add)
		case b[0] == 3:
			flood++
		}
		b = b[2+b[1]:]
	}
	return flood
}
