package evpn_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"github.com/vtepbgp/vtepbgp/evpn"
)

type addr = netip.Addr

// badWord carries a parse error up to the line that has it.
type badWord struct{ error }

// args reads the words of a line from left to right.
type args struct{ left []string }

func (a *args) more() bool { return len(a.left) > 0 }

func (a *args) word() string {
	if !a.more() {
		panic(badWord{errors.New("a word is missing")})
	}
	w := a.left[0]
	a.left = a.left[1:]
	return w
}

func (a *args) rest() []string {
	w := a.left
	a.left = nil
	return w
}

// option takes the next word when it is w.
func (a *args) option(w string) bool {
	if a.more() && a.left[0] == w {
		a.left = a.left[1:]
		return true
	}
	return false
}

func parse[T any](a *args, f func(string) (T, error)) T {
	v, err := f(a.word())
	if err != nil {
		panic(badWord{err})
	}
	return v
}

// toggle reads "on" or "off".
func (a *args) toggle() bool {
	switch w := a.word(); w {
	case "on", "off":
		return w == "on"
	default:
		panic(badWord{fmt.Errorf("unknown word %q: want on or off", w)})
	}
}

func (a *args) addr() addr              { return parse(a, netip.ParseAddr) }
func (a *args) mac() evpn.MAC           { return parse(a, evpn.ParseMAC) }
func (a *args) vni() evpn.VNI           { return parse(a, evpn.ParseVNI) }
func (a *args) number() int             { return parse(a, strconv.Atoi) }
func (a *args) duration() time.Duration { return parse(a, time.ParseDuration) }

// octet reads a number of any base.
func (a *args) octet() uint64 {
	return parse(a, func(s string) (uint64, error) { return strconv.ParseUint(s, 0, 8) })
}

// claim reads a group, the prefixes of the segment, and a state.
func (a *args) claim(at *evpn.Attrs) {
	at.Claim.Group = evpn.SegmentConfig{Group: a.addr()}.GroupID()
	states := map[string]evpn.RelayState{
		"itself": evpn.RelaysItself, "ready": evpn.RelayReady, "active": evpn.RelayActive, "relayed-for": evpn.RelayedFor,
	}
	for {
		w := a.word()
		if state, known := states[w]; known {
			at.Claim.State = state
			return
		}
		p, err := netip.ParsePrefix(w)
		if err != nil {
			panic(badWord{fmt.Errorf("%q is neither a prefix nor a state", w)})
		}
		at.Segment = append(at.Segment, evpn.NewSegmentPrefix(p))
	}
}

func (a *args) key() evpn.RouteKey {
	var k evpn.RouteKey
	switch kind := a.word(); kind {
	case "mac":
		k = evpn.RouteKey{Type: evpn.MACIPRoute, RD: parse(a, evpn.ParseRD), MAC: a.mac()}
		if a.more() {
			if ip, err := netip.ParseAddr(a.left[0]); err == nil {
				k.IP, a.left = ip, a.left[1:]
			}
		}
	case "imet":
		k = evpn.RouteKey{Type: evpn.IMETRoute, RD: parse(a, evpn.ParseRD), IP: a.addr()}
	case "prefix":
		k = evpn.RouteKey{Type: evpn.IPPrefixRoute, RD: parse(a, evpn.ParseRD)}
		p := parse(a, netip.ParsePrefix)
		k.IP, k.PrefixLen = p.Addr(), uint8(p.Bits())
	default:
		panic(badWord{fmt.Errorf("unknown route type %q", kind)})
	}
	return k
}

func (a *args) route() evpn.Route {
	r := evpn.Route{Key: a.key()}
	at := &evpn.Attrs{LocalPref: 100, Encaps: []uint16{evpn.EncapVXLAN}}
	pmsi := evpn.PMSITunnel{Type: evpn.PMSIIngressReplication}
	noPMSI := r.Key.Type != evpn.IMETRoute
	for a.more() {
		switch opt := a.word(); opt {
		case "vni":
			r.Label = uint32(a.number())
		case "nh":
			at.NextHop = a.addr()
		case "rt":
			at.RouteTargets = append(at.RouteTargets, parse(a, evpn.ParseRouteTarget))
		case "seq":
			at.Mobility.Sequence = uint32(a.number())
		case "sticky":
			at.Mobility.Sticky = true
		case "router":
			at.Router = true
		case "gateway":
			at.DefaultGateway = true
		case "llgr-stale":
			at.LLGRStale = true
		case "no-llgr":
			at.NoLLGR = true
		case "esi":
			r.ESI[9] = byte(a.number())
		case "tag":
			r.Key.Tag = uint32(a.number())
		case "lp":
			at.LocalPref = uint32(a.number())
		case "aslen":
			at.ASPathLen = uint16(a.number())
		case "origin":
			at.Origin = uint8(a.number())
		case "med":
			at.MED = uint32(a.number())
		case "encap":
			at.Encaps = nil
			if !a.option("none") {
				at.Encaps = []uint16{uint16(a.number())}
			}
		case "pmsi":
			if noPMSI = a.option("none"); !noPMSI {
				pmsi.Type = uint8(a.number())
			}
		case "flags":
			pmsi.Flags = uint8(a.octet())
		case "endpoint":
			pmsi.Endpoint = a.addr()
		case "claim":
			a.claim(at)
		case "outlives":
			at.Claim.Outlives = true
		case "deliver":
			at.Claim.Deliver = true
		default:
			panic(badWord{fmt.Errorf("unknown option %q", opt)})
		}
	}
	if !noPMSI {
		pmsi.Label, r.Label = r.Label, 0
		if !pmsi.Endpoint.IsValid() {
			pmsi.Endpoint = at.NextHop
		}
		at.PMSI = &pmsi
	}
	r.Attrs = at
	return r
}
