package main

import (
	"fmt"
	"io"
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
		Use:   "show [VNI]",
		Short: "Show the flood list of each VNI, or of one in detail",
		Long: `Show the flood list of each VNI: the VTEPs that get a copy of every broadcast,
unknown-unicast and multicast frame, and how we know of them. Where the flooding module
copies, a second table counts: HEARD are packets that came in, COPIED those that were
copied to somebody, COPIES what was given to the wire, REPAIRS what somebody else broke and
was mended (its engine, its membership of a group, its service address), DROPPED what went
no further. A third table has the interfaces, and what was dropped there of no VNI.

ENGINE copies the frames. KERNEL says whether the kernel holds the row for those to
whom it copies. ROLE: a "replicator" gets one copy and makes the others, a "standby" gets
none meanwhile: it is served by it, or is another one. A VTEP of the "segment" hears the
group itself.`,
		Example:           "  vtepbgp flood show\n  vtepbgp flood show 100\n  vtepbgp flood show --json | jq '.[] | {vni, engine, counters}'",
		ValidArgsFunction: completeArgument(s.vniWords),
		Args:              vniArgument(&vni),
		RunE: func(cmd *cobra.Command, args []string) error {
			flood, err := s.client().Flood(cmd.Context(), api.VNIFilter{VNI: vni})
			if err != nil {
				return err
			}
			switch {
			case s.isJSON() || len(flood) == 0:
				return list(s, cmd, flood, "No VNIs are configured.", floodTable)
			case len(args) == 1:
				return writeFlood(cmd.OutOrStdout(), flood[0], s.colour(cmd))
			}
			if err := floodTable(flood).write(cmd.OutOrStdout(), s.colour(cmd)); err != nil {
				return err
			}
			if err := writeCounters(cmd.OutOrStdout(), flood, s.colour(cmd)); err != nil {
				return err
			}
			return writeEngines(cmd.OutOrStdout(), flood, s.colour(cmd))
		},
	}
	s.addFlags(cmd)
	s.vniFlag(cmd, &vni, "only this `VNI`")
	return cmd
}

func floodTable(flood []api.Flood) *table {
	t := newTable(column{name: "VNI", right: true}, column{name: "MODE"}, column{name: "ENGINE"}, column{name: "VTEP"},
		column{name: "SOURCE"}, column{name: "KERNEL"}, column{name: "ROLE", kind: remark}, column{name: "PROBLEMS", kind: remark})
	for _, f := range flood {
		problems := cell{joinShown(f.Problems, "; "), bad}
		if len(f.VTEPs) == 0 {
			t.row(f.VNI, f.Mode, f.Engine, "", "", "", "", problems)
		}
		for _, v := range f.VTEPs {
			t.row(f.VNI, f.Mode, f.Engine, v.Address, v.Source, kernelRow(v), floodRole(v.Role), problems)
			problems = cell{}
		}
	}
	return t
}

// kernelRow says of the row of a VTEP whether it is there; "" when none is wanted.
func kernelRow(v api.FloodVTEP) cell {
	switch {
	case !v.Kernel:
		return cell{}
	case v.Installed:
		return cell{"installed", good}
	default:
		return cell{"pending", warned}
	}
}

// floodRole leaves out what most VTEPs are.
func floodRole(r evpn.FloodRole) string {
	if r == evpn.RoleVTEP {
		return ""
	}
	return string(r)
}

// writeCounters prints what the flooding module has counted, if it has anything to do.
func writeCounters(w io.Writer, flood []api.Flood, colour bool) error {
	flood = slices.DeleteFunc(slices.Clone(flood), func(f api.Flood) bool { return len(f.Counters) == 0 })
	if len(flood) == 0 {
		return nil
	}
	if _, err := io.WriteString(w, "\n"); err != nil {
		return err
	}
	t := newTable(column{name: "VNI", right: true}, column{name: "ELECTED", kind: moving}, column{name: "COPIES FRAMES OF"}, column{name: "HEARD", right: true},
		column{name: "COPIED", right: true}, column{name: "COPIES", right: true}, column{name: "REPAIRS", kind: moving, right: true},
		column{name: "DROPPED", kind: remark})
	for _, f := range flood {
		t.row(f.VNI, elected(f), tasks(f), f.Counters[api.FloodIn], f.Counters[api.FloodCopied], f.Counters[api.FloodCopies], f.Counters[api.FloodRepairs], dropWords(drops(f.Counters)))
	}
	return t.write(w, colour)
}

// writeEngines prints the interfaces on which the flooding module listens, each once.
func writeEngines(w io.Writer, flood []api.Flood, colour bool) error {
	engines := map[string]api.FloodEngine{}
	for _, f := range flood {
		for _, e := range f.Engines {
			engines[e.Interface] = e
		}
	}
	if len(engines) == 0 {
		return nil
	}
	if _, err := io.WriteString(w, "\n"); err != nil {
		return err
	}
	t := newTable(column{name: "INTERFACE"}, column{name: "ENGINE"}, column{name: "REPAIRS", right: true}, column{name: "FAILURES", right: true}, column{name: "DROPPED OF NO VNI", kind: remark})
	for _, name := range slices.Sorted(maps.Keys(engines)) {
		e := engines[name]
		t.row(e.Interface, e.Engine, e.Repairs, e.Failures, dropWords(sortedDrops(e.Dropped)))
	}
	return t.write(w, colour)
}

// tasks says in a word or two for whom the flooding module copies.
func tasks(f api.Flood) string {
	words := map[api.FloodTask]string{
		api.FloodOwn: "this host", api.FloodSegment: "segment", api.FloodDeliver: "elsewhere", api.FloodReplicate: "leaves",
	}
	var list []string
	for _, t := range f.Tasks {
		list = append(list, words[t])
	}
	return strings.Join(list, ", ")
}

// elected is who copies for a segment; "" where nobody is elected.
func elected(f api.Flood) cell {
	switch {
	case slices.Contains(f.Tasks, api.FloodSegment):
		return cell{"this host", good}
	case f.Elected.IsValid():
		return cell{f.Elected.String(), plain}
	case f.Mode == evpn.FloodMulticast:
		return cell{"nobody", plain}
	default:
		return cell{}
	}
}

type dropCount struct {
	reason string
	count  uint64
}

// drops are the counters of what went no further, by name.
func drops(counters map[string]uint64) []dropCount {
	reasons := map[string]uint64{}
	for name, n := range counters {
		if reason, ok := strings.CutPrefix(name, api.FloodDroppedPrefix); ok {
			reasons[reason] = n
		}
	}
	return sortedDrops(reasons)
}

func sortedDrops(reasons map[string]uint64) (list []dropCount) {
	for _, reason := range slices.Sorted(maps.Keys(reasons)) {
		list = append(list, dropCount{reason, reasons[reason]})
	}
	return list
}

func dropWords(list []dropCount) string {
	var words []string
	for _, d := range list {
		words = append(words, fmt.Sprintf("%s=%d", d.reason, d.count))
	}
	return strings.Join(words, " ")
}

// writeFlood prints all about one VNI.
func writeFlood(w io.Writer, f api.Flood, colour bool) error {
	p := &pairs{}
	p.add("VNI", f.VNI)
	p.add("Mode", f.Mode)
	p.add("Engine", f.Engine)
	if f.EngineReason != "" {
		p.add("Because", f.EngineReason)
	}
	if len(f.Interfaces) > 0 {
		p.add("Listens on", joinShown(f.Interfaces, ", "))
	}
	for _, e := range f.Engines {
		for _, d := range e.Details {
			p.add("Engine on "+e.Interface, d)
		}
	}
	if f.Group.IsValid() {
		p.add("Group", f.Group)
		p.add("Segment", joinShown(f.Segment, ", "))
		p.add("Elected", elected(f))
	}
	if f.ServiceAddress.IsValid() {
		p.add("Service address", f.ServiceAddress)
	}
	if len(f.Counters) > 0 {
		p.add("Copies frames of", tasks(f))
		p.add("Packets heard", f.Counters[api.FloodIn])
		p.add("Packets copied", f.Counters[api.FloodCopied])
		p.add("Copies sent", f.Counters[api.FloodCopies])
		p.add("Repairs", f.Counters[api.FloodRepairs])
		for _, e := range f.Engines {
			if e.Failures > 0 {
				p.add("Failed attempts", fmt.Sprintf("%d on %s", e.Failures, e.Interface))
			}
		}
		for _, d := range drops(f.Counters) {
			p.add("Dropped", fmt.Sprintf("%d × %s", d.count, d.reason))
		}
		for _, e := range f.Engines {
			for _, d := range sortedDrops(e.Dropped) {
				p.add("Dropped of no VNI", fmt.Sprintf("%d × %s on %s", d.count, d.reason, e.Interface))
			}
		}
	}
	for _, problem := range f.Problems {
		p.add("Problem", cell{problem, bad})
	}
	if err := p.write(w, colour); err != nil {
		return err
	}
	if len(f.VTEPs) == 0 {
		_, err := io.WriteString(w, "\nNobody is on the list.\n")
		return err
	}
	if _, err := io.WriteString(w, "\n"); err != nil {
		return err
	}
	t := newTable(column{name: "VTEP"}, column{name: "SOURCE"}, column{name: "ROLE"}, column{name: "KERNEL"}, column{name: "COPIED BY"})
	for _, v := range f.VTEPs {
		t.row(v.Address, v.Source, v.Role, kernelRow(v), copiedBy(f, v))
	}
	return t.write(w, colour)
}

// copiedBy says who sends copies to a VTEP.
func copiedBy(f api.Flood, v api.FloodVTEP) string {
	var by []string
	if v.Kernel {
		by = append(by, "kernel")
	}
	if v.Copied && f.Engine != "" {
		by = append(by, f.Engine)
	}
	return strings.Join(by, ", ")
}
