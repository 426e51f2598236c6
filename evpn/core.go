package evpn

import (
	"net/netip"
	"time"
)

// Core is the state of one VTEP. See the package documentation for its contract.
type Core struct {
	cfg Config
}

// New gives a core that knows cfg and nothing else: every VNI is down.
func New(cfg Config) *Core { return &Core{cfg: cfg} }

// Handle takes one event at time now, which must not go backwards.
func (c *Core) Handle(ev Event, now time.Time) {}

// Drain gives the net effect of the events since the last Drain.
func (c *Core) Drain(now time.Time) Changes { return Changes{} }

// NextWake is when the core next wants a [Tick]; zero when it waits for nothing.
func (c *Core) NextWake() time.Time { return time.Time{} }

// Synced reports whether the first full picture is there: every neighbour that
// was ever up has sent End-of-RIB (or never will). The caller bounds the wait for
// neighbours that do not come up. Before it, rows found in the kernel must not be
// removed for being unknown.
func (c *Core) Synced() bool { return false }

// Desired lists the whole intended state.
func (c *Core) Desired() Desired { return Desired{} }

// Routes lists received routes and our own, in canonical order (key, neighbour),
// calling yield for each until it returns false.
func (c *Core) Routes(yield func(RouteInfo) bool) {}

// MACs lists the MACs of one VNI (0 = all) in canonical order.
func (c *Core) MACs(vni VNI, yield func(MACInfo) bool) {}

// VNIs lists the configured VNIs in order.
func (c *Core) VNIs() []VNIInfo { return nil }

// VTEPs lists the remote VTEPs in order of address.
func (c *Core) VTEPs() []VTEPInfo { return nil }

// Flood lists the flood list of one VNI (0 = all), in order.
func (c *Core) Flood(vni VNI) []FloodEntry { return nil }

// AcceptedRoutes counts, per neighbour, the routes that some VNI imports and that
// carry no [Reason] which makes them unusable.
func (c *Core) AcceptedRoutes(neighbor netip.Addr) int { return 0 }
