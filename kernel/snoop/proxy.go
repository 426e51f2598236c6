package snoop

import (
	"net/netip"
	"slices"
	"time"

	"golang.org/x/time/rate"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// Deed is what became of a packet that a suppressing bridge keeps to itself.
type Deed uint8

// What becomes of a packet.
const (
	Leave     Deed = iota // the bridge has done all there is to do
	Answered              // on its port, in the name of a remote host
	Carried               // unchanged into the tunnel
	Limited               // neither: its port asks too much
	Unflooded             // neither: the VNI floods to nobody
	Announced             // made here and sent into the tunnel, for a host that did not
	Failed                // answered or carried, but it could not be sent
	deeds
)

var deedNames = [deeds]string{"left", "answered", "carried", "limited", "not_flooded", "announced", "failed"}

func (d Deed) String() string { return deedNames[d] }

// Owner is who has an address somewhere else, as EVPN says.
type Owner struct {
	MAC    evpn.MAC
	Router bool
}

// Segment is a suppressing bridge as seen from one of its ports.
type Segment struct {
	Port   int32
	Tunnel int32 // the VXLAN device; frames sent out of it go to the VNI's flood list
	Floods bool  // that list has somebody on it
	// Remote gives the owner of an address that the bridge answers for.
	Remote func(netip.Addr) (Owner, bool)
}

// A port may announce and probe so much; a thousand guests that resume at once fit.
const (
	proxyRate  = 200 // packets a second
	proxyBurst = 1000
)

// Proxy does what a suppressing bridge leaves undone. Requests for remote hosts the
// bridge answers, those for unknown ones it floods; but what hosts announce (RFC 5227
// §2.3, RFC 4861 §7.2.6) and what they ask before they take an address (RFC 5227 §2.1,
// RFC 4862 §5.4) it keeps from the tunnel without an answer (br_arp_nd_proxy.c in
// net/bridge; TestKernelSuppression in lab holds it to that). Without more, caches
// elsewhere would stay wrong and a duplicate address unnoticed.
//
// It is pure: the time is an argument, frames to send are handed out. It is not safe
// for concurrent use.
type Proxy struct {
	limits map[int32]*rate.Limiter
	stats  ProxyStats
}

// ProxyStats counts packets by what they were and what became of them.
type ProxyStats [kinds][deeds]uint64

// NewProxy gives a Proxy that has seen nothing.
func NewProxy() *Proxy { return &Proxy{limits: map[int32]*rate.Limiter{}} }

// Follow forgets ports other than these, which are sorted.
func (x *Proxy) Follow(ports []int32) {
	for p := range x.limits {
		if _, there := slices.BinarySearch(ports, p); !there {
			delete(x.limits, p)
		}
	}
}

// Announce tells hosts elsewhere that an address has another MAC, which its host said
// in a packet that does not leave the bridge. A request that is answered here is one:
// on one wire, all caches would have learned from it (RFC 826).
func (x *Proxy) Announce(tunnel int32, who Station, router bool) Frame {
	if who.IP.Is4() {
		x.stats[ARPGratuitous][Announced]++
		return Frame{tunnel, ARPRequestFrame(BroadcastMAC, who, who.IP)}
	}
	x.stats[NAUnsolicited][Announced]++
	return Frame{tunnel, NAFrame(who, allNodes, who.IP, Flags{Router: router, Override: true})}
}

// Failed counts a frame of [Proxy.Handle] that could not be sent.
func (x *Proxy) Failed(k Kind) { x.stats[k][Failed]++ }

// Stats gives the counters.
func (x *Proxy) Stats() ProxyStats { return x.stats }

// Each calls f for each kind that suppression swallows and each thing that can become of it.
func (s *ProxyStats) Each(f func(k Kind, d Deed, n uint64)) {
	for _, k := range []Kind{ARPGratuitous, ARPProbe, NSProbe, NAUnsolicited} {
		for d := Leave + 1; d < deeds; d++ {
			f(k, d, s[k][d])
		}
	}
}

// Handle takes a frame that came in by a port, and what [Parse] made of it. It gives
// the frame to send; the zero Frame when there is nothing to do. What is carried is
// the frame itself, not a copy.
func (x *Proxy) Handle(now time.Time, s Segment, frame []byte, p *Packet, why Reason) Frame {
	deed, owner := judge(p, why, s.Remote)
	switch {
	case deed == Leave:
		return Frame{}
	case deed == Carried && !s.Floods:
		deed = Unflooded
	case !x.limit(s.Port).AllowN(now, 1):
		deed = Limited
	}
	x.stats[p.Kind][deed]++
	switch deed {
	case Answered:
		return Frame{s.Port, answer(p, owner)}
	case Carried:
		return Frame{s.Tunnel, frame}
	default:
		return Frame{}
	}
}

func (x *Proxy) limit(port int32) *rate.Limiter {
	l := x.limits[port]
	if l == nil {
		l = rate.NewLimiter(proxyRate, proxyBurst)
		x.limits[port] = l
	}
	return l
}

// judge decides. A question about a known remote address is answered, unless the host
// that asks is the owner itself, which has moved here; any other is carried, so that
// an owner that never spoke can answer, and so is every announcement.
func judge(p *Packet, why Reason, remote func(netip.Addr) (Owner, bool)) (Deed, Owner) {
	if !p.Dest.IsGroup() || (why != "" && (why != BadIP || !p.linkLocal4())) {
		return Leave, Owner{} // unicast passes the bridge; what is malformed helps nobody
	}
	switch p.Kind {
	case ARPProbe, NSProbe:
		if o, known := remote(p.IP); known && o.MAC != p.Source {
			return Answered, o
		}
		return Carried, Owner{}
	case ARPGratuitous, NAUnsolicited:
		return Carried, Owner{}
	default:
		return Leave, Owner{}
	}
}

// linkLocal4 addresses are not announced, so that conflicts must show in the packets
// themselves (RFC 3927 §2.5).
func (p *Packet) linkLocal4() bool { return p.IP.Is4() && p.IP.IsLinkLocalUnicast() }

// allNodes hears the answer to a host that has no address yet.
var allNodes = Station{MAC: evpn.MAC{0x33, 0x33, 0, 0, 0, 1}, IP: netip.MustParseAddr("ff02::1")}

// answer is what the owner itself would say to a probe (RFC 826; RFC 4861 §7.2.4:
// to all nodes, not solicited). It overrides caches as the owner's own would, and as
// the bridge's answers do: the owner's MAC is no proxy's.
func answer(p *Packet, o Owner) []byte {
	owner := Station{MAC: o.MAC, IP: p.IP}
	if p.Kind == ARPProbe {
		return ARPReplyFrame(owner, Station{MAC: p.Source, IP: p.Sender})
	}
	return NAFrame(owner, allNodes, p.IP, Flags{Router: o.Router, Override: true})
}
