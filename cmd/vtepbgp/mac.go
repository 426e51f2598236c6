package main

import (
	"bufio"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/api"
	"github.com/vtepbgp/vtepbgp/evpn"
)

func newMACCommand(d dependencies) *cobra.Command {
	return newGroup("mac", "MAC addresses", "Show MAC addresses and thaw those frozen as duplicate.",
		newMACShowCommand(d), newMACClearCommand(d))
}

func newMACShowCommand(d dependencies) *cobra.Command {
	s := newShowing(d)
	var f api.MACFilter
	var ip netip.Addr
	var local, remote, static, proxy bool
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Show the MACs of the VNIs, local and remote",
		Long: `Show the MACs of the VNIs, local and remote: where each lives and its addresses. One of
origin "proxy" is behind a VTEP of a multicast segment that runs no EVPN: we announce it.

FLAGS: sticky = never moves (RFC 7432 section 15.2); gateway = default gateway of its
hosts; duplicate = frozen, it moved too often; duplicate-ip = an IP of it is frozen,
other MACs claim it too; stale = of a neighbour that restarts; long-lived-stale = of one
that has been away for longer (RFC 9494); unreachable = no way to the VTEP; pending = not
in the kernel yet.`,
		Example: "  vtepbgp mac show --vni 100\n  vtepbgp mac show --remote --vtep 10.0.0.2\n  vtepbgp mac show --duplicate --json",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for origin, wanted := range map[evpn.Origin]bool{
				evpn.OriginLocal: local, evpn.OriginRemote: remote, evpn.OriginStatic: static, evpn.OriginProxy: proxy,
			} {
				if wanted {
					f.Origin = origin
				}
			}
			matches := func(m api.MAC) bool { return !ip.IsValid() || slices.Contains(m.IPs, ip) }
			return stream(s, cmd, "No MACs match.", macTable(), addMAC, func(yield func(api.MAC) error) error {
				return s.client().MACs(cmd.Context(), f, func(m api.MAC) error {
					if !matches(m) {
						return nil
					}
					return yield(m)
				})
			})
		},
	}
	s.addFlags(cmd)
	s.vniFlag(cmd, &f.VNI, "only this `VNI`")
	macFlag(cmd, &f.MAC, "only this `MAC`")
	addressFlag(cmd, &ip, "ip", "only MACs with this `IP` address")
	addressFlag(cmd, &f.VTEP, "vtep", "only MACs behind this VTEP `ADDRESS`")
	cmd.Flags().BoolVar(&local, "local", false, "only local ones")
	cmd.Flags().BoolVar(&remote, "remote", false, "only those learned by BGP")
	cmd.Flags().BoolVar(&static, "static", false, "only those from the configuration")
	cmd.Flags().BoolVar(&proxy, "proxy", false, "only those behind VTEPs of a segment that we speak for")
	cmd.Flags().BoolVar(&f.Duplicate, "duplicate", false, "only those frozen as duplicate")
	exclusive(cmd, "local", "remote", "static", "proxy")
	return cmd
}

// exclusive refuses more than one of the flags as a usage error.
func exclusive(cmd *cobra.Command, flags ...string) {
	check := cmd.Args
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		var set []string
		for _, f := range flags {
			if cmd.Flags().Changed(f) {
				set = append(set, "--"+f)
			}
		}
		if len(set) > 1 {
			return fmt.Errorf("%s contradict each other: want one of them", strings.Join(set, " and "))
		}
		return check(cmd, args)
	}
}

// stream prints a long list: as JSON element by element as it arrives, as a
// table when it is complete. none is said instead of an empty table.
func stream[T any](s *showing, cmd *cobra.Command, none string, t *table, add func(*table, T), ask func(func(T) error) error) error {
	if s.isJSON() {
		w := bufio.NewWriter(cmd.OutOrStdout())
		l := jsonList{w: w}
		if err := ask(func(v T) error { return l.add(v) }); err != nil {
			return err
		}
		return errors.Join(l.close(), w.Flush())
	}
	err := ask(func(v T) error { add(t, v); return nil })
	switch {
	case err != nil:
		return err
	case len(t.rows) == 0 && none == "":
		return nil
	case len(t.rows) == 0:
		_, err = fmt.Fprintln(cmd.OutOrStdout(), none)
		return err
	}
	return t.write(cmd.OutOrStdout(), s.colour(cmd))
}

func macTable() *table {
	return newTable(column{name: "VNI", right: true}, column{name: "MAC"}, column{name: "ORIGIN"}, column{name: "WHERE"},
		column{name: "SEQ", right: true}, column{name: "FLAGS", kind: remark}, column{name: "IPS", kind: remark})
}

func addMAC(t *table, m api.MAC) {
	where := m.Port
	if m.VTEP.IsValid() {
		where = m.VTEP.String()
	}
	var flags []string
	level := plain
	for _, flag := range []struct {
		set   bool
		name  string
		style style
	}{
		{m.Sticky, "sticky", plain},
		{m.Gateway, "gateway", plain},
		{m.Stale && !m.LongLivedStale, "stale", warned},
		{m.LongLivedStale, "long-lived-stale", warned},
		{!m.Installed && !m.Unreachable && m.Origin != evpn.OriginLocal, "pending", warned},
		{m.Unreachable, "unreachable", bad},
		{m.Duplicate, "duplicate", bad},
		{len(m.DuplicateIPs) > 0, "duplicate-ip", bad},
	} {
		if flag.set {
			flags = append(flags, flag.name)
			level = flag.style
		}
	}
	t.row(m.VNI, m.MAC, m.Origin, where, m.Sequence, cell{strings.Join(flags, ","), level}, joinShown(m.IPs, " "))
}

func newMACClearCommand(d dependencies) *cobra.Command {
	a := &asking{deps: d}
	var vni evpn.VNI
	var mac evpn.MAC
	var all bool
	cmd := &cobra.Command{
		Use:   "clear-duplicate --vni VNI MAC | --vni VNI --all",
		Short: "Thaw a MAC that is frozen as duplicate",
		Long: `Thaw a MAC that is frozen as duplicate (RFC 7432 section 15.1), or all of a VNI.
"vtepbgp mac show --duplicate" lists them. Remove the loop or the second host
first, or it freezes again.`,
		Example: "  vtepbgp mac clear-duplicate --vni 100 00:11:22:33:44:55\n  vtepbgp mac clear-duplicate --vni 100 --all",
		Args: func(_ *cobra.Command, args []string) (err error) {
			switch {
			case vni == 0:
				return errors.New("want --vni")
			case (len(args) == 1) == all || len(args) > 1:
				return errors.New("want one MAC, or --all")
			case len(args) == 1:
				mac, err = evpn.ParseMAC(args[0])
			}
			return err
		},
		ValidArgsFunction: completeArgument(func(cmd *cobra.Command) []string { return a.duplicateWords(cmd, vni) }),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.client().ClearDuplicate(cmd.Context(), vni, mac); err != nil {
				return err
			}
			what := "all MACs"
			if !all {
				what = mac.String()
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "VNI %s: %s thawed\n", vni, what)
			return err
		},
	}
	a.vniFlag(cmd, &vni, "the `VNI` of the MAC")
	cmd.Flags().BoolVar(&all, "all", false, "all frozen MACs of the VNI")
	a.addFlags(cmd)
	return cmd
}

// duplicateWords offers frozen MACs to the shell.
func (a *asking) duplicateWords(cmd *cobra.Command, vni evpn.VNI) []string {
	ctx, cancel := completionContext(cmd)
	defer cancel()
	var words []string
	err := a.client().MACs(ctx, api.MACFilter{VNI: vni, Duplicate: true}, func(m api.MAC) error {
		words = append(words, m.MAC.String())
		return nil
	})
	if err != nil {
		return nil
	}
	return words
}
