package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/api"
	"github.com/vtepbgp/vtepbgp/evpn"
)

func newVNICommand(d dependencies) *cobra.Command {
	return newGroup("vni", "VXLAN networks", "Show VXLAN networks.", newVNIShowCommand(d))
}

func newVNIShowCommand(d dependencies) *cobra.Command {
	s := newShowing(d)
	var vni evpn.VNI
	cmd := &cobra.Command{
		Use:               "show [VNI]",
		Short:             "Show the VNIs, or one in detail, with what is wrong with them",
		Long:              "Show the VNIs, or one in detail, with what is wrong with them.",
		Example:           "  vtepbgp vni show\n  vtepbgp vni show 100\n  vtepbgp vni show --json | jq '.[] | select(.problems != [])'",
		ValidArgsFunction: completeArgument(s.vniWords),
		Args:              vniArgument(&vni),
		RunE: func(cmd *cobra.Command, args []string) error {
			vnis, err := s.client().VNIs(cmd.Context(), api.VNIFilter{VNI: vni})
			if err != nil {
				return err
			}
			if len(args) == 1 && !s.isJSON() && len(vnis) == 1 {
				return vniPairs(vnis[0]).write(cmd.OutOrStdout(), s.colour(cmd))
			}
			return list(s, cmd, vnis, "No VNIs are configured.", vniTable)
		},
	}
	s.addFlags(cmd)
	s.vniFlag(cmd, &vni, "only this `VNI`")
	return cmd
}

// vniArgument takes at most one VNI.
func vniArgument(vni *evpn.VNI) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := atMostOne(cmd, args); err != nil || len(args) == 0 {
			return err
		}
		if cmd.Flags().Changed("vni") {
			return fmt.Errorf("want the VNI once, as argument or with --vni")
		}
		var err error
		*vni, err = evpn.ParseVNI(args[0])
		return err
	}
}

func upDown(state string) cell {
	if state == "up" {
		return cell{state, good}
	}
	return cell{state, bad}
}

func readiness(state string) cell {
	switch state {
	case "ready":
		return cell{state, good}
	case "not ready":
		return cell{state, bad}
	default:
		return cell{state, plain}
	}
}

func vniTable(vnis []api.VNI) *table {
	t := newTable(column{name: "VNI", right: true}, column{name: "STATE"}, column{name: "DEVICE"}, column{name: "BRIDGE"},
		column{name: "LOCAL", right: true}, column{name: "REMOTE", right: true}, column{name: "VTEPS", right: true},
		column{name: "FLOODING"}, column{name: "SUPPRESSION"}, column{name: "RD", kind: moving}, column{name: "PROBLEMS", kind: remark})
	for _, v := range vnis {
		t.row(v.VNI, upDown(v.State), v.Device, v.Bridge, v.LocalMACs, v.RemoteMACs, v.VTEPs, v.Flooding, readiness(v.SuppressionState), v.RD,
			cell{joinShown(v.Problems, "; "), bad})
	}
	return t
}

func vniPairs(v api.VNI) *pairs {
	p := &pairs{}
	p.add("VNI", v.VNI)
	p.add("State", upDown(v.State))
	p.add("Device", v.Device)
	p.add("Bridge", v.Bridge)
	p.add("MTU", v.MTUBytes)
	p.add("VTEP address", v.VTEPAddress)
	p.add("RD", v.RD)
	p.add("Export targets", joinShown(v.ExportRT, ", "))
	p.add("Import targets", joinShown(v.ImportRT, ", "))
	p.add("Flooding", v.Flooding)
	p.add("ARP/ND suppression", readiness(v.SuppressionState))
	for _, what := range v.SuppressionMissing {
		p.add("Missing for it", cell{what, bad})
	}
	macs := fmt.Sprintf("%d local, %d remote", v.LocalMACs, v.RemoteMACs)
	if v.MaxMACs > 0 {
		macs += fmt.Sprintf(" of at most %d", v.MaxMACs)
	}
	p.add("MACs", macs)
	p.add("VTEPs", v.VTEPs)
	for _, problem := range v.Problems {
		p.add("Problem", cell{problem, bad})
	}
	return p
}
