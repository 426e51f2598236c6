package explain

import (
	"fmt"
	"strings"

	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/api"
	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/kernel"
)

// kernel tells what the kernel holds, and whether that is what follows.
func (c *chain) kernel() {
	var details, refused, differs []string
	pending, silent := false, false
	for _, r := range c.Rows {
		details = append(details, rowLine(r))
		switch {
		case r.State == kernel.Equal, r.State == kernel.Foreign, r.State == kernel.Unconfirmed:
		case r.Pending && r.Table == kernel.LocalTable:
			silent = true
		case r.Pending:
			pending = true
		case r.Err != nil:
			refused = append(refused, fmt.Sprintf("%s: %s", rowName(r), r.Err))
		default:
			differs = append(differs, fmt.Sprintf("%s is %s", rowName(r), r.State))
		}
	}
	switch {
	case len(refused) > 0:
		c.problem("kernel", "the kernel does not keep "+refused[0],
			"see `vtepbgp drift` and the kernel's log; the daemon tries again", details...)
	case len(differs) > 0:
		c.problem("kernel", "the kernel differs from intent: "+strings.Join(differs, ", "), "vtepbgp drift --repair", details...)
	case silent:
		c.warn("kernel", "the bridge has forgotten it, and its host is asked whether it is still there", details...)
	case pending:
		c.warn("kernel", "the kernel's rows are being written", details...)
	case len(c.Rows) == 0 && c.Host.Origin == "":
		c.step("kernel", api.StatusInfo, "the kernel has no row of it")
	case len(c.Rows) == 0:
		c.step("kernel", api.StatusInfo, "no row of it is wanted in the kernel")
	default:
		c.step("kernel", api.StatusOK, "the kernel holds what it should", details...)
	}
}

func rowName(r kernel.Drift) string {
	switch r.Table {
	case kernel.VXLANTable:
		return "the row of device " + r.Link
	case kernel.BridgeTable:
		return "the row of bridge " + r.Link
	case kernel.LocalTable:
		return "what was learned of bridge " + r.Link
	default:
		return fmt.Sprintf("neighbour %s of %s", r.IP, r.Link)
	}
}

func rowLine(r kernel.Drift) string {
	where := map[kernel.Table]string{
		kernel.VXLANTable: "device", kernel.BridgeTable: "bridge", kernel.LocalTable: "bridge", kernel.NeighborTable: "neighbour of",
	}[r.Table]
	text := where + " " + r.Link + ": "
	if r.IP.IsValid() {
		text += r.IP.String() + " "
	}
	switch {
	case r.State == kernel.Foreign && r.Table == kernel.NeighborTable:
		return text + r.Found + ", found by the kernel"
	case r.State == kernel.Equal || r.Found != "" && r.Expected == "":
		text += r.Found
	case r.Found == "":
		text += "nothing, instead of " + r.Expected
	default:
		text += r.Found + ", instead of " + r.Expected
	}
	switch {
	case r.Pending && r.Table != kernel.LocalTable:
		text += " (being written)"
	case r.State != kernel.Equal:
		text += fmt.Sprintf(" (%s)", r.State)
	}
	return text
}

// way tells whether the next hop can be reached.
func (c *chain) way() {
	if !c.Host.VTEP.IsValid() {
		return
	}
	w, known := c.Ways[c.Host.VTEP]
	if !known {
		c.step("underlay", api.StatusInfo, fmt.Sprintf("the way to %s was not looked up yet", c.Host.VTEP))
		return
	}
	c.x.Way = &api.UnderlayOfVTEP{Reachable: w.Reachable, Reason: w.Reason, Device: w.Device, Gateway: w.Gateway, MTUBytes: w.MTU}
	if !w.Reachable {
		c.problem("underlay", fmt.Sprintf("VTEP %s is unreachable%s", c.Host.VTEP, because(w.Reason)), underlayAdvice(c.Host.VTEP.String()))
		return
	}
	text := fmt.Sprintf("VTEP %s is reachable by %s", c.Host.VTEP, w.Device)
	if w.Gateway.IsValid() {
		text += fmt.Sprintf(" via %s", w.Gateway)
	}
	c.step("underlay", api.StatusOK, text)
}

// What VXLAN puts around a frame, less the frame's own Ethernet header that counts
// against the MTU of the device below: outer IP, UDP and VXLAN headers and the inner
// Ethernet header (RFC 7348 §5).
const (
	overheadIPv4 = 50
	overheadIPv6 = 70
)

// mtu tells whether the largest packet of the VNI fits the way.
func (c *chain) mtu() {
	w, known := c.Ways[c.Host.VTEP]
	if !known || !w.Reachable || w.MTU == 0 || c.Link.MTU == 0 {
		return
	}
	overhead := overheadIPv4
	if c.Host.VTEP.Is6() {
		overhead = overheadIPv6
	}
	if need := c.Link.MTU + overhead; need > w.MTU {
		c.problem("mtu", fmt.Sprintf("packets of more than %d octets are lost: device %s takes %d, which need %d, and the way to %s has %d",
			w.MTU-overhead, c.Link.Device, c.Link.MTU, need, c.Host.VTEP, w.MTU),
			fmt.Sprintf("set mtu = %d for VNI %s and its hosts, or give the underlay an MTU of %d", w.MTU-overhead, c.Subject.VNI, need))
		return
	}
	c.step("mtu", api.StatusOK, fmt.Sprintf("packets of %d octets fit: they need %d, the way to %s has %d", c.Link.MTU, c.Link.MTU+overhead, c.Host.VTEP, w.MTU))
}

// suppression tells whether ARP and ND for a remote address are answered here.
func (c *chain) suppression() {
	if c.Host.Origin != evpn.OriginRemote && c.Host.Origin != evpn.OriginStatic && c.Host.Origin != evpn.OriginProxy {
		return
	}
	row := false
	for _, r := range c.Rows {
		row = row || r.Table == kernel.NeighborTable
	}
	if (!c.IP.IsValid() && !row) || c.routesUseless() {
		return
	}
	switch c.Link.SuppressionState {
	case "ready":
		if row { // there is none while a VTEP is lost
			c.step("suppression", api.StatusOK, "ARP and ND for it are answered on this host")
		}
	case "not ready":
		c.warn("suppression", "ARP and ND for it cross the overlay: suppression is not ready", c.Link.SuppressionMissing...)
	default:
		c.step("suppression", api.StatusInfo, "ARP and ND for it cross the overlay: arp_suppression is off")
	}
}

// verdict sums the steps up.
func (c *chain) verdict() {
	x := c.x
	for _, s := range x.Steps {
		switch s.Status {
		case api.StatusProblem:
			if x.Status != api.StatusProblem {
				x.Status, x.Verdict = api.StatusProblem, s.Text
			}
		case api.StatusWarning:
			if x.Status == api.StatusOK {
				x.Status = api.StatusWarning
			}
		}
	}
	if x.Status == api.StatusProblem {
		return
	}
	switch what := c.subject(); x.Origin {
	case evpn.OriginLocal:
		x.Verdict = fmt.Sprintf("%s is on port %s of this host and announced", what, x.Port)
		if l := c.Host.Local; l != nil && l.Gateway {
			x.Verdict = what + " is the anycast gateway of this host and announced"
		}
	default:
		x.Verdict = fmt.Sprintf("%s is behind VTEP %s, and packets to it can go there", what, x.VTEP)
	}
	if len(c.holds) > 0 {
		x.Verdict += "; but " + strings.Join(c.holds, "; ")
	}
}
