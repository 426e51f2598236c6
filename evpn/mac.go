package evpn

import (
	"bytes"
	"encoding/hex"
	"fmt"
)

// MAC is a 48-bit Ethernet address. It is a value: comparable and usable as a map key.
type MAC [6]byte

// ParseMAC reads six hexadecimal octets separated by ':' or '-'.
func ParseMAC(s string) (MAC, error) {
	var m MAC
	if len(s) != 17 {
		return MAC{}, macError(s)
	}
	for i := range m {
		if i > 0 && (s[i*3-1] != s[2] || (s[2] != ':' && s[2] != '-')) {
			return MAC{}, macError(s)
		}
		if _, err := hex.Decode(m[i:i+1], []byte(s[i*3:i*3+2])); err != nil {
			return MAC{}, macError(s)
		}
	}
	return m, nil
}

func macError(s string) error {
	return fmt.Errorf("parse MAC %q: want six hexadecimal octets such as 00:11:22:33:44:55", s)
}

// IsZero reports the all-zero address, which names no host.
func (m MAC) IsZero() bool { return m == MAC{} }

// IsGroup reports the group bit (IEEE 802: lowest bit of the first octet), set
// for multicast and broadcast. A group address is never a host.
func (m MAC) IsGroup() bool { return m[0]&1 != 0 }

// Compare orders addresses by their octets.
func (m MAC) Compare(o MAC) int { return bytes.Compare(m[:], o[:]) }

// AppendText appends the colon-separated lower-case form.
func (m MAC) AppendText(b []byte) ([]byte, error) {
	for i, o := range m {
		if i > 0 {
			b = append(b, ':')
		}
		b = hex.AppendEncode(b, []byte{o})
	}
	return b, nil
}

// MarshalText gives the colon-separated lower-case form.
func (m MAC) MarshalText() ([]byte, error) { return m.AppendText(make([]byte, 0, 17)) }

// UnmarshalText is [ParseMAC].
func (m *MAC) UnmarshalText(b []byte) (err error) {
	*m, err = ParseMAC(string(b))
	return err
}

func (m MAC) String() string {
	b, _ := m.AppendText(make([]byte, 0, 17))
	return string(b)
}
