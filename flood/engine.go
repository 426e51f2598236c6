package flood

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// Lease is for how long from now something is copied, and no longer: when whoever renews it is
// gone or hangs, another relay may have taken over.
type Lease struct {
	For time.Duration // while this process lives, should it renew nothing
	// Outlives is the same for when this process is gone, which those who would take over may
	// learn at another time. 0: it ends with the process.
	Outlives time.Duration
}

// Engine moves packets: it hears what is sent to the addresses of its table, and sends
// copies. Its methods may be called at any time, from any goroutine.
type Engine interface {
	// Name is what the configuration calls it.
	Name() string
	// Start begins to hear. Without a table nothing is heard. An interface that is not
	// there yet, or is down, is no error: it is followed.
	Start() error
	// Apply replaces the table. A packet is copied by the old or by the new one, never by a
	// mix: a VTEP that is in both gets every frame once.
	Apply(*Table) error
	// Renew replaces the lease on what leased networks copy for others. Before the first call
	// there is none. Neither it nor Keep waits for a table: leases may be shorter than one takes.
	Renew(Lease) error
	// Keep replaces the lease on all that is copied: as soon as neighbours have dropped what this
	// host announced, others copy its own frames too. Before the first call there is no end.
	Keep(Lease) error
	Counters() Counters
	// Heard are the senders on networks that asked for them, heard since a time ago.
	Heard(within time.Duration) []Heard
	Capabilities() Capabilities
	// Close stops, removes what was attached, and returns when no more copy will be sent.
	// Then all methods that can give os.ErrClosed; Counters can still be read.
	Close() error
	// Leave is Close for a process that another one follows at once: what copies without a
	// process goes on with the table that it has, until the next engine on the interface
	// has one, or the leases end. Where none follows, it has to be swept ([Kind]).
	Leave() error
}

// Heard is a sender. MAC is zero unless the network hears MACs.
type Heard struct {
	VNI  evpn.VNI
	VTEP netip.Addr
	MAC  evpn.MAC
	Age  time.Duration // since it was last heard
}

// Capabilities are what an engine can do on the running kernel.
type Capabilities struct {
	// Segmentation: packets that wait together travel as one to each VTEP.
	Segmentation bool
	// Waits: a full egress queue slows the engine down and loses nothing.
	Waits bool
	// Details are for people: what was probed, and what came out.
	Details []string
}

// Options are what every engine needs.
type Options struct {
	// Interface is the underlay on which frames are heard. Copies go where routes lead.
	Interface string
	// InNamespace runs a function with the thread in the network namespace to work in;
	// nil is the namespace of the caller.
	InNamespace func(func() error) error
	Log         *logrus.Entry
	// SendBuffer is how many bytes may be on their way to the wire at once. It has to be
	// less than what the egress queue holds, or that overflows instead of making the
	// engine wait; 0 is 64 KiB, which the kernel doubles for its own bookkeeping.
	SendBuffer int
	// ReceiveBuffer is how many bytes may wait to be copied; 0 is 16 MiB.
	ReceiveBuffer int
}

// Kind is an engine that could be had.
type Kind struct {
	Name string
	// Probe says why the running kernel cannot have it.
	Probe func(Options) error
	Open  func(Options) (Engine, error)
	// Sweep removes what engines of the kind have left behind on interfaces where none
	// follows; nil when nothing can be left.
	Sweep func(o Options, interfaces func(name string) bool) error
}

// Choice is why an engine was taken.
type Choice struct {
	Name   string
	Reason string // for people
}

// Auto has [Choose] take the first that works.
const Auto = "auto"

// Choose opens the engine with a name, or with Auto the first of kinds that works here.
// What one of another kind has left on the interface is removed. Without an engine nothing is:
// whoever has none removes all ([SweepOthers]).
func Choose(name string, kinds []Kind, o Options) (Engine, Choice, error) {
	var refused, names []string
	for _, k := range kinds {
		names = append(names, k.Name)
		if name != Auto && name != k.Name {
			continue
		}
		err := k.Probe(o)
		var e Engine
		if err == nil {
			e, err = k.Open(o)
		}
		if err == nil {
			if err := SweepOthers(k.Name, kinds, o); err != nil {
				return nil, Choice{}, errors.Join(err, e.Close())
			}
		}
		switch {
		case err == nil && name != Auto:
			return e, Choice{k.Name, "asked for by the configuration"}, nil
		case err == nil && refused == nil:
			return e, Choice{k.Name, "the first choice, and the kernel can"}, nil
		case err == nil:
			return e, Choice{k.Name, strings.Join(refused, "; ")}, nil
		}
		refused = append(refused, fmt.Sprintf("no %s: %v", k.Name, err))
	}
	if refused == nil {
		return nil, Choice{}, fmt.Errorf("no engine is called %q: there are %s and %s", name, strings.Join(names, ", "), Auto)
	}
	return nil, Choice{}, fmt.Errorf("choose an engine to flood with: %s", strings.Join(refused, "; "))
}

// SweepOthers removes what other kinds than the chosen one have left behind on the interface: it
// would copy as well. "" is no kind.
func SweepOthers(chosen string, kinds []Kind, o Options) error {
	var errs []error
	for _, k := range kinds {
		if k.Name != chosen && k.Sweep != nil {
			errs = append(errs, k.Sweep(o, func(name string) bool { return name == o.Interface }))
		}
	}
	return errors.Join(errs...)
}
