package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/api"
	"github.com/vtepbgp/vtepbgp/config"
	"github.com/vtepbgp/vtepbgp/evpn"
)

const (
	vtepsFile    = "vteps.json"
	vtepsVersion = 1
)

// addedVTEPs are the VTEPs that `vtep add` put on flood lists, over restarts and reloads. Those of a
// VNI that left the configuration wait for its return. Its methods are for one goroutine at a
// time: see [daemon.exclusive].
type addedVTEPs struct {
	path string
	doc  vtepsDocument
}

type vtepsDocument struct {
	Version int                       `json:"version"`
	VTEPs   map[evpn.VNI][]netip.Addr `json:"vteps"` // sorted
}

// openAddedVTEPs reads what dir remembers.
func openAddedVTEPs(dir string) (*addedVTEPs, error) {
	a := &addedVTEPs{path: filepath.Join(dir, vtepsFile), doc: vtepsDocument{Version: vtepsVersion, VTEPs: map[evpn.VNI][]netip.Addr{}}}
	b, err := os.ReadFile(a.path)
	if errors.Is(err, fs.ErrNotExist) {
		return a, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read added vteps: %w", err)
	}
	var doc vtepsDocument
	if err = json.Unmarshal(b, &doc); err == nil {
		err = doc.check()
	}
	if err != nil {
		return nil, fmt.Errorf("read added vteps from %s: %w; restore the file, or remove it and add them again with `vtepbgp vtep add`", a.path, err)
	}
	a.doc = doc
	return a, nil
}

func (d *vtepsDocument) check() error {
	if d.Version != vtepsVersion {
		return fmt.Errorf("version %d is not %d", d.Version, vtepsVersion)
	}
	if d.VTEPs == nil {
		d.VTEPs = map[evpn.VNI][]netip.Addr{}
	}
	for vni, list := range d.VTEPs {
		for _, v := range list {
			if !v.IsValid() || !vni.Valid() {
				return fmt.Errorf("VTEP %q of VNI %s is none", v, vni)
			}
		}
		slices.SortFunc(list, netip.Addr.Compare)
		d.VTEPs[vni] = slices.Compact(list)
	}
	return nil
}

func (a *addedVTEPs) has(vni evpn.VNI, vtep netip.Addr) bool {
	return slices.Contains(a.doc.VTEPs[vni], vtep)
}

// set adds or removes one, and writes that down. On an error nothing has changed.
func (a *addedVTEPs) set(vni evpn.VNI, vtep netip.Addr, there bool) error {
	next := vtepsDocument{Version: vtepsVersion, VTEPs: maps.Clone(a.doc.VTEPs)}
	list := slices.DeleteFunc(slices.Clone(next.VTEPs[vni]), func(v netip.Addr) bool { return v == vtep })
	if there {
		list = append(list, vtep)
		slices.SortFunc(list, netip.Addr.Compare)
	}
	if next.VTEPs[vni] = list; len(list) == 0 {
		delete(next.VTEPs, vni)
	}
	b, err := json.MarshalIndent(next, "", " ")
	if err == nil {
		err = writeFileAtomic(a.path, append(b, '\n'))
	}
	if err != nil {
		return fmt.Errorf("write added vteps: %w", err)
	}
	a.doc = next
	return nil
}

// join puts those that were added beside those of the configuration.
func (a *addedVTEPs) join(c *evpn.Config) {
	for i := range c.VNIs {
		v := &c.VNIs[i]
		for _, vtep := range a.doc.VTEPs[v.VNI] {
			if !slices.Contains(v.StaticVTEPs, vtep) {
				v.StaticVTEPs = append(slices.Clone(v.StaticVTEPs), vtep)
			}
		}
	}
}

// AddVTEP puts a VTEP on a flood list until DeleteVTEP.
func (d *daemon) AddVTEP(ctx context.Context, vni evpn.VNI, vtep netip.Addr) error {
	return d.changeVTEP(ctx, vni, vtep, true, d.mayAdd)
}

// DeleteVTEP takes one off that AddVTEP put there.
func (d *daemon) DeleteVTEP(ctx context.Context, vni evpn.VNI, vtep netip.Addr) error {
	return d.changeVTEP(ctx, vni, vtep, false, d.mayDelete)
}

func (d *daemon) changeVTEP(ctx context.Context, vni evpn.VNI, vtep netip.Addr, there bool, may func(*config.VNI, netip.Addr) error) error {
	vtep = vtep.Unmap()
	unlock, err := d.exclusive(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if why := d.ready.Load(); why != nil {
		return fmt.Errorf("change VTEPs: daemon is %s: %w", *why, api.ErrNotReady)
	}
	vnis := d.config().VNIs
	i := slices.IndexFunc(vnis, func(v config.VNI) bool { return v.ID == vni })
	switch {
	case i >= 0:
		err = may(&vnis[i], vtep)
	case there || !d.added.has(vni, vtep): // one that was added before the VNI left may go
		err = known(api.VNIFilter{VNI: vni}, 0)
	}
	if err != nil {
		return err
	}
	if err := d.added.set(vni, vtep, there); err != nil {
		return err
	}
	d.mu.Lock()
	cfg, rds, h := d.cfg, d.rds, d.host
	d.mu.Unlock()
	if err := d.change(ctx, cfg, rds, h); err != nil { // who asked has gone, or we stop
		return errors.Join(err, d.added.set(vni, vtep, !there))
	}
	return nil
}

// wantCore is what the core needs to know of all that we know. It is for who changes the
// configuration, one at a time: see [daemon.exclusive].
func (d *daemon) wantCore(cfg *config.Config, numbers map[evpn.VNI]uint16, h host) evpn.Config {
	c := coreConfig(cfg, numbers, h)
	c.Resume = d.resuming
	d.added.join(&c)
	return c
}

func (d *daemon) mayAdd(v *config.VNI, vtep netip.Addr) error {
	ours := d.kernel.VTEPAddress()
	switch {
	case config.CheckVTEP(vtep) != nil:
		return refuse(http.StatusBadRequest, "%s is no address of a VTEP: %s", vtep, config.CheckVTEP(vtep))
	case vtep == ours || vtep == d.config().Flood.ServiceAddress || d.kernel.Local(vtep):
		return refuse(http.StatusBadRequest, "%s is an address of this host: want that of the other VTEP", vtep)
	case ours.IsValid() && ours.Is4() != vtep.Is4():
		return refuse(http.StatusBadRequest, "%s is of another address family than our VTEP address %s: packets have one or the other", vtep, ours)
	case v.Flooding == evpn.FloodOff:
		return refuse(http.StatusConflict, "flooding is off for VNI %s, so nobody would get its frames: set `flooding` in the configuration first", v.ID)
	case slices.Contains(v.StaticVTEPs, vtep):
		return refuse(http.StatusConflict, "%s is on the flood list of VNI %s already: it is a static_vtep of the configuration", vtep, v.ID)
	case d.added.has(v.ID, vtep):
		return refuse(http.StatusConflict, "%s is on the flood list of VNI %s already: it was added before", vtep, v.ID)
	}
	return nil
}

func (d *daemon) mayDelete(v *config.VNI, vtep netip.Addr) error {
	switch {
	case d.added.has(v.ID, vtep):
		return nil
	case slices.Contains(v.StaticVTEPs, vtep):
		return refuse(http.StatusConflict, "%s was not added at run time: it is a static_vtep of VNI %s in the configuration, remove it there and reload", vtep, v.ID)
	default:
		return refuse(http.StatusNotFound, "%s was not added to VNI %s: `vtepbgp flood show %s` says where its VTEPs come from", vtep, v.ID, v.ID)
	}
}

func refuse(status int, format string, a ...any) error {
	return &api.Error{StatusCode: status, Message: fmt.Sprintf(format, a...)}
}
