package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/api"
	"github.com/vtepbgp/vtepbgp/evpn"
)

func newVTEPCommand(d dependencies) *cobra.Command {
	return newGroup("vtep", "Remote VTEPs", "Show remote VTEPs.", newVTEPShowCommand(d))
}

func newVTEPShowCommand(d dependencies) *cobra.Command {
	s := newShowing(d)
	var vni evpn.VNI
	cmd := &cobra.Command{
		Use:     "show",
		Short:   "Show the remote VTEPs over all VNIs",
		Long:    "Show the remote VTEPs over all VNIs: the networks they share with us and how many\nMACs live behind each.",
		Example: "  vtepbgp vtep show\n  vtepbgp vtep show --vni 100 --json",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			vteps, err := s.client().VTEPs(cmd.Context(), api.VNIFilter{VNI: vni})
			if err != nil {
				return err
			}
			return list(s, cmd, vteps, "No remote VTEPs.", vtepTable)
		},
	}
	s.addFlags(cmd)
	s.vniFlag(cmd, &vni, "only VTEPs of this `VNI`")
	return cmd
}

func vtepTable(vteps []api.VTEP) *table {
	t := newTable(column{name: "VTEP"}, column{name: "MACS", right: true}, column{name: "VNIS", kind: remark})
	for _, v := range vteps {
		t.row(v.Address, v.MACs, ranges(v.VNIs))
	}
	return t
}

// ranges shortens sorted VNIs: 1-3 7.
func ranges(vnis []evpn.VNI) string {
	var b strings.Builder
	for i := 0; i < len(vnis); {
		j := i
		for j+1 < len(vnis) && vnis[j+1] == vnis[j]+1 {
			j++
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		if i == j {
			fmt.Fprint(&b, vnis[i])
		} else {
			fmt.Fprintf(&b, "%d-%d", vnis[i], vnis[j])
		}
		i = j + 1
	}
	return b.String()
}
