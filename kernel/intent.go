package kernel

import "github.com/vtepbgp/vtepbgp/evpn"

// Apply takes changes of intent. It coalesces with what is not written yet and
// never waits for the kernel.
func (k *Kernel) Apply(changes []evpn.RowChange) {
	k.mu.Lock()
	for _, c := range changes {
		in := k.instance(c.VNI)
		switch c.Kind {
		case evpn.FloodRow:
			k.intendFlood(in, c)
		case evpn.MACRow:
			k.intendMAC(in, c)
		case evpn.NeighborRow:
			k.intendNeighbor(in, c)
		}
		if len(k.failures) > 0 {
			delete(k.failures, c.RowKey)
		}
		if !in.configured && len(in.macs)+len(in.floods)+len(in.neighbors) == 0 {
			delete(k.instances, c.VNI) // the last row of a VNI that is not ours (any more)
		}
	}
	k.mu.Unlock()
	signal(k.wake)
	signal(k.reportWake)
}

// instance gives the VNI's instance; rows may come before the configuration.
func (k *Kernel) instance(vni evpn.VNI) *instance {
	in := k.instances[vni]
	if in == nil {
		in = newInstance(vni)
		k.instances[vni] = in
	}
	return in
}

func (k *Kernel) intendMAC(in *instance, c evpn.RowChange) {
	e := in.macs[c.RowKey.MAC]
	in.wantedMACs += count(!c.Remove) - count(e.wanted())
	if e.wanted() {
		in.needs(e.want, -1)
	}
	e.flags = setDrop(e.flags, c.Remove) &^ flagYield
	e.want, e.wantSticky = vtep{}, false
	if !c.Remove {
		e.want, e.wantSticky = makeVTEP(c.VTEP), c.Sticky
		in.needs(e.want, 1)
		if e.port != 0 && e.reported == 0 {
			// The core decided without knowing that the MAC is here; it will decide again.
			e.flags |= flagYield
		}
	}
	k.queueMAC(in, c.RowKey.MAC, &e)
	k.putMAC(in, c.RowKey.MAC, e)
}

func (k *Kernel) intendNeighbor(in *instance, c evpn.RowChange) {
	e := in.neighbors[c.IP]
	in.wantedNeighbors += count(!c.Remove) - count(e.wanted())
	e.flags = setDrop(e.flags, c.Remove)
	e.want, e.wantRouter = evpn.MAC{}, false
	if !c.Remove {
		e.want, e.wantRouter = c.RowValue.MAC, c.Router
	}
	k.storeNeighbor(in, c.IP, e)
	// The core knew of the local host and decided for another one elsewhere. What the
	// local one says from now on is news again (RFC 9721).
	if b, ok := k.bindings.Lookup(in.vni, c.IP); ok && !c.Remove && b.MAC == e.reported && b.MAC != e.want {
		k.bindings.Drop(in.vni, c.IP)
		k.takeEffects()
	}
}

func setDrop(f rowFlags, drop bool) rowFlags {
	if drop {
		return (f | flagDrop) &^ flagDisturbed
	}
	return f &^ (flagDrop | flagDisturbed)
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}

// requeue puts one row on its queue and reports whether there is still something
// to write. mu is held.
func (k *Kernel) requeue(key evpn.RowKey) bool {
	in := k.instances[key.VNI]
	if in == nil {
		return false
	}
	var f rowFlags
	switch key.Kind {
	case evpn.FloodRow:
		for to, e := range in.towards(key.IP) {
			k.storeFlood(in, to, e)
			f |= in.floods[to].flags
		}
	case evpn.MACRow:
		e := in.macs[key.MAC]
		k.queueMAC(in, key.MAC, &e)
		k.putMAC(in, key.MAC, e)
		f = e.flags
	case evpn.NeighborRow:
		e := in.neighbors[key.IP]
		k.queueNeighbor(in, key.IP, &e)
		k.putNeighbor(in, key.IP, e)
		f = e.flags
	}
	return f&flagQueued != 0
}

// queueAll queues all rows of a VNI that differ from intent. mu is held.
func (k *Kernel) queueAll(in *instance) {
	for to, e := range in.floods {
		k.storeFlood(in, to, e)
	}
	for mac, e := range in.macs {
		k.queueMAC(in, mac, &e)
		k.putMAC(in, mac, e)
	}
	for ip, e := range in.neighbors {
		k.queueNeighbor(in, ip, &e)
		k.putNeighbor(in, ip, e)
	}
}

// AllowPrune says that the picture is complete: rows that bear our marks and that
// nobody asked for are removed, now and from now on.
func (k *Kernel) AllowPrune() {
	k.mu.Lock()
	if !k.prune {
		k.prune = true
		for _, in := range k.instances {
			k.queueAll(in)
		}
	}
	k.mu.Unlock()
	signal(k.wake)
}

// Installed reports whether the kernel holds the row as intended.
func (k *Kernel) Installed(key evpn.RowKey) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	in := k.instances[key.VNI]
	if in == nil {
		return false
	}
	switch key.Kind {
	case evpn.FloodRow:
		_, e := in.wantedFlood(key.IP)
		return e.wanted && e.exists
	case evpn.MACRow:
		e := in.macs[key.MAC]
		return e.wanted() && e.settled()
	case evpn.NeighborRow:
		e := in.neighbors[key.IP]
		return e.wanted() && e.settled()
	}
	return false
}

// Wanted gives what was last asked for of a row; false when it is not wanted.
func (k *Kernel) Wanted(key evpn.RowKey) (evpn.RowValue, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	in := k.instances[key.VNI]
	if in == nil {
		return evpn.RowValue{}, false
	}
	switch key.Kind {
	case evpn.FloodRow:
		_, e := in.wantedFlood(key.IP)
		return evpn.RowValue{}, e.wanted
	case evpn.MACRow:
		if e := in.macs[key.MAC]; e.wanted() {
			return evpn.RowValue{VTEP: e.want.Value(), Sticky: e.wantSticky}, true
		}
	case evpn.NeighborRow:
		if e := in.neighbors[key.IP]; e.wanted() {
			return evpn.RowValue{MAC: e.want, Router: e.wantRouter}, true
		}
	}
	return evpn.RowValue{}, false
}

// WantedKeys names the rows that are wanted, of one VNI (0 = all), in no order.
func (k *Kernel) WantedKeys(vni evpn.VNI) (keys []evpn.RowKey) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, in := range k.instances {
		if vni != 0 && in.vni != vni {
			continue
		}
		for to, e := range in.floods {
			if e.wanted {
				keys = append(keys, evpn.RowKey{Kind: evpn.FloodRow, VNI: in.vni, IP: to.ip()})
			}
		}
		for mac, e := range in.macs {
			if e.wanted() {
				keys = append(keys, evpn.RowKey{Kind: evpn.MACRow, VNI: in.vni, MAC: mac})
			}
		}
		for ip, e := range in.neighbors {
			if e.wanted() {
				keys = append(keys, evpn.RowKey{Kind: evpn.NeighborRow, VNI: in.vni, IP: ip})
			}
		}
	}
	return keys
}
