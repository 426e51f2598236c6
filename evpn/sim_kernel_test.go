package evpn_test

import (
	"time"

	"github.com/vtepbgp/vtepbgp/evpn"
)

type simMAC struct {
	vni evpn.VNI
	mac evpn.MAC
}

type simIP struct {
	vni evpn.VNI
	ip  addr
}

// simKernel is bridge FDB and neighbour table. An address is either local or a row of
// ours, never both: the later one has replaced the other.
type simKernel struct {
	s     *site
	gen   int // of the daemon that listens
	up    map[evpn.VNI]bool
	local map[simMAC]bool
	ips   map[simIP]evpn.MAC
	rows  map[evpn.RowKey]evpn.Row
	wrote time.Time

	gateway bool              // the bridge is an anycast gateway
	cut     map[*site]bool    // the underlay has no way there
	heard   map[simHeard]bool // at the service address
}

// tellReachable says what the underlay knows of the way to a VTEP.
func (k *simKernel) tellReachable(vtep addr) {
	reachable := k.hasWay(vtep)
	k.emit(evpn.NextHopState{VTEP: vtep, Reachable: reachable, Reason: when(!reachable, "no route")})
}

func (k *simKernel) heal(o *site) {
	delete(k.cut, o)
	k.tellReachable(o.addr)
	k.tellReachable(o.cfg.Service)
}

func (k *simKernel) setGateway(on bool) {
	k.gateway = on
	delete(k.rows, evpn.RowKey{Kind: evpn.MACRow, VNI: simGatewayVNI, MAC: simGatewayMAC})
	delete(k.rows, evpn.RowKey{Kind: evpn.NeighborRow, VNI: simGatewayVNI, IP: simGatewayIP})
	k.reportGateway()
}

func (k *simKernel) reportGateway() {
	if k.gateway {
		k.tell(evpn.LocalMACLearned{VNI: simGatewayVNI, MAC: simGatewayMAC, Port: "br100", Gateway: true})
		k.tell(evpn.LocalIPLearned{VNI: simGatewayVNI, IP: simGatewayIP, MAC: simGatewayMAC})
	} else {
		k.tell(evpn.LocalIPGone{VNI: simGatewayVNI, IP: simGatewayIP, MAC: simGatewayMAC})
		k.tell(evpn.LocalMACGone{VNI: simGatewayVNI, MAC: simGatewayMAC})
	}
}

// hear is a frame of h on an access port.
func (k *simKernel) hear(h *host) {
	if !k.up[h.vni] {
		return
	}
	m := simMAC{h.vni, h.mac}
	if !k.local[m] {
		delete(k.rows, evpn.RowKey{Kind: evpn.MACRow, VNI: h.vni, MAC: h.mac})
		k.local[m] = true
		k.emit(evpn.LocalMACLearned{VNI: h.vni, MAC: h.mac, Port: "veth1"})
	}
	for _, ip := range h.ips {
		if i := (simIP{h.vni, ip}); k.ips[i] != h.mac {
			delete(k.rows, evpn.RowKey{Kind: evpn.NeighborRow, VNI: h.vni, IP: ip})
			k.ips[i] = h.mac
			k.emit(evpn.LocalIPLearned{VNI: h.vni, IP: ip, MAC: h.mac})
		}
	}
}

// age forgets a silent host.
func (k *simKernel) age(h *host) {
	if m := (simMAC{h.vni, h.mac}); k.local[m] {
		delete(k.local, m)
		k.emit(evpn.LocalMACGone{VNI: h.vni, MAC: h.mac})
	}
	for _, ip := range k.s.w.ips {
		if i := (simIP{h.vni, ip}); k.ips[i] == h.mac {
			delete(k.ips, i)
			k.emit(evpn.LocalIPGone{VNI: h.vni, IP: ip, MAC: h.mac})
		}
	}
}

// ageIPs forgets that other hosts had what are the IPs of h now.
func (k *simKernel) ageIPs(h *host) {
	for _, ip := range h.ips {
		if i := (simIP{h.vni, ip}); k.ips[i] != (evpn.MAC{}) {
			k.emit(evpn.LocalIPGone{VNI: h.vni, IP: ip, MAC: k.ips[i]})
			delete(k.ips, i)
		}
	}
}

func (k *simKernel) setVNI(vni evpn.VNI, up bool) {
	k.up[vni] = up
	if !up { // the bridge flushes what it learned
		for _, h := range k.s.w.hosts {
			if h.vni == vni {
				k.age(h)
			}
		}
	}
	k.tell(evpn.VNIState{VNI: vni, Up: up})
}

// emit tells the daemon what happened: mostly soon, sometimes late and out of order,
// sometimes never.
func (k *simKernel) emit(ev evpn.Event) {
	w := k.s.w
	switch {
	case w.chance(5): // lost; a resync will repair it
		return
	case w.chance(10):
		gen := k.gen
		w.after(time.Duration(w.rng.IntN(1500))*time.Millisecond, func() {
			if k.gen == gen {
				k.s.handle(ev)
			}
		})
	default:
		k.tell(ev)
	}
}

func (k *simKernel) tell(ev evpn.Event) {
	gen := k.gen
	k.s.w.after(time.Millisecond, func() {
		if k.gen == gen {
			k.s.handle(ev)
		}
	})
}

// report is a dump: all that is there.
func (k *simKernel) report() {
	for _, vni := range simVNIs {
		k.tell(evpn.VNIState{VNI: vni, Up: k.up[vni]})
	}
	for _, h := range k.s.w.hosts {
		if k.local[simMAC{h.vni, h.mac}] {
			k.tell(evpn.LocalMACLearned{VNI: h.vni, MAC: h.mac, Port: "veth1"})
		} else {
			k.tell(evpn.LocalMACGone{VNI: h.vni, MAC: h.mac})
		}
		for _, ip := range k.s.w.ips {
			if k.ips[simIP{h.vni, ip}] == h.mac {
				k.tell(evpn.LocalIPLearned{VNI: h.vni, IP: ip, MAC: h.mac})
			} else {
				k.tell(evpn.LocalIPGone{VNI: h.vni, IP: ip, MAC: h.mac})
			}
		}
	}
	k.reportGateway()
	k.reportHeard()
	for _, a := range k.s.sum.desired().NextHops {
		k.tellReachable(a)
	}
}

// resync is a dump, and then a repair of the rows that the core wants all the same.
func (k *simKernel) resync() {
	k.report()
	gen := k.gen
	k.s.w.after(100*time.Millisecond, func() {
		if k.gen != gen {
			return
		}
		k.s.drain()
		for _, r := range k.s.sum.desired().Rows {
			if k.rows[r.RowKey] != r {
				k.set(r)
			}
		}
	})
}

// write applies what the core asked for, a little later and in order.
func (k *simKernel) write(changes []evpn.RowChange) {
	gen := k.gen
	t := k.s.w.now.Add(time.Duration(k.s.w.rng.IntN(30)) * time.Millisecond)
	if t.Before(k.wrote) {
		t = k.wrote
	}
	k.wrote = t
	k.s.w.after(t.Sub(k.s.w.now), func() {
		if k.gen != gen {
			return
		}
		for _, c := range changes {
			if c.Remove {
				delete(k.rows, c.RowKey)
			} else {
				k.set(c.Row)
			}
		}
	})
}

func (k *simKernel) set(r evpn.Row) {
	if k.gateway && r.VNI == simGatewayVNI && (r.RowKey.MAC == simGatewayMAC || r.IP == simGatewayIP) {
		return // what is the bridge's own cannot be replaced
	}
	k.rows[r.RowKey] = r
	switch r.Kind {
	case evpn.MACRow:
		if m := (simMAC{r.VNI, r.RowKey.MAC}); k.local[m] {
			delete(k.local, m)
			k.emit(evpn.LocalMACGone{VNI: r.VNI, MAC: r.RowKey.MAC})
		}
	case evpn.NeighborRow:
		if mac, ok := k.ips[simIP{r.VNI, r.IP}]; ok {
			delete(k.ips, simIP{r.VNI, r.IP})
			k.emit(evpn.LocalIPGone{VNI: r.VNI, IP: r.IP, MAC: mac})
		}
	}
}
