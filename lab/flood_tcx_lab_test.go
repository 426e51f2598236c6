//go:build lab

package lab_test

import (
	"errors"
	"net"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// atTCX opens each program at tcx of a device, which tc of iproute2 6.1 does not show.
func (f *flooding) atTCX(node, device string, use func(index int, at ebpf.AttachType, p *ebpf.Program) error) {
	f.t.Helper()
	require.NoError(f.t, within(f.namespace(node), func() error {
		there, err := net.InterfaceByName(device)
		if err != nil {
			return err
		}
		for _, at := range []ebpf.AttachType{ebpf.AttachTCXIngress, ebpf.AttachTCXEgress} {
			found, err := link.QueryPrograms(link.QueryOptions{Target: there.Index, Attach: at})
			if errors.Is(err, unix.ENOENT) {
				continue // nothing was ever there
			}
			if err != nil {
				return err
			}
			for _, attached := range found.Programs {
				p, err := ebpf.NewProgramFromID(attached.ID)
				if err != nil {
					return err
				}
				if err = errors.Join(use(there.Index, at, p), p.Close()); err != nil {
					return err
				}
			}
		}
		return nil
	}))
}

// detach takes all programs off tcx, as bpftool does.
func (f *flooding) detach(node, device string) {
	f.t.Helper()
	f.atTCX(node, device, func(index int, at ebpf.AttachType, p *ebpf.Program) error {
		return link.RawDetachProgram(link.RawDetachProgramOptions{Target: index, Program: p, Attach: at})
	})
}

// programs are those at tcx.
func (f *flooding) programs(node, device string) (all []string) {
	f.t.Helper()
	f.atTCX(node, device, func(_ int, at ebpf.AttachType, p *ebpf.Program) error {
		info, err := p.Info()
		if err == nil {
			all = append(all, at.String()+" "+info.Name)
		}
		return err
	})
	return all
}
