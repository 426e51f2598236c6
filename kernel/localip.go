package kernel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/kernel/snoop"
)

// accessPort is a port of a bridge, without the VXLAN device.
type accessPort struct {
	name string
	up   bool // and the other end is, too
	// suppresses: neigh_suppress is on, so that the bridge lets all its frames pass.
	suppresses bool
	in         *instance
}

// sourceKernel names the bridge's own neighbours as where a binding is known from.
const sourceKernel = "kernel"

// listen hears the access ports until ctx ends. Without the permission for packet
// sockets everything else goes on; local IPs then come from the kernel alone.
func (k *Kernel) listen(ctx context.Context) {
	wire, err := k.b.OpenWire()
	if err != nil {
		k.cannotHear(err)
		k.log.WithError(err).Warn("listening to ARP and ND failed; local IP addresses come from the kernel's neighbours alone")
		return
	}
	k.mu.Lock()
	k.wire = wire
	k.wantLinks(0) // they say which ports to listen to
	k.mu.Unlock()
	signal(k.wake)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		<-ctx.Done()
		return wire.Close()
	})
	g.Go(func() error { k.tend(ctx); return nil })
	g.Go(func() error {
		for {
			if err := wire.Receive(k.heard); err != nil {
				return err
			}
		}
	})
	if err := g.Wait(); err != nil && !errors.Is(err, os.ErrClosed) {
		k.cannotHear(err)
		k.log.WithError(err).Warn("listening to ARP and ND ended")
	}
}

// cannotHear keeps the reason for those who ask whether suppression is ready.
func (k *Kernel) cannotHear(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.deaf = err
}

// followPorts listens to the ports that there are now. deviceMu is held.
func (k *Kernel) followPorts() {
	k.mu.Lock()
	wire := k.wire
	var links []int32
	for index, p := range k.ports {
		if p.in.cfg.Suppression {
			links = append(links, index)
		}
	}
	k.mu.Unlock()
	if wire == nil {
		return
	}
	slices.Sort(links)
	err := wire.Follow(links)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.proxy.Follow(links)
	switch {
	case errors.Is(err, os.ErrClosed): // who closed it has the reason
	case err != nil:
		k.log.WithError(err).Warn("listening to a port failed")
		k.deaf = err
		k.retryLinks()
	default:
		k.deaf = nil
	}
}

// heard takes one frame of an access port. What follows from it at once is sent
// without holding mu: the tunnel may lead to many.
func (k *Kernel) heard(link int32, frame []byte) {
	p, reason := snoop.Parse(frame)
	wire, out := k.digest(link, frame, &p, reason)
	if out.Link == 0 {
		return
	}
	if err := wire.Send(out.Link, out.Frame); err != nil {
		k.log.WithError(err).Debug("answering or carrying failed")
		k.mu.Lock()
		k.proxy.Failed(p.Kind)
		k.mu.Unlock()
	}
}

// digest learns from a frame, and gives the one that has to follow from it.
func (k *Kernel) digest(link int32, frame []byte, p *snoop.Packet, reason snoop.Reason) (snoop.Wire, snoop.Frame) {
	k.mu.Lock()
	defer k.mu.Unlock()
	port, known := k.ports[link]
	if !known {
		return nil, snoop.Frame{}
	}
	switch reason {
	case "":
		k.stats.Heard[p.Kind.String()]++
		k.consider(snoop.Observation{VNI: port.in.vni, Link: link, Packet: *p, Frame: frame})
	case snoop.Irrelevant:
	default:
		k.bindings.Refuse(reason)
	}
	return k.wire, k.relay(port, link, frame, p, reason)
}

// consider learns from a packet. mu is held; frames that follow from it are sent by
// wire.Send, which does not wait for anything that needs mu.
func (k *Kernel) consider(o snoop.Observation) {
	k.bindings.Hear(o, time.Now())
	k.takeEffects()
}

// localPort is the port on which the bridge has a MAC. mu is held.
func (k *Kernel) localPort(vni evpn.VNI, mac evpn.MAC) int32 {
	if in := k.instances[vni]; in != nil {
		return in.macs[mac].port
	}
	return 0
}

// holdBack asks the host of a MAC whether it still is there, before the core hears
// that the bridge has aged the MAC out. A host that says nothing for minutes would
// otherwise be withdrawn, and unreachable wherever its address is known. mu is held.
func (k *Kernel) holdBack(in *instance, mac evpn.MAC, e *macEntry) {
	if e.reported > 0 && k.carries(in, e.reported) && k.bindings.Aged(in.vni, mac, time.Now()) {
		e.flags |= flagHeld
		k.takeEffects()
	}
}

// carries says that packets go between a VNI and a port, as far as links tell.
func (k *Kernel) carries(in *instance, link int32) bool {
	p := k.ports[link]
	return p.in == in && p.up && in.state.up
}

// placeBindings tells the bindings what networks there are. mu is held.
func (k *Kernel) placeBindings(s *snapshot) {
	for _, in := range k.instances {
		l := s.index[in.bridge]
		if !in.configured || !in.cfg.Suppression || in.bridge == 0 || l == nil {
			k.bindings.Remove(in.vni)
			continue
		}
		k.bindings.Set(in.vni, snoop.Network{
			MaxPerMAC: in.cfg.MaxIPsPerMAC, MaxPerPort: in.cfg.MaxIPsPerPort,
			Prober: snoop.Station{MAC: l.MAC, IP: s.linkLocal(l)}, Own: s.owned(l),
		})
	}
	k.bindings.Unhold(func(vni evpn.VNI, link int32) bool {
		return k.carries(k.instances[vni], link)
	})
	k.takeEffects()
}

// linkLocal is the link's IPv6 link-local address, or the one that it would have.
func (s *snapshot) linkLocal(l *Link) netip.Addr {
	for _, a := range s.addrs {
		if a.Index == l.Index && a.IP.Is6() && a.IP.IsLinkLocalUnicast() && !a.Unusable {
			return a.IP.WithZone("")
		}
	}
	return snoop.LinkLocal(l.MAC)
}

// owned are all addresses of the link. One that duplicate address detection found to be
// somebody else's is not.
func (s *snapshot) owned(l *Link) (ips []netip.Addr) {
	for _, a := range s.addrs {
		if a.Index == l.Index && !a.Unusable && a.hosts() {
			ips = append(ips, a.IP.WithZone(""))
		}
	}
	return ips
}

// takeEffects does what the bindings want done. mu is held.
func (k *Kernel) takeEffects() {
	effects := k.bindings.Take()
	for _, c := range effects.Changes {
		in := k.instances[c.VNI]
		if in == nil {
			continue
		}
		e := in.neighbors[c.IP]
		b, ok := k.bindings.Lookup(c.VNI, c.IP)
		if ok && e.shape == neighborLocal && b.MAC != e.have {
			e.flags |= flagRefuted
		}
		if ok {
			k.announce(in, c, &e, b)
		}
		k.storeNeighbor(in, c.IP, e)
	}
	for _, s := range effects.Silent {
		in := k.instances[s.VNI]
		if in == nil {
			continue
		}
		if e, known := in.macs[s.MAC]; known {
			e.flags &^= flagHeld
			k.storeMAC(in, s.MAC, e, e.settled())
		}
	}
	for _, n := range effects.Notices {
		k.log.WithField("vni", n.VNI).WithField("port", k.ports[n.Link].name).WithField("mac", n.MAC).
			WithField("ip", n.IP).WithField("reason", string(n.Reason)).Warn("local IP addresses refused")
	}
	k.outgoing = append(k.outgoing, effects.Frames...)
	if len(effects.Changes)+len(effects.Silent) > 0 {
		signal(k.reportWake)
	}
	next := k.bindings.Next()
	if len(k.outgoing) > 0 || (!next.IsZero() && (k.tendDue.IsZero() || next.Before(k.tendDue))) {
		signal(k.tendWake)
	}
}

// tend does what the bindings have to do in time, and sends their frames.
func (k *Kernel) tend(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		k.mu.Lock()
		now := time.Now()
		k.bindings.Tick(now)
		k.takeEffects()
		frames, next, wire := k.outgoing, k.bindings.Next(), k.wire
		k.outgoing, k.tendDue = nil, next
		k.mu.Unlock()
		failed := false
		for _, f := range frames {
			failed = wire.Send(f.Link, f.Frame) != nil || failed
		}
		if failed {
			k.mu.Lock()
			k.wantLinks(0) // a port is down or gone: what waits for it need not
			k.mu.Unlock()
			signal(k.wake)
		}
		wait := time.Hour
		if !next.IsZero() {
			wait = time.Until(next)
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-k.tendWake:
		}
	}
}

func (k *Kernel) noticeText(n snoop.Notice) string {
	port := k.ports[n.Link].name
	switch n.Reason {
	case snoop.LimitPort:
		return fmt.Sprintf("port %s has %d local IP addresses and more are refused (max_ips_per_port)", port, n.Limit)
	case snoop.LimitMAC:
		return fmt.Sprintf("MAC %s has %d local IP addresses and more are refused (max_ips_per_mac)", n.MAC, n.Limit)
	default:
		return fmt.Sprintf("MAC %s on port %s uses %s, which is the address of bridge %s; it is refused", n.MAC, port, n.IP, k.instances[n.VNI].cfg.Bridge)
	}
}
