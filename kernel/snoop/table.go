package snoop

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// Times of the table.
const (
	// silence is how long nothing is heard of an address before its host is asked
	// for it. Hosts refresh their own caches every few minutes.
	silence = 10 * time.Minute
	// probes and probeEvery bound how long a MAC that the bridge has aged out is held:
	// about two seconds.
	probes     = 3
	probeEvery = 700 * time.Millisecond

	learnTime   = 2 * time.Second // the bridge's event may come after the packet
	claimsMost  = 256             // of one port
	movesMost   = 5               // of one address within moveWindow
	moveWindow  = 10 * time.Second
	noticeEvery = 10 * time.Minute
)

// When the owner of a claimed address is asked for it, after the claim.
var (
	// Duplicate address detection takes RetransTimer, one second (RFC 4862 §5.1).
	detectionProofs = [...]time.Duration{1200 * time.Millisecond, 3 * time.Second, 7 * time.Second}
	// A DHCP client may probe for up to seven seconds before it uses the address (RFC 5227
	// §1.1). Our own probe would be a conflict to it until then, and it would decline the
	// lease (§2.1.1); afterwards it has announced the address itself.
	leaseProofs = [...]time.Duration{8 * time.Second, 11 * time.Second, 15 * time.Second}
)

// Network is what the table has to know of one VNI.
type Network struct {
	MaxPerMAC  int // addresses; 0 = no limit
	MaxPerPort int
	// Prober sends the probes: the bridge itself, so that the answers end there.
	Prober Station
	// Own are the addresses of the bridge itself. No packet gives them to a host.
	Own []netip.Addr
}

// Table holds who has which address. The zero value is of no use; see [NewTable].
type Table struct {
	at     func(evpn.VNI, evpn.MAC) int32
	nets   map[evpn.VNI]*network
	ports  map[int32]*port
	held   map[*host]struct{}
	timers timerHeap
	done   Effects
	stats  Stats
}

// Stats counts since the start of the process.
type Stats struct {
	Bindings int // addresses that are known now
	Held     int // MACs that the bridge has aged out and that are being asked for
	Refused  map[Reason]uint64
	Probes   uint64 // probes sent
	Answers  uint64 // hosts that a probe found alive
	HeldBack uint64 // withdrawals of MACs that waited for probes
	Kept     uint64 // those of them that an answer made unnecessary
	Silent   uint64 // addresses withdrawn because nobody answered
}

// Effects is what the table wants done.
type Effects struct {
	Changes []Change
	Silent  []Silent
	Frames  []Frame
	Notices []Notice
}

// Change is a binding that began or changed, or one that ended. When an address goes
// over to another MAC, only the new binding is told.
type Change struct {
	VNI  evpn.VNI
	IP   netip.Addr
	From evpn.MAC // that had the address until now; zero = none here
	Gone bool
}

// Silent is a MAC that was held and gave no answer.
type Silent struct {
	VNI evpn.VNI
	MAC evpn.MAC
}

// Frame is to be sent.
type Frame struct {
	Link  int32
	Frame []byte
}

// Notice is why addresses are refused, where an operator should know; told once in a
// while.
type Notice struct {
	VNI    evpn.VNI
	Reason Reason // LimitMAC, LimitPort or OwnAddress
	Link   int32
	MAC    evpn.MAC
	IP     netip.Addr // that was refused
	Limit  int        // 0 for OwnAddress
}

// Binding is an address and who has it.
type Binding struct {
	MAC    evpn.MAC
	Source string // "arp", "nd" or "dhcp"
	Router bool
}

type network struct {
	Network
	vni    evpn.VNI
	hosts  map[evpn.MAC]*host
	ips    map[netip.Addr]*binding
	claims map[evpn.MAC][]*claim
	told   map[Reason]time.Time // of notices
	last   map[Reason]Notice
}

// host is a MAC with at least one address.
type host struct {
	net  *network
	mac  evpn.MAC
	link int32
	ips  []*binding

	held  bool // the bridge has forgotten it
	tries int
	timer
}

type binding struct {
	host   *host
	ip     netip.Addr
	source string
	router bool
	seen   time.Time
	tries  int // probes since it fell silent

	moves     int // to another MAC, since moveStart
	moveStart time.Time
	timer
}

// claim is an address of a MAC that is not believed yet: the bridge has not learned
// the MAC on the port (learn), or its owner has to prove it.
type claim struct {
	net   *network
	mac   evpn.MAC
	ip    netip.Addr
	link  int32 // that it came in by
	learn bool
	p     Packet
	tries int
	since time.Time
	timer
}

type port struct{ bindings, claims int }

// NewTable gives an empty table. at says on which port the bridge has a MAC, 0 for
// none; it is asked from inside the table's methods.
func NewTable(at func(evpn.VNI, evpn.MAC) int32) *Table {
	t := &Table{
		at: at, nets: map[evpn.VNI]*network{}, ports: map[int32]*port{}, held: map[*host]struct{}{},
		stats: Stats{Refused: map[Reason]uint64{}},
	}
	for _, r := range refusals {
		t.stats.Refused[r] = 0
	}
	return t
}

// Set adds a network or changes what is said of it. Bindings beyond a smaller limit
// stay, those of addresses that are the bridge's own end.
func (t *Table) Set(vni evpn.VNI, n Network) {
	net := t.nets[vni]
	if net == nil {
		net = &network{
			vni: vni, hosts: map[evpn.MAC]*host{}, ips: map[netip.Addr]*binding{}, claims: map[evpn.MAC][]*claim{},
			told: map[Reason]time.Time{}, last: map[Reason]Notice{},
		}
		t.nets[vni] = net
	}
	net.Network = n
	for _, ip := range n.Own {
		t.Drop(vni, ip)
	}
}

// Owns says that an address is the bridge's own.
func (t *Table) Owns(vni evpn.VNI, ip netip.Addr) bool {
	net := t.nets[vni]
	return net != nil && slices.Contains(net.Own, ip)
}

// Remove ends all bindings of a network; MACs that are held are silent from now on.
func (t *Table) Remove(vni evpn.VNI) {
	net := t.nets[vni]
	if net == nil {
		return
	}
	for mac, h := range net.hosts {
		if h.held {
			t.silent(h)
		}
		t.Forget(vni, mac)
	}
	for _, claims := range net.claims {
		for _, c := range slices.Clone(claims) {
			t.endClaim(c)
		}
	}
	delete(t.nets, vni)
}

// Networks lists the VNIs that were set.
func (t *Table) Networks() (vnis []evpn.VNI) {
	for vni := range t.nets {
		vnis = append(vnis, vni)
	}
	return vnis
}

// Lookup gives the binding of an address.
func (t *Table) Lookup(vni evpn.VNI, ip netip.Addr) (Binding, bool) {
	net := t.nets[vni]
	if net == nil {
		return Binding{}, false
	}
	b := net.ips[ip]
	if b == nil {
		return Binding{}, false
	}
	return Binding{MAC: b.host.mac, Source: b.source, Router: b.router}, true
}

// Notices lists why addresses of a network were refused lately, and still would be.
func (t *Table) Notices(vni evpn.VNI, now time.Time) (notices []Notice) {
	net := t.nets[vni]
	if net == nil {
		return nil
	}
	for _, reason := range []Reason{LimitMAC, LimitPort, OwnAddress} {
		at, ok := net.told[reason]
		if n := net.last[reason]; ok && now.Sub(at) < noticeEvery && t.holds(net, n) {
			notices = append(notices, n)
		}
	}
	return notices
}

// holds says that what a notice tells of is still so, as far as that is known.
func (t *Table) holds(net *network, n Notice) bool {
	switch n.Reason {
	case LimitPort:
		p := t.ports[n.Link]
		return p != nil && p.bindings >= n.Limit
	case LimitMAC:
		h := net.hosts[n.MAC]
		return h != nil && len(h.ips) >= n.Limit
	default:
		return slices.Contains(net.Own, n.IP) && t.at(net.vni, n.MAC) == n.Link
	}
}

// Take hands out what is to be done since the last call.
func (t *Table) Take() Effects {
	e := t.done
	t.done = Effects{}
	return e
}

// Stats gives a copy of the counters.
func (t *Table) Stats() Stats {
	s := t.stats
	s.Held = len(t.held)
	s.Refused = maps.Clone(t.stats.Refused)
	return s
}

// Refuse counts a packet that was refused.
func (t *Table) Refuse(r Reason) { t.stats.Refused[r]++ }

func (t *Table) port(link int32) *port {
	p := t.ports[link]
	if p == nil {
		p = &port{}
		t.ports[link] = p
	}
	return p
}

// Hear learns from a packet. The reason says why it teaches nothing.
func (t *Table) Hear(o Observation, now time.Time) Reason {
	net, p := t.nets[o.VNI], &o.Packet
	if net == nil {
		return Irrelevant
	}
	r := t.hear(net, o.Link, p, now)
	if r != "" {
		t.Refuse(r)
	}
	return r
}

func (t *Table) hear(net *network, link int32, p *Packet, now time.Time) Reason {
	at := t.at(net.vni, p.MAC)
	known := net.ips[p.IP]
	switch {
	case slices.Contains(net.Own, p.IP) && p.Binds():
		return t.refuse(net, Notice{VNI: net.vni, Reason: OwnAddress, Link: link, MAC: p.MAC, IP: p.IP}, now)
	case slices.Contains(net.Own, p.IP) && p.Kind == DHCPAck:
		return OwnAddress
	case slices.Contains(net.Own, p.IP):
		return "" // the bridge says itself that it has the address
	case p.Binds() && at == link:
		return t.bind(net, link, p, now)
	case p.Binds():
		return t.claim(net, link, p, true, now)
	case known != nil && known.host.mac == p.MAC:
		return "" // nothing new
	case p.Kind == NSProbe:
		return t.claim(net, link, p, false, now)
	case p.Kind == DHCPAck && at != 0:
		return t.claim(net, link, p, false, now)
	case p.Kind == DHCPAck:
		return NotLearned // a client of another VTEP
	}
	return "" // an ARP probe is followed by an announcement (RFC 5227 §2.3)
}

// bind believes that p.MAC, on this port, has p.IP.
func (t *Table) bind(net *network, link int32, p *Packet, now time.Time) Reason {
	source := p.Kind.Source()
	advertised := p.Kind == NA || p.Kind == NAUnsolicited
	b, h := net.ips[p.IP], net.hosts[p.MAC]
	if b != nil && b.host == h {
		if b.tries > 0 {
			t.stats.Answers++
		}
		b.seen, b.tries = now, 0
		if advertised && b.router != p.Router {
			b.router = p.Router
			t.change(b, evpn.MAC{})
		}
		t.settleClaim(net, p)
		return ""
	}
	if h != nil && net.MaxPerMAC > 0 && len(h.ips) >= net.MaxPerMAC {
		return t.refuse(net, Notice{VNI: net.vni, Reason: LimitMAC, Link: link, MAC: p.MAC, IP: p.IP, Limit: net.MaxPerMAC}, now)
	}
	if b != nil {
		if advertised && !p.Override {
			return NoOverride // RFC 4861 §7.2.5: a second host, or an anycast address
		}
		if !b.mayMove(now) {
			return Flapping
		}
	} else if net.MaxPerPort > 0 && t.port(link).bindings >= net.MaxPerPort {
		return t.refuse(net, Notice{VNI: net.vni, Reason: LimitPort, Link: link, MAC: p.MAC, IP: p.IP, Limit: net.MaxPerPort}, now)
	}
	if c := t.settleClaim(net, p); c != nil && c.p.Kind == DHCPAck {
		source = c.p.Kind.Source()
	}
	if h == nil {
		h = &host{net: net, mac: p.MAC, link: link}
		net.hosts[p.MAC] = h
	}
	var (
		from evpn.MAC // that had the address
		left []*binding
	)
	if b == nil {
		b = &binding{ip: p.IP}
		net.ips[p.IP] = b
		t.stats.Bindings++
	} else {
		t.unlink(b)
		from, left = b.host.mac, b.host.ips
	}
	b.host, b.source, b.seen, b.tries = h, source, now, 0
	b.router = advertised && p.Router
	h.ips = append(h.ips, b)
	t.port(h.link).bindings++
	t.arm(b, &b.timer, now.Add(silence))
	t.change(b, from)
	// Perhaps it has another MAC now, for all its addresses. As bridges elsewhere answer
	// for them, nobody but us would ever find out.
	for _, o := range left {
		o.ask(t, now)
	}
	return ""
}

// mayMove says whether the address may go over to another MAC now. Two hosts that
// both use it would otherwise make a route of every packet.
func (b *binding) mayMove(now time.Time) bool {
	if now.Sub(b.moveStart) > moveWindow {
		b.moves, b.moveStart = 0, now
	}
	b.moves++
	return b.moves <= movesMost
}

func (t *Table) refuse(net *network, n Notice, now time.Time) Reason {
	net.last[n.Reason] = n
	if at, ok := net.told[n.Reason]; !ok || now.Sub(at) >= noticeEvery {
		net.told[n.Reason] = now
		t.done.Notices = append(t.done.Notices, n)
	}
	return n.Reason
}

func (t *Table) change(b *binding, from evpn.MAC) {
	t.done.Changes = append(t.done.Changes, Change{VNI: b.host.net.vni, IP: b.ip, From: from})
}

// unlink takes a binding off its host, which goes with its last one.
func (t *Table) unlink(b *binding) {
	h := b.host
	for i, o := range h.ips {
		if o == b {
			h.ips = append(h.ips[:i], h.ips[i+1:]...)
			break
		}
	}
	t.release(h.link, func(p *port) { p.bindings-- })
	t.leave(h)
}

// leave takes a host without addresses off its network.
func (t *Table) leave(h *host) {
	if len(h.ips) == 0 && !h.held {
		t.stop(&h.timer)
		delete(h.net.hosts, h.mac)
	}
}

func (t *Table) release(link int32, f func(*port)) {
	p := t.port(link)
	if f(p); *p == (port{}) {
		delete(t.ports, link)
	}
}

// end ends a binding.
func (t *Table) end(b *binding) {
	net := b.host.net
	t.stop(&b.timer)
	t.unlink(b)
	delete(net.ips, b.ip)
	t.stats.Bindings--
	t.done.Changes = append(t.done.Changes, Change{VNI: net.vni, IP: b.ip, Gone: true})
}

// Drop ends the binding of an address, if there is one.
func (t *Table) Drop(vni evpn.VNI, ip netip.Addr) {
	if net := t.nets[vni]; net != nil && net.ips[ip] != nil {
		t.end(net.ips[ip])
	}
}

// Forget ends all bindings of a MAC: it is no local one any more.
func (t *Table) Forget(vni evpn.VNI, mac evpn.MAC) {
	net := t.nets[vni]
	if net == nil {
		return
	}
	h := net.hosts[mac]
	if h == nil {
		return
	}
	t.unhold(h)
	for len(h.ips) > 0 {
		t.end(h.ips[len(h.ips)-1])
	}
}
