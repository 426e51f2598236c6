package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/api"
	"github.com/vtepbgp/vtepbgp/evpn"
)

func newRouteCommand(d dependencies) *cobra.Command {
	return newGroup("route", "EVPN routes", "Show EVPN routes.", newRouteShowCommand(d))
}

func newRouteShowCommand(d dependencies) *cobra.Command {
	s := newShowing(d)
	var f api.RouteFilter
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Show EVPN routes, received and our own, and why one is not used",
		Long: `Show EVPN routes, received and our own, and why one is not used.

The first column is ">" for a route in use; NOTE says why another one is not. FROM
is the neighbour, "self" for our own. On a host that reflects for nobody, routes
that no VNI imports are counted but not all kept ("vtepbgp neighbor show ADDRESS").`,
		Example: `  vtepbgp route show --vni 100 --type 2
  vtepbgp route show --mac 00:11:22:33:44:55
  vtepbgp route show --neighbor 10.0.0.254 --ignored
  vtepbgp route show --local --json`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return stream(s, cmd, "No routes match.", routeTable(), addRoute, func(yield func(api.Route) error) error {
				return s.client().Routes(cmd.Context(), f, yield)
			})
		},
	}
	s.addFlags(cmd)
	s.vniFlag(cmd, &f.VNI, "only routes that name this `VNI` or that it imports")
	cmd.Flags().Var(&textFlag[evpn.RouteType]{value: &f.Type, parse: parseRouteType}, "type", "only this `TYPE`: 2 | 3 | 5, or mac-ip | imet | ip-prefix")
	complete(cmd, "type", func(*cobra.Command) []string {
		return []string{"2\tMAC/IP", "3\tinclusive multicast", "5\tIP prefix"}
	})
	cmd.Flags().Var(&textFlag[evpn.RD]{value: &f.RD, parse: evpn.ParseRD}, "rd", "only this route distinguisher `RD`")
	macFlag(cmd, &f.MAC, "only this `MAC`")
	addressFlag(cmd, &f.IP, "ip", "only this `IP` address (of a host, or the originator of type 3)")
	addressFlag(cmd, &f.NextHop, "next-hop", "only routes with this next hop `ADDRESS`")
	addressFlag(cmd, &f.Neighbor, "neighbor", "only routes from this neighbour `ADDRESS`")
	complete(cmd, "neighbor", s.neighborWords)
	cmd.Flags().BoolVar(&f.Local, "local", false, "only our own routes")
	cmd.Flags().BoolVar(&f.Received, "received", false, "only routes of neighbours")
	cmd.Flags().BoolVar(&f.Best, "best", false, "only routes in use")
	cmd.Flags().BoolVar(&f.Ignored, "ignored", false, "only routes that are not used")
	exclusive(cmd, "local", "received")
	exclusive(cmd, "local", "neighbor")
	exclusive(cmd, "best", "ignored")
	return cmd
}

func parseRouteType(s string) (evpn.RouteType, error) {
	for _, t := range []evpn.RouteType{evpn.MACIPRoute, evpn.IMETRoute, evpn.IPPrefixRoute} {
		if s == strconv.Itoa(int(t)) || s == t.String() {
			return t, nil
		}
	}
	return 0, fmt.Errorf("want 2 (mac-ip), 3 (imet) or 5 (ip-prefix), got %q", s)
}

func routeTable() *table {
	return newTable(column{name: " "}, column{name: "TYPE"}, column{name: "VNI", right: true}, column{name: "RD", kind: moving},
		column{name: "ROUTE"}, column{name: "NEXT HOP", kind: moving}, column{name: "FROM", kind: moving},
		column{name: "NOTE", kind: remark})
}

func addRoute(t *table, r api.Route) {
	mark := cell{" ", plain}
	if r.Best {
		mark = cell{">", good}
	}
	route := r.MAC
	if route == "" || r.IP.IsValid() {
		route = strings.TrimSpace(route + " " + show(r.IP))
	}
	if r.Prefix != "" {
		route = r.Prefix
	}
	from := show(r.Neighbor)
	if r.Local {
		from = "self"
	}
	var notes []string
	level := faint
	if r.Sticky {
		notes = append(notes, "sticky")
	}
	if r.DefaultGateway {
		notes = append(notes, "default gateway")
	}
	if r.Sequence > 0 {
		notes = append(notes, fmt.Sprintf("sequence %d", r.Sequence))
	}
	switch {
	case r.LongLivedStale:
		notes, level = append(notes, "long-lived stale"), warned
	case r.Stale:
		notes, level = append(notes, "stale"), warned
	}
	if r.Reason != "" {
		notes = append(notes, string(r.Reason))
	}
	vni := ""
	if r.VNI != 0 {
		vni = r.VNI.String()
	}
	t.row(mark, fmt.Sprintf("%d %s", r.Type, r.TypeName), vni, r.RD, route, r.NextHop, from,
		cell{strings.Join(notes, ", "), level})
}
