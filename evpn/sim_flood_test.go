package evpn_test

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// Flooding in the simulation. Every site has a mode for every VNI, and some are
// replicators, at service addresses of which some are shared. VTEPs without EVPN send
// to them, and so do sites. At rest a frame of every site reaches everybody once.

var (
	simServices = netip.MustParsePrefix("10.9.0.0/24") // of all service addresses, and of nothing else
	simLegacy   = []addr{mustAddr("10.7.0.1"), mustAddr("10.7.0.2")}
	simModes    = []evpn.FloodMode{
		evpn.FloodIngress, evpn.FloodAssisted, evpn.FloodAssisted, evpn.FloodReplicator, evpn.FloodReplicator, evpn.FloodOff,
	}
)

// simHeard is a VTEP that a site hears at its service address.
type simHeard struct {
	vni  evpn.VNI
	vtep addr
}

func (w *world) pickService() addr { return addrAt(simServices.Addr(), 1+w.rng.IntN(3)) }

// pickModes gives s a part in flooding.
func (w *world) pickModes(cfg *evpn.Config) {
	cfg.Service, cfg.LearnFromData = w.pickService(), w.chance(70)
	for i := range cfg.VNIs {
		cfg.VNIs[i].Flooding = simModes[w.rng.IntN(len(simModes))]
	}
}

// disturbFlooding does one thing to who copies for whom.
func (w *world) disturbFlooding(s *site) {
	switch w.rng.IntN(6) {
	case 0: // a mode changes
		s.cfg.VNIs = slices.Clone(s.cfg.VNIs)
		s.cfg.VNIs[w.rng.IntN(len(s.cfg.VNIs))].Flooding = simModes[w.rng.IntN(len(simModes))]
		s.reload()
	case 1: // a service address moves
		s.cfg.Service, s.cfg.LearnFromData = w.pickService(), w.chance(70)
		s.reload()
		for _, o := range w.sites {
			o.kernel.tellReachable(s.cfg.Service)
		}
	case 2, 3, 4: // somebody sends to a service address
		h := simHeard{vni: simVNIs[w.rng.IntN(len(simVNIs))], vtep: simLegacy[w.rng.IntN(len(simLegacy))]}
		if w.chance(50) {
			h.vtep = w.pickSite().addr // as leaves do
		}
		s.kernel.hearVTEP(h, true)
	case 5: // and falls silent
		for _, h := range s.kernel.sortedHeard() {
			s.kernel.hearVTEP(h, false)
		}
	}
}

func (k *simKernel) hearVTEP(h simHeard, on bool) {
	if on {
		k.heard[h] = true
		k.emit(evpn.VTEPHeard{VNI: h.vni, VTEP: h.vtep})
	} else {
		delete(k.heard, h)
		k.emit(evpn.VTEPSilent{VNI: h.vni, VTEP: h.vtep})
	}
}

func (k *simKernel) sortedHeard() []simHeard {
	return slices.SortedFunc(maps.Keys(k.heard), func(a, b simHeard) int {
		if a.vni != b.vni {
			return int(a.vni) - int(b.vni)
		}
		return a.vtep.Compare(b.vtep)
	})
}

// reportHeard tells of everything that was heard, or could have been.
func (k *simKernel) reportHeard() {
	all := slices.Clone(simLegacy)
	for n := range k.s.w.addrs {
		all = append(all, addrAt(vtep1, n))
	}
	for _, vni := range simVNIs {
		for _, a := range all {
			if k.heard[simHeard{vni, a}] {
				k.tell(evpn.VTEPHeard{VNI: vni, VTEP: a})
			} else {
				k.tell(evpn.VTEPSilent{VNI: vni, VTEP: a})
			}
		}
	}
}

// mode is how s floods in a VNI.
func (s *site) mode(vni evpn.VNI) evpn.FloodMode {
	for _, v := range s.cfg.VNIs {
		if v.VNI == vni {
			return v.Flooding
		}
	}
	return evpn.FloodOff
}

func (s *site) owns(a addr) bool { return a == s.addr || a == s.cfg.Service }

// speaksFor lists the VTEPs that s announces in a VNI beside itself.
func (s *site) speaksFor(vni evpn.VNI) (list []addr) {
	if s.mode(vni) != evpn.FloodReplicator || !s.cfg.LearnFromData {
		return nil
	}
	for _, h := range s.kernel.sortedHeard() {
		itself := slices.ContainsFunc(s.w.sites, func(o *site) bool {
			// A replicator looks as if it were spoken for: see isProxy of the core.
			return o.addr == h.vtep && o.mode(vni) != evpn.FloodOff && o.mode(vni) != evpn.FloodReplicator
		})
		if h.vni == vni && !s.owns(h.vtep) && !itself {
			list = append(list, h.vtep)
		}
	}
	return list
}

// vteps is the truth about who wants frames of a VNI, as s can know it.
func (s *site) vteps(vni evpn.VNI) map[addr]evpn.FloodSource {
	all := map[addr]evpn.FloodSource{}
	for _, x := range s.speaksFor(vni) {
		all[x] = evpn.SourceData
	}
	for _, o := range s.w.sites {
		if o == s {
			continue
		}
		if o.mode(vni) != evpn.FloodOff {
			all[o.addr] = evpn.SourceBGP
		}
		for _, x := range o.speaksFor(vni) {
			if !s.owns(x) {
				all[x] = evpn.SourceBGP
			}
		}
	}
	return all
}

// services is the same about replicators.
func (s *site) services(vni evpn.VNI) map[addr]bool {
	all := map[addr]bool{}
	for _, o := range s.w.sites {
		if o != s && o.mode(vni) == evpn.FloodReplicator && o.cfg.Service != s.cfg.Service {
			all[o.cfg.Service] = true
		}
	}
	return all
}

// wantFloods adds the flood rows that s should have. Of several replicators any will do.
func (s *site) wantFloods(vni evpn.VNI, add func(addr)) {
	mode := s.mode(vni)
	if mode == evpn.FloodOff {
		return
	}
	services := s.services(vni)
	if mode == evpn.FloodAssisted && len(services) > 0 {
		for _, a := range s.floodRows(vni) {
			if services[a] {
				add(a)
				return
			}
		}
		add(slices.MinFunc(slices.Collect(maps.Keys(services)), addr.Compare)) // so that the comparison names one
		return
	}
	for a := range s.vteps(vni) {
		add(a)
	}
}

// floodRows lists the flood rows of a VNI that s asked for, sorted.
func (s *site) floodRows(vni evpn.VNI) (list []addr) {
	for k := range s.sum.rows {
		if k.Kind == evpn.FloodRow && k.VNI == vni {
			list = append(list, k.IP)
		}
	}
	slices.SortFunc(list, addr.Compare)
	return list
}

// floods reports a flood row of any VNI.
func (l *ledger) floods(a addr) bool {
	return slices.ContainsFunc(simVNIs, func(vni evpn.VNI) bool {
		_, found := l.rows[evpn.RowKey{Kind: evpn.FloodRow, VNI: vni, IP: a}]
		return found
	})
}

// copies lists where the flooding module of s copies to.
func (s *site) copies(vni evpn.VNI) (list []addr) {
	for k, e := range s.sum.lists {
		if k.VNI == vni && e.Use == evpn.UseCopy {
			list = append(list, k.VTEP)
		}
	}
	slices.SortFunc(list, addr.Compare)
	return list
}

// checkFlooding holds the core to what is true of flooding at any time: a leaf has one
// replicator or all VTEPs, and nobody else ever sends to where a replicator listens.
func (s *site) checkFlooding(vteps []evpn.VTEPInfo) {
	if !s.w.modes {
		return
	}
	for _, t := range vteps {
		if !t.Reachable && simServices.Contains(t.Address) && s.sum.floods(t.Address) {
			simPanic{}.Errorf("leaf %s sends frames to %s, which it cannot reach", s.addr, t.Address)
		}
	}
	for _, vni := range simVNIs {
		rows := s.floodRows(vni)
		services := len(rows) - len(slices.DeleteFunc(slices.Clone(rows), simServices.Contains))
		switch mode := s.mode(vni); {
		case mode == evpn.FloodAssisted && services > 0 && len(rows) != 1:
			simPanic{}.Errorf("leaf %s sends frames of VNI %s to %v", s.addr, vni, rows)
		case mode != evpn.FloodAssisted && services > 0:
			simPanic{}.Errorf("%s of mode %s sends frames of VNI %s to %v", s.addr, mode, vni, rows)
		}
		if copies := s.copies(vni); slices.ContainsFunc(copies, simServices.Contains) {
			simPanic{}.Errorf("replicator %s copies frames of VNI %s to %v", s.addr, vni, copies)
		}
	}
}

// compareFlooding holds lists and type-3 routes of s against the truth.
func (s *site) compareFlooding(d evpn.Desired) error {
	lists := map[evpn.ListKey]evpn.ListValue{}
	var relays []evpn.Relay
	own := map[string]bool{}
	for _, vni := range simVNIs {
		mode := s.mode(vni)
		if mode != evpn.FloodOff {
			own[fmt.Sprint(vni, s.addr)] = true
		}
		for _, x := range s.speaksFor(vni) {
			own[fmt.Sprint(vni, x)] = true
		}
		if mode != evpn.FloodReplicator {
			continue
		}
		own[fmt.Sprint(vni, s.cfg.Service)] = true
		relays = append(relays, evpn.Relay{VNI: vni, Replicate: true})
		for a, source := range s.vteps(vni) {
			lists[evpn.ListKey{VNI: vni, VTEP: a}] = evpn.ListValue{Use: evpn.UseCopy, Source: source}
		}
		for a := range s.services(vni) {
			lists[evpn.ListKey{VNI: vni, VTEP: a}] = evpn.ListValue{Use: evpn.UseService, Source: evpn.SourceBGP}
		}
	}
	got := map[evpn.ListKey]evpn.ListValue{}
	for _, e := range d.Lists {
		got[e.ListKey] = e.ListValue
	}
	if !maps.Equal(lists, got) || !slices.Equal(relays, d.Relays) {
		return fmt.Errorf("%s: lists %v, relays %v, want %v, %v", s.addr, got, d.Relays, lists, relays)
	}
	for _, r := range d.Routes {
		if r.Key.Type == evpn.IMETRoute {
			id := fmt.Sprint(r.VNI(), r.Key.IP)
			if !own[id] {
				return fmt.Errorf("%s announces %s", s.addr, r.Key)
			}
			delete(own, id)
		}
	}
	if len(own) > 0 {
		return fmt.Errorf("%s does not announce %v", s.addr, own)
	}
	return nil
}

// flood sends a BUM frame of s and sees that everybody who wants it gets it once, whichever
// of the replicators that share an address takes it.
func (s *site) flood(vni evpn.VNI) error {
	for which := range len(s.w.sites) {
		got := map[addr]int{}
		for _, to := range s.floodRows(vni) {
			if !simServices.Contains(to) {
				got[to]++
				continue
			}
			r := s.w.replicatorAt(to, vni, which)
			got[r.addr]++ // its own hosts
			for _, a := range r.copies(vni) {
				if a != s.addr { // split horizon
					got[a]++
				}
			}
		}
		want := map[addr]int{}
		if s.mode(vni) != evpn.FloodOff {
			for a := range s.vteps(vni) {
				want[a] = 1
			}
		}
		if !maps.Equal(want, got) {
			return fmt.Errorf("a frame of %s in VNI %s reaches %v, want %v", s.addr, vni, got, want)
		}
	}
	return nil
}

// replicatorAt picks one of those that share a service address.
func (w *world) replicatorAt(a addr, vni evpn.VNI, which int) *site {
	var all []*site
	for _, o := range w.sites {
		if o.cfg.Service == a && o.mode(vni) == evpn.FloodReplicator {
			all = append(all, o)
		}
	}
	return all[which%len(all)]
}

// hasWay says whether the underlay has a way to a: to one of those that have it.
func (k *simKernel) hasWay(a addr) bool {
	known := false
	for _, o := range k.s.w.sites {
		if o != k.s && o.owns(a) {
			if !k.cut[o] {
				return true
			}
			known = true
		}
	}
	return !known
}
