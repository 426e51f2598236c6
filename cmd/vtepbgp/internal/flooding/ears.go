package flooding

import (
	"cmp"
	"context"
	"maps"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/flood"
)

const (
	poll = time.Second
	// window is how far back each poll looks: further than the last one, so that a late one
	// misses nobody.
	window = 5 * time.Second
	// blur is how much the ages that engines tell of one packet differ: they are not read at
	// the moment at which they are told.
	blur = 100 * time.Millisecond
	// askers is how many VTEPs are asked at once whether they are there.
	askers = 256
)

// ears remember who was heard. They belong to one goroutine.
type ears struct {
	vteps map[vtepKey]time.Time // when last
	macs  map[macKey]heardMAC
	news  bool // others than remembered on disk
}

type vtepKey struct {
	vni  evpn.VNI
	vtep netip.Addr
}

type macKey struct {
	vni evpn.VNI
	mac evpn.MAC
}

type heardMAC struct {
	vtep netip.Addr
	last time.Time
}

func newEars() *ears { return &ears{vteps: map[vtepKey]time.Time{}, macs: map[macKey]heardMAC{}} }

// wanted says whom a VNI is to be heard for: VTEPs and the MACs behind them. Those that
// are asked stay as long as they answer.
type wanted func(evpn.VNI, netip.Addr) hearing

type hearing struct{ vteps, macs, asked bool }

// note takes whom engines heard, and gives what is new. Who was silent for the hold time since
// then is no news: [ears.age] has given him up, or is about to.
func (e *ears) note(all []flood.Heard, wants wanted, hold time.Duration, now time.Time) (news []evpn.Event) {
	slices.SortFunc(all, func(a, b flood.Heard) int {
		// VTEPs before MACs behind them, and of a MAC that moved the older place first.
		return cmp.Or(cmp.Compare(a.VNI, b.VNI), a.MAC.Compare(b.MAC), cmp.Compare(b.Age, a.Age), a.VTEP.Compare(b.VTEP))
	})
	for _, h := range all {
		if h.Age >= hold {
			continue
		}
		at := now.Add(-h.Age)
		w := wants(h.VNI, h.VTEP)
		switch {
		case h.MAC.IsZero() && w.vteps:
			news = append(news, e.vtep(vtepKey{h.VNI, h.VTEP}, at)...)
		case !h.MAC.IsZero() && w.macs:
			news = append(news, e.mac(macKey{h.VNI, h.MAC}, heardMAC{h.VTEP, at}, now)...)
		}
	}
	return news
}

// vtep tells of a VTEP whenever it was heard since it was told of last: the core may have
// had no room for it, or not known the VNI.
func (e *ears) vtep(k vtepKey, at time.Time) []evpn.Event {
	last, known := e.vteps[k]
	if known && !at.After(last.Add(blur)) {
		return nil
	}
	e.vteps[k] = at
	e.news = e.news || !known
	return []evpn.Event{evpn.VTEPHeard{VNI: k.vni, VTEP: k.vtep}}
}

// mac tells of a MAC whenever it was heard since it was told of last: another VTEP may
// have taken it over in between.
func (e *ears) mac(k macKey, h heardMAC, now time.Time) []evpn.Event {
	before, known := e.macs[k]
	switch {
	case known && before.vtep == h.vtep && !h.last.After(before.last.Add(blur)),
		known && !h.last.After(before.last):
		return nil
	case !known || before.vtep != h.vtep:
		e.news = true
	}
	e.macs[k] = h
	return []evpn.Event{evpn.MACHeard{VNI: k.vni, MAC: k.mac, VTEP: h.vtep, Age: now.Sub(h.last)}}
}

// age gives up whom nobody wants any more and who was silent for the hold time, and names the
// VTEPs that are to be asked before.
func (e *ears) age(wants wanted, hold time.Duration, now time.Time) (gone []evpn.Event, silent []netip.Addr) {
	for k, h := range e.macs {
		if !wants(k.vni, h.vtep).macs || now.Sub(h.last) >= hold {
			delete(e.macs, k)
			gone = append(gone, evpn.MACSilent{VNI: k.vni, MAC: k.mac, VTEP: h.vtep})
		}
	}
	quiet := map[netip.Addr]bool{}
	for k, last := range e.vteps {
		switch w := wants(k.vni, k.vtep); {
		case !w.vteps, !w.asked && now.Sub(last) >= hold:
			gone = append(gone, e.silent(k))
		case now.Sub(last) >= hold:
			quiet[k.vtep] = true
		}
	}
	slices.SortFunc(gone, compareEvents)
	e.news = e.news || len(gone) > 0
	return gone, slices.SortedFunc(maps.Keys(quiet), netip.Addr.Compare)
}

func (e *ears) silent(k vtepKey) evpn.Event {
	delete(e.vteps, k)
	return evpn.VTEPSilent{VNI: k.vni, VTEP: k.vtep}
}

// answer takes what was asked after VTEPs were silent: those that are there stay.
func (e *ears) answer(alive map[netip.Addr]bool, hold time.Duration, now time.Time) (gone []evpn.Event) {
	for k, last := range e.vteps {
		switch there, asked := alive[k.vtep]; {
		case !asked || now.Sub(last) < hold: // it was heard meanwhile
		case there:
			e.vteps[k] = now
		default:
			gone = append(gone, e.silent(k))
		}
	}
	slices.SortFunc(gone, compareEvents)
	e.news = e.news || len(gone) > 0
	return gone
}

// compareEvents orders what is told together: MACs before the VTEPs that they were behind.
func compareEvents(a, b evpn.Event) int {
	rank := func(ev evpn.Event) (int, evpn.VNI, netip.Addr, evpn.MAC) {
		switch ev := ev.(type) {
		case evpn.MACSilent:
			return 0, ev.VNI, ev.VTEP, ev.MAC
		case evpn.VTEPSilent:
			return 1, ev.VNI, ev.VTEP, evpn.MAC{}
		default:
			return 2, 0, netip.Addr{}, evpn.MAC{}
		}
	}
	ra, va, ta, ma := rank(a)
	rb, vb, tb, mb := rank(b)
	return cmp.Or(cmp.Compare(ra, rb), cmp.Compare(va, vb), ta.Compare(tb), ma.Compare(mb))
}

// listen tells whom the engines hear, until ctx ends.
func (m *Manager) listen(ctx context.Context, sink func(evpn.Event)) {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	answers := make(chan map[netip.Addr]bool, 1)
	asking := false
	tell := func(evs []evpn.Event) {
		for _, ev := range evs {
			sink(ev)
		}
	}
	for {
		select {
		case <-ctx.Done():
			if asking {
				<-answers
			}
			return
		case alive := <-answers:
			asking = false
			tell(m.ears.answer(alive, m.hold(), time.Now()))
		case <-tick.C:
			tell(m.ears.note(m.heard(), m.wants(), m.hold(), time.Now()))
			gone, silent := m.ears.age(m.wants(), m.hold(), time.Now())
			tell(gone)
			if len(silent) > 0 && !asking {
				asking = true
				go func() { answers <- m.ask(ctx, silent) }()
			}
		}
		m.remember(false)
	}
}

// ask finds out which VTEPs are there.
func (m *Manager) ask(ctx context.Context, vteps []netip.Addr) map[netip.Addr]bool {
	alive := make([]bool, len(vteps))
	var g errgroup.Group
	g.SetLimit(askers)
	for i, a := range vteps {
		g.Go(func() error {
			there, err := m.o.Alive(ctx, a)
			if err != nil {
				m.o.Log.WithError(err).WithField("vtep", a).Debug("vtep could not be asked whether it is there")
			}
			alive[i] = there || err != nil // it is asked again after the hold time
			return nil
		})
	}
	_ = g.Wait() // none gives an error
	answers := map[netip.Addr]bool{}
	for i, a := range vteps {
		answers[a] = alive[i]
	}
	return answers
}

// heard asks all engines.
func (m *Manager) heard() (all []flood.Heard) {
	m.mu.Lock()
	workers := slices.Collect(maps.Values(m.workers))
	m.mu.Unlock()
	for _, w := range workers {
		all = append(all, w.heard(window)...)
	}
	return all
}

func (m *Manager) hold() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.intent.cfg.HoldTime
}

// wants says what the configuration in effect hears for.
func (m *Manager) wants() wanted {
	m.mu.Lock()
	cfg := m.intent.cfg
	m.mu.Unlock()
	vnis := map[evpn.VNI]*VNI{}
	for i := range cfg.VNIs {
		vnis[cfg.VNIs[i].VNI] = &cfg.VNIs[i]
	}
	return func(vni evpn.VNI, vtep netip.Addr) (h hearing) {
		v := vnis[vni]
		// Nobody beyond the link has a way to a link-local address: no VTEP to tell of.
		if v == nil || vtep == cfg.VTEP || vtep.IsLinkLocalUnicast() {
			return h
		}
		h.asked = v.Mode == evpn.FloodMulticast
		if !h.asked || contains(v.Segment, vtep) {
			h.vteps, h.macs = cfg.hears(v)
		}
		return h
	}
}

func contains(prefixes []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
}
