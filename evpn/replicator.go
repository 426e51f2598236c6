package evpn

import (
	"net/netip"
	"slices"
	"time"
)

// Assisted replication, without selective leaves (RFC 9574). A replicator announces where it
// takes frames to copy with a Replicator-AR route, and itself as a VTEP with an ordinary type-3,
// the Regular-IR route. A leaf sends its BUM frames to one replicator, and to all VTEPs
// while there is none:
//
//	                 route came, 3 s passed, can be reached
//	   all VTEPs  ------------------------------------------->  the replicator with
//	             <-------------------------------------------   the highest weight
//	                 none of that is left
//
// Until the first full picture is there a leaf asks for neither. An earlier process may have
// left either of them in the kernel, where they stay until then: the other one besides
// would double every frame.
//
// The kernel has one list for BUM, so that unknown unicast takes the same way as broadcast
// and multicast. RFC 9574 §5.2 has a leaf send it to all VTEPs itself.
//
// An address of a replicator is in no list of VTEPs, even when a type-3 names it too. RFC 9574
// §8 has replicators with one address for both, but these tell the two by the VNI: their
// Replicator-AR route names another one, which no VXLAN device of ours sends to, and is ignored.
// With one VNI and one address nothing tells an original from a copy, which would be
// copied again. Hosts behind such a VTEP miss frames until it has two addresses; the other
// way all hosts would get them twice.

// replicatorActivation is the time from a replicator's route to its use, so that it has the
// list of VTEPs by then (RFC 9574 §5.2: AR-REPLICATOR-activation-timer, 3 s by default).
const replicatorActivation = 3 * time.Second

// replicates reports that we copy, for v, what arrives at our service address.
func (c *Core) replicates(v *instance) bool {
	return v.up && v.cfg.Flooding == FloodReplicator && c.cfg.ours().service.IsValid()
}

// wantService gives the attributes of the type-3 for our service address, nil for none: our
// Replicator-AR route, or where the relay of a segment takes what it sends to the group.
func (c *Core) wantService(v *instance, keep bool) *ownAttrs {
	if v.hears() && v.relay.delivering {
		return c.attrsFor(v, ownKey{
			nextHop: c.cfg.Service, tunnel: v.ingressTo(c.cfg.Service),
			// So that members know whose address it is.
			claim: RelayClaim{Group: v.segment.group, State: RelaysItself, Deliver: true, Outlives: c.outlives},
		}, keep)
	}
	if !c.replicates(v) {
		return nil
	}
	t := PMSITunnel{
		Flags: PMSIFlagsReplicatorAR, Type: PMSIAssistedReplication, Label: uint32(v.vni), Endpoint: c.cfg.Service,
	}
	return c.attrsFor(v, ownKey{nextHop: c.cfg.Service, tunnel: t}, keep)
}

// judgeReplicator says what follows for an address at which a replicator listens.
func (v *instance) judgeReplicator(f, chosen *floodEntry) floodState {
	s := floodState{source: SourceBGP}
	switch {
	case v.cfg.Flooding == FloodReplicator || v.cfg.Flooding == FloodMulticast:
		s.use = UseService
	case v.cfg.Flooding != FloodAssisted || f.via.lost:
		return floodState{}
	case f == chosen:
		s.role, s.row = RoleReplicator, true
	default:
		s.role = RoleStandby
	}
	return s
}

// settleReplicator keeps account of the addresses at which replicators listen. It runs
// when an event is done, so that a route that changes is not one that went and came.
func (c *Core) settleReplicator(f *floodEntry) {
	v := f.vni
	switch is := f.services != nil; {
	case is && !f.replicator:
		f.replicator = true
		v.replicators = append(v.replicators, f)
		f.activeAt = c.now.Add(replicatorActivation)
		c.startTimer(f)
	case !is && f.replicator:
		f.replicator, f.activeAt = false, time.Time{}
		v.replicators = without(v.replicators, f)
	}
	if (len(v.replicators) > 0 || v.chosen != nil) && !v.rechoose {
		v.rechoose = true
		c.choices = append(c.choices, v)
	}
}

// due is when f may be chosen; ring says that it may.
func (f *floodEntry) due() time.Time { return f.activeAt }

func (f *floodEntry) ring(c *Core) {
	f.activeAt = time.Time{}
	c.touchFlood(f)
}

// startLeaves has all replicators that are known be used at once, and all VTEPs where there is
// none: the first full picture is there.
func (c *Core) startLeaves() {
	for _, v := range c.vnis {
		for _, f := range v.replicators {
			f.activeAt = time.Time{}
		}
		if v.cfg.Flooding == FloodAssisted {
			for _, f := range v.floods {
				c.touchFlood(f)
			}
		}
	}
}

// alive reports a replicator that can be chosen. Whatever the policy for unreachable
// VTEPs: frames for all of them go there.
func (f *floodEntry) alive() bool {
	return f.services != nil && f.activeAt.IsZero() && !f.via.unreachable
}

// choose gives the replicator for an assisted VNI, nil when it has none: the one with the
// highest weight of those that are alive, so that leaves spread over them, and one that
// comes or goes moves no leaf but its own (Thaler and Ravishankar, 1998: highest random weight).
func (c *Core) choose(v *instance) (best *floodEntry) {
	if !c.synced || !v.up || v.cfg.Flooding != FloodAssisted {
		return nil
	}
	var most uint64
	for _, f := range v.replicators {
		if !f.alive() {
			continue
		}
		w := weight(c.cfg.VTEP, v.vni, f.addr)
		if best == nil || w > most || w == most && f.addr.Less(best.addr) {
			best, most = f, w
		}
	}
	return best
}

// weight is that of a replicator for one leaf and VNI: FNV-1a, whose upper bits need mixing
// before they are compared (the finalizer is that of SplitMix64).
func weight(leaf netip.Addr, vni VNI, replicator netip.Addr) uint64 {
	h := uint64(0xcbf29ce484222325)
	add := func(octets ...byte) {
		for _, o := range octets {
			h = (h ^ uint64(o)) * 0x100000001b3
		}
	}
	add(leaf.AsSlice()...)
	add(byte(vni>>16), byte(vni>>8), byte(vni))
	add(replicator.AsSlice()...)
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}

// settleChoice decides anew to which replicator the frames of v go. When there is one for
// the first time, or the last one went, all entries of the list change at once: one drain
// shows either the replicator or all VTEPs, never both.
func (c *Core) settleChoice(v *instance) {
	v.rechoose = false
	was := v.chosen
	v.chosen = c.choose(v)
	if v.chosen == was {
		return
	}
	n := Note{Kind: NoteReplicatorNone, VNI: v.vni}
	if v.chosen != nil {
		n = Note{Kind: NoteReplicatorChosen, VNI: v.vni, VTEP: v.chosen.addr}
	}
	if v.up && v.cfg.Flooding == FloodAssisted { // else it is none for another reason
		c.notes = append(c.notes, n)
	}
	if was != nil && v.chosen != nil {
		c.markFlood(was)
		c.markFlood(v.chosen)
		return
	}
	for _, f := range v.floods {
		c.markFlood(f)
	}
}

// replicatorReason says why a Replicator-AR route that is fit for use is not used.
func (p *path) replicatorReason() Reason {
	v := p.vni
	f := v.floods[p.set.endpoint]
	switch {
	case v.cfg.Flooding == FloodReplicator || v.cfg.Flooding == FloodMulticast:
		// No copy goes there.
	case v.cfg.Flooding != FloodAssisted:
		return NotAssisted
	case f.via.unreachable:
		return NextHopUnreachable
	case !f.activeAt.IsZero() || v.chosen == nil:
		return ReplicatorWaits
	case f != v.chosen:
		return ReplicatorStandby
	}
	return p.losesTo(best(f.services))
}

func (c *Core) replicatorRestored(ev ReplicatorRestored) {
	v := c.configured(ev.VNI)
	if v == nil {
		return
	}
	if f := v.floods[ev.VTEP]; f != nil && f.replicator {
		f.activeAt = ev.ActiveAt
		c.startTimer(f)
		c.touchFlood(f)
	}
}

// without takes x out of a list whose order tells nothing.
func without(list []*floodEntry, x *floodEntry) []*floodEntry {
	return slices.DeleteFunc(list, func(f *floodEntry) bool { return f == x })
}
