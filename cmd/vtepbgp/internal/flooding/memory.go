package flooding

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/vtepbgp/vtepbgp/evpn"
)

const (
	memoryFile = "flooding.json"
	// writeShare has a memory that takes long to write be written less often.
	writeShare = 50
	// writeAgain is when a memory that could not be written is tried again.
	writeAgain = 30 * time.Second
)

// memory is what a restart has to know; its lists are sorted. Damage is no error: all of it can
// be heard and elected again.
type memory struct {
	Active []evpn.VNI   `json:"active"` // for whose segments we copied, and nobody will instead
	VTEPs  []vtepMemory `json:"vteps"`  // heard
	Left   []string     `json:"left"`   // interfaces on which something copies without us
}

type vtepMemory struct {
	VNI  evpn.VNI   `json:"vni"`
	VTEP netip.Addr `json:"vtep"`
	MACs []evpn.MAC `json:"macs"`
}

func readMemory(dir string) (m memory) {
	b, err := os.ReadFile(filepath.Join(dir, memoryFile))
	if err != nil || json.Unmarshal(b, &m) != nil {
		return memory{}
	}
	return m
}

func (mem *memory) write(dir string) error {
	b, err := json.Marshal(mem)
	if err == nil {
		path := filepath.Join(dir, memoryFile)
		if err = os.WriteFile(path+".new", append(b, '\n'), 0o640); err == nil {
			err = os.Rename(path+".new", path)
		}
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", memoryFile, err)
	}
	return nil
}

// Resume takes up what a process before this one left, whose routes the neighbours still
// hold: it gives what the core has to be told before the first session, and keeps what
// copies without a process as it is until Release. It comes before Run.
func (m *Manager) Resume(now time.Time) (events []evpn.Event) {
	for _, vni := range m.memory.Active {
		events = append(events, evpn.RelayRestored{VNI: vni, Active: true, Own: true, Met: true})
	}
	for _, v := range m.memory.VTEPs {
		events = append(events, m.ears.vtep(vtepKey{v.VNI, v.VTEP}, now)...)
		for _, mac := range v.MACs {
			events = append(events, m.ears.mac(macKey{v.VNI, mac}, heardMAC{vtep: v.VTEP, last: now}, now)...)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.held = true
	return events
}

// remember writes down what is new, not too often; at the end, always.
func (m *Manager) remember(end bool) {
	mem := memory{Active: []evpn.VNI{}, Left: []string{}, VTEPs: m.memory.VTEPs}
	m.mu.Lock()
	outlives := m.outlives()
	for vni, n := range m.intent.vnis {
		if n.relay.Segment && (outlives || !n.relay.Standby) {
			mem.Active = append(mem.Active, vni)
		}
	}
	mem.Left = slices.Collect(maps.Keys(m.found))
	for device, w := range m.workers {
		if w.remains() {
			mem.Left = append(mem.Left, device)
		}
	}
	held := m.held
	m.heardVTEPs, m.heardMACs = len(m.ears.vteps), len(m.ears.macs)
	m.mu.Unlock()
	if held {
		mem.Active = m.memory.Active // the core has not decided yet
	}
	slices.Sort(mem.Active)
	slices.Sort(mem.Left)
	same := !m.ears.news && slices.Equal(mem.Active, m.memory.Active) && slices.Equal(mem.Left, m.memory.Left)
	if same || !end && time.Now().Before(m.writeAt) {
		return
	}
	if m.ears.news {
		mem.VTEPs = m.ears.memory()
	}
	begin := time.Now()
	if err := mem.write(m.o.Directory); err != nil {
		m.o.Log.WithError(err).Warn("what a restart has to know could not be written")
		m.writeAt = time.Now().Add(writeAgain)
		return
	}
	m.memory, m.ears.news = mem, false
	m.writeAt = time.Now().Add(writeShare * time.Since(begin))
}

// memory is whom they heard.
func (e *ears) memory() []vtepMemory {
	behind := map[vtepKey][]evpn.MAC{}
	for k := range e.vteps {
		behind[k] = []evpn.MAC{}
	}
	for k, h := range e.macs {
		at := vtepKey{k.vni, h.vtep}
		behind[at] = append(behind[at], k.mac)
	}
	all := make([]vtepMemory, 0, len(behind))
	for k, macs := range behind {
		slices.SortFunc(macs, evpn.MAC.Compare)
		all = append(all, vtepMemory{k.vni, k.vtep, macs})
	}
	slices.SortFunc(all, func(a, b vtepMemory) int { return cmp.Or(cmp.Compare(a.VNI, b.VNI), a.VTEP.Compare(b.VTEP)) })
	return all
}
