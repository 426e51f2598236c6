package evpn_test

import (
	"fmt"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/evpn/journal"
)

// compare counts where the frames of every VTEP come, and holds the cores to the truth.
func (w *segmentWorld) compare() error {
	if err := w.compareMACs(); err != nil {
		return err
	}
	for _, g := range w.segments {
		if _, active := g.relays(); len(active) != 1 {
			return fmt.Errorf("segment %s: %d active relays; %s", g.prefix, len(active), w.state())
		}
	}
	for _, from := range w.nodes {
		if err := w.compareFrom(from); err != nil {
			return err
		}
	}
	for _, n := range w.nodes {
		if n.daemon {
			d, sum := n.site.core.Desired(), n.site.sum.desired()
			if fmt.Sprint(d.Lists, d.Relays, d.Rows) != fmt.Sprint(sum.Lists, sum.Relays, sum.Rows) || len(d.Routes) != len(sum.Routes) {
				return fmt.Errorf("%s: sum of changes %v is not the desired state %v", n.addr, sum, d)
			}
		}
	}
	return nil
}

// compareFrom counts where a frame of one VTEP comes.
func (w *segmentWorld) compareFrom(from *node) error {
	if from.off {
		return nil
	}
	f := &frame{w: w, got: map[*node]int{}}
	f.send(from)
	for _, to := range w.nodes {
		want := 1
		if to == from || to.off {
			want = 0
		}
		if f.got[to] != want {
			return fmt.Errorf("a frame from %s came %d times to %s, by %q; %s", from.name(), f.got[to], to.name(), f.way, w.state())
		}
	}
	return nil
}

// compareMACs holds rows and announcements of hosts against the truth.
func (w *segmentWorld) compareMACs() error {
	for _, n := range w.nodes {
		if !n.daemon {
			continue
		}
		for _, m := range w.movers {
			if m.on.off {
				continue
			}
			var want evpn.Row
			if m.on != n {
				want.RowKey, want.VTEP = evpn.RowKey{Kind: evpn.MACRow, VNI: segmentVNI, MAC: m.mac}, m.on.addr
			}
			got := n.site.sum.rows[evpn.RowKey{Kind: evpn.MACRow, VNI: segmentVNI, MAC: m.mac}]
			if got != want {
				return fmt.Errorf("%s has %q, but %s is at %s", n.name(), journal.RowText(got), m.mac, m.on.name())
			}
			speaks := m.on == n || n.relays() && m.on.segment == n.segment && !m.on.daemon
			var said []evpn.Route
			for k, r := range n.site.sum.routes {
				if k.MAC == m.mac {
					said = append(said, r)
				}
			}
			if speaks != (len(said) == 1) || speaks && said[0].Attrs.NextHop != m.on.addr {
				return fmt.Errorf("%s announces %v, but %s is at %s", n.name(), said, m.mac, m.on.name())
			}
		}
	}
	return nil
}

// state is what the daemons do, for who has to find out why.
func (w *segmentWorld) state() string {
	out := ""
	for _, n := range w.nodes {
		out += "\n" + n.name()
		if !n.daemon {
			continue
		}
		d := n.site.core.Desired()
		for _, r := range d.Relays {
			out += "\n\t" + journal.RelayText(r)
		}
		for _, r := range d.Routes {
			out += "\n\t" + journal.RouteText(r)
		}
		for _, e := range d.Lists {
			out += "\n\t" + journal.ListText(e)
		}
	}
	return out
}

func (n *node) name() string {
	switch {
	case !n.daemon:
		return n.addr.String() + " (no daemon)"
	case n.relays():
		return n.addr.String() + " (relay)"
	}
	return n.addr.String() + " (" + string(n.site.cfg.VNIs[0].Flooding) + ")"
}

// frame is a BUM frame and where it came.
type frame struct {
	w   *segmentWorld
	got map[*node]int
	way []string
}

func (f *frame) step(format string, args ...any) { f.way = append(f.way, fmt.Sprintf(format, args...)) }

// send is the kernel of the VTEP at which the frame comes in.
func (f *frame) send(from *node) {
	if !from.daemon { // its device has the group, and nobody took that away
		f.toGroup(from.addr, from, from.segment)
		return
	}
	for k := range from.site.kernel.rows {
		switch {
		case k.Kind != evpn.FloodRow || k.VNI != segmentVNI:
		case k.IP.IsMulticast():
			f.toGroup(from.addr, from, from.segment)
			if from.site.sum.relays[segmentVNI].Own {
				f.copy(from, from.addr)
			}
		default:
			f.unicast(from.addr, k.IP, false)
		}
	}
}

// toGroup is a packet of by on the group: all who hear it take it, and a relay copies it.
func (f *frame) toGroup(source addr, by *node, g *simSegment) {
	f.step("%s to the group by %s", source, by.addr)
	for _, n := range g.nodes {
		if n == by || n.off {
			continue
		}
		f.got[n]++
		if !n.daemon || !n.site.sum.relays[segmentVNI].Segment || !g.prefix.Contains(source) {
			continue // what comes from outside has been carried there
		}
		if n.site.sum.lists[evpn.ListKey{VNI: segmentVNI, VTEP: source}].Use == evpn.UseItself {
			continue
		}
		f.copy(n, source)
	}
}

// copy is the flooding module of n.
func (f *frame) copy(n *node, source addr) {
	for k, e := range n.site.sum.lists {
		if e.Use == evpn.UseCopy && k.VTEP != source {
			f.unicast(source, k.VTEP, true)
		}
	}
}

// unicast is a packet to one address; marked: it is a copy.
func (f *frame) unicast(source, to addr, marked bool) {
	f.step("%s to %s", source, to)
	for _, n := range f.w.nodes {
		switch {
		case n.off:
		case n.addr == to:
			f.got[n]++
			return
		case !n.daemon || n.site.cfg.Service != to:
		default:
			task := n.site.sum.relays[segmentVNI]
			if !task.Replicate && !task.Deliver {
				continue // it has the address only while it does something there
			}
			f.got[n]++
			switch {
			case task.Replicate && !marked:
				f.copy(n, source)
			case task.Deliver && !n.segment.prefix.Contains(source):
				f.toGroup(source, n, n.segment)
			}
			return
		}
	}
}
