package explain

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/api"
	"github.com/vtepbgp/vtepbgp/evpn"
)

// chain is an explanation in the making. Steps come in the order of cause and effect,
// so that the first problem is the one to solve first.
type chain struct {
	Facts
	x     *api.Explanation
	holds []string // what is wrong with it, though not fatal
}

// Chain explains one MAC or IP address in one VNI that knows it. It fills in all but
// the routes and rows, which the caller has in the form of the API.
func Chain(f Facts) api.Explanation {
	c := chain{Facts: f, x: &api.Explanation{
		VNI: f.Subject.VNI, IP: f.IP, Origin: f.Host.Origin, VTEP: f.Host.VTEP,
		Status: api.StatusOK, Advice: []string{}, Steps: []api.Step{}, Routes: []api.RouteVerdict{}, Rows: []api.Drift{},
	}}
	if mac := f.Host.MAC; !mac.IsZero() {
		c.x.MAC = mac.String()
	}
	if l := f.Host.Local; l != nil {
		c.x.Port = l.Port
	}
	c.vni()
	c.seen()
	c.static()
	c.freeze()
	c.routes()
	c.limit()
	c.owner()
	if c.Host.Origin == "" && c.Subject.Up {
		c.flooded(c.Flood)
	}
	c.announced()
	c.kernel()
	c.way()
	c.mtu()
	c.suppression()
	c.verdict()
	return *c.x
}

func (c *chain) step(name, status, text string, details ...string) {
	if details == nil {
		details = []string{}
	}
	c.x.Steps = append(c.x.Steps, api.Step{Step: name, Status: status, Text: text, Details: details})
}

// problem is a step that tells what is wrong and what to do.
func (c *chain) problem(name, text, advice string, details ...string) {
	c.step(name, api.StatusProblem, text, details...)
	c.advise(advice)
}

func (c *chain) advise(text string) {
	if text != "" && !slices.Contains(c.x.Advice, text) {
		c.x.Advice = append(c.x.Advice, text)
	}
}

func (c *chain) subject() string { return name(c.MAC, c.IP) }

func (c *chain) vni() {
	links := fmt.Sprintf("device %s in bridge %s", c.Link.Device, c.Link.Bridge)
	switch {
	case !c.Subject.Up:
		reason := c.Subject.DownReason
		if reason == "" {
			reason = "its links were not looked at yet"
		}
		c.problem("vni", fmt.Sprintf("VNI %s is down: %s", c.Subject.VNI, reason), "bring VNI "+c.Subject.VNI.String()+" up: "+downAdvice(reason))
	case len(c.Link.Problems) > 0:
		c.step("vni", api.StatusWarning, fmt.Sprintf("VNI %s is up with problems: %s", c.Subject.VNI, links), c.Link.Problems...)
	default:
		c.step("vni", api.StatusOK, fmt.Sprintf("VNI %s is up: %s", c.Subject.VNI, links))
	}
}

func downAdvice(reason string) string {
	switch {
	case strings.Contains(reason, "does not exist"):
		return "create what is missing, or set manage = true"
	case strings.HasSuffix(reason, "is down"):
		return "set the link up"
	case strings.Contains(reason, "not on this host"):
		return "give the host the VTEP address, or change vtep.address"
	default:
		return "see `vtepbgp vni show`"
	}
}

// seen tells where this host saw it.
func (c *chain) seen() {
	l := c.Host.Local
	if l == nil {
		l = c.Subject.Local
	}
	if h := c.heard(); h.IsValid() {
		c.step("heard", api.StatusInfo, fmt.Sprintf("VTEP %s of the segment sends its frames to the group", h))
	}
	if l == nil {
		c.step("seen", api.StatusInfo, "not seen on a port of this host")
		return
	}
	var details []string
	for _, i := range l.IPs {
		if !c.IP.IsValid() || i.IP == c.IP {
			details = append(details, localIP(i))
		}
	}
	if l.Port == "" {
		c.step("seen", api.StatusWarning, fmt.Sprintf("a host here says that it is %s, but no port has the MAC", l.MAC), details...)
		return
	}
	text := fmt.Sprintf("seen on port %s of bridge %s", l.Port, c.Link.Bridge)
	switch {
	case l.Gateway:
		text = fmt.Sprintf("the anycast gateway: bridge %s itself", c.Link.Bridge)
	case l.Sticky:
		text += ", pinned there (sticky)"
	}
	c.step("seen", api.StatusInfo, text, details...)
}

// heard is the VTEP of the segment that sends frames of it.
func (c *chain) heard() netip.Addr {
	if c.Host.Heard.IsValid() {
		return c.Host.Heard
	}
	return c.Subject.Heard
}

func (c *chain) static() {
	if s := c.Host.Static; s != nil {
		c.step("static", api.StatusInfo, fmt.Sprintf("configured as static_mac behind %s: nothing else counts", s.VTEP))
	}
}

// freeze tells of moves, and of what moved too often.
func (c *chain) freeze() {
	what := "MAC"
	if c.IP.IsValid() {
		c.moved("address", c.Subject)
		what = c.Host.MAC.String()
	}
	c.moved(what, c.Host)
}

func (c *chain) moved(what string, x evpn.Explanation) {
	f := x.Freeze
	if f == nil {
		if n := len(x.Moves); n > 0 {
			c.step("moves", api.StatusInfo, fmt.Sprintf("the %s moved %s in the last %s; %d would freeze it",
				what, plural(n, "time"), c.Duplicate.Window, c.Duplicate.Moves))
		}
		return
	}
	where := "here"
	if f.VTEP.IsValid() {
		where = "at " + f.VTEP.String()
	}
	text := fmt.Sprintf("the %s was frozen %s as duplicate %s ago, after %s", what, where, ago(c.Now, f.At), plural(len(x.Moves), "move"))
	if !f.Until.IsZero() {
		text += fmt.Sprintf("; it thaws in %s", ago(c.Now, f.Until))
	}
	var moves []string
	for _, m := range x.Moves {
		moves = append(moves, "moved "+m.UTC().Format(time.DateTime)+" UTC")
	}
	c.problem("duplicate", text, fmt.Sprintf("find the loop or the second host with this %s, then: vtepbgp mac clear-duplicate --vni %s %s",
		what, c.Subject.VNI, c.Host.MAC), moves...)
}

func (c *chain) routes() {
	list := c.Subject.Candidates
	if len(list) == 0 {
		c.step("routes", api.StatusInfo, "no neighbour announces "+c.subject())
		return
	}
	from, used := map[netip.Addr]bool{}, 0
	var details []string
	for _, r := range list {
		from[r.Neighbor] = true
		if r.Verdict.Reason == "" {
			used++
		}
		line := routeLine(r)
		if c.withoutIP(r) {
			line += " for the MAC, but its address is not"
		}
		details = append(details, line)
	}
	c.step("routes", api.StatusInfo, fmt.Sprintf("%s from %s, %d in use", plural(len(list), "route"), plural(len(from), "neighbour"), used), details...)
	best := list[0]
	if c.Host.Origin != evpn.OriginRemote || best.Verdict.Reason != "" {
		return
	}
	switch {
	case best.LongLivedStale:
		c.warn("stale", fmt.Sprintf("neighbour %s is away for long: its route is kept for want of a better one", best.Neighbor))
	case best.Stale:
		c.warn("stale", fmt.Sprintf("neighbour %s restarts: its route is kept until it is back or its time is over", best.Neighbor))
	}
}

// withoutIP reports a route that gives the MAC that was asked for a place, while the IP
// that it names is another MAC's.
func (c *chain) withoutIP(r evpn.Candidate) bool {
	return !c.IP.IsValid() && r.Verdict.Reason == "" && r.Key.IP.IsValid() && c.Link.SuppressionState == "ready" &&
		!slices.ContainsFunc(c.Subject.Rows, func(row evpn.Row) bool { return row.Kind == evpn.NeighborRow && row.IP == r.Key.IP })
}

func (c *chain) warn(name, text string, details ...string) {
	c.step(name, api.StatusWarning, text, details...)
	c.holds = append(c.holds, text)
}

func (c *chain) limit() {
	if l := c.Host.Limit; l.Over {
		c.problem("limit", fmt.Sprintf("VNI %s has all of its %d remote MACs (max_macs), so there is no place for it", c.Subject.VNI, l.Max),
			fmt.Sprintf("raise max_macs of VNI %s, or find out who announces so many: vtepbgp vtep show", c.Subject.VNI))
	}
}

// owner tells who has it, or why nobody does.
func (c *chain) owner() {
	what := "it"
	if c.IP.IsValid() && !c.Host.MAC.IsZero() {
		what = c.Host.MAC.String()
	}
	switch c.Host.Origin {
	case evpn.OriginLocal:
		c.step("owner", api.StatusOK, what+" is local"+c.sequence())
	case evpn.OriginRemote:
		c.step("owner", api.StatusOK, fmt.Sprintf("%s is behind VTEP %s", what, c.Host.VTEP))
	case evpn.OriginStatic:
		c.step("owner", api.StatusOK, fmt.Sprintf("%s is behind VTEP %s by configuration", what, c.Host.VTEP))
	case evpn.OriginProxy:
		c.step("owner", api.StatusOK, fmt.Sprintf("%s is behind VTEP %s, which runs no EVPN: we speak for it", what, c.Host.VTEP))
	default:
		c.nobody()
		return
	}
	c.unbound()
}

// unbound tells of an IP whose routes are of no use although the MAC they name has a
// place.
func (c *chain) unbound() {
	if !c.routesUseless() || c.Host.Freeze != nil || c.Subject.Freeze != nil {
		return
	}
	text, advice := unused(c.Subject.VNI, c.Subject.Candidates[0])
	c.warn("address", fmt.Sprintf("no route for the address can be used: %s", text))
	c.advise(advice)
}

// routesUseless reports that an IP was asked for, and that nothing but routes which are
// not used tells whose it is.
func (c *chain) routesUseless() bool {
	return c.IP.IsValid() && c.Subject.Local == nil && c.Subject.Static == nil &&
		!slices.ContainsFunc(c.Subject.Candidates, func(r evpn.Candidate) bool { return r.Verdict.Reason == "" })
}

func (c *chain) sequence() string {
	if l := c.Host.Local; l != nil && l.Sequence > 0 {
		return fmt.Sprintf(", with sequence %d", l.Sequence)
	}
	return ""
}

func (c *chain) nobody() {
	if !c.Subject.Up || c.Host.Limit.Over || c.Host.Freeze != nil || c.Subject.Freeze != nil {
		return // told already
	}
	list := c.Subject.Candidates
	foreign := slices.IndexFunc(list, func(r evpn.Candidate) bool {
		return r.Verdict.Reason != evpn.OwnNextHop && r.Verdict.Reason != evpn.OwnService && r.Verdict.Reason != evpn.OwnRoute
	})
	if foreign < 0 {
		text := "no host here or elsewhere has it"
		if len(list) > 0 {
			text = "no host has it; neighbours still hold our own route of before"
		}
		if i := slices.IndexFunc(list, func(r evpn.Candidate) bool { return r.Key.RD != c.Subject.RD }); i >= 0 {
			r := list[i]
			c.problem("owner", fmt.Sprintf("it is announced behind our own address %s, by a route distinguisher that is not ours (%s)",
				r.Attrs.NextHop, r.Key.RD), fmt.Sprintf("look for a second VTEP with the address %s", r.Attrs.NextHop))
			return
		}
		c.problem("owner", text, "let the host send something: it is learned from its frames")
		return
	}
	r := list[foreign]
	text, advice := unused(c.Subject.VNI, r)
	c.problem("owner", "no route for it can be used: "+text, advice)
}

// unused says why a route is not used, and what to do about it.
func unused(vni evpn.VNI, r evpn.Candidate) (text, advice string) {
	sender := fmt.Sprint(r.Neighbor)
	if r.Attrs != nil {
		sender = fmt.Sprint(r.Attrs.NextHop)
	}
	switch reason := r.Verdict.Reason; reason {
	case evpn.NoImportMatch:
		if r.Attrs == nil || len(r.Attrs.RouteTargets) == 0 {
			return noImport(r.RouteInfo), "give it a route target at " + sender
		}
		return noImport(r.RouteInfo), fmt.Sprintf("add %s to import_rt of VNI %s, or change what %s exports", r.Attrs.RouteTargets[0], vni, sender)
	case evpn.LabelMismatch:
		return fmt.Sprintf("it names VNI %s", r.VNI()), fmt.Sprintf("let %s and this host use the same VNI, or take its route target out of import_rt of VNI %s", sender, vni)
	case evpn.OverNeighborLimit:
		return string(reason), fmt.Sprintf("raise max_prefixes of neighbour %s, or find out why it sends so many", r.Neighbor)
	case evpn.NextHopUnreachable:
		return "next hop " + sender + " is unreachable" + because(r.UnreachableReason), underlayAdvice(sender)
	case evpn.AddressFamilyDiffs:
		return string(reason), "use VTEP addresses of one family on both sides"
	default:
		return string(reason), "correct it at " + sender + ", which announces it"
	}
}

func underlayAdvice(vtep string) string {
	return fmt.Sprintf("mend the underlay: `ip route get %s`", vtep)
}

// announced tells what the others hear of a local host.
func (c *chain) announced() {
	l := c.Subject.Local
	if l == nil && c.Host.Origin != evpn.OriginProxy {
		return
	}
	if len(c.Subject.Own) == 0 {
		switch {
		case !c.Subject.Up, c.Host.Freeze != nil, c.Subject.Freeze != nil, c.Host.Static != nil: // told already
			c.step("announced", api.StatusInfo, "not announced")
		case l != nil && l.Port == "":
			c.step("announced", api.StatusInfo, "not announced: the MAC is not known on a port")
		default:
			c.step("announced", api.StatusInfo, "not announced: "+c.holder()+" has it")
		}
		return
	}
	up := 0
	for _, n := range c.Neighbors {
		if n.Established {
			up++
		}
	}
	var details []string
	for _, r := range c.Subject.Own {
		details = append(details, r.Key.String())
	}
	text := fmt.Sprintf("%s announced to %d of %s", plural(len(details), "route"), up, plural(len(c.Neighbors), "neighbour"))
	if up == 0 {
		c.problem("announced", text+": no session is established", "see `vtepbgp neighbor show`", details...)
		return
	}
	c.step("announced", api.StatusOK, text, details...)
}

func (c *chain) holder() string {
	if c.Host.VTEP.IsValid() {
		return "VTEP " + c.Host.VTEP.String()
	}
	return "another host"
}
