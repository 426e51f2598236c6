package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/api"
)

func newDriftCommand(d dependencies) *cobra.Command {
	s := newShowing(d)
	var f api.VNIFilter
	var repair bool
	cmd := &cobra.Command{
		Use:   "drift",
		Short: "Compare the kernel, read anew, with what it should hold",
		Long: `Compare the kernel, read anew, with what it should hold: flood rows, both rows of
each MAC, neighbours, and the settings of the links. Exit code 0 when it is as
intended, 1 when it differs.

STATE: missing = wanted and not there; wrong = there, but not as wanted; extra =
bears our marks and nobody asked for it. Not counted as drift: pending = a write is
on its way; unconfirmed = found at start, the neighbours have not spoken yet;
foreign = somebody else's, which is left alone.

WHERE: vxlan = the VXLAN device's own table; bridge = the bridge's; local = a host on
an access port that the daemon has wrong; intent = the daemon disagrees with itself,
which is a bug: please report it.

--repair reads everything again, of all VNIs, and writes what differs; exit code 0
when nothing is left.`,
		Example: "  vtepbgp drift\n  vtepbgp drift --vni 100 --repair\n  vtepbgp drift --json | jq '.[] | select(.drift)'",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ask := s.client().Drift
			if repair {
				ask = s.client().RepairDrift
			}
			var n driftCount
			err := stream(s, cmd, "", driftTable(repair), addDrift(repair), func(yield func(api.Drift) error) error {
				return ask(cmd.Context(), f, func(d api.Drift) error {
					n.add(d)
					return yield(d)
				})
			})
			if err != nil {
				return err
			}
			if !s.isJSON() {
				summary := strings.Join(wrap(n.summary(repair), maxWidth), "\n")
				if _, err := fmt.Fprintln(cmd.OutOrStdout(), summary); err != nil {
					return err
				}
			}
			if n.drift > 0 {
				return exitError(exitFailure)
			}
			return nil
		},
	}
	s.addFlags(cmd)
	s.vniFlag(cmd, &f.VNI, "only this `VNI`")
	cmd.Flags().BoolVar(&repair, "repair", false, "write what differs, and tell what it was")
	return cmd
}

// driftCount counts differences by what they mean.
type driftCount struct{ drift, repaired, pending, unconfirmed, foreign int }

func (n *driftCount) add(d api.Drift) {
	switch {
	case d.Repaired:
		n.repaired++
	case d.Drift:
		n.drift++
	case d.Pending:
		n.pending++
	case d.State == "unconfirmed":
		n.unconfirmed++
	default:
		n.foreign++
	}
}

func (n *driftCount) summary(repair bool) string {
	var parts []string
	switch {
	case repair && n.drift > 0:
		parts = append(parts, fmt.Sprintf("%s repaired, %d left.", plural(n.repaired, "difference"), n.drift))
	case repair && n.repaired > 0:
		parts = append(parts, fmt.Sprintf("%s repaired: the kernel is as intended.", plural(n.repaired, "difference")))
	case n.drift > 0:
		parts = append(parts, fmt.Sprintf("%s from what is intended.", plural(n.drift, "difference")))
	default:
		parts = append(parts, "The kernel is as intended.")
	}
	for _, p := range []struct {
		count int
		what  string
	}{
		{n.pending, "on the way"}, {n.unconfirmed, "not confirmed by a neighbour yet"}, {n.foreign, "somebody else's and left alone"},
	} {
		if p.count > 0 {
			parts = append(parts, fmt.Sprintf("%d %s.", p.count, p.what))
		}
	}
	return strings.Join(parts, " ")
}

func driftTable(repair bool) *table {
	columns := []column{{name: "VNI", right: true}, {name: "STATE"}, {name: "WHERE"}, {name: "LINK"}, {name: "WHAT"}}
	if repair {
		columns = append(columns, column{name: "RESULT"})
	}
	return newTable(append(columns, column{name: "NOTE", kind: remark}, column{name: "ERROR", kind: remark})...)
}

func addDrift(repair bool) func(*table, api.Drift) {
	return func(t *table, d api.Drift) {
		state := cell{d.State, bad}
		switch {
		case d.Pending:
			state = cell{"pending", warned}
		case !d.Drift && !d.Repaired:
			state.style = faint
		}
		what := d.Setting
		switch {
		case d.MAC != "":
			what = d.MAC
		case d.IP.IsValid():
			what = d.IP.String()
		}
		values := []any{d.VNI, state, d.Table, d.Link, what}
		if repair {
			switch {
			case d.Repaired:
				values = append(values, cell{"repaired", good})
			case d.Drift:
				values = append(values, cell{"left", bad})
			default:
				values = append(values, "")
			}
		}
		t.row(append(values, driftNote(d), cell{d.Error, bad})...)
	}
}

func driftNote(d api.Drift) string {
	switch {
	case d.Found == "":
		return "want " + d.Expected
	case d.Expected == "":
		return "found " + d.Found
	default:
		return fmt.Sprintf("found %s instead of %s", d.Found, d.Expected)
	}
}
