package kernel

import (
	"errors"
	"maps"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// picture is one reading of the kernel, beside what was intended right after it. It
// shares nothing with the mirror that events keep up to date, so that comparing the
// two checks that machinery as well.
type picture struct {
	scope    scope
	cfg      Config
	links    *snapshot
	site     site
	views    []*view // by VNI
	byDevice map[int32]*view
	byBridge map[int32]*view
	ports    map[int32]accessPort // access ports as the mirror has them
	prune    bool
	failures map[evpn.RowKey]error
	held     map[ownAddress]bool  // see addresses
	refused  map[ownAddress]error // the same
}

// view is one VNI of a picture.
type view struct {
	cfg            VNI
	plan           plan  // of the links as found; never run
	device, bridge *Link // nil = not there, or of no use

	// Found.
	floods    map[floodTo]bool
	vxlan     map[evpn.MAC]fdbRow
	fdb       map[evpn.MAC]fdbRow
	neighbors map[netip.Addr]neighborFound

	// Intended, and what is under way.
	wantFloods    map[floodTo]floodEntry
	wantMACs      map[evpn.MAC]macEntry
	wantNeighbors map[netip.Addr]neighborEntry
}

// fdbRow is what matters of a row of the FDB.
type fdbRow struct {
	to    netip.Addr // of the VXLAN device's
	port  int32      // of the bridge's
	flags uint8
	state uint16
}

type neighborFound struct {
	mac      evpn.MAC
	flags    uint8
	state    uint16
	protocol uint8
}

// survey reads links and rows and compares them with intent.
func (k *Kernel) survey(s scope) ([]Drift, error) {
	p, err := k.take(s)
	if err != nil {
		return nil, err
	}
	return p.compare(), nil
}

// take reads the kernel first and intent after it: a row that is withdrawn between
// the two looks extra, one that is asked for looks missing, and both are queued.
func (k *Kernel) take(s scope) (*picture, error) {
	links, err := k.look()
	if err != nil {
		return nil, err
	}
	k.deviceMu.Lock()
	created, held, refused := maps.Clone(k.created), maps.Clone(k.addresses.held), maps.Clone(k.addresses.failed)
	k.deviceMu.Unlock()
	k.mu.Lock()
	cfg := k.cfg
	k.mu.Unlock()
	p := &picture{
		scope: s, cfg: cfg, held: held, refused: refused, links: links, site: newSite(cfg, links),
		byDevice: map[int32]*view{}, byBridge: map[int32]*view{}, failures: map[evpn.RowKey]error{},
	}
	for _, v := range cfg.VNIs {
		if s.hasVNI(v.VNI) {
			p.add(v, created)
		}
	}
	if err := p.read(k.b); err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	p.prune = k.prune
	p.ports = maps.Clone(k.ports)
	for key, f := range k.failures {
		p.failures[key] = f.err
	}
	for _, v := range p.views {
		if in := k.instances[v.cfg.VNI]; in != nil {
			v.intend(in, s)
		}
	}
	return p, nil
}

// read takes the rows in: all of them, or the few that the scope names.
func (p *picture) read(b Backend) error {
	if p.scope.only {
		if err := b.Find(p.named(), p.see); !errors.Is(err, unix.EOPNOTSUPP) {
			return err
		}
	}
	for _, family := range []uint8{unix.AF_BRIDGE, unix.AF_INET, unix.AF_INET6} {
		if err := b.Dump(family, p.see); err != nil {
			return err
		}
	}
	return nil
}

// named are the rows that the scope names.
func (p *picture) named() (rows []Neighbor) {
	for _, v := range p.views {
		for _, mac := range p.scope.macs {
			if v.device == nil {
				continue
			}
			rows = append(rows, Neighbor{Family: unix.AF_BRIDGE, Index: v.device.Index, Flags: unix.NTF_SELF, MAC: mac})
			if v.device.Port.Bridge { // then the bridge's table can be asked by it, for rows of any port
				rows = append(rows, Neighbor{Family: unix.AF_BRIDGE, Index: v.device.Index, Flags: unix.NTF_MASTER, MAC: mac})
			}
		}
		for _, ip := range p.scope.ips {
			if v.bridge != nil {
				rows = append(rows, Neighbor{Family: family(ip), Index: v.bridge.Index, Addr: ip})
			}
		}
	}
	return rows
}

// intend copies the intent of in, or of the rows that s names.
func (v *view) intend(in *instance, s scope) {
	if !s.only {
		v.wantFloods, v.wantMACs, v.wantNeighbors = maps.Clone(in.floods), maps.Clone(in.macs), maps.Clone(in.neighbors)
		return
	}
	v.wantMACs, v.wantNeighbors = map[evpn.MAC]macEntry{}, map[netip.Addr]neighborEntry{}
	for _, m := range s.macs {
		if e, ok := in.macs[m]; ok {
			v.wantMACs[m] = e
		}
	}
	for _, a := range s.ips {
		if e, ok := in.neighbors[a]; ok {
			v.wantNeighbors[a] = e
		}
	}
}

func (p *picture) add(cfg VNI, created map[string]bool) {
	v := &view{
		cfg: cfg, floods: map[floodTo]bool{}, vxlan: map[evpn.MAC]fdbRow{}, fdb: map[evpn.MAC]fdbRow{},
		neighbors: map[netip.Addr]neighborFound{},
	}
	v.plan = plan{cfg: cfg, site: p.site, s: p.links, created: created, device: p.links.byName[cfg.Device], bridge: p.links.byName[cfg.Bridge]}
	if d := v.plan.device; v.plan.unusable(d) == "" {
		v.device = d
		p.byDevice[d.Index] = v
	}
	if br := v.plan.bridge; br != nil && br.Kind == "bridge" && (v.device == nil || v.device.Master == br.Index) {
		v.bridge = br
		p.byBridge[br.Index] = v
	}
	p.views = append(p.views, v)
}

// see files one row of a dump. Rows may come twice.
func (p *picture) see(n Neighbor) {
	if n.Family != unix.AF_BRIDGE {
		if v := p.byBridge[n.Index]; v != nil && p.scope.hasIP(n.Addr) {
			v.neighbors[n.Addr] = neighborFound{n.MAC, n.Flags, n.State, n.Protocol}
		}
		return
	}
	row := fdbRow{n.Addr, n.Index, n.Flags & (unix.NTF_EXT_LEARNED | ntfSticky), n.State & pinned}
	switch v := p.byDevice[n.Index]; {
	case v != nil && n.Master == 0 && n.MAC.IsZero():
		v.floods[floodTo{makeVTEP(n.Addr), n.Via}] = true
	case v != nil && n.Master == 0 && p.scope.hasMAC(n.MAC):
		v.vxlan[n.MAC] = row
	case n.Master != 0 && n.Index != n.Master && p.scope.hasMAC(n.MAC):
		if v := p.byBridge[n.Master]; v != nil {
			v.fdb[n.MAC] = row
		}
	}
}

func family(ip netip.Addr) uint8 {
	if ip.Is6() {
		return unix.AF_INET6
	}
	return unix.AF_INET
}
