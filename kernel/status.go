package kernel

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/kernel/snoop"
)

// VNIStatus is what the kernel side of one VNI looks like.
type VNIStatus struct {
	VNI         evpn.VNI
	Device      string
	Bridge      string
	DeviceIndex int  // 0 = not there or unusable
	BridgeIndex int  // 0 = not there, or the device is not in it
	MTU         int  // of the device
	Managed     bool // we created the device
	Up          bool
	Reason      string   // why not up
	Problems    []string // never nil
	Ports       []string // of the bridge, without the device; never nil

	SuppressionState   string   // whether ARP and ND are answered here: "ready", "not ready", "off"
	SuppressionMissing []string // why not ready, and what to do; never nil

	LocalMACs int
	Wanted    int // rows asked for
	Failing   int // rows that the kernel refuses
}

// Status lists the configured VNIs in order.
func (k *Kernel) Status() []VNIStatus {
	k.mu.Lock()
	defer k.mu.Unlock()
	failing, example := map[evpn.VNI]int{}, map[evpn.VNI]string{}
	for key, f := range k.failures {
		if text := rowError(key, f.err).Error(); failing[key.VNI] == 0 || text < example[key.VNI] {
			example[key.VNI] = text
		}
		failing[key.VNI]++
	}
	out := []VNIStatus{}
	for _, vni := range slices.Sorted(maps.Keys(k.instances)) {
		in := k.instances[vni]
		if !in.configured {
			continue
		}
		st := VNIStatus{
			VNI: vni, Device: in.cfg.Device, Bridge: in.cfg.Bridge,
			DeviceIndex: int(in.device), BridgeIndex: int(in.bridge),
			MTU: in.state.mtu, Managed: in.state.managed,
			Up: in.state.up, Reason: in.state.reason,
			Problems: append([]string{}, in.state.problems...), Ports: append([]string{}, in.state.ports...),
			LocalMACs: in.localMACs,
			Wanted:    in.wantedFloods + in.wantedMACs + in.wantedNeighbors,
			Failing:   failing[vni],
		}
		st.SuppressionState, st.SuppressionMissing = k.suppression(in)
		if st.Up && len(st.SuppressionMissing) > 0 {
			st.Problems = append(st.Problems, "ARP and ND suppression is not ready: "+strings.Join(st.SuppressionMissing, "; "))
		}
		if text := k.mtuProblem(in); st.Up && text != "" {
			st.Problems = append(st.Problems, text)
		}
		if text := k.sourceProblem(in); st.Up && text != "" {
			st.Problems = append(st.Problems, text)
		}
		if st.Failing > 0 {
			st.Problems = append(st.Problems, fmt.Sprintf("the kernel refuses %d rows: %s", st.Failing, example[vni]))
		}
		for _, n := range k.bindings.Notices(vni, time.Now()) {
			st.Problems = append(st.Problems, k.noticeText(n))
		}
		out = append(out, st)
	}
	return out
}

func rowError(key evpn.RowKey, err error) error {
	switch key.Kind {
	case evpn.MACRow:
		return fmt.Errorf("write MAC %s of VNI %s: %w", key.MAC, key.VNI, err)
	case evpn.FloodRow:
		return fmt.Errorf("write flood row %s of VNI %s: %w", key.IP, key.VNI, err)
	default:
		return fmt.Errorf("write neighbour %s of VNI %s: %w", key.IP, key.VNI, err)
	}
}

// Stats counts since the start of the process.
type Stats struct {
	// Writes by "set" and "delete".
	Writes map[string]*WriteStats
	// Resyncs are full reads by reason: "start", "config", "lost", "closed",
	// "write", "periodic", "repair".
	Resyncs map[string]uint64
	// ResyncChanges are rows that a read for another reason than start or
	// configuration found changed without an event.
	ResyncChanges uint64
	Batches       uint64
	Events        uint64
	Echoes        uint64 // events that told what was known
	Lost          uint64 // reports of dropped events
	Repairs       uint64 // rows put back after somebody else changed them
	Pending       int    // rows waiting to be written
	Failing       int    // rows that the kernel refuses, to be tried again

	Heard    map[string]uint64 // packets on access ports by kind
	Bindings snoop.Stats       // local IPs from such packets
	Wire     snoop.WireStats
	// Suppression counts what the bridges kept to themselves, by what it was and what
	// became of it.
	Suppression snoop.ProxyStats

	// Addresses are the service addresses and memberships that we want and the host has.
	Addresses int
	// AddressRepairs are those put back after somebody removed them, how often.
	AddressRepairs map[netip.Addr]uint64

	Underlay UnderlayStats
}

// WriteStats counts results of one kind of write.
type WriteStats struct {
	OK      uint64
	Already uint64 // the goal was reached before: EEXIST, ENOENT
	Failed  uint64
}

func newStats() Stats {
	s := Stats{Writes: map[string]*WriteStats{"set": {}, "delete": {}}, Resyncs: map[string]uint64{}, Heard: map[string]uint64{}}
	for _, kind := range snoop.Kinds() {
		s.Heard[kind.String()] = 0
	}
	return s
}

// Stats gives a copy of the counters.
func (k *Kernel) Stats() Stats {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.stats
	s.Writes = map[string]*WriteStats{}
	for op, w := range k.stats.Writes {
		c := *w
		s.Writes[op] = &c
	}
	s.Resyncs = maps.Clone(k.stats.Resyncs)
	s.Heard = maps.Clone(k.stats.Heard)
	s.Bindings = k.bindings.Stats()
	if k.wire != nil {
		s.Wire = k.wire.Stats()
	}
	s.Suppression = k.proxy.Stats()
	s.Pending = k.pending.len()
	s.Failing = len(k.failures)
	s.Addresses, s.AddressRepairs = k.addressStats.there, maps.Clone(k.addressStats.repairs)
	s.Underlay = k.underlay.counters()
	return s
}
