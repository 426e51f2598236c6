package daemon

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/api"
	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/kernel"
)

// repairTime bounds how long a repair may take before the comparison that follows.
const repairTime = 30 * time.Second

// tableIntent is the table of differences between what the core wants and what the
// kernel adapter was told: there are none unless we have a bug.
const tableIntent = "intent"

// Drift compares what the core wants with what the kernel adapter was told, and that
// with the kernel, read anew.
func (d *daemon) Drift(ctx context.Context, f api.VNIFilter, yield func(api.Drift) error) error {
	list, err := d.drift(ctx, f)
	if err != nil {
		return err
	}
	return yieldAll(list, yield)
}

// RepairDrift writes what differs and compares again.
func (d *daemon) RepairDrift(ctx context.Context, f api.VNIFilter, yield func(api.Drift) error) error {
	before, err := d.drift(ctx, f)
	if err != nil {
		return err
	}
	repair, cancel := context.WithTimeout(ctx, repairTime)
	defer cancel()
	if _, err := d.intentDrift(repair, f.VNI, true); err != nil {
		return err
	}
	if err := d.kernel.Repair(repair); err != nil {
		return err
	}
	after, err := d.drift(ctx, f)
	if err != nil {
		return err
	}
	left := map[driftKey]api.Drift{}
	for _, a := range after {
		left[keyOf(a)] = a
	}
	for i, b := range before {
		if a, ok := left[keyOf(b)]; ok {
			before[i] = a
			delete(left, keyOf(b))
		} else if b.Drift || b.Pending {
			before[i].Repaired, before[i].Drift, before[i].Pending, before[i].Error = true, false, false, ""
		}
	}
	for _, a := range after { // what has appeared meanwhile
		if _, ok := left[keyOf(a)]; ok {
			before = append(before, a)
		}
	}
	return yieldAll(before, yield)
}

func yieldAll(list []api.Drift, yield func(api.Drift) error) error {
	for _, l := range list {
		if err := yield(l); err != nil {
			return err
		}
	}
	return nil
}

// driftKey says what a difference is about.
type driftKey struct {
	vni                        evpn.VNI
	table, link, mac, ip, what string
}

func keyOf(a api.Drift) driftKey {
	return driftKey{a.VNI, a.Table, a.Link, a.MAC, a.IP.String(), a.Setting}
}

func (d *daemon) drift(ctx context.Context, f api.VNIFilter) ([]api.Drift, error) {
	if err := d.knows(ctx, f); err != nil {
		return nil, err
	}
	list, err := d.intentDrift(ctx, f.VNI, false)
	if err != nil {
		return nil, err
	}
	rows, err := d.kernel.Drift(ctx, f.VNI)
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		list = append(list, driftOf(r))
	}
	slices.SortStableFunc(list, func(a, b api.Drift) int { return int(a.VNI) - int(b.VNI) })
	return list, nil
}

// knows is an error when f names a VNI that is not configured.
func (d *daemon) knows(ctx context.Context, f api.VNIFilter) error {
	found := 0
	if err := d.loop.do(ctx, func(c *evpn.Core) {
		for _, i := range c.VNIs() {
			if f.VNI == 0 || i.VNI == f.VNI {
				found++
			}
		}
	}); err != nil {
		return err
	}
	return known(f, found)
}

func driftOf(r kernel.Drift) api.Drift {
	a := api.Drift{
		VNI: r.VNI, Table: string(r.Table), Link: r.Link, IP: r.IP, Setting: r.Setting, State: string(r.State),
		Expected: r.Expected, Found: r.Found, Pending: r.Pending, Drift: r.Counts(),
	}
	if !r.MAC.IsZero() {
		a.MAC = r.MAC.String()
	}
	if r.Err != nil {
		a.Error = r.Err.Error()
	}
	return a
}

// intentDrift compares the rows that the core wants with those that the kernel
// adapter was told of, and may tell it again. Both are read in pieces, each piece
// between two turns of the loop, when they have to agree.
func (d *daemon) intentDrift(ctx context.Context, vni evpn.VNI, repair bool) ([]api.Drift, error) {
	keys := d.kernel.WantedKeys(vni)
	if err := d.loop.do(ctx, func(c *evpn.Core) {
		c.RowKeys(vni, func(k evpn.RowKey) bool { keys = append(keys, k); return true })
	}); err != nil {
		return nil, err
	}
	slices.SortFunc(keys, evpn.RowKey.Compare)
	keys = slices.Compact(keys)
	list := []api.Drift{}
	for chunk := range slices.Chunk(keys, listChunk) {
		var changes []evpn.RowChange
		if err := d.loop.do(ctx, func(c *evpn.Core) {
			for _, k := range chunk {
				want, wanted := c.Row(k)
				told, was := d.kernel.Wanted(k)
				if want == told && wanted == was {
					continue
				}
				changes = append(changes, evpn.RowChange{Row: evpn.Row{RowKey: k, RowValue: want}, Remove: !wanted})
				list = append(list, intentDiffers(k, rowWords(k, want, wanted), rowWords(k, told, was)))
			}
			if repair && len(changes) > 0 {
				d.kernel.Apply(changes)
			}
		}); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func intentDiffers(k evpn.RowKey, expected, found string) api.Drift {
	a := api.Drift{VNI: k.VNI, Table: tableIntent, IP: k.IP, State: string(kernel.Wrong), Expected: expected, Found: found, Drift: true}
	if !k.MAC.IsZero() {
		a.MAC = k.MAC.String()
	}
	switch {
	case found == "":
		a.State = string(kernel.Missing)
	case expected == "":
		a.State = string(kernel.Extra)
	}
	return a
}

// rowWords says what a row should be; "" when there should be none.
func rowWords(k evpn.RowKey, v evpn.RowValue, wanted bool) string {
	var words []string
	switch {
	case !wanted:
		return ""
	case k.Kind == evpn.FloodRow:
		words = append(words, "flood")
	case k.Kind == evpn.MACRow:
		words = append(words, "dst", v.VTEP.String())
	default:
		words = append(words, "lladdr", v.MAC.String())
	}
	if v.Sticky {
		words = append(words, "sticky")
	}
	if v.Router {
		words = append(words, "router")
	}
	return strings.Join(words, " ")
}
