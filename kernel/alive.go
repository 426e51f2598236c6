package kernel

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Alive asks whether a VTEP is there. One on the link is sent an ARP request or a
// neighbour solicitation, and has to answer it; of one elsewhere only the way is known,
// and it is there when that is. It takes up to some seconds (by net.ipv4.neigh: three
// requests to the MAC that is known, three to all), until ctx ends at the longest.
//
// Many may be asked for at once: their requests and answers travel together.
func (k *Kernel) Alive(ctx context.Context, vtep netip.Addr) (bool, error) {
	a := k.prober.ask(vtep)
	select {
	case <-a.done:
		return a.alive, a.err
	case <-ctx.Done():
		k.prober.leave(a)
		return false, ctx.Err()
	}
}

// probeEvery is how often the answers of those who were asked are looked for.
const probeEvery = 100 * time.Millisecond

// prober asks neighbours. It has a goroutine while somebody waits for an answer.
type prober struct {
	k *Kernel

	mu      sync.Mutex
	asked   map[netip.Addr]*question
	running bool
}

// question is one VTEP that is being asked. What is below the line belongs to the
// goroutine of the prober.
type question struct {
	vtep    netip.Addr
	done    chan struct{}
	alive   bool // once done
	err     error
	waiters int // prober.mu
	// ---
	link  int32 // 0 = not looked up yet
	stage stage
	state uint16 // of the neighbour, in the last reading
}

type stage uint8

const (
	stageNew     stage = iota
	stageProbe         // the host at the MAC that is known was asked
	stageResolve       // all hosts were
)

func newProber(k *Kernel) *prober { return &prober{k: k, asked: map[netip.Addr]*question{}} }

func (p *prober) ask(vtep netip.Addr) *question {
	p.mu.Lock()
	defer p.mu.Unlock()
	q := p.asked[vtep]
	if q == nil {
		q = &question{vtep: vtep, done: make(chan struct{})}
		p.asked[vtep] = q
	}
	q.waiters++
	if !p.running {
		p.running = true
		go p.run()
	}
	return q
}

// leave takes back what nobody waits for any more.
func (p *prober) leave(q *question) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if q.waiters--; q.waiters == 0 && p.asked[q.vtep] == q {
		delete(p.asked, q.vtep)
	}
}

func (p *prober) answer(q *question, alive bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	q.alive, q.err = alive, err
	close(q.done)
	if p.asked[q.vtep] == q {
		delete(p.asked, q.vtep)
	}
}

func (p *prober) run() {
	t := time.NewTicker(probeEvery)
	defer t.Stop()
	for {
		p.mu.Lock()
		if p.running = len(p.asked) > 0; !p.running {
			p.mu.Unlock()
			return
		}
		open := make([]*question, 0, len(p.asked))
		for _, q := range p.asked {
			open = append(open, q)
		}
		p.mu.Unlock()
		open, err := p.locate(open)
		if err == nil {
			err = p.round(open)
		}
		if err != nil {
			for _, q := range open {
				p.answer(q, false, err)
			}
		}
		<-t.C
	}
}

// locate looks up where the new ones are, and answers for those that are not on a link.
func (p *prober) locate(open []*question) (left []*question, err error) {
	p.k.underlay.mu.Lock()
	site := p.k.underlay.site
	p.k.underlay.mu.Unlock()
	var ask []*question
	query := RouteQuery{Source: site.source, Port: site.port}
	for _, q := range open {
		if q.link != 0 {
			left = append(left, q)
			continue
		}
		ask = append(ask, q)
		query.To = append(query.To, q.vtep)
	}
	for len(ask) > 0 {
		n := min(lookupChunk, len(ask))
		part := query
		part.To = query.To[:n]
		routes, err := p.k.b.Routes(part)
		if err != nil {
			return append(left, ask...), err
		}
		for i, q := range ask[:n] {
			st, known := site.judge(q.vtep, routes[i])
			switch {
			case routes[i].Err == nil && routes[i].Type == unix.RTN_LOCAL:
				p.answer(q, true, nil)
			case !known: // a link that has just come: looked up again in the next round
			case !st.Reachable || st.Gateway.IsValid():
				p.answer(q, st.Reachable, nil)
			default:
				q.link = routes[i].Device
				left = append(left, q)
			}
		}
		ask, query.To = ask[n:], query.To[n:]
	}
	return left, nil
}

// round reads the neighbours of all that are open and takes each one step further.
func (p *prober) round(open []*question) error {
	if err := p.read(open); err != nil {
		return err
	}
	var ops []NeighborOp
	var by []*question
	for _, q := range open {
		if op, asks := p.step(q); asks {
			ops, by = append(ops, op), append(by, q)
		}
	}
	if len(ops) == 0 {
		return nil
	}
	return p.k.b.Write(ops, func(i int, err error) {
		if !errors.Is(err, unix.EINVAL) { // it is not what it was when it was read: the next round sees
			p.answer(by[i], false, err)
		}
	})
}

// step judges what was read of one, and gives the request that it takes now.
func (p *prober) step(q *question) (op NeighborOp, asks bool) {
	const known = unix.NUD_REACHABLE | unix.NUD_STALE | unix.NUD_DELAY | unix.NUD_PROBE
	row := Neighbor{Family: family(q.vtep), Index: q.link, Addr: q.vtep}
	switch {
	case q.state&pinned != 0:
		p.answer(q, true, nil) // nobody is asked for what an operator wrote down
	case q.stage != stageNew && q.state&unix.NUD_REACHABLE != 0:
		p.answer(q, true, nil)
	case q.stage != stageResolve && q.state&known != 0:
		if q.stage == stageProbe && q.state&(unix.NUD_PROBE|unix.NUD_DELAY) != 0 {
			return NeighborOp{}, false // it may still answer
		}
		q.stage = stageProbe
		row.State = unix.NUD_PROBE
		return NeighborOp{Replace, row}, true
	case q.stage != stageResolve:
		// Unknown, or at another MAC by now. NTF_USE is a packet to it (neigh_add, net/core/neighbour.c).
		q.stage = stageResolve
		row.Flags = unix.NTF_USE
		return NeighborOp{Replace, row}, true
	case q.state&unix.NUD_STALE != 0:
		p.answer(q, true, nil) // it announced itself meanwhile
	case q.state&(known|unix.NUD_INCOMPLETE) == 0:
		p.answer(q, false, nil)
	}
	return NeighborOp{}, false
}

// read fills in the states; 0 for what is not there.
func (p *prober) read(open []*question) error {
	type place struct {
		link int32
		vtep netip.Addr
	}
	at := make(map[place]*question, len(open))
	rows := make([]Neighbor, 0, len(open))
	for _, q := range open {
		q.state = 0
		at[place{q.link, q.vtep}] = q
		rows = append(rows, Neighbor{Family: family(q.vtep), Index: q.link, Addr: q.vtep})
	}
	see := func(n Neighbor) {
		if q := at[place{n.Index, n.Addr}]; q != nil {
			q.state = n.State
		}
	}
	for len(rows) > 0 {
		n := min(lookupChunk, len(rows))
		err := p.k.b.Find(rows[:n], see)
		if errors.Is(err, unix.EOPNOTSUPP) { // before Linux 5.0
			return errors.Join(p.k.b.Dump(unix.AF_INET, see), p.k.b.Dump(unix.AF_INET6, see))
		}
		if err != nil {
			return err
		}
		rows = rows[n:]
	}
	return nil
}
