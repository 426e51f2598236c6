package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/vtepbgp/vtepbgp/evpn"
)

const (
	rdFile    = "rd.json"
	rdVersion = 1
	maxRD     = 65535 // two octets of a type-1 route distinguisher (RFC 4364 §4.2)
)

// rdNumbers gives each VNI its n of the route distinguisher router-id:n, the same
// n over restarts and reloads. A VNI that left the configuration keeps its n until
// no unused one is left; then the number that has been free the longest goes first.
type rdNumbers struct {
	path string
	doc  rdDocument
}

type rdDocument struct {
	Version int                 `json:"version"`
	Used    map[evpn.VNI]uint16 `json:"rd"`
	Freed   []freedRD           `json:"freed"` // longest free first
}

type freedRD struct {
	VNI evpn.VNI `json:"vni"`
	N   uint16   `json:"n"`
}

// openRDNumbers reads the numbers that dir remembers.
func openRDNumbers(dir string) (*rdNumbers, error) {
	r := &rdNumbers{path: filepath.Join(dir, rdFile), doc: rdDocument{Version: rdVersion, Used: map[evpn.VNI]uint16{}, Freed: []freedRD{}}}
	b, err := os.ReadFile(r.path)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read route distinguishers: %w", err)
	}
	var doc rdDocument
	if err = json.Unmarshal(b, &doc); err == nil {
		err = doc.check()
	}
	if err != nil {
		return nil, fmt.Errorf("read route distinguishers from %s: %w; restore the file, or remove it to have the numbers given anew "+
			"(neighbours then see the routes of this host withdrawn and announced once)", r.path, err)
	}
	r.doc = doc
	return r, nil
}

func (d *rdDocument) check() error {
	if d.Version != rdVersion {
		return fmt.Errorf("version %d is not %d", d.Version, rdVersion)
	}
	if d.Used == nil {
		d.Used = map[evpn.VNI]uint16{}
	}
	seen := map[uint16]evpn.VNI{}
	one := func(v evpn.VNI, n uint16) error {
		if other, twice := seen[n]; twice {
			return fmt.Errorf("number %d belongs to VNI %s and VNI %s", n, other, v)
		}
		if n == 0 || !v.Valid() {
			return fmt.Errorf("VNI %s with number %d is out of range", v, n)
		}
		seen[n] = v
		return nil
	}
	for _, v := range slices.Sorted(maps.Keys(d.Used)) {
		if err := one(v, d.Used[v]); err != nil {
			return err
		}
	}
	for _, f := range d.Freed {
		if err := one(f.VNI, f.N); err != nil {
			return err
		}
	}
	return nil
}

// assign gives the numbers of vnis and writes them down when something is new.
// Numbers in reserved are never given (the operator uses them in an rd of his own).
// On an error nothing has changed.
func (r *rdNumbers) assign(vnis []evpn.VNI, reserved map[uint16]bool) (map[evpn.VNI]uint16, error) {
	next := rdDocument{Version: rdVersion, Used: map[evpn.VNI]uint16{}, Freed: append([]freedRD{}, r.doc.Freed...)}
	wanted := map[evpn.VNI]bool{}
	for _, v := range vnis {
		wanted[v] = true
	}
	taken := maps.Clone(reserved)
	if taken == nil {
		taken = map[uint16]bool{}
	}
	for _, v := range slices.Sorted(maps.Keys(r.doc.Used)) {
		n := r.doc.Used[v]
		switch {
		case reserved[n]: // forgotten: a VNI that still wants one gets another
		case wanted[v]:
			next.Used[v], taken[n] = n, true
		default:
			next.Freed = append(next.Freed, freedRD{VNI: v, N: n})
		}
	}
	next.Freed = slices.DeleteFunc(next.Freed, func(f freedRD) bool {
		if taken[f.N] {
			return true
		}
		if _, has := next.Used[f.VNI]; wanted[f.VNI] && !has {
			next.Used[f.VNI] = f.N // it is back
		}
		taken[f.N] = true
		return next.Used[f.VNI] == f.N && wanted[f.VNI]
	})
	candidate := 1
	for _, v := range slices.Sorted(slices.Values(vnis)) {
		if _, has := next.Used[v]; has {
			continue
		}
		for candidate <= maxRD && taken[uint16(candidate)] {
			candidate++
		}
		switch {
		case candidate <= maxRD:
			next.Used[v] = uint16(candidate)
			taken[uint16(candidate)] = true
		case len(next.Freed) > 0:
			next.Used[v] = next.Freed[0].N
			next.Freed = next.Freed[1:]
		default:
			return nil, fmt.Errorf("assign route distinguisher of VNI %s: all %d numbers are in use; set rd of some VNIs by hand", v, maxRD)
		}
	}
	if !maps.Equal(next.Used, r.doc.Used) || !slices.Equal(next.Freed, r.doc.Freed) {
		b, err := json.MarshalIndent(next, "", " ")
		if err != nil {
			return nil, fmt.Errorf("write route distinguishers: %w", err)
		}
		if err := writeFileAtomic(r.path, append(b, '\n')); err != nil {
			return nil, fmt.Errorf("write route distinguishers: %w", err)
		}
		r.doc = next
	}
	return maps.Clone(next.Used), nil
}
