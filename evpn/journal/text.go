package journal

import (
	"fmt"
	"strings"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// RouteText puts a route into one line.
func RouteText(r evpn.Route) string {
	rts := make([]string, len(r.Attrs.RouteTargets))
	for i, rt := range r.Attrs.RouteTargets {
		rts[i] = "rt " + rt.String()
	}
	m := r.Attrs.Mobility
	return words(r.Key.String(), "vni", r.VNI().String(), "nh", r.Attrs.NextHop.String(), strings.Join(rts, " "),
		when(m.Sequence != 0, fmt.Sprintf("seq %d", m.Sequence)), when(m.Sticky, "sticky"), when(r.Attrs.Router, "router"),
		when(r.Attrs.DefaultGateway, "gateway"), when(r.Attrs.LLGRStale, "llgr-stale"), when(r.Attrs.NoLLGR, "no-llgr"),
		tunnelText(r.Attrs), claimText(r.Attrs))
}

// tunnelText says what a PMSI tunnel attribute has beside ingress replication to the next hop.
func tunnelText(a *evpn.Attrs) string {
	p := a.PMSI
	if p == nil {
		return ""
	}
	return words(when(p.Type != evpn.PMSIIngressReplication, fmt.Sprintf("pmsi %d", p.Type)), when(p.Flags != 0, fmt.Sprintf("flags %#x", p.Flags)),
		when(p.Endpoint.IsValid() && p.Endpoint != a.NextHop, "endpoint "+p.Endpoint.String()))
}

func claimText(a *evpn.Attrs) string {
	c := a.Claim
	if c.Group == 0 {
		return ""
	}
	w := []string{fmt.Sprintf("claim %#x", c.Group)}
	for _, s := range a.Segment {
		w = append(w, s.String())
	}
	return words(append(w, relayStates[c.State], when(c.Deliver, "deliver"), when(c.Outlives, "outlives"))...)
}

var relayStates = map[evpn.RelayState]string{
	evpn.RelaysItself: "itself", evpn.RelayReady: "ready", evpn.RelayActive: "active",
	evpn.RelayedFor: "relayed-for",
}

// FloodText puts an entry of a flood list as shown to people into one line.
func FloodText(e evpn.FloodEntry) string {
	return words(string(e.Role), e.VNI.String(), e.VTEP.String(), string(e.Source))
}

// ListText puts an entry of a flood list of the flooding module into one line.
func ListText(e evpn.ListEntry) string {
	return words("list", e.VNI.String(), e.VTEP.String(), listUses[e.Use], string(e.Source))
}

var listUses = map[evpn.ListUse]string{
	evpn.UseCopy: "copy", evpn.UseItself: "itself", evpn.UseService: "service",
}

// RelayText puts what the flooding module does for a VNI into one line.
func RelayText(r evpn.Relay) string {
	elected := ""
	if r.Elected.IsValid() {
		elected = "elected " + r.Elected.String()
	}
	return words("relay", r.VNI.String(), when(r.Own, "own"), when(r.Segment, "segment"), when(r.Deliver, "deliver"),
		when(r.Replicate, "replicate"), elected, when(r.Standby, "standby"))
}

// RowText puts a kernel row into one line.
func RowText(r evpn.Row) string {
	w := []string{r.Kind.String(), r.VNI.String()}
	if !r.RowKey.MAC.IsZero() {
		w = append(w, r.RowKey.MAC.String())
	}
	if r.IP.IsValid() {
		w = append(w, r.IP.String())
	}
	if r.VTEP.IsValid() {
		w = append(w, "at "+r.VTEP.String())
	}
	if !r.RowValue.MAC.IsZero() {
		w = append(w, "is "+r.RowValue.MAC.String())
	}
	return words(words(w...), when(r.Sticky, "sticky"), when(r.Router, "router"))
}

// NoteText puts a note into one line.
func NoteText(n evpn.Note) string {
	w := []string{string(n.Kind)}
	if n.VNI != 0 {
		w = append(w, "vni "+n.VNI.String())
	}
	if !n.MAC.IsZero() {
		w = append(w, "mac "+n.MAC.String())
	}
	if n.IP.IsValid() {
		w = append(w, "ip "+n.IP.String())
	}
	if n.VTEP.IsValid() {
		w = append(w, "vtep "+n.VTEP.String())
	}
	if n.Neighbor.IsValid() {
		w = append(w, "neighbor "+n.Neighbor.String())
	}
	if n.Reason != "" {
		w = append(w, fmt.Sprintf("reason %q", n.Reason))
	}
	if n.Detail != "" {
		w = append(w, fmt.Sprintf("detail %q", n.Detail))
	}
	return words(w...)
}

// RouteInfoText puts a received route and the verdict on it into one line.
func RouteInfoText(i evpn.RouteInfo) string {
	verdict := "best"
	if !i.Best {
		verdict = fmt.Sprintf("ignored %q", i.Reason)
	}
	return words(i.Neighbor.String(), RouteText(i.Route), fmt.Sprintf("imported %v", i.VNIs), when(i.Stale, "stale"),
		when(i.LongLivedStale, "long-lived"), verdict)
}

// MACInfoText puts a MAC into one line.
func MACInfoText(i evpn.MACInfo) string {
	w := []string{i.VNI.String(), i.MAC.String(), string(i.Origin)}
	if i.VTEP.IsValid() {
		w = append(w, "vtep "+i.VTEP.String())
	}
	if i.Port != "" {
		w = append(w, "port "+i.Port)
	}
	if len(i.IPs) > 0 {
		w = append(w, fmt.Sprintf("ips %v", i.IPs))
	}
	return words(words(w...), when(i.Sequence != 0, fmt.Sprintf("seq %d", i.Sequence)), when(i.Sticky, "sticky"), when(i.Gateway, "gateway"),
		when(i.Stale, "stale"), when(i.LongLivedStale, "long-lived"), when(i.Unreachable, "unreachable"),
		when(i.Moves != 0, fmt.Sprintf("moves %d", i.Moves)), when(i.Duplicate, "duplicate"),
		when(len(i.DuplicateIPs) > 0, fmt.Sprintf("duplicate-ips %v", i.DuplicateIPs)))
}

// words joins what is not empty.
func words(ws ...string) string {
	var kept []string
	for _, w := range ws {
		if w != "" {
			kept = append(kept, w)
		}
	}
	return strings.Join(kept, " ")
}

func when(cond bool, w string) string {
	if cond {
		return w
	}
	return ""
}
