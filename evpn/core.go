package evpn

import (
	"net/netip"
	"time"
)

// Core is the state of one VTEP. See the package documentation for its contract.
//
// An event passes through it in three steps:
//
//	Handle:  tables change  ->  what they touch is settled (who has this MAC?)
//	Drain:   what was settled is compared with what was emitted before
//
// Settling happens inside Handle, so the state after a run of events does not
// depend on when Drain was called between them.
type Core struct {
	cfg       Config
	now       time.Time
	vnis      map[VNI]*instance
	neighbors map[netip.Addr]*neighbor
	attrs     attrTable
	vteps     map[netip.Addr]*vtep
	timers    timerHeap
	synced    bool
	sessions  sessions
	recheck   bool // the sessions
	outlives  bool // what copies for others goes on without this process

	restarting int // neighbours with a deadline for stale routes

	// Work of the event at hand; empty between calls.
	touchedMACs     []*macEntry
	touchedIPs      []*ipEntry
	touchedFloods   []*floodEntry
	refillVNIs      []*instance
	touchedRelays   []*instance
	choices         []*instance
	refillNeighbors []*neighbor
	fadingVTEPs     []*vtep

	// What the next Drain looks at.
	pending      []*instance
	touchedVTEPs []*vtep
	notes        []Note
	ended        []*Route // type-3 routes of ours, in the Drain at hand
}

// New gives a core that knows cfg and nothing else: every VNI is down. The core
// keeps cfg and its slices; the caller must not change them afterwards.
func New(cfg Config) *Core {
	c := &Core{
		vnis:      map[VNI]*instance{},
		neighbors: map[netip.Addr]*neighbor{},
		vteps:     map[netip.Addr]*vtep{},
	}
	c.configure(cfg)
	if cfg.Resume {
		for _, v := range c.vnis {
			if v.cfg.Flooding == FloodMulticast {
				v.relay.own, v.relay.met = true, true
			}
		}
	}
	c.settle()
	return c
}

// Handle takes one event at time now, which must not go backwards. Events about
// VNIs that are not configured are ignored: their source reports them again once
// they are.
func (c *Core) Handle(ev Event, now time.Time) {
	c.advance(now)
	c.settle() // what time did comes before the event
	switch ev := ev.(type) {
	case ConfigReplaced:
		c.configure(ev.Config)
	case VNIState:
		c.vniState(ev)
	case LocalMACLearned:
		c.localMACLearned(ev)
	case LocalMACGone:
		c.localMACGone(ev)
	case LocalIPLearned:
		c.localIPLearned(ev)
	case LocalIPGone:
		c.localIPGone(ev)
	case RoutesReceived:
		c.routesReceived(ev)
	case NeighborUp:
		c.neighborUp(ev)
	case NeighborDown:
		c.neighborDown(ev)
	case NeighborRemoved:
		c.neighborRemoved(ev)
	case NextHopState:
		c.nextHopState(ev)
	case EndOfRIB:
		c.endOfRIB(ev)
	case DuplicateCleared:
		c.duplicateCleared(ev)
	case NeighborRestored:
		c.neighborRestored(ev)
	case PlaceRestored:
		c.placeRestored(ev)
	case MACRestored:
		c.macRestored(ev)
	case IPRestored:
		c.ipRestored(ev)
	case ReplicatorRestored:
		c.replicatorRestored(ev)
	case EngineState:
		c.engineState(ev)
	case SyncRestored:
		c.sync()
	case VTEPHeard:
		c.vtepHeard(ev)
	case VTEPSilent:
		c.vtepSilent(ev)
	case MACHeard:
		c.macHeard(ev)
	case MACSilent:
		c.macSilent(ev)
	case RelayRestored:
		c.relayRestored(ev)
	case Tick:
	}
	c.settle()
}

// advance moves the clock and fires the timers that are due, so that nothing
// depends on a Tick being on time.
func (c *Core) advance(now time.Time) {
	if now.After(c.now) {
		c.now = now
	}
	c.fireTimers()
	c.sweepStale()
}

// settle decides anew what the event touched. Limits come first because they say
// which routes count, VTEPs that we speak for before the MACs behind them, MACs before
// IPs because an IP follows its MAC, addresses of a flood list before the choice among those
// that are replicators.
func (c *Core) settle() {
	for i := 0; i < len(c.refillNeighbors); i++ {
		c.refillNeighbor(c.refillNeighbors[i])
	}
	for _, f := range c.touchedFloods {
		c.settleProxy(f)
	}
	for i := 0; i < len(c.touchedMACs); i++ {
		c.settleMAC(c.touchedMACs[i])
	}
	for i := 0; i < len(c.refillVNIs); i++ {
		c.refillVNI(c.refillVNIs[i])
	}
	for _, e := range c.touchedIPs {
		c.settleIP(e)
	}
	for _, f := range c.touchedFloods {
		c.settleFlood(f)
	}
	if c.recheck {
		c.checkSessions()
	}
	for _, v := range c.touchedRelays {
		c.settleRelay(v)
	}
	for _, v := range c.choices {
		c.settleChoice(v)
	}
	c.refillNeighbors = recycle(c.refillNeighbors)
	c.touchedMACs = recycle(c.touchedMACs)
	c.refillVNIs = recycle(c.refillVNIs)
	c.touchedIPs = recycle(c.touchedIPs)
	c.touchedFloods = recycle(c.touchedFloods)
	c.touchedRelays = recycle(c.touchedRelays)
	c.choices = recycle(c.choices)
	c.forgetUnnamed()
}

// recycle empties a work list but lets go of one that a burst made large.
func recycle[T any](s []*T) []*T {
	const keep = 4096
	if cap(s) > keep {
		return nil
	}
	clear(s)
	return s[:0]
}

// NextWake is when the core next wants a [Tick]; zero when it waits for nothing.
func (c *Core) NextWake() time.Time {
	wake := c.nextTimer()
	if c.restarting == 0 {
		return wake
	}
	for _, nb := range c.neighbors {
		if at := nb.wake(); !at.IsZero() && (wake.IsZero() || at.Before(wake)) {
			wake = at
		}
	}
	return wake
}

// Synced reports whether the first full picture is there: at least one neighbour
// was up, and every neighbour that was ever up has sent End-of-RIB. The caller
// bounds the wait for neighbours that never come up or never send the marker.
// Before it, rows found in the kernel must not be removed for being unknown. Once
// true it stays true.
func (c *Core) Synced() bool { return c.synced }
