package ebpf

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// tcx attaches where Linux 6.6 and later has programs in an order of their own, before clsact and
// without its classifier. Attached without a link (BPF_PROG_ATTACH) a program stays as a filter does: a
// link goes with its process unless it is pinned in a file system that has to be mounted.
type tcx struct {
	inNamespace func(func() error) error // the kernel looks for interfaces in that of the thread
}

// probeTCX says why tcx cannot be used.
func probeTCX(program *ebpf.Program) error {
	const loopback = 1
	_, err := link.QueryPrograms(link.QueryOptions{Target: loopback, Attach: ebpf.AttachTCXIngress})
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("ask for programs there, which Linux has since 6.6: %w", err)
	}
	// What a crash has left is known by its name, which only an open program tells.
	id, err := numberOf(program)
	if err != nil {
		return err
	}
	opened, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return fmt.Errorf("open a program by its number, which takes CAP_SYS_ADMIN: %w", err)
	}
	return opened.Close()
}

func (t *tcx) describe() string {
	return "tcx: the program sees packets before clsact and the kernel's stack"
}

func (at place) tcx() ebpf.AttachType {
	if at.out {
		return ebpf.AttachTCXEgress
	}
	return ebpf.AttachTCXIngress
}

// programs are the numbers of all; none without the interface.
func (t *tcx) programs(at place) (ids []ebpf.ProgramID, err error) {
	err = t.inNamespace(func() error {
		found, err := link.QueryPrograms(link.QueryOptions{Target: at.index, Attach: at.tcx()})
		if err != nil {
			return err
		}
		for _, p := range found.Programs {
			ids = append(ids, p.ID)
		}
		return nil
	})
	if err != nil && !nothingThere(err) {
		return nil, fmt.Errorf("ask for the programs at tcx: %w", err)
	}
	return ids, nil
}

func (t *tcx) attached(at place, program *ebpf.Program) (bool, error) {
	id, err := numberOf(program)
	if err != nil {
		return false, err
	}
	ids, err := t.programs(at)
	return slices.Contains(ids, id), err
}

// ours opens the programs that we, or an engine before us, attached.
func (t *tcx) ours(at place) (left []*ebpf.Program, err error) {
	ids, err := t.programs(at)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		p, err := ebpf.NewProgramFromID(id)
		if err != nil {
			continue // it has gone meanwhile; or we may not, and then we attach nothing there
		}
		if info, err := p.Info(); err == nil && info.Name == attachedName {
			left = append(left, p)
			continue
		}
		_ = p.Close()
	}
	return left, nil
}

func (t *tcx) attach(at place, program *ebpf.Program) error {
	left, err := t.ours(at)
	if err != nil {
		return err
	}
	defer closeAll(left)
	how := link.RawAttachProgramOptions{Target: at.index, Program: program, Attach: at.tcx(), Anchor: link.Tail()}
	for i, p := range left {
		if i == 0 {
			how.Anchor = link.ReplaceProgram(p)
			continue
		}
		if err := t.detach(at, p); err != nil {
			return err
		}
	}
	if err := t.inNamespace(func() error { return link.RawAttachProgram(how) }); err != nil {
		return fmt.Errorf("put the program at tcx: %w", err)
	}
	return nil
}

func (t *tcx) detach(at place, program *ebpf.Program) error {
	err := t.inNamespace(func() error {
		return link.RawDetachProgram(link.RawDetachProgramOptions{Target: at.index, Program: program, Attach: at.tcx()})
	})
	if err != nil && !nothingThere(err) {
		return fmt.Errorf("take the program off tcx: %w", err)
	}
	return nil
}

func (t *tcx) sweep(at place) error {
	left, err := t.ours(at)
	if err != nil {
		return err
	}
	defer closeAll(left)
	errs := []error{}
	for _, p := range left {
		errs = append(errs, t.detach(at, p))
	}
	return errors.Join(errs...)
}

func closeAll(programs []*ebpf.Program) {
	for _, p := range programs {
		_ = p.Close()
	}
}

// nothingThere says that there is no program, no interface, or (before Linux 6.6) no tcx.
func nothingThere(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EINVAL)
}
