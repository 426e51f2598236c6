package daemon

import (
	"context"
	"slices"

	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/api"
	"github.com/vtepbgp/vtepbgp/evpn"
)

// listChunk is how many elements of a long list are looked up before the loop goes
// on with its work: about a millisecond.
const listChunk = 500

// MACs lists MACs, in pieces, so that the loop is never held for long.
func (d *daemon) MACs(ctx context.Context, f api.MACFilter, yield func(api.MAC) error) error {
	var vnis []evpn.VNI
	if err := d.loop.do(ctx, func(c *evpn.Core) {
		for _, i := range c.VNIs() {
			if f.VNI == 0 || i.VNI == f.VNI {
				vnis = append(vnis, i.VNI)
			}
		}
	}); err != nil {
		return err
	}
	if err := known(api.VNIFilter{VNI: f.VNI}, len(vnis)); err != nil {
		return err
	}
	for _, vni := range vnis {
		if err := d.macsOf(ctx, vni, f, yield); err != nil {
			return err
		}
	}
	return nil
}

func (d *daemon) macsOf(ctx context.Context, vni evpn.VNI, f api.MACFilter, yield func(api.MAC) error) error {
	macs := []evpn.MAC{f.MAC}
	if f.MAC.IsZero() {
		macs = nil
		if err := d.loop.do(ctx, func(c *evpn.Core) {
			c.MACRefs(vni, func(m evpn.MAC) bool { macs = append(macs, m); return true })
		}); err != nil {
			return err
		}
		slices.SortFunc(macs, evpn.MAC.Compare)
	}
	var batch []evpn.MACInfo
	for chunk := range slices.Chunk(macs, listChunk) {
		batch = batch[:0]
		if err := d.loop.do(ctx, func(c *evpn.Core) {
			for _, mac := range chunk {
				if m, ok := c.MAC(vni, mac); ok && f.Matches(m) {
					batch = append(batch, m)
				}
			}
		}); err != nil {
			return err
		}
		for _, m := range batch {
			if err := yield(d.mac(m)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *daemon) mac(m evpn.MACInfo) api.MAC {
	return api.NewMAC(m, m.Origin == evpn.OriginLocal || d.kernel.Installed(evpn.RowKey{Kind: evpn.MACRow, VNI: m.VNI, MAC: m.MAC}))
}

// Routes lists received routes and our own, in pieces.
func (d *daemon) Routes(ctx context.Context, f api.RouteFilter, yield func(api.Route) error) error {
	var refs []evpn.RouteRef
	if err := d.loop.do(ctx, func(c *evpn.Core) {
		c.RouteRefs(func(r evpn.RouteRef) bool {
			if f.MatchesKey(r.Key, r.Neighbor) {
				refs = append(refs, r)
			}
			return true
		})
	}); err != nil {
		return err
	}
	slices.SortFunc(refs, evpn.RouteRef.Compare)
	var batch []evpn.RouteInfo
	for chunk := range slices.Chunk(refs, listChunk) {
		batch = batch[:0]
		if err := d.loop.do(ctx, func(c *evpn.Core) {
			for _, ref := range chunk {
				if r, ok := c.Route(ref); ok && f.Matches(r) {
					batch = append(batch, r)
				}
			}
		}); err != nil {
			return err
		}
		for _, r := range batch {
			if err := yield(api.NewRoute(r)); err != nil {
				return err
			}
		}
	}
	return nil
}
