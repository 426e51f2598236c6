package flood

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// Table is all that an engine has to know. It is applied as a whole.
type Table struct {
	// Own are the addresses of this host, at least its VTEP address. They get no copies.
	Own []netip.Addr
	// Services are the addresses at which we or others listen for frames to copy (RFC 9574:
	// AR-IP). They get no copies, whatever the lists say.
	Services []netip.Addr
	Networks []Network
}

// Network says what is copied for one VNI. A VNI may have several, with different Listen.
type Network struct {
	VNI evpn.VNI
	// Listen is where frames to copy are sent: a multicast group, or a service address
	// of this host.
	Listen netip.Addr
	// Port is the VXLAN port, of frames heard and of copies; 0 is [Port].
	Port uint16
	// Segment is who hears the group. Only they, and this host, may send to it, and they
	// get no copies. With Deliver they may not send.
	Segment []netip.Prefix
	// VTEPs are to get copies, in any order. They are of Listen's family.
	VTEPs []VTEP
	// Own, for a group: what this host sends to it is copied.
	Own bool
	// Others, for a group: what others of the segment send to it is copied. Who sends is
	// heard in any case.
	Others bool
	// Leased has Others end with the lease ([Engine.Renew]).
	Leased bool
	// Itself, for a group, are those of the segment that copy their own frames.
	Itself []netip.Addr
	// Deliver, for a service address: the group to which all that arrives is sent, once.
	// Copies are accepted as well: nobody copies them again from the group. Such a network
	// has no VTEPs.
	Deliver netip.Addr
	// Out is the interface by which Deliver is reached; "" is [Options.Interface].
	Out string
	// Rate limits the packets copied, in packets a second; 0 is no limit. Burst is what
	// may come at once; 0 is a tenth of Rate.
	Rate, Burst uint32
	// ZeroChecksum6 lets IPv6 packets without a UDP checksum pass (RFC 6935 §5). Off is what
	// RFC 6936 §4 wants without a decision of the operator, and what Linux's VXLAN devices
	// do unless they are made with udp6zerocsumrx: where they are, it should be on.
	ZeroChecksum6 bool
	// HearVTEPs and HearMACs have the engine note who sends, for [Engine.Heard].
	HearVTEPs, HearMACs bool
}

// VTEP is one that gets copies.
type VTEP struct {
	Address netip.Addr
	Source  evpn.FloodSource
}

// Check gives all that is wrong with the table.
func (t *Table) Check() error {
	var errs []error
	type key struct {
		vni    evpn.VNI
		listen netip.Addr
	}
	seen := map[key]bool{}
	for i := range t.Networks {
		n := &t.Networks[i]
		k := key{n.VNI, n.Listen}
		if seen[k] {
			errs = append(errs, fmt.Errorf("network %d at %s is there twice", n.VNI, n.Listen))
		}
		seen[k] = true
		if err := n.check(); err != nil {
			errs = append(errs, fmt.Errorf("network %d at %s: %w", n.VNI, n.Listen, err))
		}
	}
	return errors.Join(errs...)
}

func (n *Network) check() error {
	var errs []error
	if !n.VNI.Valid() {
		errs = append(errs, errors.New("the VNI is not between 1 and 16777215"))
	}
	if !n.Listen.IsMulticast() && !usable(n.Listen) {
		errs = append(errs, errors.New("listen on a multicast group or a unicast address"))
	}
	for _, v := range n.VTEPs {
		switch {
		case !usable(v.Address):
			errs = append(errs, fmt.Errorf("VTEP %s is not a unicast address", v.Address))
		case v.Address.Is4() != n.Listen.Is4():
			// A copy keeps its source address, so it cannot change its family.
			errs = append(errs, fmt.Errorf("VTEP %s is of another address family", v.Address))
		}
	}
	for _, p := range n.Segment {
		if !p.IsValid() || p.Addr().Is4() != n.Listen.Is4() {
			errs = append(errs, fmt.Errorf("segment %s is not a prefix of the address family", p))
		}
	}
	for _, a := range n.Itself {
		if !usable(a) || a.Is4() != n.Listen.Is4() {
			errs = append(errs, fmt.Errorf("sender %s is not a unicast address of the address family", a))
		}
	}
	return errors.Join(append(errs, n.checkDelivery())...)
}

func (n *Network) checkDelivery() error {
	switch {
	case !n.delivers():
		return nil
	case n.Listen.IsMulticast():
		return errors.New("what is heard on a group is not delivered to one: listen on a service address")
	case !n.Deliver.IsMulticast() || n.Deliver.Is4() != n.Listen.Is4() || n.Deliver.Zone() != "":
		return fmt.Errorf("deliver to a multicast group of the address family, not to %s", n.Deliver)
	case len(n.VTEPs) > 0:
		// A copy is accepted for delivery, and must go nowhere else.
		return errors.New("a network delivers to a group, or copies to VTEPs")
	}
	return nil
}

func (n *Network) delivers() bool { return n.Deliver.IsValid() }

// usable says that an address can be a VTEP's: unicast, and none that stays on a host.
func usable(a netip.Addr) bool {
	return a.IsValid() && !a.Is4In6() && a.Zone() == "" && !a.IsMulticast() && !a.IsUnspecified() && !a.IsLoopback() &&
		a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

func (n *Network) burst() float64 {
	if n.Burst > 0 {
		return float64(n.Burst)
	}
	return max(1, float64(n.Rate)/10)
}

// bucket is a token bucket. It outlives the table that says its rate, and belongs to the
// goroutine that decides.
type bucket struct {
	tokens float64
	at     time.Duration // of the last look
	used   bool
}

// take takes a token, if there is one; rate 0 is no limit. now comes from a monotonic clock.
func (b *bucket) take(rate, burst float64, now time.Duration) bool {
	if rate == 0 {
		return true
	}
	if !b.used {
		b.used, b.tokens, b.at = true, burst, now
	}
	b.tokens = min(burst, b.tokens+rate*max(0, now-b.at).Seconds())
	b.at = max(b.at, now)
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
