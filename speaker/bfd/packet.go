package bfd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
)

// State is that of a session (RFC 5880 §4.1).
type State uint8

// The states.
const (
	AdminDown State = iota
	Down
	Init
	Up
)

var stateNames = [...]string{"admin-down", "down", "init", "up"}

func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// Diag says why a session left Up, as its side saw it (RFC 5880 §4.1).
type Diag uint8

// The diagnostics that we send.
const (
	DiagNone           Diag = 0
	DiagExpired        Diag = 1
	DiagNeighborDown   Diag = 3
	DiagAdministrative Diag = 7
)

var diagNames = [...]string{
	"none", "control detection time expired", "echo function failed", "neighbor signaled session down", "forwarding plane reset",
	"path down", "concatenated path down", "administratively down", "reverse concatenated path down",
}

func (d Diag) String() string {
	if int(d) < len(diagNames) {
		return diagNames[d]
	}
	return fmt.Sprintf("diagnostic %d", uint8(d))
}

const (
	version      = 1
	packetLen    = 24 // the mandatory section
	maxWireMicro = math.MaxUint32
)

// Packet is a BFD control packet without authentication (RFC 5880 §4.1).
type Packet struct {
	State State
	Diag  Diag
	Poll  bool
	Final bool
	// Independent is the C bit: the sender's BFD outlives its control plane.
	Independent    bool
	Demand         bool
	Multiplier     uint8
	My, Your       uint32 // discriminators
	DesiredTx      time.Duration
	RequiredRx     time.Duration
	RequiredEchoRx time.Duration
}

// Why a packet is discarded (RFC 5880 §6.8.6).
var (
	ErrTruncated     = errors.New("shorter than it says")
	ErrVersion       = errors.New("version is not 1")
	ErrLength        = errors.New("length field too small")
	ErrAuth          = errors.New("authentication is not in use")
	ErrMultiplier    = errors.New("multiplier is 0")
	ErrMultipoint    = errors.New("multipoint bit set")
	ErrDiscriminator = errors.New("discriminator is 0")
	ErrBootstrap     = errors.New("no discriminator of ours in state init or up")
)

// Parse reads a control packet and applies all checks of RFC 5880 §6.8.6 that need no session.
// What follows the length that the packet names is padding.
func Parse(b []byte) (Packet, error) {
	if len(b) < packetLen {
		return Packet{}, ErrTruncated
	}
	flags, length := b[1], int(b[3])
	p := Packet{
		Diag: Diag(b[0] & 0x1f), State: State(flags >> 6),
		Poll: flags&0x20 != 0, Final: flags&0x10 != 0, Independent: flags&0x08 != 0, Demand: flags&0x02 != 0,
		Multiplier: b[2], My: binary.BigEndian.Uint32(b[4:]), Your: binary.BigEndian.Uint32(b[8:]),
		DesiredTx: micros(b[12:]), RequiredRx: micros(b[16:]), RequiredEchoRx: micros(b[20:]),
	}
	switch {
	case b[0]>>5 != version:
		return Packet{}, ErrVersion
	case length < packetLen:
		return Packet{}, ErrLength
	case length > len(b):
		return Packet{}, ErrTruncated
	case p.Multiplier == 0:
		return Packet{}, ErrMultiplier
	case flags&0x01 != 0:
		return Packet{}, ErrMultipoint
	case p.My == 0:
		return Packet{}, ErrDiscriminator
	case p.Your == 0 && p.State != Down && p.State != AdminDown:
		return Packet{}, ErrBootstrap
	case flags&0x04 != 0:
		return Packet{}, ErrAuth
	}
	return p, nil
}

// Append writes the packet. Times are cut to microseconds and to what 32 bits hold.
func (p Packet) Append(b []byte) []byte {
	flags := byte(p.State)<<6 | bit(p.Poll, 0x20) | bit(p.Final, 0x10) | bit(p.Independent, 0x08) | bit(p.Demand, 0x02)
	b = append(b, version<<5|byte(p.Diag)&0x1f, flags, p.Multiplier, packetLen)
	b = binary.BigEndian.AppendUint32(b, p.My)
	b = binary.BigEndian.AppendUint32(b, p.Your)
	for _, d := range []time.Duration{p.DesiredTx, p.RequiredRx, p.RequiredEchoRx} {
		b = binary.BigEndian.AppendUint32(b, uint32(min(max(d.Microseconds(), 0), maxWireMicro)))
	}
	return b
}

func micros(b []byte) time.Duration {
	return time.Duration(binary.BigEndian.Uint32(b)) * time.Microsecond
}

func bit(set bool, b byte) byte {
	if set {
		return b
	}
	return 0
}
