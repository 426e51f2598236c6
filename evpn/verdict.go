package evpn

import "strconv"

// Verdict says what became of a route. Reason is that of [RouteInfo], empty for one
// that is used. When it lost a comparison, By is the rule that decided it, with what
// the route and its opponent have there.
type Verdict struct {
	Reason Reason
	By     Criterion
	Mine   string
	Theirs string
}

// Criterion is a rule of the election, in the order in which they are asked.
type Criterion string

// The rules of the election.
const (
	ByGateway   Criterion = "gateway"          // RFC 7432 §10.1: our anycast gateway
	ByLongLived Criterion = "long_lived_stale" // RFC 9494 §4.3: least preferred
	BySticky    Criterion = "sticky"           // RFC 7432 §15.2
	BySequence  Criterion = "sequence"         // RFC 7432 §15
	ByNextHop   Criterion = "next_hop"         // RFC 7432 §15: lowest address
	ByOutdated  Criterion = "outdated"         // another neighbour has a fresh copy
	ByStale     Criterion = "stale"            // RFC 4724 §4.2
	ByLocalPref Criterion = "local_pref"       // from here on RFC 4271 §9.1
	ByASPath    Criterion = "as_path_length"
	ByOrigin    Criterion = "origin"
	ByMED       Criterion = "med"
	ByNeighbor  Criterion = "neighbor" // lowest address
	ByKey       Criterion = "route"    // canonical order of routes
)

// verdict says why p is used or not.
func (c *Core) verdict(p *path) Verdict {
	d := Verdict{Reason: p.reason()}
	switch d.Reason {
	case LosesElection:
		best := p.mac.best
		if p == best { // it has the MAC, and lost the IP
			best = nil
		}
		d.lost(p, best)
	case LosesToLocal, GatewayIsLocal:
		if l := p.mac.local; l != nil {
			c.lostToLocal(&d, p, l)
		}
	case LosesToHeard:
		d.lostToHeard(p, p.mac.heard)
	default: // the reason says it all
	}
	return d
}

// verdictOnIP does the same for the IP that p names.
func (c *Core) verdictOnIP(p *path) Verdict {
	d := Verdict{Reason: p.reason()}
	if !p.linked || !p.vni.up || p.via.lost || !p.namesIP() {
		return d
	}
	e := p.vni.ips[p.Key.IP]
	switch best := e.elect(); {
	case e.owner == ownLocal:
		d.Reason = LosesToLocal
		if l := e.bound.local; l.gateway {
			d.Reason = GatewayIsLocal
		}
		if e.frozen() {
			d.Reason = DuplicateFrozen
			break
		}
		c.lostToLocal(&d, p, e.bound.local)
	case e.static != nil:
		d.Reason = LosesToStatic
	case p != best:
		d.Reason = LosesElection
		d.lost(p, best)
	case p.mac.installed():
		d.Reason = ""
	}
	return d
}

// lost says by what rule p lost to best.
func (d *Verdict) lost(p, best *path) {
	switch {
	case p.outdated():
		d.By = ByOutdated
	case best != nil:
		d.By, _ = p.decide(best)
		d.Mine, d.Theirs = p.operand(d.By), best.operand(d.By)
	}
}

// lostToLocal says by what rule an announced local MAC holds out against p.
func (c *Core) lostToLocal(d *Verdict, p *path, l *localMAC) {
	a := p.set.attrs
	switch {
	case l.gateway:
		d.By = ByGateway
	case p.leastPreferred():
		d.By, d.Theirs = ByLongLived, "false"
	case l.sticky:
		d.By, d.Theirs = BySticky, "true"
	case a.Mobility.Sequence != l.sequence:
		d.By, d.Theirs = BySequence, strconv.FormatUint(uint64(l.sequence), 10)
	default:
		d.By, d.Theirs = ByNextHop, c.cfg.VTEP.String()
	}
	d.Mine = p.operand(d.By)
}

// lostToHeard says by what rule what was heard holds out against p. One that says the same
// lost nothing.
func (d *Verdict) lostToHeard(p *path, h *heardMAC) {
	a := p.set.attrs
	switch {
	case a.NextHop == h.at.addr:
	case p.leastPreferred():
		d.By, d.Theirs = ByLongLived, "false"
	case a.Mobility.Sequence != h.sequence:
		d.By, d.Theirs = BySequence, strconv.FormatUint(uint64(h.sequence), 10)
	default:
		d.By, d.Theirs = ByNextHop, h.at.addr.String()
	}
	d.Mine = p.operand(d.By)
}

// operand gives what a rule looks at.
func (p *path) operand(by Criterion) string {
	a := p.set.attrs
	switch by {
	case ByLongLived:
		return strconv.FormatBool(p.leastPreferred())
	case BySticky:
		return strconv.FormatBool(a.Mobility.Sticky)
	case BySequence:
		return strconv.FormatUint(uint64(a.Mobility.Sequence), 10)
	case ByNextHop:
		return a.NextHop.String()
	case ByStale:
		return strconv.FormatBool(p.stale)
	case ByLocalPref:
		return strconv.FormatUint(uint64(a.LocalPref), 10)
	case ByASPath:
		return strconv.FormatUint(uint64(a.ASPathLen), 10)
	case ByOrigin:
		return strconv.FormatUint(uint64(a.Origin), 10)
	case ByMED:
		return strconv.FormatUint(uint64(a.MED), 10)
	case ByNeighbor:
		return p.nb.addr.String()
	case ByKey:
		return p.Key.String()
	default:
		return ""
	}
}
