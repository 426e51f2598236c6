package kernel

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// Configure sets what VNIs there are. Devices are created, adopted or changed by
// difference before it returns. What fails for one VNI is that VNI's state and
// problem ([Kernel.Status]) and is tried again; the error is for contradictions in
// cfg, which then has no effect, and for a kernel that cannot be asked at all.
func (k *Kernel) Configure(cfg Config) error {
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return err
	}
	k.deviceMu.Lock()
	defer k.deviceMu.Unlock()
	k.mu.Lock()
	old := k.cfg
	k.cfg, k.ready = cfg, true
	k.mu.Unlock()

	var kept []evpn.VNI
	for _, v := range cfg.VNIs {
		kept = append(kept, v.VNI)
	}
	for _, v := range old.VNIs {
		if !slices.Contains(kept, v.VNI) {
			k.abandon(v, cfg)
		}
	}
	err := k.refreshLocked()
	k.mu.Lock()
	k.wantDump("config", 0)
	k.mu.Unlock()
	signal(k.wake)
	return err
}

func (c Config) check() error {
	var errs []error
	vnis, links := map[evpn.VNI]bool{}, map[string]evpn.VNI{}
	for _, v := range c.VNIs {
		if !v.VNI.Valid() || vnis[v.VNI] {
			errs = append(errs, fmt.Errorf("configure VNI %s: not valid, or given twice", v.VNI))
		}
		vnis[v.VNI] = true
		for _, name := range []string{v.Device, v.Bridge} {
			if other, taken := links[name]; taken {
				errs = append(errs, fmt.Errorf("configure VNI %s: link %s already serves VNI %s", v.VNI, name, other))
			}
			links[name] = v.VNI
		}
	}
	return errors.Join(errs...)
}

// abandon takes our things off a VNI that left the configuration: the links if we
// made them, else our rows. deviceMu is held.
func (k *Kernel) abandon(v VNI, now Config) {
	k.mu.Lock()
	in := k.instance(v.VNI)
	k.forget(in)
	ops := in.removals()
	k.bindings.Remove(v.VNI)
	k.takeEffects()
	delete(k.instances, v.VNI)
	in.configured = false
	// Keys of the instance may still be queued; without links they are void.
	in.device, in.bridge = 0, 0
	k.mu.Unlock()

	log := k.log.WithField("vni", v.VNI)
	s, err := k.look()
	if err != nil {
		log.WithError(err).Warn("removing VNI: links unknown, left in place")
		return
	}
	used := map[string]bool{}
	for _, v := range now.VNIs {
		used[v.Device], used[v.Bridge] = true, true
	}
	removable := func(name string) *Link {
		if l := s.byName[name]; l != nil && strings.HasPrefix(l.Alias, AliasPrefix) && !used[name] {
			return l
		}
		return nil
	}
	if d := removable(v.Device); d != nil {
		if err := k.b.DeleteLink(d.Index); err != nil {
			log.WithError(err).WithField("device", d.Name).Warn("removing device failed")
		}
	} else if err := k.b.Write(ops, func(int, error) {}); err != nil {
		log.WithError(err).Warn("removing rows failed")
	}
	if br := removable(v.Bridge); br != nil {
		for _, l := range s.ports[br.Index] {
			if l.Name != v.Device && !slices.Contains(v.Ports, l.Name) {
				log.WithField("bridge", br.Name).WithField("port", l.Name).Warn("bridge has a port that is not ours and stays")
				return
			}
		}
		if err := k.b.DeleteLink(br.Index); err != nil {
			log.WithError(err).WithField("bridge", br.Name).Warn("removing bridge failed")
		}
	}
}

// removals lists the deletes of all rows that bear our marks.
func (in *instance) removals() (ops []NeighborOp) {
	for to, e := range in.floods {
		if e.exists && to != in.remote {
			ops = append(ops, NeighborOp{Delete, Neighbor{Family: unix.AF_BRIDGE, Index: in.device, Flags: unix.NTF_SELF, Addr: to.ip(), Via: to.via}})
		}
	}
	for mac, e := range in.macs {
		if ours(e.bridgeShape) {
			ops = append(ops, NeighborOp{Delete, Neighbor{Family: unix.AF_BRIDGE, Index: in.device, Flags: unix.NTF_MASTER, MAC: mac}})
		}
		if ours(e.selfShape) {
			ops = append(ops, NeighborOp{Delete, Neighbor{Family: unix.AF_BRIDGE, Index: in.device, Flags: unix.NTF_SELF, MAC: mac, Addr: e.have.Value()}})
		}
	}
	for ip, e := range in.neighbors {
		if e.shape == neighborOurs {
			n := Neighbor{Family: unix.AF_INET, Index: in.bridge, Addr: ip}
			if ip.Is6() {
				n.Family = unix.AF_INET6
			}
			ops = append(ops, NeighborOp{Delete, n})
		}
	}
	return ops
}

// refresh looks at links and addresses again and repairs what is ours to repair.
func (k *Kernel) refresh() {
	k.deviceMu.Lock()
	defer k.deviceMu.Unlock()
	if err := k.refreshLocked(); err != nil {
		k.log.WithError(err).Warn("reading links failed")
		k.mu.Lock()
		k.retryLinks()
		k.mu.Unlock()
	}
}

func (k *Kernel) look() (*snapshot, error) {
	links, err := k.b.Links()
	if err != nil {
		return nil, err
	}
	addrs, err := k.b.Addresses()
	if err != nil {
		return nil, err
	}
	return newSnapshot(links, addrs), nil
}

// refreshLocked plans, acts and looks again until nothing is left to do: a device
// must exist before it can be enslaved, and be a port before it has port settings.
// All VNIs advance together, so that a thousand of them cost a few looks.
func (k *Kernel) refreshLocked() error {
	const rounds = 6
	began := time.Now()
	k.mu.Lock()
	cfg, ready := k.cfg, k.ready
	k.mu.Unlock()
	trouble := map[evpn.VNI]error{}
	clear(k.addresses.failed)
	for round := 1; ; round++ {
		s, err := k.look()
		if err != nil {
			return err
		}
		st := newSite(cfg, s)
		plans := make([]*plan, len(cfg.VNIs))
		acted := 0
		for i, v := range cfg.VNIs {
			p := &plan{cfg: v, site: st, s: s, created: k.created}
			p.run()
			plans[i] = p
			if round < rounds && trouble[v.VNI] == nil {
				acted += len(p.actions)
				trouble[v.VNI] = k.perform(v.VNI, p.actions)
			}
		}
		t := newTenure(cfg, s, plans)
		if ready && round < rounds {
			acted += k.tendAddresses(t)
		}
		if acted > 0 {
			k.log.WithField("changes", acted).Info("changed links")
			continue
		}
		k.mu.Lock()
		k.commit(s, st, plans, trouble, t)
		k.due.lastLinks, k.due.linksCost = time.Now(), time.Since(began)
		k.mu.Unlock()
		k.followPorts()
		signal(k.wake)
		return nil
	}
}

func (k *Kernel) perform(vni evpn.VNI, actions []action) error {
	for _, a := range actions {
		if err := a.do(k.b); err != nil {
			k.log.WithError(err).WithField("vni", vni).WithField("action", a.text).Warn("changing link failed")
			return fmt.Errorf("%s: %w", a.text, err)
		}
		k.log.WithField("vni", vni).WithField("action", a.text).Debug("changed link")
	}
	return nil
}

func (k *Kernel) retryLinks() {
	k.due.linksBackoff = min(max(retryFirst, 2*k.due.linksBackoff), retryMost)
	k.wantLinks(k.due.linksBackoff)
}

// commit takes the links as they are now into the table. deviceMu and mu are held.
func (k *Kernel) commit(s *snapshot, st site, plans []*plan, trouble map[evpn.VNI]error, t tenure) {
	k.site, k.segments, k.uplinks, k.local = st, s.segments(), ethernet(s.uplinks(k.cfg)), s.local()
	clear(k.byDevice)
	clear(k.byBridge)
	oldPorts := maps.Clone(k.ports)
	clear(k.ports)
	failed, moved := t.settle(k, plans), false
	for _, p := range plans {
		in := k.instance(p.cfg.VNI)
		in.cfg, in.configured = p.cfg, true
		if err := trouble[in.vni]; err != nil {
			failed = true
			p.problem("%s", err)
			if !p.state.up {
				p.state.reason = err.Error()
			}
		}
		moved = k.place(in, p) || moved
		k.queueState(in)
	}
	for i := range s.links {
		l := &s.links[i]
		if in := k.byBridge[l.Master]; in != nil && l.Index != in.device {
			k.ports[l.Index] = accessPort{name: l.Name, up: l.Running, suppresses: l.Port.NeighSuppress, in: in}
		}
	}
	k.comparePorts(s, oldPorts)
	k.placeBindings(s)
	k.underlay.place(k.waySite(s, st), k.ports)
	if failed {
		k.retryLinks()
	} else {
		k.due.linksBackoff = 0
	}
	if moved {
		k.wantDump("config", 0)
	}
	signal(k.reportWake)
}

// place puts the links of a VNI into the table; it reports whether they are others
// than before.
func (k *Kernel) place(in *instance, p *plan) (moved bool) {
	var device, bridge int32
	remote := in.remote
	in.remote, in.groupVia = floodTo{}, 0
	if l := p.groupLink(); l != nil {
		in.groupVia = l.Index
	}
	if p.device != nil {
		device = p.device.Index
		in.remote = floodTo{makeVTEP(p.device.VXLAN.Remote), p.device.VXLAN.Link}
		k.byDevice[device] = in
	}
	in.sviMAC, in.sviIPs, in.sviGateway = evpn.MAC{}, nil, in.cfg.AnycastGateway
	if p.bridge != nil {
		bridge = p.bridge.Index
		k.byBridge[bridge] = in
		if in.cfg.AdvertiseSVI && p.bridge.Up {
			in.sviMAC, in.sviIPs = p.bridge.MAC, p.s.addressesOf(bridge)
		}
	}
	wasUp := in.state.bridgeUp
	in.state = p.state
	if in.device != device || in.bridge != bridge {
		moved = true
		k.strip(in, in.device != device, in.bridge != bridge)
		in.device, in.bridge = device, bridge
	}
	k.moveGroup(in)
	if moved || wasUp != in.state.bridgeUp || remote != in.remote {
		k.queueAll(in)
	}
	return moved
}

func (s *snapshot) addressesOf(index int32) (ips []netip.Addr) {
	for _, a := range s.addrs {
		if a.Index == index && !a.Unusable && a.hosts() && !a.IP.IsLinkLocalUnicast() {
			ips = append(ips, a.IP)
		}
	}
	slices.SortFunc(ips, netip.Addr.Compare)
	return slices.Compact(ips)
}

// strip forgets the rows of links that are gone: a new link of the same name has none.
func (k *Kernel) strip(in *instance, device, bridge bool) {
	for to, e := range in.floods {
		if device {
			e.exists = false
		}
		k.storeFlood(in, to, e)
	}
	for mac, e := range in.macs {
		if device {
			e.have, e.selfShape = vtep{}, shapeNone
		}
		e.bridgeShape = shapeNone
		if bridge && e.port != 0 {
			e.port, e.localSticky = 0, false
			e.flags &^= flagYield
		}
		k.storeMAC(in, mac, e, false)
	}
	for ip, e := range in.neighbors {
		if bridge {
			e.shape, e.have, e.haveRouter = neighborNone, evpn.MAC{}, false
		}
		k.storeNeighbor(in, ip, e)
	}
}

// comparePorts handles MACs of ports that left, and those that waited for the name
// of a port that joined. An unknown port is no sign of anything: the look at links
// may be older than the event that named it. mu is held.
func (k *Kernel) comparePorts(s *snapshot, old map[int32]accessPort) {
	if maps.Equal(old, k.ports) {
		return
	}
	for _, in := range k.byBridge {
		for mac, e := range in.macs {
			if e.port == 0 {
				continue
			}
			before := e.settled()
			_, was := old[e.port]
			_, is := k.ports[e.port]
			if l := s.index[e.port]; (was && !is) || (l != nil && l.Index == in.device) {
				e.port, e.localSticky = 0, false
				e.flags &^= flagYield
			} else if was && old[e.port].name != k.ports[e.port].name {
				e.reported = -1 // renamed: tell again
			}
			k.storeMAC(in, mac, e, before)
		}
	}
}
