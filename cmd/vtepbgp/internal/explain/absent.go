package explain

import (
	"fmt"

	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/api"
	"github.com/vtepbgp/vtepbgp/evpn"
)

// Missing explains a MAC or IP address that no VNI knows, or not the one asked for.
func Missing(a Absent) api.Explanation {
	c := chain{x: &api.Explanation{
		VNI: a.VNI, IP: a.IP, Status: api.StatusProblem,
		Advice: []string{}, Steps: []api.Step{}, Routes: []api.RouteVerdict{}, Rows: []api.Drift{},
	}}
	if !a.MAC.IsZero() {
		c.x.MAC = a.MAC.String()
	}
	what := name(a.MAC, a.IP)
	scope := "any VNI"
	if a.VNI != 0 {
		scope = "VNI " + a.VNI.String()
	}
	c.step("seen", api.StatusInfo, fmt.Sprintf("not seen on a port of this host in %s", scope))
	c.elsewhere(a)
	for _, v := range a.KnownIn {
		c.problem("vni", fmt.Sprintf("VNI %s knows it, VNI %s does not", v, a.VNI), fmt.Sprintf("vtepbgp explain %s --vni %s", what, v))
	}
	if a.IsVTEP {
		c.problem("vtep", what+" is the address of a VTEP, not of a host behind one", "vtepbgp vtep show")
	}
	if a.Flood != nil {
		c.flooded(*a.Flood)
	}
	c.sessions(a)
	c.x.Verdict = fmt.Sprintf("nobody has announced %s, and no port here has seen it", what)
	for _, s := range c.x.Steps {
		if s.Status == api.StatusProblem {
			c.x.Verdict = s.Text
			return *c.x
		}
	}
	c.step("nobody", api.StatusProblem, c.x.Verdict)
	if a.IP.IsValid() {
		c.advise("does the host speak? An address is learned from ARP, ND or DHCP where arp_suppression is on: ping something from it")
		return *c.x
	}
	c.advise("does the host speak? A MAC is learned from its first frame: see `bridge fdb` on the VTEP where it should be")
	return *c.x
}

// elsewhere tells of routes that name it for VNIs that are not here.
func (c *chain) elsewhere(a Absent) {
	if len(a.Elsewhere) == 0 {
		c.step("routes", api.StatusInfo, "no neighbour announces "+name(a.MAC, a.IP))
		return
	}
	var details []string
	for _, r := range a.Elsewhere {
		details = append(details, routeLine(evpn.Candidate{RouteInfo: r, Verdict: evpn.Verdict{Reason: r.Reason}}))
	}
	r := a.Elsewhere[0]
	targets := ""
	if r.Attrs != nil && len(r.Attrs.RouteTargets) > 0 {
		targets = ", with route targets " + joined(r.Attrs.RouteTargets)
	}
	c.problem("routes", fmt.Sprintf("it is announced for VNI %s%s, which no VNI here imports", r.VNI(), targets),
		fmt.Sprintf("configure VNI %s here, or take the host to a VNI that is", r.VNI()), details...)
}

// sessions tells whether the neighbours had a chance to say anything.
func (c *chain) sessions(a Absent) {
	up, shed := 0, 0
	for _, n := range a.Neighbors {
		if n.Established {
			up++
		}
		shed += n.Shed
	}
	text := fmt.Sprintf("%d of %s established", up, plural(len(a.Neighbors), "neighbour"))
	if up == 0 && len(a.Neighbors) > 0 {
		c.problem("neighbors", text+", so nobody can tell", "see `vtepbgp neighbor show`")
		return
	}
	c.step("neighbors", api.StatusInfo, text)
	if shed > 0 {
		c.step("shed", api.StatusInfo, fmt.Sprintf("%s no VNI here imports were counted but not kept: one of them may name it", plural(shed, "route")+" that"))
	}
}
