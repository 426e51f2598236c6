package flood

import "encoding/binary"

// Frames that have not been on a wire may lack what a device would have added on its way out:
// an inner checksum, or the cut of inner TCP or UDP into segments. A copy is made of
// what would have arrived.

const (
	etherVLAN  = 0x8100
	etherQinQ  = 0x88a8
	protoTCP   = 6
	sizeTCP    = 20
	tcpFIN     = 0x01
	tcpPSH     = 0x08
	tcpCWR     = 0x80
	offsetTCP  = 16 // of the checksum
	offsetUDP  = 6
	sizeTag    = 4
	offsetType = 12 // in an Ethernet header
)

// Complete completes the checksum of which b has the sum of the pseudo header, at offset
// behind start (CHECKSUM_PARTIAL). It says whether b has that place.
func Complete(b []byte, start, offset int) bool {
	if start < 0 || offset < 0 || start+offset+2 > len(b) {
		return false
	}
	c := ^fold(sum(b[start:], 0))
	if c == 0 {
		c = 0xffff
	}
	binary.BigEndian.PutUint16(b[start+offset:], c)
	return true
}

// transport is where TCP or UDP is in a frame.
type transport struct {
	ip, start, end int
	protocol       uint8
	pseudo         uint64
}

// transportIn looks for TCP or UDP right behind IP in an Ethernet frame, fragments excepted.
func transportIn(frame []byte) (t transport, ok bool) {
	at := offsetType
	for len(frame) >= at+2 {
		typ := binary.BigEndian.Uint16(frame[at:])
		if typ != etherVLAN && typ != etherQinQ {
			break
		}
		at += sizeTag
	}
	t.ip = at + 2
	if len(frame) < t.ip+sizeIPv4 {
		return t, false
	}
	ip := frame[t.ip:]
	switch typ := binary.BigEndian.Uint16(frame[at:]); {
	case typ == etherIPv4 && ip[0]>>4 == 4:
		header, total := int(ip[0]&0x0f)*4, int(binary.BigEndian.Uint16(ip[2:]))
		if header < sizeIPv4 || total < header || total > len(ip) || binary.BigEndian.Uint16(ip[6:])&0x3fff != 0 {
			return t, false
		}
		t.start, t.end, t.protocol = t.ip+header, t.ip+total, ip[9]
		t.pseudo = sum(ip[12:20], 0)
	case typ == etherIPv6 && ip[0]>>4 == 6 && len(ip) >= sizeIPv6:
		total := sizeIPv6 + int(binary.BigEndian.Uint16(ip[4:]))
		if total > len(ip) {
			return t, false
		}
		t.start, t.end, t.protocol = t.ip+sizeIPv6, t.ip+total, ip[6]
		t.pseudo = sum(ip[8:40], 0)
	default:
		return t, false
	}
	t.pseudo += uint64(t.protocol) + uint64(t.end-t.start)
	n := leastHeader(t.protocol)
	return t, n > 0 && t.end-t.start >= n
}

// CompleteInner completes the checksum of the TCP or UDP within the frame of a UDP payload, where
// it is found to be the sum of the pseudo header. It says whether it was.
func CompleteInner(payload []byte) bool {
	if len(payload) < sizeVXLAN {
		return false
	}
	frame := payload[sizeVXLAN:]
	t, ok := transportIn(frame)
	offset := offsetTCP
	if t.protocol == protoUDP {
		offset = offsetUDP
	}
	if !ok || binary.BigEndian.Uint16(frame[t.start+offset:]) != fold(t.pseudo) {
		return false
	}
	return Complete(frame[:t.end], t.start, offset)
}

// leastHeader is the least length of a header of TCP or UDP; 0: it is neither.
func leastHeader(protocol uint8) int {
	switch protocol {
	case protoTCP:
		return sizeTCP
	case protoUDP:
		return sizeUDP
	default:
		return 0
	}
}

// Split cuts a frame whose TCP segment or UDP datagram has more than size bytes of data into the frames
// that a device would have made of it (tcp_gso_segment, __udp_gso_segment).
func (p Packet) Split(size int) ([]Packet, Reason) {
	frame := p.Inner()
	t, ok := transportIn(frame)
	if !ok || size <= 0 {
		return nil, SuperFrame
	}
	data := t.start + sizeUDP
	if t.protocol == protoTCP {
		data = t.start + int(frame[t.start+12]>>4)*4
	}
	if data < t.start+leastHeader(t.protocol) || data >= t.end {
		return nil, SuperFrame
	}
	var all []Packet
	for at := data; at < t.end; at += size {
		end := min(at+size, t.end)
		part := p
		part.Payload = append(append(make([]byte, 0, sizeVXLAN+data+end-at), p.Payload[:sizeVXLAN+data]...), frame[at:end]...)
		t.finish(part.Payload[sizeVXLAN:], at-data, at == data, end == t.end, (at-data)/size)
		if r := part.readVXLAN(); r != Kept {
			return nil, r
		}
		all = append(all, part)
	}
	return all, Kept
}

// finish makes the headers of a frame those of the part that begins at a place of the data.
func (t *transport) finish(frame []byte, at int, first, last bool, number int) {
	ip, l4 := frame[t.ip:], frame[t.start:]
	pseudo := t.pseudo + uint64(len(l4)) + uint64(^uint16(t.end-t.start)) // with the length of this part
	if ip[0]>>4 == 4 {
		binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
		binary.BigEndian.PutUint16(ip[4:], binary.BigEndian.Uint16(ip[4:])+uint16(number))
		binary.BigEndian.PutUint16(ip[10:], 0)
		Complete(ip[:t.start-t.ip], 0, 10)
	} else {
		binary.BigEndian.PutUint16(ip[4:], uint16(len(ip)-sizeIPv6))
	}
	offset := offsetUDP
	if t.protocol == protoUDP {
		binary.BigEndian.PutUint16(l4[4:], uint16(len(l4)))
	} else {
		offset = offsetTCP
		binary.BigEndian.PutUint32(l4[4:], binary.BigEndian.Uint32(l4[4:])+uint32(at))
		if !first {
			l4[13] &^= tcpCWR
		}
		if !last {
			l4[13] &^= tcpFIN | tcpPSH
		}
	}
	binary.BigEndian.PutUint16(l4[offset:], fold(pseudo))
	Complete(l4, 0, offset)
}
