package wire

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
)

// Message types (RFC 4271 §4.1, RFC 2918 §3).
const (
	TypeOpen         = 1
	TypeUpdate       = 2
	TypeNotification = 3
	TypeKeepalive    = 4
	TypeRouteRefresh = 5
)

// Lengths of a whole message, header included.
const (
	HeaderLen          = 19
	MaxMessage         = 4096  // RFC 4271 §4
	MaxExtendedMessage = 65535 // RFC 8654 §4
)

// The family we speak (RFC 7432 §7).
const (
	AFIL2VPN = 25
	SAFIEVPN = 70
)

// ReadMessage reads one whole message into buf, which grows as needed, and gives
// its type and the message, header included, valid until buf is used again.
// A max above [MaxMessage] is for sessions that negotiated extended messages;
// OPEN and KEEPALIVE stay within [MaxMessage] even then (RFC 8654 §4).
//
// A violation of the framing gives an *[Error] that carries the NOTIFICATION of
// RFC 4271 §6.1; a stream that ends inside a message gives [io.ErrUnexpectedEOF],
// one that ends between messages [io.EOF].
func ReadMessage(r *bufio.Reader, buf []byte, max int) (typ byte, msg []byte, err error) {
	if cap(buf) < HeaderLen {
		buf = make([]byte, HeaderLen, MaxMessage)
	}
	buf = buf[:HeaderLen]
	if _, err := io.ReadFull(r, buf); err != nil {
		return 0, nil, err
	}
	n, err := checkHeader(buf, max)
	if err != nil {
		return 0, nil, err
	}
	if cap(buf) < n {
		buf = append(make([]byte, 0, n), buf...)
	}
	buf = buf[:n]
	if _, err := io.ReadFull(r, buf[HeaderLen:]); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, err
	}
	return buf[18], buf, nil
}

// checkHeader applies RFC 4271 §6.1 (and RFC 7313 §5 for ROUTE-REFRESH) and gives the length.
func checkHeader(h []byte, max int) (int, error) {
	for _, o := range h[:16] {
		if o != 0xff {
			return 0, headerError(SubConnectionNotSynchronized, nil, "marker is not all ones")
		}
	}
	n, typ := int(binary.BigEndian.Uint16(h[16:])), h[18]
	if n < HeaderLen || n > max {
		return 0, badLength(h, "message length %d is outside %d..%d", n, HeaderLen, max)
	}
	bad := false
	switch typ {
	case TypeOpen:
		bad = n < 29 || n > MaxMessage
	case TypeUpdate:
		bad = n < 23
	case TypeNotification:
		bad = n < 21
	case TypeKeepalive:
		bad = n != 19
	case TypeRouteRefresh:
		if n < 23 {
			// RFC 7313 §5: its own error code, with the whole message as data; the
			// header is all of it that we have.
			return 0, &Error{Code: CodeRouteRefresh, Subcode: SubInvalidMessageLength,
				Data: append([]byte(nil), h[:HeaderLen]...), Detail: "ROUTE-REFRESH is too short"}
		}
	default:
		return 0, headerError(SubBadMessageType, []byte{typ}, "message type %d is unknown", typ)
	}
	if bad {
		return 0, badLength(h, "message of type %d has length %d", typ, n)
	}
	return n, nil
}

func badLength(h []byte, format string, a ...any) *Error {
	return headerError(SubBadMessageLength, []byte{h[16], h[17]}, format, a...)
}

// Message puts a header in front of body.
func Message(typ byte, body []byte) []byte {
	return append(appendHeader(make([]byte, 0, HeaderLen+len(body)), typ, HeaderLen+len(body)), body...)
}

func appendHeader(b []byte, typ byte, n int) []byte {
	for range 16 {
		b = append(b, 0xff)
	}
	return append(b, byte(n>>8), byte(n), typ)
}

// Keepalive is the whole message.
func Keepalive() []byte { return Message(TypeKeepalive, nil) }

// RouteRefresh asks for all EVPN routes again (RFC 2918 §3).
func RouteRefresh() []byte {
	return Message(TypeRouteRefresh, []byte{0, AFIL2VPN, 0, SAFIEVPN})
}

// EndOfRIB is the marker for EVPN (RFC 4724 §2): an MP_UNREACH_NLRI without
// routes and nothing else.
func EndOfRIB() []byte {
	return Message(TypeUpdate, []byte{0, 0, 0, 6, flagOptional, attrMPUnreach, 3, 0, AFIL2VPN, SAFIEVPN})
}

// Family is an address family as capabilities and ROUTE-REFRESH name it.
type Family struct {
	AFI  uint16
	SAFI uint8
}

// EVPN is the family L2VPN EVPN.
var EVPN = Family{AFIL2VPN, SAFIEVPN}

// ParseRouteRefresh reads the body of a ROUTE-REFRESH: family and subtype
// (0 = ask, 1 and 2 = begin and end of an enhanced refresh, RFC 7313 §3.2).
func ParseRouteRefresh(body []byte) (Family, uint8, error) {
	if len(body) != 4 {
		return Family{}, 0, &Error{Code: CodeRouteRefresh, Subcode: SubInvalidMessageLength,
			Data: append([]byte(nil), body...), Detail: "ROUTE-REFRESH body is not 4 octets"}
	}
	return Family{binary.BigEndian.Uint16(body), body[3]}, body[2], nil
}
