package socket

import (
	"errors"
	"net/netip"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/flood"
)

// Runs collects packets that wait together, so that those of one flow and size travel as
// one. The packets of a flow keep their order.
type Runs struct {
	all  []*run
	open map[runKey]*run // the last run of each flow
	free []*run
}

type runKey struct {
	source, listen netip.Addr
	port           uint16
	vni            evpn.VNI
	class          uint64
}

type run struct {
	packets []flood.Packet
	verdict flood.Verdict
}

// Add adds a packet. Packets of a flow that are of one class have the same verdict.
func (r *Runs) Add(p *flood.Packet, class uint64, verdict func() flood.Verdict) {
	if r.open == nil {
		r.open = map[runKey]*run{}
	}
	key := runKey{p.Source, p.Destination, p.SourcePort, p.VNI, class}
	if last := r.open[key]; last != nil && last.takes(p) {
		last.packets = append(last.packets, *p)
		return
	}
	n := r.fresh()
	n.packets, n.verdict = append(n.packets[:0], *p), verdict()
	r.all = append(r.all, n)
	r.open[key] = n
}

// takes says that a packet can join: a datagram is cut into parts of one size, and only
// the last may be shorter.
func (r *run) takes(p *flood.Packet) bool {
	first, last := &r.packets[0], &r.packets[len(r.packets)-1]
	return len(last.Payload) == len(first.Payload) && len(p.Payload) <= len(first.Payload) && p.Checksummed == first.Checksummed
}

func (r *Runs) fresh() *run {
	if n := len(r.free); n > 0 {
		old := r.free[n-1]
		r.free = r.free[:n-1]
		return old
	}
	return &run{}
}

// Send sends what was collected and forgets it.
func (r *Runs) Send(s *Sender) error {
	var failed error
	for _, n := range r.all {
		failed = errors.Join(failed, s.Send(n.packets, &n.verdict))
	}
	r.forget()
	return failed
}

func (r *Runs) forget() {
	r.free = append(r.free, r.all...)
	r.all = r.all[:0]
	clear(r.open)
}
