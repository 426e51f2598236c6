package wire

import (
	"fmt"
	"strconv"
	"unicode/utf8"
)

// NOTIFICATION error codes (RFC 4271 §4.5, RFC 6608, RFC 7313 §5).
const (
	CodeHeader       = 1
	CodeOpen         = 2
	CodeUpdate       = 3
	CodeHoldTimer    = 4
	CodeFSM          = 5
	CodeCease        = 6
	CodeRouteRefresh = 7
)

// Subcodes that we send or look for.
const (
	SubConnectionNotSynchronized = 1 // header
	SubBadMessageLength          = 2
	SubBadMessageType            = 3

	SubUnsupportedVersion      = 1 // OPEN
	SubBadPeerAS               = 2
	SubBadIdentifier           = 3
	SubUnsupportedOptParameter = 4
	SubUnacceptableHoldTime    = 6
	SubUnsupportedCapability   = 7

	SubMalformedAttributeList = 1 // UPDATE
	SubUnrecognizedWellKnown  = 2
	SubMissingWellKnown       = 3
	SubAttributeFlags         = 4
	SubAttributeLength        = 5
	SubInvalidOrigin          = 6
	SubInvalidNextHop         = 8
	SubOptionalAttribute      = 9
	SubInvalidNetworkField    = 10
	SubMalformedASPath        = 11

	SubMaxPrefixes      = 1 // Cease (RFC 4486)
	SubShutdown         = 2
	SubDeconfigured     = 3
	SubReset            = 4
	SubConnectionReject = 5
	SubConfigChange     = 6
	SubCollision        = 7
	SubOutOfResources   = 8
	SubHardReset        = 9  // RFC 8538
	SubBFDDown          = 10 // RFC 9384

	SubInvalidMessageLength = 1 // ROUTE-REFRESH (RFC 7313 §5)
)

const maxShutdownText = 255 // RFC 9003 §2

// Notification is the whole message.
func Notification(code, subcode uint8, data []byte) []byte {
	if n := MaxMessage - HeaderLen - 2; len(data) > n {
		data = data[:n]
	}
	return Message(TypeNotification, append([]byte{code, subcode}, data...))
}

// ShutdownText is the data field that tells operators why (RFC 9003 §2), cut at
// a character border to the 255 octets it may have.
func ShutdownText(text string) []byte {
	if len(text) > maxShutdownText {
		text = text[:maxShutdownText]
		for len(text) > 0 && !utf8.ValidString(text) {
			text = text[:len(text)-1]
		}
	}
	return append([]byte{byte(len(text))}, text...)
}

// NotificationMessage is a NOTIFICATION that a peer sent.
type NotificationMessage struct {
	Code, Subcode uint8
	Data          []byte
}

// ParseNotification reads the body. One that is too short is taken for what it
// is, without code: there is nobody left to answer (RFC 4271 §6.4).
func ParseNotification(body []byte) NotificationMessage {
	var n NotificationMessage
	if len(body) > 0 {
		n.Code = body[0]
	}
	if len(body) > 1 {
		n.Subcode = body[1]
		n.Data = append([]byte(nil), body[2:]...)
	}
	return n
}

// String is the text for people, with the operator's message of RFC 9003 when there is one.
func (n NotificationMessage) String() string {
	s := ErrorText(n.Code, n.Subcode)
	if n.Code == CodeCease && n.Subcode == SubHardReset && len(n.Data) >= 2 {
		// RFC 8538 §3: the real reason is inside.
		return s + ": " + ParseNotification(n.Data).String()
	}
	if t := n.shutdownText(); t != "" {
		s += ": " + t
	}
	return s
}

func (n NotificationMessage) shutdownText() string {
	if n.Code != CodeCease || (n.Subcode != SubShutdown && n.Subcode != SubReset) || len(n.Data) < 1 {
		return ""
	}
	l := int(n.Data[0])
	if l == 0 || l > len(n.Data)-1 || !utf8.Valid(n.Data[1:1+l]) {
		return ""
	}
	return strconv.Quote(string(n.Data[1 : 1+l]))
}

// ErrorText names a code and subcode as their RFCs do, in lower case.
func ErrorText(code, subcode uint8) string {
	names := [...]struct {
		name string
		sub  []string
	}{
		CodeHeader: {"message header error", []string{1: "connection not synchronized", 2: "bad message length", 3: "bad message type"}},
		CodeOpen: {"OPEN message error", []string{1: "unsupported version number", 2: "bad peer AS", 3: "bad BGP identifier",
			4: "unsupported optional parameter", 5: "authentication failure", 6: "unacceptable hold time", 7: "unsupported capability", 11: "role mismatch"}},
		CodeUpdate: {"UPDATE message error", []string{1: "malformed attribute list", 2: "unrecognized well-known attribute", 3: "missing well-known attribute",
			4: "attribute flags error", 5: "attribute length error", 6: "invalid ORIGIN attribute", 7: "AS routing loop", 8: "invalid NEXT_HOP attribute",
			9: "optional attribute error", 10: "invalid network field", 11: "malformed AS_PATH"}},
		CodeHoldTimer: {"hold timer expired", nil},
		CodeFSM: {"finite state machine error", []string{1: "unexpected message in OpenSent", 2: "unexpected message in OpenConfirm",
			3: "unexpected message in Established"}},
		CodeCease: {"cease", []string{1: "maximum number of prefixes reached", 2: "administrative shutdown", 3: "peer de-configured", 4: "administrative reset",
			5: "connection rejected", 6: "other configuration change", 7: "connection collision resolution", 8: "out of resources", 9: "hard reset", 10: "BFD down"}},
		CodeRouteRefresh: {"ROUTE-REFRESH message error", []string{1: "invalid message length"}},
	}
	if int(code) >= len(names) || names[code].name == "" {
		return fmt.Sprintf("error code %d subcode %d", code, subcode)
	}
	n := names[code]
	switch {
	case int(subcode) < len(n.sub) && n.sub[subcode] != "":
		return n.name + ": " + n.sub[subcode]
	case subcode != 0:
		return fmt.Sprintf("%s: subcode %d", n.name, subcode)
	default:
		return n.name
	}
}
