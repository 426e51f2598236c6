package kernel

import (
	"context"
	"net/netip"
	"slices"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// reports is what the core has to be told. It holds keys, not events: what is
// told is the state at the time of telling, so a slow sink costs no memory and
// sees only net changes.
type reports struct {
	states   queue[*instance]
	macs     queue[macKey]
	ips      queue[neighborKey]
	complete bool // the first dump is in the queues
}

// report hands events to the sink until ctx ends.
func (k *Kernel) report(ctx context.Context, sink func(evpn.Event)) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.reportWake:
		}
		for {
			events, complete := k.nextReports()
			for _, ev := range events {
				if ctx.Err() != nil {
					return
				}
				sink(ev)
			}
			if len(events) == 0 {
				if complete {
					k.syncedOnce.Do(func() { close(k.synced) })
				}
				break
			}
		}
	}
}

// nextReports takes some keys and tells what changed about them. It gives no
// events only when nothing is left.
func (k *Kernel) nextReports() (events []evpn.Event, complete bool) {
	const chunk = 256
	k.mu.Lock()
	defer k.mu.Unlock()
	r := &k.reports
	for len(events) < chunk {
		switch {
		case r.states.len() > 0:
			events = k.reportState(events, r.states.pop())
		case r.macs.len() > 0:
			events = k.reportMAC(events, r.macs.pop())
		case r.ips.len() > 0:
			events = k.reportIP(events, r.ips.pop())
		default:
			return k.underlay.report(events, chunk), r.complete
		}
	}
	return events, r.complete
}

func (k *Kernel) reportState(events []evpn.Event, in *instance) []evpn.Event {
	in.stateQueued = false
	if !in.configured {
		return events
	}
	st := in.state
	if !in.told.state || in.told.up != st.up || in.told.reason != st.reason {
		in.told.state, in.told.up, in.told.reason = true, st.up, st.reason
		events = append(events, evpn.VNIState{VNI: in.vni, Up: st.up, Reason: st.reason})
	}
	return reportSVI(events, in)
}

// reportSVI tells of the bridge's own MAC and addresses.
func reportSVI(events []evpn.Event, in *instance) []evpn.Event {
	t := &in.told
	for _, ip := range t.sviIPs {
		if t.sviMAC != in.sviMAC || !slices.Contains(in.sviIPs, ip) {
			events = append(events, evpn.LocalIPGone{VNI: in.vni, IP: ip, MAC: t.sviMAC})
		}
	}
	old := t.sviIPs
	if t.sviMAC != in.sviMAC {
		old = nil
		if !t.sviMAC.IsZero() {
			events = append(events, evpn.LocalMACGone{VNI: in.vni, MAC: t.sviMAC})
		}
	}
	if !in.sviMAC.IsZero() && (t.sviMAC != in.sviMAC || t.sviGateway != in.sviGateway) {
		events = append(events, evpn.LocalMACLearned{VNI: in.vni, MAC: in.sviMAC, Port: in.cfg.Bridge, Gateway: in.sviGateway})
	}
	for _, ip := range in.sviIPs {
		if !slices.Contains(old, ip) {
			events = append(events, evpn.LocalIPLearned{VNI: in.vni, IP: ip, MAC: in.sviMAC, Source: sourceKernel})
		}
	}
	t.sviMAC, t.sviIPs, t.sviGateway = in.sviMAC, slices.Clone(in.sviIPs), in.sviGateway
	return events
}

func (k *Kernel) reportMAC(events []evpn.Event, key macKey) []evpn.Event {
	in := key.in
	e, known := in.macs[key.mac]
	if !known {
		return events
	}
	news := e.news()
	e.flags &^= flagReport | flagAgain
	port, named := k.ports[e.port]
	switch {
	case !news:
	case e.flags&flagHeld != 0: // perhaps it is only silent
	case e.port == 0:
		events = append(events, evpn.LocalMACGone{VNI: in.vni, MAC: key.mac})
		in.localMACs--
		e.reported, e.reportedSticky = 0, false
		k.bindings.Forget(in.vni, key.mac)
	case named: // else the port has just joined, and its name comes with the next look at links
		events = append(events, evpn.LocalMACLearned{VNI: in.vni, MAC: key.mac, Port: port.name, Sticky: e.localSticky})
		in.localMACs += count(e.reported == 0)
		e.reported, e.reportedSticky = e.port, e.localSticky
	}
	k.putMAC(in, key.mac, e)
	k.takeEffects()
	return events
}

func (k *Kernel) reportIP(events []evpn.Event, key neighborKey) []evpn.Event {
	in := key.in
	e, known := in.neighbors[key.ip]
	if !known {
		return events
	}
	e.flags &^= flagReport
	b := k.localBinding(in, key.ip, &e)
	if b.MAC != e.reported || b.Router != e.reportedRouter {
		if !b.MAC.IsZero() {
			events = append(events, evpn.LocalIPLearned{VNI: in.vni, IP: key.ip, MAC: b.MAC, Router: b.Router, Source: b.Source})
		}
		// Told for each MAC alone, so that a queue may merge what it holds of one.
		if !e.reported.IsZero() && b.MAC != e.reported {
			events = append(events, evpn.LocalIPGone{VNI: in.vni, IP: key.ip, MAC: e.reported})
		}
		e.reported, e.reportedRouter = b.MAC, b.Router
	}
	k.putNeighbor(in, key.ip, e)
	return events
}

// queueState asks to tell the state of a VNI. mu is held.
func (k *Kernel) queueState(in *instance) {
	if !in.stateQueued {
		in.stateQueued = true
		k.reports.states.push(in)
	}
}

// told is what the core was told of a VNI.
type told struct {
	state      bool
	up         bool
	reason     string
	sviMAC     evpn.MAC
	sviIPs     []netip.Addr
	sviGateway bool
}
