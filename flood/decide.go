package flood

import (
	"net/netip"
	"slices"
	"time"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// Decider is a table made ready for lookups. The rules never change after Compile;
// Decide moves the token buckets, so one goroutine at a time may call it.
type Decider struct {
	own      map[netip.Addr]bool
	networks map[listener]*network
	vnis     map[evpn.VNI]bool
	rest     *Tally // packets that are no network's
	past     Count  // of networks that are gone
}

type listener struct {
	vni evpn.VNI
	at  netip.Addr
}

type network struct {
	Network
	group  bool
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
		rest: &Tally{}, past: Count{Dropped: map[Reason]uint64{}},
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
		n := &network{Network: t.Networks[i], group: t.Networks[i].Listen.IsMulticast()}
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
		d.rest = before.rest
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

// Decide says what becomes of a packet. sent: this host sent it, it did not come
// from outside. now comes from a monotonic clock.
func (d *Decider) Decide(p *Packet, sent bool, now time.Duration) Verdict {
	n := d.networks[listener{p.VNI, p.Destination}]
	if n == nil {
		if d.vnis[p.VNI] {
			return Verdict{Reason: NotListening, Tally: d.rest}
		}
		return Verdict{Reason: UnknownVNI, Tally: d.rest}
	}
	v := Verdict{Network: &n.Network, Tally: n.tally}
	if v.Reason = d.judge(n, p, sent); v.Reason != Kept {
		return v
	}
	v.Before = n.to
	if i, found := slices.BinarySearchFunc(n.to, p.Source, netip.Addr.Compare); found {
		v.Before, v.After = n.to[:i], n.to[i+1:]
	}
	switch {
	case v.Copies() == 0:
		v.Reason = Nobody
	case !n.bucket.take(float64(n.Rate), n.burst(), now):
		v.Reason, v.Before, v.After = Limited, nil, nil
	}
	return v
}

func (d *Decider) judge(n *network, p *Packet, sent bool) Reason {
	switch own := d.own[p.Source]; {
	case p.Port != n.Port:
		return WrongPort
	case !usable(p.Source):
		return BadSource
	case p.DSCP == Mark:
		return Relayed
	case own && !sent:
		return OwnSource
	case sent && !own:
		// What leaves this host for the group with another's address was forwarded.
		return Relayed
	case n.group && !own && !n.inSegment(p.Source):
		return SourceOutside
	case !p.Checksummed && p.Source.Is6() && !n.ZeroChecksum6:
		return NoUDPChecksum
	}
	return Kept
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
