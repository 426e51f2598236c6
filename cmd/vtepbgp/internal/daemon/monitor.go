package daemon

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/api"
	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/speaker/wire"
)

// Bounds of what is told live.
const (
	// watchLimit is how many MACs, routes and notes wait for one reader before it
	// loses some: about 10 MB.
	watchLimit = 1 << 16
	// maxWatchers bounds the readers: each costs the loop a little.
	maxWatchers = 32
	// countEvery is how often what is only counted (drops, repairs) is told.
	countEvery = time.Second
)

// watcher is the tap of one monitor. It takes from the loop what is there anyway, and
// leaves the words to the reader's goroutine.
type watcher struct{ feed *feed[happening] }

// happening is one event, or what a drain gave.
type happening struct {
	at    time.Time
	event api.Event // no Kind = none
	rows  []evpn.RowChange
	lists []evpn.ListChange
	notes []evpn.Note
}

// Told sees what the core takes. Of local MACs and addresses it asks the core first what
// was known: sources tell again what they told before.
func (w *watcher) Told(core *evpn.Core, ev evpn.Event, at time.Time) {
	if e := localEvent(core, ev); e.Kind != "" {
		w.feed.put(happening{at: at, event: e}, 1)
		return
	}
	if e := sessionEvent(ev); e.Kind != "" {
		w.feed.put(happening{at: at, event: e}, 1)
	}
}

// Drained sees what follows.
func (w *watcher) Drained(ch evpn.Changes, at time.Time) {
	if n := len(ch.Rows) + len(ch.Lists) + len(ch.Notes); n > 0 {
		w.feed.put(happening{at: at, rows: ch.Rows, lists: ch.Lists, notes: ch.Notes}, n)
	}
}

// Monitor tells what happens until the reader or the daemon ends.
func (d *daemon) Monitor(ctx context.Context, f api.EventFilter, yield func([]api.Event) error) error {
	if d.watchers.Add(1) > maxWatchers {
		d.watchers.Add(-1)
		return &api.Error{StatusCode: http.StatusServiceUnavailable, Message: fmt.Sprintf("%d monitors run already: end one first", maxWatchers)}
	}
	defer d.watchers.Add(-1)
	w := &watcher{feed: newFeed[happening](watchLimit)}
	before := d.count()
	detach, err := d.loop.attach(ctx, w, nil)
	if err != nil {
		return err
	}
	defer detach()
	tell := func(events ...api.Event) error {
		events = slices.DeleteFunc(events, func(e api.Event) bool { return !f.Matches(e) })
		if len(events) == 0 {
			return nil
		}
		return yield(events)
	}
	if err := tell(newEvent(time.Now(), api.EventMonitorBegins)); err != nil {
		return err
	}
	t := time.NewTicker(countEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil // the reader has left
		case <-d.loop.done:
			events := d.happened(w)
			return tell(append(events, newEvent(time.Now(), api.EventMonitorEnds))...)
		case <-w.feed.ready:
			err = tell(d.happened(w)...)
		case now := <-t.C:
			after := d.count()
			err = tell(after.since(before, now)...)
			before = after
		}
		if err != nil {
			return err
		}
	}
}

// happened puts what waits into words.
func (d *daemon) happened(w *watcher) (events []api.Event) {
	items, lost := w.feed.take()
	for _, h := range items {
		if h.event.Kind != "" {
			h.event.Time = h.at.UTC()
			d.giveReason(&h.event)
			events = append(events, h.event)
		}
		events = appendChanges(events, h)
	}
	if lost > 0 {
		e := newEvent(time.Now(), api.EventMonitorLost, fmt.Sprint(lost))
		e.Count = lost
		events = append(events, e)
	}
	return events
}

// giveReason adds why a session ended, which its neighbour's status says.
func (d *daemon) giveReason(e *api.Event) {
	if e.Kind != api.EventNeighborDown {
		return
	}
	for _, n := range d.speaker.Neighbors() {
		if n.Address == e.Neighbor && n.LastError != "" {
			e.Reason = n.LastError
			e.Detail = n.LastError + ", " + e.Detail
		}
	}
}

// newEvent gives an event with its level and words, and details for people.
func newEvent(at time.Time, kind api.EventKind, details ...string) api.Event {
	level, words := kind.Describe()
	return api.Event{Time: at.UTC(), Kind: kind, Level: level, Words: words, Detail: strings.Join(details, ", ")}
}

// counted is what is only counted.
type counted struct {
	drops  map[drop]uint64
	kernel map[resync]uint64
	floods floodCount
}

type drop struct {
	neighbor netip.Addr
	reason   string
}

type resync struct {
	kind   api.EventKind
	reason string
}

// dailyDrops are no fault of anybody: routes of ours come back from every reflector.
var dailyDrops = []string{wire.DropASLoop, wire.DropOriginatorLoop, wire.DropClusterLoop}

func (d *daemon) count() counted {
	c := counted{drops: map[drop]uint64{}, kernel: map[resync]uint64{}}
	for _, n := range d.speaker.Neighbors() {
		for reason, count := range n.Drops {
			c.drops[drop{n.Address, reason}] = count
		}
	}
	s := d.kernel.Stats()
	c.kernel[resync{kind: api.EventKernelRepair}] = s.Repairs
	for why, count := range s.Resyncs {
		c.kernel[resync{api.EventKernelResync, why}] = count
	}
	for what, w := range s.Writes {
		c.kernel[resync{api.EventKernelFailure, what}] = w.Failed
	}
	c.floods = countFloods(d.flooding.Status(), s.AddressRepairs)
	return c
}

// since gives one event for each count that grew. A count that fell began anew.
func (c counted) since(before counted, now time.Time) (events []api.Event) {
	drops := slices.SortedFunc(maps.Keys(c.drops), func(a, b drop) int {
		return cmp.Or(a.neighbor.Compare(b.neighbor), cmp.Compare(a.reason, b.reason))
	})
	for _, k := range drops {
		if n := grown(c.drops[k], before.drops[k]); n > 0 {
			e := newEvent(now, api.EventRouteDropped, fmt.Sprintf("%d for %s", n, k.reason))
			e.Neighbor, e.Reason, e.Count = k.neighbor, k.reason, n
			if slices.Contains(dailyDrops, k.reason) {
				e.Level = api.LevelDebug
			}
			events = append(events, e)
		}
	}
	kernel := slices.SortedFunc(maps.Keys(c.kernel), func(a, b resync) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.reason, b.reason))
	})
	for _, k := range kernel {
		n := grown(c.kernel[k], before.kernel[k])
		if n == 0 {
			continue
		}
		text := fmt.Sprintf("%d for %s", n, k.reason)
		if k.reason == "" {
			text = fmt.Sprintf("rows: %d", n)
		}
		e := newEvent(now, k.kind, text)
		e.Reason, e.Count = k.reason, n
		if k.kind == api.EventKernelResync && (k.reason == "config" || k.reason == "periodic" || k.reason == "start") {
			e.Level = api.LevelDebug // nothing is wrong
		}
		events = append(events, e)
	}
	return append(events, c.floods.since(before.floods, now)...)
}

func grown(now, before uint64) uint64 {
	if now < before {
		return now
	}
	return now - before
}
