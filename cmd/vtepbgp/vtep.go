package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/api"
	"github.com/vtepbgp/vtepbgp/evpn"
)

func newVTEPCommand(d dependencies) *cobra.Command {
	return newGroup("vtep", "Remote VTEPs", "Show remote VTEPs, and add those that speak no BGP to flood lists.",
		newVTEPShowCommand(d), newVTEPAddCommand(d), newVTEPDeleteCommand(d))
}

func newVTEPAddCommand(d dependencies) *cobra.Command {
	return newVTEPChangeCommand(d, &cobra.Command{
		Use:   "add ADDRESS --vni VNI",
		Short: "Add a VTEP that speaks no BGP to the flood list of a VNI",
		Long: `Add a VTEP that speaks no BGP to the flood list of a VNI, at once and until
"vtepbgp vtep delete": over restarts and reloads, in the state directory. The
configuration file is left alone; [[vni.static_vtep]] there does the same.

Nobody else is told of it: add it wherever frames for it are copied. That is the
replicator of a VNI with flooding = "assisted", and not the leaf.`,
		Example: "  vtepbgp vtep add 10.0.0.9 --vni 100",
	}, (*api.Client).AddVTEP, "added", func(*asking, *evpn.VNI) func(*cobra.Command) []string {
		return func(*cobra.Command) []string { return nil }
	})
}

func newVTEPDeleteCommand(d dependencies) *cobra.Command {
	return newVTEPChangeCommand(d, &cobra.Command{
		Use:     "delete ADDRESS --vni VNI",
		Aliases: []string{"del"},
		Short:   "Take a VTEP off a flood list that \"vtep add\" put there",
		Long: `Take a VTEP off the flood list of a VNI, to which "vtepbgp vtep add" had added it. One that BGP or
the configuration file names as well stays on the list.`,
		Example: "  vtepbgp vtep delete 10.0.0.9 --vni 100",
	}, (*api.Client).DeleteVTEP, "deleted", func(a *asking, vni *evpn.VNI) func(*cobra.Command) []string {
		return func(cmd *cobra.Command) []string { return a.staticWords(cmd, *vni) }
	})
}

func newVTEPChangeCommand(
	d dependencies, cmd *cobra.Command, change func(*api.Client, context.Context, evpn.VNI, netip.Addr) error, done string,
	words func(*asking, *evpn.VNI) func(*cobra.Command) []string,
) *cobra.Command {
	a := &asking{deps: d}
	var vni evpn.VNI
	var address netip.Addr
	cmd.Args = func(_ *cobra.Command, args []string) (err error) {
		switch {
		case vni == 0:
			return errors.New("want --vni")
		case len(args) != 1:
			return errors.New("want one address of a VTEP")
		}
		address, err = parseAddress(args[0])
		return err
	}
	cmd.ValidArgsFunction = completeArgument(words(a, &vni))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := change(a.client(), cmd.Context(), vni, address); err != nil {
			return err
		}
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "VNI %s: %s %s\n", vni, address, done)
		return err
	}
	a.vniFlag(cmd, &vni, "the `VNI` of the flood list")
	a.addFlags(cmd)
	return cmd
}

// staticWords offers the VTEPs of a flood list that BGP did not bring.
func (a *asking) staticWords(cmd *cobra.Command, vni evpn.VNI) (words []string) {
	ctx, cancel := completionContext(cmd)
	defer cancel()
	flood, err := a.client().Flood(ctx, api.VNIFilter{VNI: vni})
	if err != nil {
		return nil
	}
	for _, f := range flood {
		for _, v := range f.VTEPs {
			if v.Source == evpn.SourceStatic {
				words = append(words, v.Address.String())
			}
		}
	}
	return words
}

func newVTEPShowCommand(d dependencies) *cobra.Command {
	s := newShowing(d)
	var vni evpn.VNI
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Show the remote VTEPs over all VNIs",
		Long: "Show the remote VTEPs over all VNIs: the way that packets take to each, the networks\n" +
			"that they share with us and how many MACs live behind them. SOURCE says how they came\n" +
			"onto flood lists: bgp, static (the configuration, or \"vtep add\"), proxy (heard on a\n" +
			"segment, and announced by us), data (heard at the service address). MTU is the largest\n" +
			"IP packet on the way; a VXLAN device needs 50 (over IPv6: 70) less.",
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
	t := newTable(column{name: "VTEP"}, column{name: "STATE"}, column{name: "SOURCE", kind: moving}, column{name: "INTERFACE"}, column{name: "GATEWAY", kind: moving},
		column{name: "MTU", right: true}, column{name: "MACS", right: true}, column{name: "VNIS", kind: remark}, column{name: "REASON", kind: remark})
	for _, v := range vteps {
		mtu := ""
		if v.MTUBytes > 0 {
			mtu = strconv.Itoa(v.MTUBytes)
		}
		t.row(v.Address, reachability(v.Reachable), joinShown(v.Sources, ","), v.Interface, v.Gateway, mtu, v.MACs, ranges(v.VNIs), cell{v.Reason, bad})
	}
	return t
}

func reachability(reachable bool) cell {
	if reachable {
		return cell{"reachable", good}
	}
	return cell{"unreachable", bad}
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
