package floodingtest

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/flood"
)

// The names of the kinds of engine: one copies on without a process, the other does not.
const (
	Remaining = "ebpf"
	Passing   = "socket"
)

// Host is where engines work. It outlives the processes that open them.
type Host struct {
	mu     sync.Mutex
	at     map[string]map[string]*copier // by interface and kind
	heard  []sender
	denied map[string]error // kinds that cannot be opened
	broken map[string]error // kinds that cannot start
	hurt   error            // what engines that run cannot mend
	errs   []error
	slow   time.Duration // what every table takes
	tables int           // applied
	crash  int           // how many there were
}

type sender struct {
	flood.Heard
	at time.Time
}

// copier is what copies packets on an interface.
type copier struct {
	table *flood.Table
	leases
	owner *engine // nil: of a process that is gone
}

// leases are when copying ends by itself.
type leases struct {
	lease, all term // for others, and of everything; zero: no end of that
}

// NewHost has no interface on which something copies.
func NewHost() *Host {
	return &Host{at: map[string]map[string]*copier{}, denied: map[string]error{}, broken: map[string]error{}}
}

// Kinds are the engines that a process has which starts now.
func (h *Host) Kinds() []flood.Kind {
	h.mu.Lock()
	defer h.mu.Unlock()
	born := h.crash
	kind := func(name string) flood.Kind {
		return flood.Kind{
			Name:  name,
			Probe: func(flood.Options) error { return nil },
			Open: func(o flood.Options) (flood.Engine, error) {
				h.mu.Lock()
				defer h.mu.Unlock()
				if err := h.denied[name]; err != nil {
					return nil, err
				}
				return &engine{host: h, kind: name, device: o.Interface}, nil
			},
		}
	}
	remaining := kind(Remaining)
	remaining.Sweep = func(_ flood.Options, interfaces func(string) bool) error {
		h.mu.Lock()
		defer h.mu.Unlock()
		for device, all := range h.at {
			if c := all[Remaining]; c != nil && c.owner == nil && interfaces(device) && h.crash == born {
				delete(all, Remaining)
			}
		}
		return nil
	}
	return []flood.Kind{remaining, kind(Passing)}
}

// Deny has engines of a kind fail to open; nil mends it.
func (h *Host) Deny(kind string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.denied[kind] = err
}

// Break has engines of a kind fail to start; nil mends it.
func (h *Host) Break(kind string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.broken[kind] = err
}

// Hurt has all engines meet what they cannot mend; nil ends that.
func (h *Host) Hurt(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hurt = err
}

// Slow has every table take a while.
func (h *Host) Slow(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.slow = d
}

// Tables counts those that were applied.
func (h *Host) Tables() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.tables
}

// Crash is the end of all processes, without a word.
func (h *Host) Crash() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.crash++
	for _, all := range h.at {
		delete(all, Passing)
		for _, c := range all {
			if c.owner != nil {
				c.owner.closed, c.owner = true, nil
			}
		}
	}
}

// Send has a packet of a sender arrive; engines whose networks hear it remember that.
func (h *Host) Send(vni evpn.VNI, vtep netip.Addr, mac evpn.MAC) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.heard = append(h.heard, sender{flood.Heard{VNI: vni, VTEP: vtep}, time.Now()})
	if !mac.IsZero() {
		h.heard = append(h.heard, sender{flood.Heard{VNI: vni, VTEP: vtep, MAC: mac}, time.Now()})
	}
}

// Copying is what copies on an interface now, and by which kind of engine; nil when nothing does.
func (h *Host) Copying(device string) (*flood.Table, string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for kind, c := range h.at[device] {
		if c.all == (term{}) || c.all.left(c.owner != nil) > 0 {
			return c.table, kind
		}
	}
	return nil, ""
}

// Network is what copies for a VNI on an interface; ok is false when nothing does.
func (h *Host) Network(device string, vni evpn.VNI) (n flood.Network, ok bool) {
	t, _ := h.Copying(device)
	if t == nil {
		return n, false
	}
	i := slices.IndexFunc(t.Networks, func(n flood.Network) bool { return n.VNI == vni })
	if i < 0 {
		return n, false
	}
	return t.Networks[i], true
}

// Leased says that what copies for others on an interface may.
func (h *Host) Leased(device string) bool { return h.Lease(device) > 0 }

// Lease is for how long it still may.
func (h *Host) Lease(device string) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.at[device] {
		return c.lease.left(c.owner != nil)
	}
	return 0
}

// term is when a lease ends, with and without a process.
type term struct{ living, dead time.Time }

func termOf(l flood.Lease) term {
	now := time.Now()
	return term{now.Add(l.For), now.Add(l.Outlives)}
}

func (t term) left(alive bool) time.Duration {
	if alive {
		return max(0, time.Until(t.living))
	}
	return max(0, time.Until(t.dead))
}

// Devices are the interfaces on which something copies.
func (h *Host) Devices() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	devices := []string{}
	for device, all := range h.at {
		if len(all) > 0 {
			devices = append(devices, device)
		}
	}
	slices.Sort(devices)
	return devices
}

// Err says what should never have happened: two that copied at once, or one that had nothing
// to copy in place of one that had.
func (h *Host) Err() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return errors.Join(h.errs...)
}

// engine implements [flood.Engine].
type engine struct {
	host         *Host
	kind, device string

	// Guarded by the host.
	table *flood.Table
	leases
	started bool
	closed  bool
	packets uint64
}

func (e *engine) Name() string { return e.kind }

// attach makes the engine copy, once it has been started and has a table.
func (e *engine) attach() {
	if !e.started || e.table == nil {
		return
	}
	h := e.host
	all := h.at[e.device]
	if all == nil {
		all = map[string]*copier{}
		h.at[e.device] = all
	}
	if c := all[e.kind]; c != nil && c.owner != nil && c.owner != e {
		h.errs = append(h.errs, fmt.Errorf("two %s engines on %s", e.kind, e.device))
	}
	all[e.kind] = &copier{table: e.table, leases: e.leases, owner: e}
	if len(all) > 1 {
		h.errs = append(h.errs, fmt.Errorf("on %s copy %s: every frame twice", e.device, slices.Sorted(maps.Keys(all))))
	}
}

func (e *engine) Start() error {
	e.host.mu.Lock()
	defer e.host.mu.Unlock()
	if e.closed {
		return os.ErrClosed
	}
	if err := e.host.broken[e.kind]; err != nil {
		return err
	}
	e.started = true
	e.attach()
	return nil
}

func (e *engine) Apply(t *flood.Table) error {
	e.host.mu.Lock()
	slow := e.host.slow
	e.host.mu.Unlock()
	if slow > 0 {
		<-time.After(slow)
	}
	e.host.mu.Lock()
	defer e.host.mu.Unlock()
	if e.closed {
		return os.ErrClosed
	}
	e.host.tables++
	if err := t.Check(); err != nil {
		return err
	}
	e.table = t
	e.packets++
	e.attach()
	return nil
}

func (e *engine) Renew(l flood.Lease) error {
	e.host.mu.Lock()
	defer e.host.mu.Unlock()
	if e.closed {
		return os.ErrClosed
	}
	e.lease = termOf(l)
	e.attach()
	return nil
}

func (e *engine) Keep(l flood.Lease) error {
	e.host.mu.Lock()
	defer e.host.mu.Unlock()
	if e.closed {
		return os.ErrClosed
	}
	e.all = termOf(l)
	e.attach()
	return nil
}

// Counters count a packet for every table.
func (e *engine) Counters() flood.Counters {
	e.host.mu.Lock()
	defer e.host.mu.Unlock()
	count := func() flood.Count {
		return flood.Count{Packets: e.packets, Dropped: map[flood.Reason]uint64{flood.Nobody: e.packets}}
	}
	c := flood.Counters{Total: count()}
	if h := e.host.hurt; h != nil {
		c.Failures, c.Problem = 1, h.Error()
	}
	if e.table != nil {
		for _, n := range e.table.Networks {
			c.Networks = append(c.Networks, flood.NetworkCount{VNI: n.VNI, Listen: n.Listen, Count: count()})
		}
	}
	return c
}

func (e *engine) Heard(within time.Duration) (all []flood.Heard) {
	e.host.mu.Lock()
	defer e.host.mu.Unlock()
	if e.closed || e.table == nil {
		return nil
	}
	for _, s := range e.host.heard {
		hears := slices.ContainsFunc(e.table.Networks, func(n flood.Network) bool {
			return n.VNI == s.VNI && (n.HearMACs || n.HearVTEPs && s.MAC.IsZero())
		})
		if s.Age = time.Since(s.at); hears && s.Age <= within {
			all = append(all, s.Heard)
		}
	}
	return all
}

func (e *engine) Capabilities() flood.Capabilities { return flood.Capabilities{Waits: true} }

func (e *engine) Close() error { return e.end(false) }

func (e *engine) Leave() error { return e.end(e.kind == Remaining) }

func (e *engine) end(leave bool) error {
	e.host.mu.Lock()
	defer e.host.mu.Unlock()
	if e.closed {
		return os.ErrClosed
	}
	e.closed = true
	if c := e.host.at[e.device][e.kind]; c != nil && c.owner == e {
		if c.owner = nil; !leave {
			delete(e.host.at[e.device], e.kind)
		}
	}
	return nil
}
