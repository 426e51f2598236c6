package explain_test

import (
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/api"
	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/explain"
	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/kernel"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var (
	now   = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	here  = ip("10.0.0.1")
	vtep2 = ip("10.0.0.2")
	vtep3 = ip("10.0.0.3")
	rr    = ip("10.0.0.254")
	rr2   = ip("10.0.0.253")
	host  = evpn.MAC{2, 5: 0xb}
	addr  = ip("192.0.2.5")
)

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

// story is a VTEP to which things happen, told to a real core.
type story struct {
	cfg   evpn.Config
	core  *evpn.Core
	facts explain.Facts
	at    time.Time
}

func newStory(edit func(*evpn.VNIConfig)) *story {
	rt, _ := evpn.AutoRouteTarget(65000, 100)
	vni := evpn.VNIConfig{
		VNI: 100, RD: evpn.RDFromRouterID(here, 1), Flooding: evpn.FloodIngress, Suppression: true,
		Export: []evpn.RouteTarget{rt}, Import: []evpn.ImportTarget{{AnyAdmin: true, Number: 100}},
	}
	if edit != nil {
		edit(&vni)
	}
	s := &story{cfg: evpn.Config{VTEP: here, VNIs: []evpn.VNIConfig{vni}, Duplicate: evpn.DefaultDuplicate}, at: now}
	s.core = evpn.New(s.cfg)
	s.facts = explain.Facts{
		Duplicate: evpn.DefaultDuplicate, Now: now,
		Link:      kernel.VNIStatus{VNI: 100, Device: "vxlan100", Bridge: "br100", MTU: 1450, Up: true, SuppressionState: "ready"},
		Neighbors: []explain.Neighbor{{Address: rr, Established: true}, {Address: rr2, Established: true}},
		Flood:     explain.Flooding{Engine: "ebpf"},
		Ways: map[netip.Addr]explain.Way{
			vtep2: {Reachable: true, Device: "eth1", MTU: 1500}, vtep3: {Reachable: true, Device: "eth1", Gateway: ip("10.0.0.250"), MTU: 1500},
		},
	}
	return s.tell(evpn.VNIState{VNI: 100, Up: true}, evpn.NeighborUp{Neighbor: rr, EndOfRIB: true}, evpn.NeighborUp{Neighbor: rr2, EndOfRIB: true})
}

func (s *story) tell(events ...evpn.Event) *story {
	for _, e := range events {
		s.core.Handle(e, s.at)
		s.core.Drain(s.at)
	}
	return s
}

// route is a type-2 route of the host at a VTEP.
func route(from, nh netip.Addr, edit func(*evpn.Route, *evpn.Attrs)) evpn.Event {
	rt, _ := evpn.AutoRouteTarget(65000, 100)
	a := evpn.Attrs{NextHop: nh, RouteTargets: []evpn.RouteTarget{rt}, Encaps: []uint16{evpn.EncapVXLAN}, LocalPref: 100}
	r := evpn.Route{Key: evpn.RouteKey{Type: evpn.MACIPRoute, RD: evpn.RDFromRouterID(nh, 1), MAC: host}, Label: 100, Attrs: &a}
	if edit != nil {
		edit(&r, &a)
	}
	return evpn.RoutesReceived{Neighbor: from, Announced: []evpn.Route{r}}
}

func sequence(n uint32) func(*evpn.Route, *evpn.Attrs) {
	return func(_ *evpn.Route, a *evpn.Attrs) { a.Mobility.Sequence = n }
}

func withIP(r *evpn.Route, _ *evpn.Attrs) { r.Key.IP = addr }

// installed are the rows of a remote host as the kernel should hold them.
func installed(to netip.Addr) []kernel.Drift {
	self, bridge := "dst "+to.String()+" extern_learn", "dev vxlan100 extern_learn"
	return []kernel.Drift{
		{Table: kernel.VXLANTable, VNI: 100, Link: "vxlan100", MAC: host, State: kernel.Equal, Expected: self, Found: self},
		{Table: kernel.BridgeTable, VNI: 100, Link: "br100", MAC: host, State: kernel.Equal, Expected: bridge, Found: bridge},
	}
}

func neighbor() kernel.Drift {
	words := "lladdr " + host.String() + " extern_learn NOARP proto 229"
	return kernel.Drift{Table: kernel.NeighborTable, VNI: 100, Link: "br100", IP: addr, State: kernel.Equal, Expected: words, Found: words}
}

func onPort() []kernel.Drift {
	return []kernel.Drift{{Table: kernel.LocalTable, VNI: 100, Link: "br100", MAC: host, State: kernel.Equal, Expected: "dev eth2", Found: "dev eth2"}}
}

// explainMAC and explainIP do what the daemon does.
func (s *story) explainMAC(t *testing.T, rows ...kernel.Drift) api.Explanation {
	f := s.facts
	ok := false
	f.MAC, f.Rows, f.Now = host, rows, s.at
	f.Subject, ok = s.core.Explain(100, host)
	require.True(t, ok)
	f.Host = f.Subject
	s.flooding(&f)
	return explain.Chain(f)
}

func (s *story) explainIP(t *testing.T, rows ...kernel.Drift) api.Explanation {
	f := s.facts
	ok := false
	f.IP, f.Rows, f.Now = addr, rows, s.at
	f.Subject, ok = s.core.ExplainIP(100, addr)
	require.True(t, ok)
	f.Host, _ = s.core.Explain(100, explain.HostOf(f.Subject))
	s.flooding(&f)
	return explain.Chain(f)
}

// old is a VTEP of the segment that runs no EVPN.
var old = ip("10.0.1.77")

func onSegment(v *evpn.VNIConfig) {
	v.Flooding = evpn.FloodMulticast
	v.Segment = evpn.SegmentConfig{
		Group: ip("239.1.1.100"), Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.1.0/24")}, ProxyVTEPs: true, ProxyMACs: true,
	}
}

func assisted(v *evpn.VNIConfig) { v.Flooding = evpn.FloodAssisted }

// forOthers is a route that nobody imports.
func forOthers(_ *evpn.Route, a *evpn.Attrs) {
	rt, _ := evpn.AutoRouteTarget(65000, 200)
	a.RouteTargets = []evpn.RouteTarget{rt}
}

// list is a type-3 route, with flags that of a replicator.
func list(vtep netip.Addr, flags uint8) evpn.Event {
	rt, _ := evpn.AutoRouteTarget(65000, 100)
	pmsi := &evpn.PMSITunnel{Type: evpn.PMSIIngressReplication, Flags: flags, Label: 100, Endpoint: vtep}
	if flags == evpn.PMSIFlagsReplicatorAR {
		pmsi.Type = evpn.PMSIAssistedReplication
	}
	return evpn.RoutesReceived{Neighbor: rr, Announced: []evpn.Route{{
		Key:   evpn.RouteKey{Type: evpn.IMETRoute, RD: evpn.RDFromRouterID(vtep, 1), IP: vtep},
		Attrs: &evpn.Attrs{NextHop: vtep, RouteTargets: []evpn.RouteTarget{rt}, Encaps: []uint16{evpn.EncapVXLAN}, LocalPref: 100, PMSI: pmsi},
	}}}
}

// settled lets the neighbours end their tables, and the core's timers pass.
func (s *story) settled() *story {
	s.tell(evpn.EndOfRIB{Neighbor: rr}, evpn.EndOfRIB{Neighbor: rr2})
	for range 5 {
		s.at = s.at.Add(time.Second)
		s.tell(evpn.Tick{})
	}
	return s
}

// flooding adds what the core says of flooding; the engine is the story's.
func (s *story) flooding(f *explain.Facts) {
	i := s.core.VNIs()[0]
	f.Flood.Mode, f.Flood.Group, f.Flood.Relay, f.Flood.VTEPs = i.Flooding, i.Segment.Group, i.Relay, s.core.Flood(100)
}

// text is the explanation as one reads it.
func text(x api.Explanation) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", x.Status, x.Verdict)
	for _, a := range x.Advice {
		fmt.Fprintf(&b, "to do: %s\n", a)
	}
	for _, s := range x.Steps {
		fmt.Fprintf(&b, "%-8s %-12s %s\n", s.Status, s.Step, s.Text)
		for _, d := range s.Details {
			fmt.Fprintf(&b, "%24s%s\n", "", d)
		}
	}
	return b.String()
}

// TestStories: what is said in each situation, whole, in a golden file; and its key
// sentence here.
func TestStories(t *testing.T) {
	for _, c := range []struct {
		name    string
		explain func(*testing.T) api.Explanation
		status  string
		verdict string
		advice  string
	}{
		{"remote", func(t *testing.T) api.Explanation {
			return newStory(nil).tell(route(rr, vtep2, nil), route(rr2, vtep2, nil)).explainMAC(t, installed(vtep2)...)
		}, "ok", "02:00:00:00:00:0b is behind VTEP 10.0.0.2, and packets to it can go there", ""},
		{"remote ip", func(t *testing.T) api.Explanation {
			s := newStory(nil).tell(route(rr, vtep2, nil), route(rr, vtep2, withIP))
			return s.explainIP(t, append(installed(vtep2), neighbor())...)
		}, "ok", "192.0.2.5 is behind VTEP 10.0.0.2, and packets to it can go there", ""},
		{"local", func(t *testing.T) api.Explanation {
			s := newStory(nil).tell(route(rr, vtep2, sequence(4)), evpn.LocalMACLearned{VNI: 100, MAC: host, Port: "eth2"},
				evpn.LocalIPLearned{VNI: 100, MAC: host, IP: addr, Source: "arp"})
			return s.explainMAC(t, onPort()...)
		}, "ok", "02:00:00:00:00:0b is on port eth2 of this host and announced", ""},
		{"local ip", func(t *testing.T) api.Explanation {
			s := newStory(nil).tell(evpn.LocalMACLearned{VNI: 100, MAC: host, Port: "eth2"},
				evpn.LocalIPLearned{VNI: 100, MAC: host, IP: addr, Source: "dhcp"})
			return s.explainIP(t, onPort()...)
		}, "ok", "192.0.2.5 is on port eth2 of this host and announced", ""},
		{"ip without mac", func(t *testing.T) api.Explanation {
			return newStory(nil).tell(evpn.LocalIPLearned{VNI: 100, MAC: host, IP: addr, Source: "kernel"}).explainIP(t)
		}, "problem", "no host here or elsewhere has it", "let the host send something: it is learned from its frames"},
		{"silent", func(t *testing.T) api.Explanation {
			rows := onPort()
			rows[0].State, rows[0].Found, rows[0].Pending = kernel.Missing, "", true
			return newStory(nil).tell(evpn.LocalMACLearned{VNI: 100, MAC: host, Port: "eth2"}).explainMAC(t, rows...)
		}, "warning", "02:00:00:00:00:0b is on port eth2 of this host and announced; but the bridge has forgotten it, and its host is asked whether it is still there", ""},
		{"no session", func(t *testing.T) api.Explanation {
			s := newStory(nil).tell(evpn.LocalMACLearned{VNI: 100, MAC: host, Port: "eth2"})
			s.facts.Neighbors = []explain.Neighbor{{Address: rr}}
			return s.explainMAC(t, onPort()...)
		}, "problem", "1 route announced to 0 of 1 neighbour: no session is established", "see `vtepbgp neighbor show`"},
		{"election", func(t *testing.T) api.Explanation {
			return newStory(nil).tell(route(rr, vtep2, sequence(3)), route(rr, vtep3, sequence(5)), route(rr2, vtep3, sequence(5)),
				route(rr, ip("10.0.0.4"), sequence(5))).explainMAC(t, installed(vtep3)...)
		}, "ok", "02:00:00:00:00:0b is behind VTEP 10.0.0.3, and packets to it can go there", ""},
		{"wrong route target", func(t *testing.T) api.Explanation {
			return newStory(nil).tell(route(rr, vtep2, func(_ *evpn.Route, a *evpn.Attrs) {
				rt, _ := evpn.AutoRouteTarget(65000, 200)
				a.RouteTargets = []evpn.RouteTarget{rt}
			})).explainMAC(t)
		}, "problem", "no route for it can be used: no VNI imports its route targets 65000:200", "add 65000:200 to import_rt of VNI 100, or change what 10.0.0.2 exports"},
		{"wrong label", func(t *testing.T) api.Explanation {
			s := newStory(nil).tell(route(rr, vtep2, func(r *evpn.Route, _ *evpn.Attrs) { r.Label = 300 }))
			for i := range byte(15) {
				s.tell(list(netip.AddrFrom4([4]byte{10, 0, 2, i}), 0))
			}
			return s.explainMAC(t)
		}, "problem", "no route for it can be used: it names VNI 300", "let 10.0.0.2 and this host use the same VNI, or take its route target out of import_rt of VNI 100"},
		{"faulty", func(t *testing.T) api.Explanation {
			return newStory(nil).tell(route(rr, vtep2, func(_ *evpn.Route, a *evpn.Attrs) { a.Encaps = []uint16{10} })).explainMAC(t)
		}, "problem", "no route for it can be used: encapsulation is not VXLAN", "correct it at 10.0.0.2, which announces it"},
		{"own route comes back", func(t *testing.T) api.Explanation {
			return newStory(nil).tell(route(rr, here, nil)).explainMAC(t)
		}, "problem", "no host has it; neighbours still hold our own route of before", "let the host send something: it is learned from its frames"},
		{"address used twice", func(t *testing.T) api.Explanation {
			return newStory(nil).tell(route(rr, here, func(r *evpn.Route, _ *evpn.Attrs) { r.Key.RD = evpn.RDFromRouterID(vtep2, 1) })).explainMAC(t)
		}, "problem", "it is announced behind our own address 10.0.0.1, by a route distinguisher that is not ours (10.0.0.2:1)", "look for a second VTEP with the address 10.0.0.1"},
		{"another address of ours", func(t *testing.T) api.Explanation {
			return newStory(nil).tell(route(rr, vtep2, nil), evpn.NextHopState{VTEP: vtep2, Reason: "the address is on this host", Own: true}).explainMAC(t)
		}, "problem", "it is announced behind our own address 10.0.0.2, by a route distinguisher that is not ours (10.0.0.2:1)", "look for a second VTEP with the address 10.0.0.2"},
		{"ip of no use", func(t *testing.T) api.Explanation {
			s := newStory(nil).tell(route(rr, vtep2, nil), route(rr, vtep2, func(r *evpn.Route, a *evpn.Attrs) {
				rt, _ := evpn.AutoRouteTarget(65000, 200)
				r.Key.IP, a.RouteTargets = addr, []evpn.RouteTarget{rt}
			}))
			return s.explainIP(t, installed(vtep2)...)
		}, "warning", "192.0.2.5 is behind VTEP 10.0.0.2, and packets to it can go there; but no route for the address can be used: no VNI imports its route targets 65000:200",
			"add 65000:200 to import_rt of VNI 100, or change what 10.0.0.2 exports"},
		{"ip of another mac", func(t *testing.T) api.Explanation {
			s := newStory(nil).tell(route(rr, vtep2, withIP), route(rr, vtep2, func(r *evpn.Route, _ *evpn.Attrs) {
				r.Key.MAC, r.Key.IP = evpn.MAC{2, 5: 0xa}, addr
			}))
			return s.explainMAC(t, installed(vtep2)...)
		}, "ok", "02:00:00:00:00:0b is behind VTEP 10.0.0.2, and packets to it can go there", ""},
		{"proxy", func(t *testing.T) api.Explanation {
			s := newStory(onSegment).tell(evpn.VTEPHeard{VNI: 100, VTEP: old}, evpn.MACHeard{VNI: 100, MAC: host, VTEP: old}).settled()
			s.facts.Ways[old] = explain.Way{Reachable: true, Device: "eth1", MTU: 1500}
			return s.explainMAC(t, installed(old)...)
		}, "ok", "02:00:00:00:00:0b is behind VTEP 10.0.1.77, and packets to it can go there", ""},
		{"flooded to a group", func(t *testing.T) api.Explanation {
			return newStory(onSegment).tell(list(vtep2, 0), list(vtep3, 0), route(rr, vtep2, forOthers)).settled().explainMAC(t)
		}, "problem", "no route for it can be used: no VNI imports its route targets 65000:200", "add 65000:200 to import_rt of VNI 100, or change what 10.0.0.2 exports"},
		{"flooded to a group only", func(t *testing.T) api.Explanation {
			return newStory(onSegment).tell(list(vtep2, 0), route(rr, vtep2, forOthers)).explainMAC(t)
		}, "problem", "no route for it can be used: no VNI imports its route targets 65000:200", "add 65000:200 to import_rt of VNI 100, or change what 10.0.0.2 exports"},
		{"flooded without an engine", func(t *testing.T) api.Explanation {
			s := newStory(onSegment).tell(list(vtep2, 0), route(rr, vtep2, forOthers)).settled()
			s.facts.Flood.Engine = ""
			return s.explainMAC(t)
		}, "problem", "no route for it can be used: no VNI imports its route targets 65000:200", "add 65000:200 to import_rt of VNI 100, or change what 10.0.0.2 exports"},
		{"flooded to a replicator", func(t *testing.T) api.Explanation {
			return newStory(assisted).tell(list(vtep2, 0), list(ip("10.255.0.1"), evpn.PMSIFlagsReplicatorAR), route(rr, vtep2, forOthers)).settled().explainMAC(t)
		}, "problem", "no route for it can be used: no VNI imports its route targets 65000:200", "add 65000:200 to import_rt of VNI 100, or change what 10.0.0.2 exports"},
		{"flooded without a replicator", func(t *testing.T) api.Explanation {
			return newStory(assisted).tell(list(vtep2, 0), list(vtep3, 0), route(rr, vtep2, forOthers)).settled().explainMAC(t)
		}, "problem", "no route for it can be used: no VNI imports its route targets 65000:200", "add 65000:200 to import_rt of VNI 100, or change what 10.0.0.2 exports"},
		{"flooded to nobody", func(t *testing.T) api.Explanation {
			return newStory(func(v *evpn.VNIConfig) { v.Flooding = evpn.FloodOff }).tell(list(vtep2, 0), route(rr, vtep2, forOthers)).explainMAC(t)
		}, "problem", "no route for it can be used: no VNI imports its route targets 65000:200", "add 65000:200 to import_rt of VNI 100, or change what 10.0.0.2 exports"},
		{"unreachable kept", func(t *testing.T) api.Explanation {
			s := newStory(nil).tell(route(rr, vtep2, nil), evpn.NextHopState{VTEP: vtep2, Reason: "no route"})
			s.facts.Ways[vtep2] = explain.Way{Reason: "no route"}
			return s.explainMAC(t, installed(vtep2)...)
		}, "problem", "VTEP 10.0.0.2 is unreachable (no route)", "mend the underlay: `ip route get 10.0.0.2`"},
		{"unreachable removed", func(t *testing.T) api.Explanation {
			s := newStory(nil)
			s.cfg.Unreachable = evpn.UnreachableRemove
			s.tell(evpn.ConfigReplaced{Config: s.cfg}, route(rr, vtep2, nil), evpn.NextHopState{VTEP: vtep2, Reason: "link eth1 is down"})
			return s.explainMAC(t)
		}, "problem", "no route for it can be used: next hop 10.0.0.2 is unreachable (link eth1 is down)", "mend the underlay: `ip route get 10.0.0.2`"},
		{"frozen", func(t *testing.T) api.Explanation {
			s := newStory(nil)
			for i := uint32(0); i < 10 && !frozen(s); i++ {
				s.at = s.at.Add(time.Second)
				s.tell(evpn.LocalMACLearned{VNI: 100, MAC: host, Port: "eth2"})
				s.at = s.at.Add(time.Second)
				s.tell(route(rr, vtep2, sequence(2*i+9)))
			}
			s.at = s.at.Add(time.Minute)
			return s.explainMAC(t, installed(vtep2)...)
		}, "problem", "the MAC was frozen at 10.0.0.2 as duplicate 1m0s ago, after 5 moves; it thaws in 29m0s", "find the loop or the second host with this MAC, then: vtepbgp mac clear-duplicate --vni 100 02:00:00:00:00:0b"},
		{"frozen ip", func(t *testing.T) api.Explanation {
			s, other := newStory(nil), evpn.MAC{2, 5: 0xc}
			s.tell(evpn.LocalMACLearned{VNI: 100, MAC: host, Port: "eth2"})
			for i := uint32(0); i < 10; i++ {
				s.at = s.at.Add(time.Second)
				s.tell(evpn.LocalIPGone{VNI: 100, MAC: host, IP: addr}, evpn.LocalIPLearned{VNI: 100, MAC: host, IP: addr, Source: "arp"})
				s.at = s.at.Add(time.Second)
				s.tell(route(rr, vtep2, func(r *evpn.Route, a *evpn.Attrs) {
					r.Key.MAC, r.Key.IP, a.Mobility.Sequence = other, addr, 2*i+9
				}))
			}
			return s.explainIP(t)
		}, "problem", "the address was frozen at 10.0.0.2 as duplicate 14s ago, after 5 moves; it thaws in 29m46s", "find the loop or the second host with this address, then: vtepbgp mac clear-duplicate --vni 100 02:00:00:00:00:0c"},
		{"moved", func(t *testing.T) api.Explanation {
			return newStory(nil).tell(evpn.LocalMACLearned{VNI: 100, MAC: host, Port: "eth2"}, route(rr, vtep2, sequence(1))).explainMAC(t, installed(vtep2)...)
		}, "ok", "02:00:00:00:00:0b is behind VTEP 10.0.0.2, and packets to it can go there", ""},
		{"vni down", func(t *testing.T) api.Explanation {
			s := newStory(nil).tell(evpn.LocalMACLearned{VNI: 100, MAC: host, Port: "eth2"}, evpn.VNIState{VNI: 100, Reason: "device vxlan100 does not exist"})
			return s.explainMAC(t, onPort()...)
		}, "problem", "VNI 100 is down: device vxlan100 does not exist", "bring VNI 100 up: create what is missing, or set manage = true"},
		{"over limit", func(t *testing.T) api.Explanation {
			s := newStory(func(v *evpn.VNIConfig) { v.MaxMACs = 1 })
			return s.tell(route(rr, vtep3, func(r *evpn.Route, _ *evpn.Attrs) { r.Key.MAC = evpn.MAC{2} }), route(rr, vtep2, nil)).explainMAC(t)
		}, "problem", "VNI 100 has all of its 1 remote MACs (max_macs), so there is no place for it", "raise max_macs of VNI 100, or find out who announces so many: vtepbgp vtep show"},
		{"sticky", func(t *testing.T) api.Explanation {
			return newStory(nil).tell(route(rr, vtep3, func(_ *evpn.Route, a *evpn.Attrs) { a.Mobility.Sticky = true }), route(rr, vtep2, sequence(7))).
				explainMAC(t, installed(vtep3)...)
		}, "ok", "02:00:00:00:00:0b is behind VTEP 10.0.0.3, and packets to it can go there", ""},
		{"stale", func(t *testing.T) api.Explanation {
			return newStory(nil).tell(route(rr, vtep2, nil), evpn.NeighborDown{Neighbor: rr, Graceful: true, StaleTime: time.Minute}).
				explainMAC(t, installed(vtep2)...)
		}, "warning", "02:00:00:00:00:0b is behind VTEP 10.0.0.2, and packets to it can go there; but neighbour 10.0.0.254 restarts: its route is kept until it is back or its time is over", ""},
		{"long-lived stale", func(t *testing.T) api.Explanation {
			s := newStory(nil).tell(route(rr, vtep2, nil), evpn.NeighborDown{Neighbor: rr, Graceful: true, StaleTime: time.Minute, LongLived: time.Hour})
			s.at = s.at.Add(2 * time.Minute)
			return s.tell(evpn.Tick{}).explainMAC(t, installed(vtep2)...)
		}, "warning", "02:00:00:00:00:0b is behind VTEP 10.0.0.2, and packets to it can go there; but neighbour 10.0.0.254 is away for long: its route is kept for want of a better one", ""},
		{"static", func(t *testing.T) api.Explanation {
			s := newStory(func(v *evpn.VNIConfig) { v.StaticMACs = []evpn.StaticMAC{{MAC: host, VTEP: vtep3}} })
			return s.tell(evpn.LocalMACLearned{VNI: 100, MAC: host, Port: "eth2"}, route(rr, vtep2, nil)).explainMAC(t, installed(vtep3)...)
		}, "ok", "02:00:00:00:00:0b is behind VTEP 10.0.0.3, and packets to it can go there", ""},
		{"gateway", func(t *testing.T) api.Explanation {
			s := newStory(nil).tell(evpn.LocalMACLearned{VNI: 100, MAC: host, Port: "br100", Gateway: true},
				route(rr, vtep2, func(_ *evpn.Route, a *evpn.Attrs) { a.DefaultGateway = true }))
			return s.explainMAC(t)
		}, "ok", "02:00:00:00:00:0b is the anycast gateway of this host and announced", ""},
		{"kernel refuses", func(t *testing.T) api.Explanation {
			rows := installed(vtep2)
			rows[0].State, rows[0].Found, rows[0].Err = kernel.Missing, "", errors.New("no space left on device")
			return newStory(nil).tell(route(rr, vtep2, nil)).explainMAC(t, rows...)
		}, "problem", "the kernel does not keep the row of device vxlan100: no space left on device", "see `vtepbgp drift` and the kernel's log; the daemon tries again"},
		{"kernel differs", func(t *testing.T) api.Explanation {
			rows := installed(vtep2)
			rows[0].State, rows[0].Found = kernel.Wrong, "dst 10.0.0.3 extern_learn"
			rows[1].State, rows[1].Found = kernel.Missing, ""
			return newStory(nil).tell(route(rr, vtep2, nil)).explainMAC(t, rows...)
		}, "problem", "the kernel differs from intent: the row of device vxlan100 is wrong, the row of bridge br100 is missing", "vtepbgp drift --repair"},
		{"pending", func(t *testing.T) api.Explanation {
			rows := installed(vtep2)
			rows[0].State, rows[0].Found, rows[0].Pending = kernel.Missing, "", true
			return newStory(nil).tell(route(rr, vtep2, nil)).explainMAC(t, rows...)
		}, "warning", "02:00:00:00:00:0b is behind VTEP 10.0.0.2, and packets to it can go there; but the kernel's rows are being written", ""},
		{"mtu", func(t *testing.T) api.Explanation {
			s := newStory(nil).tell(route(rr, vtep2, nil))
			s.facts.Link.MTU = 1500
			return s.explainMAC(t, installed(vtep2)...)
		}, "problem", "packets of more than 1450 octets are lost: device vxlan100 takes 1500, which need 1550, and the way to 10.0.0.2 has 1500", "set mtu = 1450 for VNI 100 and its hosts, or give the underlay an MTU of 1550"},
		{"suppression not ready", func(t *testing.T) api.Explanation {
			s := newStory(nil).tell(route(rr, vtep2, nil), route(rr, vtep2, withIP))
			s.facts.Link.SuppressionState, s.facts.Link.SuppressionMissing = "not ready", []string{"neigh_suppress is off on vxlan100"}
			return s.explainIP(t, append(installed(vtep2), neighbor())...)
		}, "warning", "192.0.2.5 is behind VTEP 10.0.0.2, and packets to it can go there; but ARP and ND for it cross the overlay: suppression is not ready", ""},
		{"unknown", func(*testing.T) api.Explanation {
			return explain.Missing(explain.Absent{MAC: host, Neighbors: []explain.Neighbor{{Address: rr, Established: true, Shed: 12}, {Address: rr2}}})
		}, "problem", "nobody has announced 02:00:00:00:00:0b, and no port here has seen it", "does the host speak? A MAC is learned from its first frame: see `bridge fdb` on the VTEP where it should be"},
		{"unknown ip", func(*testing.T) api.Explanation {
			return explain.Missing(explain.Absent{IP: addr, VNI: 100, Neighbors: []explain.Neighbor{{Address: rr, Established: true}}})
		}, "problem", "nobody has announced 192.0.2.5, and no port here has seen it", "does the host speak? An address is learned from ARP, ND or DHCP where arp_suppression is on: ping something from it"},
		{"vtep", func(*testing.T) api.Explanation {
			return explain.Missing(explain.Absent{IP: vtep2, IsVTEP: true, Neighbors: []explain.Neighbor{{Address: rr, Established: true}}})
		}, "problem", "10.0.0.2 is the address of a VTEP, not of a host behind one", "vtepbgp vtep show"},
		{"unknown without session", func(*testing.T) api.Explanation {
			return explain.Missing(explain.Absent{MAC: host, Neighbors: []explain.Neighbor{{Address: rr}}})
		}, "problem", "0 of 1 neighbour established, so nobody can tell", "see `vtepbgp neighbor show`"},
		{"another vni", func(*testing.T) api.Explanation {
			return explain.Missing(explain.Absent{MAC: host, VNI: 200, KnownIn: []evpn.VNI{100}, Neighbors: []explain.Neighbor{{Address: rr, Established: true}}})
		}, "problem", "VNI 100 knows it, VNI 200 does not", "vtepbgp explain 02:00:00:00:00:0b --vni 100"},
		{"vni not here", func(*testing.T) api.Explanation {
			s := newStory(nil).tell(route(rr, vtep2, func(r *evpn.Route, a *evpn.Attrs) {
				rt, _ := evpn.AutoRouteTarget(65000, 300)
				r.Label, a.RouteTargets = 300, []evpn.RouteTarget{rt}
			}))
			a := explain.Absent{MAC: host, Neighbors: []explain.Neighbor{{Address: rr, Established: true}}}
			s.core.Routes(func(i evpn.RouteInfo) bool {
				if i.Neighbor.IsValid() {
					a.Elsewhere = append(a.Elsewhere, i)
				}
				return true
			})
			return explain.Missing(a)
		}, "problem", "it is announced for VNI 300, with route targets 65000:300, which no VNI here imports", "configure VNI 300 here, or take the host to a VNI that is"},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := c.explain(t)
			assert.Equal(t, c.status, x.Status)
			assert.Equal(t, c.verdict, x.Verdict)
			assert.Equal(t, c.advice, strings.Join(x.Advice, "; "))
			got := text(x)
			file := filepath.Join("testdata", strings.ReplaceAll(c.name, " ", "_")+".golden")
			if *update {
				require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
			}
			want, err := os.ReadFile(file)
			require.NoError(t, err)
			assert.Equal(t, string(want), got)
		})
	}
}

func frozen(s *story) bool {
	x, ok := s.core.Explain(100, host)
	return ok && x.Freeze != nil
}

// TestComparisons: each rule of the election has its words, with what both have there.
func TestComparisons(t *testing.T) {
	for by, want := range map[evpn.Criterion]string{
		evpn.ByGateway:   "lost: the MAC is our own anycast gateway",
		evpn.ByLongLived: "lost: it is long-lived stale, the other is not",
		evpn.BySticky:    "lost: it is not sticky, the other is",
		evpn.BySequence:  "lost: sequence 3 is lower than 5",
		evpn.ByNextHop:   "lost: next hop 3 is higher than 5",
		evpn.ByOutdated:  "lost: its neighbour restarts, and another has a fresh copy",
		evpn.ByStale:     "lost: it is stale, the other is not",
		evpn.ByLocalPref: "lost: local preference 3 is lower than 5",
		evpn.ByASPath:    "lost: AS path of 3 is longer than 5",
		evpn.ByOrigin:    "lost: origin 3 is worse than 5",
		evpn.ByMED:       "lost: MED 3 is higher than 5",
		evpn.ByNeighbor:  "lost: a copy; neighbour 3 is higher than 5",
		evpn.ByKey:       "lost: equal to 5, which comes first in order",
		"":               "lost: another route is better",
	} {
		c := evpn.Candidate{Verdict: evpn.Verdict{Reason: evpn.LosesElection, By: by, Mine: "3", Theirs: "5"}}
		assert.Equal(t, want, explain.Verdict(c))
	}
	local := evpn.Candidate{Verdict: evpn.Verdict{Reason: evpn.LosesToLocal, By: evpn.BySequence, Mine: "1", Theirs: "2"}}
	assert.Equal(t, "lost to the local host: sequence 1 is lower than 2", explain.Verdict(local))
}

// The statuses that steps use are those of the API.
func TestStatuses(t *testing.T) {
	x := newStory(nil).tell(route(rr, vtep2, nil)).explainMAC(t, installed(vtep2)...)
	for _, s := range x.Steps {
		assert.True(t, slices.Contains([]string{api.StatusOK, api.StatusInfo, api.StatusWarning, api.StatusProblem}, s.Status), s)
		assert.NotNil(t, s.Details)
	}
}
