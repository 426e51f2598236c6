package kernel

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// ownAddress is an address that we want a link to have: a service address, or a
// multicast group, which the host then is a member of.
type ownAddress struct {
	index int32
	ip    netip.Addr
}

func (a ownAddress) compare(o ownAddress) int {
	return cmp.Or(a.ip.Compare(o.ip), cmp.Compare(a.index, o.index))
}

// addresses is what we know of them. deviceMu guards it, but for the counters.
//
// They are wanted by the configuration alone, so that everything of ours that it does
// not want can go at the first look. Nothing is remembered over a restart: what bears
// our mark is ours, and what is there without it is somebody else's and stays.
type addresses struct {
	had map[ownAddress]bool // there at the last look, while their link was up
	// held are IPv6 groups that the kernel is a member of though the address has gone.
	// See [Netlink.AddAddress].
	held   map[ownAddress]bool
	failed map[ownAddress]error // at the last look; each look tries again
	// fresh are IPv6 groups whose local route was not removed yet, and how many more
	// looks are for it.
	fresh map[ownAddress]int
}

func newAddresses() addresses {
	return addresses{had: map[ownAddress]bool{}, held: map[ownAddress]bool{}, failed: map[ownAddress]error{}, fresh: map[ownAddress]int{}}
}

// addressStats counts them. mu guards it.
type addressStats struct {
	there   int
	repairs map[netip.Addr]uint64
}

// freshLooks is how often the route of a new group is looked for, freshEvery apart.
const (
	freshLooks = 20
	freshEvery = 50 * time.Millisecond
)

// tenure is what addresses there should be and are, at one look.
type tenure struct {
	links  map[int32]*Link
	wanted map[ownAddress]bool
	there  map[ownAddress]bool // of wanted, whoever put them there
	ours   map[ownAddress]bool // what bears our mark, wanted or not
	// elsewhere are service addresses that an operator gave to some other link, by link.
	elsewhere map[netip.Addr]string
}

func newTenure(cfg Config, s *snapshot, plans []*plan) tenure {
	t := tenure{links: s.index, wanted: map[ownAddress]bool{}, there: map[ownAddress]bool{}, ours: map[ownAddress]bool{}, elsewhere: map[netip.Addr]string{}}
	for _, a := range s.addrs {
		if l := s.index[a.Index]; l != nil && !a.Ours && !l.Loop && l.Up && slices.Contains(cfg.ServiceAddresses, a.IP) {
			t.elsewhere[a.IP] = l.Name
		}
	}
	if lo := s.loopback(); lo != nil {
		for _, ip := range cfg.ServiceAddresses {
			if t.elsewhere[ip] == "" {
				t.wanted[ownAddress{lo.Index, ip}] = true
			}
		}
	}
	for _, p := range plans {
		if l := p.groupLink(); l != nil {
			t.wanted[ownAddress{l.Index, p.cfg.Group}] = true
		}
	}
	for _, a := range s.addrs {
		own := ownAddress{a.Index, a.IP}
		if t.wanted[own] {
			t.there[own] = true
		}
		if a.Ours {
			t.ours[own] = true
		}
	}
	return t
}

func (s *snapshot) loopback() *Link {
	for i := range s.links {
		if s.links[i].Loop {
			return &s.links[i]
		}
	}
	return nil
}

// tendAddresses adds what is missing and removes what is ours and not wanted; it gives
// the number of changes. deviceMu is held.
func (k *Kernel) tendAddresses(t tenure) (changes int) {
	a := &k.addresses
	k.freeGroups(t)
	for _, own := range slices.SortedFunc(maps.Keys(t.wanted), ownAddress.compare) {
		l := t.links[own.index]
		log := k.log.WithField("address", own.ip).WithField("interface", l.Name)
		switch {
		case !l.Up: // IPv6 addresses go when it goes down, and cannot stay before it is up
			delete(a.had, own)
			continue
		case t.there[own]:
			a.had[own] = t.ours[own]
			delete(a.held, own)
			continue
		case a.failed[own] != nil, a.held[own]:
			continue
		}
		err := k.b.AddAddress(own.index, own.ip)
		switch {
		case err == nil:
			changes++
			if a.had[own] {
				k.mu.Lock()
				k.addressStats.repairs[own.ip]++
				k.mu.Unlock()
				log.Warn("put back an address that somebody removed")
			} else {
				log.Info("added address")
			}
			delete(a.had, own)
			if own.ip.Is6() && own.ip.IsMulticast() {
				a.fresh[own] = freshLooks
			}
		case errors.Is(err, unix.EEXIST): // since the look
			changes++
		case errors.Is(err, unix.EADDRINUSE) && own.ip.IsMulticast():
			a.held[own] = true
			delete(a.had, own)
		default:
			a.failed[own] = err
			log.WithError(err).Warn("adding address failed")
		}
	}
	for _, own := range slices.SortedFunc(maps.Keys(t.ours), ownAddress.compare) {
		if t.wanted[own] || a.failed[own] != nil {
			continue
		}
		log := k.log.WithField("address", own.ip)
		if l := t.links[own.index]; l != nil {
			log = log.WithField("interface", l.Name)
		}
		if err := k.b.DeleteAddress(own.index, own.ip); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			a.failed[own] = err
			log.WithError(err).Warn("removing address failed")
			continue
		}
		changes++
		log.Info("removed address")
	}
	for _, set := range []map[ownAddress]bool{a.had, a.held} {
		maps.DeleteFunc(set, func(own ownAddress, _ bool) bool {
			if !t.wanted[own] && a.held[own] && t.links[own.index] != nil {
				k.log.WithField("address", own.ip).WithField("interface", t.links[own.index].Name).
					Warn("the kernel stays a member of the group until the interface goes: it lost the address that the membership hangs on")
			}
			return !t.wanted[own]
		})
	}
	return changes
}

// freeGroups lets packets to IPv6 groups of ours go out by their interfaces: Linux makes
// a local route of an address, which would lead them to this host alone. It makes it
// again when an interface comes up whose addresses were kept (keep_addr_on_down). Of the
// route nobody is told, and it comes a moment after the address (addrconf_dad_work): new
// ones are looked at a few times.
func (k *Kernel) freeGroups(t tenure) {
	a := &k.addresses
	for own, looks := range a.fresh {
		if a.fresh[own] = looks - 1; looks <= 1 || !t.there[own] {
			delete(a.fresh, own)
		}
	}
	groups := map[int32][]netip.Addr{}
	for own := range t.there {
		if own.ip.IsMulticast() && own.ip.Is6() {
			groups[own.index] = append(groups[own.index], own.ip)
		}
	}
	for index, all := range groups {
		for some := range slices.Chunk(all, lookupChunk) {
			routes, err := k.b.Routes(RouteQuery{Device: index, To: some})
			for i := range routes {
				own := ownAddress{index, some[i]}
				if err != nil || routes[i].Err != nil || routes[i].Type != unix.RTN_LOCAL {
					continue
				}
				if err = k.b.RemoveLocalRoute(index, own.ip); err == nil || errors.Is(err, unix.ESRCH) {
					delete(a.fresh, own)
					err = nil
				}
			}
			if err != nil {
				k.log.WithError(err).WithField("interface", t.links[index].Name).Warn("looking after the routes to groups failed")
			}
		}
	}
}

// settle notes how the addresses are after a look that left nothing to do, and tells
// the VNIs that depend on them. mu and deviceMu are held.
func (t tenure) settle(k *Kernel, plans []*plan) bool {
	a := &k.addresses
	k.addressStats.there = len(t.there)
	if len(a.fresh) > 0 {
		k.wantLinks(freshEvery)
	}
	for _, p := range plans {
		if l := p.groupLink(); l != nil {
			if err := a.failed[ownAddress{l.Index, p.cfg.Group}]; err != nil {
				p.problem("%s", joinProblem(p.cfg.Group, l.Name, err))
			}
		}
		if !p.cfg.Service {
			continue
		}
		for own := range t.wanted {
			if !own.ip.IsMulticast() && p.site.vtep.IsValid() && own.ip.Is4() != p.site.vtep.Is4() {
				// Its VXLAN socket hears one family (vxlan_sock_add): senders would get ICMP errors.
				p.problem("service address %s is of another address family than the VTEP address %s", own.ip, p.site.vtep)
			}
		}
		for own := range t.wanted {
			if err := a.failed[own]; err != nil && !own.ip.IsMulticast() {
				p.problem("service address %s cannot be added to %s: %s", own.ip, t.links[own.index].Name, err)
			}
		}
		for ip, name := range t.elsewhere {
			p.problem("service address %s is on %s, put there by somebody else: it is used, and stays when this daemon stops", ip, name)
		}
	}
	return len(a.failed) > 0
}

func joinProblem(group netip.Addr, name string, err error) string {
	why := err.Error()
	if errors.Is(err, unix.ENOBUFS) && group.Is4() {
		why = "the host has net.ipv4.igmp_max_memberships of them already: sysctl -w net.ipv4.igmp_max_memberships=1000"
	}
	return fmt.Sprintf("joining %s on %s failed: %s", group, name, why)
}

// dropAddresses removes all addresses of ours, for good. deviceMu is held.
func (k *Kernel) dropAddresses() error {
	k.mu.Lock()
	k.cfg.ServiceAddresses = nil
	vnis := slices.Clone(k.cfg.VNIs)
	for i := range vnis {
		vnis[i].Group = netip.Addr{}
	}
	k.cfg.VNIs = vnis
	k.mu.Unlock()
	s, err := k.look()
	if err != nil {
		return fmt.Errorf("read addresses: %w", err)
	}
	clear(k.addresses.failed)
	k.tendAddresses(newTenure(Config{}, s, nil))
	var errs []error
	for own, err := range k.addresses.failed {
		errs = append(errs, fmt.Errorf("remove address %s: %w", own.ip, err))
	}
	return errors.Join(errs...)
}

// addressDrift compares the addresses of a picture.
func (p *picture) addressDrift() (out []Drift) {
	plans := make([]*plan, 0, len(p.views))
	owner := map[ownAddress]evpn.VNI{}
	for _, v := range p.views {
		plans = append(plans, &v.plan)
		own := ownAddress{ip: v.cfg.Group}
		if l := v.plan.groupLink(); l != nil {
			own.index = l.Index
		}
		if _, known := owner[own]; !known {
			owner[own] = v.cfg.VNI
		}
	}
	t := newTenure(p.cfg, p.links, plans)
	for own := range t.wanted {
		if !t.there[own] && !p.held[own] && t.links[own.index].Up {
			out = append(out, Drift{
				Table: AddressTable, VNI: owner[own], Link: p.linkName(own.index), IP: own.ip,
				State: Missing, Expected: addressWords(own.ip), Err: p.refused[own],
			})
		}
	}
	if p.scope.vni != 0 { // what others want is not known
		return slices.DeleteFunc(out, func(d Drift) bool { return d.VNI == 0 })
	}
	for own := range t.ours {
		if !t.wanted[own] {
			out = append(out, Drift{Table: AddressTable, Link: p.linkName(own.index), IP: own.ip, State: Extra, Found: addressWords(own.ip), Err: p.refused[own]})
		}
	}
	return out
}

func addressWords(ip netip.Addr) string {
	if ip.IsMulticast() {
		return "member of " + ip.String()
	}
	return ip.String()
}

// hosts says that the host can be reached by the address, and has it not from us alone.
func (a Address) hosts() bool { return !a.Ours && !a.IP.IsMulticast() }
