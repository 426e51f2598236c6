package kernel

import (
	"net/netip"
	"slices"
)

// Segment gives the prefixes that are on the link of an interface ("" = where the VTEP
// address lives), of the VTEP address's family, in order. VTEPs with addresses in them
// hear a group that this host sends to by that interface. It changes with the addresses
// of the interface and, like [Kernel.VTEPAddress], is cheap to ask for again.
func (k *Kernel) Segment(device string) []netip.Prefix {
	k.mu.Lock()
	defer k.mu.Unlock()
	if device == "" {
		device = k.site.where
	}
	out := []netip.Prefix{}
	for _, p := range k.segments[device] {
		if !k.site.vtep.IsValid() || p.Addr().Is4() == k.site.vtep.Is4() {
			out = append(out, p)
		}
	}
	return out
}

// segments are the prefixes on the links, by interface. The address of a single host
// is none, nor are link-local ones, which no VTEP has.
func (s *snapshot) segments() map[string][]netip.Prefix {
	out := map[string][]netip.Prefix{}
	for _, a := range s.addrs {
		l := s.index[a.Index]
		if l == nil || l.Loop || !a.hosts() || !a.Prefix.IsValid() || a.Prefix.IsSingleIP() || a.IP.IsLinkLocalUnicast() {
			continue
		}
		if p := a.Prefix.Masked(); !slices.Contains(out[l.Name], p) {
			out[l.Name] = append(out[l.Name], p)
		}
	}
	for _, prefixes := range out {
		slices.SortFunc(prefixes, netip.Prefix.Compare)
	}
	return out
}

// VTEPDevice is the interface that the VTEP address lives on; "" when that is the
// loopback or a dummy, on which nothing arrives from others, or none.
func (k *Kernel) VTEPDevice() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.site.where
}

// Uplinks are the interfaces on which packets of others may arrive, in order: Ethernet links
// that are up and have an address, but for those of VNIs. Like [Kernel.Segment], they change
// with the host.
func (k *Kernel) Uplinks() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.uplinks)
}

// Local reports an address of this host. What is sent there comes back. Like
// [Kernel.Segment], it changes with the host.
func (k *Kernel) Local(a netip.Addr) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.local[a]
}

func (s *snapshot) local() map[netip.Addr]bool {
	all := make(map[netip.Addr]bool, len(s.addrs))
	for _, a := range s.addrs {
		all[a.IP] = true
	}
	return all
}

// ethernet are the names of links with Ethernet frames. What arrives by a VRF has arrived by
// one of its links.
func ethernet(links []*Link) []string {
	names := []string{}
	for _, l := range links {
		if !l.MAC.IsZero() && l.Kind != "vrf" {
			names = append(names, l.Name)
		}
	}
	slices.Sort(names)
	return names
}
