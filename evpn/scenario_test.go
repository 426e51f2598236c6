package evpn_test

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/evpn/journal"
)

var update = flag.Bool("update", false, "rewrite the golden files of the scenarios")

// TestScenarios plays every folder of testdata/scenarios: about.txt says which rule it
// proves, events.txt is the story (see scenarioWords for the language), or
// recording.jsonl what happened somewhere (`vtepbgp replay --scenario` writes such a
// folder), and transcript.golden is what the core answered.
func TestScenarios(t *testing.T) {
	dirs, err := filepath.Glob("testdata/scenarios/*")
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(dirs), 25)
	for _, dir := range dirs {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			about, err := os.ReadFile(filepath.Join(dir, "about.txt"))
			require.NoError(t, err)
			assert.Contains(t, string(about), "RFC", "about.txt names what it proves")
			s := newScenario(t)
			story, err := os.ReadFile(filepath.Join(dir, "events.txt"))
			if errors.Is(err, fs.ErrNotExist) {
				s.playRecording(filepath.Join(dir, "recording.jsonl"))
			} else {
				require.NoError(t, err)
				require.NoError(t, s.play(story))
			}
			golden := filepath.Join(dir, "transcript.golden")
			if *update {
				require.NoError(t, os.WriteFile(golden, s.out.Bytes(), 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			assert.Equal(t, string(want), s.out.String())
		})
	}
}

// TestScenarioLanguage holds the parser to refusing what it does not know.
func TestScenarioLanguage(t *testing.T) {
	for _, line := range []string{
		"loca-mac 100 02:00:00:00:00:01 veth1",
		"local-mac 100 02:00:00:00:00:01 veth1 stiky",
		"local-mac 100 02:00:00:00:00",
		"route 10.0.0.254 mac 10.0.0.2:2 02:00:00:00:00:01 vni 100 nh 10.0.0.2 sequence 3",
		"route 10.0.0.254 mac 10.0.0.2:2 02:00:00:00:00:01 vni",
		"vni 100 rd 10.0.0.1:100 mtu 1500",
		"at soon",
		"up 100 now",
		"drain all",
	} {
		assert.Error(t, newScenario(t).play([]byte(line)), line)
	}
}

// scenario is a core, the story told so far, and the sum of all changes.
type scenario struct {
	t    *testing.T
	cfg  evpn.Config
	core *evpn.Core
	now  time.Time
	sum  *ledger
	out  bytes.Buffer

	transcript *journal.Transcript
}

func newScenario(t *testing.T) *scenario {
	s := &scenario{t: t, now: start, sum: newLedger(), cfg: evpn.Config{Duplicate: evpn.DefaultDuplicate}}
	s.transcript = journal.NewTranscript(&s.out, start)
	return s
}

// playRecording plays what was recorded, and checks the sum of changes as it goes.
func (s *scenario) playRecording(name string) {
	f, err := os.Open(name)
	require.NoError(s.t, err)
	defer func() { _ = f.Close() }() // was only read
	r, err := journal.NewReader(f)
	require.NoError(s.t, err)
	p := journal.NewReplay(r)
	s.core = p.Core()
	require.NoError(s.t, p.Transcribe(&s.out, false, s.check))
}

func (s *scenario) play(story []byte) error {
	lines := bufio.NewScanner(bytes.NewReader(story))
	for n := 1; lines.Scan(); n++ {
		text, _, _ := strings.Cut(lines.Text(), "#")
		if f := strings.Fields(text); len(f) > 0 {
			if err := s.line(f); err != nil {
				return fmt.Errorf("line %d: %s: %w", n, strings.Join(f, " "), err)
			}
		}
	}
	return lines.Err()
}

// scenarioWords is the language: one event a line, '#' starts a comment.
//
//	vtep A|none | duplicate MOVES WINDOW RECOVERY | stale-time D | neighbor-limit NB N
//	unreachable keep|remove | service A|none | learn-from-data on|off | resume on|off
//	vni N [rd RD] [export RT]... [import TARGET]... [flooding M] [max-macs N]
//	    [static-vtep A]... [static-mac MAC VTEP IP|-]... [no-suppression]
//	    [group A] [segment PREFIX]... [proxy-vteps] [proxy-macs] [deliver unicast|multicast]
//	no-vni N                       these change the configuration that ...
//	apply                          ... hands over
//	up VNI | down VNI [REASON...]
//	local-mac VNI MAC PORT [sticky] [gateway] | local-mac-gone VNI MAC
//	local-ip VNI IP MAC [router] [SOURCE]     | local-ip-gone VNI IP MAC
//	route NB mac RD MAC [IP] OPTION... | route NB imet RD IP OPTION...
//	route NB prefix RD PREFIX OPTION...
//	    OPTION: vni N, nh A, rt RT, seq N, sticky, router, esi N, tag N, lp N, aslen N,
//	    origin N, med N, encap N|none, pmsi N|none, flags N, endpoint A, gateway, llgr-stale, no-llgr,
//	    claim SEGMENT itself|ready|active, deliver
//	withdraw NB mac|imet RD MAC|IP [IP]
//	neighbor-up NB [kept] [kept-long] | neighbor-down NB [graceful D [long D]]
//	neighbor-removed NB | eor NB | reachable A | unreachable-vtep A [REASON...]
//	clear-duplicate VNI [MAC]
//	heard VNI VTEP | silent VNI VTEP | mac-heard VNI MAC VTEP [age D] | mac-silent VNI MAC VTEP
//	relayed VNI [active]           before a restart | synced: nobody waits for neighbours any longer
//	at D                           the clock, since the start
//	tick | drain | show            show prints the whole state and every route's reason
var scenarioWords = map[string]func(s *scenario, a *args){
	"vtep": func(s *scenario, a *args) {
		if s.cfg.VTEP = (addr{}); !a.option("none") {
			s.cfg.VTEP = a.addr()
		}
	},
	"duplicate": func(s *scenario, a *args) {
		s.cfg.Duplicate = evpn.DuplicateConfig{Moves: a.number(), Window: a.duration(), Recovery: a.duration()}
	},
	"unreachable": func(s *scenario, a *args) { s.cfg.Unreachable = evpn.UnreachablePolicy(a.word()) },
	"stale-time":  func(s *scenario, a *args) { s.cfg.StaleTime = a.duration() },
	"service": func(s *scenario, a *args) {
		if s.cfg.Service = (addr{}); !a.option("none") {
			s.cfg.Service = a.addr()
		}
	},
	"learn-from-data": func(s *scenario, a *args) { s.cfg.LearnFromData = a.toggle() },
	"resume":          func(s *scenario, a *args) { s.cfg.Resume = a.toggle() },
	"neighbor-limit": func(s *scenario, a *args) {
		limits := map[addr]int{}
		for k, v := range s.cfg.NeighborLimits {
			limits[k] = v
		}
		limits[a.addr()] = a.number()
		s.cfg.NeighborLimits = limits
	},
	"vni":    (*scenario).vni,
	"no-vni": func(s *scenario, a *args) { s.removeVNI(a.vni()) },
	"apply": func(s *scenario, _ *args) {
		if s.core == nil {
			s.core = evpn.New(s.cfg)
			return
		}
		s.handle(evpn.ConfigReplaced{Config: s.cfg})
	},
	"up": func(s *scenario, a *args) { s.handle(evpn.VNIState{VNI: a.vni(), Up: true}) },
	"down": func(s *scenario, a *args) {
		ev := evpn.VNIState{VNI: a.vni()}
		ev.Reason = strings.Join(a.rest(), " ")
		s.handle(ev)
	},
	"local-mac": func(s *scenario, a *args) {
		s.handle(evpn.LocalMACLearned{VNI: a.vni(), MAC: a.mac(), Port: a.word(), Sticky: a.option("sticky"), Gateway: a.option("gateway")})
	},
	"local-mac-gone": func(s *scenario, a *args) { s.handle(evpn.LocalMACGone{VNI: a.vni(), MAC: a.mac()}) },
	"local-ip": func(s *scenario, a *args) {
		ev := evpn.LocalIPLearned{VNI: a.vni(), IP: a.addr(), MAC: a.mac(), Router: a.option("router")}
		if a.more() {
			ev.Source = a.word()
		}
		s.handle(ev)
	},
	"local-ip-gone": func(s *scenario, a *args) {
		s.handle(evpn.LocalIPGone{VNI: a.vni(), IP: a.addr(), MAC: a.mac()})
	},
	"route": func(s *scenario, a *args) {
		nb := a.addr()
		s.handle(evpn.RoutesReceived{Neighbor: nb, Announced: []evpn.Route{a.route()}})
	},
	"withdraw": func(s *scenario, a *args) {
		nb := a.addr()
		s.handle(evpn.RoutesReceived{Neighbor: nb, Withdrawn: []evpn.RouteKey{a.key()}})
	},
	"neighbor-up": func(s *scenario, a *args) {
		s.handle(evpn.NeighborUp{Neighbor: a.addr(), EndOfRIB: !a.option("no-eor"), KeptForwarding: a.option("kept"), KeptLongLived: a.option("kept-long")})
	},
	"neighbor-down": func(s *scenario, a *args) {
		ev := evpn.NeighborDown{Neighbor: a.addr()}
		if ev.Graceful = a.option("graceful"); ev.Graceful {
			ev.StaleTime = a.duration()
		}
		if a.option("long") {
			ev.LongLived = a.duration()
		}
		s.handle(ev)
	},
	"neighbor-removed": func(s *scenario, a *args) { s.handle(evpn.NeighborRemoved{Neighbor: a.addr()}) },
	"eor":              func(s *scenario, a *args) { s.handle(evpn.EndOfRIB{Neighbor: a.addr()}) },
	"reachable":        func(s *scenario, a *args) { s.handle(evpn.NextHopState{VTEP: a.addr(), Reachable: true}) },
	"unreachable-vtep": func(s *scenario, a *args) {
		s.handle(evpn.NextHopState{VTEP: a.addr(), Reason: strings.Join(a.rest(), " ")})
	},
	"own-vtep": func(s *scenario, a *args) {
		s.handle(evpn.NextHopState{VTEP: a.addr(), Reason: "the address is on this host", Own: true})
	},
	"clear-duplicate": func(s *scenario, a *args) {
		ev := evpn.DuplicateCleared{VNI: a.vni()}
		if a.more() {
			ev.MAC = a.mac()
		}
		s.handle(ev)
	},
	"heard":  func(s *scenario, a *args) { s.handle(evpn.VTEPHeard{VNI: a.vni(), VTEP: a.addr()}) },
	"silent": func(s *scenario, a *args) { s.handle(evpn.VTEPSilent{VNI: a.vni(), VTEP: a.addr()}) },
	"mac-heard": func(s *scenario, a *args) {
		ev := evpn.MACHeard{VNI: a.vni(), MAC: a.mac(), VTEP: a.addr()}
		if a.option("age") {
			ev.Age = a.duration()
		}
		s.handle(ev)
	},
	"mac-silent": func(s *scenario, a *args) {
		s.handle(evpn.MACSilent{VNI: a.vni(), MAC: a.mac(), VTEP: a.addr()})
	},
	"relayed": func(s *scenario, a *args) {
		s.handle(evpn.RelayRestored{VNI: a.vni(), Own: true, Met: true, Active: a.option("active")})
	},
	"engine-outlives": func(s *scenario, a *args) { s.handle(evpn.EngineState{Outlives: a.toggle()}) },
	"synced":          func(s *scenario, _ *args) { s.handle(evpn.SyncRestored{}) },
	"at": func(s *scenario, a *args) {
		s.now = start.Add(a.duration())
		s.transcript.At(s.now)
	},
	"tick":  func(s *scenario, _ *args) { s.handle(evpn.Tick{}) },
	"drain": func(s *scenario, _ *args) { s.drain() },
	"show":  func(s *scenario, _ *args) { s.transcript.Show(s.core) },
}

func (s *scenario) line(f []string) (err error) {
	do := scenarioWords[f[0]]
	if do == nil {
		return fmt.Errorf("unknown word %q", f[0])
	}
	if s.core == nil && f[0] != "apply" && !configWords[f[0]] {
		s.core = evpn.New(s.cfg)
	}
	a := &args{left: f[1:]}
	defer func() {
		switch r := recover().(type) {
		case nil:
		case badWord:
			err = r.error
		default:
			panic(r)
		}
	}()
	do(s, a)
	if a.more() {
		return fmt.Errorf("unknown word %q", a.left[0])
	}
	return nil
}

// configWords only prepare a configuration. The first word that is none of them
// makes the core.
var configWords = map[string]bool{
	"vtep": true, "unreachable": true, "duplicate": true, "stale-time": true, "neighbor-limit": true, "vni": true, "no-vni": true,
	"service": true, "learn-from-data": true, "resume": true,
}

func (s *scenario) vni(a *args) {
	v := vniConfig(a.vni(), s.cfg.VTEP)
	var export []evpn.RouteTarget
	var imports []evpn.ImportTarget
	for a.more() {
		switch opt := a.word(); opt {
		case "rd":
			v.RD = parse(a, evpn.ParseRD)
		case "export":
			export = append(export, parse(a, evpn.ParseRouteTarget))
		case "import":
			imports = append(imports, parse(a, evpn.ParseImportTarget))
		case "flooding":
			v.Flooding = evpn.FloodMode(a.word())
		case "max-macs":
			v.MaxMACs = a.number()
		case "group":
			v.Segment.Group = a.addr()
		case "segment":
			v.Segment.Prefixes = append(v.Segment.Prefixes, parse(a, netip.ParsePrefix))
		case "proxy-vteps":
			v.Segment.ProxyVTEPs = true
		case "proxy-macs":
			v.Segment.ProxyMACs = true
		case "deliver":
			v.Segment.Delivery = evpn.SegmentDelivery(a.word())
		case "no-suppression":
			v.Suppression = false
		case "static-vtep":
			v.StaticVTEPs = append(v.StaticVTEPs, a.addr())
		case "static-mac":
			m := evpn.StaticMAC{MAC: a.mac(), VTEP: a.addr()}
			if !a.option("-") {
				m.IP = a.addr()
			}
			v.StaticMACs = append(v.StaticMACs, m)
		default:
			panic(badWord{fmt.Errorf("unknown option %q", opt)})
		}
	}
	if export != nil {
		v.Export = export
	}
	if imports != nil {
		v.Import = imports
	}
	s.removeVNI(v.VNI)
	s.cfg.VNIs = append(s.cfg.VNIs, v)
}

func (s *scenario) removeVNI(vni evpn.VNI) {
	var kept []evpn.VNIConfig
	for _, v := range s.cfg.VNIs {
		if v.VNI != vni {
			kept = append(kept, v)
		}
	}
	s.cfg.VNIs = kept
}

func (s *scenario) handle(ev evpn.Event) { s.core.Handle(ev, s.now) }

// drain prints the changes, adds them up, and checks the sum.
func (s *scenario) drain() {
	ch := s.core.Drain(s.now)
	s.transcript.Changes(ch)
	s.check(ch)
}

func (s *scenario) check(ch evpn.Changes) {
	s.sum.apply(s.t, ch)
	assert.Equal(s.t, s.core.Desired(), s.sum.desired(), "sum of changes is the desired state")
}
