package evpn

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// segment is what we and the others know of a multicast segment. A group alone does not tell one from
// another: segments that no router joins have the same one. Its prefixes do, but those are a matter of
// configuration, and of two relays that disagree about them each would copy what is in both lists. So a VTEP
// is of our segment if its group is ours and
//
//   - a prefix of its list is in ours, or
//   - it is inside our prefixes, or we are inside its.
//
// Each of these is the same seen from either side, so who competes with us knows that we compete.
type segment struct {
	group    uint32 // never 0
	prefixes []SegmentPrefix
}

// maxSegmentPrefixes bounds what is announced of a list: it has to fit into one UPDATE.
const maxSegmentPrefixes = 64

func newSegment(cfg *SegmentConfig) segment {
	s := segment{group: cfg.GroupID()}
	for _, p := range cfg.Prefixes {
		s.prefixes = append(s.prefixes, NewSegmentPrefix(p))
	}
	slices.SortFunc(s.prefixes, SegmentPrefix.Compare)
	s.prefixes = slices.Compact(s.prefixes)
	s.prefixes = s.prefixes[:min(len(s.prefixes), maxSegmentPrefixes)]
	return s
}

// GroupID names the group in a [RelayClaim]; never 0.
func (g SegmentConfig) GroupID() uint32 {
	h := fnv.New32a()
	_, _ = h.Write(g.Group.AsSlice()) // never fails
	return max(1, h.Sum32())
}

// SegmentPrefix stands for a prefix of a segment where six octets have to do: its length and a hash. That is enough
// to see whether two are equal, and whether an address is inside.
type SegmentPrefix [6]byte

// NewSegmentPrefix gives the one that stands for p.
func NewSegmentPrefix(p netip.Prefix) (s SegmentPrefix) {
	h := fnv.New64a()
	_, _ = h.Write(p.Masked().Addr().AsSlice()) // never fails
	s[0] = byte(p.Bits())
	copy(s[1:], binary.BigEndian.AppendUint64(nil, h.Sum64())[3:])
	return s
}

// Has reports whether a is inside, but for one in 2^40.
func (s SegmentPrefix) Has(a netip.Addr) bool {
	p, err := a.Prefix(int(s[0]))
	return err == nil && NewSegmentPrefix(p) == s
}

// Compare orders them for a canonical form.
func (s SegmentPrefix) Compare(o SegmentPrefix) int { return slices.Compare(s[:], o[:]) }

// String gives such as "24/0a1b2c3d4e": length and hash.
func (s SegmentPrefix) String() string { return fmt.Sprintf("%d/%x", s[0], s[1:]) }

// ParseSegmentPrefix reads what String writes.
func ParseSegmentPrefix(text string) (s SegmentPrefix, err error) {
	bits, hash, _ := strings.Cut(text, "/")
	n, err := strconv.ParseUint(bits, 10, 8)
	b, hexErr := hex.DecodeString(hash)
	if err != nil || hexErr != nil || copy(s[1:], b) != 5 || len(b) != 5 || strconv.FormatUint(n, 10) != bits || strings.ToLower(hash) != hash {
		return SegmentPrefix{}, fmt.Errorf("parse segment prefix %q: want such as 24/0a1b2c3d4e", text)
	}
	s[0] = byte(n)
	return s, nil
}

// has reports a VTEP that hears the group.
func (g SegmentConfig) has(a netip.Addr) bool {
	return slices.ContainsFunc(g.Prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
}

func (g SegmentConfig) equal(o SegmentConfig) bool {
	return g.Group == o.Group && g.ProxyVTEPs == o.ProxyVTEPs && g.ProxyMACs == o.ProxyMACs && g.Delivery == o.Delivery &&
		slices.Equal(g.Prefixes, o.Prefixes)
}

// hears reports that we are a member of the segment of v: this host sends to its group and
// hears it.
func (v *instance) hears() bool {
	return v.up && v.cfg.Flooding == FloodMulticast && v.cfg.Segment.Group.IsMulticast()
}

// claims reports that p tells of a VTEP of our segment. One that is away for long tells
// nothing of what it does now.
func (p *path) claims() bool {
	a, v := p.set.attrs, p.vni
	return a.Claim.Group == v.segment.group && !p.leastPreferred() && !p.outdated() &&
		(v.cfg.Segment.has(p.endpoint()) ||
			slices.ContainsFunc(a.Segment, func(s SegmentPrefix) bool {
				return slices.Contains(v.segment.prefixes, s) || s.Has(v.relay.vtep)
			}))
}

// claimed calls yield for all that claims something at f, until it returns false.
func (f *floodEntry) claimed(yield func(*path) bool) {
	for _, chain := range []*path{f.head, f.silent} {
		for p := chain; p != nil; p = p.next {
			if p.set.attrs.Claim.Group != 0 && !yield(p) {
				return
			}
		}
	}
}

// isMember reports that f speaks EVPN, hears our group, and copies its own frames.
func (f *floodEntry) isMember() bool {
	if !f.vni.hears() {
		return false
	}
	for p := range f.claimed {
		if p.set.attrs.Claim.State != RelayedFor && p.claims() {
			return true
		}
	}
	return false
}

// inSegment reports that f hears our group, for all that we and other relays know.
func (f *floodEntry) inSegment() bool {
	if f.vni.cfg.Segment.has(f.addr) {
		return true
	}
	for p := range f.claimed {
		if p.claims() {
			return true
		}
	}
	return false
}

// strangers lists the VTEPs that are on our segment, but claim to be of another group, or have another
// idea of who is on it.
func (v *instance) strangers() (all []netip.Addr) {
	if !v.hears() {
		return nil
	}
	for _, f := range v.floods {
		for p := range f.claimed {
			a := p.set.attrs
			switch {
			case a.Claim.State == RelayedFor || a.Claim.ofService() || p.leastPreferred() || p.outdated():
				continue
			case p.claims() && slices.Equal(a.Segment, v.segment.prefixes), !p.claims() && !v.cfg.Segment.has(f.addr):
				continue
			}
			all = append(all, f.addr)
			break
		}
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return all
}

// contraries are the relays of our segment that bring frames to it another way than is set here, or would. Who is
// elected decides and the others follow, so that all is well but for the moment in which that changes with the relay.
func (v *instance) contraries() (all []netip.Addr) {
	if !v.hears() {
		return nil
	}
	for _, p := range v.relay.claims {
		if p.claims() && p.set.attrs.Claim.Deliver != (v.cfg.Segment.Delivery == DeliverMulticast) {
			all = append(all, p.endpoint())
		}
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all)
}

// noteContrary notes one of them where there was none, or another.
func (c *Core) noteContrary(r *relay) {
	first := netip.Addr{}
	if all := r.vni.contraries(); len(all) > 0 {
		first = all[0]
	}
	if first != r.contrary && first.IsValid() {
		c.notes = append(c.notes, Note{Kind: NoteRelayContrary, VNI: r.vni.vni, VTEP: first})
	}
	r.contrary = first
}

// delivers reports that v, once elected, sends frames from elsewhere to the group.
func (c *Core) delivers(v *instance) bool {
	g := &v.cfg.Segment
	return g.ProxyVTEPs && g.Delivery == DeliverMulticast && c.cfg.ours().service.IsValid()
}
