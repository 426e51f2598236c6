package ebpf

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// withQdisc in the name of a filter tells the next start that the qdisc is ours as well.
	withQdisc    = "+clsact"
	filterHandle = 1
	// filterPriority is where we are among the filters of others: those with a lower number
	// see packets first. It is fixed, so that a crash leaves nothing that the next start
	// does not find.
	filterPriority = 4789
)

// clsact attaches by filters of the qdisc of that name, which any kernel has that has the rest.
type clsact struct {
	nl   *netlink.Handle
	made map[int]bool // interfaces whose qdisc is ours
}

func newClsact(nl *netlink.Handle) *clsact { return &clsact{nl: nl, made: map[int]bool{}} }

func (c *clsact) describe() string {
	return "clsact: the program sees packets before the kernel's stack"
}

func (at place) parent() uint32 {
	if at.out {
		return netlink.HANDLE_MIN_EGRESS
	}
	return netlink.HANDLE_MIN_INGRESS
}

func (c *clsact) attached(at place, program *ebpf.Program) (bool, error) {
	id, err := numberOf(program)
	if err != nil {
		return false, err
	}
	found := c.ours(at)
	return found != nil && found.Id == int(id), nil
}

// ours gives the filter that we, or an engine before us, attached; nil when there is none.
func (c *clsact) ours(at place) *netlink.BpfFilter {
	for _, f := range c.filters(at) {
		if b, ok := f.(*netlink.BpfFilter); ok && isOurs(b) {
			return b
		}
	}
	return nil
}

func isOurs(b *netlink.BpfFilter) bool {
	return b.Priority == filterPriority && b.Handle == filterHandle && strings.HasPrefix(b.Name, attachedName)
}

// behind says that filters of others come before ours.
func (c *clsact) behind(at place) bool {
	return slices.ContainsFunc(c.filters(at), func(f netlink.Filter) bool { return f.Attrs().Priority < filterPriority }) && !c.taken(at.index)
}

// taken says that an interface has an ingress qdisc in the place of clsact. It has one chain for both directions
// (ingress_tcf_block, net/sched/sch_ingress.c), in which each of our programs would take the place of the other.
func (c *clsact) taken(index int) bool {
	all, err := c.nl.QdiscList(&netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: index}})
	return err == nil && slices.ContainsFunc(all, func(q netlink.Qdisc) bool { return q.Type() == "ingress" })
}

// filters are all; none, without a clsact qdisc or the interface.
func (c *clsact) filters(at place) []netlink.Filter {
	all, err := c.nl.FilterList(&netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: at.index}}, at.parent())
	if err != nil {
		return nil // attaching will tell what is wrong
	}
	return all
}

func (c *clsact) attach(at place, program *ebpf.Program) error {
	err := c.nl.QdiscAdd(qdisc(at.index))
	switch {
	case err == nil:
		c.made[at.index] = true
	case !errors.Is(err, unix.EEXIST):
		return fmt.Errorf("add clsact: %w", err)
	case c.taken(at.index):
		return errors.New("add clsact: the qdisc \"ingress\" has its place: what filters there needs clsact as well, or remove it")
	}
	c.inherit(c.ours(at))
	f := filter(at)
	f.Fd = program.FD()
	if c.made[at.index] {
		f.Name += withQdisc
	}
	if err := c.nl.FilterReplace(f); err != nil {
		return fmt.Errorf("replace filter: %w", err)
	}
	return nil
}

// inherit notes whose the qdisc is, as the name of a filter of ours says.
func (c *clsact) inherit(left *netlink.BpfFilter) {
	if left != nil && strings.HasPrefix(left.Name, attachedName+withQdisc) {
		c.made[left.LinkIndex] = true
	}
}

func filter(at place) *netlink.BpfFilter {
	return &netlink.BpfFilter{
		FilterAttrs:  netlink.FilterAttrs{LinkIndex: at.index, Parent: at.parent(), Handle: filterHandle, Protocol: unix.ETH_P_ALL, Priority: filterPriority},
		Name:         attachedName,
		DirectAction: true,
	}
}

func qdisc(index int) *netlink.GenericQdisc {
	return &netlink.GenericQdisc{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT},
		QdiscType:  "clsact",
	}
}

func (c *clsact) detach(at place, program *ebpf.Program) error {
	there, err := c.attached(at, program)
	if err == nil && there {
		err = c.remove(at)
	}
	return errors.Join(err, c.removeQdisc(at.index))
}

func (c *clsact) sweep(at place) error {
	left := c.ours(at)
	if left == nil {
		return nil
	}
	c.inherit(left)
	return errors.Join(c.remove(at), c.removeQdisc(at.index))
}

func (c *clsact) remove(at place) error {
	if err := c.nl.FilterDel(filter(at)); err != nil && !gone(err) {
		return fmt.Errorf("delete filter: %w", err)
	}
	return nil
}

// removeQdisc removes a qdisc of ours that has no filters.
func (c *clsact) removeQdisc(index int) error {
	if !c.made[index] {
		return nil
	}
	for _, at := range places(index) {
		if len(c.filters(at)) > 0 {
			return nil
		}
	}
	delete(c.made, index)
	if err := c.nl.QdiscDel(qdisc(index)); err != nil && !gone(err) {
		return fmt.Errorf("remove clsact: %w", err)
	}
	return nil
}

// gone says that what was to be removed, or the interface, is not there.
func gone(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENODEV)
}
