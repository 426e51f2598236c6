package daemon

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/api"
	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/flooding"
	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/flood"
)

// appendFloods tells of flood lists: the kernel's, and what only the flooding module knows.
func appendFloods(events []api.Event, h happening) []api.Event {
	tell := func(remove bool, k evpn.ListKey, detail string) {
		kind := api.EventFloodJoined
		if remove {
			kind = api.EventFloodLeft
		}
		who := "VTEP " + k.VTEP.String()
		if k.VTEP.IsMulticast() {
			who = "group " + k.VTEP.String()
		}
		e := newEvent(h.at, kind, slices.DeleteFunc([]string{who, detail}, func(s string) bool { return s == "" })...)
		e.VNI, e.VTEP = k.VNI, k.VTEP
		events = append(events, e)
	}
	told := map[evpn.ListKey]bool{}
	for _, r := range h.rows {
		if r.Kind != evpn.FloodRow {
			continue
		}
		k, detail := evpn.ListKey{VNI: r.VNI, VTEP: r.IP}, "copied by the kernel"
		if r.IP.IsMulticast() {
			detail = "the kernel sends there"
		}
		told[k] = true
		tell(r.Remove, k, detail)
	}
	for _, l := range h.lists {
		if told[l.ListKey] || l.Use == evpn.UseService {
			continue
		}
		detail := fmt.Sprintf("source %s", l.Source)
		switch {
		case l.Remove:
			detail = ""
		case l.Use == evpn.UseItself:
			detail += ", copies its own frames"
		case l.Use == evpn.UseCopy:
			detail += ", copied by the flooding module"
		}
		tell(l.Remove, l.ListKey, detail)
	}
	return events
}

// floodCount is what of flooding is only looked at from time to time.
type floodCount struct {
	engines map[string]flooding.EngineStatus // by interface
	repairs map[netip.Addr]uint64            // of addresses
	drops   map[floodDrop]uint64
}

// floodDrop is of a VNI, or of none on an interface.
type floodDrop struct {
	vni    evpn.VNI
	device string
	reason flood.Reason
}

// daily says of a reason that it is nobody's fault: that is how relays share the work.
func daily(r flood.Reason) bool {
	return r == flood.CopiedBySender || r == flood.NotElected || r == flood.Nobody
}

func countFloods(st flooding.Status, repairs map[netip.Addr]uint64) floodCount {
	c := floodCount{engines: map[string]flooding.EngineStatus{}, repairs: repairs, drops: map[floodDrop]uint64{}}
	for _, e := range st.Engines {
		c.engines[e.Interface] = e
		for reason, count := range e.Rest.Dropped {
			c.drops[floodDrop{device: e.Interface, reason: reason}] = count
		}
	}
	for vni, n := range st.Networks {
		for reason, count := range n.Count.Dropped {
			if !daily(reason) {
				c.drops[floodDrop{vni: vni, reason: reason}] = count
			}
		}
	}
	return c
}

// since tells of engines that changed, and gives one event for each count that grew.
func (c floodCount) since(before floodCount, now time.Time) (events []api.Event) {
	for _, device := range slices.Sorted(maps.Keys(c.engines)) {
		e, was := c.engines[device], before.engines[device]
		if e.Name != was.Name && e.Name != "" {
			events = append(events, newEvent(now, api.EventFloodEngine, fmt.Sprintf("%s on %s", e.Name, device), e.Reason))
		}
		if e.Problem != was.Problem && e.Problem != "" {
			ev := newEvent(now, api.EventFloodProblem, fmt.Sprintf("on %s: %s", device, e.Problem))
			ev.Reason = e.Problem
			events = append(events, ev)
		}
		if n := grown(e.Repairs, was.Repairs); n > 0 {
			ev := newEvent(now, api.EventFloodRepair, fmt.Sprintf("%d on %s", n, device))
			ev.Count = n
			events = append(events, ev)
		}
	}
	for _, a := range slices.SortedFunc(maps.Keys(c.repairs), netip.Addr.Compare) {
		if n := grown(c.repairs[a], before.repairs[a]); n > 0 {
			what := "service address"
			if a.IsMulticast() {
				what = "membership of"
			}
			ev := newEvent(now, api.EventFloodRepair, fmt.Sprintf("%d of the %s %s", n, what, a))
			ev.Count = n
			events = append(events, ev)
		}
	}
	drops := slices.SortedFunc(maps.Keys(c.drops), func(a, b floodDrop) int {
		return cmp.Or(cmp.Compare(a.vni, b.vni), cmp.Compare(a.device, b.device), cmp.Compare(a.reason, b.reason))
	})
	for _, k := range drops {
		if n := grown(c.drops[k], before.drops[k]); n > 0 {
			text := fmt.Sprintf("%d for %s", n, k.reason)
			if k.device != "" {
				text += " on " + k.device
			}
			e := newEvent(now, api.EventFloodDropped, text)
			e.VNI, e.Reason, e.Count = k.vni, k.reason.String(), n
			events = append(events, e)
		}
	}
	return events
}
