package ebpf

import (
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"

	"github.com/vtepbgp/vtepbgp/flood"
)

// attachedName is what our programs and filters are called where they are attached: the next
// start finds them by it. The kernel has room for 15 letters.
const attachedName = "vtepbgp_flood"

// place is where one program is attached: a direction of an interface.
type place struct {
	index int // of the interface
	out   bool
}

// attacher is a way to attach programs. Only one may be used at a place: two programs would copy
// each packet twice.
type attacher interface {
	// describe is for people.
	describe() string
	attached(at place, program *ebpf.Program) (bool, error)
	// attach is one step: a program of ours that an engine before has left makes room for
	// this one.
	attach(at place, program *ebpf.Program) error
	// detach takes a program off. What has replaced it stays, and that there is none is no error.
	detach(at place, program *ebpf.Program) error
	// sweep takes off what engines have left.
	sweep(at place) error
}

// hook keeps the programs attached to one interface.
type hook struct {
	nl              *netlink.Handle
	device          string
	ingress, egress *ebpf.Program
	home            *ebpf.Variable // tells the program where it is at home
	tcx             *tcx
	noTCX           error // why tcx is not used
	clsact          *clsact

	index int // of the interface that has the name; 0: none has it
	up    bool
	on    int      // what we are attached to, perhaps in part; 0: nothing
	been  bool     // attached
	facts []string // how we are attached
}

func (h *hook) program(at place) *ebpf.Program {
	if at.out {
		return h.egress
	}
	return h.ingress
}

func places(index int) []place { return []place{{index, false}, {index, true}} }

func (h *hook) ways() []attacher { return []attacher{h.tcx, h.clsact} }

// choose gives the way to attach at a place. A program at tcx sees packets before all filters of
// clsact, so it would take from those that have been put before ours what they are to see first.
func (h *hook) choose(at place) (attacher, string) {
	switch {
	case h.noTCX != nil:
		return h.clsact, fmt.Sprintf("%s (no tcx: %v)", h.clsact.describe(), h.noTCX)
	case h.clsact.behind(at):
		return h.clsact, h.clsact.describe() + " (filters of others come first there)"
	}
	return h.tcx, h.tcx.describe()
}

// locate looks which interface has the name. That there is none is no error.
func (h *hook) locate() error {
	link, err := h.nl.LinkByName(h.device)
	switch {
	case errors.As(err, new(netlink.LinkNotFoundError)):
		h.index, h.up = 0, false
	case err != nil:
		return fmt.Errorf("look for %s: %w", h.device, err)
	default:
		h.index, h.up = link.Attrs().Index, link.Attrs().Flags&net.FlagUp != 0
	}
	return nil
}

// ensure attaches to the interface that was located what is not attached there, in place
// of what a crash may have left, and lets go of one that has another name now. repaired says
// that we had been attached.
func (h *hook) ensure() (repaired bool, err error) {
	if h.on != 0 && h.on != h.index {
		if err := h.detach(); err != nil {
			return false, err
		}
	}
	if h.index == 0 {
		return false, nil
	}
	if h.on == 0 {
		if err := h.home.Set(uint32(h.index)); err != nil {
			return false, fmt.Errorf("tell the program where it is: %w", err)
		}
		h.on = h.index
	}
	var facts []string
	for _, at := range places(h.index) {
		way, fact := h.choose(at)
		if !slices.Contains(facts, fact) {
			facts = append(facts, fact)
		}
		fresh, err := h.use(way, at)
		if err != nil {
			return false, fmt.Errorf("attach to %s: %w", h.device, err)
		}
		repaired = repaired || fresh && h.been
	}
	h.been, h.facts = true, facts
	return repaired, nil
}

// use has a program attached at a place in one way, and in no other. fresh says that it was in none.
func (h *hook) use(way attacher, at place) (fresh bool, err error) {
	program := h.program(at)
	there, err := way.attached(at, program)
	if err != nil || there {
		return false, err
	}
	fresh = true
	for _, other := range h.ways() {
		if other == way {
			continue
		}
		before, err := other.attached(at, program)
		if err != nil {
			return false, err
		}
		fresh = fresh && !before
		// For a moment nothing is attached. Two would copy twice.
		if err := other.sweep(at); err != nil {
			return false, err
		}
	}
	return fresh, way.attach(at, program)
}

// detach takes our programs off what we are attached to. At tcx they stay on an interface
// that was moved to another namespace: they know that they are not at home there.
func (h *hook) detach() error {
	if h.on == 0 {
		return nil
	}
	on := h.on
	h.on = 0
	var errs []error
	for _, at := range places(on) {
		for _, way := range h.ways() {
			errs = append(errs, way.detach(at, h.program(at)))
		}
	}
	errs = append(errs, h.home.Set(uint32(0)))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("detach from interface %d: %w", on, err)
	}
	return nil
}

func sweep(ways []attacher, index int) error {
	var errs []error
	for _, at := range places(index) {
		for _, way := range ways {
			errs = append(errs, way.sweep(at))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("sweep interface %d: %w", index, err)
	}
	return nil
}

// Sweep removes what engines have left attached to interfaces: after a crash, or
// [Engine.Leave], where none follows.
func Sweep(o flood.Options, interfaces func(name string) bool) error {
	var nl *netlink.Handle
	if err := namespaceOf(o)(func() (err error) {
		nl, err = netlink.NewHandle()
		return err
	}); err != nil {
		return fmt.Errorf("sweep what was left attached: %w", err)
	}
	defer nl.Close()
	links, err := nl.LinkList()
	if err != nil {
		return fmt.Errorf("sweep what was left attached: %w", err)
	}
	ways := []attacher{&tcx{inNamespace: namespaceOf(o)}, newClsact(nl)}
	var errs []error
	for _, l := range links {
		if interfaces(l.Attrs().Name) {
			errs = append(errs, sweep(ways, l.Attrs().Index))
		}
	}
	return errors.Join(errs...)
}

// numberOf is what the kernel calls a program.
func numberOf(program *ebpf.Program) (ebpf.ProgramID, error) {
	info, err := program.Info()
	if err != nil {
		return 0, fmt.Errorf("ask for the number of a program: %w", err)
	}
	id, ok := info.ID()
	if !ok {
		return 0, errors.New("ask for the number of a program: the kernel tells none (before Linux 4.13)")
	}
	return id, nil
}
