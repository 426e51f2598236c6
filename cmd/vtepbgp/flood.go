package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/api"
	"github.com/vtepbgp/vtepbgp/evpn"
)

func newFloodCommand(d dependencies) *cobra.Command {
	return newGroup("flood", "Flood lists", "Show the flood lists: who gets broadcast, unknown-unicast and multicast frames.",
		newFloodShowCommand(d))
}

func newFloodShowCommand(d dependencies) *cobra.Command {
	s := newShowing(d)
	var vni evpn.VNI
	cmd := &cobra.Command{
		Use:               "show [VNI]",
		Short:             "Show the flood list of each VNI",
		Long:              "Show the flood list of each VNI: the VTEPs that get a copy of every broadcast,\nunknown-unicast and multicast frame, and how we know of them.",
		Example:           "  vtepbgp flood show\n  vtepbgp flood show 100 --json",
		ValidArgsFunction: completeArgument(s.vniWords),
		Args:              vniArgument(&vni),
		RunE: func(cmd *cobra.Command, _ []string) error {
			flood, err := s.client().Flood(cmd.Context(), api.VNIFilter{VNI: vni})
			if err != nil {
				return err
			}
			return list(s, cmd, flood, "No VNIs are configured.", floodTable)
		},
	}
	s.addFlags(cmd)
	s.vniFlag(cmd, &vni, "only this `VNI`")
	return cmd
}

func floodTable(flood []api.Flood) *table {
	t := newTable(column{name: "VNI", right: true}, column{name: "MODE"}, column{name: "ENGINE"}, column{name: "VTEP"},
		column{name: "SOURCE"}, column{name: "KERNEL"}, column{name: "COUNTERS", kind: remark})
	for _, f := range flood {
		var counters []string
		for _, name := range slices.Sorted(maps.Keys(f.Counters)) {
			counters = append(counters, fmt.Sprintf("%s=%d", name, f.Counters[name]))
		}
		counted := strings.Join(counters, " ")
		if len(f.VTEPs) == 0 {
			t.row(f.VNI, f.Mode, f.Engine, "", "", "", counted)
		}
		for _, v := range f.VTEPs {
			kernel := cell{"installed", good}
			if !v.Installed {
				kernel = cell{"pending", warned}
			}
			t.row(f.VNI, f.Mode, f.Engine, v.Address, v.Source, kernel, counted)
			counted = ""
		}
	}
	return t
}
