package evpn_test

import (
	"container/heap"
	"flag"
	"fmt"
	"math/rand/v2"
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
// Hosts move and fall silent, sessions break with and without grace, daemons restart,
// VNIs flap. Then the world comes to rest, and every table must equal the truth.
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
}

type host struct {
	vni evpn.VNI
	mac evpn.MAC
	ip  addr
	at  *site // nil: gone
}

var simVNIs = []evpn.VNI{100, 200}

func newWorld(seed uint64) *world {
	w := &world{rng: rand.New(rand.NewPCG(seed, 2026)), now: start}
	for i := range 1 + w.rng.IntN(2) {
		w.rrs = append(w.rrs, &reflector{w: w, addr: addrAt(mustAddr("10.0.0.253"), i), table: map[evpn.RouteKey]simRoute{}})
	}
	duplicate := evpn.DuplicateConfig{}
	if seed%2 == 0 {
		duplicate = evpn.DuplicateConfig{Moves: 5, Window: 60 * time.Second, Recovery: 30 * time.Second}
	}
	for i := range 3 + w.rng.IntN(3) {
		a := addrAt(vtep1, i)
		cfg := evpn.Config{VTEP: a, Duplicate: duplicate}
		for _, vni := range simVNIs {
			cfg.VNIs = append(cfg.VNIs, vniConfig(vni, a))
		}
		w.sites = append(w.sites, newSite(w, cfg))
	}
	for i := range 4 + w.rng.IntN(6) {
		h := &host{
			vni: simVNIs[w.rng.IntN(len(simVNIs))], mac: evpn.MAC{2, 0, 0, 0, 0, byte(i + 1)},
			ip: addrAt(mustAddr("192.0.2.1"), i), at: w.pickSite(),
		}
		w.hosts = append(w.hosts, h)
	}
	for _, s := range w.sites {
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
	switch h, s := w.pickHost(), w.pickSite(); w.rng.IntN(16) {
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
	w.run(30 * time.Second)
	for _, s := range w.sites {
		s.connectAll()
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
			for _, o := range w.sites {
				if o != s {
					add(evpn.RowKey{Kind: evpn.FloodRow, VNI: vni, IP: o.addr}, evpn.RowValue{})
				}
			}
		}
		for _, h := range w.hosts {
			switch h.at {
			case nil:
			case s:
				own[h.mac.String()], own[h.mac.String()+h.ip.String()] = true, true
			default:
				add(evpn.RowKey{Kind: evpn.MACRow, VNI: h.vni, MAC: h.mac}, evpn.RowValue{VTEP: h.at.addr})
				add(evpn.RowKey{Kind: evpn.NeighborRow, VNI: h.vni, IP: h.ip}, evpn.RowValue{MAC: h.mac})
			}
		}
		if err := sameRows("kernel of "+s.addr.String(), want, s.kernel.rows); err != nil {
			return err
		}
		if err := sameRows("intent of "+s.addr.String(), want, s.sum.rows); err != nil {
			return err
		}
		d, sum := s.core.Desired(), s.sum.desired()
		if fmt.Sprint(d.Rows) != fmt.Sprint(sum.Rows) || len(d.Routes) != len(sum.Routes) {
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
	}
	return nil
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
