package ebpf

import (
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/flood"
)

const (
	filterName = "vtepbgp_flood"
	// withQdisc in the name tells the next start that the qdisc is ours as well.
	withQdisc    = "+clsact"
	filterHandle = 1
	// filterPriority is where we are among the filters of others: those with a lower number
	// see packets first. It is fixed, so that a crash leaves nothing that the next start
	// does not find.
	filterPriority = 4789
)

// hook keeps the programs attached to one interface.
type hook struct {
	nl              *netlink.Handle
	device          string
	ingress, egress *ebpf.Program

	index     int // of the interface that has the name; 0: none has it
	up        bool
	on        int // what we are attached to; 0: nothing
	been      bool
	madeQdisc bool
}

// parents are the two places in clsact, and the programs that belong there.
func (h *hook) parents() map[uint32]*ebpf.Program {
	return map[uint32]*ebpf.Program{netlink.HANDLE_MIN_INGRESS: h.ingress, netlink.HANDLE_MIN_EGRESS: h.egress}
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
	for parent, program := range h.parents() {
		there, err := h.attached(h.index, parent, program)
		if err != nil {
			return false, err
		}
		if there {
			continue
		}
		if err := h.attach(parent, program); err != nil {
			return false, err
		}
		repaired = h.been
	}
	h.on, h.been = h.index, true
	return repaired, nil
}

func (h *hook) attached(index int, parent uint32, program *ebpf.Program) (bool, error) {
	info, err := program.Info()
	if err != nil {
		return false, fmt.Errorf("ask for the number of a program: %w", err)
	}
	id, ok := info.ID()
	if !ok {
		return false, errors.New("ask for the number of a program: the kernel tells none (before Linux 4.13)")
	}
	found := ours(h.nl, index, parent)
	return found != nil && found.Id == int(id), nil
}

// ours gives the filter that we, or an engine before us, attached; nil when there is none.
func ours(nl *netlink.Handle, index int, parent uint32) *netlink.BpfFilter {
	for _, f := range filters(nl, index, parent) {
		b, ok := f.(*netlink.BpfFilter)
		if ok && b.Priority == filterPriority && b.Handle == filterHandle && strings.HasPrefix(b.Name, filterName) {
			return b
		}
	}
	return nil
}

// filters are all; none, without a clsact qdisc or the interface.
func filters(nl *netlink.Handle, index int, parent uint32) []netlink.Filter {
	all, err := nl.FilterList(&netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: index}}, parent)
	if err != nil {
		return nil // attaching will tell what is wrong
	}
	return all
}

func (h *hook) attach(parent uint32, program *ebpf.Program) error {
	err := h.nl.QdiscAdd(qdisc(h.index))
	switch {
	case err == nil:
		h.madeQdisc = true
	case !errors.Is(err, unix.EEXIST):
		return fmt.Errorf("add clsact to %s: %w", h.device, err)
	default:
		if err := h.checkQdisc(); err != nil {
			return err
		}
	}
	if before := ours(h.nl, h.index, parent); before != nil && strings.HasPrefix(before.Name, filterName+withQdisc) {
		h.madeQdisc = true
	}
	f := filter(h.index, parent)
	f.Fd = program.FD()
	if h.madeQdisc {
		f.Name += withQdisc
	}
	if err := h.nl.FilterReplace(f); err != nil {
		return fmt.Errorf("attach to %s: %w", h.device, err)
	}
	return nil
}

// checkQdisc refuses an ingress qdisc in the place of clsact. It has one chain for both of our programs (ingress_tcf_block,
// net/sched/sch_ingress.c), so that each would take the place of the other.
func (h *hook) checkQdisc() error {
	all, err := h.nl.QdiscList(&netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: h.index}})
	if err != nil {
		return fmt.Errorf("list qdiscs of %s: %w", h.device, err)
	}
	for _, q := range all {
		if q.Attrs().Parent == netlink.HANDLE_CLSACT && q.Type() != "clsact" {
			return fmt.Errorf("add clsact to %s: the qdisc %q has its place; what filters there needs clsact as well, or `tc qdisc del dev %s %s`",
				h.device, q.Type(), h.device, q.Type())
		}
	}
	return nil
}

func filter(index int, parent uint32) *netlink.BpfFilter {
	return &netlink.BpfFilter{
		FilterAttrs:  netlink.FilterAttrs{LinkIndex: index, Parent: parent, Handle: filterHandle, Protocol: unix.ETH_P_ALL, Priority: filterPriority},
		Name:         filterName,
		DirectAction: true,
	}
}

func qdisc(index int) *netlink.GenericQdisc {
	return &netlink.GenericQdisc{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT},
		QdiscType:  "clsact",
	}
}

// detach removes our filters from what we are attached to, and the qdisc if it was ours and
// is nobody's now. What has replaced ours stays.
func (h *hook) detach() error {
	if h.on == 0 {
		return nil
	}
	on := h.on
	h.on = 0
	var errs []error
	for parent, program := range h.parents() {
		there, err := h.attached(on, parent, program)
		if err == nil && there {
			err = remove(h.nl, on, parent)
		}
		errs = append(errs, err)
	}
	if h.madeQdisc {
		h.madeQdisc = false
		errs = append(errs, removeQdisc(h.nl, on))
	}
	return errors.Join(errs...)
}

func remove(nl *netlink.Handle, index int, parent uint32) error {
	if err := nl.FilterDel(filter(index, parent)); err != nil && !gone(err) {
		return fmt.Errorf("detach from interface %d: %w", index, err)
	}
	return nil
}

// removeQdisc removes clsact if it has no filters.
func removeQdisc(nl *netlink.Handle, index int) error {
	if len(filters(nl, index, netlink.HANDLE_MIN_INGRESS))+len(filters(nl, index, netlink.HANDLE_MIN_EGRESS)) > 0 {
		return nil
	}
	if err := nl.QdiscDel(qdisc(index)); err != nil && !gone(err) {
		return fmt.Errorf("remove clsact from interface %d: %w", index, err)
	}
	return nil
}

// gone says that what was to be removed, or the interface, is not there.
func gone(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENODEV)
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
	qdiscs, err := nl.QdiscList(nil)
	if err != nil {
		return fmt.Errorf("sweep what was left attached: %w", err)
	}
	var errs []error
	for _, q := range qdiscs {
		if q.Type() != "clsact" {
			continue
		}
		index := q.Attrs().LinkIndex
		link, err := nl.LinkByIndex(index)
		if err != nil || !interfaces(link.Attrs().Name) {
			continue // it is gone, or is to stay
		}
		errs = append(errs, sweep(nl, index))
	}
	return errors.Join(errs...)
}

func sweep(nl *netlink.Handle, index int) error {
	var errs []error
	madeQdisc := false
	for _, parent := range []uint32{netlink.HANDLE_MIN_INGRESS, netlink.HANDLE_MIN_EGRESS} {
		if left := ours(nl, index, parent); left != nil {
			madeQdisc = madeQdisc || strings.HasPrefix(left.Name, filterName+withQdisc)
			errs = append(errs, remove(nl, index, parent))
		}
	}
	if madeQdisc {
		errs = append(errs, removeQdisc(nl, index))
	}
	return errors.Join(errs...)
}
