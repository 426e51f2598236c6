package daemon

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/api"
	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/flooding"
	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/flood"
)

// engineKernel is who copies where no engine of ours does.
const engineKernel = "kernel"

// Flood lists the flood lists, of every VNI also when it is empty, in pieces.
func (d *daemon) Flood(ctx context.Context, f api.VNIFilter, yield func(api.Flood) error) error {
	var vnis []evpn.VNI
	if err := d.loop.do(ctx, func(c *evpn.Core) {
		for _, vni := range c.VNIRefs() {
			if f.VNI == 0 || vni == f.VNI {
				vnis = append(vnis, vni)
			}
		}
	}); err != nil {
		return err
	}
	if err := known(f, len(vnis)); err != nil {
		return err
	}
	s := floodShow{d: d, copying: d.flooding.Status(), engines: map[string]flooding.EngineStatus{}}
	for _, e := range s.copying.Engines {
		s.engines[e.Interface] = e
	}
	s.service, s.repairs = d.config().Flood.ServiceAddress, d.kernel.Stats().AddressRepairs
	type list struct {
		evpn.VNIInfo
		entries []evpn.FloodEntry
	}
	var batch []list
	for len(vnis) > 0 {
		batch = batch[:0]
		if err := d.loop.do(ctx, func(c *evpn.Core) {
			for n := 0; n < listChunk && len(vnis) > 0; vnis = vnis[1:] {
				if i, ok := c.VNI(vnis[0]); ok {
					batch = append(batch, list{i, c.Flood(vnis[0])})
					n += 1 + len(batch[len(batch)-1].entries)
				}
			}
		}); err != nil {
			return err
		}
		for _, l := range batch {
			if err := yield(s.flood(l.VNIInfo, l.entries)); err != nil {
				return err
			}
		}
	}
	return nil
}

// floodShow is what the list of a VNI is shown with.
type floodShow struct {
	d       *daemon
	copying flooding.Status
	engines map[string]flooding.EngineStatus // by interface
	service netip.Addr
	repairs map[netip.Addr]uint64
}

func (s *floodShow) flood(i evpn.VNIInfo, entries []evpn.FloodEntry) api.Flood {
	fl := api.Flood{
		VNI: i.VNI, Mode: i.Flooding, VTEPs: make([]api.FloodVTEP, 0, len(entries)), Tasks: api.FloodTasks(i.Relay), Elected: i.Relay.Elected,
		Segment: notNil(i.Segment.Prefixes), Interfaces: []string{}, Problems: []string{}, Engines: []api.FloodEngine{}, Counters: map[string]uint64{},
	}
	for _, e := range entries {
		fl.VTEPs = append(fl.VTEPs, api.FloodVTEP{
			Address: e.VTEP, Source: e.Source, Role: e.Role, Kernel: e.Kernel, Copied: e.Copied,
			Installed: e.Kernel && s.d.kernel.Installed(evpn.RowKey{Kind: evpn.FloodRow, VNI: e.VNI, IP: e.VTEP}),
		})
	}
	if i.Flooding == evpn.FloodReplicator || i.Segment.Delivery == evpn.DeliverMulticast {
		fl.ServiceAddress = s.service
	}
	switch network := s.copying.Networks[i.VNI]; i.Flooding {
	case evpn.FloodIngress, evpn.FloodAssisted:
		fl.Engine = engineKernel
	case evpn.FloodMulticast, evpn.FloodReplicator:
		fl.Engine, fl.Interfaces = network.Engine, notNil(network.Interfaces)
		if len(fl.Interfaces) > 0 {
			fl.Interface, fl.EngineReason = fl.Interfaces[0], s.engines[fl.Interfaces[0]].Reason
		}
		fl.Problems, fl.Counters = notNil(floodProblems(i, network)), floodCounters(network)
		fl.Group = i.Segment.Group
		fl.Counters[api.FloodRepairs] = s.repairs[fl.Group] + s.repairs[fl.ServiceAddress]
		for _, name := range fl.Interfaces {
			fl.Engines = append(fl.Engines, floodEngine(name, s.engines[name]))
			fl.Counters[api.FloodRepairs] += s.engines[name].Repairs
		}
	case evpn.FloodOff:
	}
	if i.Flooding != evpn.FloodOff && !i.Up && i.DownReason != "" {
		fl.Problems = []string{i.DownReason}
	}
	return fl
}

// floodProblems are those of a VNI that is up: what one that is down lacks follows from that.
func floodProblems(i evpn.VNIInfo, n flooding.NetworkStatus) []string {
	if !i.Up {
		return nil
	}
	problems := slices.Clone(n.Problems)
	for _, a := range i.Strangers {
		problems = append(problems, fmt.Sprintf("VTEP %s is on the segment, but has another multicast.group or multicast.segment: frames may be lost or arrive twice; set both alike", a))
	}
	for _, a := range i.Contraries {
		problems = append(problems, fmt.Sprintf("relay %s has another multicast.segment_delivery: frames may be lost when another relay is elected, or arrive twice while a daemon starts; set all alike", a))
	}
	return problems
}

// floodEngine is what copies on an interface, if anything does.
func floodEngine(device string, e flooding.EngineStatus) api.FloodEngine {
	shown := api.FloodEngine{Interface: device, Engine: e.Name, Details: notNil(e.Capabilities.Details), Repairs: e.Repairs, Failures: e.Failures, Dropped: map[string]uint64{}}
	dropped(e.Rest, func(reason string, n uint64) { shown.Dropped[reason] = n })
	return shown
}

// floodCounters are the counts of a network by name.
func floodCounters(n flooding.NetworkStatus) map[string]uint64 {
	counters := map[string]uint64{api.FloodIn: n.Count.Packets, api.FloodCopied: n.Count.Relayed, api.FloodCopies: n.Count.Copies}
	dropped(n.Count, func(reason string, count uint64) { counters[api.FloodDroppedPrefix+reason] = count })
	return counters
}

// dropped gives what was dropped, by reason.
func dropped(c flood.Count, yield func(reason string, n uint64)) {
	for r, n := range c.Dropped {
		yield(r.String(), n)
	}
}
