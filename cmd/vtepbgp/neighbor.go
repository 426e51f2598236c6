package main

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/spf13/cobra"

	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/api"
)

func newNeighborCommand(d dependencies) *cobra.Command {
	return newGroup("neighbor", "BGP neighbours", "Show BGP neighbours and reset their sessions.",
		newNeighborShowCommand(d), newNeighborResetCommand(d))
}

func newNeighborShowCommand(d dependencies) *cobra.Command {
	s := newShowing(d)
	cmd := &cobra.Command{
		Use:   "show [ADDRESS]",
		Short: "Show the BGP neighbours, or one in detail",
		Long: `Show the BGP neighbours, or one in detail.

RECEIVED counts the routes a neighbour sent, ACCEPTED those that some VNI uses
("vtepbgp route show --ignored" says why others are not), SENT ours that it got.`,
		Example:           "  vtepbgp neighbor show\n  vtepbgp neighbor show 10.0.0.254\n  vtepbgp neighbor show --json | jq '.[] | select(.state != \"established\")'",
		Args:              atMostOne,
		ValidArgsFunction: completeArgument(s.neighborWords),
		RunE: func(cmd *cobra.Command, args []string) error {
			one := netip.Addr{}
			if len(args) == 1 {
				var err error
				if one, err = parseAddress(args[0]); err != nil {
					return &usageError{cmd, err}
				}
			}
			neighbors, err := s.client().Neighbors(cmd.Context())
			if err != nil {
				return err
			}
			if one.IsValid() {
				neighbors = slices.DeleteFunc(neighbors, func(n api.Neighbor) bool { return n.Address != one })
				if len(neighbors) == 0 {
					return fmt.Errorf("no neighbour %s: \"vtepbgp neighbor show\" lists them", one)
				}
				if !s.isJSON() {
					return neighborPairs(neighbors[0]).write(cmd.OutOrStdout(), s.colour(cmd))
				}
			}
			return list(s, cmd, neighbors, "No neighbours are configured.", neighborTable)
		},
	}
	s.addFlags(cmd)
	return cmd
}

func neighborTable(neighbors []api.Neighbor) *table {
	t := newTable(column{name: "NEIGHBOR"}, column{name: "ASN", right: true}, column{name: "STATE"}, column{name: "BFD"},
		column{name: "UPTIME", right: true}, column{name: "RECEIVED", right: true}, column{name: "ACCEPTED", right: true},
		column{name: "SENT", right: true, kind: moving}, column{name: "DESCRIPTION", kind: remark}, column{name: "LAST ERROR", kind: remark})
	for _, n := range neighbors {
		uptime := ""
		if n.State == "established" {
			uptime = duration(n.UptimeSeconds)
		}
		t.row(n.Address, n.ASN, sessionState(n.State), bfdState(n.BFD), uptime, n.RoutesReceived, n.RoutesAccepted, n.RoutesAdvertised,
			n.Description, currentError(n))
	}
	return t
}

// currentError is the last error while it still explains something.
func currentError(n api.Neighbor) cell {
	if n.State == "established" {
		return cell{}
	}
	return cell{n.LastError, bad}
}

func sessionState(state string) cell {
	if state == "established" {
		return cell{state, good}
	}
	return cell{state, bad}
}

func neighborPairs(n api.Neighbor) *pairs {
	p := &pairs{}
	p.add("Neighbor", n.Address)
	p.add("Description", n.Description)
	p.add("ASN", n.ASN)
	p.add("Router id", n.RouterID)
	p.add("State", sessionState(n.State))
	if n.State == "established" {
		p.add("Uptime", duration(n.UptimeSeconds))
		p.add("Timers", fmt.Sprintf("hold %ds, keepalive %ds", n.HoldTimeSeconds, n.KeepaliveSeconds))
		p.add("Capabilities", joinShown(n.Capabilities, ", "))
		p.add("Graceful restart", yesNo(n.GracefulRestart))
		p.add("Long-lived stale routes", longLived(n.LongLived))
	}
	p.add("Stale routes", staleLeft(n))
	p.add("Local address", n.LocalAddress)
	if n.Dynamic {
		p.add("Dynamic, from", n.Prefix)
	}
	addBFD(p, n.BFD)
	p.add("Passive", yesNo(n.Passive))
	p.add("Route reflector client", yesNo(n.RouteReflectorClient))
	p.add("Routes", fmt.Sprintf("%d received, %d accepted, %d not kept, %d advertised",
		n.RoutesReceived, n.RoutesAccepted, n.RoutesShed, n.RoutesAdvertised))
	p.add("Messages", fmt.Sprintf("%d in, %d out", n.MessagesIn, n.MessagesOut))
	p.add("Flaps", n.Flaps)
	for _, reason := range slices.Sorted(maps.Keys(n.Drops)) {
		p.add("Dropped", fmt.Sprintf("%d × %s", n.Drops[reason], reason))
	}
	p.add("Last error", n.LastError)
	return p
}

// longLived says how long routes stay after the restart time.
func longLived(l api.LongLived) string {
	switch {
	case l.AgreedSeconds > 0:
		return fmt.Sprintf("kept for %s, neighbour asks for %s", duration(l.AgreedSeconds), duration(l.AnnouncedSeconds))
	case l.Announced:
		return fmt.Sprintf("not kept, neighbour asks for %s", duration(l.AnnouncedSeconds))
	default:
		return "not kept"
	}
}

// staleLeft says what becomes of routes of the session before; "" when there are none.
func staleLeft(n api.Neighbor) string {
	long := n.LongLivedStaleSeconds - n.StaleSeconds
	switch {
	case n.LongLivedStaleSeconds == 0:
		return ""
	case n.StaleSeconds == 0:
		return fmt.Sprintf("long-lived stale, gone in %s", duration(long))
	case long == 0:
		return fmt.Sprintf("gone in %s", duration(n.StaleSeconds))
	default:
		return fmt.Sprintf("long-lived stale in %s, gone %s later", duration(n.StaleSeconds), duration(long))
	}
}

// bfdState is the state of the BFD session; "" without one.
func bfdState(b api.BFD) cell {
	switch b.State {
	case "off":
		return cell{}
	case "up":
		return cell{b.State, good}
	default:
		return cell{b.State, bad}
	}
}

func addBFD(p *pairs, b api.BFD) {
	p.add("BFD", bfdState(b))
	if b.State == "off" {
		return
	}
	p.add("BFD mode", b.Mode)
	p.add("BFD timers", fmt.Sprintf("packets every %gms, down after %gms of silence, multiplier %d", b.IntervalMilliseconds, b.DetectionMilliseconds, b.Multiplier))
	p.add("BFD neighbour", fmt.Sprintf("%s, multiplier %d, diagnostic %s", b.RemoteState, b.RemoteMultiplier, b.RemoteDiagnostic))
	p.add("BFD packets", fmt.Sprintf("%d in, %d out", b.PacketsIn, b.PacketsOut))
	p.add("BFD flaps", b.Flaps)
	p.add("BFD last down", b.LastDownReason)
	p.add("BFD problem", b.Problem)
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func newNeighborResetCommand(d dependencies) *cobra.Command {
	a := &asking{deps: d}
	var soft, all bool
	cmd := &cobra.Command{
		Use:   "reset ADDRESS | --all",
		Short: "Reset the session with a neighbour",
		Long: `Reset the session with a neighbour: it is closed and comes up again. With --soft it
stays up, and both sides send their routes again (RFC 2918).`,
		Example:           "  vtepbgp neighbor reset 10.0.0.254\n  vtepbgp neighbor reset --all --soft",
		ValidArgsFunction: completeArgument(a.neighborWords),
		Args: func(_ *cobra.Command, args []string) error {
			if (len(args) == 1) == all || len(args) > 1 {
				return errors.New("want the address of one neighbour, or --all")
			}
			if len(args) == 1 {
				_, err := parseAddress(args[0])
				return err
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			client := a.client()
			var addresses []netip.Addr
			if all {
				neighbors, err := client.Neighbors(cmd.Context())
				if err != nil {
					return err
				}
				for _, n := range neighbors {
					addresses = append(addresses, n.Address)
				}
			} else {
				address, err := parseAddress(args[0])
				if err != nil {
					return err
				}
				addresses = []netip.Addr{address}
			}
			var failed error
			for _, address := range addresses {
				if err := client.ResetNeighbor(cmd.Context(), address, soft); err != nil {
					failed = errors.Join(failed, fmt.Errorf("reset neighbour %s: %w", address, err))
					continue
				}
				what := "session closed"
				if soft {
					what = "routes asked for and sent again"
				}
				if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", address, what); err != nil {
					return err
				}
			}
			return failed
		},
	}
	cmd.Flags().BoolVar(&soft, "soft", false, "keep the session, send all routes again in both directions")
	cmd.Flags().BoolVar(&all, "all", false, "every neighbour")
	a.addFlags(cmd)
	return cmd
}
