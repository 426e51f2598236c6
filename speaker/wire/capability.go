package wire

import (
	"encoding/binary"
	"fmt"
	"strings"
	"time"
)

// Capability codes (IANA, Capability Codes).
const (
	CapMultiProtocol        = 1  // RFC 4760
	CapRouteRefresh         = 2  // RFC 2918
	CapExtendedNextHop      = 5  // RFC 8950
	CapExtendedMessage      = 6  // RFC 8654
	CapRole                 = 9  // RFC 9234
	CapGracefulRestart      = 64 // RFC 4724
	CapFourOctetAS          = 65 // RFC 6793
	CapAddPath              = 69 // RFC 7911
	CapEnhancedRouteRefresh = 70 // RFC 7313
	CapLongLivedGR          = 71 // RFC 9494
	CapFQDN                 = 73 // draft-walton-bgp-hostname-capability
	CapSoftwareVersion      = 75 // draft-abraitis-bgp-version-capability
	CapRouteRefreshOld      = 128
)

// Capability is one capability of an OPEN (RFC 5492 §4).
type Capability struct {
	Code  uint8
	Value []byte
}

// wellFormed reports whether the value has a length its RFC allows. Unknown
// capabilities may hold anything.
func (c Capability) wellFormed() bool {
	n := len(c.Value)
	switch c.Code {
	case CapMultiProtocol, CapFourOctetAS:
		return n == 4
	case CapRouteRefresh, CapExtendedMessage, CapEnhancedRouteRefresh, CapRouteRefreshOld:
		return n == 0
	case CapRole:
		return n == 1
	case CapGracefulRestart:
		return n >= 2 && n%4 == 2
	case CapExtendedNextHop:
		return n > 0 && n%6 == 0
	case CapAddPath:
		return n > 0 && n%4 == 0
	case CapLongLivedGR:
		return n%lenLongLived == 0
	case CapFQDN:
		if n < 2 || n < 2+int(c.Value[0]) {
			return false
		}
		host := int(c.Value[0])
		return n == 2+host+int(c.Value[1+host])
	case CapSoftwareVersion:
		return n > 1 && n == 1+int(c.Value[0])
	default:
		return true
	}
}

// String names the capability as people know it.
func (c Capability) String() string {
	names := map[uint8]string{
		CapRouteRefresh: "route-refresh", CapExtendedNextHop: "extended-next-hop", CapExtendedMessage: "extended-message", CapRole: "role",
		CapLongLivedGR: "long-lived-graceful-restart", CapEnhancedRouteRefresh: "enhanced-route-refresh",
		CapRouteRefreshOld: "route-refresh-old", CapSoftwareVersion: "software-version", CapMultiProtocol: "multiprotocol",
		CapGracefulRestart: "graceful-restart", CapFourOctetAS: "4-octet-as", CapAddPath: "add-path", CapFQDN: "fqdn",
	}
	name, ok := names[c.Code]
	switch {
	case !ok:
		return fmt.Sprintf("capability-%d", c.Code)
	case !c.wellFormed():
		return name + "(malformed)"
	case c.Code == CapMultiProtocol:
		return "multiprotocol(" + c.family().String() + ")"
	case c.Code == CapFQDN && c.Value[0] > 0:
		return "fqdn(" + printable(c.Value[1:1+int(c.Value[0])]) + ")"
	case c.Code == CapSoftwareVersion:
		return "software-version(" + printable(c.Value[1:]) + ")"
	default:
		return name
	}
}

// printable keeps a peer's text from playing with terminals and logs.
func printable(b []byte) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, string(b))
}

func (c Capability) family() Family {
	return Family{binary.BigEndian.Uint16(c.Value), c.Value[3]}
}

// String names the families that an EVPN peer is likely to have.
func (f Family) String() string {
	switch f {
	case EVPN:
		return "l2vpn-evpn"
	case Family{1, 1}:
		return "ipv4-unicast"
	case Family{2, 1}:
		return "ipv6-unicast"
	case Family{1, 128}:
		return "ipv4-vpn"
	case Family{2, 128}:
		return "ipv6-vpn"
	case Family{1, 132}:
		return "route-target"
	default:
		return fmt.Sprintf("afi-%d-safi-%d", f.AFI, f.SAFI)
	}
}

// GracefulRestart is the graceful restart capability (RFC 4724 §3, RFC 8538 §2).
type GracefulRestart struct {
	Restarting   bool // R bit
	Notification bool // N bit
	Time         time.Duration
	EVPN         bool // the family is listed
	Forwarding   bool // … with its F bit: forwarding state was kept
}

const (
	grRestarting   = 0x80 // first octet
	grNotification = 0x40
	grForwarding   = 0x80 // flags of a family
)

func (c Capability) gracefulRestart() GracefulRestart {
	v := c.Value
	g := GracefulRestart{
		Restarting:   v[0]&grRestarting != 0,
		Notification: v[0]&grNotification != 0,
		Time:         time.Duration(binary.BigEndian.Uint16(v)&0x0fff) * time.Second,
	}
	for f := v[2:]; len(f) >= 4; f = f[4:] {
		if (Family{binary.BigEndian.Uint16(f), f[2]}) == EVPN {
			g.EVPN, g.Forwarding = true, f[3]&grForwarding != 0
		}
	}
	return g
}

// Capability writes it for EVPN; without the family it lists none.
func (g GracefulRestart) Capability() Capability {
	v := binary.BigEndian.AppendUint16(nil, uint16(g.Time/time.Second)&0x0fff)
	v[0] |= bit(grRestarting, g.Restarting) | bit(grNotification, g.Notification)
	if g.EVPN {
		v = append(v, 0, AFIL2VPN, SAFIEVPN, bit(grForwarding, g.Forwarding))
	}
	return Capability{CapGracefulRestart, v}
}

// LongLived is the long-lived graceful restart capability (RFC 9494 §3.1).
type LongLived struct {
	EVPN       bool // the family is listed
	Forwarding bool // … with its F bit
	Time       time.Duration
}

const lenLongLived = 7 // octets of a family

func (c Capability) longLived() (l LongLived) {
	for f := c.Value; len(f) >= lenLongLived; f = f[lenLongLived:] {
		if (Family{binary.BigEndian.Uint16(f), f[2]}) == EVPN {
			l = LongLived{EVPN: true, Forwarding: f[3]&grForwarding != 0, Time: time.Duration(uint24(f[4:])) * time.Second}
		}
	}
	return l
}

// Capability writes it for EVPN; without the family it lists none.
func (l LongLived) Capability() Capability {
	var v []byte
	if l.EVPN {
		t := uint32(l.Time / time.Second)
		v = []byte{0, AFIL2VPN, SAFIEVPN, bit(grForwarding, l.Forwarding), byte(t >> 16), byte(t >> 8), byte(t)}
	}
	return Capability{CapLongLivedGR, v}
}

func bit(b byte, on bool) byte {
	if on {
		return b
	}
	return 0
}
