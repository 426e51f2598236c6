package flood

import (
	"cmp"
	"net/netip"
	"slices"
	"sync/atomic"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// Tally counts for one network, or for packets that are no network's. Engines write it
// while others read.
type Tally struct {
	Packets atomic.Uint64 // heard
	Relayed atomic.Uint64 // of these: copied to somebody
	Copies  atomic.Uint64 // given to the wire
	dropped [reasonCount]atomic.Uint64
}

// Drop counts n packets or copies that were dropped.
func (t *Tally) Drop(r Reason, n uint64) { t.dropped[r].Add(n) }

// Count is a tally as read at one moment.
type Count struct {
	Packets, Relayed, Copies uint64
	// Dropped is by reason, without zeros. Reasons up to [Limited] count packets, and
	// Overrun too; the rest count copies.
	Dropped map[Reason]uint64
}

func (t *Tally) read() Count {
	c := Count{Packets: t.Packets.Load(), Relayed: t.Relayed.Load(), Copies: t.Copies.Load(), Dropped: map[Reason]uint64{}}
	for r := range t.dropped {
		if n := t.dropped[r].Load(); n > 0 {
			c.Dropped[Reason(r)] = n
		}
	}
	return c
}

func (c *Count) add(o Count) {
	c.Packets += o.Packets
	c.Relayed += o.Relayed
	c.Copies += o.Copies
	for r, n := range o.Dropped {
		c.Dropped[r] += n
	}
}

// Counters are what an engine has counted since it was made.
type Counters struct {
	Total    Count // networks, gone ones too, and packets of no network
	Rest     Count // of Total: packets of no network
	Networks []NetworkCount
	// Repairs counts what the engine found broken and mended: an interface that went
	// away and came back, a program that somebody else detached.
	Repairs uint64
	// Failures counts its attempts at that which failed. Problem says why the last one did, and is empty when it did not.
	Failures uint64
	Problem  string
}

// NetworkCount is the count of one network; they are in the order of VNI and address.
type NetworkCount struct {
	VNI    evpn.VNI
	Listen netip.Addr
	Count
}

// Counters reads the tallies.
func (d *Decider) Counters() Counters {
	c := Counters{Rest: d.rest.read(), Total: d.rest.read()}
	c.Total.add(d.past)
	for k, n := range d.networks {
		nc := NetworkCount{VNI: k.vni, Listen: k.at, Count: n.tally.read()}
		c.Total.add(nc.Count)
		c.Networks = append(c.Networks, nc)
	}
	slices.SortFunc(c.Networks, func(a, b NetworkCount) int {
		return cmp.Or(cmp.Compare(a.VNI, b.VNI), a.Listen.Compare(b.Listen))
	})
	return c
}
