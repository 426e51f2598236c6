package snoop

import (
	"container/heap"
	"net/netip"
	"slices"
	"time"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// The ageing of what is known, and the proofs that are asked for:
//
//	binding   heard ──10 min of silence──▶ probed 3 × ──no answer──▶ ended
//	MAC       aged out by the bridge ──▶ held, probed 3 × in 2 s ──no answer──▶ silent
//	claim     (DAD) ──1.2, 3, 7 s──▶ probed ──answer──▶ binding
//	          (DHCP) ──8, 11, 15 s──▶ probed ──answer──▶ binding

// Aged says that the bridge has forgotten a MAC, whose port still is there. With
// true the MAC has addresses, and is asked for: either the bridge learns it again from
// an answer, or a [Silent] comes.
func (t *Table) Aged(vni evpn.VNI, mac evpn.MAC, now time.Time) bool {
	net := t.nets[vni]
	if net == nil || net.hosts[mac] == nil || net.Prober.MAC.IsZero() {
		return false
	}
	h := net.hosts[mac]
	if h.held {
		return true
	}
	h.held, h.tries = true, 0
	t.held[h] = struct{}{}
	t.stats.HeldBack++
	h.fire(t, now)
	return true
}

// Learned says that the bridge has a MAC on a port.
func (t *Table) Learned(vni evpn.VNI, mac evpn.MAC, link int32, now time.Time) {
	net := t.nets[vni]
	if net == nil {
		return
	}
	if h := net.hosts[mac]; h != nil {
		if h.held {
			t.stats.Kept++
			t.unhold(h)
		}
		if h.link != link {
			n := len(h.ips)
			t.release(h.link, func(p *port) { p.bindings -= n })
			t.port(link).bindings += n
			h.link = link
		}
	}
	for _, c := range slices.Clone(net.claims[mac]) { // the oldest first; binding may end more of them
		if c.learn && c.link == link {
			t.endClaim(c)
			if r := t.bind(net, link, &c.p, now); r != "" {
				t.Refuse(r)
			}
		}
	}
}

// Unhold gives up the MACs that are held but for those that keep wants to go on with.
func (t *Table) Unhold(keep func(vni evpn.VNI, link int32) bool) {
	for h := range t.held {
		if !keep(h.net.vni, h.link) {
			t.silent(h)
		}
	}
}

func (t *Table) unhold(h *host) {
	if h.held {
		h.held = false
		t.stop(&h.timer)
		delete(t.held, h)
		t.leave(h)
	}
}

func (t *Table) silent(h *host) {
	t.unhold(h)
	t.done.Silent = append(t.done.Silent, Silent{VNI: h.net.vni, MAC: h.mac})
}

// ask makes a host prove an address now that it has not been silent about.
func (b *binding) ask(t *Table, now time.Time) {
	b.seen, b.tries = now.Add(-silence), 0
	b.fire(t, now)
}

// fire asks a held MAC for some of its addresses, others each time; or gives it up.
func (h *host) fire(t *Table, now time.Time) {
	const atOnce = 4
	if h.tries == probes {
		t.stats.Silent += uint64(len(h.ips))
		t.silent(h)
		return
	}
	for i := range min(atOnce, len(h.ips)) {
		t.probe(h.net, h.link, h.mac, h.ips[(h.tries*atOnce+i)%len(h.ips)].ip)
	}
	h.tries++
	t.arm(h, &h.timer, now.Add(probeEvery))
}

func (b *binding) fire(t *Table, now time.Time) {
	switch quiet := now.Sub(b.seen); {
	case quiet < silence:
		b.tries = 0
		t.arm(b, &b.timer, b.seen.Add(silence))
	case b.host.held:
		t.arm(b, &b.timer, now.Add(probes*probeEvery)) // the MAC is being asked
	case b.tries == probes:
		t.stats.Silent++
		t.end(b)
	default:
		b.tries++
		t.probe(b.host.net, b.host.link, b.host.mac, b.ip)
		t.arm(b, &b.timer, now.Add(probeEvery))
	}
}

// claim keeps what is not believed yet.
func (t *Table) claim(net *network, link int32, p *Packet, learn bool, now time.Time) Reason {
	for _, c := range net.claims[p.MAC] {
		if c.ip == p.IP && c.learn == learn {
			c.p, c.link = *p, t.moveClaim(c, link)
			return ""
		}
	}
	if t.port(link).claims >= claimsMost {
		return TooManyClaims
	}
	c := &claim{net: net, mac: p.MAC, ip: p.IP, link: link, learn: learn, p: *p, since: now}
	net.claims[p.MAC] = append(net.claims[p.MAC], c)
	t.port(link).claims++
	if learn {
		t.arm(c, &c.timer, now.Add(learnTime))
	} else {
		t.arm(c, &c.timer, now.Add(c.proofTimes()[0]))
	}
	return ""
}

func (t *Table) moveClaim(c *claim, link int32) int32 {
	if c.link != link {
		t.release(c.link, func(p *port) { p.claims-- })
		t.port(link).claims++
	}
	return link
}

// settleClaim ends the claim that p proves, if there was one.
func (t *Table) settleClaim(net *network, p *Packet) *claim {
	for _, c := range net.claims[p.MAC] {
		if c.ip == p.IP && !c.learn {
			if c.tries > 0 {
				t.stats.Answers++
			}
			t.endClaim(c)
			return c
		}
	}
	return nil
}

func (t *Table) endClaim(c *claim) {
	t.stop(&c.timer)
	claims := c.net.claims[c.mac]
	for i, o := range claims {
		if o == c {
			claims = append(claims[:i], claims[i+1:]...)
			break
		}
	}
	if c.net.claims[c.mac] = claims; len(claims) == 0 {
		delete(c.net.claims, c.mac)
	}
	t.release(c.link, func(p *port) { p.claims-- })
}

func (c *claim) proofTimes() []time.Duration {
	if c.p.Kind == DHCPAck {
		return leaseProofs[:]
	}
	return detectionProofs[:]
}

func (c *claim) fire(t *Table, now time.Time) {
	if c.learn {
		t.endClaim(c)
		t.Refuse(NotLearned)
		return
	}
	times := c.proofTimes()
	if c.tries == len(times) {
		t.endClaim(c)
		return
	}
	if link := t.at(c.net.vni, c.mac); link != 0 {
		t.probe(c.net, link, c.mac, c.ip)
	}
	c.tries++
	next := c.since.Add(times[len(times)-1] + probeEvery)
	if c.tries < len(times) {
		next = c.since.Add(times[c.tries])
	}
	t.arm(c, &c.timer, next)
}

// probe asks a MAC for an address, by unicast, so that nobody else is bothered and the
// answer comes to the bridge alone.
func (t *Table) probe(net *network, link int32, mac evpn.MAC, ip netip.Addr) {
	if net.Prober.MAC.IsZero() {
		return
	}
	f := Frame{Link: link}
	if ip.Is4() {
		f.Frame = ARPRequestFrame(mac, Station{MAC: net.Prober.MAC}, ip)
	} else {
		f.Frame = NSFrame(net.Prober, Station{MAC: mac, IP: ip})
	}
	t.stats.Probes++
	t.done.Frames = append(t.done.Frames, f)
}

// Tick does what is due.
func (t *Table) Tick(now time.Time) {
	for len(t.timers) > 0 && !t.timers[0].due.After(now) {
		what := t.timers[0].what
		t.stop(t.timers[0])
		what.fire(t, now)
	}
}

// Next is when [Table.Tick] has something to do; zero when never.
func (t *Table) Next() time.Time {
	if len(t.timers) == 0 {
		return time.Time{}
	}
	return t.timers[0].due
}

// timer is the one timer of a thing. One that does not run is not in the heap: what
// hosts make come and go leaves nothing behind.
type timer struct {
	due   time.Time
	what  interface{ fire(*Table, time.Time) } // nil = does not run
	place int                                  // in the heap
}

// arm has a thing fire at a time, instead of the one that was set.
func (t *Table) arm(what interface{ fire(*Table, time.Time) }, d *timer, at time.Time) {
	d.due = at
	if d.what == nil {
		d.what = what
		heap.Push(&t.timers, d)
	} else {
		heap.Fix(&t.timers, d.place)
	}
}

func (t *Table) stop(d *timer) {
	if d.what != nil {
		heap.Remove(&t.timers, d.place)
		d.what = nil
	}
}

type timerHeap []*timer

func (h timerHeap) Len() int           { return len(h) }
func (h timerHeap) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

func (h *timerHeap) Push(x any) {
	d := x.(*timer)
	d.place = len(*h)
	*h = append(*h, d)
}

func (h *timerHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return last
}
