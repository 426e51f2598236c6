package kernel

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// compare lists what the picture shows, in order: differences and foreign things,
// or every row when the scope names rows.
func (p *picture) compare() []Drift {
	out := []Drift{}
	for _, v := range p.views {
		c := comparison{picture: p, view: v}
		if !p.scope.only {
			c.links()
			c.floodRows()
		}
		c.macRows()
		c.neighborRows()
		out = append(out, c.out...)
	}
	if !p.scope.only {
		out = append(out, p.addressDrift()...)
	}
	slices.SortFunc(out, Drift.compare)
	return out
}

// comparison is the comparison of one VNI.
type comparison struct {
	*picture
	*view
	out []Drift
}

// row notes how one row compares. flags and key are those of the intent.
func (c *comparison) row(d Drift, flags rowFlags, key evpn.RowKey) {
	if d.State == Equal && !c.scope.only {
		return
	}
	d.VNI = c.view.cfg.VNI
	if d.State != Equal && d.State != Foreign {
		d.Pending = flags&flagQueued != 0
		d.Err = c.failures[key]
	}
	if d.State == Extra && !c.prune && flags&flagDrop == 0 {
		d.State = Unconfirmed
	}
	c.out = append(c.out, d)
}

// stateOf compares the words for what is wanted with those for what is there; "" is
// nothing. marked says that what is there bears our marks.
func stateOf(expected, found string, marked bool) State {
	switch {
	case expected == found:
		return Equal
	case found == "":
		return Missing
	case expected != "":
		return Wrong
	case marked:
		return Extra
	default:
		return Foreign
	}
}

func (c *comparison) floodRows() {
	extra := map[netip.Addr]floodTo{}
	for to := range c.floods {
		// The device's own default remote is no row of ours.
		if !c.wantFloods[to].wanted && (c.device == nil || to != (floodTo{makeVTEP(c.device.VXLAN.Remote), c.device.VXLAN.Link})) {
			extra[to.ip()] = to
		}
	}
	for to, e := range c.wantFloods {
		if !e.wanted || c.floods[to] {
			continue
		}
		found := ""
		if other, there := extra[to.ip()]; there { // by another link
			found = c.floodWords(other)
			delete(extra, to.ip())
		}
		c.floodRow(to, e, c.floodWords(to), found)
	}
	for _, to := range extra {
		c.floodRow(to, c.wantFloods[to], "", c.floodWords(to))
	}
}

func (c *comparison) floodRow(to floodTo, e floodEntry, expected, found string) {
	c.row(Drift{Table: FloodTable, Link: c.view.cfg.Device, IP: to.ip(), Expected: expected, Found: found, State: stateOf(expected, found, true)},
		e.flags, evpn.RowKey{Kind: evpn.FloodRow, VNI: c.view.cfg.VNI, IP: to.ip()})
}

func (c *comparison) floodWords(to floodTo) string {
	via := ""
	switch {
	case to.via != 0:
		via = " via " + c.linkName(to.via)
	case to.group():
		via = " via " + c.plan.groupInterface()
	}
	return "dst " + to.ip().String() + via + " self permanent"
}

func (c *comparison) macRows() {
	for mac, e := range c.wantMACs {
		c.macRow(mac, e)
	}
	for mac := range c.vxlan {
		if _, known := c.wantMACs[mac]; !known {
			c.macRow(mac, macEntry{})
		}
	}
	for mac := range c.fdb {
		_, known := c.wantMACs[mac]
		_, seen := c.vxlan[mac]
		if !known && !seen {
			c.macRow(mac, macEntry{})
		}
	}
}

// macRow compares the two rows of a MAC, and where it is local.
func (c *comparison) macRow(mac evpn.MAC, e macEntry) {
	key := evpn.RowKey{Kind: evpn.MACRow, VNI: c.view.cfg.VNI, MAC: mac}
	vxlan, hasVXLAN := c.vxlan[mac]
	fdb, hasFDB := c.fdb[mac]
	overVXLAN := hasFDB && c.device != nil && fdb.port == c.device.Index

	wantVXLAN, wantFDB, foundVXLAN, foundFDB := "", "", "", ""
	if e.wanted() {
		row := fdbRow{to: e.want.Value(), flags: unix.NTF_EXT_LEARNED}
		if e.wantSticky {
			row.flags, row.state = ntfSticky, unix.NUD_NOARP
		}
		wantVXLAN, wantFDB = row.vxlanWords(), row.bridgeWords(c.view.cfg.Device)
	}
	if hasVXLAN {
		foundVXLAN = vxlan.vxlanWords()
	}
	if hasFDB {
		foundFDB = fdb.bridgeWords(c.linkName(fdb.port))
	}
	// What the data path learned by itself and what belongs to a port is not ours to
	// have an opinion of, unless a row of ours should be in its place.
	if e.wanted() || vxlan.kept() {
		c.row(Drift{
			Table: VXLANTable, Link: c.view.cfg.Device, MAC: mac, Expected: wantVXLAN, Found: foundVXLAN,
			State: stateOf(wantVXLAN, foundVXLAN, vxlan.ours()),
		}, e.flags, key)
	}
	if e.wanted() || (overVXLAN && fdb.kept() && fdb.state&unix.NUD_PERMANENT == 0) {
		d := Drift{
			Table: BridgeTable, Link: c.view.cfg.Bridge, MAC: mac, Expected: wantFDB, Found: foundFDB,
			State: stateOf(wantFDB, foundFDB, fdb.ours()),
		}
		flags := e.flags
		if e.flags&flagYield != 0 {
			flags |= flagQueued // a local port took it over; the core decides
		}
		c.row(d, flags, key)
	}
	c.localMAC(mac, e, fdb, hasFDB && !overVXLAN)
}

// localMAC compares the access port of a MAC with the one that the mirror has.
func (c *comparison) localMAC(mac evpn.MAC, e macEntry, fdb fdbRow, onPort bool) {
	if c.bridge == nil || mac.IsZero() || mac.IsGroup() {
		return
	}
	expected, found := "", ""
	if e.port != 0 {
		expected = "dev " + c.linkName(e.port)
	}
	learned := onPort && fdb.state&unix.NUD_PERMANENT == 0 &&
		(fdb.flags&unix.NTF_EXT_LEARNED == 0 || e.wanted() || e.port != 0)
	if learned {
		found = "dev " + c.linkName(fdb.port)
	}
	d := Drift{Table: LocalTable, VNI: c.view.cfg.VNI, Link: c.view.cfg.Bridge, MAC: mac, Expected: expected, Found: found, State: Equal}
	switch {
	case expected != found:
		d.State, d.Pending = Wrong, e.flags&flagReport != 0
	case !c.scope.only:
		return
	case e.flags&flagHeld != 0:
		d.State, d.Pending, d.Expected = Missing, true, "dev "+c.linkName(e.reported)
	case expected == "":
		return
	}
	c.out = append(c.out, d)
}

func (c *comparison) neighborRows() {
	for ip, e := range c.wantNeighbors {
		c.neighborRow(ip, e)
	}
	for ip := range c.neighbors {
		if _, known := c.wantNeighbors[ip]; !known {
			c.neighborRow(ip, neighborEntry{})
		}
	}
}

func (c *comparison) neighborRow(ip netip.Addr, e neighborEntry) {
	found, there := c.neighbors[ip]
	if there && (found.state == 0 || found.state&(unix.NUD_FAILED|unix.NUD_INCOMPLETE) != 0 || found.mac.IsZero()) {
		there = false
	}
	words, expected := "", ""
	if there {
		words = found.words()
	}
	switch {
	case e.wanted():
		row := neighborFound{mac: e.want, flags: unix.NTF_EXT_LEARNED, state: unix.NUD_NOARP, protocol: Protocol}
		if e.wantRouter {
			row.flags |= unix.NTF_ROUTER
		}
		expected = row.words()
	case !there:
		return
	case !found.ours() && (!c.scope.only && found.flags&unix.NTF_EXT_LEARNED == 0):
		return // found by the kernel, or pinned: local
	}
	c.row(Drift{
		Table: NeighborTable, Link: c.view.cfg.Bridge, IP: ip, Expected: expected, Found: words,
		State: stateOf(expected, words, found.ours()),
	}, e.flags, evpn.RowKey{Kind: evpn.NeighborRow, VNI: c.view.cfg.VNI, IP: ip})
}

// kept rows are there on purpose: pinned, or marked by a control plane.
func (r fdbRow) kept() bool { return r.state != 0 || r.flags != 0 }

// ours rows bear exactly the marks of an ordinary or a sticky remote MAC.
func (r fdbRow) ours() bool {
	return r.flags == unix.NTF_EXT_LEARNED && r.state == 0 || r.flags == ntfSticky && r.state == unix.NUD_NOARP
}

func (r fdbRow) vxlanWords() string {
	words := []string{}
	if r.to.IsValid() {
		words = append(words, "dst", r.to.String())
	}
	return strings.Join(append(words, r.marks()...), " ")
}

func (r fdbRow) bridgeWords(port string) string {
	return strings.Join(append([]string{"dev", port}, r.marks()...), " ")
}

// marks orders its words as iproute2's print_fdb.
func (r fdbRow) marks() (words []string) {
	if r.flags&unix.NTF_EXT_LEARNED != 0 {
		words = append(words, "extern_learn")
	}
	if r.flags&ntfSticky != 0 {
		words = append(words, "sticky")
	}
	switch {
	case r.state&unix.NUD_PERMANENT != 0:
		words = append(words, "permanent")
	case r.state&unix.NUD_NOARP != 0:
		words = append(words, "static")
	}
	return words
}

func (n neighborFound) ours() bool {
	return n.protocol == Protocol && n.flags&unix.NTF_EXT_LEARNED != 0 && n.state&unix.NUD_NOARP != 0
}

// words orders its words as iproute2's print_neigh.
func (n neighborFound) words() string {
	words := []string{"lladdr", n.mac.String()}
	if n.flags&unix.NTF_ROUTER != 0 {
		words = append(words, "router")
	}
	if n.flags&unix.NTF_EXT_LEARNED != 0 {
		words = append(words, "extern_learn")
	}
	switch {
	case n.state&unix.NUD_PERMANENT != 0:
		words = append(words, "PERMANENT")
	case n.state&unix.NUD_NOARP != 0:
		words = append(words, "NOARP")
	}
	if n.protocol != 0 {
		words = append(words, "proto", strconv.Itoa(int(n.protocol)))
	}
	return strings.Join(words, " ")
}

// linkName names a link for people.
func (p *picture) linkName(index int32) string {
	if l := p.links.index[index]; l != nil {
		return l.Name
	}
	if port, known := p.ports[index]; known {
		return port.name
	}
	return "?"
}
