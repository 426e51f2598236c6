package socket

import (
	"time"

	"github.com/vtepbgp/vtepbgp/flood"
)

// batcher judges the packets that were read together, and makes runs of those to be copied.
type batcher struct {
	Runs
	decider *flood.Decider
	ears    *flood.Ears
	now     time.Duration
}

func (b *batcher) begin(d *flood.Decider, ears *flood.Ears, now time.Duration) {
	b.decider, b.ears, b.now = d, ears, now
}

func (b *batcher) add(f frame) {
	switch {
	case f.merged == vnetUDP && f.segment > 0 && !f.within():
		b.addMerged(f)
	case (f.merged == vnetUDP || f.merged == vnetTCPv4 || f.merged == vnetTCPv6) && f.segment > 0:
		b.addLong(f)
	case f.merged != 0:
		b.drop(b.decider.Rest(), flood.SuperFrame)
	default:
		trust := flood.Trust{Partial: f.partial}
		if f.within() {
			// The outer one is right for when it is there (lco_csum).
			trust.Partial = false
			flood.Complete(f.bytes, f.start, f.offset)
		}
		b.judge(f, func() (flood.Packet, flood.Reason) { return flood.ParseEthernet(f.bytes, trust) })
	}
}

// lastOuter is where the UDP header begins at the latest. What is within a frame begins
// behind it.
const lastOuter = 14 + 60

// within says that what is to be completed is within the frame that the packet carries.
func (f frame) within() bool { return f.partial && f.start > lastOuter }

// addLong cuts what the VXLAN device was given, or the card had merged, of inner TCP or UDP. Nothing in it is taken for a
// packet of its own: that is data of whoever sent it.
func (b *batcher) addLong(f frame) {
	whole, r := flood.ParseEthernet(f.bytes, flood.Trust{Checked: true})
	var parts []flood.Packet
	if r == flood.Kept {
		parts, r = whole.Split(f.segment)
	}
	if r != flood.Kept {
		b.drop(b.decider.Rest(), r)
		return
	}
	for _, p := range parts {
		b.judge(f, func() (flood.Packet, flood.Reason) { return p, flood.Kept })
	}
}

// addMerged takes apart what offloads had merged. The checksum of the whole is not
// complete, or was checked when each part was added (udp4_gro_receive).
func (b *batcher) addMerged(f frame) {
	whole, r := flood.ParseEthernet(f.bytes, flood.Trust{Partial: true})
	if r != flood.Kept {
		b.drop(b.decider.Rest(), r)
		return
	}
	for at := 0; at < len(whole.Payload); at += f.segment {
		b.judge(f, func() (flood.Packet, flood.Reason) {
			return whole.Segment(at, min(at+f.segment, len(whole.Payload)))
		})
	}
}

func (b *batcher) drop(t *flood.Tally, r flood.Reason) {
	t.Packets.Add(1)
	t.Drop(r, 1)
}

func (b *batcher) judge(f frame, parse func() (flood.Packet, flood.Reason)) {
	p, r := parse()
	if r != flood.Kept {
		b.drop(b.decider.Rest(), r)
		return
	}
	v := b.decider.Decide(&p, f.sent, b.now)
	if v.Reason.Fit() && !f.sent {
		b.ears.Note(v.Network, &p, b.now)
	}
	if v.Reason != flood.Kept {
		b.drop(v.Tally, v.Reason)
		return
	}
	v.Tally.Packets.Add(1)
	v.Tally.Relayed.Add(1)
	b.Add(&p, 0, func() flood.Verdict { return v })
}
