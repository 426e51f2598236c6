package evpn

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// attrTable keeps one copy of each set of attributes that received routes carry,
// and with it all that can be said from the attributes alone: which VNIs import
// them and whether they are fit for use. A neighbour sends a handful of sets for a
// hundred thousand routes, so both cost next to nothing per route.
type attrTable struct {
	sets    map[string]*attrSet
	exact   map[RouteTarget][]*instance
	numbers map[uint32][]*instance
	buf     []byte
}

// attrSet is one set of attributes, shared by all routes that carry it.
type attrSet struct {
	attrs    *Attrs
	key      string
	refs     int
	imports  []*instance // sorted by VNI
	fault    fault       // of the attributes themselves, for any route type
	imet     fault       // of the PMSI attribute, for type-3 only
	endpoint netip.Addr  // the address that the PMSI attribute names
	tunnel   uint8       // its type
}

// hold gives the shared set for a and takes a reference to it.
func (t *attrTable) hold(a *Attrs, ours ownAddrs) *attrSet {
	t.buf = appendAttrs(t.buf[:0], a)
	if s := t.sets[string(t.buf)]; s != nil {
		s.refs++
		return s
	}
	s := &attrSet{attrs: a, key: string(t.buf), refs: 1}
	t.judge(s, ours)
	if t.sets == nil {
		t.sets = map[string]*attrSet{}
	}
	t.sets[s.key] = s
	return s
}

func (t *attrTable) release(s *attrSet) {
	if s.refs--; s.refs == 0 {
		delete(t.sets, s.key)
	}
}

// index rebuilds what follows from the configuration.
func (t *attrTable) index(vnis map[VNI]*instance, ours ownAddrs) {
	t.exact, t.numbers = map[RouteTarget][]*instance{}, map[uint32][]*instance{}
	for _, v := range vnis {
		if v.removed {
			continue
		}
		for _, target := range v.cfg.Import {
			if target.AnyAdmin {
				t.numbers[target.Number] = append(t.numbers[target.Number], v)
			} else {
				t.exact[target.Exact] = append(t.exact[target.Exact], v)
			}
		}
	}
	for _, s := range t.sets {
		t.judge(s, ours)
	}
}

func (t *attrTable) judge(s *attrSet, ours ownAddrs) {
	s.imports = nil
	for _, rt := range s.attrs.RouteTargets {
		s.imports = append(s.imports, t.exact[rt]...)
		s.imports = append(s.imports, t.numbers[rt.Number()]...)
	}
	slices.SortFunc(s.imports, func(a, b *instance) int { return int(a.vni) - int(b.vni) })
	s.imports = slices.Compact(s.imports)

	s.fault = ours.fault(s.attrs.NextHop)
	if s.fault == fit && !slices.Contains(s.attrs.Encaps, EncapVXLAN) {
		s.fault = faultNotVXLAN
	}
	s.judgePMSI(ours)
}

// judgePMSI says what a type-3 with these attributes announces.
func (s *attrSet) judgePMSI(ours ownAddrs) {
	s.endpoint, s.imet, s.tunnel = s.attrs.NextHop, fit, PMSINoTunnel
	pmsi := s.attrs.PMSI
	if pmsi == nil {
		s.imet = faultNoPMSI
		return
	}
	s.tunnel = pmsi.Type
	if pmsi.Endpoint.IsValid() && !pmsi.Endpoint.IsUnspecified() {
		// RFC 7432 §11.2: the tunnel identifier is where the copies go. Some
		// speakers leave it zero; then the next hop says it.
		s.endpoint = pmsi.Endpoint
	}
	switch {
	case pmsi.Type == PMSIAssistedReplication && pmsi.Flags&PMSIFlagsMaskAR != PMSIFlagsReplicatorAR:
		s.imet = faultNotReplicator // RFC 9574 §4: with this tunnel type, T is 01
	case pmsi.Type == PMSINoTunnel && s.attrs.Claim.Group != 0:
		s.endpoint = s.attrs.NextHop // a member of a segment, which hears what others would copy to it
	case pmsi.Type != PMSIIngressReplication && pmsi.Type != PMSIAssistedReplication:
		s.imet = faultPMSINotIngress
	case pmsi.Label == 0:
		s.imet = faultLabelZero
	default:
		s.imet = ours.fault(s.endpoint)
	}
}

// ownAddrs are the addresses at which we take frames ourselves.
type ownAddrs struct{ vtep, service netip.Addr }

// ours gives our addresses. A service address that cannot be one is none.
func (c *Config) ours() ownAddrs {
	o := ownAddrs{vtep: c.VTEP}
	if o.fault(c.Service) == fit {
		o.service = c.Service
	}
	return o
}

// fault says why a cannot be a remote VTEP for us.
func (o ownAddrs) fault(a netip.Addr) fault {
	broadcast := netip.AddrFrom4([4]byte{255, 255, 255, 255})
	switch {
	case a == o.vtep && a.IsValid():
		return faultOwnNextHop
	case a == o.service && a.IsValid():
		return faultOwnService
	case !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() || a == broadcast:
		return faultNextHopNotUnicast
	case o.vtep.IsValid() && a.Is4() != o.vtep.Is4():
		return faultAddressFamily
	}
	return fit
}

// appendAttrs writes a in a form in which equal attributes give equal octets.
func appendAttrs(b []byte, a *Attrs) []byte {
	addr := func(ip netip.Addr) {
		b = append(b, byte(ip.BitLen()))
		b = append(b, ip.AsSlice()...)
	}
	flag := func(set bool) byte {
		if set {
			return 1
		}
		return 0
	}
	addr(a.NextHop)
	addr(a.OriginatorID)
	b = binary.BigEndian.AppendUint16(b, uint16(len(a.RouteTargets)))
	for _, rt := range a.RouteTargets {
		b = append(b, rt[:]...)
	}
	b = binary.BigEndian.AppendUint16(b, uint16(len(a.Encaps)))
	for _, e := range a.Encaps {
		b = binary.BigEndian.AppendUint16(b, e)
	}
	b = binary.BigEndian.AppendUint32(b, a.Mobility.Sequence)
	b = append(b, flag(a.Mobility.Sticky), flag(a.DefaultGateway), flag(a.Router), flag(a.LLGRStale), flag(a.NoLLGR), a.Origin)
	b = binary.BigEndian.AppendUint32(b, a.LocalPref)
	b = binary.BigEndian.AppendUint32(b, a.MED)
	b = binary.BigEndian.AppendUint16(b, a.ASPathLen)
	b = binary.BigEndian.AppendUint32(b, a.Claim.Group)
	b = append(b, byte(a.Claim.State), flag(a.Claim.Deliver), flag(a.Claim.Outlives))
	b = binary.BigEndian.AppendUint16(b, uint16(len(a.Segment)))
	for _, s := range a.Segment {
		b = append(b, s[:]...)
	}
	if p := a.PMSI; p != nil {
		b = append(b, p.Flags, p.Type)
		b = binary.BigEndian.AppendUint32(b, p.Label)
		addr(p.Endpoint)
	}
	return b
}
