package main

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/api"
	"github.com/vtepbgp/vtepbgp/evpn"
)

func newExplainCommand(d dependencies) *cobra.Command {
	s := newShowing(d)
	var f api.ExplainFilter
	cmd := &cobra.Command{
		Use:   "explain MAC|IP",
		Short: "Explain why a MAC or IP address is where it is, or why not",
		Long: `Explain why a MAC or IP address is where it is, or why not: where it was seen, which
routes name it and from whom, which won and why the others lost, what the kernel
holds (read anew), whether the way to its VTEP is open and wide enough, and what to do
when something is wrong. Without --vni for every VNI that knows it.

Exit code 0 when packets to it can go, 1 when a problem was found or nobody knows it.`,
		Example: "  vtepbgp explain 00:11:22:33:44:55\n  vtepbgp explain 192.0.2.5 --vni 100\n" +
			"  vtepbgp explain 2001:db8::5 --json | jq -r '.[] | .verdict, .advice[]'",
		Args: func(_ *cobra.Command, args []string) (err error) {
			if len(args) != 1 {
				return errors.New("want one MAC or IP address")
			}
			f.MAC, f.IP, err = parseMACOrIP(args[0])
			return err
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := s.client().Explain(cmd.Context(), f)
			if err != nil {
				return err
			}
			if s.isJSON() {
				err = writeJSON(cmd.OutOrStdout(), list)
			} else {
				err = writeExplanations(cmd.OutOrStdout(), list, s.colour(cmd))
			}
			for _, x := range list {
				if err == nil && x.Status == api.StatusProblem {
					err = exitError(exitFailure)
				}
			}
			return err
		},
	}
	s.addFlags(cmd)
	s.vniFlag(cmd, &f.VNI, "only in this `VNI`")
	return cmd
}

func parseMACOrIP(s string) (mac evpn.MAC, ip netip.Addr, err error) {
	if ip, err = parseAddress(s); err == nil && (ip.IsMulticast() || ip.IsUnspecified() || ip.IsLoopback()) {
		return mac, netip.Addr{}, fmt.Errorf("%s is no address of a host", ip)
	} else if err == nil {
		return mac, ip.WithZone(""), nil
	}
	if mac, err = evpn.ParseMAC(s); err != nil || mac.IsZero() {
		return mac, netip.Addr{}, fmt.Errorf("want a MAC or IP address, got %q", s)
	}
	if mac.IsGroup() {
		return mac, netip.Addr{}, fmt.Errorf("%s is a group address: its frames go to every VTEP of \"vtepbgp flood show\"", mac)
	}
	return mac, netip.Addr{}, nil
}

// marks of steps, all of one width.
var marks = map[string]cell{
	api.StatusOK:      {"ok      ", good},
	api.StatusInfo:    {"        ", plain},
	api.StatusWarning: {"warning ", warned},
	api.StatusProblem: {"problem ", bad},
}

func writeExplanations(w io.Writer, list []api.Explanation, colour bool) error {
	var b strings.Builder
	for i, x := range list {
		if i > 0 {
			b.WriteString("\n")
		}
		writeExplanation(&b, x, colour)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func writeExplanation(b *strings.Builder, x api.Explanation, colour bool) {
	what := x.MAC
	if x.IP.IsValid() {
		what = x.IP.String()
		if x.MAC != "" {
			what += ", which is " + x.MAC + ","
		}
	}
	if x.VNI != 0 {
		what += " in VNI " + x.VNI.String()
	}
	fmt.Fprintln(b, strings.TrimSuffix(what, ","))
	for _, s := range x.Steps {
		mark := marks[s.Status]
		paragraph(b, "  ", mark, "", printable(s.Text), colour)
		for _, d := range s.Details {
			paragraph(b, "  ", cell{strings.Repeat(" ", len(mark.text)), plain}, "  ", printable(d), colour, "  ")
		}
	}
	style := map[string]style{api.StatusOK: good, api.StatusWarning: warned, api.StatusProblem: bad}[x.Status]
	paragraph(b, "", cell{"Verdict: ", style}, "", printable(x.Verdict), colour)
	for _, a := range x.Advice {
		paragraph(b, "", cell{"To do:   ", plain}, "", printable(a), colour)
	}
}

// paragraph writes text behind a mark, wrapped so that it stays right of it.
func paragraph(b *strings.Builder, indent string, mark cell, deeper, text string, colour bool, hanging ...string) {
	margin := indent + strings.Repeat(" ", len(mark.text)) + deeper + strings.Join(hanging, "")
	for i, line := range wrap(text, maxWidth-len(margin)) {
		head := margin
		if i == 0 {
			word := mark.text
			if trimmed := strings.TrimRight(word, " "); colour && mark.style != plain && trimmed != "" {
				word = string(mark.style) + trimmed + resetStyle + word[len(trimmed):]
			}
			head = indent + word + deeper
		}
		b.WriteString(strings.TrimRight(head+line, " ") + "\n")
	}
}
