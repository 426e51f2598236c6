package kernel

import (
	"fmt"
	"net/netip"
)

// unusable says why a device cannot carry the VNI at all.
func (p *plan) unusable(d *Link) string {
	switch {
	case d == nil:
		return fmt.Sprintf("device %s does not exist", p.cfg.Device)
	case d.Kind != "vxlan":
		return fmt.Sprintf("%s is not a VXLAN device", d.Name)
	case d.VXLAN.External:
		return fmt.Sprintf("device %s takes the VNI from each packet (external), which is not supported", d.Name)
	case d.VXLAN.VNI != p.cfg.VNI:
		return fmt.Sprintf("device %s has VNI %s", d.Name, d.VXLAN.VNI)
	case d.VXLAN.Port != p.cfg.UDPPort:
		return fmt.Sprintf("device %s sends to UDP port %d instead of %d", d.Name, d.VXLAN.Port, p.cfg.UDPPort)
	case p.site.vtep.IsValid() && p.device6(d) != p.site.vtep.Is6() && (d.VXLAN.Local.IsValid() || d.VXLAN.Remote.IsValid()):
		return fmt.Sprintf("device %s is of another address family than the VTEP address %s", d.Name, p.site.vtep)
	}
	return ""
}

func (p *plan) device6(d *Link) bool { return d.VXLAN.Local.Is6() || d.VXLAN.Remote.Is6() }

// judge fills in the state from the links as they are.
func (p *plan) judge() {
	d, br, st := p.device, p.bridge, &p.state
	st.managed = p.ours(d)
	if d != nil {
		st.mtu = d.MTU
	}
	if p.unusable(d) == "" {
		p.findProblems(d)
	} else {
		p.device = nil
	}
	if br != nil && br.Kind == "bridge" {
		st.bridgeUp = br.Up
		if br.Bridge.VLANFiltering {
			p.problem("bridge %s filters VLANs, which is not supported", br.Name)
		}
		p.judgePorts(br)
		if p.device != nil {
			p.judgeSizes(d, br)
		}
	}
	st.reason = p.downReason(d)
	st.up = st.reason == ""
	if br == nil || br.Kind != "bridge" || (d != nil && d.Master != br.Index) {
		p.bridge = nil
	}
	p.judgeGroup()
	st.swallows = st.up && d.Port.NeighSuppress
	p.judgeSuppression(d, br)
}

func (p *plan) downReason(d *Link) string {
	br := p.bridge
	if !p.site.vtep.IsValid() {
		return "the VTEP interface has no usable address"
	}
	if why := p.unusable(d); why != "" {
		return why
	}
	switch {
	case br == nil:
		return fmt.Sprintf("bridge %s does not exist", p.cfg.Bridge)
	case br.Kind != "bridge":
		return fmt.Sprintf("%s is not a bridge", br.Name)
	case d.Master != br.Index:
		return fmt.Sprintf("device %s is not a port of bridge %s", d.Name, br.Name)
	case !d.Up:
		return fmt.Sprintf("device %s is down", d.Name)
	case !br.Up:
		return fmt.Sprintf("bridge %s is down", br.Name)
	case !p.site.present:
		return fmt.Sprintf("VTEP address %s is not on this host", p.site.vtep)
	}
	return ""
}

func (p *plan) findProblems(d *Link) {
	v := d.VXLAN
	if v.Learning {
		p.problem("device %s learns from the data path (made without nolearning)", d.Name)
	}
	if p.site.vtep.IsValid() && v.Local != p.site.vtep {
		p.problem("device %s has local address %s instead of %s", d.Name, addrText(v.Local), p.site.vtep)
	}
	switch l := p.groupLink(); {
	case !v.Remote.IsValid():
	case v.Remote != p.cfg.Group:
		p.problem("device %s also floods to its default remote %s", d.Name, v.Remote)
	case l != nil && v.Link != l.Index:
		p.problem("device %s sends to its group %s by another interface than %s", d.Name, v.Remote, l.Name)
	}
	if p.cfg.MTU != 0 && d.MTU != p.cfg.MTU {
		p.problem("device %s has MTU %d instead of %d", d.Name, d.MTU, p.cfg.MTU)
	}
	if d.Port.Bridge && d.Port.Learning {
		p.problem("bridge port %s has learning on", d.Name)
	}
}

func (p *plan) judgePorts(br *Link) {
	for _, l := range p.s.ports[br.Index] {
		if l.Name != p.cfg.Device {
			p.state.ports = append(p.state.ports, l.Name)
		}
	}
	for _, name := range p.cfg.Ports {
		switch l := p.s.byName[name]; {
		case l == nil:
			p.problem("port %s does not exist", name)
		case l.Master != br.Index && l.Master != 0:
			p.problem("port %s belongs to another master", name)
		case l.Master != br.Index:
			p.problem("port %s is not in bridge %s", name, br.Name)
		}
	}
}

func addrText(ip netip.Addr) string {
	if !ip.IsValid() {
		return "none"
	}
	return ip.String()
}
