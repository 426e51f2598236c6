package daemon

import (
	"context"
	"net/netip"
	"reflect"
	"time"

	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/flooding"
	"github.com/vtepbgp/vtepbgp/config"
	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/flood"
	"github.com/vtepbgp/vtepbgp/speaker"
	"github.com/vtepbgp/vtepbgp/speaker/bfd"
)

// host is what the configuration leaves to the host to say.
type host struct {
	vtep     netip.Addr
	device   string                    // where it lives; "" = on none that others can send to
	uplinks  []string                  // where packets of others may arrive
	segments map[string][]netip.Prefix // by interface, "" = device
}

// look asks the kernel for what cfg leaves open.
func (d *daemon) look(cfg *config.Config) host {
	h := host{vtep: d.kernel.VTEPAddress(), device: d.kernel.VTEPDevice(), uplinks: d.kernel.Uplinks(), segments: map[string][]netip.Prefix{}}
	for _, v := range cfg.VNIs {
		if m := v.Multicast; m != nil && m.Segment == nil {
			h.segments[m.Interface] = d.kernel.Segment(m.Interface)
		}
	}
	return h
}

func (h host) equal(o host) bool { return reflect.DeepEqual(h, o) }

// segment gives the prefixes of a VNI's segment.
func (h host) segment(m *config.Multicast) []netip.Prefix {
	if m.Segment != nil {
		return m.Segment
	}
	return h.segments[m.Interface]
}

func (h host) on(device string) string {
	if device == "" {
		return h.device
	}
	return device
}

// listens are the interfaces on which frames for the service address are heard: of
// replicators, and of who delivers to a segment, whose interface is often not that of the
// way there.
func (h host) listens(configured string) (services, uplinks []string) {
	switch {
	case configured != "":
		return []string{configured}, []string{configured}
	case h.device != "":
		return []string{h.device}, h.uplinks
	default:
		return h.uplinks, h.uplinks
	}
}

// floodingConfig is what the flooding module needs of cfg.
func floodingConfig(cfg *config.Config, h host) flooding.Config {
	f := flooding.Config{
		Engine: cfg.Flood.Engine, HoldTime: cfg.Flood.HoldTime, VTEP: h.vtep, Service: cfg.Flood.ServiceAddress,
		LearnFromData: cfg.Flood.LearnFromData, VNIs: []flooding.VNI{},
	}
	f.ServiceInterfaces, f.Uplinks = h.listens(cfg.Flood.Interface)
	for _, v := range cfg.VNIs {
		if v.Flooding != evpn.FloodMulticast && v.Flooding != evpn.FloodReplicator {
			continue
		}
		n := flooding.VNI{VNI: v.ID, Mode: v.Flooding, Port: v.UDPPort, Rate: uint32(v.RateLimit)}
		if m := v.Multicast; m != nil {
			n.Group, n.Interface, n.Segment = m.Group, h.on(m.Interface), h.segment(m)
			n.ProxyVTEPs, n.ProxyMACs = m.ProxyVTEPs, m.ProxyMACs
		}
		f.VNIs = append(f.VNIs, n)
	}
	return f
}

// Bounds of the lease on copying for others.
const (
	leaseLongest = 90 * time.Second
	// leaseShortest leaves a busy loop its time to renew.
	leaseShortest = 100 * time.Millisecond
	leaseShare    = 4 // renewals in the time of a lease
)

// detection is how soon a neighbour may find us hanging, and another relay take over. One that does not
// keep our routes when our process ends hears of that at once: the kernel closes our sessions.
// The others keep them for grace.
func detection(neighbors []speaker.NeighborStatus, grace time.Duration) flood.Lease {
	lease := flood.Lease{For: leaseLongest, Outlives: grace}
	for _, n := range neighbors {
		if n.State != established {
			continue
		}
		// Both count from our last packet, which went out up to an interval before we hung.
		switch {
		case n.BFD != nil && n.BFD.State == bfd.Up && n.BFD.DetectionTime > 0:
			lease.For = min(lease.For, n.BFD.DetectionTime-n.BFD.SendInterval)
		case n.HoldTime > 0:
			lease.For = min(lease.For, n.HoldTime-n.Keepalive)
		}
		if !n.GracefulRestart {
			lease.Outlives = 0
		}
	}
	lease.For = max(lease.For, leaseShortest)
	return lease
}

// lease ends with the process where not all engines go on without it: either all that we copy for others
// does, or nothing, because others hear of us as a whole (evpn.EngineState).
func (d *daemon) lease() flood.Lease {
	lease := detection(d.speaker.Neighbors(), d.config().BGP.GracefulRestartTime)
	if !d.flooding.Outlives() {
		lease.Outlives = 0
	}
	return lease
}

// leases lets what we copy for others go on, by way of the loop: one that is stuck
// renews nothing, because what it should have heard may be that another relay copies.
func (d *daemon) leases(ctx context.Context) error {
	said := d.outlives
	var stood standstill
	return repeat(ctx, func() time.Duration {
		lease := d.lease()
		outlives := lease.Outlives > 0
		if said && !outlives {
			d.flooding.Renew(stood.term(lease, time.Now())) // what others hear is true before they hear it; else after
		}
		if d.loop.do(ctx, func(*evpn.Core) {
			if said != outlives {
				d.loop.tell(evpn.EngineState{Outlives: outlives}, time.Now())
			}
		}) == nil {
			said = outlives
			d.flooding.Renew(stood.term(lease, time.Now()))
		}
		return lease.For
	})
}

// standstill withholds a lease for a moment after the one before ran out. Others may copy since then:
// that our sessions have ended, or who was elected, lies unread in sockets.
type standstill struct {
	due  time.Time // when the last lease ends
	over time.Time // when we have read what came meanwhile
}

// enough is the longest that this takes.
const enough = time.Second

func (s *standstill) term(lease flood.Lease, now time.Time) flood.Lease {
	if !s.due.IsZero() && now.After(s.due) {
		s.over = now.Add(min(lease.For, enough))
	}
	s.due = now.Add(lease.For)
	if now.Before(s.over) {
		return flood.Lease{}
	}
	return lease
}

// keep lets all that we copy go on as long as this process moves; when it does not, or is
// gone, until neighbours drop our routes, because others copy our own frames then. That the
// loop is stuck is no reason to end: sessions stay.
func (d *daemon) keep(ctx context.Context) error {
	return repeat(ctx, func() time.Duration {
		lease := d.lease()
		d.flooding.Keep(lease)
		return lease.For
	})
}

// repeat calls f, which says how long a lease is, again in time to renew it, until ctx ends.
func repeat(ctx context.Context, f func() time.Duration) error {
	for {
		t := time.NewTimer(min(f()/leaseShare, time.Second))
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-t.C:
		}
	}
}
