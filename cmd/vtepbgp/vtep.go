package main

import (
	"fmt"
	"strconv"
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
		Use:   "show",
		Short: "Show the remote VTEPs over all VNIs",
		Long: "Show the remote VTEPs over all VNIs: the way that packets take to each, the networks\n" +
			"that they share with us and how many MACs live behind them. MTU is the largest IP\n" +
			"packet on the way; a VXLAN device needs 50 (over IPv6: 70) less.",
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
	t := newTable(column{name: "VTEP"}, column{name: "STATE"}, column{name: "INTERFACE"}, column{name: "GATEWAY", kind: moving},
		column{name: "MTU", right: true}, column{name: "MACS", right: true}, column{name: "VNIS", kind: remark}, column{name: "REASON", kind: remark})
	for _, v := range vteps {
		mtu := ""
		if v.MTUBytes > 0 {
			mtu = strconv.Itoa(v.MTUBytes)
		}
		t.row(v.Address, reachability(v.Reachable), v.Interface, v.Gateway, mtu, v.MACs, ranges(v.VNIs), cell{v.Reason, bad})
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
