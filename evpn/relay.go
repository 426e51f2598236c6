package evpn

import (
	"net/netip"
	"slices"
	"time"
)

// The relay of a segment. VTEPs that run no EVPN send their BUM frames to a group; one member
// of the segment, the active relay, sends them on to the VTEPs elsewhere. Members tell of
// themselves with a [RelayClaim] on their type-3, and elect among these, per VNI and segment (see
// [segment] for who is of one):
//
//	        synced          3 s, nobody is active, lowest address
//	silent ---------> ready --------------------------------------> active
//	   ^                ^                                             |  |
//	   |                +--------- another one is, and is lower ------+  |
//	   +--- nobody hears us, and there are others to take our part -----+
//
// Who is active stays: a newcomer takes nothing over. Since every one that is ready has been
// heard of for a while, the next one starts as soon as the routes of the active one go.
//
// Every member copies its own frames itself. Until others have heard that, the active relay
// does, and so does the next one when a member falls silent: a member that nobody
// hears is a VTEP without EVPN to them.

// settleTime is how long a member lets its claim spread before it does what others have
// done until then (the time of RFC 7432 §8.5, after which a designated forwarder is elected).
const settleTime = 3 * time.Second

// relay is our part in the segment of a VNI. While the VNI is down, active and own are
// what is taken up once it is up. Without a segment it is zero.
type relay struct {
	vni     *instance
	vtep    netip.Addr // we, as the others know us
	claims  []*path    // linked type-3 routes of VTEPs that would copy for others, of any segment
	touched bool
	next    time.Time // of its timer

	since    time.Time // when our claim went out; zero while it has not
	active   bool      // we copy for the segment
	own      bool      // we copy our own frames
	met      bool      // others would copy for us
	mute     bool      // nobody hears us, so they do
	withheld bool      // we hear on the group what others copy for us, so we want none
	elected  netip.Addr
	contrary netip.Addr // the first that was noted to deliver otherwise

	asked      time.Time // since when we want the others to want no copies, for we are to deliver
	delivering bool      // we take at our service address what goes to the group
}

// due is when our claim has settled; ring has that looked at.
func (r *relay) due() time.Time { return r.next }

func (r *relay) ring(c *Core) {
	r.next = time.Time{}
	c.touchRelay(r.vni)
}

func (c *Core) touchRelay(v *instance) {
	if r := &v.relay; !r.touched {
		r.touched = true
		c.touchedRelays = append(c.touchedRelays, v)
	}
}

// addClaim and removeClaim keep account of the candidates.
func (c *Core) addClaim(p *path) {
	if claim := p.set.attrs.Claim; claim.Group != 0 {
		if claim.State.candidate() {
			p.vni.relay.claims = append(p.vni.relay.claims, p)
		}
		c.touchRelay(p.vni)
	}
}

func (c *Core) removeClaim(p *path) {
	if claim := p.set.attrs.Claim; claim.Group != 0 {
		r := &p.vni.relay
		r.claims = slices.DeleteFunc(r.claims, func(q *path) bool { return q == p })
		c.touchRelay(p.vni)
	}
}

// candidate is a VTEP that is active, or ready, with the lowest address of these.
type candidate struct {
	addr    netip.Addr
	deliver bool
}

func (a candidate) found() bool { return a.addr.IsValid() }

func (a candidate) before(b candidate) bool {
	if a.addr == b.addr {
		return a.deliver && !b.deliver // two copies of one route, one of them late
	}
	return !b.found() || a.addr.Less(b.addr)
}

// others gives the candidates among the other members.
func (r *relay) others() (active, ready candidate) {
	for _, p := range r.claims {
		if !p.claims() {
			continue
		}
		x, best := candidate{p.endpoint(), p.set.attrs.Claim.Deliver}, &ready
		if p.set.attrs.Claim.State == RelayActive {
			best = &active
		}
		if x.before(*best) {
			*best = x
		}
	}
	return active, ready
}

// sessions is what our neighbours tell of how well we know the others, and they us.
type sessions struct {
	synced  bool // the first full picture was there
	audible bool // some neighbour is up, or keeps our routes until it is
	current bool // some neighbour has sent all that it knows
}

// checkSessions has the elections held again when that changed.
func (c *Core) checkSessions() {
	c.recheck = false
	now := sessions{synced: c.synced}
	for _, nb := range c.neighbors {
		now.audible = now.audible || nb.up || !nb.deadline.IsZero()
		now.current = now.current || nb.up && nb.current
	}
	if now == c.sessions {
		return
	}
	first := now.synced != c.sessions.synced
	c.sessions = now
	for _, v := range c.vnis {
		c.touchRelay(v)
		if first { // it counts where we have no part yet: see hearsOnGroup
			c.markVNI(v)
		}
	}
}

// settleRelay decides anew what our part in the segment of v is.
func (c *Core) settleRelay(v *instance) {
	r := &v.relay
	r.touched = false
	if !v.hears() {
		return
	}
	was, wasElected := r.part(), r.elected
	c.contestRelay(r)
	if r.part() != was {
		c.markVNI(v)
		for _, f := range v.floods {
			if f.heard {
				c.markFlood(f)
			}
		}
	}
	c.noteContrary(r)
	if r.elected == wasElected {
		return
	}
	c.markVNI(v)
	n := Note{Kind: NoteRelayElected, VNI: v.vni, VTEP: r.elected}
	switch {
	case r.active:
		n.Detail = "this host"
	case !r.elected.IsValid():
		n.Kind = NoteRelayNone
	}
	c.notes = append(c.notes, n)
}

type relayPart struct{ claimed, active, own, withheld, met, delivering bool }

func (r *relay) part() relayPart {
	return relayPart{claimed: !r.since.IsZero(), active: r.active, own: r.own, withheld: r.withheld, met: r.met, delivering: r.delivering}
}

func (c *Core) contestRelay(r *relay) {
	active, ready := r.others()
	met := active.found() || ready.found()
	switch s := c.sessions; {
	case s.synced && !s.audible:
		r.mute = r.mute || r.met
	case s.current:
		r.mute, r.met = false, met
	default:
		r.met = r.met || met
	}
	switch {
	case r.mute:
		r.active, r.own, r.since = false, false, time.Time{}
	case r.since.IsZero() && (c.synced || r.own || r.active):
		r.since = c.now
	}
	claimed := !r.since.IsZero()
	settled := claimed && !c.now.Before(r.since.Add(settleTime))
	r.own = r.own || claimed && (settled || !met)

	ours := r.vtep
	switch {
	case !claimed || !r.vni.cfg.Segment.ProxyVTEPs:
		r.active = false
	case r.active:
		r.active = !active.found() || ours.Less(active.addr)
	case settled && c.synced && !active.found():
		r.active = !ready.found() || ours.Less(ready.addr)
	}
	r.elected = active.addr
	if r.active {
		r.elected = ours
	}
	c.withhold(r, active, ready)
	c.deliver(r)
	var next time.Time
	switch {
	case claimed && !settled:
		next = r.since.Add(settleTime)
	case r.waits():
		next = r.asked.Add(settleTime)
	}
	if !r.next.Equal(next) {
		r.next = next
		c.startTimer(r)
	}
}

// withhold says whether we want no copies, because an active relay sends what comes from
// elsewhere to the group. While one relay follows another that is still so: who copies to us
// meanwhile copies in vain, and the next moment twice.
func (c *Core) withhold(r *relay, active, ready candidate) {
	v := r.vni
	if r.since.IsZero() {
		return // too little is known
	}
	if v.cfg.Segment.ProxyVTEPs {
		if us := (candidate{r.vtep, c.delivers(v)}); us.before(ready) {
			ready = us
		}
	}
	switch {
	case r.active:
		r.withheld = false
	case active.found():
		r.withheld = active.deliver
	default:
		r.withheld = r.withheld && ready.deliver
	}
}

// deliver says whether we take what is to go to the group. VTEPs elsewhere copy to those that want copies until
// these have heard from us that they shall not, so that our service address is announced when they have said so:
// before, each frame would come twice. One that does not say so is waited for no longer than for a claim to spread.
func (c *Core) deliver(r *relay) {
	switch {
	case !r.active || !c.delivers(r.vni):
		r.asked, r.delivering = time.Time{}, false
		return
	case r.asked.IsZero():
		r.asked = c.now
	}
	r.delivering = r.delivering || !r.vni.copiedTo() || !c.now.Before(r.asked.Add(settleTime))
}

// waits reports that we are about to deliver.
func (r *relay) waits() bool { return !r.asked.IsZero() && !r.delivering }

// copiedTo reports that others of our segment are announced as VTEPs to copy to.
func (v *instance) copiedTo() bool {
	for _, f := range v.floods {
		for p := f.head; p != nil; p = p.next {
			if claim := p.set.attrs.Claim; claim.Group != 0 && !claim.ofService() && p.claims() {
				return true
			}
		}
	}
	return false
}

// hearsOnGroup reports that what others would copy to us comes on the group, be it from
// ourselves: see withhold. Where that is to be expected, it counts before the first full picture.
func (c *Core) hearsOnGroup(v *instance) bool {
	r := &v.relay
	switch {
	case !v.hears():
		return false
	case r.active:
		return c.delivers(v)
	case r.since.IsZero() && !c.synced:
		return v.cfg.Segment.Delivery == DeliverMulticast
	}
	return r.withheld
}

// leaveSegment ends our part, because the VNI is down, or its mode or segment another.
func (c *Core) leaveSegment(v *instance) {
	v.relay = relay{vni: v, vtep: v.relay.vtep, claims: v.relay.claims, touched: v.relay.touched}
	c.touchRelay(v)
	c.markVNI(v)
}

// wantClaim is what we tell the other members; the zero value is nothing.
func (c *Core) wantClaim(v *instance) RelayClaim {
	r := &v.relay
	if !v.hears() || r.since.IsZero() {
		return RelayClaim{}
	}
	claim := RelayClaim{Group: v.segment.group, State: RelaysItself, Deliver: c.delivers(v)}
	switch {
	case r.active:
		claim.State = RelayActive
	case v.cfg.Segment.ProxyVTEPs:
		claim.State = RelayReady
	}
	claim.Outlives = claim.State.candidate() && c.outlives
	return claim
}

// wantSegment is what the flooding module does for the segment.
func (c *Core) wantSegment(v *instance) Relay {
	r := &v.relay
	if !r.own && !r.active && !r.elected.IsValid() {
		return Relay{}
	}
	return Relay{
		VNI: v.vni, Own: r.own, Segment: r.active, Deliver: r.active && c.delivers(v), Elected: r.elected, Standby: r.active && r.met,
	}
}

func (c *Core) engineState(ev EngineState) {
	if c.outlives == ev.Outlives {
		return
	}
	c.outlives = ev.Outlives
	for _, v := range c.vnis {
		c.markVNI(v)
	}
}

func (r *relay) snapshot() RelayRestored {
	return RelayRestored{
		VNI: r.vni.vni, Active: r.active, Own: r.own, Since: r.since, Met: r.met, Mute: r.mute, Withheld: r.withheld,
		Asked: r.asked, Delivering: r.delivering,
	}
}

func (c *Core) relayRestored(ev RelayRestored) {
	v := c.configured(ev.VNI)
	if v == nil {
		return
	}
	r := &v.relay
	r.active, r.own, r.since, r.met, r.mute, r.withheld = ev.Active, ev.Own, ev.Since, ev.Met, ev.Mute, ev.Withheld
	r.asked, r.delivering = ev.Asked, ev.Delivering
	c.touchRelay(v)
	c.markVNI(v)
}
