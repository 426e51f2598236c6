package kernel

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// Table says where a [Drift] is.
type Table string

// The places that are compared.
const (
	FloodTable    Table = "flood"    // zero-MAC rows of the VXLAN device
	VXLANTable    Table = "vxlan"    // MACs in the VXLAN device's own table
	BridgeTable   Table = "bridge"   // MACs in the bridge's table
	NeighborTable Table = "neighbor" // IP addresses on the bridge
	LocalTable    Table = "local"    // MACs on access ports, against what the core was told
	LinkTable     Table = "link"     // the links and their settings
	AddressTable  Table = "address"  // service addresses and memberships of groups
)

// State is how a row or a setting of the kernel compares with intent.
type State string

// How a row or a setting compares with intent.
const (
	Equal   State = "equal"
	Missing State = "missing" // wanted and not there
	Wrong   State = "wrong"   // there, but not as wanted
	Extra   State = "extra"   // bears our marks, and nobody asked for it
	// Unconfirmed rows were found at start; they wait for the neighbours' word.
	Unconfirmed State = "unconfirmed"
	// Foreign is what differs from what we would make and is somebody else's: we
	// leave it.
	Foreign State = "foreign"
)

// Drift is one row or setting of the kernel beside what was intended.
type Drift struct {
	Table Table
	VNI   evpn.VNI // 0 for an address that no VNI alone has
	Link  string   // that has the row
	MAC   evpn.MAC
	IP    netip.Addr // VTEP or group of a flood row, host of a neighbour, address of ours
	// Setting names what of a link is compared.
	Setting string
	State   State
	// Expected and Found are in the words of bridge(8), ip(8) and ip-link(8).
	Expected string
	Found    string
	// Pending says that the difference is on its way out: a write waits for its turn,
	// or the core has to decide first.
	Pending bool
	Err     error // what the kernel said to the last write
}

// Counts reports whether the kernel differs from intent here in a way that
// [Kernel.Repair] would change.
func (d Drift) Counts() bool {
	return !d.Pending && (d.State == Missing || d.State == Wrong || d.State == Extra)
}

// differs is Counts without regard to what is on its way.
func (d Drift) differs() bool { d.Pending = false; return d.Counts() }

func (d Drift) compare(o Drift) int {
	return cmp.Or(
		cmp.Compare(d.VNI, o.VNI), cmp.Compare(tableOrder[d.Table], tableOrder[o.Table]), cmp.Compare(d.Link, o.Link),
		d.MAC.Compare(o.MAC), d.IP.Compare(o.IP), cmp.Compare(d.Setting, o.Setting),
	)
}

var tableOrder = map[Table]int{LinkTable: 1, FloodTable: 2, VXLANTable: 3, BridgeTable: 4, NeighborTable: 5, LocalTable: 6, AddressTable: 7}

// same reports that two looks saw the same difference.
func (d Drift) same(o Drift) bool {
	return d.compare(o) == 0 && d.State == o.State && d.Expected == o.Expected && d.Found == o.Found
}

const (
	driftPause = 30 * time.Millisecond // between two looks, for events to be taken in
	driftWait  = 2 * time.Second       // for writes that wait, and for all looks
)

// Drift reads the kernel anew and compares it with intent: the rows and links of
// one VNI (0 = all), in order. It gives what differs, and what is foreign. What one
// look finds may be a write on its way, so a difference is one only when a second
// look finds it too; what keeps changing is pending.
func (k *Kernel) Drift(ctx context.Context, vni evpn.VNI) ([]Drift, error) {
	k.driftMu.Lock() // one at a time: a large table takes some memory
	defer k.driftMu.Unlock()
	f, deadline := scope{vni: vni}, time.Now().Add(driftWait)
	before, err := k.survey(f)
	for err == nil && slices.ContainsFunc(before, Drift.differs) {
		k.awaitIdle(ctx, deadline)
		var now []Drift
		if now, err = k.survey(f); err != nil {
			break
		}
		sure := true
		for i := range now {
			d := &now[i]
			if !d.differs() || d.Pending {
				continue
			}
			at, seen := slices.BinarySearchFunc(before, *d, Drift.compare)
			d.Pending = !seen || !before[at].same(*d)
			sure = sure && !d.Pending
		}
		before = now
		if sure || ctx.Err() != nil || time.Now().After(deadline) {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	return before, ctx.Err()
}

// Inspect reads the kernel anew and gives the rows of some MACs and IP addresses of
// one VNI, those as they should be and those of access ports too.
func (k *Kernel) Inspect(_ context.Context, vni evpn.VNI, macs []evpn.MAC, ips []netip.Addr) ([]Drift, error) {
	return k.survey(scope{vni: vni, only: true, macs: macs, ips: ips})
}

// scope is what a look is about.
type scope struct {
	vni  evpn.VNI // 0 = all
	only bool     // just these rows, also equal ones, and no links
	macs []evpn.MAC
	ips  []netip.Addr
}

func (s scope) hasVNI(v evpn.VNI) bool { return s.vni == 0 || s.vni == v }
func (s scope) hasMAC(m evpn.MAC) bool { return !s.only || slices.Contains(s.macs, m) }
func (s scope) hasIP(a netip.Addr) bool {
	return !s.only || slices.Contains(s.ips, a)
}

// awaitIdle waits a moment, and longer while something waits to be written.
func (k *Kernel) awaitIdle(ctx context.Context, deadline time.Time) {
	t := time.NewTicker(driftPause)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if k.quiet() || time.Now().After(deadline) {
			return
		}
	}
}

// quiet says that nothing waits to be read or written, but for what is tried again
// later.
func (k *Kernel) quiet() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	due := func(t time.Time) bool { return !t.IsZero() && !now.Before(t) }
	return k.pending.len() == 0 && !due(k.due.links) && !due(k.due.dump) && !due(k.due.retry)
}

// Repair reads links and rows again and writes what differs, those rows too that
// wait for another try. It returns when nothing is left to write. The kernel must run.
func (k *Kernel) Repair(ctx context.Context) error {
	read := make(chan struct{})
	k.mu.Lock()
	k.due.asked = append(k.due.asked, read)
	k.wantDump("repair", 0)
	k.wantLinks(0)
	for _, f := range k.failures {
		f.at = time.Time{}
	}
	k.wantRetry(time.Now())
	k.mu.Unlock()
	signal(k.wake)
	select {
	case <-read:
		k.awaitIdle(ctx, time.Now().Add(driftWait))
	case <-ctx.Done():
	}
	return ctx.Err()
}
