package ebpf

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	filterName   = "vtepbgp_flood"
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

	index     int // of the interface that we attached to; 0: none yet
	madeQdisc bool
}

// ensure attaches what is not attached. repaired says that it had been. An interface
// that is not there is no error.
func (h *hook) ensure() (repaired bool, err error) {
	link, err := h.nl.LinkByName(h.device)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for %s: %w", h.device, err)
	}
	before := h.index
	index := link.Attrs().Index
	for parent, program := range map[uint32]*ebpf.Program{netlink.HANDLE_MIN_INGRESS: h.ingress, netlink.HANDLE_MIN_EGRESS: h.egress} {
		there, err := h.attached(link, parent, program)
		if err != nil {
			return false, err
		}
		if there {
			continue
		}
		if err := h.attach(index, parent, program); err != nil {
			return false, err
		}
		repaired = before != 0
	}
	h.index = index
	return repaired, nil
}

func (h *hook) attached(link netlink.Link, parent uint32, program *ebpf.Program) (bool, error) {
	info, err := program.Info()
	if err != nil {
		return false, fmt.Errorf("ask for the number of a program: %w", err)
	}
	id, ok := info.ID()
	if !ok {
		return false, errors.New("ask for the number of a program: the kernel tells none (before Linux 4.13)")
	}
	filters, err := h.nl.FilterList(link, parent)
	if err != nil {
		// Without a clsact qdisc.
		return false, nil //nolint:nilerr // attaching will tell what is wrong
	}
	for _, f := range filters {
		if b, ok := f.(*netlink.BpfFilter); ok && b.Id == int(id) {
			return true, nil
		}
	}
	return false, nil
}

func (h *hook) attach(index int, parent uint32, program *ebpf.Program) error {
	err := h.nl.QdiscAdd(h.qdisc(index))
	switch {
	case err == nil:
		h.madeQdisc = true
	case !errors.Is(err, unix.EEXIST):
		return fmt.Errorf("add clsact to %s: %w", h.device, err)
	}
	f := filter(index, parent)
	f.Fd = program.FD()
	if err := h.nl.FilterReplace(f); err != nil {
		return fmt.Errorf("attach to %s: %w", h.device, err)
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

func (h *hook) qdisc(index int) *netlink.GenericQdisc {
	return &netlink.GenericQdisc{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT},
		QdiscType:  "clsact",
	}
}

// detach removes our filters, and the qdisc if it was ours and is nobody's now.
func (h *hook) detach() error {
	if h.index == 0 {
		return nil
	}
	link, err := h.nl.LinkByIndex(h.index)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for %s: %w", h.device, err)
	}
	var errs []error
	left := 0
	for parent, program := range map[uint32]*ebpf.Program{netlink.HANDLE_MIN_INGRESS: h.ingress, netlink.HANDLE_MIN_EGRESS: h.egress} {
		if there, err := h.attached(link, parent, program); err != nil || !there {
			errs = append(errs, err)
			continue
		}
		if err := h.nl.FilterDel(filter(h.index, parent)); err != nil && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("detach from %s: %w", h.device, err))
		}
	}
	for _, parent := range []uint32{netlink.HANDLE_MIN_INGRESS, netlink.HANDLE_MIN_EGRESS} {
		others, err := h.nl.FilterList(link, parent)
		if err == nil {
			left += len(others)
		}
	}
	if h.madeQdisc && left == 0 {
		if err := h.nl.QdiscDel(h.qdisc(h.index)); err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINVAL) {
			errs = append(errs, fmt.Errorf("remove clsact from %s: %w", h.device, err))
		}
	}
	return errors.Join(errs...)
}
