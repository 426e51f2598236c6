package daemon

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/api"
	"github.com/vtepbgp/vtepbgp/config"
	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/kernel"
	"github.com/vtepbgp/vtepbgp/speaker/bfd"
)

// The daemon answers the control interface. Core state is copied on the loop, as
// briefly as can be, and put into words outside it.
var _ api.Backend = (*daemon)(nil)

// Status gives the daemon at a glance.
func (d *daemon) Status(ctx context.Context) (api.Status, error) {
	cfg := d.config()
	s := api.Status{
		Version: d.opts.Version, PID: os.Getpid(), ConfigFile: d.opts.ConfigPath,
		Started: d.started.UTC(), UptimeSeconds: int64(time.Since(d.started).Seconds()),
		PruneAllowed: d.pruneAllowed.Load(),
		ASN:          cfg.BGP.ASN, RouterID: cfg.BGP.RouterID, VTEPAddress: d.kernel.VTEPAddress(),
		Reload:   api.ReloadSummary{Count: d.reloads.Load()},
		Problems: []string{},
	}
	if why := d.ready.Load(); why != nil {
		s.NotReady = *why
	}
	s.Ready = s.NotReady == ""
	if r := d.lastReload.Load(); r != nil {
		s.Reload.Last = r.at.UTC()
		if r.err != nil {
			s.Reload.LastError = r.err.Error()
		}
	}
	neighbors := d.speaker.Neighbors()
	var vnis []evpn.VNIInfo
	err := d.loop.do(ctx, func(c *evpn.Core) {
		s.Synced = c.Synced() && !d.gaveUp.Load()
		s.VTEPs = c.VTEPCount()
		vnis = c.VNIs()
		for _, n := range neighbors {
			s.Routes.Accepted += c.AcceptedRoutes(n.Address)
		}
	})
	if err != nil {
		return api.Status{}, err
	}
	for _, n := range neighbors {
		s.Neighbors.Total++
		if n.State == established {
			s.Neighbors.Established++
		}
		s.Routes.Received += n.RoutesReceived
		s.Routes.Shed += n.RoutesShed
	}
	s.Routes.Own = d.speaker.Stats().OwnRoutes
	for _, v := range vnis {
		s.VNIs.Total++
		if v.Up {
			s.VNIs.Up++
		}
		s.LocalMACs += v.LocalMACs
		s.RemoteMACs += v.RemoteMACs
	}
	copying := d.flooding.Status()
	for _, v := range d.kernel.Status() {
		for _, p := range v.Problems {
			s.Problems = append(s.Problems, fmt.Sprintf("vni %s: %s", v.VNI, p))
		}
	}
	for _, v := range vnis {
		for _, p := range floodProblems(v, copying.Networks[v.VNI]) {
			s.Problems = append(s.Problems, fmt.Sprintf("vni %s: %s", v.VNI, p))
		}
	}
	stats := d.kernel.Stats()
	s.Kernel, s.VTEPsUnreachable = kernelSummary(stats), stats.Underlay.Unreachable
	s.Problems = append(s.Problems, unreachable(d.kernel.Underlay())...)
	return s, nil
}

const established = "established"

// unreachable puts the VTEPs that cannot be reached into words, some of them if there
// are many.
func unreachable(ways []kernel.VTEPState) (problems []string) {
	const most = 5
	n := 0
	for _, w := range ways {
		if w.Reachable {
			continue
		}
		if n++; n <= most {
			problems = append(problems, fmt.Sprintf("vtep %s is unreachable: %s", w.VTEP, w.Reason))
		}
	}
	if n > most {
		problems = append(problems, fmt.Sprintf("%d more vteps are unreachable", n-most))
	}
	return problems
}

func kernelSummary(k kernel.Stats) api.KernelSummary {
	s := api.KernelSummary{Pending: k.Pending, Repairs: k.Repairs}
	for _, w := range k.Writes {
		s.Writes += w.OK + w.Already
		s.Failures += w.Failed
	}
	for _, n := range k.Resyncs {
		s.Resyncs += n
	}
	return s
}

// Neighbors lists the BGP neighbours.
func (d *daemon) Neighbors(ctx context.Context) ([]api.Neighbor, error) {
	list := d.speaker.Neighbors()
	accepted := make([]int, len(list))
	if err := d.loop.do(ctx, func(c *evpn.Core) {
		for i, n := range list {
			accepted[i] = c.AcceptedRoutes(n.Address)
		}
	}); err != nil {
		return nil, err
	}
	out := make([]api.Neighbor, 0, len(list))
	for i, n := range list {
		a := api.Neighbor{
			Address: n.Address, Description: n.Description, ASN: n.ASN, RouterID: n.RouterID, State: n.State,
			Dynamic: n.Dynamic, Passive: n.Passive, RouteReflectorClient: n.RouteReflector, LocalAddress: n.LocalAddress,
			HoldTimeSeconds: int(n.HoldTime.Seconds()), KeepaliveSeconds: int(n.Keepalive.Seconds()),
			GracefulRestart: n.GracefulRestart, Capabilities: notNil(n.Capabilities),
			RoutesReceived: n.RoutesReceived, RoutesAccepted: accepted[i], RoutesShed: n.RoutesShed, RoutesAdvertised: n.RoutesAdvertised,
			MessagesIn: n.MessagesIn, MessagesOut: n.MessagesOut, Flaps: n.Flaps, Drops: n.Drops, LastError: n.LastError,
			BFD: bfdSession(n.BFD),
		}
		if l := n.LongLived; l != nil {
			a.LongLived = api.LongLived{
				Announced: true, AnnouncedSeconds: int64(l.Announced.Seconds()), Forwarding: l.Forwarding, AgreedSeconds: int64(l.Agreed.Seconds()),
			}
		}
		if !n.StaleUntil.IsZero() {
			a.StaleSeconds = max(0, int64(time.Until(n.StaleUntil).Seconds()))
			a.LongLivedStaleSeconds = max(0, int64(time.Until(n.LongLivedUntil).Seconds()))
		}
		if n.Prefix.IsValid() {
			a.Prefix = n.Prefix.String()
		}
		if n.State == established {
			a.UptimeSeconds = int64(time.Since(n.Since).Seconds())
		}
		if a.Drops == nil {
			a.Drops = map[string]uint64{}
		}
		out = append(out, a)
	}
	return out, nil
}

func bfdSession(s *bfd.Status) api.BFD {
	if s == nil {
		return api.BFD{State: "off"}
	}
	b := api.BFD{
		State: s.State.String(), RemoteState: s.RemoteState.String(), Mode: "single-hop", LocalAddress: s.Local,
		IntervalMilliseconds: milliseconds(s.SendInterval), DetectionMilliseconds: milliseconds(s.DetectionTime),
		Multiplier: int(s.Multiplier), RemoteMultiplier: int(s.RemoteMultiplier),
		Diagnostic: s.Diag.String(), RemoteDiagnostic: s.RemoteDiag.String(), RemoteIndependent: s.RemoteIndependent,
		Discriminator: s.Discriminator, RemoteDiscriminator: s.RemoteDiscr,
		Flaps: s.Downs, LastDown: s.LastDown.UTC(), LastDownReason: s.LastDownReason,
		PacketsIn: s.PacketsReceived, PacketsOut: s.PacketsSent, Problem: s.Problem,
	}
	if s.LastDown.IsZero() {
		b.LastDown = time.Time{}
	}
	if s.Multihop {
		b.Mode = "multihop"
	}
	if s.State == bfd.Up {
		b.UpSince = s.Since.UTC()
	}
	return b
}

// milliseconds are exact: intervals may be shorter than one.
func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// VNIs lists VNIs as the core and the kernel see them.
func (d *daemon) VNIs(ctx context.Context, f api.VNIFilter) ([]api.VNI, error) {
	var infos []evpn.VNIInfo
	if err := d.loop.do(ctx, func(c *evpn.Core) { infos = c.VNIs() }); err != nil {
		return nil, err
	}
	status := map[evpn.VNI]kernel.VNIStatus{}
	for _, s := range d.kernel.Status() {
		status[s.VNI] = s
	}
	vtep, copying := d.kernel.VTEPAddress(), d.flooding.Status()
	out := []api.VNI{}
	for _, i := range infos {
		if f.VNI != 0 && i.VNI != f.VNI {
			continue
		}
		k := status[i.VNI]
		v := api.VNI{
			VNI: i.VNI, Device: k.Device, Bridge: k.Bridge, VTEPAddress: vtep, MTUBytes: k.MTU,
			RD: i.RD.String(), ImportRT: notNil(i.Import), ExportRT: notNil(i.Export),
			Flooding: i.Flooding, Suppression: i.Suppression,
			SuppressionState: k.SuppressionState, SuppressionMissing: notNil(k.SuppressionMissing), MaxMACs: i.MaxMACs,
			LocalMACs: i.LocalMACs, RemoteMACs: i.RemoteMACs, VTEPs: i.VTEPs, State: "down",
			Problems: notNil(slices.Concat(k.Problems, floodProblems(i, copying.Networks[i.VNI]))),
		}
		switch {
		case i.Up:
			v.State = "up"
		case i.DownReason != "" && !slices.Contains(v.Problems, i.DownReason):
			v.Problems = append([]string{i.DownReason}, v.Problems...)
		}
		out = append(out, v)
	}
	return out, known(f, len(out))
}

func known(f api.VNIFilter, found int) error {
	if f.VNI != 0 && found == 0 {
		return fmt.Errorf("VNI %s is not configured: %w", f.VNI, api.ErrNotFound)
	}
	return nil
}

// VTEPs lists the remote VTEPs.
func (d *daemon) VTEPs(ctx context.Context, f api.VNIFilter) ([]api.VTEP, error) {
	var (
		infos   []evpn.VTEPInfo
		entries []evpn.FloodEntry
	)
	if err := d.loop.do(ctx, func(c *evpn.Core) { infos, entries = c.VTEPs(), c.Flood(f.VNI) }); err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(d.config().VNIs, func(v config.VNI) bool { return v.ID == f.VNI }) {
		if err := known(f, 0); err != nil {
			return nil, err
		}
	}
	sources := map[netip.Addr][]evpn.FloodSource{}
	for _, e := range entries {
		if l := sources[e.VTEP]; !slices.Contains(l, e.Source) {
			sources[e.VTEP] = append(l, e.Source)
		}
	}
	ways := map[netip.Addr]kernel.VTEPState{}
	for _, w := range d.kernel.Underlay() {
		ways[w.VTEP] = w
	}
	out := []api.VTEP{}
	for _, i := range infos {
		if f.VNI != 0 && !slices.Contains(i.VNIs, f.VNI) {
			continue
		}
		v := api.VTEP{Address: i.Address, VNIs: notNil(i.VNIs), MACs: i.MACs, Sources: notNil(slices.Sorted(slices.Values(sources[i.Address]))), Reachable: i.Reachable, Reason: i.Reason}
		if w, known := ways[i.Address]; known {
			v.Reachable, v.Reason = w.Reachable, w.Reason
			v.Interface, v.Gateway, v.MTUBytes = w.Device, w.Gateway, w.MTU
			v.SinceSeconds = int64(time.Since(w.Since).Seconds())
		}
		out = append(out, v)
	}
	return out, nil
}

// Reload reads the configuration again.
func (d *daemon) Reload(ctx context.Context) (api.ReloadResult, error) {
	r, err := d.reload(ctx)
	if err != nil {
		d.log.WithField(fieldError, err).Error("reload failed")
	}
	return r, err
}

// ResetNeighbor resets a session.
func (d *daemon) ResetNeighbor(_ context.Context, address netip.Addr, soft bool) error {
	if !slices.ContainsFunc(d.speakerAddresses(), func(a netip.Addr) bool { return a == address }) {
		return fmt.Errorf("neighbor %s is not known: %w", address, api.ErrNotFound)
	}
	return d.speaker.Reset(address, soft)
}

func (d *daemon) speakerAddresses() (addrs []netip.Addr) {
	for _, n := range d.speaker.Neighbors() {
		addrs = append(addrs, n.Address)
	}
	return addrs
}

// ClearDuplicate thaws MACs frozen as duplicates.
func (d *daemon) ClearDuplicate(ctx context.Context, vni evpn.VNI, mac evpn.MAC) error {
	found := false
	if err := d.loop.do(ctx, func(c *evpn.Core) {
		if found = slices.ContainsFunc(c.VNIs(), func(i evpn.VNIInfo) bool { return i.VNI == vni }); found {
			d.loop.tell(evpn.DuplicateCleared{VNI: vni, MAC: mac}, time.Now())
		}
	}); err != nil {
		return err
	}
	if !found {
		return known(api.VNIFilter{VNI: vni}, 0)
	}
	return nil
}

// notNil makes an absent list an empty one: in JSON a list is never null.
func notNil[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
