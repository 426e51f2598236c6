package evpn_test

import (
	"container/heap"
	"flag"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/evpn/journal"
)

var (
	simSeeds = flag.Int("seeds", 300, "how many seeds the simulation plays")
	simSeed  = flag.Uint64("seed", 0, "play this one seed of the simulation")
)

// TestSimulation plays whole fabrics: cores joined by one or two reflectors over links with
// random delays, each with a kernel that learns, ages, loses and reorders its events.
// Hosts move and fall silent, IPs go from host to host, sessions break with and without
// grace, for short and for long, daemons restart, VNIs flap and are configured away,
// VTEPs change their address, the underlay loses ways and finds them again, gateways come
// and go, and cores are replaced by what their snapshots make. Then the world comes to
// rest, and every table must equal the truth.
func TestSimulation(t *testing.T) {
	if *simSeed != 0 {
		require.NoError(t, playSeed(*simSeed))
		return
	}
	for seed := uint64(1); seed <= uint64(*simSeeds); seed++ {
		if err := playSeed(seed); err != nil {
			t.Fatalf("seed %d (go test ./evpn -run TestSimulation -seed %d): %v", seed, seed, err)
		}
	}
}

func playSeed(seed uint64) error {
	w := newWorld(seed)
	for range 40 + w.rng.IntN(60) {
		w.disturb()
		w.run(time.Duration(w.rng.IntN(3000)) * time.Millisecond)
	}
	return w.rest()
}

// world is the truth and everything that tries to follow it.
type world struct {
	rng   *rand.Rand
	now   time.Time
	queue simQueue
	n     int // orders what is due at one time
	sites []*site
	hosts []*host
	rrs   []*reflector
	ips   []addr // of all hosts
	addrs int    // VTEP addresses given so far
	long  time.Duration
	modes bool // of flooding differ
}

type host struct {
	vni evpn.VNI
	mac evpn.MAC
	ips []addr
	at  *site // nil: gone
}

// The anycast gateway of simGatewayVNI: some sites have it, and every site that has it has
// the same.
const simGatewayVNI evpn.VNI = 100

var (
	simGatewayMAC = evpn.MAC{2, 0, 0x5e, 0, 1, 1}
	simGatewayIP  = mustAddr("192.0.2.254")
)

var simVNIs = []evpn.VNI{100, 200}

func newWorld(seed uint64) *world {
	w := &world{rng: rand.New(rand.NewPCG(seed, 2026)), now: start}
	for i := range 1 + w.rng.IntN(2) {
		w.rrs = append(w.rrs, &reflector{w: w, addr: addrAt(mustAddr("10.0.0.253"), i), table: map[evpn.RouteKey]simRoute{}})
	}
	duplicate := evpn.DuplicateConfig{}
	policy := evpn.UnreachableKeep
	if seed%3 == 0 {
		policy = evpn.UnreachableRemove
	}
	if seed%5 < 2 {
		w.long = 40 * time.Second
	}
	w.modes = seed%4 != 0
	if seed%2 == 0 {
		duplicate = evpn.DuplicateConfig{Moves: 5, Window: 60 * time.Second, Recovery: 30 * time.Second}
	}
	for i := range 3 + w.rng.IntN(3) {
		w.addrs++
		a := addrAt(vtep1, i)
		cfg := evpn.Config{VTEP: a, Duplicate: duplicate, Unreachable: policy}
		for _, vni := range simVNIs {
			cfg.VNIs = append(cfg.VNIs, vniConfig(vni, a))
		}
		if w.modes {
			w.pickModes(&cfg)
		}
		w.sites = append(w.sites, newSite(w, cfg))
	}
	for i := range 4 + w.rng.IntN(6) {
		h := &host{
			vni: simVNIs[w.rng.IntN(len(simVNIs))], mac: evpn.MAC{2, 0, 0, 0, 0, byte(i + 1)},
			at: w.pickSite(),
		}
		for range 1 + w.rng.IntN(2) {
			ip := addrAt(mustAddr("192.0.2.1"), len(w.ips))
			w.ips, h.ips = append(w.ips, ip), append(h.ips, ip)
		}
		w.hosts = append(w.hosts, h)
	}
	for _, s := range w.sites {
		s.kernel.gateway = w.chance(30)
		s.boot()
		s.connectAll()
	}
	return w
}

func (w *world) pickSite() *site { return w.sites[w.rng.IntN(len(w.sites))] }
func (w *world) pickHost() *host { return w.hosts[w.rng.IntN(len(w.hosts))] }
func (w *world) chance(percent int) bool {
	return w.rng.IntN(100) < percent
}

// disturb does one thing to the world.
func (w *world) disturb() {
	if w.modes && w.chance(15) {
		w.disturbFlooding(w.pickSite())
		return
	}
	switch h, s := w.pickHost(), w.pickSite(); w.rng.IntN(26) {
	case 0, 1, 2, 3: // a host moves, mostly telling so at once
		h.at = s
		if w.chance(80) {
			s.kernel.hear(h)
		}
	case 4: // a host is switched off
		h.at = nil
	case 5, 6, 7, 8, 9:
		if h.at != nil {
			h.at.kernel.hear(h)
		}
	case 10: // an entry ages
		for _, h := range w.hosts {
			if h.at != s {
				s.kernel.age(h)
			}
		}
	case 11:
		s.kernel.resync()
	case 12: // a session breaks, for good or with grace
		l := s.links[w.rng.IntN(len(s.links))]
		l.disconnect(w.chance(50))
		w.after(time.Duration(w.rng.IntN(8000))*time.Millisecond, l.connect)
	case 13: // a daemon restarts
		s.disconnectAll(w.chance(50))
		s.boot()
		w.after(time.Duration(w.rng.IntN(4000))*time.Millisecond, s.connectAll)
	case 14: // a VNI flaps
		vni := simVNIs[w.rng.IntN(len(simVNIs))]
		s.kernel.setVNI(vni, false)
		w.after(time.Duration(w.rng.IntN(5000))*time.Millisecond, func() { s.kernel.setVNI(vni, true) })
	case 16, 17: // an IP goes to another host
		w.moveIP(h, w.pickHost())
	case 18: // the underlay loses a way, for a while
		o := w.pickSite()
		s.kernel.cut[o] = true
		s.kernel.tellReachable(o.addr)
		w.after(time.Duration(w.rng.IntN(20000))*time.Millisecond, func() { s.kernel.heal(o) })
	case 19: // an anycast gateway comes or goes
		s.kernel.setGateway(!s.kernel.gateway)
	case 20: // the other end is known to be dead, while the session waits or is up
		l := s.links[w.rng.IntN(len(s.links))]
		l.disconnect(true)
		w.after(time.Duration(w.rng.IntN(4000))*time.Millisecond, func() { l.disconnect(false) })
		w.after(time.Duration(w.rng.IntN(9000))*time.Millisecond, l.connect)
	case 21: // the core is what its snapshot makes
		s.replaceCore()
	case 22: // the VTEP gets another address
		s.cfg.VTEP = addrAt(vtep1, w.addrs)
		w.addrs++
		s.addr = s.cfg.VTEP
		s.reload()
		for _, o := range w.sites {
			if o.kernel.cut[s] {
				o.kernel.tellReachable(s.addr)
			}
		}
	case 23: // a VNI is configured away, for a while
		vni := simVNIs[w.rng.IntN(len(simVNIs))]
		s.unconfigure(vni)
		w.after(time.Duration(w.rng.IntN(8000))*time.Millisecond, func() { s.reconfigure(vni) })
	case 24: // a VNI is configured otherwise
		v := &s.cfg.VNIs[w.rng.IntN(len(s.cfg.VNIs))]
		v.RD = evpn.RDFromRouterID(s.routerID, uint16(int(v.VNI)*10+w.rng.IntN(1000)))
		v.MaxMACs = w.rng.IntN(3)
		v.Suppression = w.chance(70)
		s.reload()
	case 25: // a session is lost for so long that its routes expire
		l := s.links[w.rng.IntN(len(s.links))]
		l.disconnect(true)
		w.after(time.Duration(15000+w.rng.IntN(60000))*time.Millisecond, l.connect)
	case 15: // a partition: half of the sites lose the reflectors
		for _, s := range w.sites {
			if w.chance(50) {
				s.disconnectAll(w.chance(50))
				w.after(time.Duration(w.rng.IntN(15000))*time.Millisecond, s.connectAll)
			}
		}
	}
}

// rest ends all disturbance, lets hosts talk and kernels resync, and compares.
func (w *world) rest() error {
	w.run(90 * time.Second)
	for _, s := range w.sites {
		s.connectAll()
		for i := range s.cfg.VNIs {
			s.cfg.VNIs[i].MaxMACs, s.cfg.VNIs[i].Suppression = 0, true
		}
		s.reload()
	}
	var err error
	for range 12 {
		// Only those who are gone age here: what a moved host left behind has to go
		// because of the routes of its new place.
		for _, h := range w.hosts {
			if h.at != nil {
				h.at.kernel.hear(h)
				continue
			}
			for _, s := range w.sites {
				s.kernel.age(h)
				s.kernel.ageIPs(h)
			}
		}
		w.run(5 * time.Second)
		for _, s := range w.sites {
			s.kernel.resync()
			s.prune()
		}
		w.run(10 * time.Second)
		if err = w.compare(); err == nil {
			break
		}
	}
	if err != nil {
		return err
	}
	// At rest means that nothing changes any more by itself.
	w.run(5 * time.Minute)
	return w.compare()
}

// compare holds every site against the truth.
func (w *world) compare() error {
	for _, s := range w.sites {
		want := map[evpn.RowKey]evpn.Row{}
		own := map[string]bool{}
		add := func(k evpn.RowKey, v evpn.RowValue) { want[k] = evpn.Row{RowKey: k, RowValue: v} }
		for _, vni := range simVNIs {
			s.wantFloods(vni, func(a addr) { add(evpn.RowKey{Kind: evpn.FloodRow, VNI: vni, IP: a}, evpn.RowValue{}) })
		}
		see := func(vni evpn.VNI, mac evpn.MAC, ips []addr, at *site) {
			if at == s {
				own[mac.String()] = true
				for _, ip := range ips {
					own[mac.String()+ip.String()] = true
				}
			} else if at != nil {
				add(evpn.RowKey{Kind: evpn.MACRow, VNI: vni, MAC: mac}, evpn.RowValue{VTEP: at.addr})
				for _, ip := range ips {
					add(evpn.RowKey{Kind: evpn.NeighborRow, VNI: vni, IP: ip}, evpn.RowValue{MAC: mac})
				}
			}
		}
		for _, h := range w.hosts {
			see(h.vni, h.mac, h.ips, h.at)
		}
		see(simGatewayVNI, simGatewayMAC, []addr{simGatewayIP}, w.gatewayFor(s))
		if err := sameRows("kernel of "+s.addr.String(), want, s.kernel.rows); err != nil {
			return err
		}
		if err := sameRows("intent of "+s.addr.String(), want, s.sum.rows); err != nil {
			return err
		}
		d, sum := s.core.Desired(), s.sum.desired()
		if !reflect.DeepEqual(d, sum) {
			return fmt.Errorf("%s: sum of changes %v is not the desired state %v", s.addr, sum, d)
		}
		for _, r := range d.Routes {
			if r.Key.Type != evpn.MACIPRoute {
				continue
			}
			id := r.Key.MAC.String()
			if r.Key.IP.IsValid() {
				id += r.Key.IP.String()
			}
			if !own[id] {
				return fmt.Errorf("%s announces %s, which is not there", s.addr, r.Key)
			}
			delete(own, id)
		}
		if len(own) > 0 {
			return fmt.Errorf("%s does not announce %v", s.addr, own)
		}
		for k := range want {
			if k.Kind == evpn.FloodRow && !slices.Contains(d.NextHops, k.IP) {
				return fmt.Errorf("%s does not watch the way to %s", s.addr, k.IP)
			}
		}
		for _, a := range d.NextHops {
			if !w.exists(a) {
				return fmt.Errorf("%s watches the way to %s, which is nowhere", s.addr, a)
			}
		}
		if err := s.compareFlooding(d); err != nil {
			return err
		}
	}
	for _, s := range w.sites { // with the lists of all others as they should be
		for _, vni := range simVNIs {
			if err := s.flood(vni); err != nil {
				return err
			}
		}
	}
	return nil
}

// exists reports the address of a VTEP or replicator, or of one that was heard.
func (w *world) exists(a addr) bool {
	return slices.Contains(simLegacy, a) || slices.ContainsFunc(w.sites, func(s *site) bool {
		_, heard := s.kernel.heard[simHeard{100, a}]
		_, also := s.kernel.heard[simHeard{200, a}]
		return s.owns(a) || heard || also
	})
}

// gatewayFor says whose gateway s uses: its own, or that of the lowest address.
func (w *world) gatewayFor(s *site) (at *site) {
	if s.kernel.gateway {
		return s
	}
	for _, o := range w.sites {
		if o.kernel.gateway && (at == nil || o.addr.Less(at.addr)) {
			at = o
		}
	}
	return at
}

// moveIP gives an IP of one host to another of its VNI, which mostly tells so at once.
func (w *world) moveIP(from, to *host) {
	if from == to || from.vni != to.vni || len(from.ips) == 0 {
		return
	}
	to.ips = append(to.ips, from.ips[0])
	from.ips = from.ips[1:]
	if to.at != nil && w.chance(80) {
		to.at.kernel.hear(to)
	}
}

func sameRows(what string, want, got map[evpn.RowKey]evpn.Row) error {
	for k, r := range want {
		if g, ok := got[k]; !ok || g != r {
			return fmt.Errorf("%s: want %q, has %q (%t)", what, journal.RowText(r), journal.RowText(g), ok)
		}
	}
	for k, r := range got {
		if _, ok := want[k]; !ok {
			return fmt.Errorf("%s: has %q, which is not true", what, journal.RowText(r))
		}
	}
	return nil
}

// after has do done later.
func (w *world) after(d time.Duration, do func()) {
	w.n++
	heap.Push(&w.queue, simTask{at: w.now.Add(d), n: w.n, do: do})
}

// run lets time pass.
func (w *world) run(d time.Duration) {
	end := w.now.Add(d)
	for len(w.queue) > 0 && !w.queue[0].at.After(end) {
		t := heap.Pop(&w.queue).(simTask)
		if t.at.After(w.now) {
			w.now = t.at
		}
		t.do()
	}
	w.now = end
	for _, s := range w.sites {
		s.handle(evpn.Tick{})
	}
}

type simTask struct {
	at time.Time
	n  int
	do func()
}

type simQueue []simTask

func (q simQueue) Len() int      { return len(q) }
func (q simQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q simQueue) Less(i, j int) bool {
	if q[i].at.Equal(q[j].at) {
		return q[i].n < q[j].n
	}
	return q[i].at.Before(q[j].at)
}
func (q *simQueue) Push(x any) { *q = append(*q, x.(simTask)) }
func (q *simQueue) Pop() any {
	old := *q
	last := old[len(old)-1]
	*q = old[:len(old)-1]
	return last
}
