package flood

// Reason says why a packet, or one copy of it, went no further.
type Reason uint8

// The reasons. Those up to Limited stop a packet, the rest lose copies, one by one.
const (
	Kept           Reason = iota // not dropped
	NotIP                        // neither IPv4 nor IPv6
	Truncated                    // ends before its headers say so
	BadIPHeader                  // version or lengths contradict each other
	BadIPChecksum                // of the IPv4 header
	BadTTL                       // zero: it should not have been sent
	Fragment                     // RFC 7348 §4.3: VTEPs must not fragment
	NotUDP                       // another protocol, or an IPv6 extension header
	BadUDPLength                 // less than a header, or other than what IP says
	BadUDPChecksum               // the packet was damaged
	NoUDPChecksum                // zero on IPv6, where the network does not allow it (RFC 6936 §4)
	WrongPort                    // not the VXLAN port of the network
	NoVXLAN                      // too short for a VXLAN header and an Ethernet frame
	BadFlags                     // VXLAN flags or reserved bits that we do not know (the kernel drops these as well)
	SuperFrame                   // several frames merged by offloads, in a way the engine cannot take apart
	UnknownVNI                   // no network of ours
	NotListening                 // sent to another group or address than that network's
	BadSource                    // not a unicast address
	OwnSource                    // came from outside with our own address: a loop, or a forgery
	SourceOutside                // heard on the group, but not from the segment
	SourceInside                 // to be delivered to the group, but from one who hears that
	Relayed                      // is itself a copy
	CopiedBySender               // by a VTEP of the segment that copies its own frames
	NotElected                   // another relay copies it, or nobody yet
	Nobody                       // nobody to copy it to
	Limited                      // over the network's rate
	Overrun                      // lost before the engine could read it
	TooBig                       // a copy larger than the way allows
	NoRoute                      // no way to the VTEP
	Unresolved                   // the next hop to the VTEP does not answer
	EgressFull                   // the egress queue would not take it
	SendFailed                   // any other error
	reasonCount
)

var reasonNames = [reasonCount]string{
	"", "not_ip", "truncated", "bad_ip_header", "bad_ip_checksum", "bad_ttl", "fragment", "not_udp", "bad_udp_length",
	"bad_udp_checksum", "no_udp_checksum", "wrong_port", "no_vxlan", "bad_flags", "super_frame", "unknown_vni",
	"not_listening", "bad_source", "own_source", "source_outside", "source_inside", "relayed",
	"copied_by_sender", "not_elected", "nobody", "limited", "overrun", "too_big",
	"no_route", "unresolved", "egress_full", "send_failed",
}

// Fit says that there is nothing wrong with the packet, copied or not: its sender
// counts as heard.
func (r Reason) Fit() bool {
	switch r {
	case Kept, CopiedBySender, NotElected, Nobody, Limited:
		return true
	default:
		return false
	}
}

// String is the reason as counters name it.
func (r Reason) String() string {
	if r >= reasonCount {
		return "unknown"
	}
	return reasonNames[r]
}

// Reasons are all that something can be dropped for.
func Reasons() []Reason {
	all := make([]Reason, 0, reasonCount-1)
	for r := Kept + 1; r < reasonCount; r++ {
		all = append(all, r)
	}
	return all
}
