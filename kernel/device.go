package kernel

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// snapshot is all links and addresses at one time.
type snapshot struct {
	links  []Link
	byName map[string]*Link
	index  map[int32]*Link
	ports  map[int32][]*Link // by master
	addrs  []Address
}

func newSnapshot(links []Link, addrs []Address) *snapshot {
	s := &snapshot{
		links: links, addrs: addrs, ports: map[int32][]*Link{},
		byName: make(map[string]*Link, len(links)), index: make(map[int32]*Link, len(links)),
	}
	for i := range links {
		if m := links[i].Master; m != 0 {
			s.ports[m] = append(s.ports[m], &links[i])
		}
		s.byName[links[i].Name] = &links[i]
		s.index[links[i].Index] = &links[i]
	}
	return s
}

// deviceState is what the links of one VNI amount to.
type deviceState struct {
	up       bool
	reason   string   // why not up
	problems []string // what works, but not as it should
	managed  bool     // the VXLAN device carries our mark
	mtu      int
	bridgeUp bool
	swallows bool     // neigh_suppress is on at the VXLAN port
	missing  []string // what suppression needs and has not
	ports    []string
}

// action is one change of a link. Actions come from a pure comparison and are
// done in order.
type action struct {
	text string
	do   func(Backend) error
}

// site is what all VNIs share.
type site struct {
	vtep    netip.Addr
	present bool   // the VTEP address is on the host, and usable
	where   string // the interface that it is on; "" = one that has no link to others
	mtu     int    // of the underlay
}

// newSite resolves the VTEP address and looks where it lives.
func newSite(c Config, s *snapshot) site {
	var st site
	st.vtep = c.VTEP
	if !st.vtep.IsValid() {
		st.vtep = interfaceAddress(c.VTEPInterface, s)
	}
	for _, a := range s.addrs {
		if a.IP == st.vtep && !a.Unusable && !a.Ours {
			st.present = true
			if l := s.index[a.Index]; l != nil && !l.Loop && l.Kind != "dummy" {
				st.where, st.mtu = l.Name, l.MTU
			}
		}
	}
	if st.mtu == 0 {
		st.mtu = uplinkMTU(s.uplinks(c))
	}
	return st
}

// interfaceAddress is the first address of an interface that can be a VTEP's;
// IPv4 wins over IPv6.
func interfaceAddress(name string, s *snapshot) (best netip.Addr) {
	l := s.byName[name]
	if name == "" || l == nil {
		return netip.Addr{}
	}
	for _, a := range s.addrs {
		if a.Index != l.Index || a.Unusable || !a.hosts() || a.IP.IsLoopback() || a.IP.IsLinkLocalUnicast() {
			continue
		}
		if !best.IsValid() || (a.IP.Is4() && !best.Is4()) {
			best = a.IP
		}
	}
	return best
}

// uplinks are the links by which packets of a VTEP address on a loopback may leave and come:
// routing chooses. Ports of bridges are none, though they may have addresses (link-local
// ones, from before).
func (s *snapshot) uplinks(c Config) (all []*Link) {
	own := map[string]bool{}
	for _, v := range c.VNIs {
		own[v.Device], own[v.Bridge] = true, true
		for _, p := range v.Ports {
			own[p] = true
		}
	}
	for _, a := range s.addrs {
		l := s.index[a.Index]
		if l == nil || !a.hosts() || l.Loop || !l.Up || l.Port.Bridge || l.Kind == "dummy" || l.Kind == "vxlan" || own[l.Name] {
			continue
		}
		if !slices.Contains(all, l) {
			all = append(all, l)
		}
	}
	return all
}

// uplinkMTU is the smallest: packets leave by whatever link routing chooses, so that is the
// safe one.
func uplinkMTU(uplinks []*Link) int {
	smallest := 0
	for _, l := range uplinks {
		if smallest == 0 || l.MTU < smallest {
			smallest = l.MTU
		}
	}
	if smallest == 0 {
		return 1500
	}
	return smallest
}

func (st site) deviceMTU(cfg VNI) int {
	switch {
	case cfg.MTU != 0:
		return cfg.MTU
	case st.vtep.Is4():
		return st.mtu - overheadIPv4
	default:
		return st.mtu - overheadIPv6
	}
}

// plan compares the links of one VNI with what they should be. It gives the next
// actions, which may need another look when done, and the state as it is now.
// created says which links this process made and has not marked yet.
type plan struct {
	cfg     VNI
	site    site
	s       *snapshot
	created map[string]bool

	device, bridge *Link
	actions        []action
	state          deviceState
}

func (p *plan) act(text string, do func(Backend) error) {
	p.actions = append(p.actions, action{text, do})
}

func (p *plan) set(l *Link, text string, set LinkSettings) {
	index := l.Index
	p.act(text+" "+l.Name, func(b Backend) error { return b.SetLink(index, set) })
}

func (p *plan) problem(format string, args ...any) {
	p.state.problems = append(p.state.problems, fmt.Sprintf(format, args...))
}

// ours says that we created the link: it has our mark, or will get it.
func (p *plan) ours(l *Link) bool {
	return l != nil && (strings.HasPrefix(l.Alias, AliasPrefix) || p.created[l.Name])
}

func (p *plan) run() {
	p.device, p.bridge = p.s.byName[p.cfg.Device], p.s.byName[p.cfg.Bridge]
	if p.cfg.Manage {
		p.repairBridge()
		p.repairDevice()
		p.repairPorts()
	}
	p.judge()
}

func (p *plan) repairBridge() {
	br := p.bridge
	if br == nil {
		name := p.cfg.Bridge
		p.act("create bridge "+name, func(b Backend) error {
			return p.create(b, LinkSpec{Name: name})
		})
		return
	}
	if br.Kind != "bridge" {
		return
	}
	if p.ours(br) {
		p.mark(br)
	}
	if !br.Up {
		p.set(br, "set up", LinkSettings{Up: ptr(true)})
	}
}

func (p *plan) create(b Backend, spec LinkSpec) error {
	if err := b.AddLink(spec); err != nil {
		return err
	}
	p.created[spec.Name] = true
	return nil
}

// mark writes the alias that tells a later run that the link is ours. A new link
// is also kept from taking an IPv6 link-local address: it carries other people's frames.
func (p *plan) mark(l *Link) {
	if strings.HasPrefix(l.Alias, AliasPrefix) {
		return
	}
	index, name, alias := l.Index, l.Name, aliasFor(p.cfg.VNI)
	p.act("mark "+name, func(b Backend) error {
		if err := b.SetLink(index, LinkSettings{Alias: &alias}); err != nil {
			return err
		}
		delete(p.created, name)
		// Fails where IPv6 is off, which serves the same end.
		_ = b.SetLink(index, LinkSettings{NoAutoAddress: true})
		return nil
	})
}

func (p *plan) repairDevice() {
	d, v := p.device, p.wantedVXLAN()
	if d == nil {
		if !p.site.vtep.IsValid() {
			return
		}
		name, mtu := p.cfg.Device, p.site.deviceMTU(p.cfg)
		p.act("create VXLAN device "+name, func(b Backend) error {
			return p.create(b, LinkSpec{Name: name, MTU: mtu, VXLAN: v})
		})
		return
	}
	if d.Kind != "vxlan" {
		return
	}
	if p.ours(d) {
		p.mark(d)
		p.repairOurDevice(d, v)
	}
	if p.unusable(d) != "" || p.bridge == nil || p.bridge.Kind != "bridge" {
		return
	}
	switch {
	case d.Master == 0:
		p.set(d, "enslave", LinkSettings{Master: &p.bridge.Index})
		return // the port's settings exist from then on
	case d.Master != p.bridge.Index:
		return
	case d.Port.Learning:
		p.set(d, "turn off learning of port", LinkSettings{Learning: ptr(false)})
	}
	if d.Port.NeighSuppress != p.cfg.Suppression {
		p.set(d, "set neigh_suppress of port", LinkSettings{NeighSuppress: ptr(p.cfg.Suppression)})
	}
	if !d.Up {
		p.set(d, "set up", LinkSettings{Up: ptr(true)})
	}
}

// repairOurDevice changes what the kernel lets change, and makes the device anew
// for the rest (vxlan_changelink, drivers/net/vxlan: VNI, port and family are fixed).
func (p *plan) repairOurDevice(d *Link, v VXLANAttributes) {
	if !p.site.vtep.IsValid() {
		return
	}
	if d.VXLAN.VNI != v.VNI || d.VXLAN.Port != v.Port || d.VXLAN.Local.Is4() != v.Local.Is4() {
		index := d.Index
		p.act("remove outdated "+d.Name, func(b Backend) error { return b.DeleteLink(index) })
		return
	}
	if d.VXLAN.Local != v.Local {
		p.set(d, "set local address of", LinkSettings{Local: &v.Local})
	}
	if mtu := p.site.deviceMTU(p.cfg); d.MTU != mtu {
		p.set(d, "set MTU of", LinkSettings{MTU: &mtu})
	}
}

func (p *plan) wantedVXLAN() VXLANAttributes {
	return VXLANAttributes{VNI: p.cfg.VNI, Local: p.site.vtep, Port: p.cfg.UDPPort}
}

func (p *plan) repairPorts() {
	if p.bridge == nil || p.bridge.Kind != "bridge" {
		return
	}
	for _, name := range p.cfg.Ports {
		if l := p.s.byName[name]; l != nil && l.Master == 0 {
			p.set(l, "enslave", LinkSettings{Master: &p.bridge.Index})
			if !l.Up {
				p.set(l, "set up", LinkSettings{Up: ptr(true)})
			}
		}
	}
}

func ptr[T any](v T) *T { return &v }
