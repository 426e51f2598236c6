package kernel

import "fmt"

// groupInterface names the interface of the VNI's group.
func (p *plan) groupInterface() string {
	if p.cfg.GroupInterface != "" {
		return p.cfg.GroupInterface
	}
	return p.site.where
}

// groupLink is the link of the VNI's group; nil when there is no group, or no link that
// could carry it.
func (p *plan) groupLink() *Link {
	if !p.cfg.Group.IsValid() {
		return nil
	}
	l := p.s.byName[p.groupInterface()]
	if l == nil || l.Loop || !l.Multicast {
		return nil
	}
	return l
}

// judgeGroup finds what keeps the VNI from its group.
func (p *plan) judgeGroup() {
	group, name := p.cfg.Group, p.groupInterface()
	if !group.IsValid() || !p.site.present {
		return // without a VTEP address nothing works, and that is told
	}
	switch l := p.s.byName[name]; {
	case p.site.vtep.IsValid() && p.site.vtep.Is4() != group.Is4():
		p.problem("group %s is of another address family than the VTEP address %s", group, p.site.vtep)
	case name == "":
		p.problem("group %s has no interface: nothing arrives on the one of the VTEP address, so give that of the segment (multicast.interface)", group)
	case l == nil:
		p.problem("interface %s of group %s does not exist", name, group)
	case l.Loop || !l.Multicast:
		p.problem("interface %s of group %s does not carry multicast: ip link set %s multicast on", name, group, name)
	case !l.Up:
		p.problem("interface %s of group %s is down", name, group)
	}
}

// sourceProblem says when what VTEPs send is lost for the way by which it comes: a host with strict
// source checks drops what it would not answer by the same interface. Packets to the VTEP
// address come by the interface that it is on, those to a group by that of the segment; and
// a relay keeps the source of what it copies or brings to the segment. mu is held.
func (k *Kernel) sourceProblem(in *instance) string {
	if !k.site.vtep.Is4() {
		return ""
	}
	for _, index := range []int32{in.groupVia, k.underlay.entrance()} {
		name, strict := k.underlay.link(index)
		if !strict {
			continue
		}
		var worst VTEPState
		for to := range in.ways {
			st, known := k.underlay.wayState(to.Value())
			if known && st.Reachable && st.Device != name && (!worst.VTEP.IsValid() || st.VTEP.Less(worst.VTEP)) {
				worst = st
			}
		}
		if worst.VTEP.IsValid() {
			return fmt.Sprintf("%s drops what comes from %s, which is reached by %s (rp_filter is strict): sysctl -w net.ipv4.conf.%s.rp_filter=2",
				name, worst.VTEP, worst.Device, name)
		}
	}
	return ""
}
