package kernel

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// links compares the links of a VNI with what they should be. What we would change
// (see plan) differs; what we leave to the operator is foreign.
func (c *comparison) links() {
	cfg, d, br := c.view.cfg, c.plan.device, c.plan.bridge
	ours := c.plan.ours(d) && cfg.Manage
	switch {
	case d == nil:
		c.setting(cfg.Device, "device", "vxlan id "+cfg.VNI.String(), "", cfg.Manage)
	case c.device == nil:
		c.setting(cfg.Device, "device", deviceWords(cfg.VNI, cfg.UDPPort), foundWords(d), ours)
	default:
		c.deviceSettings(d, ours)
	}
	switch {
	case br == nil:
		c.setting(cfg.Bridge, "device", "bridge", "", cfg.Manage)
	case br.Kind != "bridge":
		c.setting(cfg.Bridge, "device", "bridge", foundWords(br), false)
	default:
		c.setting(cfg.Bridge, "state", "up", upWord(br.Up), cfg.Manage)
		c.setting(cfg.Bridge, "vlan_filtering", "off", onWord(br.Bridge.VLANFiltering), false)
		c.portSettings(br)
	}
}

// setting notes one setting that differs.
func (c *comparison) setting(link, name, expected, found string, repaired bool) {
	if expected == found {
		return
	}
	d := Drift{Table: LinkTable, VNI: c.view.cfg.VNI, Link: link, Setting: name, State: Foreign, Expected: expected, Found: found}
	switch {
	case repaired && found == "":
		d.State = Missing
	case repaired:
		d.State = Wrong
	}
	c.out = append(c.out, d)
}

func (c *comparison) deviceSettings(d *Link, ours bool) {
	cfg := c.view.cfg
	c.setting(d.Name, "state", "up", upWord(d.Up), cfg.Manage)
	if c.site.vtep.IsValid() {
		c.setting(d.Name, "local", c.site.vtep.String(), addrText(d.VXLAN.Local), ours)
	}
	if ours || cfg.MTU != 0 {
		c.setting(d.Name, "mtu", strconv.Itoa(c.site.deviceMTU(cfg)), strconv.Itoa(d.MTU), ours)
	}
	c.setting(d.Name, "learning", "off", onWord(d.VXLAN.Learning), false)
	if d.VXLAN.Remote != cfg.Group { // a device may have the group itself
		c.setting(d.Name, "remote", "none", addrText(d.VXLAN.Remote), false)
	}

	master := ""
	if l := c.picture.links.index[d.Master]; l != nil {
		master = l.Name
	}
	c.setting(d.Name, "master", cfg.Bridge, master, cfg.Manage && d.Master == 0 && c.plan.bridge != nil)
	if d.Port.Bridge && master == cfg.Bridge {
		c.setting(d.Name, "port learning", "off", onWord(d.Port.Learning), cfg.Manage)
		if cfg.Manage || cfg.Suppression {
			c.setting(d.Name, "neigh_suppress", onWord(cfg.Suppression), onWord(d.Port.NeighSuppress), cfg.Manage)
		}
	}
}

// portSettings compares the access ports that the configuration names.
func (c *comparison) portSettings(br *Link) {
	cfg := c.view.cfg
	for _, name := range slices.Compact(slices.Sorted(slices.Values(cfg.Ports))) {
		l := c.picture.links.byName[name]
		if l == nil {
			c.setting(name, "device", "port of "+br.Name, "", false)
			continue
		}
		master := ""
		if m := c.picture.links.index[l.Master]; m != nil {
			master = m.Name
		}
		c.setting(name, "master", br.Name, master, cfg.Manage && l.Master == 0)
	}
}

func deviceWords(vni evpn.VNI, port uint16) string {
	return fmt.Sprintf("vxlan id %s dstport %d", vni, port)
}

func foundWords(l *Link) string {
	switch {
	case l.Kind == "":
		return "device"
	case l.Kind != "vxlan":
		return l.Kind
	case l.VXLAN.External:
		return "vxlan external"
	default:
		return deviceWords(l.VXLAN.VNI, l.VXLAN.Port)
	}
}

func upWord(up bool) string {
	if up {
		return "up"
	}
	return "down"
}

func onWord(on bool) string {
	if on {
		return "on"
	}
	return "off"
}
