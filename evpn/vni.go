package evpn

import (
	"fmt"
	"strconv"
)

// VNI is a VXLAN network identifier, 1 to MaxVNI (RFC 7348 §4: 24 bits).
// The zero value names no network.
type VNI uint32

// MaxVNI is the largest VNI that fits the 24-bit field.
const MaxVNI VNI = 1<<24 - 1

// Valid reports whether v is in 1..MaxVNI.
func (v VNI) Valid() bool { return v > 0 && v <= MaxVNI }

func (v VNI) String() string { return strconv.FormatUint(uint64(v), 10) }

// ParseVNI reads a decimal VNI and refuses what is outside 1..16777215.
func ParseVNI(s string) (VNI, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || !VNI(n).Valid() {
		return 0, fmt.Errorf("parse VNI %q: want a number from 1 to %d", s, MaxVNI)
	}
	return VNI(n), nil
}
