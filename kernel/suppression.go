package kernel

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/vtepbgp/vtepbgp/kernel/snoop"
)

// The states of ARP and ND suppression of a VNI.
const (
	SuppressionReady    = "ready"
	SuppressionNotReady = "not ready"
	SuppressionOff      = "off" // not configured
)

// judgeSuppression lists what keeps the bridge from answering ARP and ND for remote
// hosts, each with what to do about it (net/bridge/br_arp_nd_proxy.c, Linux 6.18;
// lab/suppression_kernel_lab_test.go holds these facts).
func (p *plan) judgeSuppression(d, br *Link) {
	if !p.cfg.Suppression {
		return
	}
	if !p.state.up {
		p.lack("the VNI is down: %s", p.state.reason)
		return
	}
	if d.VXLAN.Learning {
		p.lack("device %s learns MACs from the tunnel: ip link set %s type vxlan nolearning", d.Name, d.Name)
	}
	if d.Port.Learning {
		p.lack("bridge port %s learns MACs from the tunnel: bridge link set dev %s learning off", d.Name, d.Name)
	}
	if !d.Port.NeighSuppress {
		p.lack("bridge port %s has neigh_suppress off: bridge link set dev %s neigh_suppress on (Linux 4.15 or later)", d.Name, d.Name)
	}
	if br.Bridge.VLANFiltering {
		// The neighbour rows are looked up on the bridge's VLAN device then.
		p.lack("bridge %s filters VLANs: ip link set %s type bridge vlan_filtering 0", br.Name, br.Name)
	}
	switch {
	case br.IPv6:
	case br.MTU < ipv6MinimumMTU:
		p.lack("bridge %s has no IPv6, so that ND is not answered: its MTU of %d must be %d or more", br.Name, br.MTU, ipv6MinimumMTU)
	default:
		p.lack("bridge %s has no IPv6, so that ND is not answered: sysctl -w net.ipv6.conf.%s.disable_ipv6=0", br.Name, br.Name)
	}
	for _, l := range p.s.ports[br.Index] {
		if l.Index != d.Index && l.Port.NeighSuppress {
			p.lack("port %s has neigh_suppress on, so that its hosts get no answers: bridge link set dev %s neigh_suppress off", l.Name, l.Name)
		}
	}
}

// ipv6MinimumMTU is RFC 8200 section 5; below it Linux has no IPv6 on a link.
const ipv6MinimumMTU = 1280

func (p *plan) lack(format string, args ...any) {
	p.state.missing = append(p.state.missing, fmt.Sprintf(format, args...))
}

// suppression gives state and lacks for [VNIStatus]. mu is held.
func (k *Kernel) suppression(in *instance) (state string, missing []string) {
	missing = append([]string{}, in.state.missing...)
	if k.deaf != nil && in.cfg.Suppression && in.state.up {
		missing = append(missing, fmt.Sprintf("not all access ports can be listened to, so that duplicate addresses stay unnoticed: "+
			"%s (it takes CAP_NET_RAW)", k.deaf))
	}
	switch {
	case !in.cfg.Suppression:
		return SuppressionOff, missing
	case len(missing) > 0:
		return SuppressionNotReady, missing
	default:
		return SuppressionReady, missing
	}
}

// relay gives the frame that has to follow from one that a bridge swallows: an answer
// for a remote host, or the frame itself for the tunnel. mu is held.
func (k *Kernel) relay(port accessPort, link int32, frame []byte, p *snoop.Packet, why snoop.Reason) snoop.Frame {
	in := port.in
	if !in.state.swallows || port.suppresses {
		return snoop.Frame{} // the frame is on its way already
	}
	if k.bindings.Owns(in.vni, p.IP) {
		return snoop.Frame{} // the bridge answers for itself, and no host announces it
	}
	return k.proxy.Handle(time.Now(), snoop.Segment{
		Port: link, Tunnel: in.device, Floods: in.floodsToSomebody(), Remote: in.remoteOwner,
	}, frame, p, why)
}

// remoteOwner is who has an address elsewhere: the row of it that the bridge answers from.
func (in *instance) remoteOwner(ip netip.Addr) (snoop.Owner, bool) {
	e := in.neighbors[ip]
	return snoop.Owner{MAC: e.want, Router: e.wantRouter}, e.wanted()
}

func (in *instance) floodsToSomebody() bool { return in.wantedFloods > 0 || in.remote != floodTo{} }

// announce tells hosts elsewhere that an address has another MAC than before, here or
// behind another VTEP. mu is held.
func (k *Kernel) announce(in *instance, c snoop.Change, e *neighborEntry, now snoop.Binding) {
	moved := (!c.From.IsZero() && c.From != now.MAC) || (e.wanted() && e.want != now.MAC)
	if moved && in.state.swallows && in.floodsToSomebody() {
		k.outgoing = append(k.outgoing, k.proxy.Announce(in.device, snoop.Station{MAC: now.MAC, IP: c.IP}, now.Router))
	}
}
