package snoop

import (
	"encoding/binary"
	"net/netip"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// Kind is what a heard packet is.
type Kind uint8

// The packets that say who has an address, or ask for it.
const (
	Other         Kind = iota
	ARPRequest         // RFC 826; the sender tells its own binding
	ARPReply           // the same, as an answer
	ARPGratuitous      // announcement: sender and target address are the same (RFC 5227 §3)
	ARPProbe           // sender 0.0.0.0: asks whether the target is free (RFC 5227 §2.1)
	NS                 // neighbour solicitation with a source (RFC 4861 §4.3)
	NSProbe            // the same from ::, duplicate address detection (RFC 4862 §5.4)
	NA                 // solicited neighbour advertisement (RFC 4861 §4.4)
	NAUnsolicited      // neighbour advertisement that nobody asked for (RFC 4861 §7.2.6)
	DHCPAck            // DHCPv4 DHCPACK to a client (RFC 2131 §3.1)
	kinds
)

var kindNames = [kinds]string{
	"other", "arp_request", "arp_reply", "arp_gratuitous", "arp_probe",
	"ns", "ns_dad", "na", "na_unsolicited", "dhcp_ack",
}

func (k Kind) String() string { return kindNames[k] }

// Kinds lists what [Parse] can find.
func Kinds() (all []Kind) {
	for k := Other + 1; k < kinds; k++ {
		all = append(all, k)
	}
	return all
}

// Source names the protocol, as [evpn.LocalIPLearned] wants it.
func (k Kind) Source() string {
	switch k {
	case ARPRequest, ARPReply, ARPGratuitous, ARPProbe:
		return "arp"
	case NS, NSProbe, NA, NAUnsolicited:
		return "nd"
	default:
		return "dhcp"
	}
}

// Packet is one packet that [Parse] found well-formed.
type Packet struct {
	Kind   Kind
	Source evpn.MAC // of the frame
	Dest   evpn.MAC // of the frame

	// MAC has IP, says the packet. For ARP and ND the MAC is the frame's source,
	// anything else is refused. For a probe IP is only claimed: its target. For
	// DHCPAck the MAC is the client's and only the server says so.
	MAC evpn.MAC
	IP  netip.Addr

	// Sender and Target are the addresses as they are in the packet: those of ARP;
	// IPv6 source and target address of ND; server and client of DHCP.
	Sender, Target netip.Addr

	Router   bool // NA: R flag
	Override bool // NA: O flag
}

// Binds says that the packet's sender itself uses IP now. A probe only asks for it,
// and a DHCP server only promises it.
func (p *Packet) Binds() bool {
	switch p.Kind {
	case ARPRequest, ARPReply, ARPGratuitous, NS, NA, NAUnsolicited:
		return true
	default:
		return false
	}
}

// Reason says why a packet is refused; it is a label of a metric.
type Reason string

// Why packets are refused.
const (
	Malformed     Reason = "malformed"       // lengths, options, checksum, hop limit, fields out of range
	WrongSender   Reason = "wrong_sender"    // the sender's MAC is not the frame's source
	BadMAC        Reason = "bad_mac"         // group or zero address
	BadIP         Reason = "bad_ip"          // no address that a host of this network can have
	Irrelevant    Reason = "irrelevant"      // not a packet that tells of an address
	NotLearned    Reason = "not_learned"     // the bridge has not learned the MAC on that port
	LimitMAC      Reason = "limit_mac"       // max_ips_per_mac
	LimitPort     Reason = "limit_port"      // max_ips_per_port
	OwnAddress    Reason = "own_address"     // it is the bridge's own
	Flapping      Reason = "flapping"        // the address changes its MAC too often
	NoOverride    Reason = "no_override"     // advertisement without O flag against a known binding
	TooManyClaims Reason = "too_many_claims" // claims of a port that wait for their proof
)

// refusals are the reasons that are counted from the start.
var refusals = []Reason{Malformed, WrongSender, BadMAC, BadIP, NotLearned, LimitMAC, LimitPort, OwnAddress, Flapping, NoOverride, TooManyClaims}

const (
	etherARP  = 0x0806
	etherIPv4 = 0x0800
	etherIPv6 = 0x86dd

	sizeEthernet = 14
)

// Parse reads one Ethernet frame. A reason says why it is refused; then of the
// packet only the kind is meant, where it got that far. The result shares no memory
// with the frame.
func Parse(frame []byte) (Packet, Reason) {
	var p Packet
	if len(frame) < sizeEthernet {
		return p, Malformed
	}
	copy(p.Dest[:], frame)
	copy(p.Source[:], frame[6:])
	if p.Source.IsZero() || p.Source.IsGroup() {
		return p, BadMAC
	}
	body := frame[sizeEthernet:]
	switch binary.BigEndian.Uint16(frame[12:]) {
	case etherARP:
		return p, p.parseARP(body)
	case etherIPv6:
		return p, p.parseND(body)
	case etherIPv4:
		return p, p.parseDHCP(body)
	default:
		return p, Irrelevant // VLAN tags, too: another network than the bridge's
	}
}

// HostIP says that a host can have the address and others may be told. IPv4
// link-local ones are left out: RFC 3927 §2.5 wants every ARP packet about them
// broadcast so that conflicts show, and what is not announced is not suppressed.
// IPv6 link-local ones are in: each host resolves them, FRR announces them
// (netlink_ipneigh_change in zebra/rt_netlink.c leaves none out), and duplicate
// address detection of them must work across VTEPs as for any other.
func HostIP(ip netip.Addr) bool {
	switch {
	case !ip.IsValid() || ip.IsUnspecified() || ip.IsLoopback() || ip.IsMulticast() || ip.Is4In6():
		return false
	case ip.Is4():
		b := ip.As4()
		return b[0] != 0 && b[0] < 240 && !ip.IsLinkLocalUnicast() // RFC 1122 §3.2.1.3, RFC 1112 §4
	default:
		return true
	}
}

// Observation is a packet that came in by an access port.
type Observation struct {
	VNI    evpn.VNI
	Link   int32 // index of the port
	Packet Packet
	Frame  []byte // whole; valid during the call that it is handed to
}
