package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/api"
)

func newStatusCommand(d dependencies) *cobra.Command {
	s := newShowing(d)
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "Show the daemon at a glance",
		Long:    "Show the daemon at a glance: whether it is ready, its neighbours, VNIs, tables and\nwhat is wrong.",
		Example: "  vtepbgp status\n  vtepbgp status --json | jq .neighbors",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			status, err := s.client().Status(cmd.Context())
			if err != nil {
				return err
			}
			if s.isJSON() {
				return writeJSON(cmd.OutOrStdout(), status)
			}
			return statusPairs(status).write(cmd.OutOrStdout(), s.colour(cmd))
		},
	}
	s.addFlags(cmd)
	return cmd
}

func statusPairs(s api.Status) *pairs {
	p := &pairs{}
	state := cell{"ready", good}
	if !s.Ready {
		state = cell{"not ready: " + s.NotReady, bad}
	}
	p.add("State", state)
	p.add("Version", s.Version)
	p.add("Process", fmt.Sprintf("%d, up %s", s.PID, duration(s.UptimeSeconds)))
	p.add("Configuration", s.ConfigFile)
	if s.Reload.Count > 0 || s.Reload.LastError != "" {
		reload := cell{text: fmt.Sprintf("%s, last %s", plural(int(s.Reload.Count), "reload"), s.Reload.Last.UTC().Format("2006-01-02 15:04:05 UTC"))}
		if s.Reload.LastError != "" {
			reload = cell{reload.text + " failed: " + s.Reload.LastError, bad}
		}
		p.add("Reload", reload)
	}
	p.add("BGP", fmt.Sprintf("AS %d, router id %s", s.ASN, orDash(show(s.RouterID))))
	p.add("VTEP", s.VTEPAddress)
	p.add("Neighbours", ratio(s.Neighbors.Established, s.Neighbors.Total, "established"))
	synced := cell{text: "complete"}
	if !s.Synced {
		synced = cell{"waiting for End-of-RIB of the neighbours", warned}
	}
	p.add("First table", synced)
	p.add("VNIs", ratio(s.VNIs.Up, s.VNIs.Total, "up"))
	p.add("MACs", fmt.Sprintf("%d local, %d remote", s.LocalMACs, s.RemoteMACs))
	vteps := cell{text: strconv.Itoa(s.VTEPs)}
	if s.VTEPsUnreachable > 0 {
		vteps = cell{fmt.Sprintf("%d, %d unreachable", s.VTEPs, s.VTEPsUnreachable), warned}
	}
	p.add("Remote VTEPs", vteps)
	p.add("Routes", fmt.Sprintf("%d received, %d accepted, %d not kept, %d own",
		s.Routes.Received, s.Routes.Accepted, s.Routes.Shed, s.Routes.Own))
	kernel := cell{text: fmt.Sprintf("%d pending, %d written, %d failed, %d resyncs, %d repairs",
		s.Kernel.Pending, s.Kernel.Writes, s.Kernel.Failures, s.Kernel.Resyncs, s.Kernel.Repairs)}
	p.add("Kernel rows", kernel)
	for _, problem := range s.Problems {
		p.add("Problem", cell{problem, bad})
	}
	return p
}

func ratio(n, total int, what string) cell {
	c := cell{text: fmt.Sprintf("%d of %d %s", n, total, what)}
	if n < total {
		c.style = warned
	}
	return c
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// duration prints seconds with their two largest units: 12s, 5m06s, 3h04m, 1d02h.
func duration(seconds int64) string {
	switch m, h, d := seconds/60, seconds/3600, seconds/86400; {
	case seconds < 60:
		return fmt.Sprintf("%ds", seconds)
	case h == 0:
		return fmt.Sprintf("%dm%02ds", m, seconds%60)
	case d == 0:
		return fmt.Sprintf("%dh%02dm", h, m%60)
	default:
		return fmt.Sprintf("%dd%02dh", d, h%24)
	}
}

func joinShown[T any](values []T, separator string) string {
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i] = show(v)
	}
	return strings.Join(texts, separator)
}
