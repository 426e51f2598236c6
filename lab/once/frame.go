package once

import (
	"encoding/binary"
	"net"
)

const (
	// etherType is for local experiments (IEEE 802): no stack understands it, no bridge snoops it.
	etherType = 0x88b5
	// magic begins every payload of ours.
	magic = 0x6f6e6365

	header    = 14
	frameSize = 128
)

// Kind is what makes a frame one to flood.
type Kind uint8

// The kinds; frames of a station take turns.
const (
	Broadcast Kind = iota
	Multicast
	UnknownUnicast
	kinds
)

// String is the kind as shown to people.
func (k Kind) String() string {
	return [...]string{"broadcast", "multicast", "unknown unicast"}[k]
}

func kindOf(seq int) Kind { return Kind(seq % int(kinds)) }

// destination is where a frame of a kind goes. Nobody has the unicast address, which is locally administered.
var destination = [kinds]net.HardwareAddr{
	Broadcast:      {0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
	Multicast:      {0x03, 0x00, 0x6f, 0x6e, 0x63, 0x65},
	UnknownUnicast: {0x02, 0x00, 0x6f, 0x6e, 0x63, 0x65},
}

// frame is number seq of a station in a run of a meter.
func frame(source net.HardwareAddr, run uint32, station, seq int) []byte {
	b := make([]byte, frameSize)
	copy(b, destination[kindOf(seq)])
	copy(b[6:], source)
	binary.BigEndian.PutUint16(b[12:], etherType)
	binary.BigEndian.PutUint32(b[header:], magic)
	binary.BigEndian.PutUint32(b[header+4:], run)
	binary.BigEndian.PutUint32(b[header+8:], uint32(station))
	binary.BigEndian.PutUint32(b[header+12:], uint32(seq))
	return b
}

// parse reads a frame of a run; ok is false for one that is none of it.
func parse(b []byte, run uint32) (station, seq int, ok bool) {
	if len(b) != frameSize || binary.BigEndian.Uint32(b[header:]) != magic || binary.BigEndian.Uint32(b[header+4:]) != run {
		return 0, 0, false
	}
	return int(binary.BigEndian.Uint32(b[header+8:])), int(binary.BigEndian.Uint32(b[header+12:])), true
}
