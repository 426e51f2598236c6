package flood

import (
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// Decider is a table made ready for lookups. The rules never change after Compile;
// Decide moves the token buckets, so one goroutine at a time may call it; Renew and Keep any.
type Decider struct {
	own      map[netip.Addr]bool
	networks map[listener]*network
	vnis     map[evpn.VNI]bool
	rest     *Tally // packets that are no network's
	past     Count  // of networks that are gone
	// Until when others' frames are copied, and any; the second has no end while it is zero.
	lease, kept *atomic.Int64
}

type listener struct {
	vni evpn.VNI
	at  netip.Addr
}

type network struct {
	Network
	group  bool
	itself map[netip.Addr]bool
	to     []netip.Addr // sorted; nobody who must not get copies
	bucket *bucket
	tally  *Tally
}

// Verdict is what becomes of a packet.
type Verdict struct {
	Reason Reason // Kept: it is copied
	// Before and After are who gets a copy, in the order of their addresses: the list
	// without the VTEP that the packet came from. They must not be changed.
	Before, After []netip.Addr
	// Network is whose packet it was; nil when it was none's.
	Network *Network
	Tally   *Tally // where it counts
}

// Copies is how many there are to be.
func (v *Verdict) Copies() int { return len(v.Before) + len(v.After) }

// Compile makes a table ready. What a network has saved and counted goes on from
// before, which may be nil.
func Compile(t *Table, before *Decider) (*Decider, error) {
	if err := t.Check(); err != nil {
		return nil, err
	}
	d := &Decider{
		own: map[netip.Addr]bool{}, networks: map[listener]*network{}, vnis: map[evpn.VNI]bool{},
		rest: &Tally{}, past: Count{Dropped: map[Reason]uint64{}}, lease: &atomic.Int64{}, kept: &atomic.Int64{},
	}
	for _, a := range t.Own {
		d.own[a] = true
	}
	never := map[netip.Addr]bool{}
	for _, a := range slices.Concat(t.Own, t.Services) {
		never[a] = true
	}
	for i := range t.Networks {
		never[t.Networks[i].Listen] = true
	}
	for i := range t.Networks {
		n := &network{Network: t.Networks[i], group: t.Networks[i].Listen.IsMulticast(), itself: map[netip.Addr]bool{}}
		for _, a := range n.Itself {
			n.itself[a] = true
		}
		if n.Port == 0 {
			n.Port = Port
		}
		n.to = n.receivers(never)
		key := listener{n.VNI, n.Listen}
		if before != nil && before.networks[key] != nil {
			n.bucket, n.tally = before.networks[key].bucket, before.networks[key].tally
		} else {
			n.bucket, n.tally = &bucket{}, &Tally{}
		}
		d.networks[key] = n
		d.vnis[n.VNI] = true
	}
	if before != nil {
		d.rest, d.lease, d.kept = before.rest, before.lease, before.kept
		d.past.add(before.past)
		for k, n := range before.networks {
			if d.networks[k] == nil {
				d.past.add(n.tally.read())
			}
		}
	}
	return d, nil
}

func (n *network) receivers(never map[netip.Addr]bool) []netip.Addr {
	if n.delivers() {
		return []netip.Addr{n.Deliver}
	}
	to := make([]netip.Addr, 0, len(n.VTEPs))
	for _, v := range n.VTEPs {
		if never[v.Address] || n.group && n.inSegment(v.Address) {
			continue
		}
		to = append(to, v.Address)
	}
	slices.SortFunc(to, netip.Addr.Compare)
	return slices.Compact(to)
}

func (n *network) inSegment(a netip.Addr) bool {
	return slices.ContainsFunc(n.Segment, func(p netip.Prefix) bool { return p.Contains(a) })
}

// Renew moves the end of the lease. until comes from the clock of Decide.
func (d *Decider) Renew(until time.Duration) { d.lease.Store(int64(until)) }

// Keep moves the end of all copying, by the same clock.
func (d *Decider) Keep(until time.Duration) { d.kept.Store(max(1, int64(until))) }

// Decide says what becomes of a packet. sent: this host sent it, it did not come
// from outside. now comes from a monotonic clock.
func (d *Decider) Decide(p *Packet, sent bool, now time.Duration) Verdict {
	v := d.Judge(p, sent, now)
	if v.Reason != Kept {
		return v
	}
	n := d.networks[listener{p.VNI, p.Destination}]
	if !n.bucket.take(float64(n.Rate), n.burst(), now) {
		v.Reason, v.Before, v.After = Limited, nil, nil
	}
	return v
}

// Judge decides without regard to the rate, for an engine that keeps to that elsewhere.
func (d *Decider) Judge(p *Packet, sent bool, now time.Duration) Verdict {
	n := d.networks[listener{p.VNI, p.Destination}]
	if n == nil {
		if d.vnis[p.VNI] {
			return Verdict{Reason: NotListening, Tally: d.rest}
		}
		return Verdict{Reason: UnknownVNI, Tally: d.rest}
	}
	v := Verdict{Network: &n.Network, Tally: n.tally}
	if v.Reason = d.judge(n, p, sent, now); v.Reason != Kept {
		return v
	}
	v.Before = n.to
	if i, found := slices.BinarySearchFunc(n.to, p.Source, netip.Addr.Compare); found {
		v.Before, v.After = n.to[:i], n.to[i+1:]
	}
	if v.Copies() == 0 {
		v.Reason = Nobody
	}
	return v
}

func (d *Decider) judge(n *network, p *Packet, sent bool, now time.Duration) Reason {
	switch own := d.own[p.Source]; {
	case p.Port != n.Port:
		return WrongPort
	case !usable(p.Source):
		return BadSource
	case p.DSCP == Mark && !n.delivers():
		return Relayed
	case own && !sent:
		return OwnSource
	case sent && !own:
		// What leaves this host for the group with another's address was forwarded.
		return Relayed
	case n.group && !own && !n.inSegment(p.Source):
		return SourceOutside
	case n.delivers() && n.inSegment(p.Source):
		return SourceInside
	case !p.Checksummed && p.Source.Is6() && !n.ZeroChecksum6:
		return NoUDPChecksum
	case n.group && n.itself[p.Source]:
		return CopiedBySender
	case n.group && own && !n.Own, n.group && !own && !d.elected(n, now), d.over(now):
		return NotElected
	}
	return Kept
}

// elected says that it is us who copy what others of the segment send.
func (d *Decider) elected(n *network, now time.Duration) bool {
	return n.Others && (!n.Leased || int64(now) < d.lease.Load())
}

// over says that nothing is to be copied any more.
func (d *Decider) over(now time.Duration) bool {
	end := d.kept.Load()
	return end != 0 && int64(now) >= end
}

// Rest counts what is no network's.
func (d *Decider) Rest() *Tally { return d.rest }

// Listens are the addresses at which frames are to be heard, sorted.
func (d *Decider) Listens() []netip.Addr {
	var all []netip.Addr
	for k := range d.networks {
		all = append(all, k.at)
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all)
}

// Outs are the interfaces by which groups are reached ([Network.Out]).
func (d *Decider) Outs() []string {
	outs := []string{""}
	for _, n := range d.networks {
		if n.delivers() && !slices.Contains(outs, n.Out) {
			outs = append(outs, n.Out)
		}
	}
	return outs
}

// Lists calls f for every network: to are those who get copies, sorted, and tally is
// where it counts. They must not be changed.
func (d *Decider) Lists(f func(n *Network, to []netip.Addr, tally *Tally)) {
	for _, n := range d.networks {
		f(&n.Network, n.to, n.tally)
	}
}

// HearsOwn says that frames which this host sends itself may have to be copied: those
// of its VXLAN devices to a group.
func (d *Decider) HearsOwn() bool {
	for _, n := range d.networks {
		if n.group && len(d.own) > 0 {
			return true
		}
	}
	return false
}
