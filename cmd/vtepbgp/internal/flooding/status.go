package flooding

import (
	"cmp"
	"slices"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/flood"
)

// Status is what the flooding module does now.
type Status struct {
	Engines []EngineStatus // by interface
	// Networks are those that are configured here.
	Networks map[evpn.VNI]NetworkStatus
	// Heard counts the VTEPs and MACs that are told to the core.
	HeardVTEPs, HeardMACs int
}

// EngineStatus is what copies on one interface.
type EngineStatus struct {
	Interface string
	Name      string // "" while there is none
	Reason    string // why it is this one
	// Problem says why frames are not copied as they should be; "" when they are.
	Problem      string
	Capabilities flood.Capabilities
	Networks     int // in the table
	Repairs      uint64
	Failures     uint64 // attempts to have them copied, or to repair that, which failed
	// Total counts since the process started, packets of no network too; Rest is those alone.
	Total, Rest flood.Count
}

// NetworkStatus is one VNI.
type NetworkStatus struct {
	Engine     string   // "" while nothing is copied
	Interfaces []string // the first is the segment's, where there is one
	Problems   []string
	Count      flood.Count
}

// Status gives what is done now. It asks the engines.
func (m *Manager) Status() Status {
	st := Status{Engines: []EngineStatus{}, Networks: map[evpn.VNI]NetworkStatus{}}
	m.mu.Lock()
	st.HeardVTEPs, st.HeardMACs = m.heardVTEPs, m.heardMACs
	workers := make(map[string]*worker, len(m.workers))
	for device, w := range m.workers {
		workers[device] = w
	}
	for vni, n := range m.intent.vnis {
		if n.cfg == nil {
			continue
		}
		ns := NetworkStatus{Interfaces: []string{}, Problems: []string{}, Count: flood.Count{Dropped: map[flood.Reason]uint64{}}}
		if n.why != "" {
			ns.Problems = append(ns.Problems, n.why)
		}
		for _, p := range n.places {
			if !slices.Contains(ns.Interfaces, p.device) {
				ns.Interfaces = append(ns.Interfaces, p.device)
			}
		}
		st.Networks[vni] = ns
	}
	m.mu.Unlock()
	for _, w := range workers {
		e, counts := w.status()
		for vni, c := range counts {
			if ns, known := st.Networks[vni]; known {
				ns.Count = sum(ns.Count, c)
				st.Networks[vni] = ns
			}
		}
		if e.Networks > 0 || e.Name != "" || e.Problem != "" {
			st.Engines = append(st.Engines, e)
		}
	}
	slices.SortFunc(st.Engines, func(a, b EngineStatus) int { return cmp.Compare(a.Interface, b.Interface) })
	for vni, ns := range st.Networks {
		for _, e := range st.Engines {
			at := slices.Index(ns.Interfaces, e.Interface)
			if at < 0 {
				continue
			}
			if at == 0 {
				ns.Engine = e.Name
			}
			if e.Problem != "" {
				ns.Problems = append(ns.Problems, "flooding on "+e.Interface+": "+e.Problem)
			}
			st.Networks[vni] = ns
		}
	}
	return st
}

// status gives what a worker does, and the counts by VNI.
func (w *worker) status() (st EngineStatus, networks map[evpn.VNI]flood.Count) {
	w.mu.Lock()
	e := w.engine
	st = EngineStatus{Interface: w.device}
	if w.table != nil {
		st.Networks = len(w.table.Networks)
	}
	if e != nil {
		st.Name, st.Reason = w.choice.Name, w.choice.Reason
	}
	now := past{repairs: w.gone.repairs, failures: w.gone.failures, total: w.gone.total, rest: w.gone.rest, networks: map[evpn.VNI]flood.Count{}}
	for vni, c := range w.gone.networks {
		now.networks[vni] = c
	}
	w.mu.Unlock()
	var own flood.Counters
	if e != nil {
		st.Capabilities = e.Capabilities()
		own = e.Counters()
	}
	w.trouble.Count(&own) // what it says comes before what the engine does
	now.add(own)
	st.Total, st.Rest, st.Repairs = sum(now.total, flood.Count{}), sum(now.rest, flood.Count{}), now.repairs
	st.Failures, st.Problem = now.failures, own.Problem
	return st, now.networks
}
